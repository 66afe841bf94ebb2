"""Run every experiment notebook with the profile `smoke`, two at a time: `python tests/run_smoke.py [NAME …]`.

Each run's output is printed when it ends, so that two runs do not mix. The exit status is non-zero if one failed.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, results: str) -> tuple[str, int, float, str]:
    """Name, exit status, seconds and output of one experiment."""
    start = time.perf_counter()
    done = subprocess.run(["robinfo", "run", name, "--profile", "smoke", "--results", results], cwd=ROOT, check=False, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return name, done.returncode, time.perf_counter() - start, done.stdout


def main(names: list[str]) -> int:
    """Run them all and name those that failed."""
    names = names or sorted(p.stem for p in (ROOT / "nbs" / "experiments").glob("*.ipynb") if not p.name.startswith("."))
    failed = []
    with tempfile.TemporaryDirectory(prefix="robinfo-smoke-") as results, ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for number, done in enumerate(as_completed([pool.submit(run, name, results) for name in names]), start=1):
            name, status, seconds, output = done.result()
            print(f"{output}-- {number}/{len(names)} {name}: {'ok' if status == 0 else f'FAILED ({status})'} in {seconds:.0f} s", flush=True)
            failed += [name] if status else []
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(names)} experiments ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
