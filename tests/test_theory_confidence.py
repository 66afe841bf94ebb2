"""Confidence intervals: coverage, exact sums, the tail bounds, agreement with the formulas, errors."""
from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import gammaln

from robinfo.theory.confidence import (
    Interval,
    _entropy_margins,
    _surprisal_deviation,
    binomial_interval,
    entropy_interval,
    largest_varentropy,
    mean_interval,
    vulnerability_interval,
    vulnerability_interval_binary,
)
from robinfo.theory.information import binary_entropy, entropy
from robinfo.theory.transport import assign_first_reachable, minimal_information, reach_from_masks

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


# ---------------------------------------------------------------- two outputs
@st.composite
def three_counts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """n, ones, and how many inputs reach output 0 and output 1."""
    n = draw(st.integers(1, 40))
    ones = draw(st.integers(0, n))
    return n, ones, draw(st.integers(n - ones, n)), draw(st.integers(ones, n))


@given(counts=three_counts(), level=st.sampled_from([0.5, 0.9, 0.99]))
def test_binary_interval_is_the_image_of_the_box(counts: tuple[int, int, int, int], level: float) -> None:
    """Every point of a grid over the box of shares lies inside, and the ends are attained on the grid."""
    n, ones, zero, one = counts
    found = vulnerability_interval_binary(n, ones, reach_zero=zero, reach_one=one, level=level)
    grids = []
    for count in (ones, zero, one):
        low, high = binomial_interval(count, n, 1 - (1 - level) / 3, method="exact")
        grids.append(binary_entropy(np.append(np.linspace(low, high, 21), np.clip(0.5, low, high))))
    hidden = np.minimum(grids[1][:, None], grids[2])
    assert (found.entropy.low, found.entropy.high) == pytest.approx((grids[0].min(), grids[0].max()), abs=1e-12)
    assert found.minimal_information.low == pytest.approx(hidden.min(), abs=1e-12)
    assert found.minimal_information.high == pytest.approx(min(hidden.max(), grids[0].max()), abs=1e-12)
    assert found.vulnerability.low == pytest.approx(max(0, grids[0].min() - hidden.max()), abs=1e-12)
    assert found.vulnerability.high == pytest.approx(grids[0].max() - hidden.min(), abs=1e-12)


@given(counts=three_counts())
def test_binary_interval_holds_its_estimates_and_mirrors(counts: tuple[int, int, int, int]) -> None:
    n, ones, zero, one = counts
    found = vulnerability_interval_binary(n, ones, reach_zero=zero, reach_one=one)
    mirrored = vulnerability_interval_binary(n, n - ones, reach_zero=one, reach_one=zero)
    for name in ("vulnerability", "minimal_information", "entropy"):
        interval = getattr(found, name)
        assert 0 <= interval.low <= interval.estimate + 1e-12 <= interval.high + 2e-12 <= math.log(2) + 1e-9
        assert interval == pytest.approx(getattr(mirrored, name), abs=1e-9)
    assert found.minimal_information.estimate == pytest.approx(min(binary_entropy(zero / n), binary_entropy(one / n)))
    assert found.vulnerability.estimate == pytest.approx(found.entropy.estimate - found.minimal_information.estimate, abs=1e-12)


def test_binary_interval_when_everybody_reaches_everything() -> None:
    """By hand: the lower share is (alpha / 6)^(1 / n)."""
    found = vulnerability_interval_binary(50, 50, reach_zero=50, reach_one=50)
    top = binary_entropy((0.05 / 6) ** (1 / 50))
    assert found.minimal_information == pytest.approx((0.0, 0.0, top), abs=1e-12)
    assert found.entropy == pytest.approx((0.0, 0.0, top), abs=1e-12)


@pytest.mark.parametrize("level", [0.6, 0.95])
def test_binary_coverage_summed_exactly(level: float) -> None:
    """Cells: reach {0}, reach {1}, both with output 0, both with output 1. All 286 outcomes of ten inputs."""
    cells = np.array([c for c in itertools.product(range(11), repeat=4) if sum(c) == 10])
    found = [vulnerability_interval_binary(10, b + d, reach_zero=a + c + d, reach_one=b + c + d, level=level)
             for a, b, c, d in cells.tolist()]
    ends = np.array([[v.vulnerability[1:], v.minimal_information[1:], v.entropy[1:]] for v in found])
    rng = np.random.default_rng(0)
    for law in [*np.eye(4), *rng.dirichlet(np.full(4, 0.4), 200), *rng.dirichlet(np.full(4, 3.0), 50)]:
        nominal, hidden = binary_entropy(law[1] + law[3]), min(binary_entropy(law[0]), binary_entropy(law[1]))
        truth = np.array([nominal - hidden, hidden, nominal])[:, None]
        inside = ((ends[..., :1] <= truth + 1e-12) & (truth <= ends[..., 1:] + 1e-12)).all(axis=(1, 2))
        assert stats.multinomial.pmf(cells, 10, law)[inside].sum() >= level


def test_ends_of_the_entropy_are_not_enough() -> None:
    """Mapping only the ends of a share through H2 would miss log 2 when one half lies inside."""
    low, high = binomial_interval(500, 1000, 1 - 0.05 / 3, method="exact")
    assert max(binary_entropy(low), binary_entropy(high)) < math.log(2) - 1e-4
    assert vulnerability_interval_binary(1000, 500, reach_zero=600, reach_one=600).entropy.high == math.log(2)


# ---------------------------------------------------------------- the entropy of K outcomes
laws = st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda p: sum(p) > 1e-3).map(lambda p: np.array(p) / sum(p))


@given(law=laws)
def test_varentropy_is_never_larger(law: np.ndarray) -> None:
    positive = law[law > 0]
    varentropy = positive @ np.log(positive) ** 2 - entropy(law) ** 2
    assert varentropy <= largest_varentropy(len(law)) + 1e-12


@given(outcomes=st.integers(2, 10**6))
def test_largest_varentropy_is_attained_and_maximal_on_its_family(outcomes: int) -> None:
    """Against a numerical maximum over laws of one outcome with r and the rest equal."""
    best = optimize.minimize_scalar(lambda r: -r * (1 - r) * (math.log(r / (1 - r)) + math.log(outcomes - 1)) ** 2,
                                    bounds=(0.5, 1 - 1e-9), method="bounded", options={"xatol": 1e-10})
    assert largest_varentropy(outcomes) == pytest.approx(-best.fun, rel=1e-9)
    assert largest_varentropy(outcomes) <= math.log(outcomes) ** 2 / 4 + 1  # the closed form of Reeb and Wolf


@given(rate=st.floats(1e-12, 30), variance=st.floats(0.43, 20))
def test_deviation_solves_its_equation(rate: float, variance: float) -> None:
    """Exact where the rate is not tiny, and never too small."""
    up = _surprisal_deviation(rate, variance, upwards=True)
    down = _surprisal_deviation(rate, variance, upwards=False)
    assert math.sqrt(2 * rate * variance) * (1 - 1e-9) <= up
    assert down <= max(variance, math.sqrt(2 * rate * variance) * (1 + 1e-3)) * (1 + 1e-9)
    if rate / variance > 1e-6:
        assert up - variance * math.log1p(up / variance) == pytest.approx(rate, rel=1e-5)
        assert down >= variance * (1 - 1e-13) or -down - variance * math.log1p(-down / variance) == pytest.approx(rate, rel=1e-4)
    else:
        assert up == pytest.approx(math.sqrt(2 * rate * variance), rel=1e-3) == down


SIMPLEX = np.array([c for c in itertools.product(range(13), repeat=3) if sum(c) == 12])


@given(law=st.lists(st.sampled_from([0.0, 1e-6, 0.1, 0.3, 1.0, 5.0]), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.05),
       miss=st.sampled_from([0.3, 0.05, 0.001]))
def test_entropy_margins_summed_exactly(law: list[float], miss: float) -> None:
    """Each side misses with at most its probability, over all samples of twelve."""
    e = np.array(law) / sum(law)
    pmf, plug_in = stats.multinomial.pmf(SIMPLEX, 12, e), entropy(SIMPLEX / 12)
    below, above = _entropy_margins(12, 3, miss)
    assert pmf[plug_in - below > entropy(e) + 1e-12].sum() <= miss
    assert pmf[plug_in + above < entropy(e) - 1e-12].sum() <= miss


@given(law=st.lists(st.floats(0.01, 1), min_size=3, max_size=3), t=st.floats(0.01, 0.7), u=st.floats(0, 0.6))
def test_tail_bounds_summed_exactly(law: list[float], t: float, u: float) -> None:
    """(4) and (5) for every deviation, not only at chosen levels; and the exponential moments behind them."""
    e, v = np.array(law) / sum(law), largest_varentropy(3)
    pmf, plug_in = stats.multinomial.pmf(SIMPLEX, 12, e), entropy(SIMPLEX / 12)
    assert pmf[plug_in >= entropy(e) + t].sum() <= math.exp(-12 * (t - v * math.log1p(t / v))) + 1e-12
    types = len(SIMPLEX) * math.exp(-12 * u)
    assert pmf[plug_in <= entropy(e) - t - u].sum() <= math.exp(12 * (t + v * math.log1p(-t / v))) + types + 1e-12
    for s in (-2.0, -0.3, 0.4, 0.9):
        assert math.log((e ** (1 - s)).sum()) - s * entropy(e) <= v * (-s - math.log1p(-s)) + 1e-12


def test_number_of_types_is_the_number_of_samples_counted() -> None:
    """The margin above grows by log of the number of empirical laws over n, and by log_laws twice."""
    assert len(SIMPLEX) == math.comb(14, 2)
    cost, v = math.log(2 / 0.1) / 12, largest_varentropy(3)
    expected = _surprisal_deviation(cost, v, upwards=False) + cost + math.log(len(SIMPLEX)) / 12
    assert _entropy_margins(12, 3, 0.1)[1] == pytest.approx(expected, rel=1e-12)
    assert _entropy_margins(12, 3, 0.1, math.log(5))[1] == pytest.approx(_entropy_margins(12, 3, 0.1 / 5)[1], rel=1e-12)


@given(counts=st.lists(st.integers(0, 200), min_size=2, max_size=12).filter(any))
def test_entropy_interval_holds_its_estimate(counts: list[int]) -> None:
    found = entropy_interval(counts)
    assert 0 <= found.low <= found.estimate + 1e-12 <= found.high + 2e-12 <= math.log(len(counts)) + 1e-9
    assert found.estimate == pytest.approx(entropy(np.array(counts) / sum(counts)))
    assert entropy_interval(counts, 0.99).high >= found.high - 1e-12
    assert entropy_interval(counts, 0.99).low <= found.low + 1e-12
    assert found == pytest.approx(entropy_interval(counts[::-1]), abs=1e-9)


def test_plug_in_with_standard_errors_does_not_cover() -> None:
    """A hundred equal outcomes: the interval covers, two standard errors of the surprisal never do."""
    for counts in np.random.default_rng(0).multinomial(300, np.full(100, 0.01), 50):
        share, plug_in = counts[counts > 0] / 300, entropy(counts / 300)
        assert plug_in + 1.96 * math.sqrt((share @ np.log(share) ** 2 - plug_in**2) / 300) < math.log(100)
        assert entropy_interval(counts).high >= math.log(100) - 1e-12


# ---------------------------------------------------------------- K outputs
@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and reach sets that contain them."""
    outcomes, n = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, outcomes, n)
    reach = rng.random((n, outcomes)) < draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    reach[np.arange(n), labels] = True
    return labels, reach


@given(sample=samples())
def test_vulnerability_interval_is_built_from_the_margins(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, reach = sample
    n, outcomes = reach.shape
    found = vulnerability_interval(labels, reach)
    plug_in = minimal_information(np.full(n, 1 / n), reach)
    assert found.minimal_information.estimate == pytest.approx(plug_in, abs=1e-12)
    assert 0 <= found.vulnerability.low <= found.vulnerability.estimate + 1e-12 <= found.vulnerability.high + 2e-12
    if outcomes == 2:
        assert found == vulnerability_interval_binary(n, labels.sum(), reach_zero=reach[:, 0].sum(), reach_one=reach[:, 1].sum())
        return
    below, above = _entropy_margins(n, outcomes, 0.0125, float(gammaln(outcomes + 1)))
    nominal, top = entropy(np.bincount(labels, minlength=outcomes) / n), math.log(outcomes)
    high = min(top, nominal + _entropy_margins(n, outcomes, 0.0125)[1])
    assert found.entropy == pytest.approx((nominal, max(0, nominal - below), high), abs=1e-12)
    assert found.minimal_information[1:] == pytest.approx((max(0, plug_in - below), min(high, plug_in + above)), abs=1e-12)


@given(sample=samples(), seed=st.integers(0, 1000))
def test_sandwich_uses_the_outer_set_below_and_the_inner_set_above(sample: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, inner = sample
    outer = inner | (np.random.default_rng(seed).random(inner.shape) < 0.3)
    found, excluded = vulnerability_interval(labels, inner), vulnerability_interval(labels, outer)
    both = vulnerability_interval(labels, inner, outer_reach=outer)
    assert both.minimal_information.low == pytest.approx(excluded.minimal_information.low, abs=1e-12)
    if inner.shape[1] > 2:
        assert both.minimal_information.high == pytest.approx(found.minimal_information.high, abs=1e-12)
    assert both.minimal_information.high <= max(found.minimal_information.high, excluded.minimal_information.high) + 1e-9
    assert both.vulnerability.high >= max(found.vulnerability.high, excluded.vulnerability.high) - 1e-9
    assert both.minimal_information.estimate == found.minimal_information.estimate


@pytest.mark.parametrize("outcomes", [2, 3, 5])
def test_vulnerability_coverage_simulated(outcomes: int) -> None:
    """600 random laws, level 0.8: were each missed with probability 0.2, the assertion would fail with probability below 1e-6.

    The orderings and the two masses are drawn so that the optimal ordering of the sample often differs from that of the population.
    """
    rng, misses = np.random.default_rng(outcomes), 0
    for _ in range(600):
        masks = rng.integers(1, 1 << outcomes, 6)
        sets = reach_from_masks(masks, outcomes)
        outputs = np.array([rng.choice(np.flatnonzero(row)) for row in sets])
        law = rng.dirichlet(np.full(6, rng.choice([0.3, 5.0])))
        drawn = rng.choice(6, 60, p=law)
        nominal = entropy(np.bincount(outputs, weights=law, minlength=outcomes))
        hidden = minimal_information(law, sets)
        found = vulnerability_interval(outputs[drawn], sets[drawn], level=0.8)
        misses += not all(v.low - 1e-12 <= x <= v.high + 1e-12 for v, x in (
            (found.vulnerability, nominal - hidden), (found.minimal_information, hidden), (found.entropy, nominal)))
    assert misses <= stats.binom.ppf(1 - 1e-6, 600, 0.2)
    assert misses <= 30  # measured: far fewer, the margins are for the worst law


def test_an_ordering_chosen_on_the_sample_is_biased_low() -> None:
    """Why the lower end needs no union: the plug-in minimum is at most the plug-in of the population's ordering."""
    rng = np.random.default_rng(0)
    sets, law = reach_from_masks([3, 6, 5, 7], 3), np.array([0.3, 0.3, 0.3, 0.1])
    orders = list(itertools.permutations(range(3)))
    best = min(orders, key=lambda o: entropy(np.bincount(assign_first_reachable(sets, o), weights=law, minlength=3)))
    fixed = assign_first_reachable(sets, best)
    plug_in, of_fixed = [], []
    for counts in rng.multinomial(30, law, 300):
        plug_in.append(minimal_information(counts / 30, sets))
        of_fixed.append(entropy(np.bincount(fixed, weights=counts / 30, minlength=3)))
    assert (np.array(plug_in) <= np.array(of_fixed) + 1e-12).all()
    assert np.mean(plug_in) < minimal_information(law, sets)


def test_shorter_than_the_textbook_route_whenever_it_says_something() -> None:
    """Weissman's radius with all orderings: its margin is longer wherever it is below two thirds of log K."""
    for outcomes, n in itertools.product(range(3, 17), np.geomspace(30, 1e6, 20).astype(int).tolist()):
        below, above = _entropy_margins(n, outcomes, 0.0125, float(gammaln(outcomes + 1)))
        distance = min(math.sqrt((gammaln(outcomes + 1) + math.log((2**outcomes - 2) / 0.025)) / (2 * n)), 1 - 1 / outcomes)
        textbook = distance * math.log(outcomes - 1) + binary_entropy(distance)
        assert below < textbook
        assert above < textbook or textbook > 2 / 3 * math.log(outcomes)


def test_more_outputs_than_the_recursion_can_take() -> None:
    """Twenty outputs in a ring, each input reaching two neighbours: at most one nat longer than the margins."""
    labels = np.repeat(np.arange(20), 5000)
    reach = (np.eye(20, dtype=bool) | np.roll(np.eye(20, dtype=bool), 1, axis=1))[labels]
    found = vulnerability_interval(labels, reach).minimal_information
    below, above = _entropy_margins(100_000, 20, 0.0125, float(gammaln(21)))
    assert found.low + below <= math.log(10) + 1e-9 <= found.high - above + 2e-9
    assert found.high - found.low <= below + above + 1 + 1e-9
    with pytest.raises(ValueError, match="at most 16"):
        minimal_information(np.full(len(labels), 1 / len(labels)), reach)


def test_intervals_print_for_people() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"


REACH = np.eye(3, dtype=bool)[[0, 1, 2, 0]]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: binomial_interval(3, 2), "successes must lie in 0..n with n >= 1, got 3 of 2"),
    (lambda: binomial_interval(-1, 2), "got -1 of 2"),
    (lambda: binomial_interval(0, 0), "got 0 of 0"),
    (lambda: binomial_interval(1, 2, 1.0), "level must lie strictly between 0 and 1, got 1.0; for example 0.95"),
    (lambda: binomial_interval(1, 2, math.nan), "level must lie"),
    (lambda: mean_interval([1.0, math.nan]), "values must be finite and at least one"),
    (lambda: mean_interval([1.0, math.inf]), "values must be finite"),
    (lambda: mean_interval([1.0, 2.0], 0.0), "level must lie strictly"),
    (lambda: vulnerability_interval_binary(0, 0, reach_zero=0, reach_one=0), "ones must lie in 0..n with n >= 1, got 0 of 0"),
    (lambda: vulnerability_interval_binary(10, 11, reach_zero=1, reach_one=1), "ones must lie in 0..n"),
    (lambda: vulnerability_interval_binary(10, 4, reach_zero=5, reach_one=4), r"reach_zero must lie in 6..10, got 5; every input"),
    (lambda: vulnerability_interval_binary(10, 4, reach_zero=6, reach_one=11), r"reach_one must lie in 4..10, got 11"),
    (lambda: vulnerability_interval_binary(10, 0.5, reach_zero=6, reach_one=4), "ones must be a whole number"),  # type: ignore[arg-type]
    (lambda: vulnerability_interval_binary(10, 4, reach_zero=6, reach_one=4, level=math.nan), "level must lie"),
    (lambda: largest_varentropy(1), "num_outcomes must be at least 2, got 1"),
    (lambda: largest_varentropy(2.5), "num_outcomes must be a whole number"),  # type: ignore[arg-type]
    (lambda: entropy_interval([0.3, 0.7]), "counts must be whole numbers"),
    (lambda: entropy_interval([0, 0]), "at least one positive"),
    (lambda: entropy_interval([5]), "K >= 2"),
    (lambda: entropy_interval([[1, 2], [3, 4]]), r"shape \[K\]"),
    (lambda: entropy_interval([1, -1]), r"counts must lie in \[0, inf\], got -1"),
    (lambda: entropy_interval([1, math.nan]), "counts must not contain NaN"),
    (lambda: entropy_interval([1, math.inf]), "counts must be whole numbers"),
    (lambda: entropy_interval([1, 2], 1.5), "level must lie"),
    (lambda: vulnerability_interval([0, 1, 2, 0], REACH.astype(int)), "reach must be a boolean array"),
    (lambda: vulnerability_interval([0, 0], np.ones((2, 1), bool)), "K >= 2.*a constant map has I = 0"),
    (lambda: vulnerability_interval([], np.ones((0, 3), bool)), "n >= 1"),
    (lambda: vulnerability_interval([0, 1, 2, 0], np.zeros((4, 3), bool)), "empty set for input 0; every input"),
    (lambda: vulnerability_interval([0, 1, 2, 1], REACH), r"without it for input 3; set reach\[np.arange"),
    (lambda: vulnerability_interval([0, 1, 2], REACH), r"labels must be 4 integers in 0..2, got int64 \(3,\)"),
    (lambda: vulnerability_interval([0, 1, 3, 0], REACH), "labels must be 4 integers in 0..2"),
    (lambda: vulnerability_interval([0, -1, 2, 0], REACH), "labels must be 4 integers"),
    (lambda: vulnerability_interval([0.0, 1, 2, 0], REACH), "got float64"),
    (lambda: vulnerability_interval([0, 1, 2, 0], REACH, outer_reach=~REACH), "contain reach.*pass reach | outer_reach"),
    (lambda: vulnerability_interval([0, 1, 2, 0], REACH, outer_reach=REACH[:3]), "outer_reach must be boolean, shape"),
    (lambda: vulnerability_interval([0, 1, 2, 0], REACH, level=0), "level must lie"),
    (lambda: binomial_interval(1, math.nan), "n must be a whole number, got nan"),  # type: ignore[arg-type]
])
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- odd input --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: binomial_interval("5", 10), TypeError, "successes must be one real number, got '5'; pass counts"),
    (lambda: binomial_interval([5], 10), TypeError, "successes must be one real number"),
    (lambda: binomial_interval(5, 10, None), TypeError, "level must be one real number, got None; for example 0.95"),
    (lambda: binomial_interval(5, 10, 1 - 1e-15), ValueError, "level must lie strictly between 0 and 1"),
    (lambda: binomial_interval(5, 10, scale=-1.0), ValueError, "scale must be a positive number, got -1.0"),
    (lambda: binomial_interval(5, 10, scale=math.nan), ValueError, "scale must be a positive number"),
    (lambda: mean_interval("12"), TypeError, "values must be several numbers, got '12'"),
    (lambda: mean_interval(None), TypeError, "values must be several numbers, got None"),
    (lambda: mean_interval(["a", "b"]), TypeError, "values must be real numbers"),
    (lambda: mean_interval(np.ones((2, 2))), ValueError, "values must be finite and at least one"),
    (lambda: mean_interval([1e200, -1e200]), ValueError, "values must lie in .*measure in a larger unit"),
    (lambda: vulnerability_interval_binary(10, 5, reach_zero="5", reach_one=5), TypeError, "reach_zero must be one real number"),
    (lambda: entropy_interval([1e300, 1.0, 1.0]), ValueError, r"of sum up to 2\^53"),
])
def test_odd_input_is_refused_with_a_cure(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_counts_may_be_floats_or_any_integers() -> None:
    plain = vulnerability_interval_binary(10, 5, reach_zero=7, reach_one=6)
    assert plain == vulnerability_interval_binary(10.0, 5.0, reach_zero=7.0, reach_one=6.0)  # type: ignore[arg-type]
    assert plain == vulnerability_interval_binary(np.uint8(10), np.uint8(5), reach_zero=np.uint8(7), reach_one=np.uint8(6))  # type: ignore[arg-type]
