"""Two choices that the worst-case paper makes without showing the others: the weight of Equation 5.2, and the bound.

The paper fixes beta = 1 and the Donsker-Varadhan bound. `beta_curve` trains one representation for each weight, `bounds`
one for each variational bound; both measure all of them with the same critics, put heads above them, and come with a small case
whose truth is known: `exact_tradeoff` (every map of a finite space) and `gaussian_truth` (two correlated normal variables).
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor, nn

from robinfo.checks import check_count, evaluating
from robinfo.experiments.record import Row
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi import allowed, bound_row, overall_verdict
from robinfo.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, finished
from robinfo.objectives.infomax import ESTIMATORS, InfoMax, PairScores, estimate_information
from robinfo.theory.confidence import mean_interval
from robinfo.theory.divergences import information_bounds
from robinfo.theory.information import entropy, mutual_information
from robinfo.theory.reach import representation_vulnerability
from robinfo.training import History
from robinfo.vulnerability import VulnerabilityEstimate

__all__ = ["BetaCurve", "Bounds", "ExactTradeoff", "GaussianTruth", "Setup", "TableCritics", "beta_curve", "bounds", "exact_tradeoff",
           "gaussian_truth", "nwj_deviation", "plot_beta_curve", "plot_bounds", "plot_exact_tradeoff", "plot_truth", "table_critics",
           "twice_jensen_shannon"]

_HEADS = ("standard", "robust")
_METRICS = ("natural_accuracy", "adversarial_accuracy")
_RULERS = ("dv", "nce")
_NAMES = {"dv": "Donsker-Varadhan", "nwj": "NWJ", "js": "Jensen-Shannon", "nce": "InfoNCE"}
_NAMED = {0.0: "normal", 1.0: "worst-case"}  # as in the other experiments, which then find the same heads and critics
_COLOURS = {"dv": BLUE, "nwj": ORANGE, "js": GREEN, "nce": PINK}


# --- what both experiments share ------------------------------------------------------------------------------------------
class _Witness(Study):
    """A study that also keeps what its last training left: the objective, the metrics, the critic."""

    trained: tuple[InfoMax, History]

    def _fit(self, *parts: Any, **options: Any) -> History:
        """As `Study._fit`."""
        history = super()._fit(*parts, **options)
        for objective in (*parts, *options.values()):
            if isinstance(objective, InfoMax):
                self.trained = objective, history
        return history


def _ruler(setup: Setup, estimator: str = "dv") -> Study:
    """A study whose critics measure every representation alike: one bound, all pairs, so that nothing exceeds log N."""
    return Study(replace(setup, estimator=estimator, negatives="all"))


def _gap(ours: Sequence[float], others: Sequence[float], floor: float) -> tuple[float, float]:
    """Mean difference of two lists, paired by seed, and its standard error: over the seeds, but never less than `floor`."""
    differences = np.subtract(ours, others)
    spread = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return float(differences.mean()), max(spread, floor)


def _batch_error(interval: tuple[float, float] | None, batches: int) -> float:
    """Standard error of a mean over batches, from its 95 % Student interval; 0 where there is none."""
    return 0.0 if interval is None else (interval[1] - interval[0]) / 2 / float(stats.t.ppf(0.975, batches - 1))


_INTERVALS = {"normal_mi": "normal_interval", "worst_case_mi": "worst_case_interval", "vulnerability": "vulnerability_interval"}


def _information_error(estimates: Sequence[VulnerabilityEstimate], quantity: str) -> float:
    """Standard error of the mean over seeds that comes from the held-out batches alone."""
    squares = [_batch_error(getattr(e, _INTERVALS[quantity]), e.batches) ** 2 for e in estimates]
    return math.sqrt(sum(squares)) / len(squares)


def _share_error(percents: Sequence[float], images: int) -> float:
    """Standard error of a mean of accuracies in per cent that comes from the test images alone (Wilson's centre, never 0)."""
    squares = []
    for percent in percents:
        share = (percent / 100 * images + 2) / (images + 4)
        squares.append(share * (1 - share) / images)
    return 100 * math.sqrt(sum(squares)) / len(squares)


@dataclass(frozen=True)
class _Compared:
    """Representations that differ in one setting, by its value: information by common critics, heads above them."""

    study: Study
    estimates: Mapping[Any, Sequence[VulnerabilityEstimate]]
    counts: Mapping[tuple[Any, str], Sequence[Mapping[str, int]]]

    def information(self, key: Any, quantity: str) -> list[float]:
        """A quantity that the common critics measured, for each seed.

        Parameters
        ----------
        key : object
            Which representation, as in `estimates`.
        quantity : {"normal_mi", "worst_case_mi", "vulnerability"}
            What.

        Returns
        -------
        list of float
            Nats.
        """
        return [getattr(e, quantity) for e in self.estimates[key]]

    def accuracy(self, key: Any, head: str, metric: str) -> list[float]:
        """An accuracy of a head, for each seed.

        Parameters
        ----------
        key : object
            Which representation.
        head : {"standard", "robust"}
            How the head was trained.
        metric : {"natural_accuracy", "adversarial_accuracy"}
            What.

        Returns
        -------
        list of float
            Per cent.
        """
        return [100 * trial[metric] / len(self.study.test[0]) for trial in self.counts[key, head]]

    def information_gap(self, key: Any, other: Any, quantity: str) -> tuple[float, float]:
        """Difference of an information between two representations, and its standard error.

        Parameters
        ----------
        key, other : object
            Two representations.
        quantity : str
            As for `information`.

        Returns
        -------
        (float, float)
            Nats. The error is that over seeds or that over held-out batches, whichever is larger.
        """
        floor = math.hypot(*(_information_error(self.estimates[k], quantity) for k in (key, other)))
        return _gap(self.information(key, quantity), self.information(other, quantity), floor)

    def accuracy_gap(self, key: Any, other: Any, head: str, metric: str) -> tuple[float, float]:
        """Difference of an accuracy between two representations, and its standard error.

        Parameters
        ----------
        key, other : object
            Two representations.
        head, metric : str
            As for `accuracy`.

        Returns
        -------
        (float, float)
            Points. The error is that over seeds or that over test images, whichever is larger.
        """
        pair = [self.accuracy(k, head, metric) for k in (key, other)]
        return _gap(pair[0], pair[1], math.hypot(*(_share_error(p, len(self.study.test[0])) for p in pair)))

    def above_bound(self, key: Any) -> list[str]:
        """Heads whose adversarial accuracy lies above the plug-in bound of Theorem 3.4 by more than two standard errors.

        Parameters
        ----------
        key : object
            Which representation.

        Returns
        -------
        list of str
            Of "standard" and "robust". Any entry shows that the worst-case information was underestimated.
        """
        worst = self.information(key, "worst_case_mi")
        bound = allowed(self.study, sum(worst) / len(worst))
        found = {head: self.accuracy(key, head, "adversarial_accuracy") for head in _HEADS}
        return [head for head, values in found.items()
                if sum(values) / len(values) - bound > 2 * _gap(values, [0.0] * len(values), _share_error(values, len(self.study.test[0])))[1]]

    def _consistency(self, keys: Mapping[str, Any]) -> str:
        """Whether heads respect the bound that the estimates allow, by the names of the representations."""
        above = [name for name, key in keys.items() if self.above_bound(key)]
        if not above:
            return "No head lies above its plug-in bound (Theorem 3.4)."
        return (f"Heads lie above their plug-in bound (Theorem 3.4) for {', '.join(above)}: there the worst-case information is "
                "underestimated by the critics, and its order between representations is not to be trusted.")

    def _rows(self, key: Any, model: str, method: str) -> list[Row]:
        """Information and plug-in bound of one representation."""
        values = self.estimates[key]
        return [*self.study.information_rows(values, model=model, method=method), bound_row(self.study, values, method, model)]

    def _head_rows(self, key: Any, kind: str, method: str) -> list[Row]:
        """Accuracies of the two heads above one representation."""
        rows = [self.study.accuracy_row(metric, [t[metric] for t in self.counts[key, head]], model=f"encoder, h={kind}",
                                        method=f"{method} / {head} head") for head in _HEADS for metric in _METRICS]
        return [row if row.interval is None else replace(row, interval=(max(row.interval[0], 0.0), min(row.interval[1], 100.0)))
                for row in rows]

    def _opening(self) -> str:
        """How it compares with the paper, and what was measured on what."""
        return (f"{overall_verdict(self.rows)}. {self.study.setup.dataset}, {self.study.setup.threat}, "
                f"n = {len(self.study.test[0])} images, {self._seeds()}")

    def _warning(self) -> str:
        """What trainings shorter than the paper's can and cannot say."""
        short = self.study.setup.encoder_epochs < Setup(dataset=self.study.setup.dataset).encoder_epochs
        return " After so few epochs this says what learns well in the given time, not where the objectives have their optima." if short else ""

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``."""
        raise NotImplementedError

    def _seeds(self) -> str:
        """How many repetitions, in words."""
        count = len(self.study.setup.seeds)
        if 1 < count < 4:
            return f"{count} seeds: the spread between trainings is hardly known"
        return f"{count} seeds" if count > 1 else "one seed: the spread between trainings is not known"


def _heads(study: Study, encoder: nn.Module, seed: int, kind: str, name: str) -> dict[str, dict[str, int]]:
    """Correct test images of a standard and a robust head above a representation."""
    found = {}
    for head in _HEADS:
        model, _ = study.head(encoder, seed, kind=kind, robust=head == "robust", name=name)
        found[head] = study.accuracies(model)
    return found


def _check_head(head: str) -> None:
    """Refuse an unknown head before anything is trained."""
    if head not in ("MLP", "Linear"):
        raise ValueError(f"head must be 'MLP' or 'Linear', got {head!r}; choose one of them")


# --- the weight of Equation 5.2 -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class BetaCurve(_Compared):
    """Representations trained for several weights of the worst case.

    Attributes
    ----------
    study : Study
        Data and settings.
    estimates : dict of float to list of VulnerabilityEstimate
        By weight, one for each seed; the same kind of critic measures all.
    counts : dict of (float, str) to list of dict
        Correct test images by weight and head, one for each seed.
    kind : str
        Architecture of the heads.
    """

    kind: str = "Linear"

    @property
    def betas(self) -> tuple[float, ...]:
        """The weights, in increasing order."""
        return tuple(self.estimates)

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``; the paper prints none of them."""
        rows: list[Row] = []
        for beta in self.betas:
            rows += self._rows(beta, "encoder", f"beta = {beta:g}")
            rows += self._head_rows(beta, self.kind, f"beta = {beta:g}")
        return rows

    def against(self, quantity: str) -> list[tuple[float, float, float]]:
        """Steps of the curve in the direction that exact maximisers cannot take, beyond two standard errors.

        Parameters
        ----------
        quantity : {"normal_mi", "worst_case_mi"}
            The first must not rise with the weight, the second must not fall.

        Returns
        -------
        list of (float, float, float)
            Two neighbouring weights and the change between them, nats.
        """
        sign = 1 if quantity == "normal_mi" else -1
        steps = [(low, high, *self.information_gap(high, low, quantity)) for low, high in pairwise(self.betas)]
        return [(low, high, change) for low, high, change, error in steps if sign * change > 2 * error]

    def better(self, head: str, than: float = 1.0) -> list[float]:
        """Other weights whose heads are better in both accuracies, each beyond two standard errors.

        Parameters
        ----------
        head : {"standard", "robust"}
            How the heads were trained.
        than : float
            The weight to beat; the paper has 1.

        Returns
        -------
        list of float
            Weights.
        """
        return [beta for beta in self.betas if beta != than
                and all(gap > 2 * error for gap, error in (self.accuracy_gap(beta, than, head, metric) for metric in _METRICS))]

    def _order(self) -> str:
        """Whether the information moves with the weight as Equation 5.2 demands of exact maximisers."""
        found = []
        for quantity, name, verb in (("normal_mi", "normal information", "rises"), ("worst_case_mi", "worst-case information", "falls")):
            against = self.against(quantity)
            change, error = self.information_gap(self.betas[-1], self.betas[0], quantity)
            text = f"{name} {change:+.2f} ± {2 * error:.2f} nats from beta {self.betas[0]:g} to {self.betas[-1]:g}, "
            found.append(text + ("monotone up to two standard errors" if not against else "not monotone: it " + " and ".join(
                f"{verb} by {abs(c):.2f} between {low:g} and {high:g}" for low, high, c in against)))
        return "; ".join(found)

    def _dominance(self, head: str) -> str:
        """Whether another weight beats the largest one for a kind of head."""
        last = self.betas[-1]
        winners = self.better(head, last)
        if not winners:
            return f"{head} {self.kind} head: no weight beats beta = {last:g} in both accuracies beyond two standard errors"
        best = max(winners, key=lambda b: sum(self.accuracy(b, head, "adversarial_accuracy")))
        gaps = [self.accuracy_gap(best, last, head, metric) for metric in _METRICS]
        return (f"{head} {self.kind} head: beta = {' and '.join(f'{b:g}' for b in winners)} beat{'s' if len(winners) == 1 else ''} "
                f"beta = {last:g} in both, beta = {best:g} by " + " and ".join(
                    f"{gap:.1f} ± {2 * error:.1f} points {metric.split('_')[0]}"
                    for metric, (gap, error) in zip(_METRICS, gaps, strict=True)))

    def verdict(self) -> str:
        """What was found: the order of the curve, and whether the paper's weight is the best one."""
        return (f"{self._opening()}. Information by common critics: {self._order()}. "
                f"{'. '.join(self._dominance(head) for head in _HEADS)}. "
                f"{self._consistency({f'beta = {beta:g}': beta for beta in self.betas})}{self._warning()}")


def beta_curve(setup: Setup, *, betas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), head: str = "Linear") -> BetaCurve:
    """Train a representation for each weight of Equation 5.2, measure all alike, and put heads above them.

    Parameters
    ----------
    setup : Setup
        Settings. The critics that measure use the Donsker-Varadhan bound over all pairs, whatever the settings say.
    betas : sequence of float
        Weights in [0, 1], at least two. 0 is the normal representation, 1 the paper's.
    head : {"Linear", "MLP"}
        Architecture of the heads.

    Returns
    -------
    BetaCurve
        Estimates and counts by weight.

    Raises
    ------
    ValueError
        Fewer than two different weights, a weight outside [0, 1], or an unknown head.

    References
    ----------
    Zhu, Zhang and Evans (2020), Equation 5.2.

    Examples
    --------
    >>> beta_curve(Setup(dataset="digits"), betas=[0.0, 1.5])
    Traceback (most recent call last):
    ValueError: betas must lie in [0, 1], got 1.5; above 1 the normal information has a negative weight and ...
    """
    weights = _check_betas(betas)
    _check_head(head)
    study, ruler = Study(setup, parts=3 * len(weights) * len(setup.seeds)), _ruler(setup)
    estimates: dict[float, list[VulnerabilityEstimate]] = {beta: [] for beta in weights}
    counts: dict[tuple[float, str], list[Mapping[str, int]]] = {(beta, h): [] for beta in weights for h in _HEADS}
    for seed in setup.seeds:
        for beta in weights:
            encoder, name = study.encoder(seed, worst_case=True, beta=beta), _NAMED.get(beta, f"beta-{beta:g}")
            for trained, correct in _heads(study, encoder, seed, head, name).items():
                counts[beta, trained].append(correct)
            estimates[beta].append(ruler.vulnerability(encoder, seed, name))
    return BetaCurve(ruler, estimates, counts, head)


def _check_betas(betas: Sequence[float]) -> list[float]:
    """The weights in increasing order, each once."""
    weights = sorted({float(beta) for beta in betas})
    for beta in weights:
        if not 0 <= beta <= 1:
            raise ValueError(f"betas must lie in [0, 1], got {beta:g}; above 1 the normal information has a negative weight and "
                             "its variational lower bound bounds the objective no longer")
    if len(weights) < 2:
        raise ValueError(f"betas must name at least two different weights, got {list(betas)}; for example [0, 0.5, 1]")
    return weights


def _labelled_panel(axis: Any, result: BetaCurve) -> None:
    """Normal against worst-case information, one point for each weight."""
    x, y = ([float(np.mean(result.information(b, q))) for b in result.betas] for q in ("worst_case_mi", "normal_mi"))
    errors = [[2 * _mean_error(result, b, q) for b in result.betas] for q in ("worst_case_mi", "normal_mi")]
    axis.errorbar(x, y, xerr=errors[0], yerr=errors[1], color=BLUE, ecolor=GREY, marker="o", linewidth=1.2, capsize=2)
    for beta, a, b in zip(result.betas, x, y, strict=True):
        axis.annotate(f"β = {beta:g}", (a, b), textcoords="offset points", xytext=(6, 6), fontsize=7)
    axis.margins(0.15)
    axis.set(xlabel="worst-case information, nats (common critics)", ylabel="normal information, nats (common critics)",
             title=_claim(result))


def _claim(result: BetaCurve) -> str:
    """What the left panel shows, as found."""
    gained, error = result.information_gap(result.betas[-1], result.betas[0], "worst_case_mi")
    if result.against("normal_mi") or result.against("worst_case_mi"):
        return "The measured curve breaks the order\nthat exact maximisers obey"
    if gained > 2 * error:
        return f"More weight, more worst-case information:\n{gained:+.2f} ± {2 * error:.2f} nats from end to end"
    return "The weight does not move the worst-case\ninformation beyond two standard errors"


def _mean_error(result: _Compared, key: Any, quantity: str) -> float:
    """Standard error of a mean information, over seeds or over held-out batches, whichever is larger."""
    values = result.information(key, quantity)
    return _gap(values, [0.0] * len(values), _information_error(result.estimates[key], quantity))[1]


def _accuracy_error(result: _Compared, key: Any, head: str, metric: str) -> float:
    """Standard error of a mean accuracy in points, over seeds or over test images, whichever is larger."""
    values = result.accuracy(key, head, metric)
    return _gap(values, [0.0] * len(values), _share_error(values, len(result.study.test[0])))[1]


def plot_beta_curve(result: BetaCurve) -> Any:
    """The trade-off: normal against worst-case information (left), accuracies against the weight (right).

    Parameters
    ----------
    result : BetaCurve
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.9))
    _labelled_panel(left, result)
    for head, colour in zip(_HEADS, (GREEN, PINK), strict=True):
        for metric, style in zip(_METRICS, (":", "-"), strict=True):
            means = [float(np.mean(result.accuracy(b, head, metric))) for b in result.betas]
            errors = [2 * _accuracy_error(result, b, head, metric) for b in result.betas]
            right.errorbar(result.betas, means, yerr=errors, color=colour, linestyle=style, marker="o", markersize=4, capsize=2,
                           label=f"{metric.split('_')[0]}, {head} head")
    bound = [allowed(result.study, float(np.mean(result.information(b, "worst_case_mi")))) for b in result.betas]
    right.plot(result.betas, bound, color=RED, linestyle="--", linewidth=1, label="bound on adversarial\n(plug-in, Theorem 3.4)")
    beaten = [head for head in _HEADS if result.better(head, result.betas[-1])]
    right.set(xlabel="weight β of the worst case in training", ylim=(-3, 103), xticks=result.betas,
              ylabel=f"accuracy, % ({result.study.setup.dataset}, {result.study.setup.threat})",
              title=f"β = {result.betas[-1]:g} is " + (f"beaten in both accuracies\n({' and '.join(beaten)} {result.kind} head)" if beaten
                                                       else "not beaten in both\naccuracies by any other weight"))
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.text(0.01, -0.03, _caption(result), fontsize=7, color=GREY)
    return finished(figure)


def _caption(result: _Compared) -> str:
    """Sample sizes and the meaning of the lines, below a figure."""
    first = next(iter(result.estimates.values()))[0]
    return (f"lines: ± 2 standard errors, over seeds or over held-out batches and test images, whichever is larger; {result._seeds()}, "
            f"{len(result.study.test[0])} test images, {first.batches} batches of {first.batch_size}, "
            f"ceiling log N = {first.ceiling:.2f} nats")


# --- the same trade-off where it can be computed exactly ------------------------------------------------------------------
@dataclass(frozen=True)
class ExactTradeoff:
    """Every map of a finite space to a few outputs, with its exact information and vulnerability.

    Attributes
    ----------
    maps : ndarray of int
        One map a row, up to the names of the outputs.
    normal, worst_case : ndarray of float
        I(X; g(X)) and its smallest value in the ball, nats; one for each map.
    """

    maps: NDArray[np.int64]
    normal: NDArray[np.float64]
    worst_case: NDArray[np.float64]

    def best(self, beta: float) -> int:
        """The map that maximises Equation 5.2, the first if there are several.

        Parameters
        ----------
        beta : float
            Weight, at least 0.

        Returns
        -------
        int
            Row of `maps`.

        Raises
        ------
        ValueError
            A negative weight or NaN.
        """
        if not beta >= 0:
            raise ValueError(f"beta must be at least 0, got {beta}; 0 is the normal case, 1 the worst case")
        return int(np.argmax(self.normal - beta * (self.normal - self.worst_case)))


def exact_tradeoff(positions: ArrayLike, p: ArrayLike, eps: float, *, outputs: int = 3) -> ExactTradeoff:
    """Information and vulnerability of every map of points on a line to a few outputs, exactly.

    Parameters
    ----------
    positions : array_like
        Where the points are, shape [n]; n at most 8.
    p : array_like
        Their law.
    eps : float
        Radius of the ball.
    outputs : int
        Largest number of different outputs.

    Returns
    -------
    ExactTradeoff
        For a deterministic map I(X; g(X)) = H(g(X)); the worst case is the exact minimum over the ball.

    Raises
    ------
    ValueError
        Too many points, or no law on them.

    References
    ----------
    Zhu, Zhang and Evans (2020), Definition 3.1 and Equation 5.2.

    Examples
    --------
    >>> exact = exact_tradeoff([0.0, 1.0, 5.0], [0.4, 0.3, 0.3], 1.0, outputs=3)
    >>> [exact.maps[exact.best(beta)].tolist() for beta in (0.0, 1.0)]  # the normal case cuts everywhere, the worst at the wide gap
    [[0, 1, 2], [0, 0, 1]]
    """
    points = np.asarray(positions, dtype=float)
    if points.ndim != 1 or not 2 <= len(points) <= 8:
        raise ValueError(f"positions must be 2 to 8 points on a line, got shape {list(points.shape)}; every map of them is tried")
    law = np.asarray(p, dtype=float)
    cost = np.abs(points[:, None] - points)
    maps = np.array([m for m in product(range(outputs), repeat=len(points)) if _canonical(m)])
    normal = np.array([float(entropy(np.bincount(m, weights=law))) for m in maps])
    lost = np.array([representation_vulnerability(law, m, cost, eps) for m in maps])
    return ExactTradeoff(maps, normal, normal - lost)


def _canonical(outputs: Sequence[int]) -> bool:
    """Whether outputs are numbered in the order in which they appear: one map for each partition."""
    return all(o <= max(outputs[:i], default=-1) + 1 for i, o in enumerate(outputs))


def plot_exact_tradeoff(exact: ExactTradeoff, betas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> Any:
    """Every map of the finite space, and the ones that are best for some weight.

    Parameters
    ----------
    exact : ExactTradeoff
        The space.
    betas : sequence of float
        Weights.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    best: dict[int, list[float]] = {}
    for beta in betas:
        best.setdefault(exact.best(beta), []).append(beta)
    figure, axis = plt.subplots(figsize=(5.6, 3.6))
    axis.plot(exact.worst_case, exact.normal, "o", color=GREY, markersize=3, label=f"all {len(exact.maps)} maps")
    chosen = list(best)
    axis.plot(exact.worst_case[chosen], exact.normal[chosen], "-o", color=BLUE, label="best for some β")
    for place, (index, weights) in enumerate(best.items()):  # above and below the line in turn
        axis.annotate("β = " + ", ".join(f"{b:g}" for b in weights), (exact.worst_case[index], exact.normal[index]), fontsize=7,
                      textcoords="offset points", xytext=(-4, -13) if place % 2 else (4, 6))
    axis.margins(0.12)
    axis.set(xlabel="worst-case information, nats (exact)", ylabel="normal information, nats (exact)",
             title=f"Exact maximisers are ordered: {len(chosen)} of {len(exact.maps)} maps, by weight")
    axis.legend(fontsize=7, loc="lower right")
    return finished(figure)


# --- which bound to maximise ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bounds(_Compared):
    """Representations trained for the worst case with several variational bounds.

    Attributes
    ----------
    study : Study
        Data and settings.
    estimates : dict of (str, str) to list of VulnerabilityEstimate
        By training bound and by the bound of the common critics ("dv" or "nce"), one for each seed.
    counts : dict of ((str, str), str) to list of dict
        Correct test images, by (training bound, "dv") and head.
    readings : dict of str to list of dict
        By training bound: for each seed the values of held-out batches under attack, as the bound itself reads its own
        critic ("own") and as Donsker-Varadhan reads the same critic on the same batches ("dv").
    kind : str
        Architecture of the heads.
    negatives : str
        Pairs of the marginal term in training.
    """

    readings: Mapping[str, Sequence[Mapping[str, Sequence[float]]]] = ()  # type: ignore[assignment]
    kind: str = "Linear"
    negatives: str = "others"

    @property
    def bounds(self) -> tuple[str, ...]:
        """The bounds that were maximised."""
        return tuple(self.readings)

    def reported(self, bound: str, reader: str = "own") -> list[float]:
        """What the critic of the training says on held-out batches under attack, for each seed.

        Parameters
        ----------
        bound : str
            Bound of the training.
        reader : {"own", "dv"}
            By which bound its critic is read.

        Returns
        -------
        list of float
            Nats; of mutual information, save for "js" reading itself: twice the Jensen-Shannon divergence.
        """
        return [float(np.mean(trial[reader])) for trial in self.readings[bound]]

    def deviation(self, bound: str, reader: str = "own") -> float:
        """Standard deviation from batch to batch of what the critic of the training says, pooled over the seeds.

        Parameters
        ----------
        bound, reader : str
            As for `reported`.

        Returns
        -------
        float
            Nats; 0 for a single batch.
        """
        variances = [float(np.var(t[reader], ddof=1)) if len(t[reader]) > 1 else 0.0 for t in self.readings[bound]]
        return math.sqrt(sum(variances) / len(variances))

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``; the paper prints none of them."""
        rows: list[Row] = []
        for bound in self.bounds:
            method = f"trained by {bound}"
            rows += [self._reported_row(bound, reader) for reader in ("own", "dv")]
            for ruler in _RULERS:
                rows += self._rows((bound, ruler), f"encoder, measured by {ruler}", method)
            rows += self._head_rows((bound, "dv"), self.kind, method)
        return rows

    def _reported_row(self, bound: str, reader: str) -> Row:
        """What a training's own critic says, with the interval over seeds or batches."""
        values, first = self.reported(bound, reader), self.readings[bound][0][reader]
        setup = self.study.setup
        read = f"{bound}/{self.negatives}" if reader == "own" and bound != "nce" else "nce" if reader == "own" else f"{reader}/all"
        metric = "twice_jensen_shannon_own_critic" if read.startswith("js") else "worst_case_mi_own_critic"
        return Row(metric=metric, value=sum(values) / len(values), unit="nats", n=len(first), dataset=setup.dataset,
                   interval=mean_interval(values) or mean_interval(first), model=f"encoder, its own critic read by {read}",
                   method=f"trained by {bound}", attack=f"PGD-{setup.attack.steps} on the batch estimate", threat=str(setup.threat), seeds=tuple(setup.seeds),
                   settings=setup.reduced())

    def limit(self) -> float:
        """Standard errors beyond which a difference from the first bound counts: 5 % over all bounds and quantities together.

        Returns
        -------
        float
            With several seeds a quantile of Student's law, large where there are few; with one seed, whose spread is not known, of the
            normal law: then only the choice of batches and images is allowed for.
        """
        tail = 0.025 / ((len(self.bounds) - 1) * (2 * len(_RULERS) + len(_HEADS) * len(_METRICS)))
        seeds = len(self.study.setup.seeds)
        return float(stats.t.ppf(1 - tail, seeds - 1) if seeds > 1 else stats.norm.ppf(1 - tail))

    def mattering(self) -> dict[str, dict[str, tuple[float, float]]]:
        """The quantities in which some bound differs from the first one, and those bounds.

        Returns
        -------
        dict of str to dict of str to (float, float)
            As `differences`, without what lies within `limit` standard errors.
        """
        beyond = {name: {b: (gap, error) for b, (gap, error) in gaps.items() if abs(gap) > self.limit() * error}
                  for name, gaps in self.differences().items()}
        return {name: gaps for name, gaps in beyond.items() if gaps}

    def differences(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Every other bound against the first, in each quantity: difference and standard error.

        Returns
        -------
        dict of str to dict of str to (float, float)
            By quantity and bound; nats or points.
        """
        first, others = self.bounds[0], self.bounds[1:]
        found = {f"{name} information ({ruler} critic)":
                 {b: self.information_gap((b, ruler), (first, ruler), quantity) for b in others}
                 for ruler in _RULERS for quantity, name in (("normal_mi", "normal"), ("worst_case_mi", "worst-case"))}
        return found | {f"{metric.replace('_', ' ')} ({head} head)":
                        {b: self.accuracy_gap((b, "dv"), (first, "dv"), head, metric) for b in others}
                        for head in _HEADS for metric in _METRICS}

    def verdict(self) -> str:
        """What was found: does it matter which bound is maximised?"""
        own = ", ".join(f"{b} {np.mean(self.reported(b)):.2f}" for b in self.bounds)
        everything, told = self.differences(), self.mattering()
        found = "; ".join(f"{name}: " + ", ".join(_signed(b, gap, error, "accuracy" in name) for b, (gap, error) in gaps.items())
                          for name, gaps in told.items())
        rest = ", ".join(name for name in everything if name not in told)
        return (f"{self._opening()}. What the trainings report of themselves (nats; js: twice a Jensen-Shannon divergence, at most "
                f"{2 * math.log(2):.2f}): {own}. Measured alike, each bound against {self.bounds[0]}, "
                f"a difference is shown in {len(told)} of {len(everything)} quantities (beyond {self.limit():.3g} standard errors, 5 % over all comparisons)"
                f"{': ' + found if told else ''}.{' None is shown in: ' + rest + '.' if rest else ''} "
                f"{self._consistency({bound: (bound, 'dv') for bound in self.bounds})}{self._warning()}")


def _signed(bound: str, gap: float, error: float, accuracy: bool) -> str:
    """A difference with two standard errors and its unit."""
    return f"{bound} {gap:+.1f} ± {2 * error:.1f} points" if accuracy else f"{bound} {gap:+.2f} ± {2 * error:.2f} nats"


def bounds(setup: Setup, *, estimators: Sequence[str] = ESTIMATORS, head: str = "Linear") -> Bounds:
    """Train a worst-case representation with each variational bound, measure all alike, and put heads above them.

    Parameters
    ----------
    setup : Setup
        Settings. Two kinds of critics measure every representation: Donsker-Varadhan over all pairs, and InfoNCE.
    estimators : sequence of {"dv", "nwj", "js", "nce"}
        Bounds to maximise, at least two; the others are compared with the first.
    head : {"Linear", "MLP"}
        Architecture of the heads.

    Returns
    -------
    Bounds
        Estimates, counts, and what the trainings' own critics say.

    Raises
    ------
    ValueError
        Fewer than two different bounds, an unknown bound or head.

    References
    ----------
    Zhu, Zhang and Evans (2020), Equation 5.4 (with Donsker-Varadhan); Hjelm et al. (2018) compare bounds without an attack.

    Examples
    --------
    >>> bounds(Setup(dataset="digits"), estimators=["dv", "mine"])
    Traceback (most recent call last):
    ValueError: estimators must be two or more of dv, nwj, js, nce, got ['dv', 'mine']; choose from these
    """
    names = list(dict.fromkeys(estimators))
    if len(names) < 2 or not set(names) <= set(ESTIMATORS):
        raise ValueError(f"estimators must be two or more of {', '.join(ESTIMATORS)}, got {list(estimators)}; choose from these")
    _check_head(head)
    study, rulers = _Witness(setup, parts=3 * len(names) * len(setup.seeds)), {r: _ruler(setup, r) for r in _RULERS}
    estimates: dict[tuple[str, str], list[VulnerabilityEstimate]] = {(b, r): [] for b in names for r in _RULERS}
    counts: dict[tuple[Any, str], list[Mapping[str, int]]] = {((b, "dv"), h): [] for b in names for h in _HEADS}
    readings: dict[str, list[Mapping[str, Sequence[float]]]] = {b: [] for b in names}
    for seed in setup.seeds:
        for bound in names:
            encoder = study.encoder(seed, worst_case=True, estimator=bound)
            readings[bound].append(_read(encoder, *study.trained, study.test[0], min(setup.batch_size, len(study.test[0]))))
            name = _NAMED[1.0] if bound == "dv" else f"{_NAMED[1.0]}-{bound}"
            for trained, correct in _heads(study, encoder, seed, head, name).items():
                counts[(bound, "dv"), trained].append(correct)
            for r, ruler in rulers.items():
                estimates[bound, r].append(ruler.vulnerability(encoder, seed, name))
    return Bounds(rulers["dv"], estimates, counts, readings, head, setup.negatives)


def _read(encoder: nn.Module, objective: InfoMax, history: History, images: Tensor, size: int) -> dict[str, list[float]]:
    """Held-out batches, attacked as in training, as the bound itself and as Donsker-Varadhan over all pairs read them."""
    assert history.auxiliary is not None
    scores, values = PairScores(encoder, history.auxiliary, objective.gradient), {"own": [], "dv": []}  # type: ignore[var-annotated]
    device = next(encoder.parameters()).device
    with evaluating(scores), torch.no_grad():
        for start in range(0, len(images) - size + 1, size):
            batch = images[start : start + size].to(device)
            x_adv = objective.perturb(encoder, history.auxiliary, batch, torch.zeros(size, dtype=torch.long, device=device))
            table = scores(x_adv)
            values["own"].append(float(objective.information(table)))
            values["dv"].append(float(estimate_information(table, "dv", "all")))
    return values


def plot_bounds(result: Bounds) -> Any:
    """What each training says of itself, what common critics say, and what heads can do.

    Parameters
    ----------
    result : Bounds
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12.0, 3.8))
    names = result.bounds
    for i, bound in enumerate(names):
        for shift, reader, colour in ((-0.18, "own", GREY), (0.18, "dv", BLUE)):
            values = result.reported(bound, reader)
            axes[0].bar(i + shift, np.mean(values), 0.34, yerr=result.deviation(bound, reader), color=colour, capsize=3,
                        label=("as it reads itself", "read by dv")[reader == "dv"] if i == 0 else None)
        for j, (ruler, quantity) in enumerate(product(_RULERS, ("normal_mi", "worst_case_mi"))):
            colour, filled = (BLUE, RED)[quantity == "worst_case_mi"], ruler == "dv"
            axes[1].errorbar(i + (j - 1.5) * 0.14, np.mean(result.information((bound, ruler), quantity)), color=colour, capsize=2,
                             yerr=2 * _mean_error(result, (bound, ruler), quantity), fmt="o" if filled else "s",
                             markerfacecolor=colour if filled else "white",
                             label=f"{'normal' if colour == BLUE else 'worst case'}, {ruler}" if i == 0 else None)
        for shift, head, colour in ((-0.1, "standard", GREEN), (0.1, "robust", PINK)):
            for metric, fill in zip(_METRICS, ("white", colour), strict=True):
                axes[2].errorbar(i + shift, np.mean(result.accuracy((bound, "dv"), head, metric)), fmt="o", color=colour, capsize=2,
                                 yerr=2 * _accuracy_error(result, (bound, "dv"), head, metric), markerfacecolor=fill,
                                 label=f"{metric.split('_')[0]}, {head}" if i == 0 else None)
    _finish_axes(axes, result)
    return finished(figure)


def _finish_axes(axes: Any, result: Bounds) -> None:
    """Titles, units and legends of `plot_bounds`."""
    matters = [sum(("accuracy" in name) == accuracy for name in result.mattering()) for accuracy in (False, True)]
    titles = ("What trainings say of themselves\ncannot be compared",
              f"Common critics: {matters[0]} of 4 values\nare shown to differ from those of {result.bounds[0]}",
              f"Heads: {matters[1]} of 4 accuracies\nare shown to differ from those of {result.bounds[0]}")
    labels = ("worst-case value of its own critic, nats", "information by common critics, nats",
              f"accuracy, % ({result.study.setup.dataset}, {result.study.setup.threat})")
    for axis, title, label in zip(axes, titles, labels, strict=True):
        axis.set(xticks=range(len(result.bounds)), xticklabels=result.bounds, xlabel="bound maximised in training", ylabel=label,
                 title=title)
        axis.margins(y=0.3)
        axis.legend(fontsize=6.5, ncols=2, loc="upper center")
    axes[0].axhline(0, color="black", linewidth=0.8)
    axes[2].set(ylim=(-3, 135), yticks=range(0, 101, 20))
    text = "left: lines are one standard deviation from batch to batch; others: " + _caption(result)
    axes[0].figure.text(0.01, -0.03, text, fontsize=7, color=GREY)


# --- ground truth for the bounds ------------------------------------------------------------------------------------------
def twice_jensen_shannon(information: float) -> float:
    """What the Jensen-Shannon bound can reach for a Gaussian pair: twice the divergence between joint and product.

    Parameters
    ----------
    information : float
        Mutual information of the pair, nats, >= 0.

    Returns
    -------
    float
        Nats, at most 2 log 2; by quadrature on a grid, to nine digits.

    Raises
    ------
    ValueError
        A negative information or NaN.

    Examples
    --------
    >>> round(twice_jensen_shannon(1.0), 4), twice_jensen_shannon(0.0)
    (0.51, 0.0)
    """
    rho = _correlation(information)
    if rho == 0:
        return 0.0
    nodes = np.linspace(-9, 9, 601)
    u, v = nodes[:, None], nodes  # along and across the diagonal, in units of the joint's own deviations
    joint = np.exp(-(u**2 + v**2) / 2) * (nodes[1] - nodes[0]) ** 2 / (2 * math.pi)
    ratio = information - (u**2 + v**2) / 2 + ((1 + rho) * u**2 + (1 - rho) * v**2) / 2  # log p(x, z) / (p(x) p(z))
    # both expectations are taken under the joint: E_M[f] = E_J[f e^-ratio]
    inside = -np.logaddexp(0, -ratio) - np.exp(-ratio) * np.logaddexp(0, ratio)
    return float((joint * inside).sum() + 2 * math.log(2))


def _correlation(information: float) -> float:
    """Correlation of a Gaussian pair with this mutual information."""
    if not 0 <= information < math.inf:
        raise ValueError(f"information must be a number of nats >= 0, got {information}; 0 means independent")
    return math.sqrt(-math.expm1(-2 * information))


def nwj_deviation(information: float, batch_size: int) -> float:
    r"""Standard deviation of the NWJ estimate of a batch of Gaussian pairs with its best critic, in closed form.

    $\sqrt{\rho^2 / N + (\frac{\rho^2}{1 - \rho^2} + \frac{\rho^4}{1 - \rho^4}) / (N (N - 1))}$ with
    $\rho^2 = 1 - e^{-2I}$: the second term, from the pairs off the diagonal, grows like $e^{2I}$.

    Parameters
    ----------
    information : float
        Mutual information I of the pair, nats, >= 0.
    batch_size : int
        Pairs N >= 2; negatives are the pairs off the diagonal.

    Returns
    -------
    float
        Nats.

    Raises
    ------
    ValueError
        A negative information, or fewer than two pairs.

    Examples
    --------
    >>> nwj_deviation(0.0, 64), round(nwj_deviation(4.0, 64), 3)
    (0.0, 1.06)
    """
    square, n = _correlation(information) ** 2, check_count(batch_size, "batch_size", minimum=2)
    excess = math.expm1(2 * information) + square**2 / max(1 - square**2, math.exp(-4 * information))
    return math.sqrt(square / n + excess / (n * (n - 1)))


@dataclass(frozen=True)
class GaussianTruth:
    """Batch estimates of pairs whose mutual information is known, with the best critic of each bound.

    Attributes
    ----------
    information : ndarray
        Exact mutual information, nats, shape [m].
    values : dict of str to ndarray
        By bound: estimates, shape [m, batches].
    batch_size : int
        Pairs in a batch.
    """

    information: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    batch_size: int

    def target(self, bound: str) -> NDArray[np.float64]:
        """What the bound is a bound of: the mutual information, or for "js" twice the divergence.

        Parameters
        ----------
        bound : str
            One of "dv", "nwj", "js", "nce".

        Returns
        -------
        ndarray
            Nats, shape [m].
        """
        return np.array([twice_jensen_shannon(i) for i in self.information]) if bound == "js" else self.information


def gaussian_truth(information: Sequence[float] = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0), *, batch_size: int = 64,
                   batches: int = 200, seed: int = 0) -> GaussianTruth:
    """Estimate a known mutual information with every bound and its best critic, batch by batch.

    Parameters
    ----------
    information : sequence of float
        Exact values, nats, >= 0: correlated pairs of standard normal variables.
    batch_size, batches : int
        Pairs in a batch; batches for each value.
    seed : int
        Of the pairs.

    Returns
    -------
    GaussianTruth
        The same pairs for every bound; negatives are the pairs off the diagonal, save for InfoNCE.

    Raises
    ------
    ValueError
        A negative information, or too few pairs or batches.

    Examples
    --------
    >>> truth = gaussian_truth([1.0], batches=50)
    >>> bool(abs(truth.values["nwj"].mean() - 1.0) < 0.1), bool(truth.values["js"].mean() < 0.6)
    (True, True)
    """
    check_count(batches, "batches"), check_count(batch_size, "batch_size", minimum=2)
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, list[list[float]]] = {bound: [] for bound in ESTIMATORS}
    for exact in information:
        rho = _correlation(float(exact))
        x, noise = torch.randn(2, batches, batch_size, generator=generator, dtype=torch.float64)
        z = rho * x + math.exp(-float(exact)) * noise
        tables = [_log_ratio(a, b, rho, float(exact)) for a, b in zip(x, z, strict=True)]
        for bound in ESTIMATORS:
            shift = 1.0 if bound == "nwj" else 0.0  # its best critic is one more than the log ratio
            values[bound].append([float(estimate_information(table + shift, bound)) for table in tables])
    return GaussianTruth(np.array(information, dtype=float), {b: np.array(v) for b, v in values.items()}, batch_size)


def _log_ratio(x: Tensor, z: Tensor, rho: float, information: float) -> Tensor:
    """Logarithm of joint over product for all pairs of a Gaussian batch: the best critic."""
    quadratic = rho**2 * (x[:, None] ** 2 + z**2) - 2 * rho * x[:, None] * z
    return information - quadratic / 2 * math.exp(2 * information)


def plot_truth(truth: GaussianTruth) -> Any:
    """Mean and spread of every bound against the exact information.

    Parameters
    ----------
    truth : GaussianTruth
        Estimates of known pairs.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7))
    x, size = truth.information, truth.batch_size
    left.plot(x, x, color=BLACK, linewidth=1, label="exact information")
    left.plot(x, truth.target("js"), color=GREEN, linewidth=1, linestyle="--", label="exact 2 JS (quadrature)")
    left.axhline(math.log(size), color=GREY, linewidth=1, linestyle=":", label=f"log N = {math.log(size):.2f}")
    for bound, values in truth.values.items():
        middle, spread = np.median(values, axis=1), np.quantile(values, [0.05, 0.95], axis=1)
        left.plot(x, middle, "o-", color=_COLOURS[bound], markersize=3, linewidth=1, label=f"{_NAMES[bound]}, median")
        left.fill_between(x, *spread, color=_COLOURS[bound], alpha=0.15)
        right.plot(x, values.std(axis=1, ddof=1), "o-", color=_COLOURS[bound], markersize=3, linewidth=1, label=_NAMES[bound])
    right.plot(x, [nwj_deviation(i, size) for i in x], color=BLACK, linestyle="--", linewidth=1, label="NWJ, closed form")
    left.set(xlabel="exact mutual information, nats", ylabel="estimate of a batch, nats", ylim=(-1, 1.15 * x[-1]),
             title="With the best critic, each bound\nhas its own ceiling")
    right.set(xlabel="exact mutual information, nats", ylabel="standard deviation over batches, nats", yscale="log",
              title="NWJ pays with a variance\nthat grows exponentially")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    count = next(iter(truth.values.values())).shape[1]
    figure.text(0.01, -0.03, f"Gaussian pairs; {count} batches of {size} for each value; bands: 5 to 95 % of the batches; "
                "a heavy tail makes the measured deviation of NWJ fall short of the closed form", fontsize=7, color=GREY)
    return finished(figure)


@dataclass(frozen=True)
class TableCritics:
    """Critics of a finite case trained with each bound: how much of the exact information each one certifies.

    Attributes
    ----------
    information : float
        Exact mutual information, nats.
    certified : dict of str to list of float
        By bound, one for each seed: the population value of Donsker-Varadhan at the trained critic.
    steps, batch_size : int
        Length of the training.
    """

    information: float
    certified: dict[str, list[float]]
    steps: int
    batch_size: int

    def sentence(self) -> str:
        """The shortfall of each bound's critic in one sentence.

        Returns
        -------
        str
            Means over seeds with 95 % intervals.
        """
        parts = []
        for bound, values in self.certified.items():
            short = [self.information - v for v in values]
            interval = mean_interval(short)
            parts.append(f"{bound} {np.mean(short):.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"))
        seeds = len(next(iter(self.certified.values())))
        return (f"Exact information {self.information:.3f} nats; after {self.steps} steps on batches of {self.batch_size} a critic "
                f"trained with each bound falls short of it by (nats, {seeds} seeds): {', '.join(parts)}.")


def table_critics(joint: ArrayLike, *, steps: int = 300, batch_size: int = 64, learning_rate: float = 0.05,
                  seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> TableCritics:
    """Train a table of scores on batches of a finite law with every bound, and value it exactly.

    Parameters
    ----------
    joint : array_like
        Law of the pair, shape [n_x, n_z].
    steps, batch_size : int
        Adam steps; pairs in each batch.
    learning_rate : float
        Of Adam.
    seeds : sequence of int
        Of the batches.

    Returns
    -------
    TableCritics
        What the four critics certify; the population value of Donsker-Varadhan never exceeds the information.

    Raises
    ------
    ValueError
        No joint law, or no seeds.

    Examples
    --------
    >>> found = table_critics([[0.4, 0.1], [0.1, 0.4]], steps=60, seeds=[0])
    >>> all(-1e-9 < found.information - v[0] < 0.1 for v in found.certified.values())
    True
    """
    law, information = np.asarray(joint, dtype=float), float(mutual_information(joint))
    if not len(seeds):
        raise ValueError("seeds must name at least one repetition, got none; for example seeds=[0]")
    certified = {bound: [_trained_table(law, bound, steps, batch_size, learning_rate, seed) for seed in seeds] for bound in ESTIMATORS}
    return TableCritics(information, certified, steps, batch_size)


def _trained_table(law: NDArray[np.float64], bound: str, steps: int, batch_size: int, learning_rate: float, seed: int) -> float:
    """Population value of Donsker-Varadhan at a table trained with one bound."""
    generator, (rows, columns) = torch.Generator().manual_seed(seed), law.shape
    table = torch.zeros(rows, columns, dtype=torch.float64, requires_grad=True)
    optimizer, flat = torch.optim.Adam([table], lr=learning_rate), torch.as_tensor(law).flatten()
    for _ in range(check_count(steps, "steps")):
        cells = torch.multinomial(flat, check_count(batch_size, "batch_size", minimum=2), replacement=True, generator=generator)
        x, z = cells // columns, cells % columns
        loss = -estimate_information(table[x[:, None], z], bound)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return information_bounds(table.detach().numpy(), law).donsker_varadhan
