"""The experiments of the worst-case mutual information paper (2020): quickstart, and Table 1 with Tables 3 to 5 of its supplement.

A notebook states the parameters and calls one function of this module; the function trains through a `Study`,
evaluates, and returns what was measured, with its rows, its figure and its verdict.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from robinfo.evaluation import survivors
from robinfo.experiments.record import Row, judge, paper_row
from robinfo.experiments.study import Setup, Study
from robinfo.figures import BLUE, GREEN, PINK, RED, finished
from robinfo.theory.confidence import mean_interval
from robinfo.theory.fano import adversarial_accuracy_upper_bound
from robinfo.vulnerability import VulnerabilityEstimate

__all__ = ["Quickstart", "Setup", "Table1", "allowed", "bound_row", "overall_verdict", "plot_quickstart", "plot_table1", "quickstart", "table1"]


_PAPER_TABLE = {"cifar10": "1", "mnist": "3", "fashion_mnist": "4", "svhn": "5"}


# --- quickstart ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Quickstart:
    """What the quickstart measured on two representations.

    Attributes
    ----------
    study : Study
        Data and settings.
    estimates : dict of str to VulnerabilityEstimate
        By representation: "normal", "worst-case".
    counts : dict of (str, str) to dict
        Correct test images, by representation and head.
    """

    study: Study
    estimates: dict[str, VulnerabilityEstimate]
    counts: dict[tuple[str, str], dict[str, int]]

    def share(self, representation: str, head: str, metric: str) -> float:
        """An accuracy of a head above a representation.

        Parameters
        ----------
        representation : str
            "normal" or "worst-case".
        head : str
            "standard" or "robust".
        metric : str
            "natural_accuracy" or "adversarial_accuracy".

        Returns
        -------
        float
            In [0, 1].
        """
        return self.counts[representation, head][metric] / len(self.study.test[0])

    def bound(self, representation: str) -> float:
        """Adversarial accuracy that Theorem 3.4 (sharp) allows above a representation, at the estimate.

        Parameters
        ----------
        representation : str
            "normal" or "worst-case".

        Returns
        -------
        float
            In [0, 1]; a plug-in value, not a certificate.
        """
        return self.estimates[representation].accuracy_upper_bound(self.study.data.num_classes)

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``."""
        rows: list[Row] = []
        for name, estimate in self.estimates.items():
            rows += self.study.information_rows([estimate], model="encoder", method=f"{name} representation")
            rows.append(bound_row(self.study, [estimate], f"{name} representation", "encoder"))
        for (name, head), counts in self.counts.items():
            rows += [self.study.accuracy_row(metric, [count], model="encoder + MLP head",
                                             method=f"{name} representation / {head} head") for metric, count in counts.items()]
        return rows

    def verdict(self) -> str:
        """One sentence: what was found, whichever way it falls."""
        best = {name: max(self.share(name, head, "adversarial_accuracy") for head in ("standard", "robust"))
                for name in self.estimates}
        lost = {name: e.vulnerability for name, e in self.estimates.items()}
        n = len(self.study.test[0])
        return (f"{overall_verdict(self.rows)}. In {self.study.setup.threat} the representation trained for the worst case loses "
                f"{lost['worst-case']:.2f} nats, the normal one {lost['normal']:.2f}; the best head above it reaches "
                f"{100 * best['worst-case']:.1f} % under attack against {100 * best['normal']:.1f} %: "
                f"{_difference(best['worst-case'], best['normal'], n)} (n = {n} images, one seed; "
                f"{_consistency(best, {name: self.bound(name) for name in best})}).")


def _difference(ours: float, other: float, n: int) -> str:
    """Whether a share is larger than another by more than two standard errors, both measured on n images."""
    error = math.sqrt((ours * (1 - ours) + other * (1 - other)) / n)
    if abs(ours - other) <= 2 * error:
        return "no difference beyond two standard errors"
    return f"{'more' if ours > other else 'less'} robust, beyond two standard errors"


def overall_verdict(rows: Sequence[Row], nothing: str = "the paper has no such experiment") -> str:
    """The verdict of an experiment: the least favourable verdict of its rows that have a published cell.

    Parameters
    ----------
    rows : sequence of Row
        Judged rows.
    nothing : str
        What is said where no row has a published cell.

    Returns
    -------
    str
        One of `robinfo.experiments.record.VERDICTS`, capitalised, with the reason where it is "not comparable".

    Examples
    --------
    >>> overall_verdict([])
    'Not comparable: the paper has no such experiment'
    """
    verdicts = [row.verdict for row in rows if row.paper is not None]
    if not verdicts:
        return f"Not comparable: {nothing}"
    worst = max(verdicts, key=lambda v: ("reproduced", "with a caveat", "not reproduced", "not comparable").index(v or ""))
    texts = [row.settings for row in rows if row.paper is not None and row.verdict == worst == "not comparable" and row.settings]
    sentence = f"{worst}: {_shared_clauses(texts)}" if texts else str(worst)
    return sentence[:1].upper() + sentence[1:]


def _shared_clauses(texts: Sequence[str]) -> str:
    """The clauses, between semicolons, that every text has, in the order of the first; a hint where there are none."""
    clauses = [clause for clause in texts[0].split("; ") if all(clause in text.split("; ") for text in texts)]
    return "; ".join(clauses) or "the settings differ from row to row"


def _consistency(best: Mapping[str, float], allowed: Mapping[str, float]) -> str:
    above = [name for name in best if best[name] > allowed[name]]
    if not above:
        return "all below the plug-in bound of Theorem 3.4"
    return (f"the {' and '.join(above)} representation exceeds its plug-in bound, so its worst-case information "
            "was underestimated")


def bound_row(study: Study, estimates: Sequence[VulnerabilityEstimate], method: str, model: str, *, form: Literal["weak", "sharp"] = "sharp",
              paper: Mapping[str, Any] | None = None) -> Row:
    """The accuracy that Theorem 3.4 allows at the mean estimate of the worst-case information, with its interval carried through.

    Parameters
    ----------
    study : Study
        Data and settings.
    estimates : sequence of VulnerabilityEstimate
        One for each seed.
    method, model : str
        What was measured.
    form : {"sharp", "weak"}
        The sharp form, or the one that the paper prints.
    paper : mapping, optional
        The published cell.

    Returns
    -------
    Row
        In per cent, judged: a plug-in value, not a certificate.
    """
    values = [estimate.worst_case_mi for estimate in estimates]
    interval = mean_interval(values) or estimates[0].worst_case_interval
    low, high = (None, None) if interval is None else (allowed(study, end, form) for end in interval)
    row = Row(metric="accuracy_upper_bound_plug_in" if form == "sharp" else "accuracy_upper_bound_plug_in_weak",
              value=allowed(study, sum(values) / len(values), form), unit="%", n=estimates[0].batches,
              interval=None if low is None or high is None else (low, high), dataset=study.setup.dataset, model=model, method=method,
              threat=str(study.setup.threat), seeds=tuple(study.setup.seeds), paper=paper, settings=study.setup.reduced())
    return judge(row, comparable=study.setup.comparable)


def allowed(study: Study, information: float, form: Literal["weak", "sharp"] = "sharp") -> float:
    """The adversarial accuracy that Theorem 3.4 allows, in per cent; a negative estimate counts as zero information.

    Parameters
    ----------
    study : Study
        For the number of classes.
    information : float
        Worst-case information, nats.
    form : {"sharp", "weak"}
        As for `bound_row`.

    Returns
    -------
    float
        Per cent.
    """
    return 100 * float(adversarial_accuracy_upper_bound(max(information, 0.0), study.data.num_classes, form=form))


def quickstart(setup: Setup) -> Quickstart:
    """Train a normal and a worst-case representation, measure both, and put heads above them.

    Parameters
    ----------
    setup : Setup
        The first seed is used.

    Returns
    -------
    Quickstart
        Estimates and accuracies.
    """
    study, seed = Study(setup, parts=8), setup.seeds[0]
    estimates, counts = {}, {}
    for name in ("normal", "worst-case"):
        encoder = study.encoder(seed, worst_case=name == "worst-case")
        for head in ("standard", "robust"):
            model, _ = study.head(encoder, seed, kind="MLP", robust=head == "robust", name=name)
            counts[name, head] = study.accuracies(model)
        estimates[name] = study.vulnerability(encoder, seed, name)
    return Quickstart(study, estimates, counts)


def plot_quickstart(result: Quickstart) -> Any:
    """Information (left) and accuracy under attack with the plug-in bound (right) of the two representations.

    Parameters
    ----------
    result : Quickstart
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4))
    names = list(result.estimates)
    for i, name in enumerate(names):
        e = result.estimates[name]
        for shift, value, interval, colour, label in ((-0.18, e.normal_mi, e.normal_interval, BLUE, "normal"),
                                                      (0.18, e.worst_case_mi, e.worst_case_interval, RED, "worst case")):
            spread = None if interval is None else [[value - interval[0]], [interval[1] - value]]
            left.bar(i + shift, value, 0.34, yerr=spread, color=colour, capsize=3, label=label if i == 0 else None)
    left.set(xticks=range(len(names)), xticklabels=[f"{n}\nrepresentation" for n in names], ylabel="information estimate, nats",
             title="What the worst perturbation leaves")
    left.axhline(0, color="black", linewidth=0.8)
    left.margins(y=0.2)
    left.legend(fontsize=7, loc="upper center", ncols=2)
    for i, name in enumerate(names):
        for shift, head, colour in ((-0.18, "standard", GREEN), (0.18, "robust", PINK)):
            right.bar(i + shift, 100 * result.share(name, head, "adversarial_accuracy"), 0.34, color=colour,
                      label=f"{head} head" if i == 0 else None)
            right.plot(i + shift, 100 * result.share(name, head, "natural_accuracy"), "o", color="black", markersize=4,
                       label="natural accuracy" if i + shift < 0 else None)
        right.hlines(100 * result.bound(name), i - 0.4, i + 0.4, color=RED, linestyles="--",
                     label="bound (plug-in, Theorem 3.4)" if i == 0 else None)
    right.set(xticks=range(len(names)), xticklabels=[f"{n}\nrepresentation" for n in names], ylim=(0, 105),
              ylabel=f"accuracy in {result.study.setup.threat}, %", title="What heads above it can still do")
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)


# --- Table 1 ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Table1:
    """Counts of correct test images of every row of Table 1, by head architecture, row and seed.

    Attributes
    ----------
    study : Study
        Data and settings.
    counts : dict of (str, str) to list of dict
        By head architecture ("MLP", "Linear") and row name as in the paper; one dict of counts per seed.
    early_stopping_on : str
        Split on which the early-stopped row was chosen.
    """

    study: Study
    counts: dict[tuple[str, str], list[dict[str, int]]]
    early_stopping_on: str = "validation"

    @property
    def rows(self) -> list[Row]:
        """Every number beside the paper's, for ``metrics.json``."""
        table, rows = _PAPER_TABLE.get(self.study.setup.dataset), []
        for (kind, method), trials in self.counts.items():
            for metric in trials[0]:
                paper = None if table is None else paper_row("Zhu2020", table, method=method, metric=metric, head=kind)
                rows.append(self.study.accuracy_row(metric, [t[metric] for t in trials], model=f"encoder, h={kind}",
                                                    method=method, paper=paper, note=self._note(method)))
        return rows

    def _note(self, method: str) -> str:
        """What a reader of the early-stopped row has to know."""
        optimistic = "E.S." in method and self.early_stopping_on == "test"
        return "epoch chosen on the test images, as in the paper: optimistic" if optimistic else ""

    def mean(self, kind: str, method: str, metric: str = "adversarial_accuracy") -> float:
        """Mean accuracy over the seeds.

        Parameters
        ----------
        kind : str
            Head architecture.
        method : str
            Row, as in the paper.
        metric : str
            Which accuracy.

        Returns
        -------
        float
            Per cent.
        """
        trials = self.counts[kind, method]
        return 100 * sum(t[metric] for t in trials) / len(trials) / len(self.study.test[0])

    def verdict(self) -> str:
        """One sentence on the paper's ordering, reported as found."""
        parts = []
        for kind in ("MLP", "Linear"):
            if (kind, "Ours / h=Robust") not in self.counts:
                continue
            ours, other = (self.mean(kind, f"{name} / h=Robust") for name in ("Ours", "Hjelm et al. (2018)"))
            n = len(self.study.test[0]) * len(self.study.setup.seeds)
            parts.append(f"{kind} head: ours {ours:.1f} %, Hjelm {other:.1f} %: {_difference(ours / 100, other / 100, n)}")
        return (f"{overall_verdict(self.rows)}. The paper's ordering (ours above Hjelm in adversarial accuracy with a robust head), "
                f"as found in {self.study.setup.threat}: {'; '.join(parts)}.")


def table1(setup: Setup, *, heads: Sequence[str] = ("MLP", "Linear"),
           early_stopping_on: Literal["validation", "test"] = "validation") -> Table1:
    """All rows of Table 1 (of Tables 3, 4, 5 for other data sets): representations, heads, supervised references.

    Parameters
    ----------
    setup : Setup
        Settings; `validation_images` are needed for early stopping on validation data.
    heads : sequence of {"MLP", "Linear"}
        Head architectures.
    early_stopping_on : {"validation", "test"}
        Where the early-stopped head is chosen. "test" repeats the paper's choice, which makes that row optimistic.

    Returns
    -------
    Table1
        Counts per row and seed.

    Raises
    ------
    ValueError
        Early stopping on validation data without validation images.

    References
    ----------
    Zhu, Zhang and Evans (2020), Table 1 and supplement, Tables 3 to 5.
    """
    if early_stopping_on not in ("validation", "test"):
        raise ValueError(f"early_stopping_on must be 'validation' or 'test', got {early_stopping_on!r}; choose one of them")
    if early_stopping_on == "validation" and setup.validation_images < 1:
        raise ValueError("early stopping on validation data needs validation_images >= 1, got 0; raise it, or choose 'test'")
    study = Study(setup, parts=len(setup.seeds) * (2 + 6 * len(heads)))
    counts: dict[tuple[str, str], list[dict[str, int]]] = {}
    for seed in setup.seeds:
        for name, title in (("normal", "Hjelm et al. (2018)"), ("worst-case", "Ours")):
            encoder = study.encoder(seed, worst_case=name == "worst-case")
            for kind in heads:
                for method, correct in _head_rows(study, encoder, seed, kind, name, title, early_stopping_on).items():
                    counts.setdefault((kind, method), []).append(correct)
        for kind in heads:
            for robust in (False, True):
                model = study.supervised(seed, kind=kind, robust=robust)
                method = f"Fully-Supervised {'Robust' if robust else 'Standard'}"
                counts.setdefault((kind, method), []).append(study.accuracies(model))
    return Table1(study, counts, early_stopping_on)


def _head_rows(study: Study, encoder: nn.Module, seed: int, kind: str, name: str, title: str,
               early_stopping_on: str) -> dict[str, dict[str, int]]:
    """Rows of one representation: standard, early-stopped (worst case only), robust."""
    monitor, monitored = None, ""
    if name == "worst-case":
        monitor, size = _monitor(study, early_stopping_on), len((study.test if early_stopping_on == "test" else study.validation)[0])
        monitored = f"{size} {early_stopping_on} images, {study.setup.evaluation_attack}"
    model, history = study.head(encoder, seed, kind=kind, robust=False, name=name, monitor=monitor, monitored=monitored)
    rows = {f"{title} / h=Standard": study.accuracies(model)}
    if monitor is not None:
        history.restore_best(model)
        rows[f"{title} / h=Standard (E.S.)"] = study.accuracies(model)
    model, _ = study.head(encoder, seed, kind=kind, robust=True, name=name)
    return rows | {f"{title} / h=Robust": study.accuracies(model)}


def _monitor(study: Study, split: str) -> Callable[[nn.Module], dict[str, float]]:
    """Adversarial accuracy after each epoch, on the split that chooses the early-stopped head."""
    images, labels = study.test if split == "test" else study.validation

    def monitor(model: nn.Module) -> dict[str, float]:
        """Adversarial accuracy of the model on the split."""
        device = next(model.parameters()).device
        alive = survivors(model, images.to(device), labels.to(device), study.setup.evaluation_attack, batch_size=500)
        return {"adversarial_accuracy": float(alive.double().mean())}

    return monitor


def plot_table1(result: Table1) -> Any:
    """Natural and adversarial accuracy of every row, the paper's value as a mark.

    Parameters
    ----------
    result : Table1
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    rows = {(r.model, r.method, r.metric): r for r in result.rows}
    kinds = list(dict.fromkeys(kind for kind, _ in result.counts))
    methods = list(dict.fromkeys(method for _, method in result.counts))
    figure, axes = plt.subplots(1, len(kinds), figsize=(1 + 4.2 * len(kinds), 3.6), sharey=True, squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for shift, metric, colour in ((0.2, "natural_accuracy", BLUE), (-0.2, "adversarial_accuracy", RED)):
            for i, method in enumerate(reversed(methods)):
                row = rows[f"encoder, h={kind}", method, metric]
                axis.barh(i + shift, row.value, 0.36, color=colour, label=metric.replace("_", " ") if i == 0 else None)
                if row.interval is not None:
                    axis.hlines(i + shift, max(row.interval[0], 0), min(row.interval[1], 100), color="black", linewidth=1)
                if row.paper is not None:
                    axis.plot(row.paper["mean"], i + shift, "D", color="black", markerfacecolor="white", markersize=4,
                              label="paper" if i == 0 and shift > 0 else None)
        axis.set(yticks=range(len(methods)), yticklabels=list(reversed(methods)), xlim=(0, 102), title=f"{kind} head",
                 xlabel=f"accuracy, % ({result.study.setup.dataset}, {result.study.setup.threat})")
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)
