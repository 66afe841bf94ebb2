"""Figures 1 and 2 of the worst-case paper: information of the logits, loss of accuracy and the bound, for five architectures.

Each architecture is trained without an adversary, with one of a quarter of the radius, and with one of the whole radius; the
points read off the published figures stand beside ours.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from robinfo.experiments.record import Row, judge, paper_row
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi import allowed, bound_row, overall_verdict
from robinfo.figures import BLUE, GREY, finished
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.theory.fano import adversarial_accuracy_upper_bound
from robinfo.vulnerability import VulnerabilityEstimate

__all__ = ["ARCHITECTURES", "TRAININGS", "Bounds", "Correlation", "Setup", "bounds", "correlation", "plot_bounds", "plot_gap", "published_points"]

TRAININGS = ("standard", "robust, quarter radius", "robust")
_PAPER_MODEL = {"baseline_h": "Baseline-H", "vgg16": "VGG16", "resnet18": "ResNet18", "resnet50": "ResNet50",
                "densenet121": "DenseNet121"}
ARCHITECTURES = tuple(_PAPER_MODEL)
_PAPER_METHOD = dict(zip(TRAININGS, ("standard", "adv-trained eps=2/255", "robust"), strict=True))
_SHARE_OF_RADIUS = {"robust, quarter radius": 0.25, "robust": 1.0}
_DENSENET_IN_TEXT = "robust (adv. trained eps 8/255)"
Key = tuple[str, str]


# --- correlation --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Correlation:
    """A correlation over models, with a 95 % interval by Fisher's z.

    Attributes
    ----------
    kind : {"spearman", "pearson"}
        Of ranks or of values.
    value : float
        In [-1, 1].
    interval : (float, float) or None
        None for fewer models than the interval needs, and at ±1.
    n : int
        Models.
    """

    kind: str
    value: float
    interval: tuple[float, float] | None
    n: int

    @property
    def positive(self) -> bool:
        """Whether the interval lies above zero; without one, whether five models or more are in perfect order.

        Returns
        -------
        bool
            At five models chance brings that order in one case of 120.
        """
        return self.interval[0] > 0 if self.interval is not None else self.n >= 5 and self.value > 1 - 1e-12

    def __str__(self) -> str:
        """The value with its interval."""
        ends = "no interval" if self.interval is None else f"95 % interval {self.interval[0]:.2f} to {self.interval[1]:.2f}"
        return f"{self.value:.2f} ({ends}, n = {self.n})"


def correlation(x: ArrayLike, y: ArrayLike, *, kind: Literal["spearman", "pearson"] = "spearman", groups: Sequence[Any] | None = None
                ) -> Correlation | None:
    r"""Correlation of two quantities over models, with its interval by Fisher's transformation.

    $\tanh(\operatorname{artanh} r \pm 1.96\,s)$ with $s^2 = 1/(n - k - 3)$, for ranks $(1 + r^2/2)/(n - k - 3)$, where k = 0, or the
    number of groups less one.

    Parameters
    ----------
    x, y : array
        One number per model.
    kind : {"spearman", "pearson"}
        Of ranks or of values.
    groups : sequence, optional
        Label of each model: the mean of its group is taken off first, so that only differences within groups count.

    Returns
    -------
    Correlation or None
        None for fewer than three models, or where one of the two does not vary. The interval supposes independent models.

    Raises
    ------
    ValueError
        Different lengths, or numbers that are not finite.

    References
    ----------
    Fisher (1921); Bonett and Wright (2000) for ranks.

    Examples
    --------
    >>> print(correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]))
    0.80 (95 % interval -0.46 to 0.99, n = 5)
    """
    from scipy.stats import norm, rankdata

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or not np.isfinite([a, b]).all():
        raise ValueError(f"x and y must be finite and of one length, got shapes {a.shape} and {b.shape}; leave out what was not measured")
    if groups is not None:
        a, b = _within(a, groups), _within(b, groups)
    if kind == "spearman":
        a, b = rankdata(a), rankdata(b)
    n, spare = len(a), len(a) - 3 - (0 if groups is None else len(set(groups)) - 1)
    if n < 3 or min(np.ptp(a), np.ptp(b)) <= 1e-12:
        return None
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if spare < 1 or abs(r) > 1 - 1e-12:
        return Correlation(kind, r, None, n)
    half = float(norm.ppf(0.975)) * math.sqrt((1 + (r * r / 2 if kind == "spearman" else 0)) / spare)
    return Correlation(kind, r, (math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)), n)


def _within(values: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """Values less the mean of their group."""
    labels = [str(group) for group in groups]
    means = {label: np.mean([v for v, g in zip(values, labels, strict=True) if g == label]) for label in labels}
    return np.array([v - means[g] for v, g in zip(values, labels, strict=True)])


# --- what the paper's figures show --------------------------------------------------------------------------------------
def published_points(figure: Literal[1, 2]) -> dict[Key, dict[str, float]]:
    """The points read off a published figure (CIFAR-10).

    Parameters
    ----------
    figure : {1, 2}
        Which one.

    Returns
    -------
    dict of (str, str) to dict
        By architecture and training; the metrics as ours are called, information in nats, the rest in per cent or points.

    Examples
    --------
    >>> len(published_points(1)), published_points(2)["vgg16", "robust"]
    (12, {'normal_mi': 1.51, 'worst_case_mi': 0.896, 'adversarial_accuracy': 47.6})
    """
    found = {(architecture, training): _figure_cells("cifar10", architecture, training, figures=(figure,))
             for training in TRAININGS for architecture in ARCHITECTURES}
    return {key: {ours: cell["mean"] for ours, cell in cells.items()} for key, cells in found.items() if cells}


_FIGURE_METRICS = {1: {"vulnerability": "representation_vulnerability_logit", "accuracy_gap": "natural_minus_adversarial_accuracy"},
                   2: {"normal_mi": "normal_case_MI_logit", "worst_case_mi": "worst_case_MI_logit",
                       "adversarial_accuracy": "adversarial_accuracy"}}


def _figure_cells(dataset: str, architecture: str, training: str, figures: Sequence[int] = (1, 2)) -> dict[str, Any]:
    """Numbers read off Figures 1 and 2 for a CIFAR-10 model; empty for other data."""
    if dataset != "cifar10":
        return {}
    found = {ours: paper_row("Zhu2020", f"Fig{figure} (digitised)", required=False, model=_PAPER_MODEL[architecture],
                             method=_PAPER_METHOD[training], metric=theirs)
             for figure in figures for ours, theirs in _FIGURE_METRICS[figure].items()}
    return {ours: cell for ours, cell in found.items() if cell is not None}


def _text_cell(dataset: str, section: str, method: str, metric: str) -> dict[str, Any] | None:
    """A number stated in the text of Section 6 about CIFAR-10 models."""
    return paper_row("Zhu2020", section, required=False, method=method, metric=metric) if dataset == "cifar10" else None


# --- measured -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bounds:
    """Information of the logits and accuracies of several classifiers.

    Attributes
    ----------
    study : Study
        Data and settings.
    estimates : dict of (str, str) to list of VulnerabilityEstimate
        By architecture and training (see `TRAININGS`), one for each seed.
    counts : dict of (str, str) to list of dict
        Correct test images, likewise.
    """

    study: Study
    estimates: dict[Key, list[VulnerabilityEstimate]]
    counts: dict[Key, list[dict[str, int]]]

    def accuracy(self, key: Key, metric: str) -> float:
        """Mean accuracy over the seeds.

        Parameters
        ----------
        key : (str, str)
            Architecture and training.
        metric : str
            "natural_accuracy" or "adversarial_accuracy".

        Returns
        -------
        float
            In [0, 1].
        """
        trials = self.counts[key]
        return sum(t[metric] for t in trials) / len(trials) / len(self.study.test[0])

    def gap(self, key: Key) -> float:
        """Mean loss of accuracy under attack.

        Parameters
        ----------
        key : (str, str)
            Architecture and training.

        Returns
        -------
        float
            Points of per cent.
        """
        return 100 * (self.accuracy(key, "natural_accuracy") - self.accuracy(key, "adversarial_accuracy"))

    def mean(self, key: Key, quantity: str) -> float:
        """Mean of an estimated quantity over the seeds.

        Parameters
        ----------
        key : (str, str)
            Architecture and training.
        quantity : str
            "normal_mi", "worst_case_mi" or "vulnerability".

        Returns
        -------
        float
            Nats.
        """
        return sum(getattr(e, quantity) for e in self.estimates[key]) / len(self.estimates[key])

    def correlation(self, kind: Literal["spearman", "pearson"] = "spearman", *, within: bool = False) -> Correlation | None:
        """Correlation of vulnerability and accuracy gap over the models.

        Parameters
        ----------
        kind : {"spearman", "pearson"}
            Of ranks or of values.
        within : bool
            Only differences between models of the same training.

        Returns
        -------
        Correlation or None
            As for `correlation`.
        """
        keys = list(self.estimates)
        return correlation([self.mean(k, "vulnerability") for k in keys], [self.gap(k) for k in keys], kind=kind,
                           groups=[training for _, training in keys] if within else None)

    def above(self, *, clearly: bool = False) -> list[Key]:
        """Models whose adversarial accuracy exceeds the sharp bound at their estimate.

        The true accuracy never exceeds the bound at the true information: there the estimate is too low, or the attack too weak.

        Parameters
        ----------
        clearly : bool
            Only those where the intervals of accuracy and bound are apart, too.

        Returns
        -------
        list of (str, str)
            Architecture and training.
        """
        return [k for k in self.estimates if (self._accuracy_floor(k) > self._bound_ceiling(k) if clearly else
                100 * self.accuracy(k, "adversarial_accuracy") > allowed(self.study, self.mean(k, "worst_case_mi")))]

    def _accuracy_floor(self, key: Key) -> float:
        """Lower end of the interval of the adversarial accuracy, per cent."""
        n, counts = len(self.study.test[0]), [t["adversarial_accuracy"] for t in self.counts[key]]
        return (mean_interval([100 * c / n for c in counts]) or binomial_interval(counts[0], n, scale=100))[0]

    def _bound_ceiling(self, key: Key) -> float:
        """Upper end of the interval of the sharp bound, per cent; the bound itself where there is none."""
        interval = mean_interval([e.worst_case_mi for e in self.estimates[key]]) or self.estimates[key][0].worst_case_interval
        return allowed(self.study, self.mean(key, "worst_case_mi") if interval is None else interval[1])

    def undertrained(self) -> list[Key]:
        """Models whose natural accuracy lies nearer to chance than to 100 %.

        Returns
        -------
        list of (str, str)
            Architecture and training.
        """
        halfway = (1 + 1 / self.study.data.num_classes) / 2
        return [k for k in self.estimates if self.accuracy(k, "natural_accuracy") < halfway]

    @property
    def rows(self) -> list[Row]:
        """Every number beside the one read off the paper's figures or stated in its text."""
        rows = [row for key in self.estimates for row in self._model_rows(key)]
        rows += [row for training in ("standard", "robust") for row in self._group_rows(training)]
        return rows + self._correlation_rows()

    def _model_rows(self, key: Key) -> list[Row]:
        """Information, bounds and accuracies of one model."""
        (architecture, training), estimates, study = key, self.estimates[key], self.study
        model, dataset = _PAPER_MODEL[architecture], study.setup.dataset
        papers, logits = _figure_cells(dataset, architecture, training), f"{model}, logits"
        if key == ("baseline_h", "standard"):
            papers["natural_accuracy"] = _text_cell(dataset, "text 6.2", "Fully-Supervised Standard", "natural_accuracy")
        rows = study.information_rows(estimates, model=logits, method=training, papers=papers)
        bound = _text_cell(dataset, "text 6.1/Fig2", _DENSENET_IN_TEXT, "adv_accuracy_upper_bound_Thm3.4")
        in_text = key == ("densenet121", "robust")
        rows += [bound_row(study, estimates, training, logits), bound_row(study, estimates, training, logits, form="weak",
                                                                          paper=bound if in_text else None)]
        if in_text and (stated := _text_cell(dataset, "text 6.1/Fig2", _DENSENET_IN_TEXT, "worst_case_MI_logit")):
            rows.append(study.information_rows(estimates, model=logits, method=_DENSENET_IN_TEXT, papers={"worst_case_mi": stated})[1])
        rows += [study.accuracy_row(metric, [t[metric] for t in self.counts[key]], model=model, method=training, paper=papers.get(metric))
                 for metric in ("natural_accuracy", "adversarial_accuracy")]
        return [*rows, self._gap_row(key, papers.get("accuracy_gap"))]

    def _gap_row(self, key: Key, paper: Mapping[str, Any] | None) -> Row:
        """The loss of accuracy; an image right under attack is right without it, so that the loss is a share of the images."""
        study, trials = self.study, self.counts[key]
        n, lost = len(study.test[0]), [t["natural_accuracy"] - t["adversarial_accuracy"] for t in trials]
        interval = mean_interval([100 * x / n for x in lost]) or binomial_interval(lost[0], n, scale=100)
        return self._row("accuracy_gap", self.gap(key), "pp", n, interval, _PAPER_MODEL[key[0]], key[1], paper)

    def _row(self, metric: str, value: float, unit: str, n: int, interval: tuple[float, float] | None, model: str, method: str,
             paper: Mapping[str, Any] | None) -> Row:
        """One judged row of this study."""
        setup = self.study.setup
        return judge(Row(metric=metric, value=value, unit=unit, n=n, interval=interval, dataset=setup.dataset, model=model, method=method,
                         threat=str(setup.threat), seeds=tuple(setup.seeds), paper=paper, settings=setup.reduced()), comparable=setup.comparable)

    def _group_rows(self, training: str) -> list[Row]:
        """What the text says of all standard or all robust models: means over the architectures, and the largest normal information."""
        keys = [k for k in self.estimates if k[1] == training]
        if not keys:
            return []
        named: dict[str, tuple[str, str, list[float]]] = {
            "worst_case_mi": ("worst_case_MI_logit", "nats", [self.mean(k, "worst_case_mi") for k in keys]),
            "accuracy_upper_bound_plug_in_weak": ("adv_accuracy_upper_bound_Thm3.4", "%", [
                allowed(self.study, self.mean(k, "worst_case_mi"), "weak") for k in keys]),
            "adversarial_accuracy": ("adversarial_accuracy", "%", [100 * self.accuracy(k, "adversarial_accuracy") for k in keys])}
        dataset, model = self.study.setup.dataset, f"{training} models"
        rows = [self._row(f"{metric}, mean over architectures", float(np.mean(values)), unit, len(values), mean_interval(values), model, training,
                          _text_cell(dataset, "text 6.1/Fig2", training, theirs)) for metric, (theirs, unit, values) in named.items()]
        largest = max(self.mean(k, "normal_mi") for k in keys)
        return [*rows, self._row("normal_mi, largest", largest, "nats", len(keys), None, model, training,
                                 _text_cell(dataset, "text 6.2/Fig2", training, "normal_case_MI_logit_max"))]

    def _correlation_rows(self) -> list[Row]:
        """Correlation of vulnerability and gap, of ranks and of values, over all models and within trainings."""
        found = {"spearman_correlation": self.correlation(), "pearson_correlation": self.correlation("pearson"),
                 "pearson_correlation, within trainings": self.correlation("pearson", within=True)}
        return [self._row(f"vulnerability and gap: {name}", c.value, "", c.n, c.interval, "all models", "all trainings", None)
                for name, c in found.items() if c is not None]

    def verdict(self) -> str:
        """What was found: does vulnerability order the gap, does the bound hold at the estimates, which networks are undertrained?"""
        poor, within = self.undertrained(), self.correlation("pearson", within=True)
        points = published_points(1)
        lost, gaps = ([p[name] for p in points.values()] for name in ("vulnerability", "accuracy_gap"))
        printed = correlation(lost, gaps), correlation(lost, gaps, kind="pearson", groups=[training for _, training in points])
        weak = f" Natural accuracy nearer to chance than to 100 %, so that the network counts as undertrained: {_listed(poor)}." if poor else ""
        return (f"{overall_verdict(self.rows, 'the paper prints these figures for CIFAR-10 only')}. Found: {_order(self.correlation())}; of values (Pearson) {self.correlation('pearson') or 'none'}; "
                f"among models of one training {'they go together' if within and within.positive else 'no reliable relation is left'}: "
                f"{within or 'none'}. The points read off the published figure have {printed[0]}, and within trainings {printed[1]}. "
                f"Bound: {self._held()}.{weak}")

    def _held(self) -> str:
        """Whether the bound holds at the estimates, in words."""
        broken, clear = self.above(), self.above(clearly=True)
        if not broken:
            return "every adversarial accuracy lies below its sharp plug-in bound"
        return (f"{len(broken)} of {len(self.estimates)} adversarial accuracies lie above the sharp plug-in bound, where the worst-case information "
                f"was estimated too low or the attack is too weak: {_listed(broken)}; beyond both intervals: {_listed(clear) or 'none'}")


def _listed(keys: Sequence[Key]) -> str:
    """Architectures and trainings in words."""
    return ", ".join(f"{_PAPER_MODEL[architecture]} ({training})" for architecture, training in keys)


def _order(found: Correlation | None) -> str:
    """Whether vulnerability orders the gap, in words."""
    if found is None:
        return "too few models, or no differences, for a correlation"
    return f"vulnerability {'orders' if found.positive else 'does not reliably order'} the accuracy gap, rank correlation (Spearman) {found}"


def bounds(setup: Setup, *, architectures: Sequence[str] = ARCHITECTURES, trainings: Sequence[str] = TRAININGS, optimizer: str = "adam",
           classifier_learning_rate: float | None = None, milestones: Sequence[int] = (), weight_decay: float = 0.0) -> Bounds:
    """Figures 1 and 2: information of the logit layer and accuracy, for standard and adversarially trained classifiers.

    Parameters
    ----------
    setup : Setup
        Settings.
    architectures : sequence of str
        From `ARCHITECTURES`.
    trainings : sequence of str
        From `TRAININGS`; attack and estimate have the whole radius for all of them.
    optimizer, classifier_learning_rate, milestones, weight_decay
        Training of torchvision's classifiers, as for `fit`; the learning rate of the critics when none is given.
        Baseline-H is trained as everywhere else: Adam with the learning rate of the settings.

    Returns
    -------
    Bounds
        Estimates and counts.

    Raises
    ------
    ValueError
        An unknown architecture or training, or none.

    References
    ----------
    Zhu, Zhang and Evans (2020), Figures 1 and 2.
    """
    for name, given, known in (("architectures", architectures, ARCHITECTURES), ("trainings", trainings, TRAININGS)):
        if not given or set(given) - set(known):
            raise ValueError(f"{name} must be some of {', '.join(map(repr, known))}, got {list(given)}; choose from these")
    study = Study(setup, parts=2 * len(trainings) * len(architectures) * len(setup.seeds))
    estimates: dict[Key, list[VulnerabilityEstimate]] = {}
    counts: dict[Key, list[dict[str, int]]] = {}
    options: dict[str, Any] = {"optimizer": optimizer, "learning_rate": classifier_learning_rate or setup.learning_rate,
                               "milestones": milestones, "weight_decay": weight_decay}
    for seed in setup.seeds:
        for key in ((architecture, training) for architecture in architectures for training in trainings):
            share = _SHARE_OF_RADIUS.get(key[1])
            radius = None if share is None or share == 1 else share * setup.threat.radius
            model = study.supervised(seed, architecture=key[0], robust=share is not None, radius=radius,
                                     **({} if key[0] == "baseline_h" else options))
            counts.setdefault(key, []).append(study.accuracies(model))
            name = f"{key[0]}-{key[1].replace(', ', '-').replace(' ', '-')}"
            estimates.setdefault(key, []).append(study.vulnerability(model, seed, name))
    return Bounds(study, estimates, counts)


# --- figures ------------------------------------------------------------------------------------------------------------
_FILL: dict[str, dict[str, Any]] = {"standard": {"fillstyle": "none"}, "robust, quarter radius": {"fillstyle": "left", "markerfacecoloralt": "white"},
                                    "robust": {"fillstyle": "full"}}
_SHAPE = dict(zip(ARCHITECTURES, "os^Dv", strict=True))


def _mark(axis: Any, x: Any, y: Any, key: Key, *, published: bool = False) -> None:
    """One model: shape by architecture, fill by training; light for a published point."""
    axis.plot(x, y, _SHAPE[key[0]], color=GREY if published else BLUE, markersize=5 if published else 7, alpha=0.6 if published else 1,
              zorder=2 if published else 3, linestyle="none", **_FILL[key[1]])


def _legend(axis: Any, result: Bounds, extra: Sequence[Any] = ()) -> None:
    """Shapes, fills and the published points, each once."""
    from matplotlib.lines import Line2D

    architectures, trainings = (list(dict.fromkeys(part)) for part in zip(*result.estimates, strict=True))
    handles = [Line2D([], [], marker=_SHAPE[a], color=BLUE, linestyle="none", label=_PAPER_MODEL[a]) for a in architectures]
    handles += [Line2D([], [], marker="o", color="black", linestyle="none", label=t, **_FILL[t]) for t in trainings]
    handles.append(Line2D([], [], marker="o", color=GREY, alpha=0.6, linestyle="none", markersize=5, label="published, CIFAR-10"))
    axis.legend(handles=[*handles, *extra], fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1))


def plot_gap(result: Bounds) -> Any:
    """Figure 1: vulnerability of the logits against the loss of accuracy under attack.

    Parameters
    ----------
    result : Bounds
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.4, 4.2))
    for key, point in published_points(1).items():
        _mark(axis, point["vulnerability"], point["accuracy_gap"], key, published=True)
    for key, estimates in result.estimates.items():
        interval = mean_interval([e.vulnerability for e in estimates]) or estimates[0].vulnerability_interval
        if interval is not None:
            axis.hlines(result.gap(key), *interval, color=BLUE, alpha=0.4, linewidth=1)
        _mark(axis, result.mean(key, "vulnerability"), result.gap(key), key)
    found = result.correlation()
    within = result.correlation("pearson", within=True)
    claim = "Vulnerability does not reliably order the loss of accuracy"
    if found is not None and found.positive:
        claim = f"Vulnerability orders the loss of accuracy{'' if within and within.positive else ', but not reliably within one training'}"
    setup = result.study.setup
    axis.set(xlabel=f"representation vulnerability of the logits, nats (estimate, {setup.dataset})",
             ylabel=f"natural − adversarial accuracy\nin {setup.threat}, points", title=claim if found is None else f"{claim}:\nrank correlation {found}")
    _legend(axis, result)
    return finished(figure)


def plot_bounds(result: Bounds) -> Any:
    """Figure 2: worst-case and normal information of each model with its adversarial accuracy, and the bounds.

    Parameters
    ----------
    result : Bounds
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    study, printed = result.study, published_points(2)
    information = np.linspace(0, max(2.4, *(result.mean(key, "normal_mi") + 0.2 for key in result.estimates)), 200)
    figure, axis = plt.subplots(figsize=(7.8, 4.4))
    forms: tuple[tuple[str, Literal["weak", "sharp"]], ...] = (("--", "weak"), ("-", "sharp"))
    curves = [axis.plot(information, 100 * adversarial_accuracy_upper_bound(information, study.data.num_classes, form=form), style,
                        color="black", linewidth=1, label=f"Theorem 3.4, {form} form")[0] for style, form in forms]
    for key, point in printed.items() if study.data.num_classes == 10 else ():
        _pair(axis, point["worst_case_mi"], point["normal_mi"], point["adversarial_accuracy"], key, published=True)
    for key in result.estimates:
        _pair(axis, result.mean(key, "worst_case_mi"), result.mean(key, "normal_mi"), 100 * result.accuracy(key, "adversarial_accuracy"), key)
    above, total = len(result.above()), len(result.estimates)
    axis.set(xlabel=f"estimated information of the logits, nats ({study.setup.dataset}); left mark: worst case, right: normal",
             ylabel=f"adversarial accuracy in {study.setup.threat}, %", ylim=(-3, 103),
             title=f"{above} of {total} models lie above the sharp bound:\nestimate too low, or attack too weak" if above else
             f"All {total} models lie below the bound at their worst-case information")
    _legend(axis, result, curves)
    return finished(figure)


def _pair(axis: Any, worst: float, normal: float, height: float, key: Key, *, published: bool = False) -> None:
    """The two marks of one model with a line between them."""
    axis.hlines(height, worst, normal, color=GREY if published else BLUE, alpha=0.3, linewidth=1)
    _mark(axis, [worst, normal], [height, height], key, published=published)
