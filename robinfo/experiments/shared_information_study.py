"""The study behind the experiments of the shared-information paper (2022): settings, methods, models found again, rows.

`Settings` states what is run, `METHODS` the five objectives with the paper's optimiser settings, `ours` and `of_method` make variants of
them, and `Study` trains each model once, finds it again in any later run, attacks it and turns counts into rows.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robinfo.attacks import PGD, AutoAttack, CarliniWagner
from robinfo.data import ImageDataset, augmentation, load, stratified_order, to_float
from robinfo.evaluation import evaluate, survivors
from robinfo.experiments.models_store import Count, evaluation_folder, model_file, note_model, only_writer
from robinfo.experiments.record import Row, judge, paper_row
from robinfo.latent import GaussianLatent, gaussian_classifier
from robinfo.models import classifier
from robinfo.objectives import AdversarialTraining, Objective, Standard
from robinfo.objectives.base import Ramp
from robinfo.objectives.regularised import MART, MMA, TRADES
from robinfo.objectives.shared_information import LogLinear, SharedInformation
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.threats import Linf
from robinfo.training import History, fit, load_tensors, readable_time, save_tensors

__all__ = ["METHODS", "PAPER_MODEL", "SURROGATE", "Count", "Recipe", "Settings", "Study", "Variant", "evaluation_attacks", "of_method", "ours",
           "paper_recipe"]

Attack = Callable[..., Tensor]
Counts = Mapping[str, "Count"]


# --- the paper's settings -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Case:
    """What the paper does on one data set: network, ball, searches of training and evaluation, final weight of the divergence."""

    architecture: str
    radius: float
    steps: int
    step_size: float
    evaluation_step: float
    carlini_wagner_step: float
    augment: str = "none"
    beta: float = 4.0
    margins: tuple[float, float] = (1 / 3, 1.5)  # of MMA, as multiples of the radius: 0.1 and 0.45 for MNIST


_MNIST = _Case("small_cnn", 0.3, 40, 0.01, 0.01, 0.003)
_CIFAR = _Case("resnet18", 0.031, 10, 0.007, 0.003, 0.01, "crop_flip", margins=(0.005 / 0.031, 12 / 255 / 0.031))
_CASES = {"mnist": _MNIST, "cifar10": _CIFAR,
          "cifar100": replace(_CIFAR, architecture="wide_resnet34_10", steps=20, step_size=0.003, beta=6.0),
          "fashion_mnist": replace(_MNIST, radius=0.1), "digits": replace(_MNIST, radius=0.1)}  # the last two are not in the paper
PAPER_MODEL = {"small_cnn": "4-layer CNN", "resnet18": "ResNet18", "wide_resnet34_10": "WideResNet-34-10", "resnet50": "ResNet-50"}


@dataclass(frozen=True)
class Recipe:
    """How a method is optimised.

    Parameters
    ----------
    epochs : int
        Passes over the training images.
    learning_rate, weight_decay : float
        Of the optimiser.
    milestones : tuple of int
        Epochs after which the rate is multiplied by `decay`; an epoch that stands twice counts twice.
    optimizer : {"sgd", "adam"}
        SGD has momentum 0.9, which the paper does not state.
    decay : float
        See `milestones`.
    early : int or None
        Epoch at which Table 11 stops.

    Examples
    --------
    >>> Recipe(100, 0.01, 5e-4, (55, 75, 90)).scaled(10)
    Recipe(epochs=10, learning_rate=0.01, weight_decay=0.0005, milestones=(6, 8, 9), optimizer='sgd', decay=0.1, early=None)
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    milestones: tuple[int, ...] = ()
    optimizer: str = "sgd"
    decay: float = 0.1
    early: int | None = None

    def at_scale(self, epoch: float, epochs: int) -> int:
        """Where an epoch of this recipe lies in a run of another length; halves are rounded up.

        Parameters
        ----------
        epoch : float
            Of this recipe.
        epochs : int
            Length of the other run.

        Returns
        -------
        int
            At least 0.
        """
        return int(epoch * epochs / self.epochs + 0.5)

    def scaled(self, epochs: int) -> Recipe:
        """The same recipe in another number of epochs.

        Parameters
        ----------
        epochs : int
            Length of the run.

        Returns
        -------
        Recipe
            With milestones and early stop moved in proportion.
        """
        early = None if self.early is None else max(1, min(epochs, self.at_scale(self.early, epochs)))
        return replace(self, epochs=epochs, milestones=tuple(self.at_scale(m, epochs) for m in self.milestones), early=early)


_SHORT = {  # Table 3, MNIST; it has no column for plain adversarial training, which takes that of the paper's own method
    "Standard": Recipe(100, 0.01, 5e-4, (55, 75, 90), early=63), "TRADES": Recipe(100, 0.01, 5e-4, (55, 75, 90), early=63),
    "MMA": Recipe(50, 1e-4, 5e-4, (), "adam", early=32), "MART": Recipe(50, 0.01, 5e-4, (20, 40), early=38),
    "Ours": Recipe(100, 0.01, 5e-4, (55, 75, 90), early=84)}
_LONG = {  # Table 3, CIFAR; MMA: 0.3, then 0.095 (printed 0.09), then 0.003
    "Standard": Recipe(120, 0.1, 5e-4, (75, 90, 100), early=76), "TRADES": Recipe(120, 0.1, 2e-4, (75, 90), early=76),
    "MMA": Recipe(120, 0.3, 2e-4, (75, 90, 90, 90), decay=0.1**0.5, early=76), "MART": Recipe(120, 0.1, 3.5e-4, (75, 90), early=91),
    "Ours": Recipe(120, 0.1, 5e-4, (75, 90, 100), early=101)}
_NATURAL = Recipe(100, 0.1, 5e-4, (75, 90))  # the surrogate of Table 6, of which only the epochs are stated


def paper_recipe(dataset: str, method: str) -> Recipe:
    """How the paper optimises a method on a data set.

    Parameters
    ----------
    dataset : str
        As for `robinfo.data.load`.
    method : str
        One of `METHODS`, or "Natural" for training on clean images.

    Returns
    -------
    Recipe
        From Table 3; handwriting and clothes take MNIST's.

    References
    ----------
    Yu et al. (2022), Table 3; stopping epochs: Appendix A.1 (stated for CIFAR-10; for MNIST in proportion to the length).

    Examples
    --------
    >>> paper_recipe("cifar10", "MART").learning_rate, paper_recipe("mnist", "MMA").optimizer
    (0.1, 'adam')
    """
    if method == "Natural":
        return _NATURAL if dataset.startswith("cifar") else replace(_NATURAL, learning_rate=0.01)
    return (_LONG if dataset.startswith("cifar") else _SHORT)[method]


# --- settings -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one experiment; None stands for the paper's value on the data set.

    Parameters
    ----------
    dataset : str
        As for `robinfo.data.load`.
    architecture : str or None
        As for `robinfo.models.classifier`.
    run_dir : str
        Folder for figures and metrics; models lie in the results folder, where other experiments find them.
    seeds : sequence of int
        One independent training of every method each; the paper has three.
    train_images, test_images : int or None
        How many; None takes all.
    attack_images : int or None
        How many of the test images the slow attacks see (all that are not PGD); None: all.
    epochs : int or None
        Length of every training; milestones and the schedule of beta move in proportion.
    ramp_epochs : int
        Epochs over which the radius of training grows; 0 has the full radius from the start, as the paper.
    epsilon : float or None
        Radius of the Linf ball, pixel units.
    train_steps, train_step_size : int, float or None
        The PGD of training.
    train_precision, train_memory_format : str
        How that PGD computes, as for `PGD`.
    learning_rate, weight_decay, optimizer : float, float, str or None
        In place of each method's own.
    batch_size : int
        Images per step; the paper has 128.
    augment : str or None
        As for `robinfo.data.augmentation`.
    inference : {"mean", "sample", "average"}
        How a Gaussian latent answers in evaluation, as for `GaussianLatent`; the paper does not say. Training attacks take the mean.
    samples : int
        Draws of "average".
    device, precision : str
        As for `fit`.

    Examples
    --------
    >>> settings = Settings(dataset="cifar10")
    >>> str(settings.threat), settings.attack.steps, settings.network
    ('Linf(0.031)', 10, 'resnet18')
    """

    dataset: str
    architecture: str | None = None
    run_dir: str = "."
    seeds: Sequence[int] = (0, 1, 2)
    train_images: int | None = None
    test_images: int | None = None
    attack_images: int | None = None
    epochs: int | None = None
    ramp_epochs: int = 0
    epsilon: float | None = None
    train_steps: int | None = None
    train_step_size: float | None = None
    train_precision: Literal["float32", "bfloat16"] = "float32"
    train_memory_format: Literal["preserve", "channels_last"] = "preserve"
    learning_rate: float | None = None
    weight_decay: float | None = None
    optimizer: str | None = None
    batch_size: int = 128
    augment: str | None = None
    inference: Literal["mean", "sample", "average"] = "mean"
    samples: int = 20
    device: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.dataset not in _CASES:
            raise ValueError(f"dataset must be one of {', '.join(_CASES)}, got {self.dataset!r}; choose one of them")
        if not self.seeds:
            raise ValueError("seeds must name at least one repetition, got none; for example seeds=[0]")
        for name in ("train_images", "test_images", "attack_images", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}; raise it")

    @property
    def case(self) -> _Case:
        """The paper's values on the data set."""
        return _CASES[self.dataset]

    @property
    def network(self) -> str:
        """Name of the architecture."""
        return self.architecture or self.case.architecture

    @property
    def threat(self) -> Linf:
        """The ball of training and evaluation."""
        return Linf(self.case.radius if self.epsilon is None else self.epsilon)

    @property
    def search(self) -> dict[str, Any]:
        """Steps and manner of the PGD of training, as options of an objective."""
        return {"steps": self.train_steps or self.case.steps, "precision": self.train_precision, "memory_format": self.train_memory_format}

    @property
    def step_size(self) -> float | None:
        """Length of a step of that PGD; with another radius or number of steps and no length given, `PGD`'s own choice."""
        if self.train_step_size is not None or self.epsilon is not None or self.train_steps is not None:
            return self.train_step_size
        return self.case.step_size

    @property
    def attack(self) -> PGD:
        """The PGD of training: random start, last iterate."""
        return PGD(self.threat, step_size=self.step_size, keep="last", **self.search)

    @property
    def comparable(self) -> bool | str:
        """True where ball and network are the paper's, else a text that says what is not."""
        if self.threat != Linf(self.case.radius):
            return f"another threat than the paper's {Linf(self.case.radius)}"
        if self.network not in PAPER_MODEL:
            return f"another network than the paper's: {self.network}"
        return True

    def reduced(self) -> str:
        """What is smaller or other than in the paper, as a text for results; empty when nothing is."""
        names = ("train_images", "test_images", "attack_images", "epochs", "train_steps", "learning_rate", "weight_decay", "optimizer")
        less = [f"{name} {getattr(self, name)}" for name in names if getattr(self, name) is not None]
        less += [f"{len(self.seeds)} trial{'s' if len(self.seeds) > 1 else ''}"] if len(self.seeds) < 3 else []
        return f"reduced: {', '.join(less)}" if less else ""

    def manner(self) -> str:
        """How training differs from the paper's without being less of it, as a text for results; empty where it does not."""
        parts = [f"radius of training grows over {self.ramp_epochs} epochs"] if self.ramp_epochs > 1 else []
        parts += [f"training attack in {self.train_precision}"] if self.train_precision != "float32" else []
        parts += [f"trained in {self.precision}"] if self.precision != "32-true" else []
        return ", ".join(parts)


# --- methods ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Variant:
    """One trained method: an objective with its options, the kind of network, and how it is optimised.

    Parameters
    ----------
    name : str
        As in the paper's tables.
    method : str
        Which objective and recipe: one of `METHODS`, or "Natural".
    kind : {"plain", "gaussian"}
        The classifier itself, or with a Gaussian layer before its last one.
    options : mapping of str to object
        For the objective, in place of the paper's: alpha, beta, lam, dependence, location, … for "Ours"; beta for "TRADES" and "MART".
    architecture : str, optional
        In place of that of the settings.
    recipe : Recipe, optional
        In place of the paper's.

    Examples
    --------
    >>> METHODS["TRADES"].kind, str(METHODS["TRADES"].objective(Settings(dataset="cifar10")))
    ('plain', 'TRADES(Linf(0.031), steps=10, step_size=0.007, beta=6, start=0.001)')
    """

    name: str
    method: str
    kind: Literal["plain", "gaussian"] = "plain"
    options: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    recipe: Recipe | None = None

    def plan(self, settings: Settings, epochs: int | None = None) -> Recipe:
        """How it is optimised under some settings.

        Parameters
        ----------
        settings : Settings
            May replace length, rate, weight decay and optimiser.
        epochs : int, optional
            Length of the training, in place of the settings'.

        Returns
        -------
        Recipe
            With everything in proportion to its length.
        """
        own = self.recipe or paper_recipe(settings.dataset, self.method)
        plan = own.scaled(epochs or settings.epochs or own.epochs)
        new = {name: getattr(settings, name) for name in ("learning_rate", "weight_decay", "optimizer")}
        return replace(plan, **{name: value for name, value in new.items() if value is not None})

    def objective(self, settings: Settings, epochs: int | None = None) -> Objective:
        """What is optimised under some settings.

        Parameters
        ----------
        settings : Settings
            Ball and attack of training.
        epochs : int, optional
            As in `plan`; schedules run in proportion.

        Returns
        -------
        Objective
            Wrapped in `Ramp` if the settings have one.
        """
        own = self.recipe or paper_recipe(settings.dataset, self.method)
        made = _OBJECTIVES[self.method](settings, dict(self.options), own, self.plan(settings, epochs).epochs)
        return Ramp(made, settings.ramp_epochs) if settings.ramp_epochs > 1 and self.method != "Natural" else made

    def network(self, settings: Settings, data: ImageDataset) -> nn.Module:
        """A new network with weights from the global random numbers.

        Parameters
        ----------
        settings : Settings
            Names the architecture.
        data : ImageDataset
            Gives channels, size and classes.

        Returns
        -------
        nn.Module
            A `GaussianLatent` answering by its mean for the kind "gaussian".
        """
        make = gaussian_classifier if self.kind == "gaussian" else classifier
        return make(self.architecture or settings.network, in_channels=data.in_channels, image_size=data.image_size[0],
                    num_classes=data.num_classes)


def _plain_training(settings: Settings, options: dict[str, Any], recipe: Recipe, epochs: int) -> Objective:
    """The paper's "Standard": adversarial training on the cross-entropy."""
    return AdversarialTraining(settings.attack, **options)


def _trades(settings: Settings, options: dict[str, Any], recipe: Recipe, epochs: int) -> Objective:
    """TRADES with the weight of its authors' programs: 1 for MNIST, 6 for CIFAR."""
    beta = options.pop("beta", 6.0 if settings.dataset.startswith("cifar") else 1.0)
    return TRADES(settings.threat, step_size=settings.step_size, beta=beta, **settings.search, **options)


def _mart(settings: Settings, options: dict[str, Any], recipe: Recipe, epochs: int) -> Objective:
    """MART with its authors' weight for ResNet-18."""
    return MART(settings.threat, step_size=settings.step_size, **settings.search, **options)


def _mma(settings: Settings, options: dict[str, Any], recipe: Recipe, epochs: int) -> Objective:
    """MMA with the largest margin of Table 3 and the smallest of its authors' program."""
    low, high = (share * settings.threat.radius for share in settings.case.margins)
    return MMA(Linf(options.pop("largest_margin", high)), **{"minimum_radius": low} | settings.search | options)


def _shared_information(settings: Settings, options: dict[str, Any], recipe: Recipe, epochs: int) -> Objective:
    """The paper's objective; the schedule of beta keeps its place in the run."""
    stretched = LogLinear(start=1e-3, hold=recipe.at_scale(10, epochs), ramp=max(1, recipe.at_scale(90, epochs)))
    filled: dict[str, Any] = {"alpha": 0.5, "beta": settings.case.beta, "lam": 0.001, "schedule": stretched} | options
    return SharedInformation(settings.attack, **filled)


_OBJECTIVES: dict[str, Callable[[Settings, dict[str, Any], Recipe, int], Objective]] = {
    "Natural": lambda settings, options, recipe, epochs: Standard(), "Standard": _plain_training, "TRADES": _trades, "MMA": _mma,
    "MART": _mart, "Ours": _shared_information}
METHODS: dict[str, Variant] = {name: Variant(name=name, method=name, kind="gaussian" if name == "Ours" else "plain")
                               for name in ("Standard", "TRADES", "MMA", "MART", "Ours")}
SURROGATE = Variant(name="Surrogate", method="Natural", architecture="resnet50")


def of_method(method: str, name: str | None = None, **options: Any) -> Variant:
    """A variant of one of the five methods.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    name : str, optional
        As in the table; the method's own if not given.
    **options
        For the objective.

    Returns
    -------
    Variant
        With the method's kind and recipe.

    Raises
    ------
    ValueError
        Unknown method.

    Examples
    --------
    >>> str(of_method("TRADES", beta=3.0).objective(Settings(dataset="mnist")))
    'TRADES(Linf(0.3), steps=40, step_size=0.01, beta=3, start=0.001)'
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}; choose one of them")
    return replace(METHODS[method], name=name or method, options=options)


def ours(name: str = "Ours", **options: Any) -> Variant:
    """A variant of the paper's method.

    Parameters
    ----------
    name : str
        As in the table.
    **options
        For `SharedInformation`: alpha, beta, lam, dependence, location, schedule, …; what is not given is the paper's.

    Returns
    -------
    Variant
        A plain network for ``location="softmax"``, else one with a Gaussian layer.

    Examples
    --------
    >>> ours("Ours @ p(y|x)", location="softmax", lam=0.1).kind
    'plain'
    """
    return Variant(name=name, method="Ours", kind="plain" if options.get("location") == "softmax" else "gaussian", options=options)


# --- attacks ------------------------------------------------------------------------------------------------------------
def evaluation_attacks(settings: Settings, names: Sequence[str] = ("natural", "PGD-20", "PGD-40", "C&W(l2)", "AA")) -> dict[str, Attack | None]:
    """Attacks of the evaluation by their names in the paper.

    Parameters
    ----------
    settings : Settings
        Ball and data set.
    names : sequence of str
        "natural", "PGD-k" for any k, "C&W(l2)", "AA".

    Returns
    -------
    dict of str to attack or None
        PGD: random start, the worst iterate counts, step 0.01 (0.003 for CIFAR; in proportion where the radius is another). C&W: one
        constant c = 1, 20 Adam steps, no radius. AutoAttack: the standard four.

    Raises
    ------
    ValueError
        Unknown name.

    Examples
    --------
    >>> print(evaluation_attacks(Settings(dataset="mnist"), ["PGD-20"])["PGD-20"])
    PGD(Linf(0.3), steps=20, step_size=0.01, random_start=True, restarts=1, keep='best', seed=0, drop_fooled='steps')
    """
    return {name: _evaluation_attack(settings, name) for name in names}


def _evaluation_attack(settings: Settings, name: str) -> Attack | None:
    """One attack by its name."""
    case, threat = settings.case, settings.threat
    if name == "natural":
        return None
    if name == "C&W(l2)":
        return CarliniWagner(None, steps=20, binary_search_steps=1, initial_const=1.0, step_size=case.carlini_wagner_step, abort_early=False)
    if name == "AA":
        return AutoAttack(threat, fast=True)
    if name.startswith("PGD-") and name[4:].isdigit() and int(name[4:]):
        size = case.evaluation_step if settings.epsilon is None else case.evaluation_step * threat.radius / case.radius
        return PGD(threat, steps=int(name[4:]), step_size=size, seed=0, drop_fooled="steps")
    raise ValueError(f"an attack must be natural, PGD-k, C&W(l2) or AA, got {name!r}; for example PGD-20")


# --- the study ----------------------------------------------------------------------------------------------------------
class Study:
    """Data, models that are trained once and found again, evaluation, rows.

    Parameters
    ----------
    settings : Settings
        The settings.
    parts : int
        How many trainings there will be, for the headings of the progress.

    Examples
    --------
    >>> study = Study(Settings(dataset="digits", train_images=100, test_images=50, attack_images=20))
    >>> study.data.train_images.shape[0], study.test[0].shape[0], study.attacked[0].shape[0]
    (100, 50, 20)
    """

    def __init__(self, settings: Settings, parts: int = 0) -> None:
        self.settings, self.parts, self.started, self.begun = settings, parts, 0, time.perf_counter()
        self.histories: dict[Path, History] = {}

    # --- data

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

    def fraction(self, share: float) -> ImageDataset:
        """The data with a share of the training images, nested in larger shares.

        Parameters
        ----------
        share : float
            In (0, 1].

        Returns
        -------
        ImageDataset
            Classes in proportion; the test images are the same.
        """
        if not 0 < share <= 1:
            raise ValueError(f"train_fraction must lie in (0, 1], got {share}; for example 0.4")
        return self.data.subset(train=max(1, round(share * len(self.data.train_images))), seed=0)

    # --- models

    def identity(self, variant: Variant, seed: int, *, epochs: int | None = None, train_fraction: float = 1.0) -> dict[str, str]:
        """Every setting that makes a trained model what it is.

        Parameters
        ----------
        variant : Variant
            The method.
        seed : int
            Of weights and training.
        epochs, train_fraction
            As for `trained`.

        Returns
        -------
        dict of str to str
            Device and progress are left out: they change no more than rounding.
        """
        s, plan = self.settings, variant.plan(self.settings, epochs)
        return {"dataset": s.dataset, "method": variant.method, "objective": str(variant.objective(s, epochs)), "network":
                f"{variant.architecture or s.network}, {variant.kind}", "train_images": str(s.train_images), "fraction": f"{train_fraction:g}",
                "recipe": str(replace(plan, early=None)), "batch_size": str(s.batch_size), "augment": s.augment or s.case.augment,
                "precision": s.precision, "seed": str(seed)}

    def checkpoint(self, variant: Variant, seed: int, **options: Any) -> Path:
        """File of a model, the same in every experiment.

        Parameters
        ----------
        variant : Variant
            The method.
        seed : int
            Of weights and training.
        **options
            `epochs` and `train_fraction`, as for `trained`.

        Returns
        -------
        Path
            Below the results folder, in ``models``.
        """
        return model_file(self.identity(variant, seed, **options), f"{self.settings.dataset}-{variant.method.lower()}")

    def trained(self, variant: Variant, seed: int, *, epochs: int | None = None, train_fraction: float = 1.0,
                at: int | Literal["early"] | None = None) -> nn.Module:
        """A model, trained now or found from an earlier run of any experiment.

        Parameters
        ----------
        variant : Variant
            The method.
        seed : int
            Of weights and training.
        epochs : int, optional
            Length of the training, in place of the settings'.
        train_fraction : float
            Share of the training images.
        at : int or "early", optional
            Weights after that epoch of the training, of which a copy is kept; "early" is the paper's stopping epoch, of which a copy is
            always kept. The last epoch if not given.

        Returns
        -------
        nn.Module
            In evaluation mode; a Gaussian latent answers as the settings say.

        Raises
        ------
        ValueError
            An epoch that has passed without a copy.
        """
        options: dict[str, Any] = {"epochs": epochs, "train_fraction": train_fraction}
        path, plan = self.checkpoint(variant, seed, **options), variant.plan(self.settings, epochs)
        early = plan.early if at == "early" else at
        stops = sorted({e for e in (plan.early, early, plan.epochs) if e is not None and e <= plan.epochs})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = variant.network(self.settings, self.data)
        self._heading(f"{variant.name}, {variant.architecture or self.settings.network}, seed {seed}")
        with only_writer(path):
            for stop in stops:
                self._train(variant, model, path, plan, stop, seed, **options)
        if early is not None and early != plan.epochs:
            _load_copy(model, _copy_of(path, early))
        model = model.eval()
        if isinstance(model, GaussianLatent) and self.settings.inference != "mean":
            return model.with_inference(self.settings.inference, samples=self.settings.samples)
        return model

    def _train(self, variant: Variant, model: nn.Module, path: Path, plan: Recipe, stop: int, seed: int, *, epochs: int | None,
               train_fraction: float) -> None:
        """Train up to an epoch, unless that is done, and keep a copy of the weights."""
        copy, settings = _copy_of(path, stop), self.settings
        if copy.exists() or (stop < plan.epochs and _epochs_done(path) > stop):
            return
        name = settings.augment or settings.case.augment
        self.histories[path] = history = fit(
            model, variant.objective(settings, epochs), self.fraction(train_fraction), epochs=stop, seed=seed, batch_size=settings.batch_size,
            learning_rate=plan.learning_rate, weight_decay=plan.weight_decay, optimizer=plan.optimizer, milestones=plan.milestones,
            decay=plan.decay, augment=None if name == "none" else augmentation(name, settings.dataset), checkpoint=path,
            device=settings.device, precision=settings.precision)
        note_model(path, self.identity(variant, seed, epochs=epochs, train_fraction=train_fraction), history)
        if stop < plan.epochs:
            save_tensors(copy, model.state_dict(), {"epoch": str(stop)})

    def _heading(self, text: str) -> None:
        """One line: which part of how many, and how long the rest will take at the pace so far."""
        left = ""
        if self.started and self.parts > self.started:
            spent = time.perf_counter() - self.begun
            left = f" · about {readable_time(spent / self.started * (self.parts - self.started))} left for all"
        self.started += 1
        print(f"[{self.started}/{self.parts}] {text}{left}" if self.parts else text, flush=True)

    # --- evaluation

    def counts(self, model: nn.Module, attacks: Mapping[str, Attack | None]) -> dict[str, Count]:
        """Correct test images after each attack.

        Parameters
        ----------
        model : nn.Module
            Images to logits, in evaluation mode.
        attacks : mapping of str to attack or None
            From `evaluation_attacks`, or any ``attack(model, images, labels)``; None counts clean images.

        Returns
        -------
        dict of str to Count
            Clean images and PGD on all test images of the settings, everything else on `attack_images` of them. An evaluation that was cut
            goes on where it stopped, and one that is finished is found again while the package's code is the same; attacks without a
            seed or not robinfo's own, and models that answer by fresh draws, are always evaluated anew.
        """
        found = {}
        for name, attack in attacks.items():
            data = self.test if attack is None or isinstance(attack, PGD) else self.attacked
            images, labels = (part.to(next(model.parameters()).device) for part in data)
            started = time.perf_counter()
            if attack is None:
                alive = survivors(model, images, labels, batch_size=500)
            else:
                alive = evaluate(model, images, labels, {name: attack}, batch_size=500, progress=True,
                                 checkpoint=evaluation_folder(model, images, labels, name, attack)).survivors[name]
            correct, n = int(alive.sum()), len(labels)
            found[name] = Count(correct, n, "" if attack is None else str(attack))
            print(f"  {name}: {100 * correct / n:.2f} % of {n} in {readable_time(time.perf_counter() - started)}", flush=True)
        return found

    def rows(self, table: str, variant: Variant, trials: Sequence[Counts], *, model: str | None = None, note: str = "",
             paper: Mapping[str, Any] | None = None, paper_attack: str = "{}") -> list[Row]:
        """Accuracies of a method beside the paper's, one row for each attack.

        Parameters
        ----------
        table : str
            Number of the paper's table.
        variant : Variant
            The method; its name as in that table.
        trials : sequence of mapping of str to Count
            One for each seed, from `counts`.
        model : str, optional
            As in that table; the network of the settings if not given.
        note : str
            What else a reader of the rows has to know.
        paper : mapping, optional
            Further fields of the paper's cells, such as ``{"alpha": 0.5, "lam": 0.001}``, or other values of their metric or attack.
        paper_attack : str
            How the paper names an attack, for example ``"black-box {}"``.

        Returns
        -------
        list of Row
            Judged; without a published cell where the paper has none for this data set.
        """
        network = model or PAPER_MODEL.get(variant.architecture or self.settings.network, self.settings.network)
        where = {"dataset": self.settings.dataset, "model": network, "method": variant.name}
        rows = []
        for name in trials[0]:
            metric = {"metric": "natural_accuracy"} if name == "natural" else {"metric": "robust_accuracy", "attack": paper_attack.format(name)}
            cell = paper_row("Yu2022", table, required=False, **where | metric | dict(paper or {}))
            rows.append(self._row(name, [trial[name] for trial in trials], network, variant, note, cell))
        return rows

    def _row(self, name: str, counts: Sequence[Count], network: str, variant: Variant, note: str, cell: Mapping[str, Any] | None) -> Row:
        """One accuracy in per cent: mean over seeds with a Student interval, or a binomial one for a single seed."""
        s, shares, clean = self.settings, [100 * c.correct / c.n for c in counts], name == "natural"
        interval = mean_interval(shares) or binomial_interval(counts[0].correct, counts[0].n, scale=100)
        latent = "" if variant.kind == "plain" else f"latent answers by its {s.inference}" + (f" of {s.samples}" if s.inference == "average" else "")
        row = Row(metric="natural_accuracy" if clean else "robust_accuracy", value=sum(shares) / len(shares), unit="%", n=counts[0].n,
                  interval=interval, dataset=s.dataset, model=network, method=variant.name, attack=None if clean else name,
                  threat=None if clean or name == "C&W(l2)" else str(s.threat), seeds=tuple(s.seeds), paper=cell,
                  settings="; ".join(filter(None, (s.reduced(), s.manner(), note, latent, counts[0].attack))))
        return judge(row, comparable=s.comparable)


# --- copies of models ---------------------------------------------------------------------------------------------------
def _copy_of(path: Path, epoch: int) -> Path:
    """Where the weights after an epoch lie."""
    return path.with_name(f"{path.stem}-epoch{epoch}.safetensors")


def _epochs_done(path: Path) -> int:
    """Epochs that a checkpoint holds."""
    if not path.exists():
        return 0
    return len(json.loads(load_tensors(path)[1].get("robinfo", "{}")).get("history", ()))


def _load_copy(model: nn.Module, path: Path) -> None:
    """Give a model the weights after an earlier epoch."""
    if not path.exists():
        raise ValueError(f"the weights after that epoch were not kept, got no file {path.name}; remove {path.parent.name}/"
                         f"{path.name.split('-epoch')[0]}.safetensors to train again")
    model.load_state_dict(load_tensors(path)[0])
