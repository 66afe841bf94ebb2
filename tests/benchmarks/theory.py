"""What the theory costs: `python tests/benchmarks/theory.py [NAME …]`.

Each line: what is computed, how large, the median of the repetitions with their range, the target, and whether it was reached. CPU time is
what is compared with the target (one thread; a busy machine stretches wall time), wall time is printed beside it.
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robinfo.theory.gaussian_mixture import GaussianMixture
from robinfo.theory.robust_risk import minimal_label_information, randomised_adversarial_risk
from robinfo.theory.transport import minimal_information
from robinfo.threats import L2

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """One thing to time: what it is, how to do it once, and how many seconds it may take."""

    name: str
    what: str
    run: Callable[[], object]
    target: float


def random_reach(rng: np.random.Generator, points: int, labels: int, share: float) -> np.ndarray:
    """Reach sets that hold one label for certain and every other one with probability `share`."""
    reach = rng.random((points, labels)) < share
    reach[np.arange(points), rng.integers(labels, size=points)] = True
    return reach


def tasks() -> list[Task]:
    """Everything that is timed."""
    rng = np.random.default_rng(0)
    p, reach = rng.dirichlet(np.ones(10_000)), random_reach(rng, 10_000, 10, 0.3)
    joint, reach_small = rng.dirichlet(np.full(2000, 0.05)).reshape(200, 10), random_reach(rng, 200, 10, 0.1)
    mixture, w = GaussianMixture([1.0, 0.5, -0.3], np.eye(3)), rng.standard_normal((1_000_000, 3))
    theory = [sys.executable, str(ROOT / "tests" / "run_notebooks.py"), *map(str, sorted((ROOT / "nbs" / "theory").glob("[0-9]*.ipynb")))]
    return [
        Task("vulnerability", "exact least information, n = 10,000 points, K = 10, reach sets known", lambda: minimal_information(p, reach), 1.0),
        Task("mixture", "vulnerability of 1,000,000 Gaussian mixtures in 3 dimensions",
             lambda: mixture.representation_vulnerability(w, L2(0.5)), 1.0),
        Task("programme", "best randomised head as a linear programme, n = 200, K = 10 outputs, 10 labels",
             lambda: randomised_adversarial_risk(joint, reach_small), 5.0),
        Task("duality", "worst-case supervised information with certified gap, same instance", lambda: minimal_label_information(joint, reach_small), 5.0),
        Task("notebooks", "all theory notebooks, one after the other (wall time)", lambda: subprocess.run(theory, check=True, capture_output=True), 180.0),
    ]


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def report(task: Task, repetitions: int) -> bool:
    """Time a task, print its line, and say whether the target was reached."""
    times = [timed(task.run) for _ in range(1 if task.name == "notebooks" else repetitions)]
    compared = [wall if task.name == "notebooks" else cpu for cpu, wall in times]
    middle = statistics.median(compared)
    print(f"{task.name:14} {middle:8.3f} s  [{min(compared):.3f}, {max(compared):.3f}]  wall {statistics.median(w for _, w in times):.3f} s  "
          f"target {task.target:g} s  {'reached' if middle <= task.target else 'MISSED'}  n = {len(times)}  ({task.what})", flush=True)
    return middle <= task.target


def main() -> int:
    """Time the named tasks, all by default; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="tasks to time (default all)")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    chosen = [task for task in tasks() if not options.names or task.name in options.names]
    if not chosen:
        parser.error(f"no task is called {', '.join(options.names)}; there are {', '.join(task.name for task in tasks())}")
    reached = [report(task, options.repetitions) for task in chosen]  # all of them, also after one that misses
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
