"""What the objectives of the shared-information paper (2022) cost: Table 8.

Seconds of a training step and of a test batch, peak memory and parameters, each as a ratio to plain adversarial training. The methods
take turns within one process and the order changes, so that a busy machine slows all of them alike.
"""
from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robinfo.experiments.record import Row, judge, paper_row
from robinfo.experiments.shared_information import _variants
from robinfo.experiments.shared_information_study import PAPER_MODEL, Settings, Study, Variant
from robinfo.experiments.shared_information_tables import short_verdict
from robinfo.figures import BLUE, GREY, ORANGE, finished
from robinfo.objectives import Objective

__all__ = ["Cost", "Costs", "cost", "plot_cost"]

_QUANTITIES = {"train_time_per_iteration": "training step", "test_time_per_iteration": "test batch", "gpu_memory": "peak memory",
               "params": "parameters"}
_BASE = "Standard"


class Cost(NamedTuple):
    """What one method costs.

    Attributes
    ----------
    train, test : tuple of float
        Seconds, one number for each turn.
    memory : int
        Bytes that PyTorch held at most during a training step, weights and gradients included.
    parameters : int
        Of the network, without the critic of a measure of dependence.
    """

    train: tuple[float, ...]
    test: tuple[float, ...]
    memory: int
    parameters: int


@dataclass(frozen=True)
class Costs:
    """What several methods cost on the same batch.

    Attributes
    ----------
    settings : Settings
        Data set, network and attack of training.
    batch : int
        Images in it.
    device : str
        Where it ran.
    methods : dict of str to Cost
        By method, plain adversarial training ("Standard") first.
    """

    settings: Settings
    batch: int
    device: str
    methods: dict[str, Cost]

    def ratios(self, method: str, quantity: str) -> tuple[float, ...]:
        """A cost over that of plain adversarial training in the same turn.

        Parameters
        ----------
        method : str
            By name.
        quantity : str
            "train_time_per_iteration", "test_time_per_iteration", "gpu_memory" or "params".

        Returns
        -------
        tuple of float
            One for each turn, or one.
        """
        own, base = self.methods[method], self.methods[_BASE]
        if quantity in ("gpu_memory", "params"):
            name = "memory" if quantity == "gpu_memory" else "parameters"
            return (getattr(own, name) / getattr(base, name),)
        name = quantity.split("_")[0]
        return tuple(a / b for a, b in zip(getattr(own, name), getattr(base, name), strict=True))

    @property
    def rows(self) -> list[Row]:
        """Medians of the ratios with their range, then the absolute numbers."""
        rows = [self._ratio(method, quantity) for method in self.methods if method != _BASE for quantity in _QUANTITIES]
        return rows + [row for method in self.methods for row in self._absolute(method)]

    def _ratio(self, method: str, quantity: str) -> Row:
        """One ratio beside the ratio of the paper's numbers."""
        found = self.ratios(method, quantity)
        ends = (min(found), max(found)) if len(found) > 1 else None
        row = Row(metric=f"{_QUANTITIES[quantity].replace(' ', '_')}_ratio", value=statistics.median(found), unit="×", n=len(found), interval=ends,
                  dataset=self.settings.dataset, model=self._model(), method=method, paper=_printed_ratio(method, quantity),
                  settings=f"{self._how()}; ratio to plain adversarial training, the interval is the range over the turns")
        return judge(row, comparable=self._comparable())

    def _absolute(self, method: str) -> list[Row]:
        """Seconds, memory and parameters of a method; without the paper's, whose machine is another, save for the parameters."""
        own = self.methods[method]
        options: dict[str, Any] = {"dataset": self.settings.dataset, "model": self._model(), "method": method, "settings": self._how()}
        rows = [Row(metric=name, value=statistics.median(v), unit="s", n=len(v), interval=(min(v), max(v)) if len(v) > 1 else None, **options)
                for name, v in (("training_step", own.train), ("test_batch", own.test))]
        cell = _cell(method, "params")
        params = Row(metric="parameters", value=own.parameters / 1e6, unit="M", n=None, paper=None if cell is None else {**cell, "unit": "M"}, **options)
        return [*rows, Row(metric="peak_memory", value=own.memory / 1e9, unit="GB", n=1, **options), judge(params, comparable=self._comparable())]

    def _model(self) -> str:
        """The network by the paper's name."""
        return PAPER_MODEL.get(self.settings.network, self.settings.network)

    def _how(self) -> str:
        """What was timed, in words."""
        return f"batch of {self.batch} on {self.device}, {self.settings.attack}"

    def _comparable(self) -> bool | str:
        """Whether the paper timed the same network and attack."""
        return True if self.settings.network == "resnet18" and self.settings.train_steps is None else "another network or attack than the paper's"

    def claim(self) -> str:
        """A title: what a step of the paper's method costs, or of the dearest one.

        Returns
        -------
        str
            Computed.
        """
        name = "Ours" if "Ours" in self.methods else max(self.methods, key=lambda m: statistics.median(self.methods[m].train))
        steps, test = self.ratios(name, "train_time_per_iteration"), self.ratios(name, "test_time_per_iteration")
        return f"{name}: a training step costs {statistics.median(steps):.2f} ×, a test batch {statistics.median(test):.2f} × plain training"

    def verdict(self) -> str:
        """One sentence: measured ratios beside the paper's.

        Returns
        -------
        str
            Computed.
        """
        parts = []
        for method in self.methods:
            cell, found = _printed_ratio(method, "train_time_per_iteration"), self.ratios(method, "train_time_per_iteration")
            if method != _BASE and cell is not None:
                parts.append(f"{method} {statistics.median(found):.2f} [{min(found):.2f}, {max(found):.2f}], printed {cell['mean']:.2f}: "
                             f"{'at most' if statistics.median(found) <= cell['mean'] else 'above'} the paper's ratio")
        printed = _cell(_BASE, "params")
        own = self.methods[_BASE].parameters / 1e6
        note = "" if printed is None else f". Parameters of plain training here {own:.2f} M, of the paper's ResNet-18 as printed {printed['mean']:.2f} M"
        return f"{short_verdict([r for r in self.rows if r.unit == '×'], self.settings)}. Seconds of a training step over those of plain training: {'; '.join(parts)}{note}."


def _cell(method: str, quantity: str) -> dict[str, Any] | None:
    """The paper's number of a method."""
    return paper_row("Yu2022", "8", required=False, method="Baseline" if method == _BASE else method, metric=quantity)


def _printed_ratio(method: str, quantity: str) -> dict[str, Any] | None:
    """The paper's number of a method over that of its baseline, as a cell."""
    own, base = _cell(method, quantity), _cell(_BASE, quantity)
    return None if own is None or base is None else {**own, "mean": own["mean"] / base["mean"], "std": None, "unit": "×"}


class _Job:
    """One method ready to be timed: network, objective, optimiser and the batch."""

    def __init__(self, variant: Variant, study: Study, images: Tensor, labels: Tensor) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = variant.network(study.settings, study.data).to(images.device)
            self.objective: Objective = variant.objective(study.settings).at(10**6)  # every weight has its final value
            keywords = {"count": len(images)} if self.objective.indexed else {}
            auxiliary = self.objective.auxiliary(self.model, images, **keywords)
        self.auxiliary = None if auxiliary is None else auxiliary.to(images.device)
        self.images, self.labels, self.attack = images, labels, study.settings.attack
        trained = [p for part in (self.model, self.auxiliary) if part is not None for p in part.parameters()]
        self.optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9)

    def train(self) -> None:
        """Search, loss, backward pass and step."""
        self.model.train()
        keywords = {"index": torch.arange(len(self.images), device=self.images.device)} if self.objective.indexed else {}
        x_adv = self.objective.perturb(self.model, self.auxiliary, self.images, self.labels, None, **keywords)
        self.optimizer.zero_grad()
        self.objective.loss(self.model, self.auxiliary, self.images, x_adv, self.labels)[0].backward()
        self.optimizer.step()

    @torch.no_grad()
    def test(self) -> None:
        """The PGD of training as an attack, and a forward pass."""
        self.model.eval()
        self.model(self.attack(self.model, self.images, self.labels))


def _seconds(task: Any, device: torch.device) -> float:
    """Time of a task: of the processor on a CPU, where others work too; by the clock on a GPU."""
    if device.type != "cuda":
        started = time.process_time()
        task()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    task()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _peak(job: _Job, device: torch.device) -> int:
    """Bytes held at most during one training step: tensors that stay, and what is allocated on top of them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job.train()
        return int(torch.cuda.max_memory_allocated(device) - before + _held(job))
    from torch.profiler import ProfilerActivity, profile

    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        job.train()
    events: Any = watched.profiler.kineto_results.events()  # type: ignore[union-attr]
    level = highest = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        level += event.nbytes()
        highest = max(highest, level)
    return highest + _held(job)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages that the profiler's own library writes to the standard error output."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _held(job: _Job) -> int:
    """Bytes of weights, buffers, gradients and momentum."""
    parts: list[nn.Module] = [part for part in (job.model, job.auxiliary) if part is not None]
    weights = sum(p.numel() * p.element_size() * 3 for part in parts for p in part.parameters())
    return weights + sum(b.numel() * b.element_size() for part in parts for b in part.buffers())


def cost(settings: Settings, *, methods: Sequence[str] = ("TRADES", "MART", "Ours"), turns: int = 5) -> Costs:
    """Table 8: what a training step and a test batch cost under each objective.

    Parameters
    ----------
    settings : Settings
        Data set, network, attack of training, batch size and device.
    methods : sequence of str
        Out of `METHODS`; plain adversarial training is always measured.
    turns : int
        How often each method is timed, after one turn that warms up.

    Returns
    -------
    Costs
        Seconds for each turn, peak memory, parameters.

    Raises
    ------
    ValueError
        No turn, or unknown methods.

    References
    ----------
    Yu et al. (2022), Table 8.
    """
    if turns < 1:
        raise ValueError(f"turns must be at least 1, got {turns}; 5 give a range")
    variants, study = _variants(list(dict.fromkeys([_BASE, *methods]))), Study(settings)
    device = torch.device("cuda" if settings.device == "cuda" or settings.device == "auto" and torch.cuda.is_available() else "cpu")
    labels = study.data.train_labels[: settings.batch_size]
    images = study.data.train_images[: settings.batch_size].float().div(255).to(device)
    jobs = {v.name: _Job(v, study, images, labels.to(device)) for v in variants}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in jobs}
    shuffled = random.Random(0)
    for turn in range(turns + 1):
        for name in shuffled.sample(list(jobs), len(jobs)):
            spent = _seconds(jobs[name].train, device), _seconds(jobs[name].test, device)
            if turn:
                times[name][0].append(spent[0])
                times[name][1].append(spent[1])
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads, processor seconds"
    found = {name: Cost(tuple(times[name][0]), tuple(times[name][1]), _peak(job, device), sum(p.numel() for p in job.model.parameters()))
             for name, job in jobs.items()}
    return Costs(settings, len(images), where, found)


def plot_cost(result: Costs) -> Any:
    """Ratios of every method with their range; the paper's ratio as a diamond.

    Parameters
    ----------
    result : Costs
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title is `Costs.claim`.
    """
    import matplotlib.pyplot as plt

    methods = [name for name in result.methods if name != _BASE]
    figure, axes = plt.subplots(1, len(_QUANTITIES), figsize=(8.5, 0.9 + 0.5 * len(methods)), sharey=True)
    for axis, (quantity, title) in zip(axes, _QUANTITIES.items(), strict=True):
        for i, method in enumerate(reversed(methods)):
            found, cell = result.ratios(method, quantity), _printed_ratio(method, quantity)
            axis.hlines(i, min(found), max(found), color=BLUE, linewidth=2)
            axis.plot(statistics.median(found), i, "o", color=BLUE, label="measured (line: range)" if not i else None)
            if cell is not None:
                axis.plot(cell["mean"], i, "D", color=ORANGE, markerfacecolor="none", label="paper, ResNet-18" if not i else None)
        axis.axvline(1, color=GREY, linewidth=0.8)
        axis.set(xlabel=f"{title}, ×", yticks=range(len(methods)), yticklabels=list(reversed(methods)), ylim=(-0.5, len(methods) - 0.5))
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(result.claim(), x=0.01, ha="left", fontsize=10)
    return finished(figure)
