"""Pages for the runs in results/: one per run, one that lists them, the scoreboard and the claims.

Before the sources are read, every ``results/<experiment>/<run>/metrics.json`` becomes a page below
``nbs/experiments/_runs/``: the executed notebook where there is one, headed by what was run, at which settings, where, and a
table of what was measured. `robinfo.experiments.scoreboard.write_report` writes ``nbs/scoreboard.md`` and ``nbs/claims.md``, which
get a script and a style sheet of their own. git and nbdev ignore these files.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from robinfo.experiments.record import Comparison, Metrics, compare, markdown_table, read_metrics
from robinfo.experiments.scoreboard import write_report

FOLDER = Path("experiments") / "_runs"
_TITLE = re.compile(r"\A# .*\n?")
_INTRODUCTION = """# Measured runs

The notebooks as they were executed, with their figures, and every number they reported. A run with the profile `smoke` or
`cpu` uses **reduced settings** (smaller networks, fewer images, fewer epochs): it shows the direction of an effect and
is not a reproduction of a paper's cell. Only the profile `paper` has the settings of the paper. The
[scoreboard](../../scoreboard.md) puts every number beside the published one.
"""


def settings_of(run: Metrics) -> str:
    """Whether a run had the settings of the paper."""
    reduced = run.provenance.get("reduced", run.profile != "paper")
    return f"**reduced settings**, profile `{run.profile}`" if reduced else "the paper's settings"


def dataset_of(run: Metrics) -> str:
    """The data of a run."""
    return ", ".join(sorted({row.dataset for row in run.rows})) or str(run.parameters.get("dataset", "no data"))


def duration_of(run: Metrics) -> str:
    """How long a run took."""
    seconds = float(run.provenance.get("seconds") or 0)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def heading(run: Metrics, name: str) -> str:
    """The top of a run's page: what was run, at which settings, where."""
    where, versions = run.provenance, run.provenance.get("versions", {})
    facts = [("settings", settings_of(run)), ("differences", "; ".join(dict.fromkeys(r.settings for r in run.rows if r.settings))),
             ("data", dataset_of(run)), ("device", where.get("device")), ("time", duration_of(run)),
             ("started", where.get("started")), ("code", where.get("code")),
             ("versions", ", ".join(f"{k} {v}" for k, v in versions.items() if v)), ("run", f"`{name}`")]
    lines = [f"# {run.experiment}: {dataset_of(run)}, profile {run.profile}", "",
             markdown_table(facts[0], [(key, str(value)) for key, value in facts[1:] if value])]
    if run.parameters:
        values = markdown_table(["parameter", "value"], [[f"`{k}`", f"`{v}`"] for k, v in run.parameters.items()])
        lines += ["", ":::{dropdown} Parameters", values, ":::"]
    return "\n".join(lines)


def numbers(run: Metrics) -> str:
    """The end of a run's page: every recorded number; columns that say nothing are left out."""
    table = compare(run.rows)
    columns = list(zip(Comparison.HEADER, zip(*table.cells(), strict=True), strict=True)) if run.rows else []
    kept = [(head, cells) for head, cells in columns if set(cells) != {"–"}]
    rows = zip(*(cells for _, cells in kept), strict=True)
    return f"## Every number recorded\n\n{markdown_table([head for head, _ in kept], rows)}" if kept else ""


def page(run: Metrics, folder: Path) -> nbformat.NotebookNode:
    """The page of one run: its heading, its executed notebook without the title; the numbers where there is no notebook."""
    notebook = nbformat.v4.new_notebook()
    if (folder / "notebook.ipynb").exists():
        notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # links of an experiment notebook start from its own folder
            cell.source = re.sub(r"\]\((?!https?:|#|/)([^)]+)\)", r"](../\1)", _TITLE.sub("", cell.source.lstrip()).strip())
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(heading(run, folder.name), id="run-heading"))
    if len(notebook.cells) == 1:  # a notebook shows them itself
        notebook.cells.append(nbformat.v4.new_markdown_cell(numbers(run), id="run-numbers"))
    notebook.cells = [c for c in notebook.cells if c.source.strip()]
    return notebook


def write(path: Path, text: str) -> Path:
    """Write a file unless it says that already, so that an unchanged page is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def overview(runs: list[tuple[str, Metrics]]) -> str:
    """The page that lists every run, by experiment."""
    lines = [_INTRODUCTION]
    for experiment in sorted({run.experiment for _, run in runs}):
        rows = [[f"[{dataset_of(run)}, {run.profile}]({name}.ipynb)", settings_of(run), str(run.provenance.get("device", "–")),
                 duration_of(run), str(len(run.rows))] for name, run in runs if run.experiment == experiment]
        lines += [f"## {experiment}", "", markdown_table(["run", "settings", "device", "time", "numbers"], rows), ""]
    if not runs:
        lines += ["No run is recorded yet: `robinfo run quickstart` makes the first one.", ""]
    else:
        lines += ["```{toctree}", ":hidden:", "", *(name for name, _ in runs), "```", ""]
    return "\n".join(lines)


def collect(app: Any) -> None:
    """Write the pages below the sources, and remove those whose run is gone."""
    source = Path(app.srcdir)
    results, target = source.parent / "results", source / FOLDER
    runs, written = [], set()
    for path in sorted(results.glob("*/*/metrics.json")):
        if not (path.parent / "notebook.partial.ipynb").exists():
            run = read_metrics(path)
            runs.append((f"{path.parts[-3]}-{path.parts[-2]}", run))
            written.add(write(target / f"{runs[-1][0]}.ipynb", nbformat.writes(page(run, path.parent))))
    written.add(write(target / "index.md", overview(runs)))
    for stale in set(target.iterdir()) - written:
        if stale.is_file():
            stale.unlink()
    write_report(results, missing=print)


def assets(app: Any, pagename: str, *_: Any) -> None:
    """The filters and their style, on the two pages that have them."""
    if pagename in ("scoreboard", "claims"):
        app.add_js_file("scoreboard.js", loading_method="defer")
        app.add_css_file("scoreboard.css")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", collect)
    app.connect("html-page-context", assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
