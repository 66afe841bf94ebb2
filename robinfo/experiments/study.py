"""A study: data, settings and parts that are trained once, shared by the experiments.

`Setup` states the settings, `Study` trains encoders, heads, classifiers and critics, each kept in a file named by every setting
that makes it what it is, so that any later experiment finds it again; and it turns counts and estimates into rows to record.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robinfo.attacks import PGD
from robinfo.data import ImageDataset, augmentation, load, to_float
from robinfo.evaluation import survivors
from robinfo.experiments.models_store import model_file, note_model, only_writer
from robinfo.experiments.record import Row, judge
from robinfo.models import Classifier, Encoder, classifier, linear_head, mlp_head
from robinfo.objectives import AdversarialTraining, InfoMax, Standard
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.threats import Linf, Threat
from robinfo.training import History, fit
from robinfo.vulnerability import VulnerabilityEstimate, estimate_vulnerability

__all__ = ["Setup", "Study", "fingerprint", "paper_threat"]

_PAPER_ATTACK = {  # data set: radius, steps, step size (supplement, D.1); digits: chosen here
    "digits": (0.1, 5, 0.05), "mnist": (0.3, 10, 0.1), "fashion_mnist": (0.1, 10, 0.02), "svhn": (4 / 255, 10, 0.005),
    "cifar10": (8 / 255, 7, 0.01), "cifar100": (8 / 255, 7, 0.01)}
_NARROWABLE = ("vgg16", "resnet18", "resnet50", "densenet121")


def paper_threat(dataset: str) -> tuple[Linf, int, float]:
    """Ball, steps and step size of the attack that the paper uses on a data set.

    Parameters
    ----------
    dataset : str
        Name as for `robinfo.data.load`.

    Returns
    -------
    (Linf, int, float)
        Threat, gradient steps, step size. The embedded digits are not in the paper; their radius is 0.1.

    References
    ----------
    Zhu, Zhang and Evans (2020), supplement, D.1.

    Examples
    --------
    >>> threat, steps, step_size = paper_threat("cifar10")
    >>> print(threat, steps, step_size)
    Linf(8/255) 7 0.01
    """
    radius, steps, step_size = _PAPER_ATTACK[dataset]
    return Linf(radius), steps, step_size


def fingerprint(model: nn.Module) -> str:
    """A short text that changes with the weights, the buffers and the structure of a module.

    Parameters
    ----------
    model : nn.Module
        On any device.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> before = fingerprint(model)
    >>> _ = model.weight.data.add_(1)
    >>> before == fingerprint(model)
    False
    """
    digest = hashlib.sha256(str(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


# --- settings ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Setup:
    """Settings of one experiment; None stands for the paper's value on the data set.

    Parameters
    ----------
    dataset : str
        Name as for `robinfo.data.load`.
    run_dir : str
        Folder of the run; parts that no later run could tell apart keep their checkpoints here.
    seeds : sequence of int
        One independent repetition each.
    train_images, test_images, validation_images : int or None
        How many; None takes all. Validation images are cut from the training split.
    epsilon, steps, step_size : float, int, float or None
        The Linf attack of training and estimation.
    evaluation_steps : int or None
        Steps of the attack that measures accuracy; None repeats the attack of training, as the paper does.
    width : float
        Factor on the hidden sizes of encoders, of Baseline-H and of torchvision's classifiers; the paper has 1.
    critic_width, critic_channels : int
        Sizes of the critic; the paper has 2048 and 64.
    encoder_epochs, head_epochs, classifier_epochs, critic_epochs : int
        Length of each training.
    learning_rate : float
        Of Adam; the paper has 1e-4.
    batch_size : int
        Also the number of pairs of a batch estimate; the paper has 128.
    estimator, negatives, gradient, critic_scale : str
        As for `InfoMax`.
    augment : str
        As for `robinfo.data.augmentation`.
    device, precision : str
        As for `fit`.

    Examples
    --------
    >>> Setup(dataset="digits").threat
    Linf(radius=0.1)
    """

    dataset: str
    run_dir: str = "."
    seeds: Sequence[int] = (0,)
    train_images: int | None = None
    test_images: int | None = None
    validation_images: int = 0
    epsilon: float | None = None
    steps: int | None = None
    step_size: float | None = None
    evaluation_steps: int | None = None
    width: float = 1.0
    critic_width: int = 2048
    critic_channels: int = 64
    encoder_epochs: int = 300
    head_epochs: int = 300
    classifier_epochs: int = 300
    critic_epochs: int = 300
    learning_rate: float = 1e-4
    batch_size: int = 128
    estimator: str = "dv"
    negatives: Literal["others", "all"] = "others"
    gradient: Literal["full", "published"] = "full"
    critic_scale: Literal["sqrt", "mean", "none"] = "sqrt"
    augment: str = "none"
    device: str = "auto"
    precision: str = "32-true"

    @property
    def threat(self) -> Threat:
        """The ball of the attack."""
        return Linf(_PAPER_ATTACK[self.dataset][0] if self.epsilon is None else self.epsilon)

    @property
    def attack(self) -> PGD:
        """The attack of training: from the image itself, best iterate kept, as in the paper."""
        _, steps, step_size = _PAPER_ATTACK[self.dataset]
        own_radius = self.epsilon is not None
        size = self.step_size if self.step_size is not None or own_radius else step_size
        return PGD(self.threat, steps=self.steps or steps, step_size=size, random_start=False)

    @property
    def evaluation_attack(self) -> PGD:
        """The attack that measures accuracy: the training attack, or a longer one with a random start."""
        if self.evaluation_steps is None:
            return self.attack
        return PGD(self.threat, steps=self.evaluation_steps, random_start=True, seed=0)

    @property
    def comparable(self) -> bool | str:
        """True where the ball is the paper's, else a text that says which it is not."""
        paper = Linf(_PAPER_ATTACK[self.dataset][0])
        return True if self.threat == paper else f"another threat than the paper's {paper}"

    def reduced(self) -> str:
        """What is smaller than in the paper, as a text for results; empty when nothing is."""
        full = {"width": 1.0, "critic_width": 2048, "critic_channels": 64, "encoder_epochs": 300, "head_epochs": 300,
                "classifier_epochs": 300, "critic_epochs": 300, "train_images": None, "test_images": None}
        less = [f"{name} {getattr(self, name)}" for name, paper in full.items()
                if getattr(self, name) is not None and (paper is None or getattr(self, name) < paper)]
        trials = [] if len(self.seeds) >= 4 else [f"{len(self.seeds)} trial{'s' if len(self.seeds) > 1 else ''}"]
        return f"reduced: {', '.join(less + trials)}" if less or trials else ""


# --- the study: data, training of parts, measurement --------------------------------------------------------------------
class Study:
    """Data and trained parts of one experiment; each part is trained once and found again by every later experiment.

    A part lies in the folder of the models (`robinfo.experiments.models_store.models_folder`), below a name made of every setting
    that makes it what it is. An interrupted training continues from there.

    Parameters
    ----------
    setup : Setup
        The settings.
    parts : int
        How many parts will be trained, for the headings of the progress.

    Examples
    --------
    >>> study = Study(Setup(dataset="digits", train_images=100, test_images=50))
    >>> study.data.train_images.shape[0], study.test[0].shape[0]
    (100, 50)
    """

    def __init__(self, setup: Setup, parts: int = 0) -> None:
        self.setup, self.parts, self.started = setup, parts, 0
        _check_limits(setup)

    @cached_property
    def _split(self) -> tuple[ImageDataset, tuple[Tensor, Tensor]]:
        setup, data = self.setup, load(self.setup.dataset)
        rest, validation = (data, (data.train_images[:0], data.train_labels[:0]))
        if setup.validation_images:
            rest, validation = data.split(setup.validation_images, seed=0)
        train = None if setup.train_images is None else min(setup.train_images, len(rest.train_images))
        test = None if setup.test_images is None else min(setup.test_images, len(rest.test_images))
        return (rest if train is None and test is None else rest.subset(train=train, test=test, seed=0)), validation

    @property
    def data(self) -> ImageDataset:
        """Training and test images, limited as the settings say."""
        return self._split[0]

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test images, float, and labels."""
        return to_float(self.data.test_images), self.data.test_labels

    @cached_property
    def validation(self) -> tuple[Tensor, Tensor]:
        """Validation images, float, and labels."""
        images, labels = self._split[1]
        return to_float(images), labels

    def _heading(self, text: str) -> None:
        self.started += 1
        count = f"[{self.started}/{self.parts}] " if self.parts else ""
        print(f"{count}{text}", flush=True)

    def identity(self, network: str, objective: Any, seed: int, *, epochs: int, **options: Any) -> dict[str, str]:
        """Every setting that makes a trained part what it is.

        Parameters
        ----------
        network : str
            The network in words, with all its sizes; frozen parts by their `fingerprint`.
        objective : Objective
            What is optimised; its text names the attack and the critic.
        seed : int
            Of weights and training.
        epochs : int
            Length of the training.
        **options
            What differs from the settings, as for `fit`.

        Returns
        -------
        dict of str to str
            Device and progress are left out: they change no more than rounding.
        """
        setup = self.setup
        augment = "none" if augmentation(setup.augment, setup.dataset) is augmentation("none") else setup.augment
        told = {"dataset": setup.dataset, "train_images": len(self.data.train_images), "validation_images": setup.validation_images,
                "network": network, "objective": objective, "epochs": epochs, "seed": seed, "batch_size": setup.batch_size,
                "optimizer": "adam", "learning_rate": setup.learning_rate, "augment": augment, "precision": setup.precision} | options
        return {name: str(tuple(value) if isinstance(value, list) else value) for name, value in told.items()}

    def _fit(self, name: str, network: str, model: nn.Module, objective: Any, *, epochs: int, seed: int, monitored: str = "",
             **options: Any) -> History:
        """Train a part, or find it trained."""
        setup = self.setup
        words = {k: v for k, v in options.items() if k not in ("frozen", "monitor")} | ({"monitored": monitored} if monitored else {})
        identity = self.identity(network, objective, seed, epochs=epochs, **words)
        path = model_file(identity, f"{setup.dataset}-{name}")
        if options.get("monitor") is not None and not monitored:  # no words decide what it does
            path = Path(setup.run_dir) / "checkpoints" / path.name
        augment = None if setup.augment == "none" else augmentation(setup.augment, setup.dataset)
        with only_writer(path):
            history = fit(model, objective, self.data, **{
                "epochs": epochs, "seed": seed, "batch_size": setup.batch_size, "augment": augment, "learning_rate": setup.learning_rate,
                "device": setup.device, "precision": setup.precision, "checkpoint": path} | options)
            if history.epochs:
                note_model(path, identity, history)
        return history

    def _infomax(self, worst_case: bool, *, beta: float = 1.0, estimator: str | None = None) -> InfoMax:
        """The objective of representations and critics."""
        setup = self.setup
        return InfoMax(setup.threat if worst_case else None, beta=beta, steps=setup.attack.steps, step_size=setup.attack.size,
                       estimator=estimator or setup.estimator, negatives=setup.negatives, gradient=setup.gradient,
                       critic_width=setup.critic_width, critic_channels=setup.critic_channels, critic_scale=setup.critic_scale)

    def encoder(self, seed: int, *, worst_case: bool, beta: float = 1.0, estimator: str | None = None) -> nn.Module:
        """Representation trained without labels, for the normal or for the worst-case information.

        Parameters
        ----------
        seed : int
            Of weights and training.
        worst_case : bool
            Whether batches are attacked.
        beta : float
            Weight of the worst case in [0, 1], where batches are attacked; the paper has 1.
        estimator : str, optional
            Bound that is maximised, as for `InfoMax`; that of the settings where none is given.

        Returns
        -------
        nn.Module
            In evaluation mode.
        """
        setup, bound = self.setup, estimator or self.setup.estimator
        weight = "" if not worst_case or beta == 1 else f", beta {beta:g}"
        self._heading(f"{'worst-case' if worst_case else 'normal'} representation{weight}, {bound}, seed {seed}")
        channels, size = self.data.in_channels, self.data.image_size[0]
        model = _seeded(seed, lambda: Encoder(channels, size, width=setup.width))
        self._fit("worst-encoder" if worst_case else "normal-encoder", f"Encoder, width {setup.width!r}", model,
                  self._infomax(worst_case, beta=beta, estimator=estimator), epochs=setup.encoder_epochs, seed=seed)
        return model.eval()

    def _objective(self, robust: bool, radius: float | None = None) -> Any:
        """Training of a classifier; a radius of its own shortens the steps in proportion."""
        attack = self.setup.attack
        if radius is not None:
            attack = replace(attack, threat=Linf(radius), step_size=attack.size * radius / attack.threat.radius)
        return AdversarialTraining(attack) if robust else Standard()

    def head(self, encoder: nn.Module, seed: int, *, kind: str, robust: bool, name: str,
             monitor: Callable[[nn.Module], Mapping[str, float]] | None = None, monitored: str = "") -> tuple[nn.Module, History]:
        """Head trained above a frozen representation.

        Parameters
        ----------
        encoder : nn.Module
            The representation; it is not changed.
        seed : int
            Of weights and training.
        kind : {"MLP", "Linear"}
            Architecture of the head.
        robust : bool
            Adversarial training of the head, the attack going through the representation.
        name : str
            What the representation is called; heads on representations of different names are never confused.
        monitor : callable, optional
            As for `fit`; the best epoch is chosen by its ``adversarial_accuracy``.
        monitored : str
            What the monitor measures, in words that decide it. Without them such a head is kept in the run's own folder.

        Returns
        -------
        (nn.Module, History)
            Classifier in evaluation mode, and its training.
        """
        self._heading(f"{'robust' if robust else 'standard'} {kind} head on the {name} representation, seed {seed}")
        model = Classifier(encoder, _seeded(seed, lambda: _new_head(kind, self.data.num_classes)))
        history = self._fit(f"{name}-{kind}-{'robust' if robust else 'standard'}", f"{kind} head on {name} {fingerprint(encoder)}", model,
                            self._objective(robust), seed=seed, epochs=self.setup.head_epochs, frozen=[encoder], monitor=monitor,
                            monitored=monitored, select=None if monitor is None else "adversarial_accuracy")
        return model.eval(), history

    def supervised(self, seed: int, *, architecture: str = "baseline_h", kind: str = "MLP", robust: bool,
                   radius: float | None = None, **options: Any) -> nn.Module:
        """Classifier trained with labels from end to end.

        Parameters
        ----------
        seed : int
            Of weights and training.
        architecture : str
            As for `robinfo.models.classifier`.
        kind : {"MLP", "Linear"}
            Head of Baseline-H.
        robust : bool
            Whether by adversarial training.
        radius : float, optional
            Radius of the attack of adversarial training; that of the settings where none is given. Steps shorten in proportion.
        **options
            For `fit`, in place of Adam with the learning rate of the settings.

        Returns
        -------
        nn.Module
            In evaluation mode.
        """
        within = f" with radius {radius:g}" if robust and radius is not None else ""
        head = f" ({kind} head)" if architecture == "baseline_h" else ""
        self._heading(f"fully supervised {architecture}{head}, {'robust' if robust else 'standard'}{within}, seed {seed}")
        data, setup, how = self.data, self.setup, "robust" if robust else "standard"
        model = _seeded(seed, lambda: _new_classifier(architecture, kind, data, setup.width))
        network = f"{architecture}, width {setup.width!r}" + (f", {kind} head" if architecture == "baseline_h" else "")
        self._fit(f"{architecture}-{kind}-{how}" if architecture == "baseline_h" else f"{architecture}-{how}", network, model,
                  self._objective(robust, radius), seed=seed, epochs=setup.classifier_epochs, **options)
        return model.eval()

    def correct(self, model: nn.Module, attack: PGD | None = None) -> int:
        """Number of test images classified correctly, before or after an attack.

        Parameters
        ----------
        model : nn.Module
            Images to logits, in evaluation mode.
        attack : PGD, optional
            None counts clean images.

        Returns
        -------
        int
            At most the number of test images.
        """
        device = next(model.parameters()).device
        images, labels = (part.to(device) for part in self.test)
        return int(survivors(model, images, labels, attack, batch_size=500, progress=attack is not None).sum())

    def accuracies(self, model: nn.Module) -> dict[str, int]:
        """Counts of correct test images: natural, and under the attack of the evaluation.

        Parameters
        ----------
        model : nn.Module
            Images to logits, in evaluation mode.

        Returns
        -------
        dict of str to int
            "natural_accuracy" and "adversarial_accuracy".
        """
        return {"natural_accuracy": self.correct(model),
                "adversarial_accuracy": self.correct(model, self.setup.evaluation_attack)}

    def vulnerability(self, representation: nn.Module, seed: int, name: str) -> VulnerabilityEstimate:
        """Normal and worst-case information of a representation, and the difference.

        Parameters
        ----------
        representation : nn.Module
            Images to [N, d].
        seed : int
            Of the critics.
        name : str
            What it is called; critics of different names are never confused.

        Returns
        -------
        VulnerabilityEstimate
            In nats.
        """
        setup = self.setup
        self._heading(f"information of the {name} representation, seed {seed}")
        size = min(setup.batch_size, len(self.test[0]))
        identity = self.identity(f"critics of {name} {fingerprint(representation)}", self._infomax(worst_case=True), seed,
                                 epochs=setup.critic_epochs, batch_size=size, augment="none")
        folder = model_file(identity, f"{setup.dataset}-{name}-critics").with_suffix("")
        with only_writer(folder / "critics"):
            estimate = estimate_vulnerability(
                representation, to_float(self.data.train_images), self.test[0], setup.threat, epochs=setup.critic_epochs,
                batch_size=size, steps=setup.attack.steps, step_size=setup.attack.size, estimator=setup.estimator,
                negatives=setup.negatives, gradient=setup.gradient, critic_width=setup.critic_width,
                critic_channels=setup.critic_channels, critic_scale=setup.critic_scale, learning_rate=setup.learning_rate, seed=seed,
                device=setup.device, precision=setup.precision, checkpoint=folder)
            for which, history in zip(("normal", "worst_case"), estimate.histories, strict=True):
                if history.epochs:
                    note_model(folder / which, identity, history)
        return estimate

    # --- rows

    def accuracy_row(self, metric: str, counts: Sequence[int], *, model: str, method: str,
                     paper: Mapping[str, Any] | None = None, note: str = "") -> Row:
        """One accuracy in per cent: mean over seeds, with a Student interval, or a binomial one for a single seed.

        Parameters
        ----------
        metric : str
            "natural_accuracy" or "adversarial_accuracy".
        counts : sequence of int
            Correct test images, one for each seed.
        model, method : str
            What was measured.
        paper : mapping, optional
            The published cell.
        note : str
            What else a reader of the row has to know.

        Returns
        -------
        Row
            Judged.
        """
        n, setup = len(self.test[0]), self.setup
        shares = [100 * c / n for c in counts]
        interval = mean_interval(shares)
        interval = binomial_interval(counts[0], n, scale=100) if interval is None else (max(interval[0], 0.0), min(interval[1], 100.0))
        attacked = metric == "adversarial_accuracy"
        row = Row(metric=metric, value=sum(shares) / len(shares), unit="%", n=n, interval=interval, dataset=setup.dataset,
                  model=model, method=method, attack=_attack_name(setup.evaluation_attack) if attacked else None,
                  threat=str(setup.threat) if attacked else None, seeds=tuple(setup.seeds), paper=paper, settings="; ".join(filter(None, (setup.reduced(), note))))
        return judge(row, comparable=setup.comparable)

    def information_rows(self, estimates: Sequence[VulnerabilityEstimate], *, model: str, method: str,
                         papers: Mapping[str, Any] | None = None) -> list[Row]:
        """Normal information, worst-case information and vulnerability, in nats; mean over seeds.

        Parameters
        ----------
        estimates : sequence of VulnerabilityEstimate
            One for each seed; the interval is over seeds, or over held-out batches for a single one.
        model, method : str
            What was measured.
        papers : mapping, optional
            Published cells by metric.

        Returns
        -------
        list of Row
            Three rows, judged.
        """
        rows, seeds = [], tuple(self.setup.seeds)
        for metric, name in (("normal_mi", "normal"), ("worst_case_mi", "worst_case"), ("vulnerability", "vulnerability")):
            values = [getattr(e, metric) for e in estimates]
            interval = mean_interval(values) or getattr(estimates[0], f"{name}_interval")
            worst = metric != "normal_mi"
            rows.append(judge(Row(metric=metric, value=sum(values) / len(values), unit="nats", n=estimates[0].batches,
                                  interval=interval, dataset=self.setup.dataset, model=model, method=method,
                                  attack=f"PGD-{self.setup.attack.steps} on the batch estimate" if worst else None,
                                  threat=str(self.setup.threat) if worst else None, seeds=seeds,
                                  paper=(papers or {}).get(metric), settings=self.setup.reduced()),
                              comparable=self.setup.comparable))
        return rows


def _attack_name(attack: PGD) -> str:
    """The attack in a few words; its ball stands in the row's threat."""
    start = "random start" if attack.random_start else "no random start"
    return f"PGD-{attack.steps}, step {attack.size:.4g}, {start}"


def _check_limits(setup: Setup) -> None:
    """Settings that would only fail after a long time fail now."""
    if setup.dataset not in _PAPER_ATTACK:
        raise ValueError(f"dataset must be one of {', '.join(_PAPER_ATTACK)}, got {setup.dataset!r}; choose one of them")
    if not setup.seeds:
        raise ValueError("seeds must name at least one repetition, got none; for example seeds=[0]")
    for name in ("train_images", "test_images"):
        limit = getattr(setup, name)
        if limit is not None and limit < 2:
            raise ValueError(f"{name} must be at least 2 or None, got {limit}; raise it")


def _seeded(seed: int, make: Callable[[], Any]) -> Any:
    """What a function makes with start values from a seed; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _new_classifier(architecture: str, kind: str, data: ImageDataset, width: float) -> Any:
    """An untrained classifier for the data; `kind` is the head of Baseline-H, `width` a factor on its channels and those of torchvision's networks."""
    model: Any = classifier(architecture, in_channels=data.in_channels, image_size=data.image_size[0], num_classes=data.num_classes, width=width)
    if architecture == "baseline_h":
        model.head = _new_head(kind, data.num_classes)
        return model
    if architecture not in _NARROWABLE:
        return model
    return (model if width == 1 else _narrowed(model, width, data.in_channels)).to(memory_format=torch.channels_last)


def _narrowed(network: nn.Module, width: float, in_channels: int) -> nn.Module:
    """An untrained convolutional network with every number of channels between image and logits scaled; start values by He et al."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                inputs = in_channels if layer.in_channels == in_channels else _scaled(layer.in_channels, width)
                new: nn.Module = nn.Conv2d(inputs, _scaled(layer.out_channels, width), layer.kernel_size, layer.stride, layer.padding,  # type: ignore[arg-type]
                                           bias=layer.bias is not None)
                nn.init.kaiming_normal_(new.weight)  # type: ignore[arg-type]
            elif isinstance(layer, nn.BatchNorm2d):
                new = nn.BatchNorm2d(_scaled(layer.num_features, width))
            elif isinstance(layer, nn.Linear):
                new = nn.Linear(_scaled(layer.in_features, width), layer.out_features)
            else:
                continue
            setattr(parent, name, new)
    return network


def _scaled(size: int, width: float) -> int:
    """A number of channels times a factor, at least one."""
    return max(1, round(size * width))


def _new_head(kind: str, num_classes: int) -> nn.Module:
    """An untrained head."""
    if kind not in ("MLP", "Linear"):
        raise ValueError(f"a head must be 'MLP' or 'Linear', got {kind!r}; choose one of them")
    return mlp_head(num_classes=num_classes) if kind == "MLP" else linear_head(num_classes=num_classes)
