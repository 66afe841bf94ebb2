"""The experiments of the shared-information paper (2022) on white-box robustness: Tables 4, 5 and 11.

A notebook states the parameters and calls one function of this module; the function trains through a `Study` or finds what another
experiment has trained, attacks, and returns what was measured, with its rows, its figure and its verdict.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from robinfo.experiments.models_store import Tally, apart
from robinfo.experiments.record import Row, compare, markdown_table, paper_row
from robinfo.experiments.shared_information_study import (
    METHODS,
    Count,
    Settings,
    Study,
    Variant,
    evaluation_attacks,
)
from robinfo.experiments.worst_case_mi import overall_verdict
from robinfo.figures import BLUE, GREEN, GREY, ORANGE, PINK, RED, finished

__all__ = ["ATTACKS", "EarlyStopping", "Settings", "WhiteBox", "early_stopping", "plot_early_stopping", "plot_white_box", "white_box"]

ATTACKS = ("natural", "PGD-20", "PGD-40", "C&W(l2)", "AA")
_COLOURS = dict(zip(ATTACKS, (BLUE, GREEN, ORANGE, PINK, RED), strict=True))
_PAPER_CASES = {"4": (("MNIST", "4-layer CNN"), ("CIFAR-10", "ResNet18")), "11": (("CIFAR-10", "ResNet18 (assumed)"),),
                "5": (("CIFAR-10", "WideResNet-34-10"), ("CIFAR-100", "WideResNet-34-10"))}


def _variants(methods: Sequence[str]) -> list[Variant]:
    """The methods of that name."""
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(f"methods must be out of {', '.join(METHODS)}, got {list(methods)}; correct the names")
    return [METHODS[name] for name in methods]


# --- Tables 4 and 5 -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class WhiteBox(Tally):
    """Correct test images of several methods after several attacks.

    Attributes
    ----------
    study : Study
        Data and settings.
    table : str
        Number of the paper's table.
    counts : dict of str to list of dict
        By method; one dict of `Count` for each seed.
    epochs : dict of str to int
        Epochs of training behind the weights, by method.
    """

    study: Study
    table: str
    counts: dict[str, list[dict[str, Count]]]
    epochs: dict[str, int]

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, clean images first."""
        return tuple(next(iter(self.counts.values()))[0])

    @property
    def rows(self) -> list[Row]:
        """Every number beside the paper's, for ``metrics.json``."""
        s, rows = self.study.settings, []
        model = "ResNet18 (assumed)" if self.table == "11" and s.network == "resnet18" else None
        for method, trials in self.counts.items():
            rows += self.study.rows(self.table, METHODS[method], trials, model=model, note=f"weights after epoch {self.epochs[method]}")
        return rows

    @property
    def best(self) -> str:
        """The method with the highest accuracy under the last attack; the first of several."""
        return max(self.counts, key=lambda method: self.accuracy(method, self.attacks[-1]))

    def table_with_gaps(self) -> str:
        """The paper's whole table: what was measured, and "not run" where nothing was.

        Returns
        -------
        str
            A Markdown table.
        """
        rows = self.rows
        measured = {_key(row.paper) for row in rows if row.paper is not None}
        gaps = [(c["dataset"], c["model"], c["method"], _quantity(c), "not run", _printed(c), "–", "–")
                for c in _published(self.table) if _key(c) not in measured]
        table = compare(rows)
        return markdown_table(table.HEADER, [*table.cells(), *gaps])

    def verdict(self) -> str:
        """One sentence: the ordering the paper claims, and whether AutoAttack is at least as strong as PGD, as found."""
        last, best = self.attacks[-1], self.best
        found = f"highest under {last}: {best} ({self.accuracy(best, last):.1f} % of {self.total(best, last)[1]})"
        if "Ours" in self.counts and best != "Ours":
            found += (f"; Ours {self.accuracy('Ours', last):.1f} %: "
                      f"{'less' if apart(self.total(best, last), self.total('Ours', last)) > 2 else 'not less'} beyond two standard errors")
        return f"{overall_verdict(self.rows)}. As found in {self.study.settings.threat}, {found}{self._order_of_attacks()}."

    def _order_of_attacks(self) -> str:
        """Whether the ensemble leaves fewer images than PGD-40, as it has to."""
        if not {"AA", "PGD-40"} <= set(self.attacks):
            return ""
        odd = [m for m in self.counts if apart(self.total(m, "AA"), self.total(m, "PGD-40")) > 2]
        return (f"; accuracy under AutoAttack above that under PGD-40 beyond two standard errors: {', '.join(odd) or 'no method'}"
                " (the paper prints it for its own method on CIFAR-10)")


def _published(table: str) -> Iterator[dict[str, Any]]:
    """Every cell of one of the paper's tables."""
    for dataset, model in _PAPER_CASES[table]:
        for method in METHODS:
            for name in ATTACKS:
                metric = "natural_accuracy" if name == "natural" else "robust_accuracy"
                cell = paper_row("Yu2022", table, required=False, dataset=dataset, model=model, method=method, metric=metric,
                                 attack=None if name == "natural" else name)
                if cell is not None:
                    yield cell


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells the cells of a table apart."""
    return cell["dataset"], cell["model"], cell["method"], cell["attack"]


def _quantity(cell: Mapping[str, Any]) -> str:
    """A published quantity in words."""
    return ", ".join(filter(None, (str(cell["metric"]).replace("_", " "), cell["attack"])))


def _printed(cell: Mapping[str, Any]) -> str:
    """A published number."""
    return f"{cell['mean']:.2f}" + (f" ± {cell['std']:.2f}" if cell["std"] is not None else "")


def white_box(settings: Settings, *, table: Literal["4", "5"] = "4", methods: Sequence[str] = tuple(METHODS),
              attacks: Sequence[str] = ATTACKS) -> WhiteBox:
    """Tables 4 and 5: every method trained to its last epoch and attacked.

    Parameters
    ----------
    settings : Settings
        Settings.
    table : {"4", "5"}
        Which of the paper's tables stands beside it.
    methods : sequence of str
        Out of `METHODS`.
    attacks : sequence of str
        As for `evaluation_attacks`.

    Returns
    -------
    WhiteBox
        Counts by method and seed.

    Raises
    ------
    ValueError
        Unknown methods or attacks.

    References
    ----------
    Yu et al. (2022), Tables 4 and 5.
    """
    suite, variants = evaluation_attacks(settings, attacks), _variants(methods)
    study = Study(settings, parts=len(variants) * len(settings.seeds))
    counts = {v.name: [study.counts(study.trained(v, seed), suite) for seed in settings.seeds] for v in variants}
    return WhiteBox(study, table, counts, {v.name: v.plan(settings).epochs for v in variants})


def plot_white_box(result: WhiteBox) -> Any:
    """Accuracy of every method under every attack with its interval; the paper's value as a mark.

    Parameters
    ----------
    result : WhiteBox
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title names the method with the highest accuracy under the last attack.
    """
    import matplotlib.pyplot as plt

    rows = {(r.method, r.attack or "natural"): r for r in result.rows}
    methods, height = list(reversed(result.counts)), 0.84 / len(result.attacks)
    figure, axis = plt.subplots(figsize=(7.5, 0.8 + 0.75 * len(methods)))
    for k, attack in enumerate(result.attacks):
        for i, method in enumerate(methods):
            row, y = rows[method, attack], i + 0.42 - (k + 0.5) * height
            axis.barh(y, row.value, 0.9 * height, color=_COLOURS.get(attack, GREY), label=f"{attack} (n={row.n})" if i == 0 else None)
            _interval_and_paper(axis, row, y, label=i == 0 and k == 0)
    axis.set(yticks=range(len(methods)), yticklabels=methods, xlim=(0, 102),
             xlabel=f"accuracy, % ({result.study.settings.dataset}, {result.study.settings.threat})")
    axis.set_title(f"Highest under {result.attacks[-1]}: {result.best}", loc="left")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)


def _interval_and_paper(axis: Any, row: Row, y: float, *, label: bool) -> None:
    """The interval as a line, the published value as a diamond."""
    if row.interval is not None:
        axis.hlines(y, max(row.interval[0], 0), min(row.interval[1], 100), color="black", linewidth=1)
    if row.paper is not None:
        axis.plot(row.paper["mean"], y, "D", color="black", markerfacecolor="white", markersize=4, label="paper" if label else None)


# --- Table 11 -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EarlyStopping:
    """The same trainings at their last epoch and at the epoch at which the paper stops them.

    Attributes
    ----------
    last, early : WhiteBox
        Beside Table 4 and beside Table 11.
    """

    last: WhiteBox
    early: WhiteBox

    @property
    def rows(self) -> list[Row]:
        """Every number, last epochs first."""
        return [*self.last.rows, *self.early.rows]

    def verdict(self) -> str:
        """One sentence: what stopping early changes for each method, in standard errors."""
        last = self.early.attacks[-1]
        parts = []
        for method in self.early.counts:
            gap = self.early.accuracy(method, last) - self.last.accuracy(method, last)
            size = abs(apart(self.early.total(method, last), self.last.total(method, last)))
            parts.append(f"{method} {gap:+.1f} points{'' if size > 2 else ' (within two standard errors)'}")
        return (f"{overall_verdict(self.early.rows)}. Accuracy under {last} at the stopping epoch minus that at the last one: "
                f"{', '.join(parts)}.")


def early_stopping(settings: Settings, *, methods: Sequence[str] = tuple(METHODS), attacks: Sequence[str] = ATTACKS) -> EarlyStopping:
    """Table 11: every training at the paper's stopping epoch and at its last.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose trainings are found again.
    methods, attacks : sequence of str
        As for `white_box`.

    Returns
    -------
    EarlyStopping
        Counts of both.

    Raises
    ------
    ValueError
        Unknown methods or attacks.

    References
    ----------
    Yu et al. (2022), Appendix A.1 and Table 11.
    """
    suite, variants = evaluation_attacks(settings, attacks), _variants(methods)
    study = Study(settings, parts=2 * len(variants) * len(settings.seeds))
    last: dict[str, list[dict[str, Count]]] = {v.name: [] for v in variants}
    early: dict[str, list[dict[str, Count]]] = {v.name: [] for v in variants}
    for v in variants:
        for seed in settings.seeds:
            last[v.name].append(study.counts(study.trained(v, seed), suite))
            early[v.name].append(study.counts(study.trained(v, seed, at="early"), suite))
    plans = {v.name: v.plan(settings) for v in variants}
    return EarlyStopping(WhiteBox(study, "4", last, {name: plan.epochs for name, plan in plans.items()}),
                         WhiteBox(study, "11", early, {name: plan.early or plan.epochs for name, plan in plans.items()}))


def plot_early_stopping(result: EarlyStopping) -> Any:
    """Accuracy of every method at its last epoch (open) and at the stopping epoch (filled), clean and under the last attack.

    Parameters
    ----------
    result : EarlyStopping
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    methods, shown = list(reversed(result.early.counts)), (result.early.attacks[0], result.early.attacks[-1])
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.5 * len(methods)))
    for attack, colour, shift in zip(shown, (BLUE, RED), (0.14, -0.14), strict=True):
        for i, method in enumerate(methods):
            before, after = result.last.accuracy(method, attack), result.early.accuracy(method, attack)
            axis.hlines(i + shift, min(before, after), max(before, after), color=colour, linewidth=2)
            axis.plot(before, i + shift, "o", color=colour, markerfacecolor="white", label=f"{attack}, last epoch" if i == 0 else None)
            axis.plot(after, i + shift, "o", color=colour, label=f"{attack}, stopped" if i == 0 else None)
    gains = sum(result.early.accuracy(m, shown[1]) > result.last.accuracy(m, shown[1]) for m in methods)
    axis.set(yticks=range(len(methods)), yticklabels=methods, ylim=(-0.6, len(methods) - 0.4),
             xlabel=f"accuracy, % ({result.early.study.settings.dataset}, {result.early.study.settings.threat})")
    axis.set_title(f"Stopping early is better under {shown[1]} for {gains} of {len(methods)} methods", loc="left")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)
