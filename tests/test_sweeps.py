"""Sweeps: the runs of a grid, spread over workers, and what remains when workers, runs and grids go wrong."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_experiments import toy, wait_for  # noqa: F401  (toy is a fixture)

from robinfo.cli import main
from robinfo.experiments import UsageError, plan_sweep, run, sweep
from robinfo.experiments.record import read_metrics, write_json
from robinfo.experiments.sweeps import read_grid

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def places(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The toy experiment and an empty results folder, through the environment."""
    monkeypatch.setenv("ROBINFO_EXPERIMENTS", str(toy))
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "out"))


def results(tmp_path: Path) -> dict[int, float]:
    """Seed and value of every recorded run; a seed recorded twice is an error."""
    found = [read_metrics(file) for file in (tmp_path / "out").glob("toy/*/metrics.json")]
    values = {metrics.parameters["seed"]: metrics.rows[0].value for metrics in found}
    assert len(values) == len(found)
    return values


# --- planning -----------------------------------------------------------------------------------------------------------
def test_a_grid_is_every_combination_of_its_parts(tmp_path: Path) -> None:
    grid = {"experiment": "toy", "set": {"limit": 5}, "grid": {"rate": [0.1, 0.2], "robust": [True, False]},
            "list": [{"epochs": 1}, {"epochs": 3, "mode": "raise"}], "zip": {"dataset": ["digits", "mnist"], "eps": [0.1, 0.3]}, "seeds": 2}
    plan = plan_sweep(grid)
    assert len(plan.runs) == 2 * 2 * 2 * 2 * 2 == len({run.run_dir for run in plan.runs})
    points = [run.parameters for run in plan.runs]
    assert {(p["dataset"], p["eps"]) for p in points} == {("digits", 0.1), ("mnist", 0.3)}
    assert {p["seed"] for p in points} == {0, 1} and all(p["limit"] == 5 for p in points)
    assert {(p["epochs"], p.get("mode")) for p in points} == {(1, None), (3, "raise")}


def test_equal_points_are_one_run_and_several_blocks_are_one_sweep() -> None:
    block = {"experiment": "toy", "grid": {"seed": [0, 0, 1]}}
    assert len(plan_sweep(block).runs) == 2
    assert len(plan_sweep({"sweeps": [block, {"experiment": "toy", "profile": "paper", "list": [{"seed": 7}]}], "cluster": {"workers": 1}}).runs) == 3


@pytest.mark.parametrize(("text", "message"), [
    ("[1, 2]", "must be a mapping"), ("grid: {seed: [1]}", "must name its experiment"), ("experiment: tyo", "did you mean 'toy'"),
    ("experiment: toy\nprofile: fast", "unknown profile"), ("experiment: toy\ngird: {seed: [1]}", "unknown key 'gird'"),
    ("experiment: toy\ngrid: {seeds: [1]}", "did you mean 'seed'"), ("experiment: toy\ngrid: {seed: 1}", "must have a list of values"),
    ("experiment: toy\ngrid: {seed: [one]}", "must be int"), ("experiment: toy\ngrid: {seed: []}", "holds no run"),
    ("experiment: toy\nzip: {seed: [1, 2], rate: [0.1]}", "seed: 2, rate: 1"), ("experiment: toy\nlist: [3]", "must hold mappings"),
    ("experiment: toy\nset: {seed: 1}\ngrid: {seed: [2]}", "given twice"), ("experiment: toy\nseeds: two", "a positive number of seeds"),
    ("experiment: toy\nseeds: 0", "a positive number of seeds"), ("experiment: toy\ngrid: [seed]", "must map parameters"),
    ("sweeps: {experiment: toy}", "must be a list"), ("sweeps: []\nexperiment: toy", "beside `sweeps:`"),
    ("experiment: toy\ngrid: {run_dir: [../elsewhere]}", "run_dir is set by the launcher"), ("a: [", "grid.yaml: "),
    ("experiment: ../toy", "unknown experiment"), ("!!python/object/apply:os.system [true]", "grid.yaml: "),
])
def test_wrong_grids_are_refused_before_anything_runs(tmp_path: Path, text: str, message: str, capsys: Any) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        sweep(tmp_path / "grid.yaml")
    assert message in str(refused.value) and not (tmp_path / "out").exists()
    assert main(["sweep", str(tmp_path / "grid.yaml")]) == 2 and len(capsys.readouterr().err.strip().splitlines()) <= 2


@pytest.mark.parametrize(("cluster", "message"), [
    ({"kind": "cloud"}, "local or slurm"), ({"worker": 2}, "unknown key 'worker'"), ({"workers": 0}, "positive number"), ([2], "unknown key"),
    ({"threads": 1.5}, "positive number")])
def test_wrong_clusters_are_refused(cluster: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep({"experiment": "toy", "cluster": cluster})


def test_a_grid_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the grid"):
        read_grid(tmp_path / "nowhere.yaml")


def test_the_dry_run_says_what_is_finished_and_what_the_rest_costs(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "grid.yaml").write_text("experiment: toy\nseeds: 3\ncluster: {workers: 2}\n")
    assert main(["sweep", str(tmp_path / "grid.yaml"), "--dry-run"]) == 0
    assert "3 runs, 0 finished, 3 missing: 3 of unknown cost" in capsys.readouterr().out
    folder = run("toy", seed=1)
    stored = json.loads((folder / "metrics.json").read_text())
    stored["provenance"]["seconds"] = 240.0
    write_json(folder / "metrics.json", stored, sealed=True)
    assert main(["sweep", str(tmp_path / "grid.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "finished  toy (smoke, seed=1)" in said and "3 runs, 1 finished, 2 missing: about 4 min on 2 workers" in said


def test_a_run_with_damaged_numbers_is_done_again(tmp_path: Path, capfd: Any) -> None:
    folder = run("toy", seed=1)
    damaged = (folder / "metrics.json").read_text().replace("51.0", "91.0")
    (folder / "metrics.json").write_text(damaged)
    plan = plan_sweep({"experiment": "toy", "seeds": [1]})
    assert len(plan.missing) == 1 and "does not match its checksum" in capfd.readouterr().err
    assert run("toy", seed=1) == folder and read_metrics(folder).rows[0].value == 51.0


# --- running ------------------------------------------------------------------------------------------------------------
def test_a_sweep_runs_all_reports_failures_and_then_does_only_what_is_missing(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "grid.yaml").write_text("experiment: toy\nlist: [{seed: 0}, {seed: 1, mode: raise}, {seed: 2}]\ncluster: {workers: 2}\n")
    assert main(["sweep", str(tmp_path / "grid.yaml")]) == 1
    said = capfd.readouterr().out
    assert "3 runs, 0 finished before, 3 to do" in said and "[3/3, 1 failed]" in said
    assert "images must lie in [0, 1], got max 2.64" in said and '2 of 3 finished; failed: toy (smoke, seed=1, mode="raise")' in said
    assert results(tmp_path) == {0: 50.0, 2: 52.0}
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("toy/*/metrics.json")}
    outcomes = sweep({"experiment": "toy", "seeds": [0, 2, 5], "cluster": {"workers": 1}})
    assert [outcome.status for outcome in outcomes] == ["finished"] * 3 and results(tmp_path) == {0: 50.0, 2: 52.0, 5: 55.0}
    assert all(file.stat().st_mtime_ns == then for file, then in before.items())


def nannies(count: int) -> list[int]:
    """Process numbers of the worker processes below this one, once there are that many."""
    import psutil

    def found() -> list[int] | None:
        children = [p for p in psutil.Process().children(recursive=True) if "multiprocessing.spawn" in " ".join(p.cmdline())]
        return [p.pid for p in children] if len(children) >= count else None

    return wait_for(found)


def test_a_killed_worker_costs_no_result(tmp_path: Path, reliability: Callable[..., None]) -> None:
    """Twelve runs on two workers; one worker is killed while it works, together with whatever it runs."""
    started = tmp_path / "out"

    def kill() -> None:
        workers = nannies(2)
        wait_for(lambda: list(started.glob("toy/*/lock.part")))
        time.sleep(0.5)
        os.kill(workers[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = sweep({"experiment": "toy", "seeds": 12, "cluster": {"workers": 2}})
    thread.join()
    assert [outcome.status for outcome in outcomes] == ["finished"] * 12
    assert results(tmp_path) == {seed: 50.0 + seed for seed in range(12)}  # none twice
    reliability("worker", test="a Dask worker killed during a sweep of 12 runs", n=12, target="12 of 12 results, none twice",
                figure=f"{len(results(tmp_path))} of 12 results, none twice")
    assert not list(started.glob("toy/*/*.part")) and not list(started.glob("toy/*/notebook.partial.ipynb"))


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A Dask scheduler with one worker, started by its own commands as a lab would."""
    port = 20000 + os.getpid() % 20000
    address = f"tcp://127.0.0.1:{port}"
    commands = (["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
                ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--resources", "GPU=1"])
    processes = [subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
                 for command in commands]
    yield address
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(20)


def test_a_running_scheduler_is_used_and_resources_are_honoured(tmp_path: Path, scheduler: str) -> None:
    outcomes = sweep({"experiment": "toy", "seeds": 2, "resources": {"GPU": 1}}, scheduler=scheduler)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 2 and sorted(results(tmp_path)) == [0, 1]


def test_no_scheduler_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from robinfo.experiments import sweeps

    monkeypatch.setattr(sweeps, "_PATIENCE", 0.5)
    with pytest.raises(UsageError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        sweep({"experiment": "toy"}, scheduler="tcp://127.0.0.1:9")


def test_jobs_of_slurm_do_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ``sbatch`` keeps the script, checks what is asked for, and runs it as a cluster would."""
    pytest.importorskip("dask_jobqueue")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(f"#!/bin/sh\ncp \"$1\" {tmp_path}/job.sh\nsh {tmp_path}/job.sh >{tmp_path}/job.log 2>&1 &\n"
                                     f"echo $! > {tmp_path}/job.pid\necho Submitted batch job 7\n")
    (programs / "scancel").write_text(f"#!/bin/sh\nkill $(cat {tmp_path}/job.pid)\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    cluster = {"kind": "slurm", "workers": 1, "cores": 4, "memory": "8GB", "walltime": "01:00:00", "queue": "gpu", "resources": {"GPU": 1},
               "directives": ["--gres=gpu:1"], "prologue": ["export FROM_PROLOGUE=1"]}
    outcomes = sweep({"experiment": "toy", "seeds": 2, "cluster": cluster})
    assert [outcome.status for outcome in outcomes] == ["finished"] * 2, (tmp_path / "job.log").read_text()
    script = (tmp_path / "job.sh").read_text()
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=4", "#SBATCH -t 01:00:00", "#SBATCH --gres=gpu:1", "export FROM_PROLOGUE=1", "GPU=1"):
        assert line in script, script


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'robinfo\[cluster\]'"):
        sweep({"experiment": "toy"})


def test_planning_loads_neither_torch_nor_dask() -> None:
    code = ("import sys; from robinfo.experiments import plan_sweep; plan_sweep({'experiment': 'toy'}); "
            "sys.exit(bool({'torch', 'papermill', 'distributed', 'dask'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_run_that_another_process_holds_is_waited_for_and_taken_over(tmp_path: Path, start_other: Callable[[], subprocess.Popen[str]]) -> None:
    """One of the runs is under way elsewhere; its holder is killed, and the sweep continues it from its checkpoint."""
    other = start_other()
    folder = wait_for(lambda: list((tmp_path / "out").glob("toy/*/checkpoints/epoch0")))[0].parents[1]

    def end() -> None:
        (folder / "go").touch()
        other.kill()

    timer = threading.Timer(5.0, end)
    timer.start()
    outcomes = sweep({"experiment": "toy", "list": [{"seed": 3, "mode": "wait"}], "cluster": {"workers": 1}})
    assert outcomes[0].status == "finished" and results(tmp_path) == {3: 53.0} and outcomes[0].seconds > 2
    assert "resumed 0" in (folder / "notebook.ipynb").read_text()


@pytest.fixture
def start_other(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts, as another process, the run that waits for a file."""
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        begun.append(subprocess.Popen([sys.executable, "-m", "robinfo.cli", "run", "toy", "-p", "seed=3", "-p", "mode=wait"], text=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
