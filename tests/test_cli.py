"""The command `robinfo`, and the wheel that carries its notebooks."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from test_experiments import toy  # noqa: F401  (a fixture)

import robinfo
from robinfo.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy experiment and an empty results folder, through the environment."""
    monkeypatch.setenv("ROBINFO_EXPERIMENTS", str(request.getfixturevalue("toy")))
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "out"))


def test_version_and_help_name_every_command(capsys: Any) -> None:
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"robinfo {robinfo.__version__}\n"
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("list", "show", "run", "report"))


def test_help_loads_neither_torch_nor_papermill() -> None:
    code = ("import sys; from robinfo.cli import main; main(['--help']); "
            "sys.exit(bool({'torch', 'papermill', 'scipy', 'numpy'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_list_and_show(capsys: Any) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "toy  A toy (smoke, cpu, paper)\n"
    assert main(["show", "toy"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["parameter"] == ["parameter", "type", "default", "smoke", "cpu", "paper", "meaning"]
    assert lines["epochs"] == ["epochs", "int", "2", "1", "·", "·", "passes", "over", "the", "data"]
    assert lines["robust"][2] == "false" and "run_dir" not in lines


@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "tyo"], "unknown experiment 'tyo'; did you mean 'toy'? known: toy"),
    (["show", "tyo"], "did you mean 'toy'"),
    (["run", "toy", "--profile", "smoek"], "did you mean 'smoke'"),
    (["run", "toy", "-p", "epoch=3"], "unknown parameter of toy 'epoch'; did you mean 'epochs'"),
    (["run", "toy", "-p", "epochs=many"], "epochs of toy must be int, got str 'many'"),
    (["run", "toy", "-p", "epochs=2.5"], "epochs of toy must be int, got float 2.5"),
    (["run", "toy", "-p", "epochs"], "KEY=VALUE, got 'epochs'"),
    (["run", "toy", "-p", "epochs=[1"], "-p epochs=[1: "),
    (["run", "toy", "--proflie", "cpu"], "No such option"),
    (["run"], "NAME"),
    (["sing"], "sing"),
])
def test_wrong_use_is_one_line_and_code_two(arguments: list[str], message: str, capsys: Any) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.strip().splitlines()) <= 2 and not said.out


def test_unwritable_results_are_code_two(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    assert main(["run", "toy", "--results", str(tmp_path / "file")]) == 2
    assert "cannot write results" in capsys.readouterr().err


def test_run_find_and_report(tmp_path: Path, capsys: Any) -> None:
    arguments = ["run", "toy", "-p", "rate=1e-3", "-p", "eps=8/255", "-p", "limit=null", "-p", "epochs=1"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    folder = Path(said.out.splitlines()[-1])
    assert (folder / "metrics.json").is_file() and "trained 0" in said.out
    assert main(arguments) == 0 and "found toy (smoke)" in capsys.readouterr().err
    assert main(["report"]) == 0
    first, second = capsys.readouterr().out.strip().splitlines()
    page = tmp_path / "out" / "scoreboard.md"
    assert first.startswith(f"{page}: 566 published numbers: 0 reproduced,") and first.endswith(" not run")
    assert second.startswith(f"{tmp_path / 'out' / 'claims.md'}: ") and " not tested" in second
    assert "50.00 % [40.00, 60.00]" in page.read_text()


def test_report_on_a_missing_folder_says_so_and_makes_nothing(tmp_path: Path, capsys: Any) -> None:
    assert main(["report", "--results", str(tmp_path / "nowhere")]) == 2
    assert f"no results folder at {tmp_path / 'nowhere'}; give one" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_failed_run_is_code_one_in_a_few_lines(capsys: Any) -> None:
    assert main(["run", "toy", "-p", "mode=raise"]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert "failed in cell [4]" in said[0] and said[1].startswith("ValueError: images must") and "partial" in said[2]
    assert len(said) == 3


def copy_of_project(target: Path) -> Path:
    """What a build reads, with one experiment, so that the test does not wait for the real ones."""
    for name in ("setup.py", "settings.ini", "pyproject.toml", "MANIFEST.in"):
        shutil.copy(ROOT / name, target / name)
    shutil.copytree(ROOT / "robinfo", target / "robinfo", ignore=shutil.ignore_patterns("__pycache__", "notebooks"))
    shutil.copytree(ROOT / "nbs" / "experiments", target / "nbs" / "experiments",
                    ignore=shutil.ignore_patterns("_*", ".*", "*.partial.ipynb"))
    return target


def build(source: Path, out: Path, kind: str) -> Path:
    """The wheel or sdist of a project."""
    made = subprocess.run([sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(source)],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return next(out.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def test_the_wheel_of_the_sdist_carries_the_experiments_and_runs_them_anywhere(tmp_path: Path, toy: Path) -> None:  # noqa: F811
    (tmp_path / "project").mkdir()
    source = copy_of_project(tmp_path / "project")
    for path in (toy / "toy.ipynb", toy / "toy.yaml"):
        shutil.copy(path, source / "nbs" / "experiments")
    wanted = {path.name for path in (source / "nbs" / "experiments").iterdir() if path.suffix in (".ipynb", ".yaml")}
    shutil.unpack_archive(build(source, tmp_path / "dist", "sdist"), tmp_path / "unpacked", filter="data")
    wheel = build(next((tmp_path / "unpacked").iterdir()), tmp_path / "dist", "wheel")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"robinfo/experiments/notebooks/{name}" for name in wanted} <= inside
    assert {"robinfo/py.typed", "robinfo/experiments/paper_tables.json"} <= inside

    target = tmp_path / "installed"
    made = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
                           str(target), str(wheel)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROBINFO_")} | {"PYTHONPATH": str(target)}

    def command(*arguments: str) -> str:
        """What the installed command prints."""
        done = subprocess.run([sys.executable, "-m", "robinfo.cli", *arguments], cwd=elsewhere, env=environment,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "A toy (smoke, cpu, paper)" in command("list")
    assert Path(command("run", "toy").splitlines()[-1]).is_relative_to(elsewhere / "results" / "toy")
    few = [word for key in ("encoder_epochs=1", "head_epochs=1", "critic_epochs=1", "train_images=128") for word in ("-p", key)]
    measured = Path(command("run", "quickstart", "--profile", "smoke", *few).splitlines()[-1])
    assert measured.is_relative_to(elsewhere / "results" / "quickstart")
    assert {"metrics.json", "notebook.ipynb", "quickstart.svg", "quickstart.png"} <= {path.name for path in measured.iterdir()}
    assert command("report").startswith(f"{elsewhere / 'results' / 'scoreboard.md'}: ")
