"""Fano bounds: golden values, no violation on random laws, equality cases, error messages."""
from __future__ import annotations

import itertools
import math
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robinfo.theory.fano import (
    _random_problem,
    adversarial_accuracy_upper_bound,
    adversarial_risk_lower_bound,
    fano_function,
    fano_function_inverse,
    hamming_rate_distortion,
    list_risk_lower_bound,
    nonuniform_risk_lower_bound,
    worst_case_information_lower_bound,
)
from robinfo.theory.information import entropy, mutual_information

SLACK = 1e-7  # the inverse turns rounding of the information, 1e-16, into its square root at zero information
WEIGHTS = st.sampled_from([0.0, 1e-4, 0.05, 0.3, 1.0, 4.0, 30.0])
CLASSES = st.integers(2, 50)


@st.composite
def laws(draw: st.DrawFn, size: int) -> np.ndarray:
    """A random law, zeros and very uneven weights included."""
    weights = draw(arrays(np.float64, size, elements=WEIGHTS))
    weights[draw(st.integers(0, size - 1))] += 1.0
    return weights / weights.sum()


@st.composite
def kernels(draw: st.DrawFn, rows: int, columns: int) -> np.ndarray:
    """A random channel: `rows` laws on `columns` letters."""
    return np.stack([draw(laws(columns)) for _ in range(rows)])


def smallest_error_over_heads(joint: np.ndarray) -> float:
    """min over every deterministic h of P(h(Z) != Y), joint [y, z], by enumeration."""
    labels, readings = joint.shape
    heads = itertools.product(range(labels), repeat=readings)
    return min(1.0 - sum(joint[h[z], z] for z in range(readings)) for h in heads)


# --- golden values ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", golden_cases("fano"))
def test_fano_golden(case: dict[str, Any]) -> None:
    information, classes = case["inputs"]["I"], case["inputs"]["K"]
    out = {name: entry["value"] for name, entry in case["outputs"].items()}
    tolerance = case["tolerance"]
    weak = adversarial_risk_lower_bound(information, classes, form="weak")
    assert weak == pytest.approx(out["weak_clipped"], abs=tolerance)
    assert adversarial_risk_lower_bound(information, classes, form="sharp") == pytest.approx(out["full"], abs=tolerance)
    assert adversarial_risk_lower_bound(information, classes) == pytest.approx(out["full"], abs=tolerance)
    assert adversarial_accuracy_upper_bound(information, classes) == pytest.approx(out["acc_upper_full"], abs=tolerance)
    assert adversarial_accuracy_upper_bound(information, classes, form="weak") == pytest.approx(
        min(1.0, out["acc_upper_weak"]), abs=tolerance)


@pytest.mark.parametrize("case", golden_cases("list_fano"))
def test_list_golden(case: dict[str, Any]) -> None:
    inputs = case["inputs"]
    bound = list_risk_lower_bound(math.log(inputs["M"]) - inputs["HYgivenZ"], inputs["M"], list_size=inputs["l"])
    assert bound == pytest.approx(case["outputs"]["Pe"]["value"], abs=case["tolerance"])


@pytest.mark.parametrize("case", golden_cases("rate_distortion_hamming"))
def test_erokhin_golden(case: dict[str, Any]) -> None:
    law, information = case["inputs"]["P"], case["inputs"]["I"]
    out = case["outputs"]
    assert nonuniform_risk_lower_bound(information, law) == pytest.approx(out["Pe_lower"]["value"], abs=1e-12)
    assert fano_function_inverse(entropy(law) - information, len(law)) == pytest.approx(
        out["fano_uniform_form"]["value"], abs=1e-12)


def test_printed_numbers() -> None:
    weak, sharp = (adversarial_accuracy_upper_bound([1.08, 0.0], 10, form) for form in ("weak", "sharp"))
    assert np.round(100 * weak, 1).tolist() == [77.0, 30.1]
    assert np.round(100 * sharp, 1).tolist() == [71.5, 10.0]
    assert worst_case_information_lower_bound(0.5, 10) == pytest.approx(0.5108256237659907, abs=1e-12)


# Reference values computed with 40 digits by bisection of d(p || 1 - l/M) = I: (I, M, l) -> p.
REFERENCE = {(0.3, 10, 5): 0.13358602535325792, (0.5, 10, 1): 0.5049492504490518, (1.75, 10, 1): 0.10177429754854131,
             (math.log(4) - 1, 4, 1): 0.3318191224322664}


@pytest.mark.parametrize(("information", "classes", "size"), REFERENCE)
def test_against_bisection(information: float, classes: int, size: int) -> None:
    bound = list_risk_lower_bound(information, classes, list_size=size)
    assert bound == pytest.approx(REFERENCE[information, classes, size], abs=1e-14)


# --- the bounds hold -------------------------------------------------------------------------------------------------

@given(kernels(3, 3))
def test_no_head_beats_the_bounds_with_uniform_labels(kernel: np.ndarray) -> None:
    joint = kernel / 3
    information, risk = mutual_information(joint), smallest_error_over_heads(joint)
    sharp = adversarial_risk_lower_bound(information, 3)
    assert risk >= sharp - SLACK
    assert sharp >= adversarial_risk_lower_bound(information, 3, form="weak")
    assert sharp == pytest.approx(nonuniform_risk_lower_bound(information, np.full(3, 1 / 3)), abs=SLACK)
    assert worst_case_information_lower_bound(min(risk, 1.0), 3) <= information + 1e-12


@given(laws(4), kernels(4, 3))
def test_no_head_beats_the_bounds_with_any_labels(law: np.ndarray, kernel: np.ndarray) -> None:
    joint = law[:, None] * kernel
    information, risk = mutual_information(joint), smallest_error_over_heads(joint)
    bound = nonuniform_risk_lower_bound(information, law)
    assert risk >= bound - SLACK
    assert bound >= fano_function_inverse(max(entropy(law) - information, 0.0), 4) - SLACK
    assert hamming_rate_distortion(max(risk, 0.0), law) <= information + 1e-9


def test_uniform_form_is_false_for_unequal_classes() -> None:
    law = [0.98, 0.01, 0.01]  # a constant representation, always answering the first class
    risk = 0.02
    assert adversarial_risk_lower_bound(0.0, 3) > adversarial_risk_lower_bound(0.0, 3, form="weak") > risk
    assert nonuniform_risk_lower_bound(0.0, law) == pytest.approx(risk, abs=1e-15)


@given(kernels(5, 3), st.integers(1, 4))
def test_no_list_beats_the_bound(kernel: np.ndarray, size: int) -> None:
    joint = kernel / 5
    risk = 1.0 - np.sort(joint, axis=0)[-size:].sum()  # the best list of each z: its most probable labels
    assert risk >= list_risk_lower_bound(mutual_information(joint), 5, list_size=size) - SLACK


@given(kernels(3, 4), st.lists(st.integers(0, 2), min_size=4, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_adversarial_risk_of_finite_problems(kernel: np.ndarray, g: list[int], edges: list[bool]) -> None:
    joint = kernel.T / 3  # [x, y], uniform labels; x and x + 1 are within reach if edges[x]
    near = np.eye(4, dtype=bool)
    for x in range(3):
        near[x, x + 1] = near[x + 1, x] = edges[x]
    reach = [sorted({g[other] for other in range(4) if near[x, other]}) for x in range(4)]
    weights = joint.sum(axis=1)
    i_min = min(entropy(np.bincount(choice, weights=weights, minlength=3)) for choice in itertools.product(*reach))
    risk = min(sum(joint[x, y] for x in range(4) for y in range(3) if any(h[z] != y for z in reach[x]))
               for h in itertools.product(range(3), repeat=3))
    assert risk >= adversarial_risk_lower_bound(i_min, 3) - SLACK


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_problems_of_the_claims_by_enumeration(seed: int, uniform: bool) -> None:
    problem = _random_problem(np.random.default_rng(seed), uniform)
    joint, classes = problem.joint, problem.joint.shape[1]
    reach = [np.flatnonzero(row).tolist() for row in problem.reach]
    if uniform:
        assert joint.sum(axis=0) == pytest.approx(1 / classes)
    choices = np.array(list(itertools.product(*reach)))
    laws = np.stack([(choices == z) @ joint.sum(axis=1) for z in range(problem.reach.shape[1])], axis=1)
    assert problem.information == pytest.approx(entropy(laws).min(), abs=1e-12)
    safe = [[frozenset(h[z] for z in values) for values in reach] for h in itertools.product(range(classes), repeat=problem.reach.shape[1])]
    accuracy = max(sum(joint[x, min(answers)] for x, answers in enumerate(head) if len(answers) == 1) for head in safe)
    assert problem.best_risk == pytest.approx(1 - accuracy, abs=1e-12)


# --- equality and shape ----------------------------------------------------------------------------------------------

@given(CLASSES, st.floats(0.0, 1.0))
def test_symmetric_channel_attains_the_sharp_form(classes: int, share: float) -> None:
    p = share * (1 - 1 / classes)
    joint = np.full((classes, classes), p / (classes - 1) / classes)
    np.fill_diagonal(joint, (1 - p) / classes)
    information = mutual_information(joint)
    assert information == pytest.approx(math.log(classes) - fano_function(p, classes), abs=1e-12)
    assert adversarial_risk_lower_bound(information, classes) == pytest.approx(p, abs=SLACK)
    assert worst_case_information_lower_bound(p, classes) == pytest.approx(information, abs=1e-12)


@given(laws(5), st.floats(0.01, 0.99))
def test_erokhin_channel_attains_the_nonuniform_form(law: np.ndarray, share: float) -> None:
    law = np.sort(law)[::-1]
    d = share * (1 - law[0])
    assume(d > 1e-3)
    # rebuild the optimal channel independently: water level by bisection on d = 1 - sum max(P - eta, 0) - eta
    low, high = 0.0, law[1]
    for _ in range(200):
        eta = (low + high) / 2
        low, high = (eta, high) if 1 - np.maximum(law - eta, 0).sum() - eta < d else (low, eta)
    backward = np.minimum(law, eta)[:, None] * np.ones(5)
    np.fill_diagonal(backward, 1 - d)
    weights = np.maximum(law - eta, 0) / (1 - d - eta)
    joint = backward * weights
    assert joint.sum(axis=1) == pytest.approx(law, abs=1e-9) and 1 - np.trace(joint) == pytest.approx(d, abs=1e-9)
    information = mutual_information(joint / joint.sum())
    assert hamming_rate_distortion(d, law) == pytest.approx(information, abs=1e-8)


@given(CLASSES, st.floats(0.0, 1.0))
def test_inverse_round_trip(classes: int, share: float) -> None:
    p = share * (1 - 1 / classes)
    h = fano_function(p, classes)
    assert 0.0 <= h <= math.log(classes)
    back = fano_function_inverse(h, classes)
    assert fano_function(back, classes) == pytest.approx(h, abs=1e-13)
    assert back == pytest.approx(p, abs=SLACK)


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0), CLASSES, st.sampled_from(["weak", "sharp"]))
def test_range_and_monotonicity(first: float, second: float, classes: int, form: Any) -> None:
    low, high = sorted((first, second))
    few, many = (adversarial_risk_lower_bound(value, classes, form=form) for value in (low, high))
    assert 0.0 <= many <= few + 1e-12 <= 1 - 1 / classes + 2e-12
    accuracy = adversarial_accuracy_upper_bound(low, classes, form=form)
    assert accuracy == 1 - few and 1 / classes - 1e-12 <= accuracy <= 1.0


@given(st.floats(0.0, 5.0), st.integers(3, 50))
def test_one_guess_is_fano_and_longer_lists_are_easier(information: float, classes: int) -> None:
    bounds = [list_risk_lower_bound(information, classes, list_size=size) for size in (1, 2)]
    assert bounds[0] == pytest.approx(adversarial_risk_lower_bound(information, classes), abs=1e-14)
    assert bounds[1] <= bounds[0] + 1e-12


def test_where_the_bounds_are_vacuous() -> None:
    assert adversarial_risk_lower_bound(math.inf, 10) == 0.0 and adversarial_risk_lower_bound(math.log(10), 10) < 1e-15
    assert adversarial_risk_lower_bound(0.0, 2, form="weak") == 0.0 and adversarial_risk_lower_bound(0.0, 2) == 0.5
    assert adversarial_risk_lower_bound(math.log(5), 10, form="weak") == pytest.approx(0.0, abs=1e-15)
    assert worst_case_information_lower_bound(0.95, 10) == 0.0
    assert worst_case_information_lower_bound(0.0, 10) == pytest.approx(math.log(10), abs=1e-15)
    assert nonuniform_risk_lower_bound(0.0, [1.0]) == 0.0 and nonuniform_risk_lower_bound(math.inf, [0.5, 0.5]) == 0.0


def test_zero_information_is_chance() -> None:
    assert adversarial_risk_lower_bound(0.0, 7) == 1 - 1 / 7
    for information in (1e-20, 1e-12):  # 1 - 1/M - sqrt(2 I (1 - 1/M) / M), without losing digits
        expected = 1 - 1 / 7 - math.sqrt(2 * information * 6 / 49)
        assert adversarial_risk_lower_bound(information, 7) == pytest.approx(expected, abs=2e-12)
    assert nonuniform_risk_lower_bound(0.0, np.full(3, 1 / 3)) == 1 - 1 / 3
    assert nonuniform_risk_lower_bound(0.0, [0.2, 0.7, 0.1]) == pytest.approx(0.3, abs=1e-15)


# --- interface -------------------------------------------------------------------------------------------------------

def test_scalars_give_floats_and_arrays_give_arrays() -> None:
    for value in (adversarial_risk_lower_bound(0.5, 10), adversarial_accuracy_upper_bound(0.5, 10, "weak"),
                  fano_function(0.5, 3), fano_function_inverse(0.5, 3), list_risk_lower_bound(0.1, 10, list_size=2),
                  worst_case_information_lower_bound(0.2, 10), hamming_rate_distortion(0.1, [0.5, 0.5]),
                  nonuniform_risk_lower_bound(0.1, [0.5, 0.5])):
        assert type(value) is float
    grid = np.array([[0.0, 0.1, 0.2]])
    assert adversarial_risk_lower_bound(grid, np.int64(10)).shape == (1, 3)
    assert nonuniform_risk_lower_bound(grid, [0.6, 0.4]).shape == hamming_rate_distortion(grid, [0.6, 0.4]).shape == (1, 3)
    assert nonuniform_risk_lower_bound(grid, [0.4, 0.6, 0.0])[0, 1] == nonuniform_risk_lower_bound(0.1, [0.6, 0.4])


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: adversarial_risk_lower_bound(-0.3, 10), ValueError, ["mutual_information", "-0.3", "max(estimate, 0)"]),
    (lambda: adversarial_risk_lower_bound([0.1, math.nan], 10), ValueError, ["NaN", "1 NaN of 2"]),
    (lambda: adversarial_risk_lower_bound(0.3, 1), ValueError, ["at least 2", "got 1"]),
    (lambda: adversarial_risk_lower_bound(0.3, 10.0), TypeError, ["integer", "10.0"]),
    (lambda: adversarial_risk_lower_bound(0.3, True), TypeError, ["integer", "True"]),
    (lambda: adversarial_risk_lower_bound(0.3, 10, form="full"), ValueError, ['"weak" or "sharp"', "'full'"]),
    (lambda: adversarial_accuracy_upper_bound(-1.0, 10), ValueError, ["-1"]),
    (lambda: fano_function(1.1, 10), ValueError, ["p must lie in [0, 1]", "1.1"]),
    (lambda: fano_function_inverse(3.0, 10), ValueError, ["[0, 2.30259]", "log M"]),
    (lambda: worst_case_information_lower_bound(1.5, 10), ValueError, ["adversarial_risk", "1.5"]),
    (lambda: list_risk_lower_bound(0.1, 10, list_size=10), ValueError, ["below num_classes = 10"]),
    (lambda: list_risk_lower_bound(0.1, 10, list_size=0), ValueError, ["list_size", "at least 1"]),
    (lambda: nonuniform_risk_lower_bound(0.1, [0.5, 0.6]), ValueError, ["class_probabilities must sum to 1"]),
    (lambda: nonuniform_risk_lower_bound(0.1, [[0.5, 0.5]]), ValueError, ["[num_classes]", "(1, 2)"]),
    (lambda: hamming_rate_distortion(-0.5, [0.5, 0.5]), ValueError, ["distortion", "-0.5"]),
])
def test_errors_say_what_came_and_the_cure(call: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_import_is_quiet_and_without_torch() -> None:
    code = "import sys, robinfo.theory.fano; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("classes", range(2, 41))
def test_uniform_labels_without_information_leave_chance(classes: int) -> None:
    """log M - H(P) rounds to either side of 0; at zero information the answer is 1 - 1/M whatever it rounds to."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nonuniform_risk_lower_bound(0.0, np.full(classes, 1 / classes)) == pytest.approx(1 - 1 / classes, abs=1e-12)
        assert nonuniform_risk_lower_bound([0.0, 1e-9, 0.1], np.full(classes, 1 / classes)) == pytest.approx(
            adversarial_risk_lower_bound([0.0, 1e-9, 0.1], classes), abs=1e-7)


@pytest.mark.parametrize("function", [fano_function, fano_function_inverse, adversarial_risk_lower_bound,
                                      adversarial_accuracy_upper_bound, worst_case_information_lower_bound])
def test_more_classes_than_doubles_can_count_are_refused(function: Any) -> None:
    assert math.isfinite(function(0.1, 2**53))
    with pytest.raises(ValueError, match=r"num_classes must be at most 2\*\*53"):
        function(0.1, 10**400)
