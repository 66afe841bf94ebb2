"""Many runs at once: a grid of parameters, spread over the workers of a Dask cluster.

`read_grid` turns a YAML file into runs, `plan_sweep` says which of them are finished and what the others will cost, `sweep` runs
what is missing: on this machine, on a running Dask cluster, or as jobs of SLURM. Each run is a process of its own, ``robinfo run``,
so a run that fails or is killed harms no other, and the same command later does only what is missing. Importing this module
imports neither Dask nor torch.
"""
from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robinfo.experiments.launcher import UsageError, parameters, parse_value, prepare
from robinfo.experiments.record import read_metrics, results_root

__all__ = ["Outcome", "Sweep", "SweepRun", "plan_sweep", "read_grid", "run_one", "sweep", "worker_count"]

_BLOCK = ("experiment", "profile", "set", "grid", "list", "zip", "seeds", "resources")
_CLUSTER = ("kind", "workers", "threads", "resources", "cores", "memory", "walltime", "queue", "account", "directives", "prologue")
_LOG = "sweep.log"
_QUIET = 50  # logging level: critical messages only
_REMINDER = 60.0  # seconds between two signs of life
_PATIENCE = 20.0  # seconds that a scheduler has to answer


# --- what is to be run --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes
    ----------
    name, profile : str
        Experiment and profile.
    parameters : dict
        Values over those of the profile.
    run_dir : Path
        Its folder, as for `robinfo.experiments.run`.
    finished : bool
        Whether the folder holds this very run, complete, when the sweep was planned.
    resources : dict
        What a worker must have, such as ``{"GPU": 1}``.
    """

    name: str
    profile: str
    parameters: dict[str, Any]
    run_dir: Path
    finished: bool
    resources: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Experiment, profile and what distinguishes the run."""
        given = ", ".join(f"{key}={json.dumps(value)}" for key, value in self.parameters.items())
        return f"{self.name} ({self.profile}{', ' if given else ''}{given})"


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, what is finished, and what the rest will cost.

    Attributes
    ----------
    runs : tuple of SweepRun
        Each different; equal points of the grid are one run.
    seconds : dict of str to float or None
        Median time of recorded runs by "experiment profile"; None where none is recorded.

    Examples
    --------
    >>> import tempfile
    >>> grid = {"experiment": "quickstart", "grid": {"epsilon": [0.05, 0.1]}, "seeds": 3}
    >>> plan = plan_sweep(grid, results=tempfile.mkdtemp())
    >>> len(plan.runs), len(plan.missing)
    (6, 6)
    """

    runs: tuple[SweepRun, ...]
    seconds: Mapping[str, float | None]

    @property
    def missing(self) -> tuple[SweepRun, ...]:
        """The runs that are not finished."""
        return tuple(run for run in self.runs if not run.finished)

    def cost(self, workers: int = 1) -> tuple[float, int]:
        """Time that the missing runs will take, from the recorded ones.

        Parameters
        ----------
        workers : int
            Runs at the same time.

        Returns
        -------
        (float, int)
            Seconds, and the number of missing runs that are not in it because none like them is recorded.
        """
        known = [self.seconds[_kind(run)] for run in self.missing]
        return sum(s for s in known if s is not None) / max(workers, 1), sum(s is None for s in known)

    def text(self, workers: int = 1) -> str:
        """The plan in words: every run, whether it is finished, and the cost of what is missing.

        Parameters
        ----------
        workers : int
            Runs at the same time.

        Returns
        -------
        str
            One line for each run, and a summary.
        """
        lines = [f"{'finished' if run.finished else 'missing '}  {run.label}" for run in self.runs]
        seconds, unknown = self.cost(workers)
        cost = f"about {_time(seconds)} on {workers} worker{'s' if workers != 1 else ''}, from recorded runs" if seconds else ""
        unknown_text = f"{unknown} of unknown cost (none like them is recorded)" if unknown else ""
        rest = "; ".join(filter(None, (cost, unknown_text)))
        lines.append(f"{len(self.runs)} runs, {len(self.runs) - len(self.missing)} finished, {len(self.missing)} missing"
                     f"{': ' if rest else ''}{rest}")
        return "\n".join(lines)


def read_grid(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a grid file; YAML, read safely.

    Parameters
    ----------
    path : path
        The file. ``experiment`` and, optionally, ``profile``; ``set`` holds values for all runs; the runs are all
        combinations of ``grid`` (every value with every other), ``list`` (points written out), ``zip`` (lists of equal
        length, taken together) and ``seeds`` (a number, or a list). ``sweeps`` holds several such blocks;
        ``cluster`` says where to run, see `sweep`.

    Returns
    -------
    dict
        For `plan_sweep` and `sweep`.

    Raises
    ------
    UsageError
        A file that cannot be read or is not a mapping.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "grid.yaml"
    >>> _ = file.write_text("experiment: quickstart\\ngrid: {epsilon: [0.1, 8/255]}\\n")
    >>> read_grid(file)["grid"]["epsilon"]
    [0.1, 0.03137254901960784]
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the grid {file} ({error}); name a YAML file with `experiment:` and `grid:`") from None
    content = parse_value(text, where=str(file))
    if not isinstance(content, dict):
        raise UsageError(f"{file} must be a mapping with `experiment:` and `grid:`, got {type(content).__name__}")
    return content


def plan_sweep(grid: str | os.PathLike[str] | Mapping[str, Any], *, results: str | os.PathLike[str] | None = None,
               folder: str | os.PathLike[str] | None = None) -> Sweep:
    """Check a grid, and say which runs it has, which are finished, and what runs like them cost.

    Parameters
    ----------
    grid : path or mapping
        File or content, see `read_grid`.
    results, folder : path, optional
        As for `robinfo.experiments.run`.

    Returns
    -------
    Sweep
        Every value has been checked against the notebook's parameters; nothing was run.

    Raises
    ------
    UsageError
        An unknown key, experiment, profile or parameter; lists of different lengths under ``zip``; a grid without a run.
    ParameterTypeError
        A value of the wrong type.

    Examples
    --------
    >>> plan_sweep({"experiment": "quickstart", "grid": {"epsilonn": [0.1]}})
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: unknown parameter of quickstart 'epsilonn'; did you mean 'epsilon'? known: ...
    """
    content = grid if isinstance(grid, Mapping) else read_grid(grid)
    runs: dict[Path, SweepRun] = {}
    for block in _blocks(content):
        for point in _points(block, folder):
            name, profile = block["experiment"], str(block.get("profile", "smoke"))
            plan = prepare(name, profile, point, results=results, folder=folder)
            runs.setdefault(plan.run_dir, SweepRun(name, profile, point, plan.run_dir, plan.finished, dict(block.get("resources") or {})))
    if not runs:
        raise UsageError("the grid holds no run; give each parameter under `grid:` at least one value")
    return Sweep(tuple(runs.values()), _recorded_seconds(results_root(results)))


def _blocks(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The blocks of a grid, each with known keys only."""
    several = content.get("sweeps")
    blocks = [{key: value for key, value in content.items() if key != "cluster"}] if several is None else several
    if several is not None and set(content) - {"sweeps", "cluster"}:
        raise UsageError(f"beside `sweeps:` only `cluster:` may stand, got {', '.join(sorted(set(content) - {'sweeps', 'cluster'}))}; "
                         "move it into each block")
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise UsageError(f"`sweeps:` must be a list of mappings, got {blocks!r}")
    for block in blocks:
        if unknown := set(block) - set(_BLOCK):
            raise UsageError(f"unknown key {min(unknown)!r} in the grid; known: {', '.join((*_BLOCK, 'sweeps', 'cluster'))}")
        if not isinstance(block.get("experiment"), str):
            raise UsageError(f"the grid must name its experiment, such as `experiment: quickstart`, got {block.get('experiment')!r}")
    return list(blocks)


def _points(block: Mapping[str, Any], folder: Any) -> Iterator[dict[str, Any]]:
    """Every combination of a block's grid, list, zip and seeds, each a mapping of parameters."""
    grid, zipped, listed = _mapping(block, "grid"), _mapping(block, "zip"), block.get("list") or [{}]
    for key, values in (grid | zipped).items():
        if not isinstance(values, list):
            raise UsageError(f"{key} must have a list of values, got {values!r}; write [{values!r}], or put it under `set:`")
    if len({len(values) for values in zipped.values()}) > 1:
        lengths = ", ".join(f"{key}: {len(values)}" for key, values in zipped.items())
        raise UsageError(f"lists under `zip:` must have one length, got {lengths}; the first values go together, then the second")
    if not isinstance(listed, list) or not all(isinstance(point, Mapping) for point in listed):
        raise UsageError(f"`list:` must hold mappings of parameters, got {listed!r}")
    together = [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)] if zipped else [{}]
    product = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for parts in itertools.product(product, listed, together, _seeds(block, folder)):
        yield _joined([_mapping(block, "set"), *parts])


def _mapping(block: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One part of a block, a mapping."""
    part = block.get(key) or {}
    if not isinstance(part, Mapping):
        raise UsageError(f"`{key}:` must map parameters to values, got {part!r}")
    return dict(part)


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One point from its parts; a parameter given twice is refused."""
    point: dict[str, Any] = {}
    for part in parts:
        if twice := set(point) & set(part):
            raise UsageError(f"{min(twice)} is given twice in the grid; leave it in one of set, grid, list, zip, seeds")
        point |= part
    return point


def _seeds(block: Mapping[str, Any], folder: Any) -> list[dict[str, Any]]:
    """One mapping for each seed, in the experiment's own words: `seed`, or `seeds` with a single one."""
    seeds = block.get("seeds")
    if seeds is None:
        return [{}]
    chosen = list(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(chosen, list) or not chosen or not all(isinstance(s, int) and not isinstance(s, bool) for s in chosen):
        raise UsageError(f"`seeds:` must be a positive number of seeds or a list of them, got {seeds!r}")
    declared = parameters(block["experiment"], folder=folder)
    if "seed" not in declared and "seeds" not in declared:
        raise UsageError(f"{block['experiment']} has no parameter seed or seeds; leave `seeds:` out")
    return [{"seed": s} if "seed" in declared else {"seeds": [s]} for s in chosen]


def _kind(run: SweepRun) -> str:
    """Under what the times of runs are kept."""
    return f"{run.name} {run.profile}"


class _Seconds(dict[str, float | None]):
    """Times by experiment and profile; None where there is none."""

    def __missing__(self, key: str) -> None:
        return None


def _recorded_seconds(root: Path) -> Mapping[str, float | None]:
    """Median duration of the recorded runs, by experiment and profile."""
    times: dict[str, list[float]] = {}
    for file in root.glob("*/*/metrics.json"):
        try:
            metrics = read_metrics(file)
        except ValueError:  # a damaged file says nothing about costs; `robinfo report` names it
            continue
        if seconds := metrics.provenance.get("seconds"):
            times.setdefault(f"{metrics.experiment} {metrics.profile}", []).append(float(seconds))
    return _Seconds({kind: statistics.median(values) for kind, values in times.items()})


def _time(seconds: float) -> str:
    """A duration for a reader."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- one run, on a worker -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Outcome:
    """How one run of a sweep ended.

    Attributes
    ----------
    run : SweepRun
        Which one.
    status : {"finished", "failed"}
        Whether its results are there.
    seconds : float
        On the worker.
    message : str
        For a failed run: the last lines of what it said.
    """

    run: SweepRun
    status: str
    seconds: float
    message: str = ""


def _die_with_parent() -> None:
    """Let the operating system kill this process when the worker that started it ends (Linux)."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run_one(name: str, profile: str, values: Mapping[str, Any], run_dir: str, *, results: str, folder: str | None,
            threads: int) -> tuple[str, float, str]:
    """Run one experiment in a process of its own; what a worker does.

    Parameters
    ----------
    name, profile : str
        Experiment and profile.
    values : mapping
        Parameters.
    run_dir, results : str
        Folder of the run, and of all runs.
    folder : str or None
        Folder of notebooks.
    threads : int
        Threads of its numerical libraries.

    Returns
    -------
    (str, float, str)
        Status, seconds, message, as in `Outcome`. It never raises for what the run does.
    """
    command = [sys.executable, "-m", "robinfo.cli", "run", name, "--profile", profile, "--results", results]
    command += [part for key, value in values.items() for part in ("-p", f"{key}={json.dumps(value)}")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    environment |= {"ROBINFO_EXPERIMENTS": folder} if folder else {}
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask's setting for its workers makes a training fault its memory in again and again
    start, log = time.monotonic(), Path(run_dir) / _LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with log.open("w", encoding="utf-8") as stream:
            code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                                  env=environment, preexec_fn=_die_with_parent).returncode
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code == 2 and said and "is being run by process" in said[-1]:  # its last holder is ending, or another sweep has it
            time.sleep(2.0)
            continue
        log.unlink(missing_ok=True) if code == 0 else None
        message = "" if code == 0 else "\n".join(said[-6:]) or f"ended with status {code} and said nothing"
        return ("finished" if code == 0 else "failed"), time.monotonic() - start, message


# --- where it runs ------------------------------------------------------------------------------------------------------
def _dask() -> Any:
    """The library, or an error that names the extra."""
    try:
        import distributed
    except ImportError:
        raise UsageError("a sweep needs Dask, which is not installed; pip install 'robinfo[cluster]'") from None
    return distributed


def _cluster_settings(content: Mapping[str, Any], workers: int | None) -> dict[str, Any]:
    """The ``cluster:`` part of a grid, checked."""
    given = content.get("cluster") or {}
    if not isinstance(given, Mapping) or set(given) - set(_CLUSTER):
        wrong = min(set(given) - set(_CLUSTER)) if isinstance(given, Mapping) else given
        raise UsageError(f"unknown key {wrong!r} under `cluster:`; known: {', '.join(_CLUSTER)}")
    settings = {"kind": "local", "threads": 1, "workers": None, **given}
    if settings["kind"] not in ("local", "slurm"):
        raise UsageError(f"`kind:` of the cluster must be local or slurm, got {settings['kind']!r}")
    settings["workers"] = settings["workers"] if workers is None else workers
    settings["workers"] = (os.cpu_count() or 1) if settings["workers"] is None else settings["workers"]
    for key in ("workers", "threads"):
        if not isinstance(settings[key], int) or isinstance(settings[key], bool) or settings[key] < 1:
            raise UsageError(f"{key} must be a positive number, got {settings[key]!r}")
    return settings


def worker_count(grid: Mapping[str, Any], workers: int | None = None) -> int:
    """How many runs of a grid go on at a time.

    Parameters
    ----------
    grid : mapping
        As for `read_grid`.
    workers : int, optional
        Instead of those of the grid.

    Returns
    -------
    int
        Those of the grid's ``cluster:``, else one for each core.

    Examples
    --------
    >>> worker_count({"cluster": {"workers": 3}})
    3
    """
    return int(_cluster_settings(grid, workers)["workers"])


def _local(settings: Mapping[str, Any]) -> Any:
    """Workers on this machine, each for one run at a time; with a resource GPU each worker sees one device of its own."""
    distributed = _dask()
    resources = dict(settings.get("resources") or {})

    def options(index: int) -> dict[str, Any]:
        """Options of one worker."""
        environment = {"CUDA_VISIBLE_DEVICES": str(index)} if "GPU" in resources else {}
        return {"nthreads": 1, "resources": resources, "env": environment, "memory_limit": 0, "dashboard": False, "host": "127.0.0.1",
                "silence_logs": _QUIET}

    workers = {index: {"cls": distributed.Nanny, "options": options(index)} for index in range(settings["workers"])}
    scheduler = {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
    return distributed.SpecCluster(workers=workers, scheduler=scheduler, silence_logs=_QUIET)


def _slurm(settings: Mapping[str, Any]) -> Any:
    """Jobs of SLURM, each one worker for one run at a time."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError("kind: slurm needs dask-jobqueue, which is not installed; pip install 'robinfo[cluster]'") from None
    resources = ",".join(f"{key}={value}" for key, value in (settings.get("resources") or {}).items())
    cluster = SLURMCluster(cores=1, processes=1, job_cpu=settings.get("cores", settings["threads"]), memory=settings.get("memory", "16GB"),
                           walltime=settings.get("walltime", "04:00:00"), queue=settings.get("queue"), account=settings.get("account"),
                           job_extra_directives=list(settings.get("directives") or []), job_script_prologue=list(settings.get("prologue") or []),
                           worker_extra_args=["--resources", resources] if resources else [])
    cluster.scale(jobs=settings["workers"])
    return cluster


@contextmanager
def _client(settings: Mapping[str, Any], scheduler: str | None) -> Iterator[Any]:
    """A client of the cluster; one that was made here is closed with it."""
    distributed = _dask()
    if scheduler is not None:
        try:
            with distributed.Client(scheduler, timeout=_PATIENCE) as client:
                yield client
        except (OSError, TimeoutError) as error:
            raise UsageError(f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`") from None
        return
    with _slurm(settings) if settings["kind"] == "slurm" else _local(settings) as cluster, distributed.Client(cluster) as client:
        yield client


# --- the sweep ----------------------------------------------------------------------------------------------------------
def sweep(grid: str | os.PathLike[str] | Mapping[str, Any], *, results: str | os.PathLike[str] | None = None,
          workers: int | None = None, scheduler: str | None = None, folder: str | os.PathLike[str] | None = None,
          say: Callable[[str], None] | None = None) -> tuple[Outcome, ...]:
    """Run what is missing of a grid, spread over the workers of a Dask cluster.

    Parameters
    ----------
    grid : path or mapping
        File or content, see `read_grid`. Its ``cluster:`` says where to run: ``kind`` (local or slurm), ``workers``, ``threads`` of
        each run, ``resources`` of a worker (``{GPU: 1}``: one run per GPU); for SLURM also ``cores``, ``memory``, ``walltime``,
        ``queue``, ``account``, ``directives`` (such as ``--gres=gpu:1``) and ``prologue`` (shell lines before the worker).
    results, folder : path, optional
        As for `robinfo.experiments.run`; on several machines, a folder that all of them see.
    workers : int, optional
        Instead of those of the grid; by default one for each core.
    scheduler : str, optional
        Address of a running Dask scheduler, whose workers are used as they are.
    say : callable, optional
        Receives one line at a time; by default they are printed.

    Returns
    -------
    tuple of Outcome
        One for each run, in the order of the grid. A failed run does not stop the others.

    Raises
    ------
    UsageError
        Whatever `plan_sweep` refuses; a missing library; no scheduler at the address.

    Examples
    --------
    >>> sweep({"experiment": "quickstart", "grid": {"epsilon": []}})
    Traceback (most recent call last):
    robinfo.experiments.launcher.UsageError: the grid holds no run; give each parameter under `grid:` at least one value
    """
    content = grid if isinstance(grid, Mapping) else read_grid(grid)
    plan, settings = plan_sweep(content, results=results, folder=folder), _cluster_settings(content, workers)
    tell = say or (lambda text: print(text, flush=True))
    outcomes = {run.run_dir: Outcome(run, "finished", 0.0) for run in plan.runs if run.finished}
    tell(f"{len(plan.runs)} run{'s' if len(plan.runs) != 1 else ''}, {len(outcomes)} finished before, {len(plan.missing)} to do")
    if plan.missing:
        with _client(settings, scheduler) as client:
            outcomes |= _spread(plan, client, settings, results_root(results), folder, tell)
    return tuple(outcomes[run.run_dir] for run in plan.runs)


def _spread(plan: Sweep, client: Any, settings: Mapping[str, Any], root: Path, folder: Any,
            tell: Callable[[str], None]) -> dict[Path, Outcome]:
    """Send the missing runs to the workers and collect how they ended."""
    distributed = _dask()
    futures = {}
    for run in plan.missing:
        resources = run.resources or dict(settings.get("resources") or {})
        future = client.submit(run_one, run.name, run.profile, run.parameters, str(run.run_dir), results=str(root),
                               folder=None if folder is None else str(folder), threads=settings["threads"], pure=False,
                               retries=0, key=f"{run.name}-{run.run_dir.name}", resources=resources or None)
        futures[future] = run
    outcomes: dict[Path, Outcome] = {}
    view = _View(len(plan.missing), tell)
    while futures:
        try:
            ended = distributed.wait(list(futures), timeout=_REMINDER, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            view.waiting(_workers(client))
            continue
        for future in ended:
            run, error = futures.pop(future), future.exception()  # an error only where workers were lost again and again
            status, seconds, message = ("failed", 0.0, str(error)) if error is not None else future.result()
            outcomes[run.run_dir] = Outcome(run, status, seconds, message)
            view.ended(outcomes[run.run_dir], _workers(client))
    return outcomes


def _workers(client: Any) -> int:
    """How many workers there are now."""
    return len(client.scheduler_info(n_workers=-1)["workers"])


class _View:
    """One line for each run that ended, with the time left."""

    def __init__(self, total: int, tell: Callable[[str], None]) -> None:
        self.total, self.tell, self.done, self.failed, self.seconds = total, tell, 0, 0, 0.0

    def waiting(self, workers: int) -> None:
        """Say that the work goes on, or that nobody does it."""
        self.tell(f"[{self.done}/{self.total}] {workers} worker{'s' if workers != 1 else ''} at work" if workers else
                  f"[{self.done}/{self.total}] waiting for a worker; with resources, for one that has them")

    def ended(self, outcome: Outcome, workers: int) -> None:
        """Report a run."""
        self.done += 1
        self.failed += outcome.status == "failed"
        self.seconds += outcome.seconds
        left = self.seconds / self.done * (self.total - self.done) / max(workers, 1)
        rest = f"; about {_time(left)} left" if self.done < self.total else ""
        failed = f", {self.failed} failed" if self.failed else ""
        self.tell(f"[{self.done}/{self.total}{failed}] {outcome.status} in {_time(outcome.seconds)}: {outcome.run.label}{rest}")
        if outcome.message:
            self.tell("    " + outcome.message.replace("\n", "\n    "))

