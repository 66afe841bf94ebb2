"""Exit 1 unless robinfo/ is exactly what the notebooks export and every notebook is clean.

Exports a copy of the notebooks into an empty package and compares the two trees, so that a stale module, an edited
module and an orphan (a module whose notebook is gone) are all found. Modules written by hand are named in HAND.
"""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
HAND = ("py.typed", "__init__.py", "theory/__init__.py", "objectives/__init__.py", "attacks/__init__.py", "cli.py", "figures.py", "citations.py", "sealed.py", "*.bib",
        "experiments/*.py", "experiments/*.json")
SETTINGS = ("settings.ini", "setup.py", "pyproject.toml", "README.md")
SKIP = shutil.ignore_patterns(".ipynb_checkpoints", "_*", "generated", "__pycache__")


def written_by_hand(name: str) -> bool:
    """Whether a path inside robinfo/ is one of the files that no notebook exports."""
    path = PurePosixPath(name)
    return any(len(path.parts) == len(PurePosixPath(p).parts) and path.match(p) for p in HAND)


def files(package: Path) -> set[str]:
    """Every file of a package, as relative posix paths, without what Python leaves behind."""
    found = (f.relative_to(package) for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return {f.as_posix() for f in found}


def export(copy: Path) -> None:
    """Export and clean a copy of the notebooks below `copy`."""
    shutil.copytree(ROOT / "nbs", copy / "nbs", ignore=SKIP)
    for name in SETTINGS:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    for name in filter(written_by_hand, files(ROOT / "robinfo")):
        (copy / "robinfo" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "robinfo" / name, copy / "robinfo" / name)
    for command in ("nbdev_export", "nbdev_clean"):
        subprocess.run([command], cwd=copy, check=True)


def package_problems(copy: Path) -> list[str]:
    """Where robinfo/ differs from a fresh export."""
    old, new = ROOT / "robinfo", copy / "robinfo"
    here, there = files(old), files(new)
    lines = [f"robinfo/{f}: no notebook exports it (delete it, or name it in tests/check_sync.py)" for f in sorted(here - there)]
    lines += [f"robinfo/{f}: a notebook exports it, the package lacks it (run make export)" for f in sorted(there - here)]
    for f in sorted(here & there):
        if not written_by_hand(f) and (old / f).read_bytes() != (new / f).read_bytes():
            lines.append(f"robinfo/{f}: differs from its notebook (run make export; edits belong in the notebook)")
    return lines


def version_problems() -> list[str]:
    """nbdev writes the version into __init__.py: it must be that of settings.ini already."""
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    version = next(line.split("=")[1].strip() for line in settings.splitlines() if line.startswith("version"))
    there = (ROOT / "robinfo" / "__init__.py").read_text(encoding="utf-8")
    wanted = f'__version__ = "{version}"'
    return [] if wanted in there else [f"robinfo/__init__.py: lacks {wanted}, the version of settings.ini (run make export)"]


def notebook_problems(copy: Path) -> list[str]:
    """The notebooks that nbdev_clean would change, and modules that two notebooks claim."""
    lines, owner = [], {}
    for notebook in sorted((copy / "nbs").rglob("*.ipynb")):
        name = notebook.relative_to(copy)
        cells = json.loads(notebook.read_text(encoding="utf-8"))
        if cells != json.loads((ROOT / name).read_text(encoding="utf-8")):
            lines.append(f"{name}: not clean (run nbdev_clean)")
        for cell in cells["cells"]:
            first = "".join(cell["source"]).split("\n")[0]
            if cell["cell_type"] == "code" and first.startswith("#| default_exp"):
                module = first.split()[-1]
                if module in owner:
                    lines.append(f"{name}: exports {module}, and so does {owner[module]}; the last one would win")
                owner[module] = name
    return lines


def main() -> int:
    """Report every problem; 1 if there is any."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repo"
        export(copy)
        lines = package_problems(copy) + version_problems() + notebook_problems(copy)
    print("\n".join(lines) or "robinfo/ and the notebooks are in sync")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
