"""Measured numbers on disk: rows with unit, sample size and interval, their provenance, and the paper's cell beside them.

A run writes one ``metrics.json`` (`write_metrics`): its rows are `Row` objects, one measured number each. What the papers
print and how the two are compared is in `robinfo.experiments.published`; its functions are passed on here. `report` turns
every recorded run into the scoreboard. Importing this module needs the standard library only.
"""
from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from robinfo.experiments.published import (
    VERDICTS,
    Comparison,
    cell_of,
    compare,
    judge,
    markdown_table,
    paper_row,
    verdict,
)
from robinfo.sealed import BLANK, seal, verify

__all__ = [
    "VERDICTS",
    "Comparison",
    "Metrics",
    "Row",
    "code_hash",
    "compare",
    "judge",
    "markdown_table",
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

_PACKAGE = Path(__file__).resolve().parents[1]
_PAPER_KEYS = ("paper", "table", "mean", "std")
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


def write_json(path: Path, content: Any, *, sealed: bool = False) -> None:
    """Write one JSON file atomically: a reader sees the old file or the new one, never half of it.

    Parameters
    ----------
    path : Path
        Target; its folder must exist.
    content : object
        Anything `json` can write; NaN and infinities are refused.
    sealed : bool
        Whether the file, a mapping, holds a checksum of itself (`robinfo.sealed`): at its start the seal, at its end a word that there is one.

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
    marks = {"seal": BLANK, "sealed": True}
    whole = {"seal": BLANK, **{k: v for k, v in content.items() if k not in marks}, "sealed": True} if sealed else content
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n", sealed=sealed)


def write_text(path: Path, text: str, *, sealed: bool = False) -> None:
    """Write one text file atomically.

    Parameters
    ----------
    path : Path
        Target; its folder must exist.
    text : str
        The whole content.
    sealed : bool
        Whether a blank seal in the text is to be filled (`robinfo.sealed.seal`).

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
    if sealed:
        seal(part)
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
            Every field; `paper` reduced to paper, table, mean, std and, where known, the key of the cell.

        Examples
        --------
        >>> Row(metric="m", value=1, unit="nats", n=3, dataset="d", model="e", method="o").to_dict()["seeds"]
        []
        """
        stored = asdict(replace(self, paper=None)) | {"paper": None}
        if self.paper is not None:
            stored["paper"] = {key: self.paper.get(key) for key in _PAPER_KEYS}
            cell = cell_of(self)
            if cell is not None:
                stored["paper"]["cell"] = cell["cell"]
        stored["interval"] = None if self.interval is None else list(self.interval)
        stored["seeds"] = list(self.seeds)
        return stored


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
    }, sealed=True)
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
        content = file.read_bytes()
        if b'"seal"' in content or b'"sealed"' in content:  # one of the two words is left by any single damage
            verify(file)
        stored = json.loads(content.decode("utf-8"))
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
    """Write the scoreboard and the page of claims from every recorded run; see `robinfo.experiments.scoreboard.write_report`.

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
        When the folder is missing, or for a damaged ``metrics.json`` (named).

    Examples
    --------
    >>> import tempfile
    >>> report(tempfile.mkdtemp()).read_text().splitlines()[0]
    '# Paper versus measured'
    """
    from robinfo.experiments.scoreboard import write_report  # here: it imports this module

    return write_report(results).scoreboard


code_hash()  # now, so that a long run records the code it loaded, not what the files hold when it ends
