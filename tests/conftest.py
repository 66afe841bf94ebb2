"""Shared fixtures: reproducible Hypothesis runs, their length as an option, golden reference values, the record of reliability."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from trials import record_trial

EXAMPLES = 300
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["cases"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--examples N`: how many random examples each property is tried on."""
    parser.addoption("--examples", type=int, default=EXAMPLES, metavar="N",
                     help=f"random examples for each property (default {EXAMPLES}; `make properties` takes 5000)")
    parser.addoption("--long", action="store_true", help="the long form of the reliability tests: 50 kills, 20 quickstarts in one process")
    parser.addoption("--record", action="store_true", help="write what the reliability tests found to results/reliability/")


def pytest_configure(config: pytest.Config) -> None:
    """Set the length of every property of this run; the examples are the same each time."""
    examples = config.getoption("--examples")
    if examples < 1:
        raise pytest.UsageError(f"--examples must be at least 1, got {examples}")
    settings.register_profile("robinfo", deadline=None, derandomize=True, max_examples=examples)
    settings.load_profile("robinfo")


@pytest.fixture
def reliability(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record what a reliability test found; written to results/reliability/ where `--record` asks for it, for the site."""
    def record(name: str, **found: Any) -> None:
        """As `trials.record_trial`, by this test."""
        if request.config.getoption("--record"):
            record_trial(name, by=request.node.nodeid, **found)

    return record


def golden_cases(kind: str) -> list[Any]:
    """The golden cases of one kind as pytest parameters, identified by their case id."""
    return [pytest.param(case, id=case["id"]) for case in GOLDEN if case["kind"] == kind]
