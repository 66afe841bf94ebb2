"""Find the experiment notebooks, check their parameters, run them through papermill and keep what they wrote.

An experiment is a notebook with a cell tagged ``parameters`` (one ``name = literal  # meaning`` a line) and, beside it,
a YAML file of profiles. `run` resolves notebook defaults < profile < given values, refuses what the notebook does not
declare, and writes ``<results>/<name>/<run id>/``. Importing this module imports neither papermill nor torch.
"""
from __future__ import annotations

import ast
import difflib
import hashlib
import io
import json
import operator
import os
import re
import shutil
import site
import sys
import time
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from robinfo.experiments.record import checkout, code_hash, read_metrics, results_root, write_json, write_text

__all__ = [
    "Experiment",
    "Parameter",
    "ParameterTypeError",
    "RunFailed",
    "RunInterrupted",
    "RunPlan",
    "UsageError",
    "experiments",
    "experiments_folder",
    "parameters",
    "parse_value",
    "prepare",
    "run",
    "run_id",
    "run_text",
]

_PACKAGE = Path(__file__).resolve().parents[1]
_RESERVED = frozenset({"name", "profile", "results", "force", "folder", "timeout", "keep_checkpoints"})
_RUN_DIR = "run_dir"
_LOCK = "lock.part"  # git ignores *.part
_PARTIAL, _NOTEBOOK = "notebook.partial.ipynb", "notebook.ipynb"
_LOCK_PATIENCE = 10.0  # seconds that the kernel of a killed run has to notice and end


class UsageError(ValueError):
    """A request that cannot be run: an unknown name, a folder that cannot be written, a run that is under way.

    Examples
    --------
    >>> issubclass(UsageError, ValueError)
    True
    """


class ParameterTypeError(UsageError, TypeError):
    """A parameter's value of the wrong type.

    Examples
    --------
    >>> issubclass(ParameterTypeError, TypeError) and issubclass(ParameterTypeError, ValueError)
    True
    """


class RunFailed(RuntimeError):
    """A notebook that raised, lost its kernel or ran out of time; the message names the cell and the reason.

    Parameters
    ----------
    message : str
        A few lines for a person.
    partial : Path
        The notebook as far as it came.

    Examples
    --------
    >>> RunFailed("toy (smoke) failed in cell [2]: x = 1 / 0", Path("notebook.partial.ipynb")).partial.name
    'notebook.partial.ipynb'
    """

    def __init__(self, message: str, partial: Path) -> None:
        super().__init__(message)
        self.partial = partial


class RunInterrupted(KeyboardInterrupt):
    """A run stopped from the keyboard; the message says how to continue it.

    Examples
    --------
    >>> issubclass(RunInterrupted, KeyboardInterrupt)
    True
    """


# --- finding experiments ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Experiment:
    """One runnable notebook.

    Parameters
    ----------
    name : str
        The notebook's file name without ``.ipynb``.
    title : str
        Its first heading.
    notebook : Path
        The file.
    profiles : dict
        Parameters of each profile, by name.

    Examples
    --------
    >>> Experiment("toy", "A toy", Path("toy.ipynb"), {"smoke": {"epochs": 1}}).profiles["smoke"]
    {'epochs': 1}
    """

    name: str
    title: str
    notebook: Path
    profiles: dict[str, dict[str, Any]]


def experiments_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the experiment notebooks.

    Parameters
    ----------
    folder : path, optional
        The folder itself. Without it ``$ROBINFO_EXPERIMENTS``, else ``nbs/experiments`` of the checkout, else the
        notebooks inside the installed package.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    UsageError
        When it does not exist.

    Examples
    --------
    >>> experiments_folder("nowhere")
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: no folder of experiments at ...
    """
    root = checkout()
    chosen = folder or os.environ.get("ROBINFO_EXPERIMENTS")
    default = root / "nbs" / "experiments" if root else _PACKAGE / "experiments" / "notebooks"
    path = Path(chosen).expanduser().resolve() if chosen else default
    if not path.is_dir():
        raise UsageError(f"no folder of experiments at {path}; install robinfo from its wheel or set ROBINFO_EXPERIMENTS")
    return path


def experiments(folder: str | os.PathLike[str] | None = None) -> tuple[Experiment, ...]:
    """Every experiment, by name.

    Parameters
    ----------
    folder : path, optional
        See `experiments_folder`.

    Returns
    -------
    tuple of Experiment
        Notebooks without a cell tagged ``parameters`` are no experiments.

    Raises
    ------
    UsageError
        For a damaged notebook or a profile file that is not a mapping of mappings (named).

    Examples
    --------
    >>> import tempfile
    >>> experiments(tempfile.mkdtemp())
    ()
    """
    found = (_load(path) for path in sorted(experiments_folder(folder).glob("[!._]*.ipynb")))
    return tuple(experiment for experiment in found if experiment is not None)


def _load(path: Path) -> Experiment | None:
    """The experiment in one notebook, or None where no cell is tagged ``parameters``."""
    cells = _cells(path)
    if not any(_is_parameter_cell(cell) for cell in cells):
        return None
    headings = (line[2:].strip() for cell in cells if cell.get("cell_type") == "markdown"
                for line in _source(cell).splitlines() if line.startswith("# "))
    return Experiment(path.stem, next(headings, path.stem), path, _profiles(path.with_suffix(".yaml")))


def _profiles(path: Path) -> dict[str, dict[str, Any]]:
    """The profiles of one YAML file; a missing file means that ``smoke`` takes the notebook's defaults."""
    if not path.is_file():
        return {"smoke": {}}
    content = parse_value(path.read_text(encoding="utf-8"), where=str(path))
    shaped = isinstance(content, dict) and all(isinstance(v, dict | None) for v in content.values())
    if not shaped:
        raise UsageError(f"{path} must map each profile to a mapping of parameters, such as `smoke: {{epochs: 1}}`")
    return {str(name): dict(values or {}) for name, values in content.items()}


def _find(name: str, folder: str | os.PathLike[str] | None) -> Experiment:
    """The experiment of that name, or a `UsageError` naming the nearest."""
    known = {experiment.name: experiment for experiment in experiments(folder)}
    return known[name] if name in known else _unknown("experiment", name, known)


def _unknown(kind: str, given: str, known: Iterable[str]) -> NoReturn:
    """Refuse a name, with the nearest and the list."""
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise UsageError(f"unknown {kind} {given!r}{hint} known: {', '.join(names) or 'none'}")


def _cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, read without nbformat (whose import takes a second)."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return list(cells)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no notebook ({type(error).__name__}: {error}); restore it from version control") from None


def _source(cell: Mapping[str, Any]) -> str:
    """A cell's text, stored as one string or as a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _is_parameter_cell(cell: Mapping[str, Any]) -> bool:
    """Whether papermill takes this cell for the parameters."""
    return "parameters" in cell.get("metadata", {}).get("tags", [])


# --- the parameter cell -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Parameters
    ----------
    name : str
        As in the notebook.
    type : str
        Its annotation, or what the default is: ``int``, ``float``, ``list[float]``, ``Optional[int]``, …
    default : object
        The notebook's own value.
    help : str
        The comment behind it.

    Examples
    --------
    >>> Parameter("epochs", "int", 3, "passes over the data").default
    3
    """

    name: str
    type: str
    default: Any
    help: str


def parameters(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Parameter]:
    """The parameters a notebook declares, in its order; ``run_dir``, which the launcher sets, is left out.

    The cell is read as Python syntax and never executed. (papermill's own inspection overlooks ``int | None``,
    ``Literal`` and any line with a second ``=``, so that a good name could be refused.)

    Parameters
    ----------
    name : str
        The experiment.
    folder : path, optional
        See `experiments_folder`.

    Returns
    -------
    dict
        `Parameter` by name.

    Raises
    ------
    UsageError
        For an unknown experiment, or a parameter cell that holds more than ``name = literal`` lines.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "epochs = 3  # passes"}
    >>> _ = (folder / "toy.ipynb").write_text(json.dumps({"cells": [cell]}))
    >>> parameters("toy", folder)
    {'epochs': Parameter(name='epochs', type='int', default=3, help='passes')}
    """
    return {key: value for key, value in _declared(_find(name, folder)).items() if key != _RUN_DIR}


def _declared(experiment: Experiment) -> dict[str, Parameter]:
    """Every parameter of the cell tagged ``parameters``, ``run_dir`` included."""
    source = next(_source(cell) for cell in _cells(experiment.notebook) if _is_parameter_cell(cell))
    try:
        found = [_declaration(node, _comments(source)) for node in ast.parse(source).body]
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        raise UsageError(f"{experiment.notebook}: the parameter cell must hold `name = literal  # meaning` lines only "
                         f"({error})") from None
    taken = sorted(_RESERVED & {parameter.name for parameter in found})
    if taken:
        raise UsageError(f"{experiment.notebook}: {', '.join(taken)} cannot be a parameter's name; rename it")
    return {parameter.name: parameter for parameter in found}


def _declaration(node: ast.stmt, comments: Mapping[int, str]) -> Parameter:
    """The parameter that one statement declares."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            written = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            written = None
        case _:
            raise ValueError(f"line {node.lineno} is `{ast.unparse(node)}`")
    literal = _literal(value)
    kind = str(written) if written else _type_of(literal)
    try:
        return Parameter(name, kind, _cast(literal, _parse_type(kind)), comments.get(node.end_lineno or 0, ""))
    except _Mismatch:
        raise ValueError(f"line {node.lineno}: the default {literal!r} is no {kind}") from None


def _comments(source: str) -> dict[int, str]:
    """The comment on each line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub,
}


def _literal(node: ast.expr) -> Any:
    """A literal's value; sums and quotients of numbers such as ``8 / 255`` count as literals."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _literal(node.left), _literal(node.right)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _ARITHMETIC[type(node.op)](left, right)
    return ast.literal_eval(node)


def _type_of(value: Any) -> str:
    """The type that a default stands for."""
    if value is None:
        return "Any"
    if isinstance(value, list | tuple):
        kinds = {_type_of(item) for item in value}
        inner = kinds.pop() if len(kinds) == 1 else "float" if kinds == {"int", "float"} else ""
        return f"list[{inner}]" if inner else "list"
    return type(value).__name__


# --- types ------------------------------------------------------------------------------------------------------------
class _Mismatch(ValueError):
    """A value that is not of the type asked for."""


def _parse_type(text: str) -> ast.expr:
    """A type's syntax tree; the type is read, never evaluated."""
    return ast.parse(text, mode="eval").body


def _cast(value: Any, kind: ast.expr) -> Any:
    """The value as that type (an int counts as a float, a tuple as a list), or `_Mismatch`."""
    match kind:
        case ast.Constant(value=None):
            return _require(value is None, value)
        case ast.Constant(value=str() as text):
            return _cast(value, _parse_type(text))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _cast_name(value, name)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _cast_first(value, [left, right])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _cast_generic(value, name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
    raise ValueError(f"type `{ast.unparse(kind)}` is not understood")


def _cast_name(value: Any, name: str) -> Any:
    """The value as a type without arguments."""
    if name == "Any" or name == "object":
        return value
    if name == "float":
        _require(isinstance(value, int | float) and not isinstance(value, bool), value)
        return float(value)
    if name in ("list", "List", "Sequence", "tuple"):
        _require(isinstance(value, list | tuple), value)
        return list(value)
    simple = {"int": int, "str": str, "bool": bool, "dict": dict, "Dict": dict, "None": type(None), "NoneType": type(None)}
    if name not in simple:
        raise ValueError(f"type `{name}` is not understood")
    return _require(isinstance(value, simple[name]) and (name == "bool" or not isinstance(value, bool)), value)


def _cast_generic(value: Any, name: str, inner: list[ast.expr]) -> Any:
    """The value as a type with arguments."""
    if name == "Optional":
        return None if value is None else _cast(value, inner[0])
    if name == "Union":
        return _cast_first(value, inner)
    if name == "Literal":
        choices = [_literal(choice) for choice in inner]
        return _require(any(value == choice and type(value) is type(choice) for choice in choices), value)
    if name in ("dict", "Dict", "Mapping"):
        return {_cast(k, inner[0]): _cast(v, inner[1]) for k, v in _cast_name(value, "dict").items()}
    return [_cast(item, inner[0]) for item in _cast_name(value, name)]


def _cast_first(value: Any, kinds: Iterable[ast.expr]) -> Any:
    """The value as the first type that takes it."""
    for kind in kinds:
        try:
            return _cast(value, kind)
        except _Mismatch:
            continue
    raise _Mismatch(value)


def _require(holds: bool, value: Any) -> Any:
    """The value, or `_Mismatch`."""
    if not holds:
        raise _Mismatch(value)
    return value


def _checked(experiment: str, declared: Mapping[str, Parameter], given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The given values in their declared types; an unknown name or a wrong type is refused."""
    return {name: _check_one(experiment, declared, name, value, origin) for name, value in given.items()}


def _check_one(experiment: str, declared: Mapping[str, Parameter], name: str, value: Any, origin: str) -> Any:
    """One given value in its declared type."""
    if name == _RUN_DIR:
        raise UsageError(f"{_RUN_DIR} is set by the launcher; choose where results go with --results DIR")
    if name not in declared:
        _unknown(f"parameter of {experiment}{origin}", name, set(declared) - {_RUN_DIR})
    kind = declared[name].type
    try:
        return _cast(value, _parse_type(kind))
    except _Mismatch:
        cure = "; quote it twice to pass text: '\"…\"'" if kind == "str" else ""
        raise ParameterTypeError(f"{name} of {experiment} must be {kind}, got {type(value).__name__} "
                                 f"{value!r}{origin}{cure}") from None


def parse_value(text: str, *, where: str = "the command line") -> Any:
    """The value that a text from a command line or a profile stands for: YAML, read safely, never evaluated.

    Two additions to YAML 1.1, both for numbers: ``1e-3`` is a float without needing a dot, and ``8/255`` a quotient.

    Parameters
    ----------
    text : str
        For example ``3``, ``1e-3``, ``8/255``, ``true``, ``null``, ``[1, 2]``, ``mnist``.
    where : str
        Where it came from, for the message.

    Returns
    -------
    object
        Number, text, bool, None, list or dict.

    Raises
    ------
    UsageError
        When it is not YAML.

    Examples
    --------
    >>> [parse_value(text) for text in ("3", "1e-3", "8/255", "true", "null", "[1, 2.5]", "mnist")]
    [3, 0.001, 0.03137254901960784, True, None, [1, 2.5], 'mnist']
    """
    import yaml

    try:
        return yaml.load(text, Loader=_yaml_loader())
    except (yaml.YAMLError, ZeroDivisionError) as error:
        raise UsageError(f"{where}: {' '.join(str(error).split())[:200]}") from None


def _yaml_loader() -> Any:
    """PyYAML's safe loader, with floats written ``1e-3`` and quotients written ``8/255``."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe YAML with two more ways to write a number."""

    def quotient(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
        """A quotient such as ``8/255``."""
        above, below = node.value.split("/")
        return float(above) / float(below)

    number = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^[-+]?(?:{number})[eE][-+]?[0-9]+$"),
                                 list("-+.0123456789"))
    Loader.add_implicit_resolver("!quotient", re.compile(rf"^[-+]?(?:{number})\s?/\s?(?:{number})$"),
                                 list("-+.0123456789"))
    Loader.add_constructor("!quotient", quotient)
    return Loader


# --- one run ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RunPlan:
    """A checked request: what to run, with which values, where.

    Attributes
    ----------
    experiment : Experiment
        The notebook.
    profile : str
        Named settings.
    values, changed : dict
        Every parameter; those that the profile or the caller set.
    takes_run_dir : bool
        Whether the notebook declares ``run_dir``.
    run_dir : Path
        The run's folder.
    """

    experiment: Experiment
    profile: str
    values: dict[str, Any]
    changed: dict[str, Any]
    takes_run_dir: bool
    run_dir: Path

    @property
    def partial(self) -> Path:
        """The notebook while it runs."""
        return self.run_dir / _PARTIAL

    @property
    def finished(self) -> bool:
        """Whether this very run is on disk, complete; one whose numbers are damaged is not, and says so."""
        complete = (self.run_dir / _NOTEBOOK).is_file() and (self.run_dir / "metrics.json").is_file()
        if not complete or self.partial.exists():
            return False
        try:
            read_metrics(self.run_dir)
        except ValueError as error:
            _say(f"not finished, since its numbers cannot be used: {error}")
            return False
        return True


def run_id(name: str, profile: str, values: Mapping[str, Any]) -> str:
    """The run's folder name: profile, data set and seed for the reader, then a hash over all parameters.

    Parameters
    ----------
    name, profile : str
        Experiment and profile.
    values : mapping
        Every parameter, resolved.

    Returns
    -------
    str
        The same for the same parameters, whatever mix of defaults, profile and options they came from.

    Examples
    --------
    >>> run_id("quickstart", "smoke", {"dataset": "digits", "seed": 0})
    'smoke-digits-seed0-3ff55237'
    """
    digest = hashlib.sha256(json.dumps([name, values], sort_keys=True, default=str).encode()).hexdigest()[:8]
    data = [str(values["dataset"])] if isinstance(values.get("dataset"), str) else []
    seed = [f"seed{values['seed']}"] if isinstance(values.get("seed"), int) else []
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", part) for part in (profile, *data, *seed, digest))


def run(name: str, profile: str = "smoke", *, results: str | os.PathLike[str] | None = None, force: bool = False,
        folder: str | os.PathLike[str] | None = None, timeout: float | None = None, keep_checkpoints: bool = False,
        **parameters: Any) -> Path:
    """Run one experiment, or find the finished run with the same parameters.

    Parameters
    ----------
    name : str
        The experiment, one of `experiments`.
    profile : str
        Named settings: ``smoke`` (seconds), ``cpu`` (minutes), ``paper`` (the paper's own).
    results : path, optional
        Results folder; by default ``$ROBINFO_RESULTS``, else ``results/`` of the checkout, else ``./results``.
    force : bool
        Repeat a finished run, from the start; the old numbers stay until the new ones are there.
    folder : path, optional
        Folder of notebooks; see `experiments_folder`.
    timeout : float, optional
        Seconds that one cell may take.
    keep_checkpoints : bool
        Keep the training checkpoints of a finished run.
    **parameters : object
        Values over those of the profile and the notebook, checked against the notebook's parameter cell.

    Returns
    -------
    Path
        The run's folder: executed ``notebook.ipynb``, ``metrics.json``, ``parameters.json`` and figures.

    Raises
    ------
    UsageError
        For an unknown experiment, profile or parameter, a folder that cannot be written, a run under way elsewhere.
    ParameterTypeError
        For a value of the wrong type.
    RunFailed
        When a cell raises, the kernel dies or a cell runs out of time; ``notebook.partial.ipynb`` is left.
    RunInterrupted
        On a keyboard interrupt; the same call continues from the last checkpoint.

    Examples
    --------
    >>> import tempfile
    >>> run("quickstart", folder=tempfile.mkdtemp())
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: unknown experiment 'quickstart'; known: none
    """
    plan = prepare(name, profile, parameters, results=results, folder=folder)
    _make_folder(plan.run_dir)
    with _lock(plan) as descriptor:
        if plan.finished and not force:
            _say(f"found {_label(plan)}: {plan.run_dir}{_other_code(plan)} (--force repeats it)")
            return plan.run_dir
        _prepare(plan, force)
        _execute(plan, descriptor, timeout)
        _finish(plan, keep_checkpoints)
    _say(f"finished {_label(plan)}: {plan.run_dir}")
    return plan.run_dir


def run_text(name: str, profile: str, assignments: Iterable[str], **options: Any) -> Path:
    """`run` with parameters written ``KEY=VALUE``, as on the command line.

    Parameters
    ----------
    name, profile : str
        As for `run`.
    assignments : iterable of str
        Each ``KEY=VALUE``; the value is read by `parse_value`. A later one wins.
    **options : object
        The keyword options of `run`.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    UsageError
        For a text without ``=`` and for whatever `run` refuses.

    Examples
    --------
    >>> run_text("quickstart", "smoke", ["epochs"])
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: a parameter is given as KEY=VALUE, got 'epochs'
    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip().isidentifier():
            raise UsageError(f"a parameter is given as KEY=VALUE, got {assignment!r}")
        given[key.strip()] = parse_value(text, where=f"-p {assignment}")
    declared = _declared(_find(name, options.get("folder")))
    return run(name, profile, **options, **_checked(name, declared, given, ""))


def prepare(name: str, profile: str = "smoke", given: Mapping[str, Any] | None = None, *,
            results: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None) -> RunPlan:
    """Check a request and settle every parameter (notebook < profile < given) without running anything.

    Parameters
    ----------
    name, profile : str
        As for `run`.
    given : mapping, optional
        Parameters over those of the profile.
    results, folder : path, optional
        As for `run`.

    Returns
    -------
    RunPlan
        Where the run would be, and whether it is there.

    Raises
    ------
    UsageError, ParameterTypeError
        As for `run`.

    Examples
    --------
    >>> prepare("quickstart", given={"epochs": 1})
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: unknown parameter of quickstart 'epochs'; did you mean ...
    """
    root, given = results_root(results), given or {}
    experiment = _find(name, folder)
    if profile not in experiment.profiles:
        _unknown(f"profile of {name}", profile, experiment.profiles)
    declared = _declared(experiment)
    preset = _checked(name, declared, experiment.profiles[profile], f" (profile {profile})")
    changed = preset | _checked(name, declared, given, "")
    values = {key: parameter.default for key, parameter in declared.items() if key != _RUN_DIR} | changed
    return RunPlan(experiment, profile, values, changed, _RUN_DIR in declared, root / name / run_id(name, profile, values))


def _label(plan: RunPlan) -> str:
    """How messages call this run."""
    return f"{plan.experiment.name} ({plan.profile})"


def _say(text: str) -> None:
    """One line about the run itself, kept apart from what the notebook prints."""
    print(f"robinfo: {text}", file=sys.stderr, flush=True)


def _make_folder(run_dir: Path) -> None:
    """Make the run's folder and check that files can be made in it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        probe = run_dir / f"probe.{os.getpid()}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write results to {run_dir} ({error.strerror}); choose another folder: --results DIR or "
                         "ROBINFO_RESULTS") from None


def _prepare(plan: RunPlan, force: bool) -> None:
    """Note what is about to run; a forced run starts without the old checkpoints."""
    if force:
        shutil.rmtree(plan.run_dir / "checkpoints", ignore_errors=True)
    elif plan.partial.exists():
        _say(f"continuing {_label(plan)}{_other_code(plan)}: {plan.run_dir}")
    write_json(plan.run_dir / "parameters.json", _identity(plan))


def _identity(plan: RunPlan) -> dict[str, Any]:
    """What ``parameters.json`` records: the request, and hashes of the code that serves it."""
    code = [_source(cell) for cell in _cells(plan.experiment.notebook) if cell.get("cell_type") == "code"]
    notebook = hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]
    return {"experiment": plan.experiment.name, "profile": plan.profile, "parameters": plan.values,
            "code": code_hash(), "notebook": notebook}


def _other_code(plan: RunPlan) -> str:
    """A remark where the run on disk was made by other code than today's."""
    try:
        stored = json.loads((plan.run_dir / "parameters.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    now = _identity(plan)
    changed = [what for key, what in (("code", "package"), ("notebook", "notebook")) if stored.get(key) != now[key]]
    return f", made with another version of the {' and the '.join(changed)}" if changed else ""


# --- the lock ---------------------------------------------------------------------------------------------------------
@contextmanager
def _lock(plan: RunPlan) -> Iterator[int]:
    """Hold the run's folder against other processes; yields the lock's descriptor.

    The operating system frees the lock when its last holder ends, so that nothing stale remains. The kernel inherits
    the descriptor: after a launcher was killed its kernel still holds the lock for the moment it lives on.
    """
    path = plan.run_dir / _LOCK
    descriptor = _take(path, plan)
    try:
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path, plan: RunPlan) -> int:
    """Open and lock the file, waiting a little where its owner is dead but the kernel is not yet."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while (descriptor := _try_lock(path)) is None:
        owner = _owner(path)
        if time.monotonic() > deadline or _alive(owner):
            raise UsageError(f"{_label(plan)} is being run by process {owner or 'unknown'} in {plan.run_dir}; wait for it, "
                             "or end it and run again to continue")
        time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _try_lock(path: Path) -> int | None:
    """A locked descriptor of the file, or None where another process holds it."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:  # not one that its owner has just removed
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _owner(path: Path) -> int | None:
    """The process number in the lock file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _alive(process: int | None) -> bool:
    """Whether a process of that number exists."""
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process is not None


# --- papermill --------------------------------------------------------------------------------------------------------
def _execute(plan: RunPlan, descriptor: int, timeout: float | None) -> None:
    """Execute the notebook into ``notebook.partial.ipynb``, its output live on this terminal."""
    import logging

    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # parameters are already checked, better than there
    before = _stamp(plan.run_dir / "metrics.json")
    try:
        papermill.execute_notebook(**_papermill_options(plan), kernel_manager_class=_kernel_manager(plan, descriptor),
                                   execution_timeout=timeout, stdout_file=sys.stdout, stderr_file=sys.stderr)
    except KeyboardInterrupt:
        raise RunInterrupted(f"interrupted {_label(plan)}; the same command continues it from its last checkpoint\n"
                             f"partial notebook: {plan.partial}") from None
    except papermill.PapermillExecutionError as error:
        _fail(plan, error.exec_count, error.source, f"{error.ename}: {error.evalue}")
    except CellTimeoutError:
        _fail(plan, *_last_cell(plan), f"TimeoutError: the cell took longer than {timeout} s")
    except DeadKernelError as error:
        _fail(plan, *_last_cell(plan), f"DeadKernelError: {error}; its process ended, often for lack of memory")
    except RuntimeError as error:  # a kernel that never answered
        _fail(plan, *_last_cell(plan), f"{type(error).__name__}: {error}")
    if _stamp(plan.run_dir / "metrics.json") == before:
        raise RunFailed(f"{_label(plan)} ran to its end but wrote no metrics.json; its notebook must call write_metrics\n"
                        f"partial notebook: {plan.partial}", plan.partial)


def _papermill_options(plan: RunPlan) -> dict[str, Any]:
    """Arguments of ``papermill.execute_notebook`` that follow from the plan; papermill formats paths, so braces double."""
    extra = {_RUN_DIR: str(plan.run_dir)} if plan.takes_run_dir else {}
    source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (plan.experiment.notebook, plan.partial))
    return {
        "input_path": source, "output_path": target, "parameters": plan.changed | extra, "cwd": str(plan.run_dir),
        "kernel_name": "python3", "language": "python", "progress_bar": False, "autosave_cell_every": 30,
        "coalesce_streams": True, "store_widget_state": False,
    }


def _kernel_manager(plan: RunPlan, descriptor: int) -> type:
    """A kernel manager that starts this very interpreter, whatever kernels are registered on this machine."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
    spec = KernelSpec(argv=command, name="python3", display_name="Python 3 (robinfo)", language="python",
                      env=_kernel_environment(plan))

    class OwnInterpreter(AsyncKernelManager):
        """Starts `sys.executable`, with this package importable and the run's lock inherited."""

        @property
        def kernel_spec(self) -> KernelSpec:
            """The one kernel there is."""
            return spec

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            """Start the kernel."""
            await super().start_kernel(**options, pass_fds=(descriptor,))

    return OwnInterpreter


def _kernel_environment(plan: RunPlan) -> dict[str, str]:
    """Environment additions: what `write_metrics` needs to know, the results folder, and where this package is, unless in site-packages."""
    run_dir = plan.run_dir.resolve()
    request = {"ROBINFO_RUN_DIR": str(run_dir), "ROBINFO_RESULTS": str(run_dir.parents[1]), "ROBINFO_STARTED": str(time.time())}
    parent = str(_PACKAGE.parent)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    known = {*paths, *site.getsitepackages(), site.getusersitepackages()}
    return request if parent in known else request | {"PYTHONPATH": os.pathsep.join([parent, *paths])}


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _last_cell(plan: RunPlan) -> tuple[int | None, str]:
    """Number and text of the cell that was running when the kernel was lost (papermill marks later ones as done, but
    they never started)."""
    if not plan.partial.exists():
        return None, ""
    code = [cell for cell in _cells(plan.partial) if cell.get("cell_type") == "code"]
    begun = [index for index, cell in enumerate(code, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
    return (begun[-1], _source(code[begun[-1] - 1])) if begun else (None, "")


def _fail(plan: RunPlan, number: int | None, source: str, reason: str) -> NoReturn:
    """Raise `RunFailed` in a few lines: which cell, why, where the partial notebook is."""
    lines = (line.strip() for line in source.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    place = f"in cell [{number}]: {first}" if number else "before its first cell"
    short = "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", reason).strip().splitlines()[:3])[:600]
    raise RunFailed(f"{_label(plan)} failed {place}\n{short}\npartial notebook: {plan.partial}", plan.partial)


# --- after success ----------------------------------------------------------------------------------------------------
def _finish(plan: RunPlan, keep_checkpoints: bool) -> None:
    """Store the executed notebook without this machine's paths and remove what only a continuation needs."""
    notebook = json.loads(plan.partial.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for noise in ("papermill", "execution"):
            cell["metadata"].pop(noise, None)
    clean = _map_text(notebook, _scrubber(plan.run_dir))
    clean["metadata"].get("papermill", {}).update(input_path=plan.experiment.notebook.name, output_path=_NOTEBOOK)
    write_text(plan.run_dir / _NOTEBOOK, json.dumps(clean, indent=1, ensure_ascii=False) + "\n")
    plan.partial.unlink()
    if not keep_checkpoints:
        shutil.rmtree(plan.run_dir / "checkpoints", ignore_errors=True)


def _scrubber(run_dir: Path) -> Callable[[str], str]:
    """A function that takes this machine's folders out of a text, the longest first."""
    root, home = checkout(), Path.home()
    names = {str(run_dir): ".", str(run_dir.parents[1]): "<results>", str(_PACKAGE): "<robinfo>", sys.prefix: "<python>",
             sys.base_prefix: "<python>"}
    names |= {str(root): "<checkout>"} if root else {}
    names |= {str(home): "~"} if home != Path("/") else {}
    order = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
    folders = re.compile("(" + "|".join(map(re.escape, order)) + r")(?![\w-])")
    cells = re.compile(r"/\S*?/ipykernel_\d+/\d+\.py")
    return lambda text: cells.sub("<cell>", folders.sub(lambda found: names[found[1]], text))


def _map_text(content: Any, change: Callable[[str], str]) -> Any:
    """The same structure with every text changed, images left alone."""
    if isinstance(content, str):
        return change(content)
    if isinstance(content, list):
        return [_map_text(item, change) for item in content]
    if isinstance(content, dict):
        return {key: value if key in ("image/png", "image/jpeg") else _map_text(value, change)
                for key, value in content.items()}
    return content
