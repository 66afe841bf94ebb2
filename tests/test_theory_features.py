"""Features of a representation: the identity of the total correlations, the chain of worst cases, the errors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robinfo.theory.claims import check_claim
from robinfo.theory.features import (
    CLAIMS,
    WorstCaseFeatures,
    additive_worst_case,
    conditional_total_correlation,
    feature_informations,
    feature_reach,
    tensorisation_gap,
    total_correlation,
    worst_case_feature_information,
)
from robinfo.theory.information import binary_entropy, conditional_mutual_information, entropy, mutual_information
from robinfo.theory.transport import minimal_information

TOLERANCE = 1e-10
LOG2 = math.log(2)
TWO_BITS = np.array([[True, True, True, False], [False, False, False, True]])
EXCLUSIVE_OR = np.array([[[0.25, 0.0], [0.0, 0.25]], [[0.0, 0.25], [0.25, 0.0]]])


@st.composite
def laws(draw: st.DrawFn, size: int) -> np.ndarray:
    """A law with zeros, tiny masses and equal ones; never without mass."""
    weights = np.array(
        draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 1e-9, 1e-300]), min_size=size, max_size=size)), float
    )
    weights[draw(st.integers(0, size - 1))] += 1
    return weights / weights.sum()


@st.composite
def joints(draw: st.DrawFn) -> np.ndarray:
    """A joint law of an input and one to three features, alphabets of one to three values."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=2, max_size=4)))
    return draw(laws(math.prod(shape))).reshape(shape)


@st.composite
def channels(draw: st.DrawFn, rows: int, size: int) -> np.ndarray:
    """A law of a feature for each input."""
    return np.stack([draw(laws(size)) for _ in range(rows)])


@st.composite
def attacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Masses of one to four inputs, some zero, and reach sets over the product of one to three features."""
    shape = tuple(draw(st.sampled_from([(2,), (1, 2), (2, 2), (3, 2), (2, 2, 2), (2, 3)])))
    inputs, labels = draw(st.integers(1, 4)), math.prod(shape)
    sets = draw(st.lists(st.sets(st.integers(0, labels - 1), min_size=1, max_size=3), min_size=inputs, max_size=inputs))
    return draw(laws(inputs)), np.array([[z in s for z in range(labels)] for s in sets]), shape


def whole_information(joint: np.ndarray) -> float:
    """Information of all features together."""
    return mutual_information(joint.reshape(len(joint), -1))


def brute_force(p: np.ndarray, reach: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float, np.ndarray]:
    """Least entropy of the whole, least sum over the features, least entropy of each, over every map of the inputs."""
    whole, total, single = math.inf, math.inf, np.full(len(shape), math.inf)
    for labels in itertools.product(*(np.flatnonzero(row) for row in reach)):
        law = np.bincount(labels, weights=p, minlength=reach.shape[1]).reshape(shape)
        parts = [entropy(law.sum(axis=tuple(a for a in range(law.ndim) if a != i))) for i in range(law.ndim)]
        whole, total, single = min(whole, entropy(law.ravel())), min(total, sum(parts)), np.minimum(single, parts)
    return whole, total, single


# ---------------------------------------------------------------- the identity
@given(joints())
def test_gap_is_a_difference_of_total_correlations(joint: np.ndarray) -> None:
    expected = total_correlation(joint.sum(axis=0)) - conditional_total_correlation(joint)
    assert tensorisation_gap(joint) == pytest.approx(expected, abs=TOLERANCE)
    assert tensorisation_gap(joint) == pytest.approx(
        feature_informations(joint).sum() - whole_information(joint), abs=TOLERANCE
    )


@given(joints())
def test_total_correlation_is_a_difference_of_entropies(joint: np.ndarray) -> None:
    law = joint.sum(axis=0)
    marginals = [law.sum(axis=tuple(a for a in range(law.ndim) if a != i)) for i in range(law.ndim)]
    assert total_correlation(law) == pytest.approx(sum(map(entropy, marginals)) - entropy(law.ravel()), abs=TOLERANCE)
    capacities = np.log(law.shape)
    assert 0 <= total_correlation(law) <= capacities.sum() - capacities.max() + TOLERANCE


@given(laws(12))
def test_two_features_need_only_mutual_information(weights: np.ndarray) -> None:
    joint = weights.reshape(2, 3, 2)
    assert total_correlation(joint.sum(axis=0)) == pytest.approx(mutual_information(joint.sum(axis=0)), abs=TOLERANCE)
    given_x = conditional_mutual_information(np.moveaxis(joint, 0, -1))
    assert conditional_total_correlation(joint) == pytest.approx(given_x, abs=TOLERANCE)


@given(laws(3), channels(3, 2), channels(3, 3), channels(3, 2))
def test_independent_given_input(p: np.ndarray, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> None:
    joint = np.einsum("x,xa,xb,xc->xabc", p, first, second, third)
    assert conditional_total_correlation(joint) == pytest.approx(0, abs=TOLERANCE)
    assert whole_information(joint) <= feature_informations(joint).sum() + TOLERANCE
    assert tensorisation_gap(joint) == pytest.approx(total_correlation(joint.sum(axis=0)), abs=TOLERANCE)


@given(laws(5), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1)), min_size=5, max_size=5))
def test_deterministic_features(p: np.ndarray, values: list[tuple[int, ...]]) -> None:
    joint = np.zeros((5, 2, 3, 2))
    joint[(np.arange(5), *np.array(values).T)] = p
    law = joint.sum(axis=0)
    assert conditional_total_correlation(joint) == 0
    assert whole_information(joint) == pytest.approx(entropy(law.ravel()), abs=TOLERANCE)
    assert tensorisation_gap(joint) >= -TOLERANCE


@given(laws(2), laws(3), st.data())
def test_independent_features_turn_the_inequality(first: np.ndarray, second: np.ndarray, data: st.DataObject) -> None:
    posterior = data.draw(channels(6, 3)).reshape(2, 3, 3)
    joint = np.moveaxis(np.outer(first, second)[..., None] * posterior, -1, 0)
    assert whole_information(joint) >= feature_informations(joint).sum() - TOLERANCE
    assert tensorisation_gap(joint) == pytest.approx(-conditional_total_correlation(joint), abs=TOLERANCE)


def test_closed_forms() -> None:
    assert feature_informations(EXCLUSIVE_OR).tolist() == [0, 0] and whole_information(EXCLUSIVE_OR) == LOG2
    assert total_correlation(EXCLUSIVE_OR.sum(axis=0)) == 0 and conditional_total_correlation(EXCLUSIVE_OR) == LOG2
    copies = np.zeros((3, 3, 3, 3))
    copies[range(3), range(3), range(3), range(3)] = 1 / 3
    assert tensorisation_gap(copies) == pytest.approx(2 * math.log(3)) == total_correlation(copies.sum(axis=0))
    assert total_correlation([0.3, 0.7]) == 0  # one feature
    tiny = np.array([[1 - 1e-200, 0.0], [0.0, 1e-200]])  # the product of the marginals of the last cell underflows
    assert total_correlation(tiny) == pytest.approx(0, abs=1e-12) and math.isfinite(total_correlation(tiny))


@pytest.mark.parametrize("rho", [-0.9, -0.4, -1 / 3, 0.0, 0.7])
def test_gaussian_features_change_sign_where_the_exercise_says(rho: float) -> None:
    """Two features X + N_i of a Gaussian X on a fine grid: the gap of the exercise, in closed form, at ratio s = 1."""
    grid = np.linspace(-5.0, 5.0, 41)
    x, a, b = grid[:, None, None], grid[None, :, None], grid[None, None, :]
    u, v = a - x, b - x
    density = np.exp(-x * x / 2 - (u * u - 2 * rho * u * v + v * v) / (2 * (1 - rho * rho)))
    gap = math.log(2) - 0.5 * math.log(1 + 2 / (1 + rho))
    assert tensorisation_gap(density / density.sum()) == pytest.approx(gap, abs=0.02)
    assert (gap > 1e-9) == (rho > -1 / 3 + 1e-9)


# ---------------------------------------------------------------- worst cases
@given(attacks())
def test_chain_of_worst_cases(attack: tuple[np.ndarray, np.ndarray, tuple[int, ...]]) -> None:
    result, common = worst_case_feature_information(*attack), additive_worst_case(*attack)
    assert result.floor <= result.whole + TOLERANCE
    assert result.whole <= common + TOLERANCE
    assert common <= result.cap + TOLERANCE
    assert result.total <= common + TOLERANCE


@given(attacks())
def test_brute_force(attack: tuple[np.ndarray, np.ndarray, tuple[int, ...]]) -> None:
    whole, total, single = brute_force(*attack)
    result = worst_case_feature_information(*attack)
    assert result.whole == pytest.approx(whole, abs=TOLERANCE)
    assert result.features == pytest.approx(single, abs=TOLERANCE)
    assert additive_worst_case(*attack) == pytest.approx(total, abs=TOLERANCE)


@given(attacks(), st.data())
def test_randomised_attack_is_no_better(
    attack: tuple[np.ndarray, np.ndarray, tuple[int, ...]], data: st.DataObject
) -> None:
    p, reach, shape = attack
    kernel = np.stack([data.draw(laws(reach.shape[1])) for _ in p]) * reach + 1e-3 * reach
    law = (p @ (kernel / kernel.sum(axis=1, keepdims=True))).reshape(shape)
    parts = [entropy(law.sum(axis=tuple(a for a in range(law.ndim) if a != i))) for i in range(law.ndim)]
    assert additive_worst_case(*attack) <= sum(parts) + TOLERANCE
    assert minimal_information(p, reach) <= entropy(law.ravel()) + TOLERANCE


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 1), min_size=1), st.sets(st.integers(0, 2), min_size=1)),
        min_size=3,
        max_size=3,
    ),
    laws(3),
)
def test_product_reach_sets_are_additive(sets: list[tuple[set[int], set[int]]], p: np.ndarray) -> None:
    reach = np.array([[z // 3 in s and z % 3 in t for z in range(6)] for s, t in sets])
    result = worst_case_feature_information(p, reach, (2, 3))
    assert additive_worst_case(p, reach, (2, 3)) == pytest.approx(result.total, abs=TOLERANCE)
    assert result.whole <= result.total + TOLERANCE


@given(st.floats(0, 1))
def test_two_bits_in_closed_form(mass: float) -> None:
    attack = ([1 - mass, mass], TWO_BITS, (2, 2))
    result = worst_case_feature_information(*attack)
    assert result.features == pytest.approx([0, 0], abs=TOLERANCE)
    assert result.whole == pytest.approx(binary_entropy(mass), abs=TOLERANCE) == additive_worst_case(*attack)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_complementary_words_reach_the_cap(n: int) -> None:
    word, reach = np.arange(2 ** (n - 1)), np.zeros((2 ** (n - 1), 2**n), bool)
    reach[word, word] = reach[word, 2**n - 1 - word] = True
    result = worst_case_feature_information(np.full(len(word), 1 / len(word)), reach, (2,) * n)
    assert result.total == 0 and result.floor == 0
    assert result.whole == pytest.approx((n - 1) * LOG2) == result.cap
    assert additive_worst_case(np.full(len(word), 1 / len(word)), reach, (2,) * n) == pytest.approx((n - 1) * LOG2)


def test_feature_reach_follows_numpy_order() -> None:
    reach = np.zeros((1, 12), bool)
    reach[0, [np.ravel_multi_index(z, (2, 3, 2)) for z in ((0, 2, 1), (1, 2, 0))]] = True
    assert [s.astype(int).tolist() for s in feature_reach(reach, (2, 3, 2))] == [[[1, 1]], [[0, 0, 1]], [[1, 1]]]


def test_result_is_a_value() -> None:
    result = WorstCaseFeatures(1.0, np.array([0.2, 0.5]), (2, 4))
    assert (result.floor, result.total) == (0.5, 0.7)
    assert result.cap == pytest.approx(min(0.2 + math.log(4), 0.5 + LOG2))
    with pytest.raises(AttributeError):
        result.whole = 0.0  # type: ignore[misc]


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: total_correlation([[0.5, 0.6]]), "law must sum to 1"),
        (lambda: total_correlation([[0.5, math.nan]]), "law must not contain NaN"),
        (lambda: total_correlation([1.5, -0.5]), "law must be non-negative"),
        (
            lambda: feature_informations([0.5, 0.5]),
            r"shape \[n_x, K_1, \.\.\., K_n\].*got \(2,\); for the features alone",
        ),
        (lambda: conditional_total_correlation([1.0]), r"got \(1,\)"),
        (lambda: tensorisation_gap([0.5, 0.5]), "the input first"),
        (lambda: feature_reach(TWO_BITS, (2, 3)), r"\[n_x, 6\].*got bool of shape \(2, 4\); number the outputs"),
        (lambda: feature_reach(TWO_BITS.astype(int), (2, 2)), "boolean array"),
        (lambda: feature_reach(TWO_BITS, ()), "shape must be the numbers of values"),
        (lambda: feature_reach(TWO_BITS, (4, 0)), "at least 1"),
        (lambda: feature_reach(TWO_BITS, (1.6, 2)), "whole"),
        (lambda: additive_worst_case([1.0], TWO_BITS, (2, 2)), "one mass for each row"),
        (lambda: additive_worst_case([0.5, 0.5], TWO_BITS & False, (2, 2)), "2 empty rows; a point always reaches"),
        (lambda: additive_worst_case([0.5, 0.6], TWO_BITS, (2, 2)), "p must sum to 1"),
        (lambda: worst_case_feature_information([0.5, 0.5], TWO_BITS & False, (2, 2)), "at least one label"),
        (
            lambda: additive_worst_case(
                np.full(40, 1 / 40), np.arange(1, 41)[:, None] & (1 << np.arange(8)) != 0, (2, 4)
            ),
            r"at most 200000 maps can be tried, got \d+; leave out",
        ),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- claims
FAILS = ("its first hypothesis alone", "for any features", "its own worst case", "bottleneck")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement)
def test_claims(claim: Any) -> None:
    check = check_claim(claim, instances=200, seed=3)
    assert check.proved_failures == check.printed_undefined == 0
    wrong = any(words in claim.statement for words in FAILS)
    assert check.verdict == ("wrong as printed" if wrong else "holds as printed")
    assert not wrong or check.printed_failures > 20


@pytest.mark.parametrize("shape", [4, None, "22", ("a", 4), (math.nan, 2), (math.inf, 2), (2.5, 2), (), ((2, 2),)])
@pytest.mark.parametrize("function", [worst_case_feature_information, additive_worst_case])
def test_shapes_that_are_no_counts_are_refused(function: Any, shape: Any) -> None:
    with pytest.raises(ValueError, match="shape must be the numbers of values"):
        function([0.5, 0.5], TWO_BITS, shape)
