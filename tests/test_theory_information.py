"""Entropy, divergence and mutual information of finite laws: golden values, inequalities, error messages."""
from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robinfo.theory.information import (
    binary_entropy,
    binary_entropy_deficit,
    binary_entropy_derivative,
    binary_entropy_inverse,
    check_probabilities,
    conditional_mutual_information,
    entropy,
    kl_divergence,
    mutual_information,
)

LOG2 = math.log(2.0)
WEIGHTS = st.sampled_from([0.0, 1e-6, 0.1, 0.5, 1.0, 3.0, 50.0])


@st.composite
def laws(draw: st.DrawFn, *shape: int) -> np.ndarray:
    """A random law of the given shape, zeros and very uneven weights included."""
    weights = draw(arrays(np.float64, shape, elements=WEIGHTS))
    weights.flat[draw(st.integers(0, weights.size - 1))] += 1.0
    return weights / weights.sum()


@st.composite
def kernels(draw: st.DrawFn, rows: int, columns: int) -> np.ndarray:
    """A random channel: `rows` laws on `columns` letters."""
    return np.stack([draw(laws(columns)) for _ in range(rows)])


# --- golden values ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", golden_cases("binary_entropy"))
def test_binary_entropy_golden(case: dict[str, Any]) -> None:
    t, outputs, tolerance = case["inputs"]["t"], case["outputs"], case["tolerance"]
    assert binary_entropy(t) == pytest.approx(outputs["H2"]["value"], rel=tolerance, abs=tolerance)
    assert binary_entropy_derivative(t) == pytest.approx(outputs["dH2"]["value"], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("case", golden_cases("binary_entropy_inverse"))
def test_binary_entropy_inverse_golden(case: dict[str, Any]) -> None:
    assert binary_entropy_inverse(case["inputs"]["h"]) == pytest.approx(case["outputs"]["p"]["value"], abs=1e-15)


@pytest.mark.parametrize("case", golden_cases("mi_variational"))
def test_mutual_information_golden(case: dict[str, Any]) -> None:
    joint, outputs, tolerance = np.array(case["inputs"]["J"]), case["outputs"], case["tolerance"]
    assert mutual_information(joint) == pytest.approx(outputs["MI"]["value"], abs=tolerance)
    assert entropy(joint.sum(axis=1)) == pytest.approx(outputs["HX"]["value"], abs=tolerance)
    assert entropy(joint.sum(axis=0)) == pytest.approx(outputs["HY"]["value"], abs=tolerance)


# Reference values of H2^-1 at the double h, computed with 50 digits by bisection.
INVERSE_REFERENCE = {
    1e-100: 4.2423005417489074e-103,
    1e-12: 3.1152771037481954e-14,
    0.56: 0.24788533471561935,
    LOG2 - 1e-6: 0.4992928933366462,
    LOG2 - 1e-10: 0.49999292893107583,
    LOG2 - 1e-14: 0.4999999292356103,
}


@pytest.mark.parametrize("h", INVERSE_REFERENCE)
def test_binary_entropy_inverse_is_accurate_at_the_ends(h: float) -> None:
    assert abs(binary_entropy_inverse(h) - INVERSE_REFERENCE[h]) < 1e-12
    if h < 0.1:  # near zero the relative precision is kept too
        assert binary_entropy_inverse(h) == pytest.approx(INVERSE_REFERENCE[h], rel=1e-12)


def test_end_points_are_exact() -> None:
    assert binary_entropy_inverse(0.0) == 0.0 and binary_entropy_inverse(LOG2) == 0.5
    assert binary_entropy([0.0, 1.0]).tolist() == [0.0, 0.0] and binary_entropy(0.5) == LOG2
    assert binary_entropy_derivative([0.0, 0.5, 1.0]).tolist() == [math.inf, 0.0, -math.inf]
    assert entropy([1.0, 0.0, 0.0]) == 0.0 and math.copysign(1.0, entropy([1.0, 0.0])) == 1.0
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == LOG2


# --- properties ------------------------------------------------------------------------------------------------------

@given(st.floats(0.0, 0.5))
def test_inverse_round_trip(p: float) -> None:
    h = binary_entropy(p)
    back = binary_entropy_inverse(h)
    assert 0.0 <= back <= 0.5
    assert abs(binary_entropy(back) - h) < 1e-14
    # rounding h to a double moves the root by 2**-53 * |dp/dh|, or by the square root of that at the very top
    slope = binary_entropy_derivative(p)
    assert abs(back - p) < min(1e-15 + 1e-15 / max(slope, 1e-300), 3e-8)


@given(st.floats(0.0, LOG2))
def test_inverse_then_entropy(h: float) -> None:
    assert abs(binary_entropy(binary_entropy_inverse(h)) - h) < 1e-14


@given(st.floats(-0.5, 0.5))
def test_parabolas_enclose_the_deficit(delta: float) -> None:
    deficit = binary_entropy_deficit(delta)
    rounding = 1e-12 * delta**2 + 1e-300  # below 1e-300 a double has fewer digits
    assert 2 * delta**2 - rounding <= deficit <= 4 * LOG2 * delta**2 + rounding
    assert deficit == pytest.approx(LOG2 - binary_entropy(0.5 - abs(delta)), abs=1e-15)  # 1/2 + |delta| would be rounded


def test_deficit_keeps_its_digits() -> None:
    assert binary_entropy_deficit(1e-9) == pytest.approx(2e-18, rel=1e-12)
    series = sum(0.02 ** (2 * n) / (2 * n * (2 * n - 1)) for n in range(1, 9))
    assert binary_entropy_deficit(0.01) == pytest.approx(series, rel=1e-14)


@given(st.floats(1e-3, 0.999), st.floats(1e-6, 1e-5))
def test_derivative_is_the_slope(p: float, step: float) -> None:
    step = min(step, p / 10, (1 - p) / 10)
    slope = (binary_entropy(p + step) - binary_entropy(p - step)) / (2 * step)
    assert slope == pytest.approx(binary_entropy_derivative(p), abs=1e-2 * step / 1e-5 + 1e-8)


@given(laws(5), laws(5), st.floats(0.0, 1.0))
def test_entropy_range_and_concavity(p: np.ndarray, q: np.ndarray, weight: float) -> None:
    assert 0.0 <= entropy(p) <= math.log(5) + 1e-12
    mixture = weight * p + (1 - weight) * q
    assert entropy(mixture) >= weight * entropy(p) + (1 - weight) * entropy(q) - 1e-12


@given(laws(5), laws(5))
def test_kl_is_a_divergence(p: np.ndarray, q: np.ndarray) -> None:
    assert kl_divergence(p, q) >= 0.0
    assert kl_divergence(p, p) == 0.0
    assert (kl_divergence(p, q) == math.inf) == bool(((p > 0) & (q == 0)).any())
    assert kl_divergence(p, q) >= 0.5 * np.abs(p - q).sum() ** 2 - 1e-12  # Pinsker
    assert kl_divergence(p, np.full(5, 0.2)) == pytest.approx(math.log(5) - entropy(p), abs=1e-12)


@given(laws(3, 4))
def test_mutual_information_by_entropies(joint: np.ndarray) -> None:
    p_x, p_z = joint.sum(axis=1), joint.sum(axis=0)
    value = mutual_information(joint)
    assert value == pytest.approx(entropy(p_x) + entropy(p_z) - entropy(joint.ravel()), abs=1e-12)
    assert 0.0 <= value <= min(entropy(p_x), entropy(p_z)) + 1e-12
    assert value == pytest.approx(mutual_information(joint.T), abs=1e-13)


@given(laws(3, 4, 2))
def test_chain_rule(joint: np.ndarray) -> None:
    conditional = conditional_mutual_information(joint)
    assert conditional >= 0.0
    assert mutual_information(joint.reshape(3, 8)) == pytest.approx(
        mutual_information(joint.sum(axis=1)) + conditional, abs=1e-12)
    # and by hand: the average over z of the mutual information of p(x, y | z)
    by_hand = sum(joint[:, :, z].sum() * mutual_information(joint[:, :, z] / joint[:, :, z].sum())
                  for z in range(2) if joint[:, :, z].sum() > 0)
    assert conditional == pytest.approx(by_hand, abs=1e-12)


@given(laws(3), kernels(3, 4), kernels(4, 3))
def test_data_processing(p_x: np.ndarray, x_to_y: np.ndarray, y_to_z: np.ndarray) -> None:
    chain = p_x[:, None, None] * x_to_y[:, :, None] * y_to_z[None]  # X - Y - Z
    i_xz = mutual_information(chain.sum(axis=1))
    assert i_xz <= mutual_information(chain.sum(axis=2)) + 1e-12
    assert i_xz <= mutual_information(chain.sum(axis=0)) + 1e-12
    assert conditional_mutual_information(chain.transpose(0, 2, 1)) == pytest.approx(0.0, abs=1e-12)  # I(X;Z|Y)


@given(laws(6), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_deterministic_representation_carries_its_entropy(p: np.ndarray, g: list[int]) -> None:
    joint = np.zeros((6, 4))
    joint[np.arange(6), g] = p
    assert mutual_information(joint) == pytest.approx(entropy(joint.sum(axis=0)), abs=1e-12)


def test_exclusive_or_breaks_monotonicity() -> None:
    joint = np.zeros((2, 2, 2))
    joint[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 0.25
    assert mutual_information(joint.sum(axis=2)) == 0.0
    assert conditional_mutual_information(joint) == pytest.approx(LOG2, abs=1e-15)


def test_tiny_masses_do_not_underflow() -> None:
    joint = np.diag([1.0, 1e-300, 1e-200])
    assert mutual_information(joint) == pytest.approx(0.0, abs=1e-15)
    assert conditional_mutual_information(joint[:, :, None]) < 1e-15


# --- interface -------------------------------------------------------------------------------------------------------

def test_scalars_give_floats_and_arrays_give_arrays() -> None:
    for function in (binary_entropy, binary_entropy_derivative, binary_entropy_inverse, binary_entropy_deficit):
        assert type(function(0.25)) is float
        assert function([[0.1, 0.2, 0.3]]).shape == (1, 3)
    assert type(entropy([0.5, 0.5])) is float and type(kl_divergence([0.5, 0.5], [0.5, 0.5])) is float
    assert type(mutual_information(np.eye(2) / 2)) is float
    law = np.full((3, 2), 0.5)
    assert entropy(law).shape == (3,) and entropy(law / 1.5, axis=0).shape == (2,)
    assert kl_divergence(law, [0.5, 0.5]).tolist() == [0.0, 0.0, 0.0]


def test_sum_tolerance() -> None:
    assert entropy([0.5, 0.5 + 5e-9]) == pytest.approx(LOG2, abs=1e-8)
    with pytest.raises(ValueError, match="sum to 1, got 1.00000005"):
        entropy([0.5, 0.5 + 5e-8])


def test_the_input_is_not_changed() -> None:
    p = np.array([1.0 + 1e-13, -1e-13])
    assert check_probabilities(p).tolist() == [1.0 + 1e-13, 0.0] and p[1] == -1e-13


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: entropy([0.6, 0.6]), ValueError, ["sum to 1", "got 1.2", "axis -1", "p / p.sum(axis=-1"]),
    (lambda: entropy([0.5, math.nan]), ValueError, ["NaN"]),
    (lambda: entropy([1.5, -0.5]), ValueError, ["non-negative", "-0.5", "softmax"]),
    (lambda: entropy(0.5), ValueError, ["non-empty array", "[t, 1 - t]"]),
    (lambda: entropy([]), ValueError, ["non-empty"]),
    (lambda: entropy([math.inf, 0.0]), ValueError, ["sum to 1", "inf"]),
    (lambda: entropy(["a", "b"]), TypeError, ["real numbers"]),
    (lambda: entropy([0.5j, 0.5]), TypeError, ["complex"]),
    (lambda: kl_divergence([0.5, 0.5], [1.0]), ValueError, ["same outcomes", "(2,)", "(1,)"]),
    (lambda: kl_divergence([0.5, 0.5], [0.5, 0.6]), ValueError, ["q must sum to 1"]),
    (lambda: mutual_information([0.5, 0.5]), ValueError, ["[n_x, n_z]", "(2,)"]),
    (lambda: mutual_information(np.eye(2)), ValueError, ["joint must sum to 1", "got 2", "p / p.sum()"]),
    (lambda: conditional_mutual_information(np.eye(2) / 2), ValueError, ["[n_x, n_y, n_z]", "condition last"]),
    (lambda: binary_entropy(1.2), ValueError, ["[0, 1]", "1.2"]),
    (lambda: binary_entropy(math.nan), ValueError, ["NaN"]),
    (lambda: binary_entropy_derivative(-0.1), ValueError, ["[0, 1]", "-0.1"]),
    (lambda: binary_entropy_inverse(1.0), ValueError, ["[0, 0.693147]", "h * log(2)"]),
    (lambda: binary_entropy_inverse(-0.1), ValueError, ["-0.1"]),
    (lambda: binary_entropy_deficit(0.6), ValueError, ["[-0.5, 0.5]"]),
])
def test_errors_say_what_came_and_the_cure(call: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_import_is_quiet_and_without_torch() -> None:
    code = "import sys, robinfo.theory.information; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_laws_in_low_precision_are_taken_and_rescaled(dtype: Any) -> None:
    law = np.random.default_rng(0).dirichlet(np.ones(50)).astype(dtype)
    assert check_probabilities(law).sum() == pytest.approx(1.0, abs=1e-15)
    assert entropy(law) == pytest.approx(entropy(law.astype(float) / law.astype(float).sum()), abs=1e-14)
    assert entropy(np.ones(1, dtype) + np.finfo(dtype).eps) == 0.0
    with pytest.raises(ValueError, match="must sum to 1, got 1.2"):
        entropy(np.array([0.6, 0.6], dtype))


def test_leading_axes_give_what_one_call_for_each_gives() -> None:
    laws = np.random.default_rng(8).dirichlet(np.full(24, 0.3), size=(2, 5)).reshape(2, 5, 2, 3, 4)
    pairs = laws.sum(axis=-1)
    np.testing.assert_allclose(mutual_information(pairs), [[mutual_information(j) for j in row] for row in pairs], atol=1e-15)
    np.testing.assert_allclose(conditional_mutual_information(laws),
                               [[conditional_mutual_information(j) for j in row] for row in laws], atol=1e-15)
    assert isinstance(mutual_information(pairs[0, 0]), float) and mutual_information(pairs).shape == (2, 5)
    with pytest.raises(ValueError, match=r"joint must sum to 1.*along axis \(-2, -1\)"):
        mutual_information(laws[0, 0])  # one law of three variables is not a batch of laws of two
