"""Make the virtual environment, or find that it is there: `python tests/make_environment.py .venv`.

Standard library only. A stamp in the environment holds a fingerprint of what was installed (settings.ini, setup.py,
constraints.txt, the checkout), so that an unchanged environment costs nothing. An environment that somebody else made
and that already satisfies settings.ini gets only the project itself: its versions are left as they are.
"""
from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("dev", "docs", "notebooks", "cluster")
SATISFIED = """
import sys
from importlib.metadata import PackageNotFoundError, version
from packaging.requirements import Requirement
for spec in sys.argv[1:]:
    wanted = Requirement(spec)
    try:
        if not wanted.specifier.contains(version(wanted.name), prereleases=True):
            sys.exit(f"{spec} wanted, {version(wanted.name)} there")
    except PackageNotFoundError:
        sys.exit(f"{spec} missing")
"""


def say(text: str) -> None:
    """Print a line at once, marked as coming from this step."""
    print(f"== environment: {text}", flush=True)


def fingerprint() -> str:
    """A hash of everything that decides what is installed."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("settings.ini", "setup.py", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def requirements() -> list[str]:
    """Every requirement of settings.ini, extras included."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    section = config["DEFAULT"]
    return [spec for key in ("requirements", *(f"{e}_requirements" for e in EXTRAS)) for spec in section[key].split()]


def create(venv: Path) -> None:
    """Create the empty environment; say what to do where Python was packaged without venv or pip."""
    say(f"creating {venv} with Python {sys.version.split()[0]}")
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
        command = [sys.executable, "-m", "venv", str(venv)]
    except ImportError:
        command = [sys.executable, "-m", "virtualenv", str(venv)]
        if subprocess.run([*command[:3], "--version"], check=False, capture_output=True).returncode:
            sys.exit(f"{sys.executable} comes without venv and ensurepip. On Debian or Ubuntu: apt-get install "
                     "python3-venv; elsewhere: python -m pip install virtualenv; or name another Python: make PYTHON=…")
    subprocess.run(command, check=True)


def watch(command: list[str]) -> None:
    """Run pip, saying every few seconds how far it is; on failure show the end of what it said."""
    start = spoken = time.perf_counter()
    lines, packages = [], 0
    with subprocess.Popen(command, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        for line in pip.stdout or ():
            lines.append(line.rstrip())
            packages += line.startswith(("Collecting", "Processing"))
            now = time.perf_counter()
            if line.startswith("Installing collected packages"):
                say(f"{packages} packages found in {now - start:.0f} s; unpacking them")
            elif now - spoken > 15:
                say(f"{packages} packages so far, {now - start:.0f} s")
                spoken = now
    if pip.returncode:
        told = [line for line in lines if not line.startswith(("WARNING: Location", "Collecting", "  Using cached"))]
        print("\n".join(told[-25:]), flush=True)
        raise subprocess.CalledProcessError(pip.returncode, command)


def install(python: Path) -> None:
    """Install the project in place, with the pinned versions unless what is there satisfies settings.ini."""
    pip = [str(python), "-m", "pip", "install", "--progress-bar", "off"]
    check = subprocess.run([str(python), "-c", SATISFIED, *requirements()], check=False, capture_output=True, text=True)
    if check.returncode == 0:
        say("every requirement is there; installing the project alone")
        alone = [*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
        if subprocess.run(alone, check=False, capture_output=True).returncode == 0:
            return
    say("installing the pinned packages of constraints.txt (about 6 GB with torch; minutes, once)")
    watch([*pip, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{','.join(EXTRAS)}]"])


def main(folder: str) -> None:
    """Make the environment in `folder`, or reuse it."""
    venv = (ROOT / folder).resolve()
    python, stamp = venv / "bin" / "python", venv / ".robinfo-installed"
    if python.exists() and stamp.exists() and stamp.read_text() == fingerprint():
        say(f"reusing {folder}")
        return
    start = time.perf_counter()
    if not python.exists():
        create(venv)
    else:
        say(f"completing {folder}")
    try:
        install(python)
    except subprocess.CalledProcessError as error:
        sys.exit(f"the installation failed (pip ended with {error.returncode}); see its message above, then run make again")
    stamp.write_text(fingerprint())
    say(f"ready in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".venv")
