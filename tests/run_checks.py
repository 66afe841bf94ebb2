"""Every check of the project, one after the other, with its time: `python tests/run_checks.py [NAME …]`.

All checks run even when one fails; the exit status is non-zero then. The last line is pytest's own closing line.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKERS = str(min(4, os.cpu_count() or 1))
CLOSING = re.compile(r"\b\d+ (passed|failed|errors?|skipped|deselected|warnings?)\b.* in [\d.]+s|^no tests ran in")
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")
Commands = Iterator[list[str]]


def sync() -> Commands:
    """robinfo/ is what the notebooks export, and the notebooks are clean."""
    yield [sys.executable, "tests/check_sync.py"]


def ruff() -> Commands:
    """Lint."""
    yield ["ruff", "check", "."]


def mypy() -> Commands:
    """Types of the package."""
    yield [sys.executable, "-m", "mypy"]


def nbtest() -> Commands:
    """Every cell of the landing page and of the theory, methods and guides notebooks runs."""
    for path in ("nbs/index.ipynb", "nbs/theory", "nbs/methods", "nbs/guides"):
        yield ["nbdev_test", "--path", path, "--n_workers", WORKERS, "--timing"]


def experiments() -> Commands:
    """Every experiment notebook through papermill, with the profile `smoke`."""
    yield [sys.executable, "tests/run_smoke.py"]


def site() -> Commands:
    """The site, from nothing, warnings as errors."""
    shutil.rmtree(ROOT / "docs" / "_build", ignore_errors=True)
    yield [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-c", "docs", "nbs", "docs/_build/html"]


def tests() -> Commands:
    """pytest, doctests included; one file stays on one worker."""
    yield [sys.executable, "-m", "pytest", "-n", WORKERS, "--dist", "loadfile", "--durations=10"]


CHECKS: dict[str, Callable[[], Commands]] = {
    "sync": sync, "ruff": ruff, "mypy": mypy, "notebooks": nbtest, "experiments": experiments, "site": site,
    "pytest": tests}


def stream(command: list[str]) -> tuple[int, str]:
    """Run one command, passing its output on; its exit status and pytest's closing line if it printed one."""
    # one thread each: several of them start processes themselves, and two spinning threads starve each other on a busy machine
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    closing = ""
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout or ():
            print("   " + line, end="", flush=True)
            if CLOSING.search(line):
                closing = line.strip().strip("= ")
    return process.returncode, closing


def check(name: str) -> tuple[bool, float, str]:
    """Run one check: did it pass, seconds, and pytest's closing line."""
    print(f"\n== {name}: {CHECKS[name].__doc__}", flush=True)
    start, failed, closing = time.perf_counter(), False, ""
    for command in CHECKS[name]():
        print("   $ " + " ".join([Path(command[0]).name, *command[1:]]), flush=True)
        try:
            status, last = stream(command)
            closing = last or closing
        except FileNotFoundError:
            print(f"   {command[0]} is not in this environment; run make env", flush=True)
            status = 127
        failed = failed or status != 0
    seconds = time.perf_counter() - start
    print(f"== {name}: {'FAILED' if failed else 'ok'} in {seconds:.0f} s", flush=True)
    return not failed, seconds, closing


def verdict(closing: str) -> str:
    """Pytest's closing line with passed and failed first, whatever their number."""
    counts = {"passed": "0", "failed": "0", **{what: number for number, what in COUNT.findall(closing)}}
    return ", ".join(f"{number} {what}" for what, number in counts.items()) + closing[closing.rfind(" in "):]


def main(names: list[str]) -> int:
    """Run the named checks (all by default) and print the summary."""
    unknown = sorted(set(names) - set(CHECKS))
    if unknown:
        print(f"unknown check {', '.join(unknown)}; known: {', '.join(CHECKS)}")
        return 2
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # this environment's tools
    start = time.perf_counter()
    results = {name: check(name) for name in names or CHECKS}
    print(f"\n== summary: {time.perf_counter() - start:.0f} s")
    for name, (passed, seconds, _) in results.items():
        print(f"   {name:<12} {'ok' if passed else 'FAILED':<7} {seconds:6.0f} s")
    if "pytest" in results:
        closing = results["pytest"][2]
        print(f"pytest: {verdict(closing)}" if closing else "pytest did not finish")
    return 0 if all(passed for passed, _, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
