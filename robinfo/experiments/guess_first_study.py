"""The study behind the experiments of the label-hypothesis paper (2019): settings, models, attacks, models found again, rows.

`Settings` states what is run, `METHODS` the six models of the paper's tables, `Study` trains each model once and finds it again in any later
run, `attack_of` makes the attacks in their three forms (white box, composite, transfer), and `Study.row` puts a count beside the paper's cell.
"""
from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from robinfo.attacks import FGSM, PGD, CarliniWagner, Transfer, cross_entropy
from robinfo.checks import check_count, check_images, check_labels, evaluating
from robinfo.data import ImageDataset, load, stratified_order, to_float
from robinfo.evaluation import evaluate, survivors
from robinfo.experiments.models_store import Count, evaluation_folder, model_file, note_model, only_writer
from robinfo.experiments.record import Row, judge, paper_row
from robinfo.label_hypothesis import Padding, baseline_cnn, label_hypothesis_network, lenet5
from robinfo.latent import GaussianLatent, Inference
from robinfo.objectives import Objective, Standard
from robinfo.objectives.label_hypothesis import DIVERGENCES, VIB, InformationElimination, LabelHypothesis, Normalisation
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.threats import L2, Linf, Threat
from robinfo.training import fit, readable_time
from robinfo.vib import vib_network

__all__ = ["ACCESS", "KINDS", "METHODS", "SUBSTITUTE", "Cell", "GradientLine", "Settings", "Study", "attack_of", "check_methods", "make_model",
           "make_objective", "network_of", "paper_cell"]

Attack = Callable[..., Tensor]
METHODS = ("CNN", "C-DV", "C-JS", "C-DV-IE", "C-JS-IE", "Alemi et al.")
SUBSTITUTE = "substitute"
KINDS = ("FGSM", "PGD", "C&W")
ACCESS = ("composite", "transfer", "white-box")
_PAPER_EPOCHS, _PAPER_RATE, _PAPER_BATCH = 200, 1e-3, 250
_BATCH = 500  # images attacked at a time


# --- settings -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one experiment; the defaults are the paper's, or one reading of it.

    Parameters
    ----------
    dataset : str
        As for `robinfo.data.load`; images of one channel size of at least 12 pixels.
    run_dir : str
        Folder for figures and metrics; models lie in the results folder, where other experiments find them.
    seeds : sequence of int
        One independent training of every model each; the paper does not say how many it has.
    train_images, test_images : int or None
        How many; None takes all.
    attack_images : int or None
        How many of the test images the slow attacks see (C&W, searches for radii); None: all.
    epochs : int
        Length of every training.
    learning_rate : float
        Of Adam.
    batch_size : int
        Images per step, the same in each step: the bound of Donsker and Varadhan depends on it.
    beta : float
        Coefficient of information elimination and of the rate of the bottleneck.
    layer : str
        Layer of the trunk that is regularised.
    bandwidth : float or "median"
        Scale of the kernel.
    normalisation : str
        As for `InformationElimination`.
    padding : {"same", "valid"}
        Of the convolutions.
    width : float
        Factor on every hidden size.
    inference : {"mean", "sample", "average"}
        How the bottleneck answers in evaluation, as for `GaussianLatent`, with fixed draws; the paper does not say.
    samples : int
        Draws of "average".
    epsilons : sequence of float
        Radii of the Linf attacks.
    l2_epsilon : float
        Radius under which a change by C&W counts.
    line_points : int
        Steps along the gradient that FGSM tries up to the largest radius it is allowed.
    pgd_steps : int
        Steps of PGD from one random start, together 4/3 of the radius long: each a thirtieth of it if there are 40.
    cw_steps, cw_searches : int
        Adam steps of C&W, and values of its trade-off.
    cw_step_size : float
        Of those steps.
    device, precision : str
        As for `fit`.

    Raises
    ------
    ValueError
        A setting out of range.

    Examples
    --------
    >>> Settings(dataset="mnist").reduced(), Settings(dataset="mnist", epochs=8, seeds=[0, 1, 2]).reduced()
    ('', 'reduced: epochs 8')
    """

    dataset: str
    run_dir: str = "."
    seeds: Sequence[int] = (0,)
    train_images: int | None = None
    test_images: int | None = None
    attack_images: int | None = None
    epochs: int = _PAPER_EPOCHS
    learning_rate: float = _PAPER_RATE
    batch_size: int = _PAPER_BATCH
    beta: float = 1e-3
    layer: str = "relu2"
    bandwidth: float | Literal["median"] = 1.0
    normalisation: Normalisation = "mean"
    padding: Padding = "same"
    width: float = 1.0
    inference: Inference = "mean"
    samples: int = 12
    epsilons: Sequence[float] = (0.15, 0.30)
    l2_epsilon: float = 2.0
    line_points: int = 300
    pgd_steps: int = 40
    cw_steps: int = 1000
    cw_searches: int = 5
    cw_step_size: float = 5e-3
    device: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must name at least one repetition, got none; for example seeds=[0]")
        if not self.epsilons or not all(0 < e <= 1 for e in self.epsilons):
            raise ValueError(f"epsilons must be radii in (0, 1], at least one, got {list(self.epsilons)}; for example [0.15, 0.3]")
        for name in ("train_images", "test_images", "attack_images"):
            if getattr(self, name) is not None:
                check_count(getattr(self, name), name)
        for name in ("epochs", "batch_size", "line_points", "pgd_steps", "cw_steps", "cw_searches"):
            check_count(getattr(self, name), name)

    @property
    def comparable(self) -> bool | str:
        """True where the network is the paper's, else a text that says what is not."""
        return True if self.width == 1 else f"another width than the paper's: {self.width:g}"

    def reduced(self) -> str:
        """What is less than in the paper, as a text for results; empty when nothing is."""
        less = [f"{name} {getattr(self, name)}" for name in ("train_images", "test_images", "attack_images") if getattr(self, name) is not None]
        usual = (("epochs", _PAPER_EPOCHS), ("pgd_steps", 40), ("cw_steps", 1000), ("cw_searches", 5))
        less += [f"{name} {getattr(self, name)}" for name, paper in usual if getattr(self, name) < paper]
        return f"reduced: {', '.join(less)}" if less else ""

    def manner(self) -> str:
        """What is other than in the paper without being less, as a text for results; empty where nothing is."""
        usual = (("learning_rate", _PAPER_RATE), ("batch_size", _PAPER_BATCH), ("beta", 1e-3), ("layer", "relu2"), ("bandwidth", 1.0),
                 ("normalisation", "mean"), ("padding", "same"), ("cw_step_size", 5e-3), ("precision", "32-true"))
        return ", ".join(f"{name} {getattr(self, name)}" for name, paper in usual if getattr(self, name) != paper)


# --- models -------------------------------------------------------------------------------------------------------------
def _divergence(method: str) -> tuple[str, bool] | None:
    """Divergence and regulariser of a model's name, C-DV-IE for example; None for another kind of model."""
    found = re.fullmatch(r"C-(\w+?)(-IE)?", method)
    name = {"eb": "energy"}.get(found[1].lower(), found[1].lower()) if found else ""
    return (name, bool(found and found[2])) if name in DIVERGENCES else None


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """The names, if they are models of this study.

    Parameters
    ----------
    methods : sequence of str
        Out of `METHODS`, or C-… and C-…-IE with another divergence, such as C-EB or C-KL-IE.

    Returns
    -------
    tuple of str
        The same names.

    Raises
    ------
    ValueError
        No name, an unknown one, or one twice.

    Examples
    --------
    >>> check_methods(["CNN", "C-EB-IE"])
    ('CNN', 'C-EB-IE')
    """
    unknown = [name for name in methods if name not in (*METHODS, SUBSTITUTE) and _divergence(name) is None]
    if unknown or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods must be different names out of {', '.join(METHODS)}, or C-… and C-…-IE with a divergence out of EB, "
                         f"{', '.join(d.upper() for d in DIVERGENCES[2:])}, got {list(methods)}; correct the names")
    return tuple(methods)


def make_model(method: str, settings: Settings, data: ImageDataset) -> nn.Module:
    """A new network with weights from the global random numbers.

    Parameters
    ----------
    method : str
        As for `check_methods`, or `SUBSTITUTE`.
    settings : Settings
        Padding and width.
    data : ImageDataset
        Gives channels, size and classes.

    Returns
    -------
    nn.Module
        Images to logits; the bottleneck answers by its mean.

    Examples
    --------
    >>> type(make_model("C-JS", Settings(dataset="digits"), load("digits"))).__name__
    'LabelHypothesisNetwork'
    """
    check_methods([method])
    size: Any = {"in_channels": data.in_channels, "image_size": data.image_size[0], "num_classes": data.num_classes}
    if method == SUBSTITUTE:
        return lenet5(**size)
    form: Any = {"padding": settings.padding, "width": settings.width}
    if method == "CNN":
        return baseline_cnn(**size, **form)
    return vib_network(**size, **form) if method == "Alemi et al." else label_hypothesis_network(**size, **form)


def make_objective(method: str, settings: Settings) -> Objective:
    """What a model is trained by.

    Parameters
    ----------
    method : str
        As for `make_model`.
    settings : Settings
        Coefficient, layer, bandwidth, normalisation.

    Returns
    -------
    Objective
        Cross-entropy for the baseline and the substitute.

    Raises
    ------
    ValueError
        Unknown method, or settings that the regulariser refuses.

    Examples
    --------
    >>> print(make_objective("C-JS-IE", Settings(dataset="mnist")))
    LabelHypothesis(js, elimination=relu2, beta=0.001, bandwidth=1, mean/batch)
    """
    check_methods([method])
    hypothesis = _divergence(method)
    if hypothesis is None:
        return VIB(beta=settings.beta) if method == "Alemi et al." else Standard()
    elimination = InformationElimination(settings.layer, settings.beta, settings.bandwidth, settings.normalisation) if hypothesis[1] else None
    return LabelHypothesis(hypothesis[0], elimination=elimination)


# --- attacks ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class GradientLine:
    """FGSM as a search for the smallest step: one gradient, and the first of equal steps along its sign that fools.

    Parameters
    ----------
    threat : Threat
        The largest step allowed, and the norm.
    points : int
        Steps tried.
    guide : nn.Module, optional
        Network whose gradient is followed, while the model judges: the composite form of a black-box attack. The model itself if not given.
    batch_size : int
        Images at a time in `radii`.

    Raises
    ------
    TypeError
        `threat` is no ball.
    ValueError
        Fewer than one point.

    Notes
    -----
    An image counts as robust at a radius if no step up to it fools: less than FGSM of exactly that radius can leave.

    References
    ----------
    The form in which foolbox 1 and 2 have FGSM, which the paper used; there with 1,000 steps up to a radius of 1.

    Examples
    --------
    >>> images, labels = torch.tensor([0.32, 0.68]).reshape(1, 2, 1, 1), torch.tensor([1])
    >>> GradientLine(Linf(0.4), points=8).radii(nn.Flatten(), images, labels)
    tensor([0.2000], dtype=torch.float64)
    """

    threat: Threat
    _: KW_ONLY
    points: int = 300
    guide: nn.Module | None = None
    batch_size: int = 500
    told_by_its_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Threat):
            raise TypeError(f"threat must be Linf, L2 or L1, got {self.threat!r}; for example Linf(0.3)")
        check_count(self.points, "points")

    def __str__(self) -> str:
        guide = "" if self.guide is None else f", guide={type(self.guide).__name__}"
        return f"GradientLine({self.threat}, points={self.points}{guide})"

    def radii(self, model: Any, images: Tensor, labels: Tensor) -> Tensor:
        """Length of the smallest step that fools each image.

        Parameters
        ----------
        model : callable
            Images [N, C, H, W] to logits [N, K].
        images : Tensor
            Shape [N, C, H, W], in [0, 1].
        labels : Tensor
            Shape [N].

        Returns
        -------
        Tensor
            Shape [N], float64: 0 for an image that is wrong without attack, inf where no step fools.
        """
        batches = zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
        return torch.cat([self._search(model, x, y)[0] for x, y in batches])

    def __call__(self, model: Any, images: Tensor, labels: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The images after the smallest step that fools, or after the whole step where none does.

        Parameters
        ----------
        model, images, labels
            As for `radii`.
        generator : torch.Generator, optional
            Not needed: nothing is drawn.

        Returns
        -------
        Tensor
            Shape [N, C, H, W], in the ball and in [0, 1].
        """
        radii, direction = self._search(model, images, labels)
        size = radii.clamp(max=self.threat.radius).to(images.dtype).reshape(-1, 1, 1, 1)
        return (images + size * direction).clamp(0, 1)

    def _search(self, model: Any, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest fooling steps, and the direction of each image."""
        labels = check_labels(labels, len(check_images(images)))
        guide = model if self.guide is None else self.guide
        with evaluating(model, guide):
            with torch.enable_grad():
                x = images.detach().clone().requires_grad_()
                (gradient,) = torch.autograd.grad(cross_entropy(guide(x), labels).sum(), x)
            direction = self.threat.step(gradient, 1.0)
            with torch.no_grad():
                radii = torch.where(model(images).argmax(1) == labels, torch.inf, 0.0).double()
                for k in range(1, self.points + 1):
                    rows, size = radii.isinf().nonzero().flatten(), self.threat.radius * k / self.points
                    if not len(rows):
                        break
                    moved = (images[rows] + size * direction[rows]).clamp(0, 1)
                    radii[rows[model(moved).argmax(1) != labels[rows]]] = size
        return radii, direction


class Cell(NamedTuple):
    """One line of the paper's tables: an attack, what it has access to, and its radius.

    Attributes
    ----------
    kind : str
        One of `KINDS`; "clean" for no attack.
    access : str
        One of `ACCESS`: the gradients are the model's own, or a substitute's while the model judges each step, or a substitute's
        and the model is not asked.
    eps : float
        Radius.
    """

    kind: str
    access: str = ""
    eps: float = 0.0

    @property
    def threat(self) -> Threat:
        """The ball."""
        return L2(self.eps) if self.kind == "C&W" else Linf(self.eps)

    def __str__(self) -> str:
        return self.kind if self.kind == "clean" else f"{self.kind} {self.access} eps={self.eps:.2f}"


def paper_cell(cell: Cell, table: str, dataset: str, method: str) -> dict[str, Any] | None:
    """The paper's number for a line and a model.

    Parameters
    ----------
    cell : Cell
        The line; both black-box forms stand beside the same number, since the paper does not say which it used.
    table : str
        "1" or "2".
    dataset, method : str
        As in that table.

    Returns
    -------
    dict or None
        None where the paper has none.

    Examples
    --------
    >>> paper_cell(Cell("PGD", "white-box", 0.3), "1", "mnist", "C-JS")["mean"]
    29.7
    >>> paper_cell(Cell("clean"), "1", "cifar10", "C-JS") is None
    True
    """
    if cell.kind == "clean":
        return paper_row("GuessFirst2019", table, required=False, dataset=dataset, method=method, metric="natural_accuracy")
    box, norm = "white-box" if cell.access == "white-box" else "black-box", "l2" if cell.kind == "C&W" else "linf"
    return paper_row("GuessFirst2019", table, required=False, dataset=dataset, method=method, metric="robust_accuracy",
                     attack=f"{cell.kind} {box} eps={cell.eps:.2f} ({norm})")


def attack_of(cell: Cell, settings: Settings, substitute: nn.Module | None = None) -> Attack:
    """The attack of a line.

    Parameters
    ----------
    cell : Cell
        Kind, access and radius.
    settings : Settings
        How hard it searches.
    substitute : nn.Module, optional
        Needed by "composite" and "transfer".

    Returns
    -------
    callable
        ``attack(model, images, labels) -> images``.

    Raises
    ------
    ValueError
        Unknown kind or access, or no substitute where one is needed.

    Examples
    --------
    >>> print(attack_of(Cell("PGD", "white-box", 0.3), Settings(dataset="mnist")))
    PGD(Linf(0.3), steps=40, step_size=0.01, random_start=True, restarts=1, keep='best', seed=0, drop_fooled='steps')
    """
    if cell.kind not in KINDS or cell.access not in ACCESS:
        raise ValueError(f"a line must be one of {', '.join(KINDS)} with one of {', '.join(ACCESS)}, got {cell}; correct the names")
    if cell.access != "white-box" and substitute is None:
        raise ValueError(f"{cell.access} attacks need a substitute, got none; pass Study.trained(SUBSTITUTE, seed)")
    if cell.kind == "FGSM" and cell.access != "transfer":
        return GradientLine(cell.threat, points=settings.line_points, guide=substitute if cell.access == "composite" else None)
    made: dict[str, Callable[[], Attack]] = {
        "FGSM": lambda: FGSM(cell.threat),
        "PGD": lambda: PGD(cell.threat, steps=settings.pgd_steps, step_size=4 / 3 * cell.eps / settings.pgd_steps, seed=0, drop_fooled="steps"),
        "C&W": lambda: CarliniWagner(cell.threat, steps=settings.cw_steps, binary_search_steps=settings.cw_searches,
                                     step_size=settings.cw_step_size, initial_const=1e-2)}
    attack = made[cell.kind]()
    if cell.access == "white-box":
        return attack
    return Transfer(substitute, attack, composite=cell.access == "composite")


# --- the study ----------------------------------------------------------------------------------------------------------
class Study:
    """Data, models that are trained once and found again, evaluation, rows.

    Parameters
    ----------
    settings : Settings
        The settings.
    parts : int
        How many models there will be, for the headings of the progress.

    Examples
    --------
    >>> study = Study(Settings(dataset="digits", train_images=100, test_images=50, attack_images=20))
    >>> study.data.train_images.shape[0], study.test[0].shape[0], study.attacked[0].shape[0]
    (100, 50, 20)
    """

    def __init__(self, settings: Settings, parts: int = 0) -> None:
        self.settings, self.parts, self.started, self.begun = settings, parts, 0, time.perf_counter()
        self._transferred: dict[tuple[int, str, int], tuple[Any, Tensor]] = {}

    @cached_property
    def data(self) -> ImageDataset:
        """Training and test images, as many as the settings say; classes in proportion."""
        return load(self.settings.dataset).subset(train=self.settings.train_images, test=self.settings.test_images, seed=0)

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test images, float, and labels."""
        return to_float(self.data.test_images), self.data.test_labels

    @cached_property
    def attacked(self) -> tuple[Tensor, Tensor]:
        """The test images that slow attacks see."""
        images, labels = self.test
        index = stratified_order(labels, 0)[: self.settings.attack_images].sort().values
        return images[index], labels[index]

    def identity(self, method: str, seed: int) -> dict[str, str]:
        """Every setting that makes a trained model what it is.

        Parameters
        ----------
        method : str
            As for `make_model`.
        seed : int
            Of weights and training.

        Returns
        -------
        dict of str to str
            Device and progress are left out: they change no more than rounding.
        """
        s = self.settings
        network = "lenet5" if method == SUBSTITUTE else f"{network_of(method)}, padding {s.padding}, width {s.width:g}"
        return {"dataset": s.dataset, "objective": str(make_objective(method, s)), "network": network, "train_images": str(s.train_images),
                "epochs": str(s.epochs), "learning_rate": f"{s.learning_rate:g}", "batch_size": str(s.batch_size), "precision": s.precision,
                "seed": str(seed)}

    def trained(self, method: str, seed: int) -> nn.Module:
        """A model, trained now or found from an earlier run of any experiment.

        Parameters
        ----------
        method : str
            As for `make_model`.
        seed : int
            Of weights and training.

        Returns
        -------
        nn.Module
            In evaluation mode; a bottleneck answers as the settings say, by fixed draws.
        """
        s, identity = self.settings, self.identity(method, seed)
        path = model_file(identity, f"{s.dataset}-{re.sub('[^a-z]+', '-', method.lower()).strip('-')}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make_model(method, s, self.data)
        self._heading(f"{method}, seed {seed}")
        with only_writer(path):
            history = fit(model, make_objective(method, s), self.data, epochs=s.epochs, seed=seed, batch_size=s.batch_size,
                          learning_rate=s.learning_rate, checkpoint=path, device=s.device, precision=s.precision)
            note_model(path, identity, history)
        model = model.eval()
        if isinstance(model, GaussianLatent) and s.inference != "mean":
            return model.with_inference(s.inference, samples=s.samples, seed=seed)
        return model

    def _heading(self, text: str) -> None:
        """One line: which model of how many, and how long the rest will take at the pace so far."""
        left = ""
        if self.started and self.parts > self.started:
            spent = time.perf_counter() - self.begun
            left = f" · about {readable_time(spent / self.started * (self.parts - self.started))} left for all"
        self.started += 1
        print(f"[{self.started}/{self.parts}] {text}{left}" if self.parts else text, flush=True)

    def images_for(self, cell: Cell, model: nn.Module) -> tuple[Tensor, Tensor]:
        """The images that a line sees, on the device of a model: `attack_images` for C&W, all test images otherwise.

        Parameters
        ----------
        cell : Cell
            The line.
        model : nn.Module
            Whose device.

        Returns
        -------
        (Tensor, Tensor)
            Images [N, C, H, W] in [0, 1] and labels [N].
        """
        device = next(model.parameters()).device
        images, labels = self.attacked if cell.kind == "C&W" else self.test
        return images.to(device), labels.to(device)

    def standing(self, model: nn.Module, name: str, attack: Attack | None, images: Tensor, labels: Tensor) -> Tensor:
        """Which images are classified correctly, and still are after an attack.

        Parameters
        ----------
        model : nn.Module
            Images to logits, in evaluation mode.
        name : str
            Of the attack, for the progress.
        attack : callable or None
            None: no attack.
        images, labels : Tensor
            [N, C, H, W] in [0, 1] and [N], on the device of the model.

        Returns
        -------
        Tensor
            Bool, [N]. An evaluation that was cut goes on where it stopped, and one that is finished is found again while the package's code
            is the same.
        """
        started = time.perf_counter()
        if attack is None or isinstance(attack, Transfer) and not attack.composite:
            alive = survivors(model, images, labels, batch_size=_BATCH)
            if attack is not None:
                alive &= survivors(model, self._moved(attack, images, labels), labels, batch_size=_BATCH)
        else:
            alive = evaluate(model, images, labels, {name: attack}, batch_size=_BATCH, progress=len(labels) > 4 * _BATCH,
                             checkpoint=evaluation_folder(model, images, labels, name, attack)).survivors[name]
        print(f"  {name}: {100 * float(alive.float().mean()):.2f} % of {len(labels)} in {readable_time(time.perf_counter() - started)}", flush=True)
        return alive

    def _moved(self, attack: Transfer, images: Tensor, labels: Tensor) -> Tensor:
        """Images attacked on another network: the same for every model, so made once."""
        key = (id(attack.surrogate), str(attack), len(images))
        if key not in self._transferred:
            batches = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
            found = torch.cat([attack.attack(attack.surrogate, x, y) for x, y in batches])
            self._transferred[key] = attack.surrogate, found  # the network is kept, so that its id stays its own
        return self._transferred[key][1]

    def count(self, model: nn.Module, cell: Cell, substitute: nn.Module | None = None) -> Count:
        """Correct test images after the attack of a line.

        Parameters
        ----------
        model : nn.Module
            Images to logits, in evaluation mode.
        cell : Cell
            The line.
        substitute : nn.Module, optional
            As for `attack_of`.

        Returns
        -------
        Count
            With the words of the attack.
        """
        attack = None if cell.kind == "clean" else attack_of(cell, self.settings, substitute)
        images, labels = self.images_for(cell, model)
        alive = self.standing(model, str(cell), attack, images, labels)
        return Count(int(alive.sum()), len(labels), "" if attack is None else str(attack))

    def row(self, cell: Cell, method: str, counts: Sequence[Count], table: str | None, *, note: str = "") -> Row:
        """One accuracy in per cent beside the paper's: mean over seeds with a Student interval, or a binomial one for a single seed.

        Parameters
        ----------
        cell : Cell
            The line.
        method : str
            The model.
        counts : sequence of Count
            One for each seed.
        table : str or None
            The paper's table; None: nothing to compare with.
        note : str
            What else a reader of the row has to know.

        Returns
        -------
        Row
            Judged.
        """
        s, shares, clean = self.settings, [100 * c.correct / c.n for c in counts], cell.kind == "clean"
        interval = mean_interval(shares) or binomial_interval(counts[0].correct, counts[0].n, scale=100)
        latent = f"bottleneck answers by its {s.inference}" if method == "Alemi et al." else ""
        row = Row(metric="natural_accuracy" if clean else "robust_accuracy", value=sum(shares) / len(shares), unit="%", n=counts[0].n,
                  interval=interval, dataset=s.dataset, model=network_of(method), method=method, attack=None if clean else f"{cell.kind} {cell.access}",
                  threat=None if clean else str(cell.threat), seeds=tuple(s.seeds),
                  paper=None if table is None else paper_cell(cell, table, s.dataset, method),
                  settings="; ".join(filter(None, (s.reduced(), s.manner(), note, latent, counts[0].attack))))
        return judge(row, comparable=s.comparable)


def network_of(method: str) -> str:
    """The kind of network behind a model.

    Parameters
    ----------
    method : str
        By name.

    Returns
    -------
    str
        As it stands in results.
    """
    return {"CNN": "CNN", "Alemi et al.": "CNN with a Gaussian code", SUBSTITUTE: "LeNet-5"}.get(method, "label hypotheses")
