"""What the attacks cost beside other libraries: `python tests/benchmarks/attacks.py [TASK …] [--turns N] [--dataset D]`.

The command line of `robinfo.experiments.attack_benchmark`; the experiment `attack_benchmark` is the same with a figure and a record.
"""
from __future__ import annotations

import argparse
import sys

from robinfo.experiments.attack_benchmark import TASKS, BenchmarkSetup, benchmark
from robinfo.experiments.record import compare


def main() -> int:
    """Run the named tasks, all by default; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TASK", help=f"one of {', '.join(TASKS)}; all if none is given")
    parser.add_argument("--turns", type=int, default=5, help="turns that count, beside one that warms up")
    parser.add_argument("--dataset", default="digits", help="digits, or mnist where it is")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    result = benchmark(BenchmarkSetup(tasks=arguments.names or TASKS, turns=arguments.turns, dataset=arguments.dataset))
    print(compare(result.rows), result.verdict(), sep="\n\n")
    return 0 if all(outcome.reached for outcome in result.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
