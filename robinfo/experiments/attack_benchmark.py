"""The experiment `attack_benchmark`: what our attacks cost beside other libraries, and whether they find the same.

Same model, same images, same settings. The contenders of a task run one after the other in one process, one thread, in an order
that turns round each time; the first turn of the short tasks is thrown away. What is compared is CPU time, since a busy machine
stretches wall time: of each turn the seconds of the fastest other library divided by ours, then the median with its range.
Other libraries take part when they can be imported; without them their rows are left out, and the result says so.
"""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn

from robinfo.attacks import PGD, AutoAttack, cross_entropy
from robinfo.data import load, to_float
from robinfo.experiments.record import Row
from robinfo.models import classifier
from robinfo.theory.confidence import binomial_interval
from robinfo.threats import Linf

__all__ = ["TASKS", "Agreement", "Benchmark", "BenchmarkSetup", "Contest", "Outcome", "Task", "benchmark", "plot_ratios", "time_task"]

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]

TASKS = ("train-resnet", "train-cnn", "weak", "robust", "autoattack", "agreement")
_MODULES = {"foolbox": "foolbox", "torchattacks": "torchattacks", "ART": "art.attacks.evasion"}
_POINT = 1.0  # per cent: how far two robust accuracies may lie apart and still count as the same


# --- the other libraries ------------------------------------------------------------------------------------------------
def _foolbox_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of foolbox."""
    foolbox = import_module("foolbox")
    attack = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=size, random_start=True)
    return lambda model, images, labels: attack(foolbox.PyTorchModel(model, (0, 1), device="cpu"), images, labels, epsilons=eps)[1]


def _torchattacks_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of torchattacks."""
    library = import_module("torchattacks")
    return lambda model, images, labels: library.PGD(model, eps=eps, alpha=size, steps=steps, random_start=True)(images, labels)


def _art_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of the Adversarial Robustness Toolbox."""
    attacks, estimators = import_module("art.attacks.evasion"), import_module("art.estimators.classification")

    def attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The last iterate."""
        wrapped = estimators.PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=tuple(images.shape[1:]), nb_classes=10,
                                               clip_values=(0, 1), device_type="cpu")
        search = attacks.ProjectedGradientDescentPyTorch(wrapped, norm="inf", eps=eps, eps_step=size, max_iter=steps, num_random_init=1,
                                                         batch_size=len(images), verbose=False)
        return torch.from_numpy(search.generate(images.numpy(), labels.numpy()))

    return attack


_BUILDERS: dict[str, Callable[[float, int, float], Attack]] = {
    "foolbox": _foolbox_pgd, "torchattacks": _torchattacks_pgd, "ART": _art_pgd}


def _importable(name: str) -> bool:
    """Whether a library can be imported, not merely found: another package may bear its name."""
    try:
        import_module(_MODULES[name])
    except ImportError:
        return False
    return True


def _peers(eps: float, steps: int, size: float) -> dict[str, Attack]:
    """PGD of every other library that can be imported."""
    return {name: build(eps, steps, size) for name, build in _BUILDERS.items() if _importable(name)}


def _pyautoattack(eps: float, attacks: Sequence[str], queries: int, batch_size: int) -> Attack:
    """pyautoattack called directly, with its own defaults."""

    def attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """What its standard evaluation returns."""
        library = import_module("pyautoattack").AutoAttack(model, norm="Linf", eps=eps, seed=0, version="standard")
        library.attacks_to_run = list(attacks) or library.attacks_to_run
        library.square.n_queries = queries
        return library.run_standard_evaluation(images, labels, batch_size=batch_size)[0]

    return attack


# --- settings -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class BenchmarkSetup:
    """Settings of the benchmark; the defaults are the figures that the targets refer to.

    Parameters
    ----------
    dataset : str
        Handwriting, as for `robinfo.data.load`: "mnist" or "digits".
    tasks : sequence of str
        Out of `TASKS`.
    turns, autoattack_turns : int
        Timed turns of each contender.
    resnet_batch, resnet_steps : int
        Images 3x32x32 in a training step on ResNet-18, and PGD steps.
    cnn_batch, cnn_steps : int
        The same for the CNN of four layers on images 1x28x28.
    points, evaluation_steps : int
        Images and PGD steps of the tasks "weak" and "robust".
    weak_batches, robust_batches : int
        Batches of 128 images that the two CNNs are trained on.
    weak_radius, robust_radius : float
        Linf radius of the evaluations, pixel units.
    autoattack_points, queries : int
        Images of AutoAttack, and proposals of its Square.
    autoattack_members : sequence of str
        Members of the ensemble; empty for the standard four.
    agreement_points : int
        Images on which the libraries have to agree, at `robust_radius`.
    seeds : sequence of int
        Random starts of the agreement.

    Raises
    ------
    ValueError
        Unknown tasks, counts below 1, no seed.

    Examples
    --------
    >>> BenchmarkSetup().reduced(), BenchmarkSetup(points=32).reduced()
    ('', 'reduced: points 32')
    """

    dataset: str = "mnist"
    tasks: Sequence[str] = TASKS
    turns: int = 5
    autoattack_turns: int = 2
    resnet_batch: int = 32
    resnet_steps: int = 3
    cnn_batch: int = 256
    cnn_steps: int = 20
    points: int = 128
    evaluation_steps: int = 40
    weak_batches: int = 100
    robust_batches: int = 150
    weak_radius: float = 0.2
    robust_radius: float = 0.1
    autoattack_points: int = 100
    autoattack_members: Sequence[str] = ()
    queries: int = 5000
    agreement_points: int = 500
    seeds: Sequence[int] = (0, 1, 2)

    def __post_init__(self) -> None:
        if not self.tasks or (unknown := set(self.tasks) - set(TASKS)):
            raise ValueError(f"tasks must be out of {', '.join(TASKS)}, got {list(self.tasks)}; correct the names" if self.tasks and unknown
                             else f"tasks must name at least one of {', '.join(TASKS)}, got none; name one")
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; raise it")
        if not self.seeds:
            raise ValueError("seeds must name at least one random start, got none; for example seeds=[0]")

    def reduced(self) -> str:
        """What is smaller than the figures that the targets refer to; empty when nothing is."""
        full, less = BenchmarkSetup(), []
        for name, value in vars(self).items():
            default = getattr(full, name)
            if isinstance(value, int) and value < default or name == "dataset" and value != default:
                less.append(f"{name} {value}")
        less += [f"members {', '.join(self.autoattack_members)}"] if self.autoattack_members else []
        less += [f"{len(self.seeds)} seeds"] if len(self.seeds) < len(full.seeds) else []
        return f"reduced: {', '.join(less)}" if less else ""


# --- a task and its result ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Task:
    """One model with images, and who attacks it.

    Parameters
    ----------
    name, dataset, model_name, attack, threat : str
        For tables.
    model : nn.Module
        Images to logits, in evaluation mode.
    images : Tensor
        Shape [N, C, H, W], in [0, 1].
    labels : Tensor
        Shape [N].
    peers : mapping of str to callable
        Attack of each other library.
    ours : mapping of str to (callable, float or None)
        Our variants, each with the speed ratio it has to reach; None for one that is only shown.
    same : {"", "accuracy", "survivors"}
        What a variant must share with the fastest other library: nothing (a training step), a robust accuracy at most one point
        higher, or the very set of surviving images.
    warm_up : bool
        Whether a first turn is thrown away.
    """

    name: str
    dataset: str
    model_name: str
    attack: str
    threat: str
    model: nn.Module = field(repr=False)
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    peers: Mapping[str, Attack]
    ours: Mapping[str, tuple[Attack, float | None]]
    same: Literal["", "accuracy", "survivors"] = ""
    warm_up: bool = True


@dataclass(frozen=True)
class Outcome:
    """One target, and whether it was reached.

    Parameters
    ----------
    task, name : str
        Which task, which variant.
    value, target : float
        Measured, and asked for.
    interval : (float, float)
        Range over turns or seeds.
    reached : bool
        Whether the target was reached.
    text : str
        "reached", or by how much it was missed.
    """

    task: str
    name: str
    value: float
    target: float
    interval: tuple[float, float]
    reached: bool
    text: str


@dataclass(frozen=True)
class Contest:
    """CPU seconds of every contender of a task in every turn, and what each attack left.

    Parameters
    ----------
    task : Task
        What was run.
    seconds : mapping of str to list of float
        By contender, one number for each turn.
    alive : mapping of str to Tensor
        By contender, shape [N], bool: images still classified correctly.
    losses : mapping of str to float
        By contender: mean cross-entropy after the attack, nats.
    """

    task: Task
    seconds: Mapping[str, Sequence[float]]
    alive: Mapping[str, Tensor]
    losses: Mapping[str, float]

    @property
    def best_peer(self) -> str | None:
        """The other library with the smallest median; None if none took part."""
        return min(self.task.peers, key=lambda name: statistics.median(self.seconds[name]), default=None)

    def ratios(self, name: str) -> list[float]:
        """Seconds of the fastest other library divided by those of a contender, turn by turn.

        Parameters
        ----------
        name : str
            A contender.

        Returns
        -------
        list of float
            Above 1 where the contender is faster; empty without any other library.
        """
        best = self.best_peer
        return [] if best is None else [a / b for a, b in zip(self.seconds[best], self.seconds[name], strict=True)]

    def differs(self, name: str) -> str:
        """In what a contender's answer is not the fastest other library's; empty when the task's condition holds.

        Parameters
        ----------
        name : str
            A contender.

        Returns
        -------
        str
            A few words.
        """
        if self.best_peer is None or not self.task.same:
            return ""
        ours, theirs = self.alive[name], self.alive[self.best_peer]
        if self.task.same == "survivors":
            count = int((ours != theirs).sum())
            return f"{count} of {len(ours)} images survive in only one of the two" if count else ""
        more = 100 * int(ours.sum() - theirs.sum()) / len(ours)
        return f"robust accuracy {more:.1f} points higher" if more > _POINT else ""

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each of our variants that has a target; none without another library to compare with."""
        found = []
        for name, (_, target) in self.task.ours.items():
            ratios, differs = self.ratios(name), self.differs(name)
            if target is None or not ratios:
                continue
            value = statistics.median(ratios)
            short = [f"by {target - value:.3f}"] if value < target else []
            text = "missed " + ", ".join(short + ([differs] if differs else [])) if short or differs else "reached"
            found.append(Outcome(self.task.name, name, value, target, (min(ratios), max(ratios)), text == "reached", text))
        return found

    def rows(self, settings: str) -> list[Row]:
        """For each contender what the attack left, its CPU seconds, and for ours the speed ratio.

        Parameters
        ----------
        settings : str
            A note for every row.

        Returns
        -------
        list of Row
            Intervals: 95 % binomial for accuracies, the range over turns for seconds and ratios.
        """
        task, texts = self.task, {o.name: f"target {o.target}: {o.text}" for o in self.outcomes}
        common: dict[str, Any] = {"dataset": task.dataset, "model": task.model_name, "attack": task.attack, "threat": task.threat}
        rows = []
        for name, seconds in self.seconds.items():
            common |= {"method": f"{task.name}: {name}", "settings": "; ".join(filter(None, (settings, texts.get(name))))}
            rows.append(self._left(name, common))
            rows.append(Row(metric="CPU seconds", value=statistics.median(seconds), unit="s", n=len(seconds),
                            interval=(min(seconds), max(seconds)), **common))
            if name in task.ours and (ratios := self.ratios(name)):
                rows.append(Row(metric=f"speed ratio to the fastest peer ({self.best_peer})", value=statistics.median(ratios), unit="",
                                n=len(ratios), interval=(min(ratios), max(ratios)), **common))
        return rows

    def _left(self, name: str, common: Mapping[str, Any]) -> Row:
        """The robust accuracy; on a network with random weights the loss, as a sign of equal strength."""
        alive, n = int(self.alive[name].sum()), len(self.task.labels)
        if not self.task.same:
            return Row(metric="cross-entropy after the attack", value=self.losses[name], unit="nats", n=n, **common)
        return Row(metric="robust accuracy", value=100 * alive / n, unit="%", n=n, interval=binomial_interval(alive, n, scale=100), **common)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's and NumPy's global generators, which the other libraries draw from, and put both back."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch, as before afterwards: the CPU time of several threads counts their waiting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _once(task: Task, attack: Attack, seed: int) -> tuple[float, Tensor, float]:
    """CPU seconds of an attack (in an evaluation with the pass that counts survivors), survivors, mean cross-entropy."""
    with _seeded(seed):
        start = time.process_time()
        found = attack(task.model, task.images, task.labels)
        spent = time.process_time() - start
        with torch.no_grad():
            logits = task.model(found)
        counted = time.process_time() - start
    loss = float(cross_entropy(logits, task.labels).mean())
    return counted if task.same else spent, logits.argmax(1) == task.labels, loss


def time_task(task: Task, turns: int) -> Contest:
    """Run all contenders in turn, the order reversed each time.

    Parameters
    ----------
    task : Task
        Model, images and attacks.
    turns : int
        Turns that count.

    Returns
    -------
    Contest
        Seconds of each turn, and what the last turn left.
    """
    attacks: dict[str, Attack] = {**task.peers, **{name: attack for name, (attack, _) in task.ours.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    alive: dict[str, Tensor] = {}
    losses: dict[str, float] = {}
    first = 0 if task.warm_up else 1
    for turn in range(first, turns + 1):
        for name in list(attacks)[:: -1 if turn % 2 else 1]:
            spent, alive[name], losses[name] = _once(task, attacks[name], seed=turn)
            seconds[name] += [spent] if turn else []
        print(f"{task.name}: {f'turn {turn} of {turns}' if turn else 'warmed up'}", flush=True)
    return Contest(task, seconds, alive, losses)


# --- agreement ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Agreement:
    """Robust accuracies of all libraries on the same images, over random starts.

    Parameters
    ----------
    counts : mapping of (str, str) to list of int
        By model and library: surviving images, one number for each seed.
    n : int
        Images.
    seeds : tuple of int
        Of the random starts.
    dataset, attack, threat : str
        For tables.
    """

    counts: Mapping[tuple[str, str], Sequence[int]]
    n: int
    seeds: tuple[int, ...]
    dataset: str
    attack: str
    threat: str

    def differences(self, model: str) -> dict[str, float]:
        """Largest distance between a library's robust accuracy and ours with the same seed.

        Parameters
        ----------
        model : str
            Which model.

        Returns
        -------
        dict of str to float
            By library, in points.
        """
        ours = self.counts[model, "robinfo"]
        return {library: max(100 * abs(a - b) / self.n for a, b in zip(counts, ours, strict=True))
                for (which, library), counts in self.counts.items() if which == model and library != "robinfo"}

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each model: the largest difference to any library, target one point."""
        found = []
        for model in dict.fromkeys(model for model, _ in self.counts):
            if differences := self.differences(model):
                value, least = max(differences.values()), min(differences.values())
                text = "reached" if value <= _POINT else f"missed by {value - _POINT:.1f} points"
                found.append(Outcome("agreement", model, value, _POINT, (least, value), value <= _POINT, text))
        return found

    def rows(self, settings: str) -> list[Row]:
        """Robust accuracy of each library on each model, and the largest difference to ours.

        Parameters
        ----------
        settings : str
            A note for every row.

        Returns
        -------
        list of Row
            The accuracy is the mean over the seeds; its interval is binomial, for the choice of the images.
        """
        rows, texts = [], {o.name: f"target {o.target:.0f} point: {o.text}" for o in self.outcomes}
        for (model, library), counts in self.counts.items():
            common: dict[str, Any] = {"n": self.n, "dataset": self.dataset, "model": model, "method": f"agreement: {library}",
                                      "attack": self.attack, "threat": self.threat, "seeds": self.seeds}
            mean = statistics.fmean(counts)
            rows.append(Row(metric="robust accuracy", value=100 * mean / self.n, unit="%", settings=settings,
                            interval=binomial_interval(round(mean), self.n, scale=100), **common))
            if library != "robinfo":
                note = "; ".join(filter(None, (settings, texts.get(model))))
                rows.append(Row(metric="largest difference to ours", value=self.differences(model)[library], unit="pp", settings=note, **common))
        return rows


# --- the tasks ----------------------------------------------------------------------------------------------------------
def _cnn() -> nn.Sequential:
    """Two convolutions and two linear layers for images 1x28x28."""
    with _seeded(0):
        return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
                             nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)).eval()


def _resnet() -> nn.Module:
    """ResNet-18 with running statistics as after training, so that folding has something to fold."""
    with _seeded(0):
        model = classifier("resnet18")
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval()


def _trained(attack: PGD | None, images: Tensor, labels: Tensor, batches: int) -> nn.Module:
    """A CNN trained for some batches of 128, adversarially with an attack."""
    model, generator = _cnn(), Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(batches):
        index = torch.randint(len(images), (128,), generator=generator)
        x = images[index] if attack is None else attack(model, images[index], labels[index], generator=generator)
        loss = cross_entropy(model(x), labels[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


class _Bench:
    """Data and models that the tasks share, made when first asked for."""

    def __init__(self, setup: BenchmarkSetup) -> None:
        self.setup = setup

    @cached_property
    def data(self) -> Any:
        """Handwritten digits."""
        return load(self.setup.dataset)

    def test(self, count: int) -> tuple[Tensor, Tensor]:
        """The first test images, and labels."""
        return to_float(self.data.test_images[:count]), self.data.test_labels[:count]

    def _fit(self, attack: PGD | None, batches: int) -> nn.Module:
        """A CNN trained on at most 20,000 images."""
        print(f"training the {'weak' if attack is None else 'robust'} CNN: {batches} batches", flush=True)
        return _trained(attack, to_float(self.data.train_images[:20_000]), self.data.train_labels[:20_000], batches)

    @cached_property
    def weak(self) -> nn.Module:
        """The CNN trained on clean images."""
        return self._fit(None, self.setup.weak_batches)

    @cached_property
    def robust(self) -> nn.Module:
        """The CNN trained on attacked images."""
        attack = PGD(Linf(0.2), steps=7, keep="last", precision="bfloat16", memory_format="channels_last")
        return self._fit(attack, self.setup.robust_batches)

    def training(self, name: str) -> Task:
        """PGD as a training step calls it: the last iterate, in evaluation mode."""
        setup, resnet = self.setup, name == "train-resnet"
        shape = (setup.resnet_batch, 3, 32, 32) if resnet else (setup.cnn_batch, 1, 28, 28)
        eps, steps = (8 / 255, setup.resnet_steps) if resnet else (0.3, setup.cnn_steps)
        size = 2.5 * eps / steps
        best: dict[str, Any] = {"memory_format": "channels_last", "fold_batch_norm": resnet}
        common: dict[str, Any] = {"steps": steps, "step_size": size, "keep": "last", "seed": 0}
        ours: dict[str, tuple[Attack, float | None]] = {
            "robinfo, defaults": (PGD(Linf(eps), **common), None),
            "robinfo, float32": (PGD(Linf(eps), **common, **best), 1.3),
            "robinfo, bfloat16": (PGD(Linf(eps), **common, **best, precision="bfloat16"), 2.0)}
        return Task(name=name, dataset="random images", model_name="ResNet-18" if resnet else "CNN", attack=f"PGD-{steps}",
                    threat=str(Linf(eps)), model=_resnet() if resnet else _cnn(),
                    images=torch.rand(shape, generator=Generator().manual_seed(0)), labels=torch.arange(shape[0]) % 10,
                    peers=_peers(eps, steps, size), ours=ours)

    def evaluation(self, name: str) -> Task:
        """Robust accuracy under PGD."""
        setup = self.setup
        eps, target = (setup.weak_radius, 2.5) if name == "weak" else (setup.robust_radius, 1.8)
        images, labels = self.test(setup.points)
        steps = setup.evaluation_steps
        common: dict[str, Any] = {"steps": steps, "seed": 0, "drop_fooled": "steps", "memory_format": "channels_last"}
        float32, half = PGD(Linf(eps), **common), PGD(Linf(eps), **common, precision="bfloat16")
        return Task(name=name, dataset=setup.dataset, model_name=f"CNN, {name}", attack=f"PGD-{steps}", threat=str(Linf(eps)),
                    model=self.weak if name == "weak" else self.robust, images=images, labels=labels, same="accuracy",
                    peers=_peers(eps, steps, 2.5 * eps / steps),
                    ours={"robinfo, float32, dropping": (float32, None), "robinfo, bfloat16, dropping": (half, target)})

    def autoattack(self) -> Task:
        """The ensemble on the robust CNN, beside pyautoattack called directly."""
        setup, eps, members = self.setup, self.setup.robust_radius, tuple(self.setup.autoattack_members)
        images, labels = self.test(setup.autoattack_points)
        own = AutoAttack(Linf(eps), version="custom" if members else "standard", attacks=members, queries=setup.queries, fast=True)
        return Task(name="autoattack", dataset=setup.dataset, model_name="CNN, robust", attack="AutoAttack", threat=str(Linf(eps)),
                    model=self.robust, images=images, labels=labels, same="survivors", warm_up=False,
                    peers={"pyautoattack": _pyautoattack(eps, members, setup.queries, own.batch_size)},
                    ours={"robinfo, fast": (own, 1.2)})

    def agreement(self) -> Agreement:
        """PGD of all libraries with the same settings on both CNNs."""
        setup, eps, steps = self.setup, self.setup.robust_radius, self.setup.evaluation_steps
        images, labels = self.test(setup.agreement_points)
        size = 2.5 * eps / steps
        counts: dict[tuple[str, str], list[int]] = {}
        for name, model in (("CNN, weak", self.weak), ("CNN, robust", self.robust)):
            attacks: dict[str, Attack] = {"robinfo": PGD(Linf(eps), steps=steps, step_size=size, keep="last"), **_peers(eps, steps, size)}
            for library, attack in attacks.items():
                counts[name, library] = [_survivors(model, attack, images, labels, seed) for seed in setup.seeds]
            print(f"agreement: {name}", flush=True)
        return Agreement(counts, len(labels), tuple(setup.seeds), setup.dataset, f"PGD-{steps}", str(Linf(eps)))

    def timed(self, name: str) -> Task:
        """The task of that name."""
        if name == "autoattack":
            return self.autoattack()
        return self.training(name) if name.startswith("train") else self.evaluation(name)


def _survivors(model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, seed: int) -> int:
    """Images that are still classified correctly."""
    with _seeded(seed):
        found = attack(model, images, labels)
    with torch.no_grad():
        return int((model(found).argmax(1) == labels).sum())


# --- all of it ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Benchmark:
    """What the benchmark measured.

    Parameters
    ----------
    setup : BenchmarkSetup
        The settings.
    contests : tuple of Contest
        One for each timed task.
    agreement : Agreement or None
        If asked for.
    missing : tuple of str
        Other libraries that could not be imported.
    """

    setup: BenchmarkSetup
    contests: tuple[Contest, ...]
    agreement: Agreement | None
    missing: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """Every measured number."""
        parts: list[Contest | Agreement] = [*self.contests, *([self.agreement] if self.agreement else [])]
        return [row for part in parts for row in part.rows(self.setup.reduced())]

    @property
    def speeds(self) -> list[Outcome]:
        """The targets for speed."""
        return [outcome for contest in self.contests for outcome in contest.outcomes]

    @property
    def outcomes(self) -> list[Outcome]:
        """Every target."""
        return self.speeds + (self.agreement.outcomes if self.agreement else [])

    def verdict(self) -> str:
        """One sentence: how many targets were reached, which were missed and by how much, who was not there."""
        outcomes = self.outcomes
        missed = [f"{o.task} ({o.name}) {o.text}, {o.value:.3f} for a target of {o.target:g}" for o in outcomes if not o.reached]
        absent = f"; not installed and left out: {', '.join(self.missing)}" if self.missing else ""
        scale = "; reduced settings, so the targets do not apply" if self.setup.reduced() else ""
        return (f"not comparable (no paper has this table, the targets are robinfo's own): {len(outcomes) - len(missed)} of {len(outcomes)} "
                f"targets reached{'; ' if missed else ''}{'; '.join(missed)}{absent}{scale}.")


def benchmark(setup: BenchmarkSetup) -> Benchmark:
    """Time every task and compare the answers, one thread, everything in this process.

    Parameters
    ----------
    setup : BenchmarkSetup
        The settings.

    Returns
    -------
    Benchmark
        Rows, targets, verdict.
    """
    bench = _Bench(setup)
    with _one_thread():
        contests = tuple(time_task(bench.timed(name), setup.autoattack_turns if name == "autoattack" else setup.turns)
                         for name in setup.tasks if name != "agreement")
        agreement = bench.agreement() if "agreement" in setup.tasks else None
    return Benchmark(setup, contests, agreement, tuple(name for name in _MODULES if not _importable(name)))


def plot_ratios(result: Benchmark) -> Any:
    """Speed ratio of every variant with its range over the turns, and its target.

    Parameters
    ----------
    result : Benchmark
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title says how many targets for speed were reached.
    """
    import matplotlib.pyplot as plt

    from robinfo.figures import BLUE, GREY, RED

    shown = [(c, name, target) for c in result.contests for name, (_, target) in c.task.ours.items() if c.best_peer]
    figure, axis = plt.subplots(figsize=(7, 1.3 + 0.34 * len(shown)))
    for y, (contest, name, target) in enumerate(reversed(shown)):
        ratios = contest.ratios(name)
        colour = GREY if target is None else BLUE if all(o.reached for o in contest.outcomes if o.name == name) else RED
        axis.hlines(y, min(ratios), max(ratios), color=colour, linewidth=2)
        axis.plot(statistics.median(ratios), y, "o", color=colour)
        if target is not None:
            axis.vlines(target, y - 0.35, y + 0.35, color="black", linewidth=1.5)
    reached, speeds = sum(o.reached for o in result.speeds), len(result.speeds)
    axis.axvline(1, color=GREY, linewidth=1, linestyle=":")
    axis.set(yticks=range(len(shown)), yticklabels=[f"{c.task.name}: {name.removeprefix('robinfo, ')}" for c, name, _ in reversed(shown)],
             xlabel="CPU seconds of the fastest other library / ours", ylim=(-0.6, len(shown) - 0.4))
    axis.set_title(f"{reached} of {speeds} targets for speed reached{' (reduced settings)' if result.setup.reduced() else ''}", loc="left")
    figure.tight_layout()
    plt.close(figure)
    return figure
