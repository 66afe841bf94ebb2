"""Pages for the runs in results/: one per run, and one that lists them.

Before the sources are read, every ``results/<experiment>/<run>/metrics.json`` becomes a page below
``nbs/experiments/_runs/`` (ignored by git and by nbdev): the executed notebook where there is one, headed by what was run,
at which settings, where, and a table of what was measured. Nothing there is edited by hand.
"""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path("experiments") / "_runs"
_TITLE = re.compile(r"\A# .*\n?")
_INTRODUCTION = """# Measured runs

The notebooks as they were executed, with their figures, and every number they reported. A run with the profile `smoke` or
`cpu` uses **reduced settings** (smaller networks, fewer images, fewer epochs): it shows the direction of an effect and
is not a reproduction of a paper's cell. Only the profile `paper` has the settings of the paper.

"""


def load(path: Path) -> dict[str, Any] | None:
    """The metrics of one run; None where the file is not the record of a finished run."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) and "rows" in record else None


def settings_of(record: dict[str, Any]) -> str:
    """Whether a run had the settings of the paper."""
    profile = record.get("profile", "?")
    return "the paper's settings" if profile == "paper" else f"**reduced settings** (profile `{profile}`)"


def dataset_of(record: dict[str, Any]) -> str:
    """The data of a run."""
    named = record.get("parameters", {}).get("dataset")
    return str(named or ", ".join(sorted({str(r["dataset"]) for r in record["rows"] if r.get("dataset")})) or "–")


def number(value: Any) -> str:
    """A number as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cell(value: Any) -> str:
    """Text that cannot break a table."""
    return "–" if value is None or value == "" else str(value).replace("|", "\\|").replace("\n", " ")


def row(measured: dict[str, Any]) -> list[str]:
    """One measured number as the cells of a table."""
    interval, paper = measured.get("interval"), measured.get("paper") or {}
    value = number(measured.get("value"))
    if interval:
        value += f" [{number(interval[0])}, {number(interval[1])}]"
    what = " · ".join(str(measured[k]) for k in ("model", "method", "attack", "threat") if measured.get(k))
    unit = measured.get("unit")
    return [cell(v) for v in (measured.get("metric"), what, f"{value} {unit or ''}".strip(), measured.get("n"),
                              number(paper["mean"]) if paper.get("mean") is not None else None, measured.get("verdict"))]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(record: dict[str, Any], run: str) -> str:
    """The top of a run's page."""
    provenance, parameters = record.get("provenance", {}), record.get("parameters", {})
    seconds = provenance.get("seconds")
    facts = [("settings", settings_of(record)), ("data", dataset_of(record)), ("device", provenance.get("device")),
             ("seconds", number(float(seconds)) if seconds is not None else None), ("started", provenance.get("started")),
             ("code", provenance.get("code_hash", provenance.get("code"))), ("run", f"`{run}`")]
    lines = [f"# {record.get('experiment')} on {dataset_of(record)}, profile {record.get('profile')}", "",
             table(["", ""], [[name, cell(value)] for name, value in facts if value])]
    if parameters:
        values = table(["parameter", "value"], [[f"`{k}`", f"`{cell(v)}`"] for k, v in parameters.items()])
        lines += ["", ":::{dropdown} Parameters", values, ":::"]
    if record["rows"]:
        head = ["quantity", "of", "measured", "n", "paper", "verdict"]
        lines += ["", "## What was measured", "", table(head, [row(r) for r in record["rows"]])]
    return "\n".join(lines)


def page(record: dict[str, Any], folder: Path) -> nbformat.NotebookNode:
    """The page of one run: its heading, then its executed notebook without the first title."""
    notebook = nbformat.v4.new_notebook()
    if (folder / "notebook.ipynb").exists():
        notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    for c in notebook.cells:
        if c.cell_type == "markdown" and c.source.lstrip().startswith("# "):
            c.source = _TITLE.sub("## The notebook, as executed\n", c.source.lstrip()).strip()
            break
    notebook.cells = [c for c in notebook.cells if c.source.strip()]
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(heading(record, folder.name), id="run-heading"))
    return notebook


def write(path: Path, text: str) -> Path:
    """Write a file unless it says that already, so that an unchanged page is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def overview(runs: list[tuple[str, dict[str, Any]]]) -> str:
    """The page that lists every run, by experiment."""
    lines = [_INTRODUCTION]
    for experiment in sorted({str(r["experiment"]) for _, r in runs}):
        rows = [[f"[{dataset_of(r)}, {r.get('profile')}]({name}.ipynb)", settings_of(r),
                 cell(r.get("provenance", {}).get("device")), number(float(r.get("provenance", {}).get("seconds") or 0)),
                 str(len(r["rows"]))] for name, r in runs if r["experiment"] == experiment]
        lines += [f"## {experiment}", "", table(["run", "settings", "device", "seconds", "numbers"], rows), ""]
    if not runs:
        lines += ["No run is recorded yet: `robinfo run quickstart` makes the first one.", ""]
    lines += ["```{toctree}", ":hidden:", "", *(name for name, _ in runs), "```", ""]
    return "\n".join(lines)


def collect(app: Any) -> None:
    """Write the pages below the sources, and remove those whose run is gone."""
    source = Path(app.srcdir)
    target, runs, written = source / FOLDER, [], set()
    for path in sorted((source.parent / "results").glob("*/*/metrics.json")):
        if (record := load(path)) is not None:
            record.setdefault("experiment", path.parts[-3])
            name = f"{path.parts[-3]}-{path.parts[-2]}"
            runs.append((name, record))
            written.add(write(target / f"{name}.ipynb", nbformat.writes(page(record, path.parent))))
    written.add(write(target / "index.md", overview(runs)))
    for stale in set(target.iterdir()) - written:
        if stale.is_file():
            stale.unlink()


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", collect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
