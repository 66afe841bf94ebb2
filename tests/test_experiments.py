"""The launcher and the record of experiments, on a notebook small enough to run in a second."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robinfo.experiments import (
    ParameterTypeError,
    RunFailed,
    UsageError,
    experiments,
    launcher,
    parameters,
    published,
    record,
    report,
    run,
)
from robinfo.experiments.record import Row

PARAMETERS = """\
dataset = "digits"  # data set, by name
epochs = 2  # passes over the data
rate = 1e-3  # learning rate, as in lr=0.001
eps = 8 / 255  # radius
widths = [8, 16]  # of the layers
robust = False  # train for the worst case
limit: int | None = None  # images used; all if none
mode: Literal["fine", "raise", "die", "wait", "silent"] = "fine"  # what this toy does
seed = 0  # of everything
run_dir = "."  # where figures, metrics and checkpoints go
"""
BODY = """\
# the body
import os, time
from pathlib import Path
folder = Path(run_dir)
(folder / "checkpoints").mkdir(exist_ok=True)
for epoch in range(epochs):
    done = folder / "checkpoints" / f"epoch{epoch}"
    print("resumed" if done.exists() else "trained", epoch, flush=True)
    done.touch()
print("in", folder.resolve())
if mode == "raise":
    raise ValueError("images must lie in [0, 1], got max 2.64")
if mode == "die":
    os._exit(9)
if mode == "wait" and not (folder / "go").exists():
    time.sleep(60)
"""
RECORD = """\
from robinfo.experiments.record import Row, write_metrics
row = Row(metric="natural_accuracy", value=50.0 + seed, unit="%", n=100, interval=(40.0, 60.0 + seed), dataset=dataset, model="toy",
          method="none", seeds=[seed])
if mode != "silent":
    write_metrics(run_dir, "toy", "smoke", {"epochs": epochs, "run_dir": run_dir}, [row])
"""


def notebook(*cells: tuple[str, str, list[str]], kernel: bool = True) -> str:
    """The text of a notebook with these (type, source, tags)."""
    made: list[dict[str, Any]] = []
    for index, (kind, source, tags) in enumerate(cells):
        cell: dict[str, Any] = {"id": f"c{index}", "cell_type": kind, "metadata": {"tags": tags}, "source": source}
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    spec = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}} if kernel else {}
    return json.dumps({"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A folder with the toy experiment and its profiles."""
    folder = tmp_path / "nbs"
    folder.mkdir()
    text = notebook(("markdown", "# A toy\n\nText.", []), ("code", "from typing import Literal", []), ("code", PARAMETERS, ["parameters"]), ("code", BODY, []),
                    ("code", RECORD, []))
    (folder / "toy.ipynb").write_text(text)
    (folder / "toy.yaml").write_text("smoke: {epochs: 1, rate: 1e-2}\ncpu:\n  dataset: mnist\npaper:\n")
    (folder / "_draft.ipynb").write_text("not read")
    return folder


@pytest.fixture
def start(toy: Path, tmp_path: Path) -> Callable[..., Path]:
    """`run` on the toy, with results below the test's folder."""
    return lambda **options: run("toy", **({"folder": toy, "results": tmp_path / "out"} | options))


def command(toy: Path, results: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command started as a process of its own, which an interrupt reaches also where this one is a background job."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = os.environ | {"ROBINFO_EXPERIMENTS": str(toy), "ROBINFO_RESULTS": str(results)}
    return subprocess.Popen([sys.executable, "-m", "robinfo.cli", *arguments], env=environment, text=True,
                            cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    """What `found` returns once it is something."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return result


# --- finding and checking ---------------------------------------------------------------------------------------------
def test_experiments_are_found_with_title_and_profiles(toy: Path) -> None:
    found = experiments(toy)
    assert [(e.name, e.title, list(e.profiles)) for e in found] == [("toy", "A toy", ["smoke", "cpu", "paper"])]
    assert found[0].profiles["smoke"] == {"epochs": 1, "rate": 0.01} and found[0].profiles["paper"] == {}


def test_parameters_have_type_default_and_meaning(toy: Path) -> None:
    declared = parameters("toy", toy)
    assert {p.name: p.type for p in declared.values()} == {
        "dataset": "str", "epochs": "int", "rate": "float", "eps": "float", "widths": "list[int]", "robust": "bool",
        "limit": "int | None", "mode": "Literal['fine', 'raise', 'die', 'wait', 'silent']", "seed": "int"}
    assert declared["eps"].default == 8 / 255 and declared["rate"].help == "learning rate, as in lr=0.001"


def test_papermill_reads_the_same_parameters(toy: Path) -> None:
    from papermill import inspect_notebook

    theirs = inspect_notebook(toy / "toy.ipynb")
    ours = parameters("toy", toy)
    assert {"dataset", "epochs", "widths", "robust", "seed"} <= set(theirs) & set(ours)
    assert all(theirs[name]["help"] == ours[name].help for name in set(theirs) & set(ours))


@pytest.mark.parametrize(("given", "message"), [
    ({"epoch": 3}, "unknown parameter of toy 'epoch'; did you mean 'epochs'"),
    ({"epochs": "many"}, "epochs of toy must be int, got str 'many'"),
    ({"epochs": 2.5}, "epochs of toy must be int, got float 2.5"),
    ({"epochs": True}, "epochs of toy must be int, got bool True"),
    ({"rate": "0.1"}, "rate of toy must be float, got str '0.1'"),
    ({"robust": 1}, "robust of toy must be bool, got int 1"),
    ({"dataset": 5}, "dataset of toy must be str, got int 5; quote it twice"),
    ({"widths": [1, "x"]}, r"widths of toy must be list\[int\], got list"),
    ({"limit": "all"}, r"limit of toy must be int \| None, got str"),
    ({"mode": "fin"}, "mode of toy must be Literal"),
    ({"run_dir": "/x"}, "run_dir is set by the launcher"),
])
def test_wrong_parameters_are_refused_before_anything_runs(start: Callable[..., Path], given: dict[str, Any], message: str,
                                                          tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        start(**given)
    assert not (tmp_path / "out").exists()


def test_wrong_types_are_type_errors_and_value_errors(start: Callable[..., Path]) -> None:
    with pytest.raises(ParameterTypeError) as caught:
        start(epochs="many")
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)


def test_unknown_experiment_and_profile_name_the_nearest(start: Callable[..., Path], toy: Path) -> None:
    with pytest.raises(UsageError, match="unknown experiment 'tyo'; did you mean 'toy'. known: toy"):
        run("tyo", folder=toy)
    with pytest.raises(UsageError, match="unknown profile of toy 'smok'; did you mean 'smoke'. known: cpu, paper, smoke"):
        start(profile="smok")


def test_a_wrong_profile_is_named(toy: Path, start: Callable[..., Path]) -> None:
    (toy / "toy.yaml").write_text("smoke: {epoch: 1}")
    with pytest.raises(UsageError, match=r"unknown parameter of toy \(profile smoke\) 'epoch'; did you mean 'epochs'"):
        start()
    (toy / "toy.yaml").write_text("smoke: 3")
    with pytest.raises(UsageError, match=r"toy.yaml must map each profile"):
        start()
    (toy / "toy.yaml").write_text("smoke: {")
    with pytest.raises(UsageError, match=r"toy.yaml: "):
        start()


@pytest.mark.parametrize(("cell", "message"), [
    ("epochs = int(3)", "name = literal"), ("import os", "line 1 is `import os`"), ("%matplotlib inline", "name = literal"),
    ("force = True", "force cannot be a parameter's name"), ("epochs: int = 'x'", "the default 'x' is no int"),
    ("x: Thing = 1", "type `Thing` is not understood"),
])
def test_a_parameter_cell_with_more_than_literals_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    (tmp_path / "bad.ipynb").write_text(notebook(("code", cell, ["parameters"])))
    with pytest.raises(UsageError, match=message):
        parameters("bad", tmp_path)


def test_a_damaged_notebook_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.ipynb").write_text('{"cells": [')
    with pytest.raises(UsageError, match="half.ipynb is no notebook"):
        experiments(tmp_path)


@pytest.mark.parametrize(("text", "value"), [
    ("1e-3", 1e-3), ("-2E+4", -2e4), ("8/255", 8 / 255), ("3", 3), ("3.", 3.0), ("yes", True), ("null", None),
    ("[1e-3, 8/255]", [1e-3, 8 / 255]), ("{a: 1}", {"a": 1}), ("cifar10", "cifar10"), ("a/b", "a/b"), ("'3'", "3"),
])
def test_values_are_read_as_yaml(text: str, value: object) -> None:
    assert launcher.parse_value(text) == value and type(launcher.parse_value(text)) is type(value)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "[1", "1/0"])
def test_texts_that_are_no_values_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        launcher.parse_value(text)


@given(st.dictionaries(st.sampled_from("abcde"), st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)), st.randoms())
def test_run_ids_depend_on_values_only(values: dict[str, Any], random: Any) -> None:
    shuffled = list(values.items())
    random.shuffle(shuffled)
    assert launcher.run_id("toy", "smoke", values) == launcher.run_id("toy", "smoke", dict(shuffled))
    assert launcher.run_id("toy", "smoke", values) != launcher.run_id("toy", "smoke", values | {"other": 1})


def test_run_ids_are_safe_folder_names() -> None:
    assert "/" not in launcher.run_id("toy", "smoke", {"dataset": "../x y", "seed": 3})


def test_every_experiment_of_the_project_accepts_its_profiles(tmp_path: Path) -> None:
    for experiment in experiments(Path(__file__).parents[1] / "nbs" / "experiments"):
        assert {"smoke", "cpu", "paper"} <= set(experiment.profiles), experiment.name
        metadata = json.loads(experiment.notebook.read_text())["metadata"]
        assert metadata.get("kernelspec", {}).get("language") == "python", f"{experiment.name}: papermill by hand needs a kernelspec"
        for profile in experiment.profiles:
            plan = launcher.prepare(experiment.name, profile, results=tmp_path, folder=experiment.notebook.parent)
            assert plan.takes_run_dir, f"{experiment.name} declares no run_dir"


# --- running ----------------------------------------------------------------------------------------------------------
def test_a_run_writes_its_folder_and_is_found_again(start: Callable[..., Path], toy: Path, capfd: Any) -> None:
    folder = start(seed=4, limit=7)
    printed = capfd.readouterr()
    assert "trained 0" in printed.out and "finished toy (smoke)" in printed.err
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.json", "notebook.ipynb", "parameters.json"]
    assert folder.name.startswith("smoke-digits-seed4-")
    stored = json.loads((folder / "parameters.json").read_text())
    assert stored["parameters"]["limit"] == 7 and stored["parameters"]["rate"] == 0.01
    text = (folder / "notebook.ipynb").read_text()
    assert str(folder) not in text and str(Path.home()) + "/" not in text and 'run_dir = \\".\\"' in text
    kept = record.read_metrics(folder)
    assert kept.rows[0].seeds == (4,) and kept.provenance["seconds"] > 0.2
    assert kept.parameters == stored["parameters"]  # the request's, not those that the notebook passed

    again = start(seed=4, limit=7, epochs=1)  # the profile's own value, spelt out
    assert again == folder and "found toy (smoke)" in capfd.readouterr().err
    (toy / "toy.ipynb").write_text((toy / "toy.ipynb").read_text().replace("# the body", "# another body"))
    start(seed=4, limit=7)
    assert "made with another version of the notebook" in capfd.readouterr().err
    for _ in range(2):  # the second repetition must not resume from what the first one kept
        start(seed=4, limit=7, force=True, keep_checkpoints=True)
        assert "trained 0" in capfd.readouterr().out and (folder / "checkpoints" / "epoch0").exists()


def test_a_failing_cell_is_named_and_the_partial_notebook_left(start: Callable[..., Path]) -> None:
    with pytest.raises(RunFailed) as caught:
        start(mode="raise")
    message = str(caught.value)
    assert "toy (smoke) failed in cell [4]: import os, time" in message
    assert "ValueError: images must lie in [0, 1], got max 2.64" in message and len(message.splitlines()) == 3
    assert caught.value.partial.is_file() and not (caught.value.partial.parent / "notebook.ipynb").exists()


def test_a_dead_kernel_is_a_failed_run(start: Callable[..., Path]) -> None:
    with pytest.raises(RunFailed, match=r"failed in cell \[4\]: import os, time\nDeadKernelError") as caught:
        start(mode="die")
    assert caught.value.partial.is_file()


def test_a_cell_that_takes_too_long_is_a_failed_run(start: Callable[..., Path]) -> None:
    with pytest.raises(RunFailed, match=r"failed in cell \[4\]: import os, time\nTimeoutError.* 1 s"):
        start(mode="wait", timeout=1)


def test_a_notebook_without_metrics_has_not_finished(start: Callable[..., Path]) -> None:
    with pytest.raises(RunFailed, match=r"wrote no metrics\.json"):
        start(mode="silent")


def test_a_folder_that_cannot_be_made_is_a_clear_error(start: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write results to .*; choose another folder: --results DIR"):
        start(results=tmp_path / "file")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_continues(toy: Path, tmp_path: Path, stop: signal.Signals, code: int) -> None:
    arguments = ("run", "toy", "-p", "mode=wait")
    first = command(toy, tmp_path / "out", *arguments)
    done = wait_for(lambda: list((tmp_path / "out").rglob("checkpoints/epoch0")))[0]
    second = command(toy, tmp_path / "out", *arguments)
    assert second.wait(60) == 2 and f"is being run by process {first.pid}" in second.communicate()[1]
    first.send_signal(stop)
    assert first.wait(60) == code
    said = first.communicate()[1]
    assert stop == signal.SIGKILL or "the same command continues it" in said and "Traceback" not in said
    assert (done.parents[1] / "notebook.partial.ipynb").is_file()
    (done.parents[1] / "go").touch()
    third = command(toy, tmp_path / "out", *arguments)
    out, error = third.communicate(timeout=60)
    assert third.returncode == 0 and "resumed 0" in out and "continuing toy (smoke)" in error
    assert not (done.parents[1] / "checkpoints").exists()


def test_the_kernel_is_this_interpreter_whatever_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "another", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    code = RECORD.replace('model="toy"', "model=__import__('sys').executable")
    cells = [("code", 'epochs = 1\nseed = 0\ndataset = "d"\nmode = "fine"\nrun_dir = "."', ["parameters"]), ("code", code, [])]
    (tmp_path / "{odd} folder").mkdir()
    (tmp_path / "{odd} folder" / "toy.ipynb").write_text(notebook(*cells, kernel=False))
    folder = run("toy", folder=tmp_path / "{odd} folder", results=tmp_path / "out {x}")
    assert record.read_metrics(folder).rows[0].model == sys.executable


def test_papermill_by_hand_runs_the_same_notebook(toy: Path, tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "papermill", str(toy / "toy.ipynb"), "out.ipynb", "-p", "epochs", "1",
                           "--cwd", str(tmp_path), "--no-progress-bar"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert record.read_metrics(tmp_path).parameters == {"epochs": 1}


# --- the record -------------------------------------------------------------------------------------------------------
def row(**changes: Any) -> Row:
    """A row with some fields changed."""
    fields: dict[str, Any] = {"metric": "adversarial_accuracy", "value": 31.0, "unit": "%", "n": 10000, "dataset": "cifar10",
                              "model": "MLP", "method": "ours", "threat": "Linf(8/255)", "attack": "PGD-7"}
    return Row(**(fields | changes))


CELL = {"method": "Ours / h=Robust", "metric": "adversarial_accuracy", "head": "MLP"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"value": float("nan")}, "must be finite"), ({"interval": (2.0, 1.0)}, "lower, upper"), ({"n": 0}, "at least 1"),
    ({"verdict": "fine"}, "verdict must be one of reproduced"),
])
def test_rows_refuse_what_is_no_measurement(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row(**changes)


def test_metrics_round_trip_with_provenance(tmp_path: Path) -> None:
    cell = record.paper_row("Zhu2020", "1", **CELL)
    given = row(paper=cell, interval=[30.1, 31.9], seeds=[0, 1])
    path = record.write_metrics(tmp_path / "run", "table", "paper", {"epochs": 3, "run_dir": "/x"}, [given], started=time.time())
    stored = json.loads(path.read_text())
    assert set(stored) == {"experiment", "profile", "parameters", "provenance", "rows", "seal", "sealed"}
    assert set(stored["rows"][0]) == {"metric", "value", "unit", "n", "interval", "dataset", "model", "method", "attack",
                                      "threat", "seeds", "paper", "verdict", "settings"}
    assert stored["rows"][0]["paper"] == {"paper": "Zhu2020", "table": "1", "mean": 31.52, "std": 0.31,
                                          "cell": "zhu2020-table-1-cifar10-mlp-ours-h-robust-adversarial"}
    assert stored["rows"][0]["verdict"] == "reproduced" and stored["parameters"] == {"epochs": 3}
    assert {"code", "device", "versions", "started", "seconds", "reduced"} <= set(stored["provenance"])
    assert record.read_metrics(tmp_path / "run").rows[0].interval == (30.1, 31.9)


def test_rows_of_a_reduced_run_are_not_compared(tmp_path: Path) -> None:
    path = record.write_metrics(tmp_path, "table", "cpu", {}, [row(paper=record.paper_row("Zhu2020", "1", **CELL))])
    kept = record.read_metrics(path)
    assert kept.rows[0].verdict == "not comparable" and kept.rows[0].settings == "reduced: profile cpu"
    assert kept.provenance["reduced"] is True


def test_a_damaged_metrics_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"rows": [')
    with pytest.raises(ValueError, match=r"metrics\.json is no metrics file"):
        record.read_metrics(tmp_path)
    with pytest.raises(TypeError, match="rows must be Row objects, got dict"):
        record.write_metrics(tmp_path, "a", "smoke", {}, [{"metric": "x"}])  # type: ignore[list-item]


def test_paper_rows_are_found_or_explained() -> None:
    found = record.paper_row("Zhu2020", "3", dataset="mnist", **CELL)
    assert found is not None and found["mean"] == 60.64
    with pytest.raises(ValueError, match="did you mean 'Ours / h=Robust'"):
        record.paper_row("Zhu2020", "1", **(CELL | {"method": "Ours / h=Robus"}))
    with pytest.raises(ValueError, match="2 rows of Zhu2020 table 1 match; also give model or head"):
        record.paper_row("Zhu2020", "1", method="Ours / h=Robust", metric="adversarial_accuracy")
    assert record.paper_row("Zhu2020", "1", dataset="digits", required=False) is None


def test_every_paper_row_of_the_tables_has_its_fields() -> None:
    rows = published.published_cells()
    assert Counter(r["paper"] for r in rows) == {"Zhu2020": 184, "Yu2022": 249, "GuessFirst2019": 133}
    assert sum(r["paper"] == "Zhu2020" and r["table"] in {"1", "3", "4", "5"} for r in rows) == 112
    assert all({"paper", "table", "dataset", "model", "method", "metric", "attack", "mean", "std", "unit"} <= set(r) for r in rows)


@given(st.floats(0, 100), st.floats(0, 5), st.floats(0, 100), st.floats(0.01, 5))
def test_verdicts_follow_the_rule(measured: float, half: float, mean: float, std: float) -> None:
    got = record.verdict(measured, (measured - half, measured + half), mean, std)
    gap = max(measured - half - mean, mean - measured - half, 0)
    assert got == ("reproduced" if gap <= 2 * std else "with a caveat" if gap <= 4 * std else "not reproduced")
    assert record.verdict(measured, None, mean, std, comparable="another threat") == "not comparable"


def test_units_must_agree() -> None:
    with pytest.raises(ValueError, match="measured in 'nats', published in '%'"):
        record.judge(row(unit="nats", paper=record.paper_row("Zhu2020", "1", **CELL)))


def test_comparison_shows_measured_beside_published() -> None:
    table = record.compare([row(paper=record.paper_row("Zhu2020", "1", **CELL), interval=(30.1, 31.9))])
    line = str(table).splitlines()[-1]
    assert "31.00 % [30.10, 31.90] (n=10000)" in line and "31.52 ± 0.31" in line and "-0.52" in line and "reproduced" in line
    assert "<td>adversarial accuracy, PGD-7, Linf(8/255)</td>" in table._repr_html_()


def test_report_is_a_page_in_a_fixed_order(tmp_path: Path) -> None:
    for name, profile in (("b", "cpu"), ("a", "smoke"), ("a", "paper")):
        record.write_metrics(tmp_path / name / profile, name, profile, {}, [row(dataset="x|y")], device="cpu")
    (tmp_path / "b" / "half").mkdir()
    record.write_metrics(tmp_path / "b" / "half", "unfinished", "cpu", {}, [row()])
    (tmp_path / "b" / "half" / "notebook.partial.ipynb").touch()
    page = report(tmp_path)
    text = page.read_text()
    assert page == tmp_path / "scoreboard.md" and text.index("### a") < text.index("### b") and "unfinished" not in text
    assert text.index("a/paper</a> · profile paper on CPU") < text.index("a/smoke</a> · profile smoke on CPU")
    assert text.count("<b>31.00 %</b>") == 3 and "x|y" in text
    assert report(tmp_path).read_text() == text


def test_code_hash_ignores_what_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("a.py", "x = 1"), ("_modidx.py", "1"), ("experiments/notebooks/q.ipynb", "{}")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(record, "_PACKAGE", tmp_path)
    found = []
    for name, text in (("a.py", "x = 1"), ("_modidx.py", "2"), ("a.py", "x = 2")):
        (tmp_path / name).write_text(text)
        record.code_hash.cache_clear()
        found.append(record.code_hash())
    record.code_hash.cache_clear()
    assert found[0] == found[1] != found[2]
