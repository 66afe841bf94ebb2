"""The pages *Reliability* and *What a reproduction costs*.

The tests write one file each to ``results/reliability/`` (`pytest … --long --record`); before the sources are read they become
``nbs/reliability.md``; `robinfo.experiments.costs` counts what ``nbs/costs.md`` shows. git and nbdev ignore the pages. No number on them is
written by hand.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from measured_runs import write

from robinfo.experiments.costs import cost_page, reproduction
from robinfo.experiments.record import code_hash, markdown_table

_INTRODUCTION = """# Reliability

A reproduction is hundreds of runs. Nothing that happens to a process, a disk or an input may cost a result or let a wrong one in.
Each line below was written by the test that it names, with the number of trials behind it.
"""
_NONE = """No trial is recorded yet: `pytest tests/test_reliability.py tests/test_sweeps.py tests/test_bad_input.py --long --record` records them.
"""


_ORDER = ("kills", "worker", "two-processes", "bad-ends", "damage", "full-disk", "read-only", "bad-input", "bad-commands", "hostile", "determinism", "soak")


def _place(entry: dict[str, Any]) -> tuple[int, str]:
    """Processes first, then disks, inputs, and what must not change."""
    return (_ORDER.index(entry["name"]) if entry["name"] in _ORDER else len(_ORDER), entry["name"])


def _name(node: str) -> str:
    """A test in words: its name, or its file where it is a script."""
    return node.rpartition("::")[2].removeprefix("test_").replace("_", " ").split("[")[0] if "::" in node else f"`{node}`"


def page(found: list[dict[str, Any]]) -> str:
    """The page for some recorded trials."""
    if not found:
        return f"{_INTRODUCTION}\n{_NONE}"
    lines = [[entry["test"], f"{entry['n']:,}", entry["target"], entry["figure"], _name(entry["by"])] for entry in sorted(found, key=_place)]
    where = sorted({f"{entry['provenance']['platform']}, Python {entry['provenance']['versions']['python']}, torch {entry['provenance']['versions']['torch']}"
                    for entry in found})
    table = markdown_table(["trial", "n", "to reach", "found", "by the test"], lines)
    return f"{_INTRODUCTION}\n{table}\n\nRecorded on {'; '.join(where)} (CPU).\n"


def collect(app: Any) -> None:
    """Write the page below the sources."""
    source = Path(app.srcdir)
    files = sorted((source.parent / "results" / "reliability").glob("*.json"))
    write(source / "reliability.md", page([json.loads(file.read_text(encoding="utf-8")) for file in files]))
    target, stamp = source / "costs.md", f"<!-- {code_hash()} -->"
    if not target.exists() or stamp not in target.read_text(encoding="utf-8"):  # counting takes some seconds
        write(target, f"{cost_page(reproduction())}\n{stamp}\n")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", collect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
