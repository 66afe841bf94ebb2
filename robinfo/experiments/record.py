"""Measured numbers on disk: rows with unit, sample size and interval, their provenance, and the paper's cell beside them.

A run writes one ``metrics.json`` (`write_metrics`): its rows are `Row` objects, one measured number each. `paper_row`
finds the published number, `judge` gives the verdict, `compare` shows the table and `report` collects every recorded
run into the scoreboard. Importing this module needs the standard library only.
"""
from __future__ import annotations

import difflib
import hashlib
import html
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "VERDICTS",
    "Comparison",
    "Metrics",
    "Row",
    "code_hash",
    "compare",
    "judge",
    "paper_row",
    "provenance",
    "read_metrics",
    "report",
    "results_root",
    "save_figure",
    "verdict",
    "write_json",
    "write_metrics",
    "write_text",
]

VERDICTS = ("reproduced", "with a caveat", "not reproduced", "not comparable")
_PACKAGE = Path(__file__).resolve().parents[1]
_PAPER_KEYS = ("paper", "table", "mean", "std")
_PROFILE_ORDER = ("paper", "cpu", "smoke")
_STARTED = float(os.environ.get("ROBINFO_STARTED") or time.time())


# --- where things are -------------------------------------------------------------------------------------------------
def checkout() -> Path | None:
    """Root of the source checkout this package sits in, or None for an installed package.

    Returns
    -------
    Path or None
        The folder with ``settings.ini`` and ``nbs/experiments``.

    Examples
    --------
    >>> checkout() is None or (checkout() / "settings.ini").is_file()
    True
    """
    root = _PACKAGE.parent
    return root if (root / "settings.ini").is_file() and (root / "nbs" / "experiments").is_dir() else None


def results_root(results: str | os.PathLike[str] | None = None) -> Path:
    """Folder below which runs are written and read.

    Parameters
    ----------
    results : path, optional
        The folder itself. Without it ``$ROBINFO_RESULTS``, else ``results/`` of the checkout, else ``./results``.

    Returns
    -------
    Path
        Absolute; it need not exist.

    Examples
    --------
    >>> results_root("somewhere").is_absolute()
    True
    """
    chosen = results or os.environ.get("ROBINFO_RESULTS")
    root = checkout()
    return Path(chosen).expanduser().resolve() if chosen else ((root or Path.cwd()) / "results").resolve()


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file atomically: a reader sees the old file or the new one, never half of it.

    Parameters
    ----------
    path : Path
        Target; its folder must exist.
    content : object
        Anything `json` can write; NaN and infinities are refused.

    Raises
    ------
    ValueError
        For a NaN or an infinity.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(target, {"x": 1}); target.read_text()
    '{\\n "x": 1\\n}\\n'
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write one text file atomically.

    Parameters
    ----------
    path : Path
        Target; its folder must exist.
    text : str
        The whole content.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_text(target, "one"); write_text(target, "two"); target.read_text()
    'two'
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _plain(value: Any) -> Any:
    """A NumPy or torch scalar as the Python number it holds; anything else as text."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else str(value)


# --- one measured number ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number with everything needed to read it: what, on what, how many, how sure.

    Parameters
    ----------
    metric : str
        Name of the quantity, such as ``"adversarial_accuracy"``.
    value : float
        The measured number, finite, in `unit`.
    unit : str
        ``"%"``, ``"pp"``, ``"nats"``; the paper's numbers use these too.
    n : int or None
        Number of images (or batches) behind the value; None for an exact number.
    dataset, model, method : str
        What was measured.
    interval : (float, float) or None
        Confidence interval in `unit`, lower end first.
    attack, threat : str or None
        The attack's name and the threat, for example ``"PGD-7"`` and ``"Linf(8/255)"``; a threat object is stored as text.
    seeds : sequence of int
        Seeds behind the value.
    paper : mapping or None
        The published cell, from `paper_row`.
    verdict : str or None
        One of `VERDICTS`; see `judge`.
    settings : str
        Where the settings differ from the paper's, starting ``"reduced: "`` where less was done.

    Raises
    ------
    ValueError
        For a value that is not finite, an interval out of order, n < 1 or an unknown verdict.

    Examples
    --------
    >>> row = Row(metric="natural_accuracy", value=98.2, unit="%", n=500, dataset="digits", model="encoder", method="ours")
    >>> row.value, row.interval
    (98.2, None)
    """

    metric: str
    value: float
    unit: str
    n: int | None
    dataset: str
    model: str
    method: str
    interval: tuple[float, float] | None = None
    attack: str | None = None
    threat: str | None = None
    seeds: tuple[int, ...] = ()
    paper: Mapping[str, Any] | None = None
    verdict: str | None = None
    settings: str = ""

    def __post_init__(self) -> None:
        """Normalise numbers and sequences, then refuse what cannot be a measurement."""
        ends = None if self.interval is None else (float(self.interval[0]), float(self.interval[1]))
        clean: dict[str, Any] = {"value": float(self.value), "interval": ends, "seeds": tuple(int(s) for s in self.seeds)}
        clean["n"] = None if self.n is None else int(self.n)
        clean["attack"] = None if self.attack is None else str(self.attack)
        clean["threat"] = None if self.threat is None else str(self.threat)
        for name, value in clean.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Raise ValueError for a number that cannot be a measurement."""
        numbers = [self.value, *(self.interval or ())]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{self.metric}: value and interval must be finite, got {self.value} and {self.interval}; "
                             "leave the row out and say why the measurement failed")
        if self.interval and self.interval[0] > self.interval[1]:
            raise ValueError(f"{self.metric}: interval must be (lower, upper), got {self.interval}; swap its ends")
        if self.n is not None and self.n < 1:
            raise ValueError(f"{self.metric}: n must be at least 1, got {self.n}; use None for an exact number")
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise ValueError(f"{self.metric}: verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")

    def to_dict(self) -> dict[str, Any]:
        """The row as stored in ``metrics.json``.

        Returns
        -------
        dict
            Every field; `paper` reduced to paper, table, mean and std.

        Examples
        --------
        >>> Row(metric="m", value=1, unit="nats", n=3, dataset="d", model="e", method="o").to_dict()["seeds"]
        []
        """
        stored = asdict(replace(self, paper=None)) | {"paper": None}
        if self.paper is not None:
            stored["paper"] = {key: self.paper.get(key) for key in _PAPER_KEYS}
        stored["interval"] = None if self.interval is None else list(self.interval)
        stored["seeds"] = list(self.seeds)
        return stored


# --- the paper's numbers ----------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def _paper_tables() -> tuple[dict[str, Any], ...]:
    """Every published row the package carries."""
    text = (_PACKAGE / "experiments" / "paper_tables.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


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
        With at least paper, table, dataset, model, method, metric, attack, mean, std (or None) and unit.

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
    rows = list(_paper_tables())
    for key, value in wanted.items():
        kept = [row for row in rows if _same(key, row.get(key), value)]
        if not kept and not required:
            return None
        if not kept:
            raise ValueError(_no_such_cell(key, value, rows))
        rows = kept
    if len(rows) > 1:
        differ = [key for key in rows[0] if len({str(row.get(key)) for row in rows}) > 1 and key not in ("mean", "std")]
        raise ValueError(f"{len(rows)} rows of {paper} table {table} match; also give {' or '.join(differ)}")
    return dict(rows[0])


def _same(key: str, stored: Any, wanted: Any) -> bool:
    """Whether a stored field has the wanted value."""
    return _squash(stored) == _squash(wanted) if key == "dataset" else bool(stored == wanted)


def _squash(name: Any) -> str:
    """A data set's name without case, hyphens and underscores."""
    return str(name).lower().replace("-", "").replace("_", "").replace(" ", "")


def _no_such_cell(key: str, value: Any, rows: Sequence[Mapping[str, Any]]) -> str:
    """The message for a field that no row has, with the nearest value."""
    known = sorted({str(row.get(key)) for row in rows})
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"no published row has {key}={value!r}{hint} known: {', '.join(known)}"


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
    other = row.settings.startswith("reduced") or _squash(published.get("dataset", row.dataset)) != _squash(row.dataset)
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


# --- metrics.json -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Metrics:
    """The content of one ``metrics.json``.

    Parameters
    ----------
    experiment, profile : str
        Which notebook, with which settings.
    parameters : dict
        The parameters it ran with.
    provenance : dict
        Code hash, device, versions, start and seconds; see `provenance`.
    rows : tuple of Row
        The measured numbers.

    Examples
    --------
    >>> Metrics("quickstart", "smoke", {}, {}, ()).rows
    ()
    """

    experiment: str
    profile: str
    parameters: dict[str, Any]
    provenance: dict[str, Any]
    rows: tuple[Row, ...]


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Fingerprint of the package's source: 16 hexadecimal digits of SHA-256 over its Python and JSON files.

    Returns
    -------
    str
        The same for a checkout and for the wheel built from it; notebooks and generated indices are left out.

    Examples
    --------
    >>> len(code_hash())
    16
    """
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        relative = path.relative_to(_PACKAGE)
        skip = "notebooks" in relative.parts or "__pycache__" in relative.parts or path.name == "_modidx.py"
        if path.suffix in (".py", ".json") and not skip:
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def provenance(*, started: float | datetime | None = None, device: str | None = None,
               reduced: bool = False) -> dict[str, Any]:
    """Where a number came from: code, device, versions, start and duration.

    Parameters
    ----------
    started : float or datetime, optional
        Start of the work (seconds since the epoch, or an aware datetime). If omitted, the moment ``robinfo run`` started
        this process (a continued run counts its last part), else the import of this module.
    device : str, optional
        What the numbers were computed on; by default the GPU's name where torch is loaded and sees one, else ``"cpu"``.
    reduced : bool
        Whether less was done than the paper did.

    Returns
    -------
    dict
        code, device, cpus, platform, versions, started (ISO, UTC), seconds, reduced.

    Examples
    --------
    >>> sorted(provenance(device="cpu"))
    ['code', 'cpus', 'device', 'platform', 'reduced', 'seconds', 'started', 'versions']
    """
    start = started.timestamp() if isinstance(started, datetime) else float(started or _STARTED)
    versions = {name: _version(name) for name in ("robinfo", "torch", "torchvision", "numpy")}
    return {
        "code": code_hash(),
        "device": device or _device(),
        "cpus": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions},
        "started": datetime.fromtimestamp(start, UTC).isoformat(timespec="seconds"),
        "seconds": round(max(time.time() - start, 0.0), 1),
        "reduced": bool(reduced),
    }


def _version(distribution: str) -> str | None:
    """The installed version, without importing the package."""
    import robinfo

    if distribution == "robinfo":
        return robinfo.__version__
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _device() -> str:
    """The GPU's name where torch is loaded and has one; a session that never loaded torch used the CPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "cpu"


def write_metrics(run_dir: str | os.PathLike[str], experiment: str, profile: str | None, parameters: Mapping[str, Any] | None,
                  rows: Iterable[Row], *, started: float | datetime | None = None, device: str | None = None,
                  reduced: bool | None = None) -> Path:
    """Write ``metrics.json`` of one run, atomically, with its provenance.

    Parameters
    ----------
    run_dir : path
        The run's folder; made if missing.
    experiment, profile : str
        Which notebook, with which settings; a profile of None stands for ``"by hand"``.
    parameters : mapping or None
        What it ran with; ``run_dir`` is dropped, so that the file holds no path of this machine.
        Under ``robinfo run`` profile and parameters are those of the request, whatever is passed here.
    rows : iterable of Row
        Judged first where a published cell has no verdict yet.
    started, device :
        See `provenance`.
    reduced : bool, optional
        By default whether any row's settings say so, or the profile is not ``"paper"``. The rows of a reduced run that
        have a published cell are labelled and judged not comparable.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        When a row is not a `Row`.

    Examples
    --------
    >>> import tempfile
    >>> row = Row(metric="rv", value=0.25, unit="nats", n=8, dataset="digits", model="encoder", method="normal")
    >>> path = write_metrics(tempfile.mkdtemp(), "demo", "smoke", {"epochs": 1, "run_dir": "."}, [row], device="cpu")
    >>> read_metrics(path).rows == (row,), read_metrics(path).parameters
    (True, {'epochs': 1})
    """
    given = _rows(rows)
    request = _request(run_dir)
    profile = str(request.get("profile", profile or "by hand"))
    parameters = request.get("parameters", parameters or {})
    if reduced is None:
        reduced = profile != "paper" or any(row.settings.startswith("reduced") for row in given)
    judged = compare(_labelled(row, profile) if reduced else row for row in given).rows
    path = Path(run_dir) / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {
        "experiment": experiment,
        "profile": profile,
        "parameters": {key: value for key, value in (parameters or {}).items() if key != "run_dir"},
        "provenance": provenance(started=started, device=device, reduced=reduced),
        "rows": [row.to_dict() for row in judged],
    })
    return path


def _request(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """What the launcher was asked to run in this folder; empty where it did not start this process."""
    folder = Path(run_dir).resolve()
    if os.environ.get("ROBINFO_RUN_DIR") != str(folder):
        return {}
    return dict(json.loads((folder / "parameters.json").read_text(encoding="utf-8")))


def _labelled(row: Row, profile: str) -> Row:
    """A row of a reduced run whose published cell would otherwise be compared: its settings say that it is reduced."""
    if row.paper is None or row.verdict is not None or row.settings.startswith("reduced"):
        return row
    return replace(row, settings="; ".join(note for note in (f"reduced: profile {profile}", row.settings) if note))


def _rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows; anything but a `Row` is refused."""
    given = tuple(rows)
    for row in given:
        if not isinstance(row, Row):
            raise TypeError(f"rows must be Row objects, got {type(row).__name__}; build them with Row(metric=…, value=…)")
    return given


def read_metrics(path: str | os.PathLike[str]) -> Metrics:
    """Read one ``metrics.json``.

    Parameters
    ----------
    path : path
        The file, or the run's folder.

    Returns
    -------
    Metrics
        Unknown fields of a row are ignored.

    Raises
    ------
    FileNotFoundError
        When it is missing.
    ValueError
        When it is not what `write_metrics` writes; the message names the file.

    Examples
    --------
    >>> import tempfile
    >>> read_metrics(tempfile.mkdtemp())
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    file = Path(path)
    file = file / "metrics.json" if file.is_dir() else file
    known = {field.name for field in fields(Row)}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        rows = tuple(Row(**{key: value for key, value in row.items() if key in known}) for row in stored["rows"])
        return Metrics(stored["experiment"], stored["profile"], stored["parameters"], stored["provenance"], rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no metrics file ({type(error).__name__}: {error}); remove it and run the experiment "
                         "again") from error


def save_figure(figure: Any, run_dir: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Save a figure as SVG and PNG; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to save.
    run_dir : path
        The run's folder.
    name : str
        File name without ending.

    Returns
    -------
    (Path, Path)
        The SVG and the PNG (150 dots per inch).

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> [path.name for path in save_figure(Figure(), tempfile.mkdtemp(), "curve")]
    ['curve.svg', 'curve.png']
    """
    import matplotlib as mpl

    svg, png = (Path(run_dir) / f"{name}.{ending}" for ending in ("svg", "png"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, bbox_inches="tight", metadata={"Date": None})
        figure.savefig(png, bbox_inches="tight", dpi=150, metadata={"Software": None})
    return svg, png


# --- the scoreboard ---------------------------------------------------------------------------------------------------
def report(results: str | os.PathLike[str] | None = None) -> Path:
    """Write the scoreboard: every recorded number beside the paper's, one table for each experiment.

    Parameters
    ----------
    results : path, optional
        Results folder; see `results_root`. Every ``metrics.json`` below it is read, save those of unfinished runs.

    Returns
    -------
    Path
        ``nbs/scoreboard.md`` for the checkout's own results, else ``scoreboard.md`` in the results folder.

    Raises
    ------
    ValueError
        For a damaged ``metrics.json`` (named).

    Examples
    --------
    >>> import tempfile
    >>> report(tempfile.mkdtemp()).read_text().splitlines()[0]
    '# Scoreboard: measured beside published'
    """
    root = results_root(results)
    source = checkout()
    own = source is not None and root == (source / "results").resolve()
    path = source / "nbs" / "scoreboard.md" if source is not None and own else root / "scoreboard.md"
    files = [file for file in root.rglob("metrics.json") if not (file.parent / "notebook.partial.ipynb").exists()]
    runs = [(read_metrics(file), file.parent.name) for file in files]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _scoreboard(runs))
    return path


_INTRODUCTION = """# Scoreboard: measured beside published

Written by `robinfo report` from every recorded run. Intervals are at 95 % and n is the sample size behind a number.
Verdicts come from a fixed list: *reproduced* (the measured interval meets the published mean ± 2 std), *with a caveat*
(it meets twice that band), *not reproduced*, and *not comparable* (reduced settings, another data set or another threat).
"""
_COLUMNS = (*Comparison.HEADER, "profile", "device", "settings")


def _scoreboard(runs: Iterable[tuple[Metrics, str]]) -> str:
    """The page for some runs, in an order that depends on their content alone."""
    ordered = sorted(runs, key=lambda run: (run[0].experiment, _profile_rank(run[0].profile), run[1]))
    parts = [_INTRODUCTION]
    for name in dict.fromkeys(metrics.experiment for metrics, _ in ordered):
        lines = [line for metrics, _ in ordered if metrics.experiment == name for line in _lines(metrics)]
        parts.append(f"## {name}\n\n{markdown_table(_COLUMNS, lines)}\n")
    return "\n".join(parts if len(parts) > 1 else [*parts, "No run is recorded yet.\n"])


def _profile_rank(profile: str) -> tuple[int, str]:
    """The paper's own settings first, then the smaller ones."""
    return (_PROFILE_ORDER.index(profile) if profile in _PROFILE_ORDER else len(_PROFILE_ORDER), profile)


def _lines(metrics: Metrics) -> list[tuple[str, ...]]:
    """The scoreboard's lines for one run; reduced runs are labelled."""
    device = str(metrics.provenance.get("device", "–"))
    label = "reduced" if metrics.provenance.get("reduced") else ""
    return [(*_cells(row), metrics.profile, device, row.settings or label or "–") for row in compare(metrics.rows).rows]


code_hash()  # now, so that a long run records the code it loaded, not what the files hold when it ends
