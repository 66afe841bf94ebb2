"""A sweep on two local workers against the same runs one after another: `python tests/benchmarks/sweep.py [--record]`.

Eight digits runs, one thread each. Both sides run the same command for each run; the results of both must be equal.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from robinfo.experiments import sweep
from robinfo.experiments.record import read_metrics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trials import record_trial

RUNS, WORKERS, TARGET = 8, 2, 0.65


def one_after_another(results: Path) -> float:
    """Seconds for all runs, each a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    start = time.perf_counter()
    for seed in range(RUNS):
        subprocess.run([sys.executable, "-m", "robinfo.cli", "run", "quickstart", "--profile", "smoke", "-p", f"seed={seed}", "--results", str(results)],
                       check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def spread(results: Path) -> float:
    """Seconds for the sweep, its cluster's start and end included."""
    start = time.perf_counter()
    outcomes = sweep({"experiment": "quickstart", "profile": "smoke", "seeds": RUNS}, results=results, workers=WORKERS, say=lambda _: None)
    if any(outcome.status != "finished" for outcome in outcomes):
        raise SystemExit(f"a run failed: {outcomes}")
    return time.perf_counter() - start


def numbers(results: Path) -> dict[str, list[object]]:
    """What the runs measured, by run."""
    return {file.parent.name: [(row.metric, row.method, row.value, row.interval) for row in read_metrics(file).rows]
            for file in sorted(results.glob("quickstart/*/metrics.json"))}


def main() -> None:
    """Print the ratio; with `--record`, keep it for the page of reliability."""
    with tempfile.TemporaryDirectory() as folder:
        alone, together = Path(folder) / "alone", Path(folder) / "together"
        slow, quick = one_after_another(alone), spread(together)
        equal = numbers(alone) == numbers(together) and len(numbers(alone)) == RUNS
    text = f"{quick:.0f} s on {WORKERS} workers, {slow:.0f} s one after another: {quick / slow:.3f} of the time; results {'equal' if equal else 'DIFFER'}"
    print(text)
    if "--record" in sys.argv:
        record_trial("sweep-speed", test=f"a sweep of {RUNS} digits runs on {WORKERS} local workers, one thread each", n=RUNS,
                     target=f"at most {TARGET} of the time one after another, results equal", figure=text, by="tests/benchmarks/sweep.py")
    if not equal or quick > TARGET * slow:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
