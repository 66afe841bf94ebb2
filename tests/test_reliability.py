"""Nothing that happens to a process, a disk or an input costs a result or lets a wrong one in: the trials, with their figures.

`pytest tests/test_reliability.py tests/test_sweeps.py tests/test_bad_input.py --long --record` repeats them at full length (50 kills,
20 quickstarts) and writes the figures to results/reliability/, from which the site's page is made.
"""
from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_experiments import command, start, toy, wait_for  # noqa: F401  (start and toy are fixtures)
from test_training import PART, everything, run_child, same, train

from robinfo.attacks import PGD
from robinfo.cli import main
from robinfo.data import read as read_data
from robinfo.data import save, to_float
from robinfo.evaluation import survivors
from robinfo.experiments import RunFailed, run
from robinfo.experiments.record import Row, read_metrics, write_metrics
from robinfo.threats import Linf
from robinfo.training import CheckpointError, load_tensors, save_tensors

ROOT = Path(__file__).resolve().parents[1]


# --- killed processes ---------------------------------------------------------------------------------------------------
def test_training_killed_at_random_moments(tmp_path: Path, reliability: Callable[..., None], request: pytest.FixtureRequest) -> None:
    """Each trial: a fresh training is killed at a random moment, run again, and compared with one that nobody killed."""
    trials, kinds, draw = (50 if request.config.getoption("--long") else 5), ("adversarial", "infomax", "within"), random.Random(8)
    whole: dict[str, bytes] = {}
    for kind in kinds:
        (tmp_path / kind).mkdir()
        assert run_child(tmp_path / kind, kind) == 0
        whole[kind] = (tmp_path / kind / "result.safetensors").read_bytes()
    killed = identical = torn = 0
    while killed < trials:
        kind, folder = kinds[killed % len(kinds)], tmp_path / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if run_child(folder, kind, kill_after=(draw.randint(1, 23), draw.uniform(0, 0.01))) == 0:
            continue  # it had ended before
        killed += 1
        for file in folder.glob("*.safetensors"):
            try:
                load_tensors(file)
            except CheckpointError:
                torn += 1
        assert run_child(folder, kind) == 0
        identical += (folder / "result.safetensors").read_bytes() == whole[kind]
    reliability("kills", test="SIGKILL of a training run at random moments, then run again", n=trials, target="all",
                figure=f"{identical} of {trials} end with bit-identical weights and metrics; {torn} torn files under their final name")
    assert (identical, torn) == (trials, 0)


def test_two_processes_start_the_same_run(toy: Path, tmp_path: Path, reliability: Callable[..., None]) -> None:  # noqa: F811
    """Started at the same moment, again and again: one runs, the other says who does; never two writers."""
    trials, one_writer = 3, 0
    for trial in range(trials):
        pair = [command(toy, tmp_path / "out", "run", "toy", "-p", f"seed={trial}", "-p", "mode=wait") for _ in range(2)]
        marker = wait_for(lambda trial=trial: [f for f in (tmp_path / "out").glob(f"toy/*seed{trial}-*/checkpoints/epoch0")])[0]
        second = wait_for(lambda pair=pair: [p for p in pair if p.poll() is not None])[0]
        first = pair[1 - pair.index(second)]
        assert second.returncode == 2 and f"is being run by process {first.pid}" in second.communicate()[1]
        (marker.parents[1] / "go").touch()
        first.kill()
        first.wait(20)
        one_writer += 1
        third = command(toy, tmp_path / "out", "run", "toy", "-p", f"seed={trial}", "-p", "mode=wait")
        assert third.wait(60) == 0 and read_metrics(marker.parents[1]).rows[0].value == 50.0 + trial
    reliability("two-processes", test="two processes start the same run", n=trials, target="never two writers",
                figure=f"{one_writer} of {trials}: one runs, the other names it and stops")


# --- disks --------------------------------------------------------------------------------------------------------------
def damaged(whole: bytes, draw: random.Random) -> bytes:
    """The same file with one random damage: a bit turned, an end missing, a block of zeros, two blocks exchanged."""
    content = bytearray(whole)
    place, size = draw.randrange(len(whole)), draw.randint(1, 64)
    match draw.randrange(4):
        case 0:
            content[place] ^= 1 << draw.randrange(8)
        case 1:
            del content[place:]
        case 2:
            content[place : place + size] = b"\0" * len(content[place : place + size])
        case 3:
            other = draw.randrange(len(whole))
            content[place], content[other] = content[other], content[place]
    return bytes(content)


def files_to_damage(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any], type[Exception]]]:
    """A data cache, a checkpoint and recorded metrics, each with what reads it and the error that it must raise."""
    cache, checkpoint = folder / "digits.safetensors", folder / "run.safetensors"
    save(PART, cache)
    train(epochs=1, checkpoint=checkpoint)
    row = Row(metric="rv", value=0.25, unit="nats", n=8, dataset="digits", model="encoder", method="normal", interval=(0.2, 0.3))
    metrics = write_metrics(folder, "demo", "smoke", {"epochs": 1}, [row], device="cpu")
    return {"cache": (cache, read_data, ValueError),
            "checkpoint": (checkpoint, lambda file: train(epochs=2, checkpoint=file), CheckpointError),
            "metrics": (metrics, read_metrics, ValueError)}


def test_damaged_files_are_detected_and_named(tmp_path: Path, reliability: Callable[..., None]) -> None:
    """A hundred random damages of a data cache, a checkpoint and recorded metrics: none is used, each error names its file."""
    draw, detected, trials = random.Random(3), 0, 100
    files = files_to_damage(tmp_path)
    undetected = []
    for trial in range(trials):
        kind, (file, read, error) = list(files.items())[trial % 3]
        whole = file.read_bytes()
        while (content := damaged(whole, draw)) == whole:
            pass
        file.write_bytes(content)
        try:
            read(file)
            undetected.append(f"{kind} {trial}: used")
        except error as refused:
            detected += str(file) in str(refused)
            undetected += [] if str(file) in str(refused) else [f"{kind} {trial}: {refused}"]
        file.write_bytes(whole)
        read(file) if trial < 3 else None  # whole again, it is read again
        if kind == "checkpoint":
            file.write_bytes(whole)
    reliability("damage", test="truncated, bit-flipped and overwritten data caches, checkpoints and metrics", n=trials, target="all detected and named",
                figure=f"{detected} of {trials} detected and named")
    assert undetected == []


FULL = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, sys.argv[2])
from test_training import train
from robinfo.experiments.record import Row, write_metrics
row = Row(metric="rv", value=0.25, unit="nats", n=8, dataset="digits", model="encoder", method="normal")
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
failed = 0
for work in (lambda: train(epochs=2, checkpoint=folder / "run.safetensors"), lambda: write_metrics(folder, "demo", "smoke", {}, [row])):
    try:
        work()
    except Exception as error:
        failed += 1
        print(type(error).__name__, error)
sys.exit(0 if failed == 2 else 1)
"""


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, reliability: Callable[..., None]) -> None:
    """No file may grow beyond 100 bytes: checkpoint and metrics fail with an error, and the old ones stay whole."""
    train(epochs=1, checkpoint=tmp_path / "run.safetensors")
    row = Row(metric="rv", value=0.5, unit="nats", n=8, dataset="digits", model="encoder", method="normal")
    write_metrics(tmp_path, "demo", "smoke", {}, [row], device="cpu")
    before = {name: (tmp_path / name).read_bytes() for name in ("run.safetensors", "metrics.json")}
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(ROOT / "tests")], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    reliability("full-disk", test="disk full while a checkpoint or metrics are written", n=2, target="an error, and the old file whole", figure="2 of 2")


def test_a_folder_that_may_not_be_written_is_said_at_once(tmp_path: Path, toy: Path, reliability: Callable[..., None],  # noqa: F811
                                                          monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The answer of the operating system for a read-only folder, before anything is run."""
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "out")

    monkeypatch.setenv("ROBINFO_EXPERIMENTS", str(toy))
    monkeypatch.setattr(Path, "touch", refuse)
    assert main(["run", "toy", "--results", str(tmp_path / "out")]) == 2
    assert "cannot write results to" in capsys.readouterr().err
    reliability("read-only", test="a results folder that may not be written", n=1, target="refused before anything runs", figure="1 of 1")


# --- texts that are not what they seem ----------------------------------------------------------------------------------
HOSTILE = ["__import__('os').system('touch {mark}')", "$(touch {mark})", "`touch {mark}`", "'; import os; os.system('touch {mark}') #",
           "!!python/object/apply:os.system ['touch {mark}']", "{{% raw %}}", "\\x00", "a\nimport os"]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_that_look_like_code_stay_values(toy: Path, tmp_path: Path, value: str) -> None:  # noqa: F811
    """A text parameter is passed on as a text, whatever it says; nothing is executed."""
    mark = tmp_path / "executed"
    text = value.replace("{mark}", str(mark))
    folder = run("toy", folder=toy, results=tmp_path / "out", dataset=text)
    assert not mark.exists() and read_metrics(folder).parameters["dataset"] == text
    assert folder.parent == tmp_path / "out" / "toy"


@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "../toy"], "unknown experiment"), (["run", "toy/../toy"], "unknown experiment"), (["show", "/etc/passwd"], "unknown experiment"),
    (["run", "toy", "--profile", "../../etc"], "unknown profile"), (["run", "toy", "-p", "run_dir=/etc"], "run_dir is set by the launcher"),
    (["run", "toy", "-p", "__class__=1"], "unknown parameter"), (["run", "toy", "-p", "seed=!!python/object/apply:os.getcwd []"], "-p seed="),
])
def test_names_that_leave_their_place_are_refused(toy: Path, tmp_path: Path, arguments: list[str], message: str,  # noqa: F811
                                                  monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("ROBINFO_EXPERIMENTS", str(toy))
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "out"))
    assert main(arguments) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.glob("out/*/*/metrics.json"))


def test_files_that_are_something_else_are_refused(tmp_path: Path, reliability: Callable[..., None]) -> None:
    """A pickle offered as checkpoint or data, and safetensors files with headers that lie."""
    mark = tmp_path / "executed"

    class Trap:
        """Touches a file when it is unpickled."""

        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {mark}",)

    torch.save({"weights": Trap()}, tmp_path / "pickle.safetensors")
    save_tensors(tmp_path / "good.safetensors", {"x": torch.zeros(4)}, {})
    good = (tmp_path / "good.safetensors").read_bytes()
    length = int.from_bytes(good[:8], "little")
    lies = {"pickle": (tmp_path / "pickle.safetensors").read_bytes(), "long-header": (1 << 40).to_bytes(8, "little") + good[8:],
            "short-header": (3).to_bytes(8, "little") + good[8:], "no-json": good[:8] + b"[" * length + good[8 + length :],
            "beyond-the-end": good.replace(b"[0,16]", b"[0,99]"), "other-type": good.replace(b"F32", b"F64")}
    refused = 0
    for name, content in lies.items():
        assert content != good
        for target, read in (("digits", read_data), (name, lambda file: train(epochs=1, checkpoint=file))):
            folder = tmp_path / f"{name}-{target}"
            folder.mkdir()
            (folder / f"{target}.safetensors").write_bytes(content)
            with pytest.raises(ValueError if target == "digits" else CheckpointError):
                read(folder / f"{target}.safetensors")
            refused += 1
    assert not mark.exists()
    n = refused + len(HOSTILE) + 7
    reliability("hostile", test="values that look like code, paths that leave the results folder, names with .., false headers, a pickle as checkpoint",
                n=n, target="refused, nothing executed", figure=f"{n} of {n}")


# --- the same again -----------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_bits_and_batches_do_not_matter(reliability: Callable[..., None]) -> None:
    """Training twice is equal to the bit; the surviving images do not depend on how they are batched."""
    first, second = train(), train()
    assert same(everything(*first), everything(*second)) and first[1].epochs == second[1].epochs
    model, images, labels = first[0].double().eval(), to_float(PART.test_images).double(), PART.test_labels
    attack, logits = PGD(Linf(0.05), steps=5, random_start=True, seed=0), model(images)
    found = [survivors(model, images, labels, attack, batch_size=size) for size in (1, 7, 40)]
    assert all(torch.equal(found[0], other) for other in found[1:])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    apart = float((model(images) - logits).abs().max().detach())
    found.append(survivors(model, images, labels, attack, batch_size=40))
    torch.set_num_threads(threads)
    assert torch.equal(found[0], found[-1]) and apart <= 1e-12
    reliability("determinism", test="the same seed twice; other batch sizes and another number of threads in an evaluation", n=6,
                target="equal to the bit; the same images; logits within 1e-12", figure=f"equal; the same images; {apart:.1g} apart")


SOAK = """
import gc, json, os, sys
from pathlib import Path
import psutil, torch
from robinfo.experiments.worst_case_mi import Setup, quickstart
torch.set_num_threads(1)
times, options, folder = int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
for turn in range(times):
    os.environ["ROBINFO_RESULTS"] = str(folder / str(turn))  # else the networks of the first turn would be found again
    quickstart(Setup(dataset="digits", run_dir=str(folder / str(turn)), **options))
    gc.collect()
    print("memory", psutil.Process().memory_info().rss, flush=True)
"""


def test_memory_does_not_grow(tmp_path: Path, reliability: Callable[..., None], request: pytest.FixtureRequest) -> None:
    """The digits quickstart again and again in one process."""
    times = 20 if request.config.getoption("--long") else 5
    options = {"train_images": 192, "test_images": 64, "width": 0.125, "critic_width": 32, "critic_channels": 8, "encoder_epochs": 1,
               "head_epochs": 1, "classifier_epochs": 1, "critic_epochs": 1, "batch_size": 32, "steps": 2}
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", SOAK, str(times), json.dumps(options), str(tmp_path)], capture_output=True, text=True,
                          check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    memory = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("memory")]
    growth = memory[-1] / memory[2] - 1
    reliability("soak", test="the digits quickstart again and again in one process", n=times, target="within 5 % of the third",
                figure=f"memory after the last {100 * growth:+.1f} % of that after the third ({memory[2] / 2**20:.0f} MiB)")
    assert len(memory) == times and abs(growth) <= 0.05


# --- runs that end badly ------------------------------------------------------------------------------------------------
def test_a_run_that_ends_badly_says_where_and_goes_on(toy: Path, tmp_path: Path, reliability: Callable[..., None]) -> None:  # noqa: F811
    """Kernel death, a cell that takes too long, an exception and Ctrl-C: status, cell and cause named, the next run continues."""
    ends: dict[str, tuple[dict[str, Any], str]] = {"die": ({}, "DeadKernelError"), "wait": ({"timeout": 2}, "TimeoutError"), "raise": ({}, "ValueError: images must lie")}
    for mode, (options, cause) in ends.items():
        with pytest.raises(RunFailed) as failed:
            run("toy", folder=toy, results=tmp_path / "out", mode=mode, **options)
        assert "cell [4]: import os, time" in str(failed.value) and cause in str(failed.value)
        assert failed.value.partial.name == "notebook.partial.ipynb" and failed.value.partial.is_file()
        assert not (failed.value.partial.parent / "metrics.json").exists()
    stopped = command(toy, tmp_path / "out", "run", "toy", "-p", "mode=wait", "-p", "seed=9")
    done = wait_for(lambda: list((tmp_path / "out").glob("toy/*seed9*/checkpoints/epoch0")))[0]
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    (done.parents[1] / "go").touch()
    folder = run("toy", folder=toy, results=tmp_path / "out", mode="wait", seed=9)
    assert "resumed 0" in (folder / "notebook.ipynb").read_text()
    reliability("bad-ends", test="kernel death, cell time-out, exception and Ctrl-C in the middle of a run", n=4,
                target="non-zero exit, cell and cause named, partial notebook kept, the next run continues", figure="4 of 4")
