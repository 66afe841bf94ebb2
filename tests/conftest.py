"""Shared fixtures: reproducible Hypothesis runs, their length as an option, and the golden reference values."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

EXAMPLES = 300
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["cases"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--examples N`: how many random examples each property is tried on."""
    parser.addoption("--examples", type=int, default=EXAMPLES, metavar="N",
                     help=f"random examples for each property (default {EXAMPLES}; `make properties` takes 5000)")


def pytest_configure(config: pytest.Config) -> None:
    """Set the length of every property of this run; the examples are the same each time."""
    examples = config.getoption("--examples")
    if examples < 1:
        raise pytest.UsageError(f"--examples must be at least 1, got {examples}")
    settings.register_profile("robinfo", deadline=None, derandomize=True, max_examples=examples)
    settings.load_profile("robinfo")


def golden_cases(kind: str) -> list[Any]:
    """The golden cases of one kind as pytest parameters, identified by their case id."""
    return [pytest.param(case, id=case["id"]) for case in GOLDEN if case["kind"] == kind]
