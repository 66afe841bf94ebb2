"""Reach sets and what survives of the information: golden values, the theorems as properties, and the error messages."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from robinfo.theory import reach as reach_module
from robinfo.theory import transport
from robinfo.theory.claims import check_claim
from robinfo.theory.information import entropy
from robinfo.theory.reach import (
    CLAIMS,
    assign_first_reachable,
    information_sandwich,
    minimal_information,
    minimal_information_binary,
    minimal_information_bounds,
    reach_from_masks,
    reachable_labels,
    representation_vulnerability,
    vulnerability_sandwich,
)

LINE = abs(np.arange(4.0)[:, None] - np.arange(4.0))
UNIFORM = np.full(4, 0.25)


# ---------------------------------------------------------------- golden values
@pytest.mark.parametrize("case", golden_cases("finite_supervised"))
def test_golden_triangle(case: dict[str, Any]) -> None:
    p = np.array(case["inputs"]["mu_xy"]).sum(axis=1)
    reach = reach_from_masks(case["inputs"]["reach_masks"], case["inputs"]["K"])
    assert minimal_information(p, reach) == pytest.approx(case["outputs"]["Imin_unsup"]["value"], abs=case["tolerance"])


# ---------------------------------------------------------------- random spaces
@st.composite
def laws(draw: st.DrawFn, size: int) -> np.ndarray:
    """A law with some zero masses and some tiny ones."""
    weights = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, 7, 100]), min_size=size, max_size=size)), float)
    assume(weights.sum() > 0)
    return weights / weights.sum()


@st.composite
def spaces(draw: st.DrawFn, max_points: int = 5, max_labels: int = 3) -> dict[str, Any]:
    """Points of a grid (possibly coinciding), a law, labels, a radius that often equals a distance."""
    n = draw(st.integers(1, max_points))
    spots = np.array(draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=n, max_size=n)), float)
    return {
        "p": draw(laws(n)),
        "labels": np.array(draw(st.lists(st.integers(0, max_labels - 1), min_size=n, max_size=n))),
        "cost": abs(spots[:, None] - spots).max(axis=-1),
        "eps": draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0])),
    }


@st.composite
def weighted_reach(draw: st.DrawFn, max_points: int = 5, max_labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A law and arbitrary reach sets."""
    n, num_labels = draw(st.integers(1, max_points)), draw(st.integers(1, max_labels))
    masks = draw(st.lists(st.integers(1, 2**num_labels - 1), min_size=n, max_size=n))
    return draw(laws(n)), reach_from_masks(masks, num_labels)


def brute_force(p: np.ndarray, reach: np.ndarray) -> float:
    """I_min by trying every assignment of a reachable label to every point."""
    choices = itertools.product(*(np.flatnonzero(row) for row in reach))
    return min(entropy(np.bincount(labels, weights=p)) for labels in choices)


# ---------------------------------------------------------------- minimal information
@given(weighted_reach())
def test_recursion_equals_brute_force(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    expected = brute_force(p, reach)
    value, order = reach_module._subset_recursion(p, reach)
    assert value == pytest.approx(expected, abs=1e-12)
    assert entropy(np.bincount(assign_first_reachable(reach, order), weights=p)) == pytest.approx(expected, abs=1e-12)
    assert minimal_information(p, reach) == pytest.approx(expected, abs=1e-12)


@given(weighted_reach())
def test_some_ordering_attains_the_minimum_and_none_beats_it(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    labels = [assign_first_reachable(reach, order) for order in itertools.permutations(range(reach.shape[1]))]
    assert all(reach[np.arange(len(p)), chosen].all() for chosen in labels)
    best = min(entropy(np.bincount(chosen, weights=p)) for chosen in labels)
    assert best == pytest.approx(minimal_information(p, reach), abs=1e-12)


@given(weighted_reach(max_labels=2).filter(lambda case: case[1].shape[1] == 2))
def test_two_outputs_in_closed_form(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    padded = np.column_stack([reach, np.zeros(len(p), bool)])  # a third label, never reached: the general way
    closed = minimal_information_binary(p, reach)
    assert closed == pytest.approx(minimal_information(p, padded), abs=1e-12)
    assert closed == pytest.approx(reach_module._subset_recursion(p, reach)[0], abs=1e-12)


# ---------------------------------------------------------------- greedy covers, any number of labels
@pytest.fixture
def few_labels_count_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the recursion takes two labels only, so that the certificates can be compared with brute force."""
    monkeypatch.setattr(reach_module, "_MAX_COMPETING_LABELS", 2)


@pytest.mark.usefixtures("few_labels_count_as_many")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weighted_reach(max_labels=5))
def test_certified_interval_contains_the_minimum(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    found, expected = minimal_information_bounds(p, reach), brute_force(p, reach)
    assert found.lower - 1e-12 <= expected <= found.upper + 1e-12
    assert found.upper <= found.lower + 1 + 1e-12
    assert reach[np.arange(len(p)), found.assignment].all()
    assert entropy(np.bincount(found.assignment, weights=p)) == pytest.approx(found.upper, abs=1e-12)
    assert not found.exact or found.upper == pytest.approx(expected, abs=1e-12)


@given(weighted_reach(max_labels=5))
def test_each_certificate_is_a_lower_bound(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    expected = brute_force(p, reach)
    greedy = assign_first_reachable(reach, reach_module._greedy_order(p, reach))
    assert expected - 1e-12 <= entropy(np.bincount(greedy, weights=p)) <= expected + 1
    merged = reach_module._merged(p, reach, 2)
    assert merged.shape[1] <= 2 and merged.any(axis=1).all()
    assert brute_force(p, merged) <= expected + 1e-12
    if reach.shape[1] > 1:
        assert reach_module._coverage_bound(p, reach) <= expected + 1e-12


@given(weighted_reach())
def test_interval_is_exact_for_few_labels(case: tuple[np.ndarray, np.ndarray]) -> None:
    p, reach = case
    found = minimal_information_bounds(p, reach)
    assert found.exact
    assert found.upper == pytest.approx(minimal_information(p, reach), abs=1e-12)
    assert reach[np.arange(len(p)), found.assignment].all()


def test_greedy_is_not_optimal() -> None:
    """One set of four and two of three cover six points: greedy starts with the four and needs three sets."""
    sets = [{0, 1, 3, 4}, {0, 1, 2}, {3, 4, 5}]
    reach = np.array([[x in z for z in sets] for x in range(6)])
    p = np.full(6, 1 / 6)
    greedy = entropy(np.bincount(assign_first_reachable(reach, reach_module._greedy_order(p, reach)), weights=p))
    assert greedy == pytest.approx(entropy([4 / 6, 1 / 6, 1 / 6]), abs=1e-12)
    assert minimal_information(p, reach) == pytest.approx(math.log(2), abs=1e-12)
    assert greedy > math.log(2)


@pytest.mark.parametrize("points", [18, 40, 101])
def test_ring_beyond_sixteen_labels(points: int) -> None:
    """Labels of a ring cover two neighbours each: pairs are optimal, and the coverage bound proves it if the number is even."""
    ring = np.eye(points, dtype=bool) | np.roll(np.eye(points, dtype=bool), 1, axis=1)
    found = minimal_information_bounds(np.full(points, 1 / points), ring)
    pairs = np.full(points // 2, 2 / points)
    best = entropy(np.append(pairs, 1 / points) if points % 2 else pairs)
    assert found.exact
    assert found.upper == pytest.approx(best, abs=1e-12)


def test_components_beside_a_large_one_stay_exact() -> None:
    """Half of the mass competes for twenty labels, half for two: the doubt is at most the mass of the large component."""
    rng = np.random.default_rng(5)
    reach = np.zeros((82, 22), dtype=bool)
    reach[:80, :20] = rng.random((80, 20)) < 0.2
    reach[np.arange(80), rng.integers(0, 20, 80)] = True
    reach[80], reach[81] = np.eye(22, dtype=bool)[[20, 21]]
    found = minimal_information_bounds(np.append(np.full(80, 0.5 / 80), [0.25, 0.25]), reach)
    assert not found.exact
    assert 2 * 0.25 * math.log(4) < found.lower < found.upper <= found.lower + 0.5
    exact = reach_module._subset_recursion(np.full(80, 0.5 / 80), reach[:80, :20])[0] + 2 * 0.25 * math.log(4)
    assert found.lower <= exact + 1e-12 and exact <= found.upper + 1e-12


# ---------------------------------------------------------------- sandwich
@given(weighted_reach(), st.data())
def test_sandwich(case: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    p, reach = case
    extra = np.array(data.draw(st.lists(st.booleans(), min_size=reach.size, max_size=reach.size))).reshape(reach.shape)
    labels = reach.argmax(axis=1)
    inner = reach & extra
    inner[np.arange(len(p)), labels] = True
    lower, upper = information_sandwich(p, inner, reach | extra)
    truth = brute_force(p, reach)
    assert lower <= truth + 1e-12 and truth <= upper + 1e-12
    nominal = entropy(np.bincount(labels, weights=p))
    low, high = vulnerability_sandwich(p, labels, inner, reach | extra)
    assert -1e-12 <= low <= nominal - truth + 1e-12 and nominal - truth <= high + 1e-12 and high <= nominal + 1e-12
    assert (low, high) == pytest.approx((nominal - upper, nominal - lower), abs=1e-12)
    assert information_sandwich(p, reach, reach) == pytest.approx((truth, truth), abs=1e-12)


@given(weighted_reach(), st.data())
def test_merging_outputs_never_raises_the_minimal_information(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    p, reach = case
    labels = reach.shape[1]
    merge = data.draw(st.lists(st.integers(0, labels - 1), min_size=labels, max_size=labels))
    merged = reach @ (np.array(merge)[:, None] == np.arange(labels))
    assert minimal_information(p, merged) <= minimal_information(p, reach) + 1e-12


def test_ten_competing_labels_and_hundred_separate_ones() -> None:
    rng = np.random.default_rng(0)
    p, reach = rng.dirichlet(np.ones(40)), rng.random((40, 10)) < 0.3
    reach[np.arange(40), rng.integers(0, 10, 40)] = True
    orders = [rng.permutation(10) for _ in range(300)]
    best = min(entropy(np.bincount(assign_first_reachable(reach, order), weights=p)) for order in orders)
    assert 0 < minimal_information(p, reach) <= best + 1e-12
    assert minimal_information(np.full(100, 0.01), np.eye(100, dtype=bool)) == pytest.approx(math.log(100), abs=1e-12)
    assert (
        minimal_information(np.full(4, 0.25), np.ones((4, 40), dtype=bool)) == 0.0
    )  # forty labels, each as good as any


# ---------------------------------------------------------------- representation vulnerability
@given(spaces())
def test_vulnerability_properties(space: dict[str, Any]) -> None:
    p, labels, cost = space["p"], space["labels"], space["cost"]
    values = [representation_vulnerability(p, labels, cost, eps) for eps in (0.0, 1.0, 2.0, 4.0, math.inf)]
    nominal = entropy(np.bincount(labels, weights=p))
    if not ((cost == 0) & (labels[:, None] != labels)).any():  # no point sits on another one of different label
        assert values[0] == pytest.approx(0.0, abs=1e-12)
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(values))
    assert values[-1] == pytest.approx(nominal, abs=1e-12)  # everybody reaches everything


@given(spaces(), st.permutations(range(6)))
def test_vulnerability_ignores_the_names_of_the_outputs(space: dict[str, Any], names: list[int]) -> None:
    arguments = space["cost"], space["eps"]
    renamed = np.array(names)[space["labels"]]
    assert representation_vulnerability(space["p"], renamed, *arguments) == pytest.approx(
        representation_vulnerability(space["p"], space["labels"], *arguments), abs=1e-12
    )


@given(spaces())
def test_vulnerability_equals_brute_force_over_maps(space: dict[str, Any]) -> None:
    p, labels, cost, eps = (space[k] for k in ("p", "labels", "cost", "eps"))
    maps = itertools.product(*(np.flatnonzero(row <= eps) for row in cost))
    worst = min(entropy(np.bincount(labels[list(moved)], weights=p)) for moved in maps)
    assert representation_vulnerability(p, labels, cost, eps) == pytest.approx(
        entropy(np.bincount(labels, weights=p)) - worst, abs=1e-12
    )


def test_vulnerability_may_rise_or_fall_when_outputs_are_merged() -> None:
    where = np.array([0.0, 1, 2, 10, 11, 12])
    cost, p = abs(where[:, None] - where), np.full(6, 1 / 6)
    fine, risen, fallen = (
        representation_vulnerability(p, labels, cost, 1.0)
        for labels in ([0, 1, 1, 0, 2, 2], [0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1])
    )
    assert fallen < fine < risen
    assert fine == pytest.approx(math.log(3) - math.log(2), abs=1e-12)
    assert risen == pytest.approx(math.log(3) - 2 / 3 * math.log(2), abs=1e-12)


# ---------------------------------------------------------------- the claims
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement)
def test_claims(claim: Any) -> None:
    check = check_claim(claim, instances=120, seed=11)
    wrong = any(word in claim.statement for word in ("noisy", "merged"))
    expected = "undefined" if "without atoms" in claim.statement else "wrong" if wrong else "holds"
    assert check.verdict.startswith(expected), check
    assert claim.asserted == ("merged" not in claim.statement)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.7, 1.5, 3.0, 1e3, math.inf])
def test_a_sign_in_gaussian_noise(t: float) -> None:
    def lost(n: float) -> float:
        return float(np.logaddexp(0, -2 * t * (t + n)) * math.exp(-n * n / 2) / math.sqrt(2 * math.pi))

    expected = math.log(2) - quad(lost, -12, 12, limit=400)[0]
    assert reach_module._two_point_information(t) == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- where the names can be had from
def test_transport_offers_the_same_names() -> None:
    """Whoever imports from the module of notebook 3 gets the functions of this one."""
    public = [name for name in reach_module.__all__ if name != "CLAIMS"]
    assert public and set(public) <= set(transport.__all__)
    assert all(getattr(transport, name) is getattr(reach_module, name) for name in public)


# ---------------------------------------------------------------- bad input
GOOD_MAP = [0, 0, 1, 1]
BAD = [
    pytest.param(lambda: reachable_labels([[0, 1]], LINE, 1), ValueError, r"shape \[n\]", id="label shape"),
    pytest.param(
        lambda: representation_vulnerability([0.5, 0.5], GOOD_MAP, LINE, 1),
        ValueError,
        "got 2 for 4 rows",
        id="law length",
    ),
    pytest.param(
        lambda: minimal_information(UNIFORM, np.ones((4, 2))), ValueError, "boolean array.*got float64", id="reach type"
    ),
    pytest.param(
        lambda: minimal_information(UNIFORM, LINE > 5), ValueError, "empty reach set for point 0", id="empty reach"
    ),
    pytest.param(
        lambda: minimal_information_binary(UNIFORM, LINE < 5),
        ValueError,
        "two labels, got 4; use minimal_information",
        id="binary",
    ),
    pytest.param(
        lambda: minimal_information(
            np.full(18, 1 / 18), np.eye(18, dtype=bool) | np.roll(np.eye(18, dtype=bool), 1, axis=1)
        ),
        ValueError,
        "at most 16 labels may compete.*got 18; use minimal_information_bounds",
        id="too many labels",
    ),
    pytest.param(
        lambda: minimal_information_bounds(UNIFORM, LINE > 5), ValueError, "empty reach set for point 0", id="empty bounds"
    ),
    pytest.param(
        lambda: minimal_information_bounds([0.5, 0.5], LINE < 5), ValueError, "one mass per row.*got 2 for 4", id="bounds length"
    ),
    pytest.param(
        lambda: minimal_information_bounds([0.5, math.nan, 0.5, 0], LINE < 5), ValueError, "NaN", id="bounds nan"
    ),
    pytest.param(
        lambda: information_sandwich(UNIFORM, LINE < 5, LINE < 2),
        ValueError,
        "label 2 found by the attack but excluded by the verifier at point 0",
        id="sandwich order",
    ),
    pytest.param(
        lambda: information_sandwich(UNIFORM, LINE < 5, (LINE < 5)[:, :3]),
        ValueError,
        r"one shape \[n, K\], got \(4, 4\) and \(4, 3\); add columns",
        id="sandwich shapes",
    ),
    pytest.param(
        lambda: vulnerability_sandwich(UNIFORM, [0, 1, 0, 3], LINE < 1, LINE < 2),
        ValueError,
        "must reach its own label, got a reach set without label 0 for point 2",
        id="own label",
    ),
    pytest.param(
        lambda: vulnerability_sandwich(UNIFORM, [0, 1, 2], LINE < 1, LINE < 2), ValueError, "got 3 for 4 rows", id="sandwich length"
    ),
    pytest.param(
        lambda: vulnerability_sandwich(UNIFORM, [0.0, 1, 2, 3], LINE < 1, LINE < 2), TypeError, "integer labels", id="sandwich labels"
    ),
    pytest.param(
        lambda: reach_from_masks([0, 1], 2), ValueError, r"masks must be integers in 1, ..., 2\^2 - 1", id="empty mask"
    ),
    pytest.param(lambda: reach_from_masks([4], 2), ValueError, "masks must be integers", id="large mask"),
    pytest.param(
        lambda: assign_first_reachable([[True, True]], [0, 0]), ValueError, "permutation of 0, ..., 1", id="ordering"
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input_is_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
