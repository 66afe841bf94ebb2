"""Confidence intervals: coverage, symmetry, agreement with the formulas, errors."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robinfo.theory.confidence import binomial_interval, mean_interval

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
both = pytest.mark.parametrize("method", ["wilson", "exact"])


@both
@given(count=counts, level=st.floats(0.5, 0.999))
def test_binomial_interval_holds_the_share_and_mirrors(method: Any, count: tuple[int, int], level: float) -> None:
    k, n = count
    low, high = binomial_interval(k, n, level, method=method)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    assert binomial_interval(n - k, n, level, method=method) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    wider = binomial_interval(k, n, (1 + level) / 2, method=method)
    assert wider[0] <= low + 1e-12
    assert wider[1] >= high - 1e-12


@given(count=counts, level=st.floats(0.5, 0.999))
def test_wilson_solves_its_equation(count: tuple[int, int], level: float) -> None:
    """At each end |k/n - p| = z sqrt(p (1 - p) / n)."""
    k, n = count
    z = stats.norm.ppf((1 + level) / 2)
    for p in binomial_interval(k, n, level):
        assert abs(k / n - p) == pytest.approx(z * math.sqrt(max(p * (1 - p), 0) / n), abs=1e-7)


@given(count=counts)
def test_exact_interval_solves_its_equations(count: tuple[int, int]) -> None:
    k, n = count
    low, high = binomial_interval(k, n, method="exact")
    assert low == 0 if k == 0 else stats.binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-5)
    assert high == 1 if k == n else stats.binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-5)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.97])
def test_coverage_summed_exactly(p: float) -> None:
    n = 40
    mass = stats.binom.pmf(np.arange(n + 1), n, p)
    covered = {m: sum(mass[k] for k in range(n + 1) if (i := binomial_interval(k, n, method=m))[0] <= p <= i[1])
               for m in ("wilson", "exact")}
    assert covered["exact"] >= 0.95
    assert 0.9 < covered["wilson"] <= 1


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=20), level=st.floats(0.5, 0.999))
def test_mean_interval_is_students(values: list[float], level: float) -> None:
    found = mean_interval(values, level)
    assert found is not None
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * error
    assert found == pytest.approx((mean - half, mean + half), rel=1e-6, abs=1e-6)


def test_mean_interval_covers() -> None:
    """2000 samples of five: the share covered is within 4.5 standard errors of the level (false alarm below 1e-5)."""
    draws = np.random.default_rng(0).normal(3, 2, (2000, 5))
    inside = [low <= 3 <= high for low, high in (mean_interval(row, 0.9) or (0, 0) for row in draws)]
    assert abs(np.mean(inside) - 0.9) < 4.5 * math.sqrt(0.09 / 2000)


def test_few_or_equal_values() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])
    assert mean_interval([2.0]) is None
    assert mean_interval(iter([2.0, 2.0, 2.0])) == (2.0, 2.0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: binomial_interval(3, 2), "successes must lie in 0..n with n >= 1, got 3 of 2"),
    (lambda: binomial_interval(-1, 2), "got -1 of 2"),
    (lambda: binomial_interval(0, 0), "got 0 of 0"),
    (lambda: binomial_interval(1, 2, 1.0), "level must lie strictly between 0 and 1, got 1.0; for example 0.95"),
    (lambda: binomial_interval(1, 2, math.nan), "level must lie"),
    (lambda: mean_interval([1.0, math.nan]), "values must be finite and at least one"),
    (lambda: mean_interval([1.0, math.inf]), "values must be finite"),
    (lambda: mean_interval([1.0, 2.0], 0.0), "level must lie strictly"),
])
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
