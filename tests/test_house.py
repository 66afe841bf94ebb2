"""The house rules: what importing costs, what each file may hold, who may import whom, what every function must say."""
from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
       "constraints.txt", "docs", "nbs", "pyproject.toml", "results", "robinfo", "settings.ini", "setup.py", "tests"}
FLOORS = (("theory", "figures", "citations", "sealed"), ("checks", "threats"),
          ("attacks", "models", "latent", "label_hypothesis", "vib", "estimators", "dependence", "data", "parallel"), ("objectives", "training"),
          ("audit", "vulnerability", "kernel_information", "saliency", "evaluation"), ("experiments", "cli"))
GENERATED = ("scoreboard.md", "claims.md", "reliability.md", "costs.md")  # pages that the build of the site writes
HARD_LIMIT, NOTEBOOK_LIMIT = 50, 150_000
MACHINE = re.compile(r"(?<![\w.<>])/(?:work|tmp|root|home|Users)/[A-Za-z0-9_.]")
BANNED = {"eval", "exec", "pickle", "cPickle", "dill", "joblib", "cloudpickle"}


@cache
def tracked() -> tuple[str, ...]:
    """Every file that git knows; without git (an unpacked archive) there is nothing to check."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return tuple(name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


def listing(lines: Iterable[object]) -> str:
    """One line each, for the message of a failed assertion."""
    return "\n" + "\n".join(map(str, lines))


def sources() -> list[Path]:
    """The modules of the package, save nbdev's generated index."""
    return sorted(p for p in (ROOT / "robinfo").rglob("*.py") if p.name != "_modidx.py")


def module_name(path: Path) -> str:
    """`robinfo.theory.fano` for its file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


# --- importing --------------------------------------------------------------------------------------------------------
def test_import_is_quick() -> None:
    """`import robinfo` takes less than half a second; the best of three, since the machine may be busy."""
    code = "import time; start = time.perf_counter(); import robinfo; print(time.perf_counter() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.5


@pytest.mark.parametrize("names", ["robinfo", "robinfo.theory", "robinfo.threats", "robinfo.cli"])
def test_import_loads_no_torch(names: str) -> None:
    """Neither the package, nor the theory, nor the command loads torch before something needs it."""
    modules = [names]
    if names == "robinfo.theory":
        modules += [module_name(p) for p in sources() if "theory" in p.parts and p.name != "__init__.py"]
    code = f"import sys, {', '.join(modules)}; print([m for m in ('torch', 'ot', 'torchvision') if m in sys.modules])"
    assert python(code) == "[]"


def test_import_is_silent_and_leaves_the_random_state_alone() -> None:
    """Importing every module prints nothing and does not seed NumPy's global generator."""
    names = [module_name(p) for p in sources()]
    code = (f"import numpy as np; np.random.seed(7); before = np.random.get_state()[1].tolist(); import {', '.join(names)}; "
            "assert np.random.get_state()[1].tolist() == before")
    assert python(code) == ""


# --- files ------------------------------------------------------------------------------------------------------------
def test_top_level_holds_what_is_planned() -> None:
    """Nothing else at the top of the repository."""
    assert not (found := {name.split("/")[0] for name in tracked()} - TOP), listing(found)


def test_no_machine_path_in_any_file() -> None:
    """No file names a folder of the machine it was written on."""
    found = []
    for name in tracked():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {m[0]}…" for line in text.splitlines() if not line.startswith("#!") for m in MACHINE.finditer(line)]
    assert not found, listing(found)


def test_notebooks_are_small_and_hold_no_error() -> None:
    """Each notebook is below 150 KB, ran through, and keeps no widget state."""
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if {"_runs", ".ipynb_checkpoints"} & set(path.parts) or path.name.endswith(".partial.ipynb"):
            continue
        assert path.stat().st_size < NOTEBOOK_LIMIT, f"{path.name}: {path.stat().st_size} bytes"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert "widgets" not in notebook["metadata"], path.name
        outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
        assert not [o for o in outputs if o["output_type"] == "error"], path.name


def test_requirements_are_pinned() -> None:
    """Every requirement of settings.ini has an exact version in constraints.txt, which satisfies it."""
    requirements = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line) for line in lines)
    pins = {utils.canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    wanted = [requirements.Requirement(r) for k, v in config["DEFAULT"].items() if k.endswith("requirements") for r in v.split()]
    for requirement in wanted:
        pin = pins.get(utils.canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} does not allow {pin}"


# --- who imports whom -------------------------------------------------------------------------------------------------
def rank(module: str) -> int | None:
    """The floor of a module; None for the package itself."""
    room = (module.split(".") + [""])[1]
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module of the package that a file imports, with the line; relative imports resolved."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            names = [f"{source}.{alias.name}" for alias in node.names] if source == "robinfo" else [source]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "robinfo")


def test_every_module_has_a_floor() -> None:
    """A new room is given its floor in FLOORS."""
    found = [module_name(p) for p in sources() if p != ROOT / "robinfo" / "__init__.py" and rank(module_name(p)) is None]
    assert not found, listing(found)


def test_imports_only_point_down() -> None:
    """A floor imports from itself and from those below it, also inside functions."""
    wrong = []
    for path in sources():
        own = rank(module_name(path))
        for line, name in imported(path):
            other = rank(name)
            if own is not None and other is not None and other > own:
                wrong.append(f"{module_name(path)}:{line} imports {name}")
    assert not wrong, listing(wrong)


# --- what code may do -------------------------------------------------------------------------------------------------
def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name that it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_nothing_is_unpickled_and_no_text_is_evaluated() -> None:
    """No pickle, no eval; torch.load only with weights_only=True; no star imports."""
    wrong = []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node, name in calls(tree):
            weights = [k.value.value for k in node.keywords if k.arg == "weights_only" and isinstance(k.value, ast.Constant)]
            if name.split(".")[0] in BANNED or (name == "torch.load" and weights != [True]):
                wrong.append(f"{path.name}:{node.lineno} {name}")
            if name.endswith("np.load") and any(k.arg == "allow_pickle" for k in node.keywords):
                wrong.append(f"{path.name}:{node.lineno} {name}")
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name.split(".")[0] for alias in node.names} | {(getattr(node, "module", "") or "").split(".")[0]}
                if names & (BANNED | {"*"}):
                    wrong.append(f"{path.name}:{node.lineno} imports {sorted(names & (BANNED | {'*'}))}")
    assert not wrong, listing(wrong)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method of the package with its full name."""
    for path in sources():
        def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
            for child in ast.iter_child_nodes(node):
                name = f"{prefix}.{getattr(child, 'name', '')}"
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield name, child
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    yield from walk(child, name)
                elif isinstance(child, (ast.If, ast.Try, ast.With)):
                    yield from walk(child, prefix)
        yield from walk(ast.parse(path.read_text(encoding="utf-8")), module_name(path))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines with code in the body: no docstring, comment or blank line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return len({line for statement in body for node in ast.walk(statement) if hasattr(node, "lineno")
                for line in (node.lineno, node.end_lineno)})


def test_functions_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    """No function has more than fifty lines of code; half have at most ten, nine in ten at most twenty-five."""
    lengths = sorted((code_lines(f), name) for name, f in functions())
    values = [n for n, _ in lengths]
    median, p90 = statistics.median(values), statistics.quantiles(values, n=10)[-1]
    with capsys.disabled():
        print(f"\nfunction length: median {median:g}, p90 {p90:g}, longest {lengths[-1][0]} ({lengths[-1][1]}), n = {len(values)}")
    assert not (found := [f"{name}: {n}" for n, name in lengths if n > HARD_LIMIT]), listing(found)
    assert median <= 10
    assert p90 <= 25


def test_functions_are_annotated() -> None:
    """Every parameter and every result has a type, private functions included."""
    wrong = []
    for name, function in functions():
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))]
        missing = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
        if missing or function.returns is None:
            wrong.append(f"{name}: {', '.join(missing) or 'result'}")
    assert not wrong, listing(wrong)


# --- what a docstring must say ----------------------------------------------------------------------------------------
def public_objects() -> Iterator[tuple[str, object]]:
    """Every public function and class where it is defined, and the public methods of those classes."""
    for path in sources():
        name = module_name(path)
        module = import_module(name)
        for key in getattr(module, "__all__", [k for k in vars(module) if not k.startswith("_")]):
            value = getattr(module, key)
            if getattr(value, "__module__", None) != name or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            yield f"{name}.{key}", value
            if inspect.isclass(value):
                yield from ((f"{name}.{key}.{k}", m) for k, m in vars(value).items() if inspect.isfunction(m) and k[0] != "_")


def docstring_problems(name: str, value: object) -> list[str]:
    """What the docstring of a public object lacks, numpydoc sections by their underlines."""
    text = inspect.getdoc(value) or ""
    if refers := re.match(r"As `(\w+)\.(\w+)`", text):  # an override: the method that it overrides says the rest
        owner = getattr(import_module(name.rsplit(".", 2)[0]), refers[1])
        text += "\n" + (inspect.getdoc(getattr(owner, refers[2])) or "")
    if not text.strip():
        return [f"{name}: no docstring"]
    sections = set(re.findall(r"^(\w[\w ]*)\n-{3,}$", text, re.MULTILINE))
    problems = [] if text.splitlines()[0].rstrip().endswith((".", "?", ":")) else [f"{name}: line 1 is no sentence"]
    if inspect.isclass(value) or name.endswith(".forward"):  # what a torch module is called with, its class says
        return problems
    signature = inspect.signature(value)  # type: ignore[arg-type]
    given = [p for p in signature.parameters if p not in ("self", "cls")]
    if given and "Parameters" not in sections:
        problems.append(f"{name}: no section Parameters")
    unnamed = [p for p in given if not re.search(rf"\b{re.escape(p)}\b", text)]
    problems += [f"{name}: parameter {p} is not described" for p in unnamed]
    says_nothing = signature.return_annotation in (None, "None", "NoReturn", inspect.Signature.empty)
    is_attribute = not given and "self" in signature.parameters  # line 1 says what it returns
    if not (says_nothing or is_attribute or sections & {"Returns", "Yields"}):
        problems.append(f"{name}: no section Returns")
    return problems


def test_public_docstrings_are_complete() -> None:
    """Every public function says in numpydoc what it takes and what it returns."""
    problems = [p for name, value in public_objects() for p in docstring_problems(name, value)]
    assert not problems, listing(problems)


def test_every_module_says_what_it_is() -> None:
    """Modules written by hand have a docstring; an exported module has its notebook."""
    for path in sources():
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        exported = re.match(r"# AUTOGENERATED! DO NOT EDIT! File to edit: (?:\.\./)+(nbs/\S+\.ipynb)\.", first)
        if exported:
            assert (ROOT / exported[1]).exists(), path
        else:
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_index_of_the_api_lists_every_module() -> None:
    """A new module is named on the page nbs/api/index.md."""
    import robinfo

    page = (ROOT / "nbs" / "api" / "index.md").read_text(encoding="utf-8")
    names = [m.name for m in pkgutil.walk_packages(robinfo.__path__, "robinfo.") if not m.name.rsplit(".", 1)[-1].startswith("_")]
    found = [n for n in names if n != "robinfo.theory" and not re.search(rf"^   {re.escape(n)}$", page, re.MULTILINE)]
    assert not found, listing(found)


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links of the Markdown files at the top and of every notebook point to a file that is there."""
    wrong, start = [], time.perf_counter()
    for path in [*ROOT.glob("*.md"), *(ROOT / "nbs").rglob("*.md"), *(ROOT / "nbs").rglob("*.ipynb")]:
        if {"_runs", "generated", ".ipynb_checkpoints"} & set(path.parts):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
        for target in re.findall(r"(?<!!)\[[^\]\n]*\]\((?!https?:|#|mailto:)([^)\s#]+)", text):
            if not (path.parent / target).exists() and "_runs" not in target and Path(target).name not in GENERATED:
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert not wrong, listing(wrong)
    assert time.perf_counter() - start < 60
