"""The experiments of the label-hypothesis paper (2019): Tables 1 and 2 and Figure 3.

A notebook states the parameters and calls one function of this module; the function trains through a `Study` or finds what another
experiment has trained, attacks, and returns what was measured, with its rows, its figure and its verdict.
"""
from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robinfo.attacks import AccuracyCurve, accuracy_curve, minimal_radius
from robinfo.experiments.guess_first_study import (
    ACCESS,
    KINDS,
    METHODS,
    SUBSTITUTE,
    Cell,
    GradientLine,
    Settings,
    Study,
    attack_of,
    check_methods,
    paper_cell,
)
from robinfo.experiments.models_store import Count, apart
from robinfo.experiments.record import VERDICTS, Row, compare, markdown_table
from robinfo.experiments.worst_case_mi import overall_verdict
from robinfo.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, finished
from robinfo.training import readable_time

__all__ = ["Curves", "Settings", "Table", "figure3", "plot_figure3", "plot_table", "table"]

COLOURS = dict(zip(METHODS, (BLACK, BLUE, RED, SKY, ORANGE, GREEN), strict=True))
_PAIRS = (("C-DV", "C-DV-IE"), ("C-JS", "C-JS-IE"))
_BASELINES = ("CNN", "Alemi et al.")


def colour_of(method: str) -> str:
    """The colour of a model in every figure.

    Parameters
    ----------
    method : str
        By name.

    Returns
    -------
    str
        One colour for all models that are not in the paper's tables.
    """
    return COLOURS.get(method, PINK)


# --- Tables 1 and 2 -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Table:
    """Correct test images of several models after every attack.

    Attributes
    ----------
    study : Study
        Data and settings.
    number : str
        Of the paper's table.
    counts : dict of str to dict of Cell to list of Count
        By model and line; one `Count` for each seed.
    """

    study: Study
    number: str
    counts: dict[str, dict[Cell, list[Count]]]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The lines, clean images first."""
        return tuple(next(iter(self.counts.values())))

    @property
    def rows(self) -> list[Row]:
        """Every number beside the paper's, line by line, for ``metrics.json``."""
        return [self.study.row(cell, method, found[cell], self.number) for cell in self.cells for method, found in self.counts.items()]

    def total(self, method: str, cell: Cell) -> tuple[int, int]:
        """Correct images and all images, summed over the seeds.

        Parameters
        ----------
        method : str
            By name.
        cell : Cell
            The line.

        Returns
        -------
        (int, int)
            Correct, attacked.
        """
        counts = self.counts[method][cell]
        return sum(c.correct for c in counts), sum(c.n for c in counts)

    def accuracy(self, method: str, cell: Cell) -> float:
        """Share of the images that are classified correctly, over all seeds.

        Parameters
        ----------
        method : str
            By name.
        cell : Cell
            The line.

        Returns
        -------
        float
            Per cent.
        """
        correct, n = self.total(method, cell)
        return 100 * correct / n

    def table_with_gaps(self) -> str:
        """Every cell of the paper's table: what was measured, and "not run" where nothing was.

        Returns
        -------
        str
            A Markdown table.
        """
        rows = self.rows
        measured = {_key(row.paper) for row in rows if row.paper is not None}
        gaps = [(c["dataset"], "", c["method"], ", ".join(filter(None, (c["metric"].replace("_", " "), c["attack"]))), "not run",
                 f"{c['mean']:.2f}", "–", "–") for c in published(self.number) if _key(c) not in measured]
        found = compare(rows)
        return markdown_table(found.HEADER, [*found.cells(), *gaps])

    def ahead(self, method: str, rival: str, cells: Sequence[Cell]) -> tuple[int, int]:
        """In how many lines one model lies above another, and in how many below, by more than two standard errors.

        Parameters
        ----------
        method, rival : str
            By name.
        cells : sequence of Cell
            Which lines.

        Returns
        -------
        (int, int)
            Above, below.
        """
        sizes = [apart(self.total(method, cell), self.total(rival, cell)) for cell in cells]
        return sum(s > 2 for s in sizes), sum(s < -2 for s in sizes)

    def verdict(self) -> str:
        """The paper's four claims as found, each difference counted only beyond two standard errors."""
        parts = [summary(self.rows, self.study.settings), self._reading(), self._beside_baselines(), self._regulariser(), self._clean(),
                 self._odd_order()]
        return "\n\n".join(filter(None, parts))

    def _reading(self) -> str:
        """Which reading of "black box" lies closer to what is printed."""
        rows = [row for row in self.rows if row.paper is not None]
        far = {access: [abs(row.value - row.paper["mean"]) for row in rows if row.paper and str(row.attack).endswith(access)] for access in ACCESS[:2]}
        if not all(far.values()):
            return ""
        words = ", ".join(f"{access} {sum(gaps) / len(gaps):.1f}" for access, gaps in far.items())
        return f"**Which reading of black box?** Mean distance to the {len(far[ACCESS[0]])} printed numbers in points: {words}."

    @property
    def _attacked(self) -> list[Cell]:
        """The lines with an attack."""
        return [cell for cell in self.cells if cell.kind != "clean"]

    def _beside_baselines(self) -> str:
        """Claim: robust beyond the baseline and the bottleneck, all round."""
        cells, lines = self._attacked, []
        for method in (m for m in self.counts if m not in _BASELINES):
            for rival in (b for b in _BASELINES if b in self.counts):
                more, fewer = self.ahead(method, rival, cells)
                lines.append(f"{method} above {rival} in {more} of {len(cells)}, below in {fewer}")
        return f"**Robust beyond the baselines, all round?** Lines with an attack: {'; '.join(lines)}." if lines and cells else ""

    def _regulariser(self) -> str:
        """Claim: the regulariser helps overall."""
        cells, lines = self._attacked, []
        for plain, regularised in _PAIRS:
            if {plain, regularised} <= set(self.counts):
                more, fewer = self.ahead(regularised, plain, cells)
                lines.append(f"{regularised} above {plain} in {more} of {len(cells)}, below in {fewer}")
        return f"**Does eliminating information help?** {'; '.join(lines)}." if lines and cells else ""

    def _clean(self) -> str:
        """Claim: no loss on clean images."""
        clean = Cell("clean")
        if "CNN" not in self.counts or clean not in self.cells or len(self.counts) < 2:
            return ""
        lines = [f"{m} {self.accuracy(m, clean) - self.accuracy('CNN', clean):+.1f}" for m in self.counts if m != "CNN"]
        worse = [m for m in self.counts if apart(self.total("CNN", clean), self.total(m, clean)) > 2]
        return (f"**No loss of clean accuracy?** Points beside CNN: {', '.join(lines)}; "
                f"less beyond two standard errors: {', '.join(worse) or 'no model'}.")

    def odd(self) -> list[tuple[str, Cell, Cell]]:
        """Where an attack that sees the gradient leaves more than the same attack without it.

        Returns
        -------
        list of (str, Cell, Cell)
            Model, white-box line, black-box line; beyond two standard errors.
        """
        pairs = [(w, b) for w in self.cells for b in self.cells
                 if w.access == "white-box" and b.access in ACCESS[:2] and (w.kind, w.eps) == (b.kind, b.eps)]
        return [(m, w, b) for m in self.counts for w, b in pairs if apart(self.total(m, w), self.total(m, b)) > 2]

    def _odd_order(self) -> str:
        """The sign of masked gradients."""
        if not {"white-box"} < {cell.access for cell in self._attacked}:
            return ""
        found = self.odd()
        shown = "; ".join(f"{m}: {w} leaves {self.accuracy(m, w):.1f} %, {b.access} {self.accuracy(m, b):.1f} %" for m, w, b in found)
        return ("**A sign of masked gradients:** more accuracy where the attack sees the gradient than where it does not. "
                + (f"Found in {len(found)} places: {shown}." if found else "Found nowhere."))


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """The least favourable verdict of some rows, and how often each was given.

    Parameters
    ----------
    rows : sequence of Row
        Judged.
    settings : Settings
        What was reduced.

    Returns
    -------
    str
        One or two sentences.
    """
    beside = [replace(row, settings=settings.reduced()) for row in rows if row.paper is not None]
    tally = Counter(row.verdict for row in beside)
    counts = ", ".join(f"{tally[verdict]} {verdict}" for verdict in VERDICTS if tally[verdict])
    return f"{overall_verdict(beside)}.{f' Cells beside the paper: {counts}.' if counts else ''}"


def published(number: str) -> list[dict[str, Any]]:
    """Every cell of one of the paper's tables.

    Parameters
    ----------
    number : str
        "1" or "2".

    Returns
    -------
    list of dict
        Line by line.

    Examples
    --------
    >>> len(published("1"))
    66
    """
    lines = [Cell("clean"), *(Cell(kind, access, eps) for access in ACCESS[1:] for kind in KINDS
                              for eps in ((2.0,) if kind == "C&W" else (0.15, 0.30)))]
    dataset = {"1": "MNIST", "2": "Fashion-MNIST"}[number]
    cells = [paper_cell(line, number, dataset, method) for line in lines for method in METHODS]
    return [cell for cell in cells if cell is not None]


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells the cells of a table apart."""
    return cell["dataset"], cell["method"], cell["attack"]


def lines_of(settings: Settings, attacks: Sequence[str] = KINDS, access: Sequence[str] = ACCESS) -> tuple[Cell, ...]:
    """The lines of a table in the paper's order.

    Parameters
    ----------
    settings : Settings
        Radii.
    attacks, access : sequence of str
        Out of `KINDS` and `ACCESS`.

    Returns
    -------
    tuple of Cell
        Clean images first.

    Raises
    ------
    ValueError
        Unknown names, or none.

    Examples
    --------
    >>> [str(line) for line in lines_of(Settings(dataset="mnist", epsilons=[0.3]), ["FGSM", "C&W"], ["white-box"])]
    ['clean', 'FGSM white-box eps=0.30', 'C&W white-box eps=2.00']
    """
    for name, given, known in (("attacks", attacks, KINDS), ("access", access, ACCESS)):
        if not given or set(given) - set(known):
            raise ValueError(f"{name} must be out of {', '.join(known)}, at least one, got {list(given)}; correct the names")
    return (Cell("clean"), *(Cell(kind, box, eps) for box in ACCESS if box in access for kind in KINDS if kind in attacks
                             for eps in ((settings.l2_epsilon,) if kind == "C&W" else settings.epsilons)))


def table(settings: Settings, *, number: Literal["1", "2"] = "1", methods: Sequence[str] = METHODS, attacks: Sequence[str] = KINDS,
          access: Sequence[str] = ACCESS) -> Table:
    """Tables 1 and 2: every model trained on clean images and attacked.

    Parameters
    ----------
    settings : Settings
        Settings.
    number : {"1", "2"}
        Which of the paper's tables stands beside it.
    methods : sequence of str
        As for `check_methods`.
    attacks, access : sequence of str
        As for `lines_of`.

    Returns
    -------
    Table
        Counts by model, line and seed.

    Raises
    ------
    ValueError
        Unknown models, attacks or forms of access.

    References
    ----------
    Zhu, An and Niu (2019), Tables 1 and 2, Appendix F.
    """
    methods, cells = check_methods(methods), lines_of(settings, attacks, access)
    guided = any(cell.access in ACCESS[:2] for cell in cells)
    study = Study(settings, parts=(len(methods) + guided) * len(settings.seeds))
    counts: dict[str, dict[Cell, list[Count]]] = {method: {cell: [] for cell in cells} for method in methods}
    for seed in settings.seeds:
        substitute = study.trained(SUBSTITUTE, seed) if guided else None
        for method in methods:
            model = study.trained(method, seed)
            for cell in cells:
                counts[method][cell].append(study.count(model, cell, substitute))
    return Table(study, number, counts)


def plot_table(result: Table) -> Any:
    """Accuracy of every model under every attack with its interval; the paper's value as a diamond.

    Parameters
    ----------
    result : Table
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each attack; above black box (bar: composite, or transfer where that was not run; circle: transfer), below white box.
    """
    import matplotlib.pyplot as plt

    columns = list(dict.fromkeys((cell.kind, cell.eps) for cell in result.cells if cell.kind != "clean"))
    rows = {(r.method, r.attack, r.threat): r for r in result.rows}
    bands = [band for band in (("composite", "transfer"), ("white-box",)) if any(cell.access in band for cell in result.cells)]
    figure, axes = plt.subplots(len(bands), len(columns), figsize=(2.1 * len(columns) + 1.2, 0.9 + (0.7 + 0.22 * len(result.counts)) * len(bands)),
                                sharey=True, sharex=True, squeeze=False)
    for band, line in zip(bands, axes, strict=True):
        for (kind, eps), axis in zip(columns, line, strict=True):
            shown = [Cell(kind, access, eps) for access in band if Cell(kind, access, eps) in result.cells]
            _panel(axis, rows, result, shown)
            axis.set_title(f"{kind} {'black box' if band[0] != 'white-box' else 'white box'}, {eps:g}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("accuracy, %")
    s = result.study.settings
    figure.suptitle(_headline(result), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.01, -0.02, f"{s.dataset}; lines: 95 % intervals; diamonds: the paper (MNIST, Fashion-MNIST only); open circles: plain transfer; "
                "radius L2 for C&W, Linf otherwise", fontsize=7, color=GREY)
    return finished(figure)


def _panel(axis: Any, rows: Mapping[tuple[str, str | None, str | None], Row], result: Table, cells: Sequence[Cell]) -> None:
    """One attack: a bar for each model in the first form of access, a circle in the second."""
    methods = list(reversed(result.counts))
    for k, cell in enumerate(cells):
        for y, method in enumerate(methods):
            row = rows[method, f"{cell.kind} {cell.access}", str(cell.threat)]
            if k:
                axis.plot(row.value, y, "o", color=BLACK, markerfacecolor="none", markersize=4)
                continue
            axis.barh(y, row.value, 0.7, color=colour_of(method))
            if row.interval is not None:
                axis.hlines(y, max(row.interval[0], 0), min(row.interval[1], 100), color=GREY, linewidth=1)
            if row.paper is not None:
                axis.plot(row.paper["mean"], y, "D", color=BLACK, markerfacecolor="white", markersize=4)
    axis.set(yticks=range(len(methods)), xlim=(0, 104), xticks=(0, 50, 100))
    axis.set_yticklabels(methods, fontsize=8)


def _headline(result: Table) -> str:
    """What the figure shows, computed."""
    places = result.odd()
    if places:
        names = ", ".join(dict.fromkeys(m for m, _, _ in places))
        return f"Seeing the gradient makes an attack weaker against {names}: {len(places)} of the pairs of lines"
    cell = next((c for c in result.cells if (c.kind, c.access) == ("PGD", "white-box")), result.cells[-1])
    best = max(result.counts, key=lambda m: result.accuracy(m, cell))
    return f"Highest under {cell}: {best} ({result.accuracy(best, cell):.1f} %)"


# --- Figure 3 -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Curves:
    """Minimal radii of the attacked images, by model and attack.

    Attributes
    ----------
    study : Study
        Data and settings.
    highest : dict of str to float
        Largest radius searched, by kind of attack.
    radii : dict of str to dict of Cell to ndarray
        By model and attack (radius 0 in the `Cell`): [N] over all seeds, 0 for images that are wrong without attack, inf where none was found.
    """

    study: Study
    highest: dict[str, float]
    radii: dict[str, dict[Cell, NDArray[np.float64]]]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The attacks."""
        return tuple(next(iter(self.radii.values())))

    def curve(self, method: str, cell: Cell, points: int = 61) -> AccuracyCurve:
        """Accuracy against the radius.

        Parameters
        ----------
        method : str
            By name.
        cell : Cell
            The attack.
        points : int
            Radii from 0 to the largest searched.

        Returns
        -------
        AccuracyCurve
            Never rising.
        """
        return accuracy_curve(self.radii[method][cell], np.linspace(0, self.highest[cell.kind], points))

    def count(self, method: str, cell: Cell, eps: float) -> Count:
        """Images whose minimal radius lies above a radius.

        Parameters
        ----------
        method : str
            By name.
        cell : Cell
            The attack.
        eps : float
            The radius.

        Returns
        -------
        Count
            Over all seeds.
        """
        radii = self.radii[method][cell]
        return Count(int((radii > eps).sum()), len(radii), f"smallest radius of {cell.kind} up to {self.highest[cell.kind]:g}")

    @property
    def rows(self) -> list[Row]:
        """Accuracy at the radii of the paper's tables, by minimal radius as the paper has it."""
        s, rows = self.study.settings, []
        number = {"fashion_mnist": "2"}.get(s.dataset, "1")
        for cell in self.cells:
            for eps in (s.l2_epsilon,) if cell.kind == "C&W" else s.epsilons:
                if eps <= self.highest[cell.kind]:
                    rows += [self.study.row(cell._replace(eps=eps), m, [self.count(m, cell, eps)], number, note="by minimal radius")
                             for m in self.radii]
        return rows

    def halving(self, method: str, cell: Cell) -> float:
        """Radius at which half of the images are lost.

        Parameters
        ----------
        method : str
            By name.
        cell : Cell
            The attack.

        Returns
        -------
        float
            Inf where half of them stand at the largest radius searched.
        """
        return float(np.sort(self.radii[method][cell])[(len(self.radii[method][cell]) - 1) // 2])

    def longest(self, cell: Cell) -> list[str]:
        """The models that keep half of their images to the largest radius.

        Parameters
        ----------
        cell : Cell
            The attack.

        Returns
        -------
        list of str
            Several where they lose them at the same radius, or none of them within the radii searched.
        """
        highest = max(self.halving(m, cell) for m in self.radii)
        return [m for m in self.radii if self.halving(m, cell) == highest]

    def table(self) -> str:
        """Radius at which half of the images are lost, by attack and model.

        Returns
        -------
        str
            A Markdown table.
        """
        def shown(value: float, highest: float) -> str:
            """A radius, or the largest searched."""
            return f"{value:.3f}" if math.isfinite(value) else f"> {highest:g}"

        lines = [[f"{c.kind} {c.access}", *(shown(self.halving(m, c), self.highest[c.kind]) for m in self.radii)] for c in self.cells]
        return markdown_table(["half of the images are lost at", *self.radii], lines)

    def verdict(self) -> str:
        """How the curves compare with the tables at their radii, and who keeps half of its images longest under each attack."""
        lines = [f"{cell.kind} {cell.access}: {', '.join(self.longest(cell))}" for cell in self.cells]
        return f"{summary(self.rows, self.study.settings)}\n\nKeeps half of its images to the largest radius – {'; '.join(lines)}"


def figure3(settings: Settings, *, methods: Sequence[str] = METHODS, attacks: Sequence[str] = KINDS, access: Sequence[str] = ("composite", "white-box"),
            highest_linf: float = 0.5, highest_l2: float = 4.0, resolution: int = 64) -> Curves:
    """Figure 3: for every image the smallest radius at which an attack fools.

    Parameters
    ----------
    settings : Settings
        As for the tables, whose trained models are found again. `attack_images` images are searched, by FGSM as by the others.
    methods, attacks, access : sequence of str
        As for `table`.
    highest_linf, highest_l2 : float
        Largest radius searched.
    resolution : int
        PGD's radii are found up to the largest one divided by this.

    Returns
    -------
    Curves
        Radii by model and attack.

    Raises
    ------
    ValueError
        Unknown models, attacks or forms of access; radii that are not positive.

    References
    ----------
    Zhu, An and Niu (2019), Figure 3, Appendix F.
    """
    methods = check_methods(methods)
    cells = tuple(dict.fromkeys(cell._replace(eps=0.0) for cell in lines_of(settings, attacks, access)[1:]))
    highest = {kind: highest_l2 if kind == "C&W" else highest_linf for kind in KINDS}
    if not min(highest.values()) > 0:
        raise ValueError(f"highest_linf and highest_l2 must be positive, got {highest_linf} and {highest_l2}; for example 0.5 and 4")
    guided = any(cell.access != "white-box" for cell in cells)
    study = Study(settings, parts=(len(methods) + guided) * len(settings.seeds))
    found: dict[str, dict[Cell, list[NDArray[np.float64]]]] = {m: {c: [] for c in cells} for m in methods}
    for seed in settings.seeds:
        substitute = study.trained(SUBSTITUTE, seed) if guided else None
        for method in methods:
            model = study.trained(method, seed)
            for cell in cells:
                found[method][cell].append(_radii(study, model, cell, substitute, highest[cell.kind], resolution))
    return Curves(study, highest, {m: {c: np.concatenate(parts) for c, parts in by.items()} for m, by in found.items()})


def _radii(study: Study, model: nn.Module, cell: Cell, substitute: nn.Module | None, high: float, resolution: int) -> NDArray[np.float64]:
    """Smallest radii of the attacked images under one attack."""
    device, started = next(model.parameters()).device, time.perf_counter()
    images, labels = (part.to(device) for part in study.attacked)

    def attack_at(eps: float) -> Callable[..., Tensor]:
        """The attack of a radius."""
        return attack_of(cell._replace(eps=eps), study.settings, substitute)

    widest = attack_at(high)
    if isinstance(widest, GradientLine):
        radii = widest.radii(model, images, labels)
    elif cell.kind == "C&W":
        radii = _distances(widest, model, images, labels)
    else:
        radii = minimal_radius(model, images, labels, attack_at, high=high, tolerance=high / resolution,
                               generator=torch.Generator(device=device).manual_seed(0))
    print(f"  {cell.kind} {cell.access}: radii of {len(labels)} images in {readable_time(time.perf_counter() - started)}", flush=True)
    return np.asarray(radii.cpu().numpy(), dtype=np.float64)


def _distances(attack: Callable[..., Tensor], model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Lengths of the changes of an attack that looks for the smallest one itself."""
    found = attack(model, images, labels)
    with torch.no_grad():
        clean, right = model(images).argmax(1) == labels, model(found).argmax(1) == labels
    lengths = (found - images).flatten(1).double().norm(dim=1)
    return torch.where(clean, torch.where(right, torch.inf, lengths), 0.0)


def plot_figure3(result: Curves) -> Any:
    """Accuracy against the radius, one panel for each attack, with intervals as bands.

    Parameters
    ----------
    result : Curves
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title names who keeps half of its images longest under the last attack.
    """
    import matplotlib.pyplot as plt

    columns = list(dict.fromkeys(cell.kind for cell in result.cells))
    bands = list(dict.fromkeys(cell.access for cell in result.cells))
    figure, axes = plt.subplots(len(bands), len(columns), figsize=(3 * len(columns) + 0.6, 2.3 * len(bands) + 0.7), sharey=True, squeeze=False)
    for band, line in zip(bands, axes, strict=True):
        for kind, axis in zip(columns, line, strict=True):
            for method in result.radii:
                curve = result.curve(method, Cell(kind, band))
                axis.plot(curve.eps, 100 * curve.accuracy, color=colour_of(method), linewidth=1.5, label=method)
                axis.fill_between(curve.eps, 100 * curve.low, 100 * curve.high, color=colour_of(method), alpha=0.07, linewidth=0)
            axis.set_title(f"{kind}, {band}", fontsize=9)
            axis.set_xlabel(f"radius, {'L2' if kind == 'C&W' else 'Linf'}")
            axis.set_ylim(-2, 102)
    for line in axes:
        line[0].set_ylabel("accuracy, %")
    axes[0][-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    n = len(next(iter(next(iter(result.radii.values())).values())))
    figure.suptitle(f"{_longest(result)} ({result.study.settings.dataset}, n = {n})", x=0.01, ha="left", fontsize=10, fontweight="bold")
    return finished(figure)


def _longest(result: Curves) -> str:
    """What the figure shows, computed: the largest gap between seeing the gradient and not."""
    pairs = [(m, c) for m in result.radii for c in result.cells
             if c.access == "white-box" and c._replace(access="composite") in result.cells]
    def gain(pair: tuple[str, Cell]) -> float:
        """By how many images the attack with the gradient leaves more, at its worst."""
        white, black = (result.curve(pair[0], cell).accuracy for cell in (pair[1], pair[1]._replace(access="composite")))
        return float((white - black).max())

    if pairs:
        method, cell = max(pairs, key=gain)
        if gain((method, cell)) > 0:
            return f"Seeing the gradient costs {cell.kind} most against {method}: up to {100 * gain((method, cell)):.0f} points fewer successes"
    cell = result.cells[-1]
    return f"Half of the images are kept longest under {cell.kind} {cell.access} by {', '.join(result.longest(cell))}"
