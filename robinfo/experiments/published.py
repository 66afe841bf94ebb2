"""What the papers print: every published number with its key, the verdict beside a measured one, and the table of both.

`paper_row` finds one published number by what it is, `published_cell` by its key and `cell_of` the one that a recorded row
stands beside; `judge` gives the verdict and `compare` shows the table. Needs the standard library only.
"""
from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robinfo.experiments.record import Row

__all__ = ["VERDICTS", "Comparison", "cell_of", "compare", "judge", "markdown_table", "paper_row", "published_cell",
           "published_cells", "same_dataset", "verdict"]

VERDICTS = ("reproduced", "with a caveat", "not reproduced", "not comparable")
_TABLES = Path(__file__).with_name("paper_tables.json")


# --- the paper's numbers ----------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def published_cells() -> tuple[dict[str, Any], ...]:
    """Every published number of the three papers, in the papers' own order.

    Returns
    -------
    tuple of dict
        Each with at least cell (its key), paper, table, dataset, model, method, metric, attack, mean, std (or None) and unit.

    Examples
    --------
    >>> published_cells()[0]["cell"]
    'zhu2020-table-1-cifar10-mlp-hjelm-et-al-2018-h-standard-natural'
    """
    return tuple(json.loads(_TABLES.read_text(encoding="utf-8")))


def published_cell(key: str) -> dict[str, Any]:
    """The published number with a key.

    Parameters
    ----------
    key : str
        The field ``cell``; it is the same in every version of the package.

    Returns
    -------
    dict
        As in `published_cells`.

    Raises
    ------
    ValueError
        For a key that no published number has; the message names the nearest.

    Examples
    --------
    >>> published_cell("zhu2020-table-1-cifar10-mlp-ours-h-robust-adversarial")["mean"]
    31.52
    """
    for row in published_cells():
        if row["cell"] == key:
            return dict(row)
    raise ValueError(_no_such_cell("cell", key, published_cells(), listed=False))


def cell_of(row: Row) -> dict[str, Any] | None:
    """The published number that a recorded row stands beside.

    Rows name it by its key; rows recorded before there were keys are matched by paper, table, mean and deviation, and among
    equal numbers by what else the row says: quantity, data set, method, model and attack, in this order.

    Parameters
    ----------
    row : Row
        As recorded.

    Returns
    -------
    dict or None
        None for a row without a published number, beside a number computed from several (a difference, a ratio), and where
        none fits or several do.

    Examples
    --------
    >>> from robinfo.experiments.record import Row
    >>> row = Row(metric="adversarial_accuracy", value=0.0, unit="%", n=2000, dataset="mnist", model="encoder, h=Linear",
    ...           method="Fully-Supervised Standard", paper={"paper": "Zhu2020", "table": "3", "mean": 0.0, "std": 0.0})
    >>> cell_of(row)["cell"]
    'zhu2020-table-3-mnist-linear-fully-supervised-standard-adversarial'
    """
    printed = row.paper
    if printed is None:
        return None
    found = [cell for cell in published_cells()
             if cell["unit"] == row.unit and all(cell[key] == printed.get(key) for key in ("paper", "table", "mean", "std"))]
    if printed.get("cell"):
        found = [cell for cell in found if cell["cell"] == printed["cell"]]
    for likeness in _LIKENESS:
        found = _most(found, lambda cell, likeness=likeness: likeness(cell, row))  # type: ignore[misc]
    return dict(found[0]) if len(found) == 1 else None


def _words(text: Any) -> set[str]:
    """The words of a name, without case; ``h=MLP`` and ``C&W`` are words."""
    return set(re.findall(r"[a-z0-9=&]+", str(text or "").lower()))


def _most(cells: list[dict[str, Any]], score: Callable[[dict[str, Any]], int]) -> list[dict[str, Any]]:
    """The cells with the highest score."""
    best = max(map(score, cells), default=0)
    return [cell for cell in cells if score(cell) == best]


_LIKENESS: tuple[Callable[[Mapping[str, Any], Row], int], ...] = (
    lambda cell, row: int(cell["metric"] == row.metric),
    lambda cell, row: int(same_dataset(cell["dataset"], row.dataset)),
    lambda cell, row: 2 * (cell["method"] == row.method) + row.method.startswith(f"{cell['method']},"),
    lambda cell, row: len(_words(cell["model"]) & _words(row.model)),
    lambda cell, row: len(_words(cell["attack"]) & _words(row.attack)),
)


def same_dataset(first: str, second: str) -> bool:
    """Whether two names mean one data set: case, hyphens, underscores and spaces do not count.

    Parameters
    ----------
    first, second : str
        Names.

    Returns
    -------
    bool
        True for ``"CIFAR-10"`` and ``"cifar10"``.

    Examples
    --------
    >>> same_dataset("Fashion-MNIST", "fashion_mnist"), same_dataset("MNIST", "digits")
    (True, False)
    """
    return _squash(first) == _squash(second)


def paper_row(paper: str, table: str, *, required: bool = True, **match: Any) -> dict[str, Any] | None:
    """The one published number in a paper's table that has the given fields.

    Parameters
    ----------
    paper, table : str
        For example ``"Zhu2020"`` and ``"1"``; figures are ``"Fig1 (digitised)"``.
    required : bool
        False returns None where no row matches, for settings the paper has not.
    **match : object
        Fields that must agree: dataset, model, method, metric, head, attack. Names of data sets are compared without
        case, hyphens and underscores, so ``"cifar10"`` finds ``"CIFAR-10"``.

    Returns
    -------
    dict or None
        As in `published_cells`.

    Raises
    ------
    ValueError
        When no row matches (naming the field that fails and the nearest value), or several do (naming what differs).

    Examples
    --------
    >>> row = paper_row("Zhu2020", "1", method="Ours / h=Robust", metric="adversarial_accuracy", head="MLP")
    >>> row["mean"], row["std"], row["unit"]
    (31.52, 0.31, '%')
    """
    wanted = {"paper": paper, "table": str(table), **match}
    rows = list(published_cells())
    for key, value in wanted.items():
        kept = [row for row in rows if _same(key, row.get(key), value)]
        if not kept and not required:
            return None
        if not kept:
            raise ValueError(_no_such_cell(key, value, rows))
        rows = kept
    if len(rows) > 1:
        differ = [key for key in rows[0] if len({str(row.get(key)) for row in rows}) > 1 and key not in ("mean", "std", "cell")]
        raise ValueError(f"{len(rows)} rows of {paper} table {table} match; also give {' or '.join(differ)}")
    return dict(rows[0])


def _same(key: str, stored: Any, wanted: Any) -> bool:
    """Whether a stored field has the wanted value."""
    return _squash(stored) == _squash(wanted) if key == "dataset" else bool(stored == wanted)


def _squash(name: Any) -> str:
    """A data set's name without case, hyphens and underscores."""
    return str(name).lower().replace("-", "").replace("_", "").replace(" ", "")


def _no_such_cell(key: str, value: Any, rows: Sequence[Mapping[str, Any]], *, listed: bool = True) -> str:
    """The message for a field that no row has, with the nearest value."""
    known = sorted({str(row.get(key)) for row in rows})
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"no published row has {key}={value!r}{hint}" + (f" known: {', '.join(known)}" if listed else "")


# --- verdicts ---------------------------------------------------------------------------------------------------------
def verdict(measured: float, interval: tuple[float, float] | None, paper_mean: float | None,
            paper_std: float | None = None, comparable: bool | str = True) -> str:
    """One of `VERDICTS` for a measured number beside a published one.

    The rule: the published band is mean ± 2 std (2 % of the mean where no std is published); the measured band is the
    interval, or the number itself. *Reproduced*: the bands meet. *With a caveat*: the bands meet once the published
    one is doubled. *Not reproduced*: they do not. *Not comparable*: `comparable` is not True — reduced settings,
    another data set, another threat — or nothing is published.

    Parameters
    ----------
    measured : float
        In the paper's unit.
    interval : (float, float) or None
        Confidence interval of the measured number.
    paper_mean, paper_std : float or None
        The published cell.
    comparable : bool or str
        True, or False, or a text that says why the two must not be compared.

    Returns
    -------
    str
        One of `VERDICTS`.

    Examples
    --------
    >>> verdict(31.0, None, 31.52, 0.31)
    'reproduced'
    >>> verdict(30.5, (30.2, 30.8), 31.52, 0.31), verdict(20.0, None, 31.52, 0.31)
    ('with a caveat', 'not reproduced')
    >>> verdict(31.0, None, 31.52, 0.31, comparable="reduced: 3 epochs")
    'not comparable'
    """
    if comparable is not True or paper_mean is None:
        return "not comparable"
    low, high = interval or (measured, measured)
    low, high = min(low, measured), max(high, measured)
    gap = max(low - paper_mean, paper_mean - high, 0.0)
    band = 2 * paper_std if paper_std else 0.02 * abs(paper_mean)
    return "reproduced" if gap <= band else "with a caveat" if gap <= 2 * band else "not reproduced"


def judge(row: Row, *, comparable: bool | str = True) -> Row:
    """The row with its verdict: not comparable for reduced settings or another data set, else by the rule of `verdict`.

    Parameters
    ----------
    row : Row
        With `paper` from `paper_row`, or without.
    comparable : bool or str
        False or a reason where the caller knows of another difference, such as the threat; a reason is added to
        `settings`.

    Returns
    -------
    Row
        Verdict None where no published number stands beside it.

    Raises
    ------
    ValueError
        When the units differ, for example a fraction beside per cent.

    Examples
    --------
    >>> from robinfo.experiments.record import Row
    >>> cell = paper_row("Zhu2020", "1", method="Ours / h=Robust", metric="natural_accuracy", head="MLP")
    >>> row = Row(metric="natural_accuracy", value=52.3, unit="%", n=10000, dataset="cifar10", model="MLP",
    ...           method="ours", paper=cell)
    >>> judge(row).verdict, judge(replace(row, dataset="mnist")).verdict
    ('reproduced', 'not comparable')
    """
    if row.paper is None:
        return replace(row, verdict=None)
    published = row.paper
    if published.get("unit", row.unit) != row.unit:
        raise ValueError(f"{row.metric}: measured in {row.unit!r}, published in {published['unit']!r}; convert the "
                         "measured value to the paper's unit")
    other = row.settings.startswith("reduced") or not same_dataset(published.get("dataset", row.dataset), row.dataset)
    decided = verdict(row.value, row.interval, published.get("mean"), published.get("std"), False if other else comparable)
    notes = [row.settings, comparable if isinstance(comparable, str) else ""]
    return replace(row, verdict=decided, settings="; ".join(dict.fromkeys(note for note in notes if note)))


# --- the table measured | paper | difference | verdict ----------------------------------------------------------------
@dataclass(frozen=True)
class Comparison:
    """A table of measured numbers beside the paper's, readable in a notebook, on a terminal and on the site.

    Parameters
    ----------
    rows : tuple of Row
        In the order of the table.

    Examples
    --------
    >>> from robinfo.experiments.record import Row
    >>> row = Row(metric="rv", value=0.25, unit="nats", n=8, dataset="digits", model="encoder", method="normal")
    >>> print(compare([row]))
    dataset | model   | method | metric | measured         | paper | difference | verdict
    --------+---------+--------+--------+------------------+-------+------------+--------
    digits  | encoder | normal | rv     | 0.250 nats (n=8) | –     | –          | –
    """

    rows: tuple[Row, ...]

    HEADER = ("dataset", "model", "method", "metric", "measured", "paper", "difference", "verdict")

    def cells(self) -> list[tuple[str, ...]]:
        """The table's texts, one tuple for each row.

        Returns
        -------
        list of tuple of str
            In the order of `HEADER`.

        Examples
        --------
        >>> Comparison(()).cells()
        []
        """
        return [_cells(row) for row in self.rows]

    def __str__(self) -> str:
        """The table in aligned columns."""
        lines = [self.HEADER, *self.cells()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.HEADER))]
        texts = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        rule = "-+-".join("-" * width for width in widths)
        return "\n".join([texts[0], rule, *texts[1:]])

    def _repr_markdown_(self) -> str:
        """The table in Markdown, shown by Jupyter and by the site."""
        return markdown_table(self.HEADER, self.cells())

    def _repr_html_(self) -> str:
        """The table in HTML, shown by Jupyter."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.HEADER)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
                       for line in self.cells())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare(rows: Iterable[Row]) -> Comparison:
    """The table measured | paper | difference | verdict for some rows.

    Parameters
    ----------
    rows : iterable of Row
        A row with a published cell and no verdict is judged first (`judge`).

    Returns
    -------
    Comparison
        Shown as a table by Jupyter and by ``print``.

    Examples
    --------
    >>> compare([]).rows
    ()
    """
    return Comparison(tuple(judge(row) if row.paper is not None and row.verdict is None else row for row in rows))


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    r"""A Markdown table; bars inside cells are escaped.

    Parameters
    ----------
    header : sequence of str
        Column names.
    lines : iterable of sequences of str
        One text for each column.

    Returns
    -------
    str
        Without a final newline.

    Examples
    --------
    >>> print(markdown_table(["a"], [["x|y"]]))
    | a |
    |---|
    | x\|y |
    """
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [header, *lines]]
    return "\n".join([rows[0], "|" + "---|" * len(header), *rows[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    """The texts of one row, in the order of `Comparison.HEADER`."""
    mean = None if row.paper is None else row.paper.get("mean")
    std = None if row.paper is None else row.paper.get("std")
    paper = "–" if mean is None else _number(mean, row.unit) + (f" ± {_number(std, row.unit)}" if std is not None else "")
    difference = "–" if mean is None else f"{row.value - mean:+.{_digits(row.unit)}f}"
    return row.dataset, row.model, row.method, _metric(row), _measured(row), paper, difference, row.verdict or "–"


def _metric(row: Row) -> str:
    """The quantity with its attack and threat."""
    return ", ".join([row.metric.replace("_", " "), *(str(part) for part in (row.attack, row.threat) if part)])


def _measured(row: Row) -> str:
    """The value with unit, interval and sample size."""
    ends = "" if row.interval is None else f" [{', '.join(_number(end, row.unit) for end in row.interval)}]"
    return f"{_number(row.value, row.unit)} {row.unit}".rstrip() + ends + ("" if row.n is None else f" (n={row.n})")


def _digits(unit: str) -> int:
    """Decimals shown: two for per cent, three otherwise."""
    return 2 if unit in ("%", "pp") else 3


def _number(value: float, unit: str) -> str:
    """A number with the decimals of its unit."""
    return f"{value:.{_digits(unit)}f}"
