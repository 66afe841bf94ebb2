"""The record of a reliability trial: one file in results/reliability/, from which the site's page is made."""
from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "results" / "reliability"  # also where a test has a results folder of its own


def record_trial(name: str, *, test: str, figure: str, target: str, n: int, by: str) -> None:
    """One line of the table: what was done, what came out, what was wanted, how many trials, and by which test."""
    from robinfo.experiments.record import provenance, write_json

    FOLDER.mkdir(parents=True, exist_ok=True)
    where = {key: value for key, value in provenance(device="cpu").items() if key in ("code", "device", "cpus", "platform", "versions", "started")}
    write_json(FOLDER / f"{name}.json", {"name": name, "test": test, "figure": figure, "target": target, "n": n, "by": by, "provenance": where})
