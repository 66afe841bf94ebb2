"""The page *Paper versus measured*: every number that the three papers print, and what was measured beside it.

`write_report` reads every recorded run and writes two pages, this one and the page of claims. What the papers print comes
from ``paper_tables.json``, what was measured from the runs' ``metrics.json``; counts, differences and verdicts are computed.
The page is Markdown with plain HTML tables: it reads without JavaScript, and a script adds filters on the site.
"""
from __future__ import annotations

import html
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from robinfo.experiments.published import VERDICTS, cell_of, published_cells, same_dataset, verdict
from robinfo.experiments.record import Metrics, Row, checkout, read_metrics, results_root, write_text

__all__ = ["STATES", "Measured", "Report", "Run", "Scoreboard", "assess", "read_runs", "run_page", "scoreboard", "scoreboard_page",
           "write_report"]

STATES = (*VERDICTS, "not run")
PAPERS = {"Zhu2020": ("Zhu, Zhang and Evans (2020)", "Worst-case mutual information."),
          "Yu2022": ("Yu et al. (2022)", "Shared information."),
          "GuessFirst2019": ("Guess First (2019)", "Label hypotheses.")}
_ALIKE = 0.02  # radii that differ by less, relatively, are one radius: the papers round
_PROFILES = ("paper", "cpu", "smoke")
_HEAD = ("what", "printed", "measured", "difference", "verdict")

_INTRODUCTION = """# Paper versus measured

Every number that the three papers print in a table, read off a figure or state in the text, and beside it what was measured
here. Nothing on this page is typed by hand: `robinfo report` writes it from the recorded runs. Brackets are confidence
intervals, *n* is the sample size behind a number, and each measured number links to its run.

- *Reproduced*: the measured interval meets the band of two standard deviations around the printed mean (where none is
  printed, a small fraction of the mean); *with a caveat*: it meets twice that band; *not reproduced*: it does not.
- *Not comparable*: measured at reduced settings, on other data or under another threat. Such a number shows how large an effect
  is; it never counts as a reproduction, however close it comes.
- *Not run*: no recorded run has the cell.

Numbers marked ≈ are read off a figure or stated as approximate. The page of [claims](claims.md) says what follows.
"""


# --- runs -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Run:
    """One recorded run.

    Attributes
    ----------
    name : str
        Experiment and run folder, ``"worst_case_mi_table1/cpu-mnist-036ed1e7"``.
    metrics : Metrics
        What it recorded.
    link : str
        Where its page (or its file) is, relative to the scoreboard.

    Examples
    --------
    >>> Run("a/b", Metrics("a", "cpu", {}, {"device": "cpu"}, ()), "").reduced
    True
    """

    name: str
    metrics: Metrics
    link: str

    @property
    def reduced(self) -> bool:
        """Whether less was done than the paper did; a run that does not say so was, unless its profile is the paper's."""
        return bool(self.metrics.provenance.get("reduced", self.metrics.profile != "paper"))

    @property
    def device(self) -> str:
        """What the numbers were computed on."""
        return str(self.metrics.provenance.get("device", "unknown"))

    @property
    def started(self) -> str:
        """When it began, in ISO form; sorts by time."""
        return str(self.metrics.provenance.get("started", ""))

    @property
    def rank(self) -> int:
        """0 for the paper's own settings, then cpu, smoke, and anything else."""
        return _PROFILES.index(self.metrics.profile) if self.metrics.profile in _PROFILES else len(_PROFILES)

    @property
    def settings(self) -> str:
        """What all of its rows say about their settings."""
        texts = [row.settings.split("; ") for row in self.metrics.rows if row.settings]
        return "; ".join(part for part in texts[0] if all(part in other for other in texts)) if texts else ""


def run_page(name: str) -> str:
    """The name of a run's page on the site.

    Parameters
    ----------
    name : str
        Experiment and run folder.

    Returns
    -------
    str
        Without an ending; the site keeps these pages in ``experiments/_runs``.

    Examples
    --------
    >>> run_page("quickstart/cpu-digits")
    'quickstart-cpu-digits'
    """
    return name.replace("/", "-")


def read_runs(results: Path, *, site: bool = False) -> tuple[Run, ...]:
    """Every finished run below a folder: by experiment, then the paper's settings first, then the newest.

    Parameters
    ----------
    results : Path
        Results folder; one that is missing has no runs.
    site : bool
        Whether links lead to the site's pages of the runs, else to the files.

    Returns
    -------
    tuple of Run
        The order depends on the content alone.

    Raises
    ------
    ValueError
        For a damaged ``metrics.json`` (named).

    Examples
    --------
    >>> read_runs(Path("no such folder"))
    ()
    """
    files = [file for file in results.rglob("metrics.json") if not (file.parent / "notebook.partial.ipynb").exists()]
    runs = []
    for file in files:
        name = file.parent.relative_to(results).as_posix()
        link = f"{name}/metrics.json" if not site else f"experiments/_runs/{run_page(name)}.html" if name.count("/") == 1 else ""
        runs.append(Run(name, read_metrics(file), link))
    return in_order(runs)


def in_order(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Runs by experiment, then the paper's settings first, then the newest.

    Parameters
    ----------
    runs : iterable of Run
        In any order.

    Returns
    -------
    tuple of Run
        The order depends on the content alone.

    Examples
    --------
    >>> in_order([])
    ()
    """
    newest = sorted(runs, key=lambda run: (run.started, run.name), reverse=True)
    return tuple(sorted(newest, key=lambda run: (run.metrics.experiment, run.rank)))


# --- one measured number beside the cell ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measured:
    """One recorded row, the cell it stands beside and what may be said of the two.

    Attributes
    ----------
    row : Row
        As recorded.
    run : Run
        Where.
    cell : mapping or None
        The published number; None where the papers print none.
    verdict : str
        One of `VERDICTS`; empty without a cell.
    reasons : tuple of str
        Why the two are not comparable.

    Examples
    --------
    >>> assess(Row(metric="m", value=1, unit="nats", n=3, dataset="d", model="e", method="o"),
    ...        Run("a/b", Metrics("a", "cpu", {}, {}, ()), "")).verdict
    ''
    """

    row: Row
    run: Run
    cell: Mapping[str, Any] | None
    verdict: str
    reasons: tuple[str, ...]

    @property
    def elsewhere(self) -> bool:
        """Whether it was measured on other data than the cell's."""
        return self.cell is not None and not same_dataset(self.cell["dataset"], self.row.dataset)

    @property
    def order(self) -> tuple[bool, int, int, bool]:
        """Sorts the rows of one cell: its own data, the paper's settings, the fewest differences, the paper's own variant."""
        variant = self.cell is not None and self.row.method != self.cell["method"]
        return self.elsewhere, self.run.rank, len(self.reasons), variant


def _radius(text: Any) -> float | None:
    """The radius in a published attack or a recorded threat; None where it says none."""
    found = re.search(r"(?:eps=|L(?:inf|1|2)\()([0-9.]+)(?:/([0-9.]+))?", str(text or ""))
    return None if found is None else float(found[1]) / float(found[2] or 1)


def _other_threat(row: Row, cell: Mapping[str, Any]) -> bool:
    """Whether both name a radius and the radii differ."""
    printed, used = _radius(cell["attack"]), _radius(row.threat)
    return printed is not None and used is not None and not math.isclose(printed, used, rel_tol=_ALIKE)


def assess(row: Row, run: Run, threats: Mapping[str, str] | None = None) -> Measured:
    """What may be said of a recorded row beside its published number.

    The verdict is computed again from the two numbers. It is *not comparable* when the run or the row is reduced, the data or
    the threat are others, or the run itself said so when it was recorded.

    Parameters
    ----------
    row : Row
        One of the run's rows.
    run : Run
        The run.
    threats : mapping of str to str, optional
        Tables that the run measured under another threat than the paper's, with that threat: its rows without attack are not
        comparable either, since they belong to models trained for it.

    Returns
    -------
    Measured
        With the reasons where the verdict is *not comparable*.

    Examples
    --------
    >>> from robinfo.experiments.published import published_cell
    >>> row = Row(metric="natural_accuracy", value=52.3, unit="%", n=10000, dataset="cifar10", model="MLP", method="ours",
    ...           paper=published_cell("zhu2020-table-1-cifar10-mlp-ours-h-robust-natural"))
    >>> assess(row, Run("a/b", Metrics("a", "paper", {}, {}, ()), "")).verdict
    'reproduced'
    >>> assess(row, Run("a/b", Metrics("a", "cpu", {}, {}, ()), "")).reasons
    ('reduced settings',)
    """
    cell = cell_of(row)
    if cell is None:
        return Measured(row, run, None, "", ())
    reasons = [f"other data: {row.dataset}"] if not same_dataset(cell["dataset"], row.dataset) else []
    if _other_threat(row, cell):
        reasons.append(f"another threat: {row.threat}")
    elif cell["table"] in (threats or {}):
        reasons.append(f"trained for another threat: {(threats or {})[cell['table']]}")
    if run.reduced or row.settings.startswith("reduced"):
        reasons.append("reduced settings")
    if row.verdict == "not comparable" and not reasons:
        reasons.append(row.settings or "as recorded")
    decided = "not comparable" if reasons else verdict(row.value, row.interval, cell["mean"], cell["std"])
    return Measured(row, run, cell, decided, tuple(reasons))


def _assess_run(run: Run) -> list[Measured]:
    """Every row of a run."""
    cells = [(row, cell_of(row)) for row in run.metrics.rows]
    threats = {cell["table"]: str(row.threat) for row, cell in cells if cell is not None and _other_threat(row, cell)}
    return [assess(row, run, threats) for row in run.metrics.rows]


# --- all of them ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Scoreboard:
    """Every published cell with what was measured for it, and the measured numbers that have no cell.

    Attributes
    ----------
    runs : tuple of Run
        What was read.
    cells : dict of str to tuple of Measured
        By the key of the cell, in the papers' order; the first is the one that counts, empty where nothing was run.
    loose : tuple of Measured
        Rows without a published number.

    Examples
    --------
    >>> len(scoreboard(()).cells), scoreboard(()).counts()["not run"]
    (566, 566)
    """

    runs: tuple[Run, ...]
    cells: dict[str, tuple[Measured, ...]]
    loose: tuple[Measured, ...]

    def state(self, key: str) -> str:
        """The verdict on a cell.

        Parameters
        ----------
        key : str
            Of the cell.

        Returns
        -------
        str
            One of `STATES`.
        """
        return self.cells[key][0].verdict if self.cells[key] else "not run"

    def counts(self, paper: str | None = None, table: str | None = None) -> Counter[str]:
        """How many cells have each verdict.

        Parameters
        ----------
        paper, table : str, optional
            Count only these.

        Returns
        -------
        Counter
            By the names in `STATES`.
        """
        wanted = (c for c in published_cells() if paper in (None, c["paper"]) and table in (None, c["table"]))
        return Counter(self.state(cell["cell"]) for cell in wanted)


def scoreboard(runs: Sequence[Run]) -> Scoreboard:
    """Put every recorded row beside its cell.

    Parameters
    ----------
    runs : sequence of Run
        From `read_runs`.

    Returns
    -------
    Scoreboard
        Of several rows for one cell, one on the cell's own data counts first, then the profile ``paper``, then ``cpu``, then
        ``smoke``, then the one with the fewest differences, then the newest.

    Examples
    --------
    >>> scoreboard(()).loose
    ()
    """
    rows = [measured for run in sorted(runs, key=lambda run: (run.started, run.name), reverse=True) for measured in _assess_run(run)]
    beside: dict[str, list[Measured]] = {cell["cell"]: [] for cell in published_cells()}
    for measured in rows:
        if measured.cell is not None:
            beside[measured.cell["cell"]].append(measured)
    cells = {key: tuple(sorted(found, key=lambda measured: measured.order)) for key, found in beside.items()}
    return Scoreboard(in_order(runs), cells, tuple(measured for measured in rows if measured.cell is None))


# --- texts ------------------------------------------------------------------------------------------------------------
def number(value: float, unit: str) -> str:
    """A measured number with the decimals of its unit and a real minus sign.

    Parameters
    ----------
    value : float
        The number.
    unit : str
        Per cent and percentage points have two decimals, other units three.

    Returns
    -------
    str
        Without the unit.

    Examples
    --------
    >>> number(-0.5, "%"), number(1234.5, "nats")
    ('−0.50', '1234.500')
    """
    digits = 2 if unit in ("%", "pp") else 3
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def value_text(row: Row) -> str:
    """A measured number with its unit and interval.

    Parameters
    ----------
    row : Row
        The number.

    Returns
    -------
    str
        ``"50.00 % [40.00, 60.00]"``.

    Examples
    --------
    >>> value_text(Row(metric="m", value=1, unit="nats", n=3, dataset="d", model="e", method="o", interval=(0.5, 1.5)))
    '1.000 nats [0.500, 1.500]'
    """
    ends = "" if row.interval is None else f" [{', '.join(number(end, row.unit) for end in row.interval)}]"
    return f"{number(row.value, row.unit)} {row.unit}".rstrip() + ends


def _printed(cell: Mapping[str, Any], digits: int) -> str:
    """A published number as printed, with a sign where it is approximate."""
    about = "≈ " if cell.get("approx") or cell.get("digitised") else ""
    spread = "" if cell["std"] is None else f" ± {cell['std']:.{digits}f}"
    unit = cell["unit"].split(" (")[0]
    return f"{about}{cell['mean']:.{digits}f}{spread} {unit}".rstrip().replace("-", "−")


def _decimals(cells: Iterable[Mapping[str, Any]]) -> int:
    """The decimals that a table prints: the most that one of its numbers needs."""
    needed = (len(f"{value}".split(".")[1].rstrip("0")) if "." in f"{value}" else 0
              for cell in cells for value in (cell["mean"], cell["std"]) if value is not None)
    return max(needed, default=0)


def quantity(cell: Mapping[str, Any]) -> str:
    """A published quantity in words, with its attack and what else tells the cell apart.

    Parameters
    ----------
    cell : mapping
        From `published_cells`.

    Returns
    -------
    str
        ``"robust accuracy, PGD-20"``.

    Examples
    --------
    >>> quantity(published_cells()[1])
    'adversarial accuracy, PGD linf eps=8/255'
    """
    extras = [f"{name} {cell[key]:g}" for key, name in (("alpha", "α"), ("lam", "λ"), ("train_fraction", "share of the training set"))
              if cell.get(key) is not None]
    attack = None if str(cell["attack"]).startswith("caption") else cell["attack"]
    return ", ".join(filter(None, (cell["metric"].replace("_", " "), attack, *extras)))


def table_name(table: str) -> str:
    """What the papers call a table.

    Parameters
    ----------
    table : str
        The field of a published cell.

    Returns
    -------
    str
        ``"Table 1"``, ``"Figure 2, read off"``, ``"Text, section 6.1, and Figure 2"``.

    Examples
    --------
    >>> table_name("1"), table_name("Fig2 (digitised)"), table_name("text 6.1/Fig2"), table_name("text Fig3")
    ('Table 1', 'Figure 2, read off', 'Text of section 6.1 and Figure 2', 'Text of Figure 3')
    """
    if table.isdigit():
        return f"Table {table}"
    if table.startswith("Fig"):
        return f"Figure {table[3:].split(' ')[0]}, read off"
    place = re.sub(r"Fig(?=\d)", "Figure ", table.removeprefix("text ").replace("/", " and "))
    return f"Text of {place if place.startswith('Figure') else f'section {place}'}"


def anchor(paper: str, table: str) -> str:
    """The identifier of a table's heading on the page.

    Parameters
    ----------
    paper, table : str
        Fields of a published cell.

    Returns
    -------
    str
        Lower case, without spaces.

    Examples
    --------
    >>> anchor("Zhu2020", "1")
    'zhu2020-table-1'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"{paper} {table_name(table)}".lower()).strip("-")


# --- the page ---------------------------------------------------------------------------------------------------------
def _tables() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Paper, table and cells, in the papers' order."""
    grouped = groupby(published_cells(), key=lambda cell: (cell["paper"], cell["table"]))
    return [(paper, table, list(cells)) for (paper, table), cells in grouped]


def _count_row(name: str, counts: Mapping[str, int], kind: str = "td") -> str:
    """One line of the table of counts."""
    total = sum(counts.values())
    numbers = "".join(f"<td{'' if counts[state] else ' class=rb-0'}>{counts[state]}</td>" for state in STATES)
    return f"<tr><th scope=\"row\"{' class=rb-total' if kind == 'th' else ''}>{name}</th><td>{total}</td>{numbers}</tr>"


def _counts(board: Scoreboard) -> str:
    """The counts: overall, by paper, by table."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "cells", *STATES))
    bodies = [f"<tbody>{_count_row('All three papers', board.counts(), 'th')}</tbody>"]
    for paper, (title, _) in PAPERS.items():
        rows = [_count_row(f'<a href="#{anchor(name, table)}">{table_name(table)}</a>', board.counts(name, table))
                for name, table, _ in _tables() if name == paper]
        bodies.append(f"<tbody>{_count_row(title, board.counts(paper), 'th')}{''.join(rows)}</tbody>")
    caption = "<caption>How many published numbers have which verdict</caption>"
    return f'<table class="rb-counts">{caption}<thead><tr>{head}</tr></thead>{"".join(bodies)}</table>'


def _summary(board: Scoreboard) -> str:
    """The counts in a sentence."""
    counts = board.counts()
    told = ", ".join(f"**{counts[state]}** {state}" for state in STATES)
    whole = sum(not run.reduced for run in board.runs)
    return (f"Of **{sum(counts.values())}** published numbers: {told}. "
            f"Recorded runs: {len(board.runs)}, of which {whole} at the settings of the papers.")


def settings_of(run: Run) -> str:
    """Profile and device of a run.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    str
        ``"profile cpu on CPU"``.

    Examples
    --------
    >>> settings_of(Run("a/b", Metrics("a", "cpu", {}, {"device": "cpu"}, ()), ""))
    'profile cpu on CPU'
    """
    return f"profile {run.metrics.profile} on {run.device.upper() if run.device == 'cpu' else run.device}"


def _where(measured: Measured) -> str:
    """Sample size, profile, device and the link to the run."""
    size = "" if measured.row.n is None else f"n = {measured.row.n:,} · "
    text = html.escape(settings_of(measured.run))
    return size + (f'<a href="{html.escape(measured.run.link)}">{text}</a>' if measured.run.link else text)


def _variant(measured: Measured) -> str:
    """How the row names what was measured, where the cell says it otherwise."""
    cell, row = measured.cell or {}, measured.row
    parts = [row.method if row.method != cell.get("method") else "", row.attack if row.attack and row.attack != cell.get("attack") else ""]
    return "; ".join(filter(None, map(str, parts)))


def _one_measured(measured: Measured) -> str:
    """A measured number with where it came from."""
    data = f"<strong>on {html.escape(measured.row.dataset)}</strong> · " if measured.elsewhere else ""
    as_ = f" · {html.escape(_variant(measured))}" if _variant(measured) else ""
    return f"{html.escape(value_text(measured.row))}<small>{data}{_where(measured)}{as_}</small>"


def _others(found: Sequence[Measured]) -> str:
    """The other rows of a cell, folded."""
    if len(found) < 2:
        return ""
    items = "".join(f"<li>{_one_measured(m)}<small>{html.escape('; '.join(m.reasons) or m.verdict)}</small></li>" for m in found[1:])
    return f"<details><summary>{len(found) - 1} more</summary><ul>{items}</ul></details>"


def _cell_row(cell: Mapping[str, Any], found: Sequence[Measured], digits: int, common: Mapping[str, Any]) -> str:
    """One published cell as a table row."""
    model = cell["model"].removeprefix(str(common.get("models", "")))
    who = dict.fromkeys(name for key, name in (("method", cell["method"]), ("model", model)) if key not in common and name != "-")
    name = " · ".join([*who, *([cell["dataset"]] if "dataset" not in common else [])]) or quantity(cell)
    what = f"{html.escape(name)}<small>{html.escape(quantity(cell))}</small>" if name != quantity(cell) else html.escape(name)
    state, measured, gap, profile = "not run", "", "", ""
    if found:
        best = found[0]
        difference = best.row.value - cell["mean"]
        state, measured, profile = best.verdict, _one_measured(best) + _others(found), best.run.metrics.profile
        gap = ("+" if difference > 0 else "") + number(difference, best.row.unit)
    why = f"<small>{html.escape('; '.join(found[0].reasons))}</small>" if found and found[0].reasons else ""
    data = "" if "dataset" in common else f' data-d="{html.escape(cell["dataset"])}"'
    mark = STATES.index(state)
    return (f'<tr id="{cell["cell"]}" data-v="{mark}"{data} data-p="{html.escape(profile)}"><th scope="row">{what}</th>'
            f'<td>{_printed(cell, digits)}</td><td>{measured}</td><td>{gap}</td><td class="v{mark}">{state}{why}</td></tr>')


def _one_table(paper: str, table: str, cells: Sequence[Mapping[str, Any]], board: Scoreboard) -> str:
    """One table of a paper: heading, what its cells share, and a row for each cell."""
    common = {key: cells[0][key] for key in ("dataset", "model") if len({cell[key] for cell in cells}) == 1}
    start = os.path.commonprefix([cell["model"] for cell in cells])
    if "model" not in common and ", " in start:  # the networks differ in their last word, "…, h=MLP"
        common["models"] = start[: start.rindex(", ") + 2]
    digits = {unit: _decimals(c for c in cells if c["unit"] == unit) for unit in {c["unit"] for c in cells}}
    rows = "\n".join(_cell_row(cell, board.cells[cell["cell"]], digits[cell["unit"]], common) for cell in cells)
    counts = board.counts(paper, table)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    shared = " · ".join(html.escape(common[key].rstrip(", ")) for key in ("dataset", "model", "models") if key in common)
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
    attributes = f'data-paper="{paper}" data-table="{html.escape(table_name(table))}" data-d="{html.escape(str(common.get("dataset", "")))}"'
    return (f"({anchor(paper, table)})=\n### {PAPERS[paper][0].split(' (')[0]}, {table_name(table)}\n\n"
            f'<table class="rb" {attributes}><caption>{shared}{" · " if shared else ""}{told}</caption>\n'
            f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>\n")


def _run_list(board: Scoreboard) -> str:
    """Every run once, with its settings."""
    rows = []
    for run in board.runs:
        name = html.escape(run.name)
        shown = f'<a href="{html.escape(run.link)}">{name}</a>' if run.link else name
        data = ", ".join(sorted({row.dataset for row in run.metrics.rows}))
        facts = (run.metrics.profile, run.device, data, run.started[:10], str(len(run.metrics.rows)), run.settings or "–")
        rows.append(f'<tr><th scope="row">{shown}</th>{"".join(f"<td>{html.escape(fact)}</td>" for fact in facts)}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("run", "profile", "device", "data", "day", "numbers", "settings of all its numbers"))
    return f'<table class="rb-runs"><thead><tr>{head}</tr></thead><tbody>\n' + "\n".join(rows) + "\n</tbody></table>\n"


def _loose_item(measured: Measured, sizes: set[int | None]) -> str:
    """One measured number without a cell: what, and how much; n where the run's numbers differ in it."""
    row = measured.row
    what = ", ".join([row.metric.replace("_", " "), *(str(part) for part in (row.attack, row.threat) if part)])
    size = f", n = {row.n:,}" if len(sizes) > 1 and row.n is not None else ""
    printed = "" if row.paper is None or row.paper.get("mean") is None else f" (computed from printed cells: {number(row.paper['mean'], row.unit)})"
    return f"<li>{html.escape(what)} <b>{html.escape(value_text(row))}</b>{size}{html.escape(printed)}</li>"


def _loose(run: Run, rows: Sequence[Measured]) -> str:
    """The numbers of one run that the papers have no cell for, by what was measured."""
    sizes = {measured.row.n for measured in rows}
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for measured in rows:
        groups.setdefault((measured.row.dataset, measured.row.method, measured.row.model), []).append(measured)
    lines = []
    for (data, method, model), found in groups.items():
        name = " · ".join(dict.fromkeys(filter(None, (method, model, data))))
        items = "".join(_loose_item(measured, sizes) for measured in found)
        lines.append(f'<tr data-d="{html.escape(data)}" data-p="{html.escape(run.metrics.profile)}"><th scope="row">{html.escape(name)}</th>'
                     f"<td><ul>{items}</ul></td></tr>")
    only = next(iter(sizes)) if len(sizes) == 1 else None
    link = f'<a href="{html.escape(run.link)}">{html.escape(run.name)}</a>' if run.link else html.escape(run.name)
    said = f"{link} · {html.escape(settings_of(run))}" + (f" · n = {only:,}" if only is not None else "")
    note = " · <strong>reduced settings</strong>" if run.reduced else ""
    return (f'<table class="rb rb-loose" data-table="{html.escape(run.metrics.experiment)}"><caption>{said}{note}</caption><tbody>\n'
            + "\n".join(lines) + "\n</tbody></table>\n")


def filters(states: Sequence[str], part: str = "Table") -> str:
    """The place where the script of the site puts the filters; empty without it.

    Parameters
    ----------
    states : sequence of str
        Verdicts in the order of the list.
    part : str
        What the page's tables are called in the list of them.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> filters(()).startswith('<div id="rb-filters"')
    True
    """
    papers = "|".join(f"{key}={title.split(' (')[0]}" for key, (title, _) in PAPERS.items())
    return f'<div id="rb-filters" class="rb-filters" data-states="{"|".join(states)}" data-papers="{papers}" data-part="{part}"></div>\n'


def scoreboard_page(board: Scoreboard) -> str:
    """The page *Paper versus measured*.

    Parameters
    ----------
    board : Scoreboard
        From `scoreboard`.

    Returns
    -------
    str
        Markdown with HTML tables; the same for the same runs.

    Examples
    --------
    >>> print(scoreboard_page(scoreboard(())).splitlines()[0])
    # Paper versus measured
    """
    parts = [_INTRODUCTION, "## Counts\n", _summary(board) + "\n", _counts(board) + "\n",
             filters(STATES)]
    for paper, (title, subject) in PAPERS.items():
        parts.append(f"## {title}\n\n{subject}\n")
        parts += [_one_table(name, table, cells, board) for name, table, cells in _tables() if name == paper]
    parts.append("## Measured without a printed cell\n\nWhat the papers do not print: other attacks, other data, costs and checks. "
                 "Settings are stated once for each run, at the end.\n")
    for experiment, found in groupby(board.runs, key=lambda run: run.metrics.experiment):
        loose = [(run, rows) for run in found if (rows := [m for m in board.loose if m.run is run])]
        if loose:
            parts += [f"### {experiment}\n", *(_loose(run, rows) for run, rows in loose)]
    parts += ["## Runs\n", _run_list(board) if board.runs else "No run is recorded yet: `robinfo run quickstart` makes the first one.\n"]
    return "\n".join(parts)


# --- writing ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Report:
    """Where the two pages are, and the counts.

    Attributes
    ----------
    scoreboard, claims : Path
        The pages.
    counts : Counter
        Cells by verdict, see `Scoreboard.counts`.
    verdicts : Counter
        Claims by verdict.

    Examples
    --------
    >>> print(Report(Path("a.md"), Path("b.md"), Counter({"not run": 2}), Counter({"proved": 1})))
    a.md: 2 published numbers: 0 reproduced, 0 with a caveat, 0 not reproduced, 0 not comparable, 2 not run
    b.md: 1 claims: 1 proved
    """

    scoreboard: Path
    claims: Path
    counts: Counter[str]
    verdicts: Counter[str]

    def __str__(self) -> str:
        """Two lines for the terminal."""
        cells = ", ".join(f"{self.counts[state]} {state}" for state in STATES)
        claims = ", ".join(f"{count} {name}" for name, count in self.verdicts.items())
        return (f"{self.scoreboard}: {sum(self.counts.values())} published numbers: {cells}\n"
                f"{self.claims}: {sum(self.verdicts.values())} claims: {claims}")


def write_report(results: str | os.PathLike[str] | None = None, *, missing: Callable[[str], None] | None = None) -> Report:
    """Write both pages from every recorded run.

    Parameters
    ----------
    results : path, optional
        Results folder; see `results_root`.
    missing : callable, optional
        Told about a results folder that is not there, instead of raising; the pages of the checkout are then written without
        runs.

    Returns
    -------
    Report
        ``nbs/scoreboard.md`` and ``nbs/claims.md`` for the checkout's own results, else both in the results folder. A page
        that has not changed is not touched.

    Raises
    ------
    ValueError
        When the folder is missing, or for a damaged ``metrics.json`` (named).

    Examples
    --------
    >>> write_report("no such folder")
    Traceback (most recent call last):
    ValueError: no results folder at ...; give one that is there with --results DIR, or make a run: robinfo run quickstart
    """
    from robinfo.experiments.claims import claims_page, judged_claims  # here: it imports this module

    root, source = results_root(results), checkout()
    own = source is not None and root == (source / "results").resolve()
    if not root.is_dir():
        said = f"no results folder at {root}; give one that is there with --results DIR, or make a run: robinfo run quickstart"
        if missing is None or not own:
            raise ValueError(said)
        missing(said)
    folder = source / "nbs" if source is not None and own else root
    board = scoreboard(read_runs(root, site=own))
    judged = judged_claims(board)
    pages = {folder / "scoreboard.md": scoreboard_page(board), folder / "claims.md": claims_page(judged, site=own)}
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    first, second = pages
    return Report(first, second, board.counts(), Counter(claim.verdict for claim in judged))
