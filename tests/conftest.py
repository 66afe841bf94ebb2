"""Shared fixtures: reproducible Hypothesis runs and the golden reference values."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("robinfo", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("robinfo")

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["cases"]


def golden_cases(kind: str) -> list[Any]:
    """The golden cases of one kind as pytest parameters, identified by their case id."""
    return [pytest.param(case, id=case["id"]) for case in GOLDEN if case["kind"] == kind]
