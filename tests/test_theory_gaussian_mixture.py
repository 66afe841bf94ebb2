"""Theorem 3.2 of Zhu et al., corrected: golden values, the inequality as a property, Monte Carlo, a finite space."""
from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from robinfo.theory.gaussian_mixture import (
    GaussianMixture,
    NormBall,
    adversarial_gap_bounds,
    dual_perturbation,
    movable_mass,
    movable_mass_from_vulnerability,
    normal_interval,
    printed_bounds_from_gap,
    representation_vulnerability_from_risks,
    vulnerability_bounds_from_gap,
)
from robinfo.theory.information import binary_entropy, binary_entropy_deficit, binary_entropy_inverse
from robinfo.theory.transport import adversarial_risk, representation_vulnerability
from robinfo.threats import L1, L2, Linf

BALLS = {"1": L1, "2": L2, "inf": Linf}
UNIT = GaussianMixture([1.0], [[1.0]])
PLANE = GaussianMixture([1.0, 0.5], np.eye(2))
LOG2 = math.log(2)

signals = st.floats(0.0, 6.0)
reaches = st.floats(0.0, 12.0)


@st.composite
def cases(draw: st.DrawFn, smallest_radius: float = 0.0) -> tuple[GaussianMixture, np.ndarray, NormBall]:
    """A random mixture in 1 to 5 dimensions, a direction and a threat."""
    d = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factor = rng.standard_normal((d, d))
    mixture = GaussianMixture(draw(st.floats(0, 2)) * rng.standard_normal(d), factor @ factor.T / d + 0.5 * np.eye(d))
    ball = draw(st.sampled_from([Linf, L2, L1]))
    return mixture, rng.standard_normal(d), ball(draw(st.floats(smallest_radius, 3)))


@pytest.mark.parametrize("case", golden_cases("gaussian_mixture"))
def test_golden(case: dict[str, Any]) -> None:
    given_, expected, tolerance = case["inputs"], case["outputs"], case["tolerance"]
    mixture, w = GaussianMixture(given_["theta"], given_["Sigma"]), given_["w"]
    threat = BALLS[given_["p"]](given_["eps"])
    signal, reach = mixture.signal(w), mixture.reach(w, threat)
    lower, upper = mixture.vulnerability_bounds(w, threat)
    printed_lower, printed_upper = mixture.printed_bounds(w, threat)
    vulnerability = mixture.representation_vulnerability(w, threat)
    found = {
        "m": signal * expected["s"]["value"], "r": reach * expected["s"]["value"], "risk": mixture.risk(w),
        "adv_risk": mixture.adversarial_risk(w, threat), "adv_risk_other_h": ndtr(reach + signal),
        "AG": mixture.adversarial_gap(w, threat), "delta": movable_mass(signal, reach), "RV": vulnerability,
        "Imin": mixture.minimal_information(w, threat), "lower": lower, "upper": upper,
        "printed_lower": printed_lower, "printed_upper": printed_upper,
        "full_fano_adv_lower": binary_entropy_inverse(vulnerability),
    }
    for name, value in found.items():
        assert value == pytest.approx(expected[name]["value"], rel=0, abs=tolerance), name
    assert threat.dual_order == float(expected["q"])


# the inequality


@given(cases())
def test_vulnerability_lies_between_the_corrected_bounds(case: Any) -> None:
    mixture, w, threat = case
    lower, upper = mixture.vulnerability_bounds(w, threat)
    vulnerability = mixture.representation_vulnerability(w, threat)
    assert lower * (1 - 1e-12) <= vulnerability <= upper * (1 + 1e-12)
    assert 0 <= vulnerability <= LOG2


@given(cases(smallest_radius=1e-3))
def test_printed_bounds_fail_for_every_positive_radius(case: Any) -> None:
    mixture, w, threat = case
    near, far = (normal_interval(sign * mixture.signal(w), mixture.reach(w, threat)) for sign in (-1, 1))
    assume(far > 1e-9 * near)  # otherwise RV and its lower bound are the same double
    printed_lower, printed_upper = mixture.printed_bounds(w, threat)
    vulnerability = mixture.representation_vulnerability(w, threat)
    assert printed_upper < vulnerability
    if near > 0.5:
        assert math.isnan(printed_lower)
    elif near - far > 1e-9 * near:
        assert printed_lower > vulnerability


@given(reaches.filter(lambda reach: reach > 1e-6))
def test_upper_bound_is_attained_without_signal(reach: float) -> None:
    lower, upper = vulnerability_bounds_from_gap(normal_interval(0.0, reach))
    vulnerability = binary_entropy_deficit(movable_mass(0.0, reach))
    assert vulnerability == pytest.approx(upper, rel=1e-12)
    assert lower < vulnerability


@pytest.mark.parametrize("gap", [0.01, 0.2, 0.5, 0.7, 0.99])
def test_both_bounds_are_limits_at_a_fixed_gap(gap: float) -> None:
    def at(signal: float) -> float:
        return binary_entropy_deficit(movable_mass(signal, signal + ndtri(gap + ndtr(-signal))))

    lower, upper = vulnerability_bounds_from_gap(gap)
    assert at(9.0) == pytest.approx(lower, rel=1e-9)
    least_signal = 0.0 if gap < 0.5 else ndtri(gap) + 1e-9
    assert at(least_signal) == pytest.approx(upper, abs=1e-6)
    assert at(9.0) < at(2.5) < at(least_signal)


@given(cases(), st.floats(-150, 150), st.sampled_from([-1, 1]))
def test_length_and_sign_of_w_play_no_part(case: Any, exponent: float, sign: int) -> None:
    mixture, w, threat = case
    scaled = sign * 10.0**exponent * w
    for method in ("adversarial_risk", "adversarial_gap", "representation_vulnerability", "minimal_information"):
        value = getattr(mixture, method)(w, threat)
        assert getattr(mixture, method)(scaled, threat) == pytest.approx(value, rel=1e-9, abs=1e-15), method


@given(cases(), st.floats(0, 3))
def test_everything_grows_with_the_radius(case: Any, other: float) -> None:
    mixture, w, threat = case
    small, large = sorted([threat, type(threat)(other)], key=lambda ball: ball.radius)
    for method in ("adversarial_risk", "adversarial_gap", "representation_vulnerability"):
        low, high = getattr(mixture, method)(w, small), getattr(mixture, method)(w, large)
        assert low <= high * (1 + 1e-12), method


@given(cases())
def test_radius_zero_changes_nothing(case: Any) -> None:
    mixture, w, threat = case
    nothing = type(threat)(0.0)
    assert mixture.adversarial_risk(w, nothing) == mixture.risk(w)
    assert mixture.adversarial_gap(w, nothing) == mixture.representation_vulnerability(w, nothing) == 0
    assert mixture.vulnerability_bounds(w, nothing) == (0, 0)
    assert mixture.minimal_information(w, nothing) == pytest.approx(LOG2, rel=1e-15)


# the identities


@given(cases())
def test_gap_and_information_are_the_differences(case: Any) -> None:
    mixture, w, threat = case
    difference = mixture.adversarial_risk(w, threat) - mixture.risk(w)
    assert mixture.adversarial_gap(w, threat) == pytest.approx(difference, abs=1e-15)
    left = mixture.minimal_information(w, threat) + mixture.representation_vulnerability(w, threat)
    assert left == pytest.approx(LOG2, rel=1e-13)


@given(cases(smallest_radius=1e-100))
def test_closed_form_sandwich(case: Any) -> None:
    mixture, w, threat = case
    delta = movable_mass(mixture.signal(w), mixture.reach(w, threat))
    vulnerability = mixture.representation_vulnerability(w, threat)
    assert 2 * delta**2 * (1 - 1e-13) <= vulnerability <= 4 * LOG2 * delta**2 * (1 + 1e-13)


@given(cases())
def test_vulnerability_from_the_two_heads_and_from_two_risks(case: Any) -> None:
    mixture, w, threat = case
    signal, reach = mixture.signal(w), mixture.reach(w, threat)
    vulnerability = mixture.representation_vulnerability(w, threat)
    heads = (mixture.adversarial_risk(w, threat) + ndtr(reach + signal)) / 2
    assert LOG2 - binary_entropy(min(heads, 1.0)) == pytest.approx(vulnerability, abs=1e-14)
    assume(signal < 5 and reach - signal < 5)  # beyond, the adversarial risk rounds to 1
    from_risks = representation_vulnerability_from_risks(mixture.risk(w), mixture.adversarial_risk(w, threat))
    assert from_risks == pytest.approx(vulnerability, rel=1e-6, abs=1e-9)


@given(cases(smallest_radius=1e-100))  # below, RV is smaller than the smallest double
def test_gap_lies_between_its_bounds(case: Any) -> None:
    mixture, w, threat = case
    gap, vulnerability = mixture.adversarial_gap(w, threat), mixture.representation_vulnerability(w, threat)
    closed, sharp = adversarial_gap_bounds(vulnerability), adversarial_gap_bounds(vulnerability, "sharp")
    assert closed[0] * (1 - 1e-12) <= sharp[0] <= gap * (1 + 1e-12)
    assert gap * (1 - 1e-12) <= sharp[1] <= closed[1] * (1 + 1e-12)


@given(st.floats(1e-200, LOG2))
def test_inverse_of_the_deficit(vulnerability: float) -> None:
    delta = movable_mass_from_vulnerability(vulnerability)
    assert 0 <= delta <= 0.5
    assert binary_entropy_deficit(delta) == pytest.approx(vulnerability, rel=1e-13)


# precision: the expected values have been computed with 60 digits


@pytest.mark.parametrize(("start", "width", "expected"), [
    (1.0, 1e-12, 2.4197072451902236e-13), (-6.0, 1e-9, 6.0758828680509345e-18), (10.0, 1e-6, 7.694560153840246e-29),
    (3.0, 2.0, 0.0013496113800582153), (-8.0, 20.0, 0.99999999999999938), (0.3, 0.0, 0.0), (-40.0, math.inf, 1.0),
], ids=str)
def test_interval_mass_is_precise(start: float, width: float, expected: float) -> None:
    assert normal_interval(start, width) == pytest.approx(expected, rel=5e-15)


@given(st.floats(-8, 8), st.floats(0, 5), st.floats(0, 5))
def test_interval_mass_is_additive_and_symmetric(start: float, first: float, second: float) -> None:
    whole = normal_interval(start, first + second)
    parts = normal_interval(start, first) + normal_interval(start + first, second)
    assert parts == pytest.approx(whole, rel=1e-12, abs=1e-15)
    assert normal_interval(-start - first, first) == pytest.approx(normal_interval(start, first), rel=1e-12, abs=1e-30)


def test_tiny_radius_keeps_the_second_order() -> None:
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    vulnerability = UNIT.representation_vulnerability([1.0], L2(1e-12))
    assert vulnerability == pytest.approx(2 * (density * 1e-12) ** 2, rel=1e-11)


def test_information_left_is_precise_where_it_vanishes() -> None:
    p = float(ndtr(-29.0) + ndtr(-31.0)) / 2
    assert UNIT.minimal_information([1.0], L2(30.0)) == pytest.approx(-p * math.log(p) + p, rel=1e-12)


# the perturbation


@given(cases())
def test_dual_perturbation_attains_the_dual_norm(case: Any) -> None:
    _, w, threat = case
    h = dual_perturbation(w, threat)
    assert w @ h == pytest.approx(threat.radius * np.linalg.norm(w, threat.dual_order), rel=1e-12, abs=1e-300)
    scale = max(threat.radius, 1e-290)  # the squares of smaller numbers underflow
    assert np.linalg.norm(h / scale, threat.order) <= threat.radius / scale * (1 + 1e-12) + 1e-30


def test_other_norms_fit_the_protocol() -> None:
    @dataclasses.dataclass(frozen=True)
    class Cubic:
        radius: float
        dual_order: float = 1.5

    w, threat = np.array([1.0, -2.0, 0.5]), Cubic(0.3)
    assert isinstance(threat, NormBall)
    assert w @ dual_perturbation(w, threat) == pytest.approx(0.3 * np.linalg.norm(w, 1.5), rel=1e-12)
    assert np.linalg.norm(dual_perturbation(w, threat), 3) == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.5), L1(0.7), L2(2.0)], ids=str)
def test_monte_carlo(threat: NormBall) -> None:
    """Counted after an explicit perturbation: bars of five standard deviations, false alarm 7e-6 over all 12 lines."""
    mixture = GaussianMixture([1.0, 0.5, -0.3], [[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 0.5]])
    w, n = np.array([0.6, 0.8, -0.2]), 100_000
    x, y = mixture.sample(n, seed=11)
    h = dual_perturbation(w, threat)
    delta = movable_mass(mixture.signal(w), mixture.reach(w, threat))
    lines = [(0.5 - delta, (x - h) @ w >= 0), (0.5 + delta, (x + h) @ w >= 0),
             (mixture.adversarial_risk(w, threat), ((x - y[:, None] * h) @ w >= 0) != (y == 1))]
    for exact, event in lines:
        assert abs(event.mean() - exact) < 5 * math.sqrt(exact * (1 - exact) / n)


def test_sample_has_the_stated_law() -> None:
    """Moments within five standard deviations: six of them, false alarm 4e-6."""
    n = 100_000
    mixture = GaussianMixture([1.0, -2.0], [[1.0, 0.6], [0.6, 2.0]])
    x, y = mixture.sample(n, seed=3)
    assert x.shape == (n, 2) and y.shape == (n,) and set(np.unique(y)) == {-1, 1}
    assert abs(y.mean()) < 5 / math.sqrt(n)
    noise = x - y[:, None] * mixture.mean
    assert np.all(np.abs(noise.mean(axis=0)) < 5 * np.sqrt(np.diag(mixture.covariance) / n))
    spread = np.sqrt(np.outer(np.diag(mixture.covariance), np.diag(mixture.covariance)) + mixture.covariance**2)
    assert np.all(np.abs(noise.T @ noise / n - mixture.covariance) < 5 * spread / math.sqrt(n))
    again, _ = mixture.sample(n, seed=3)
    assert np.array_equal(x, again) and not np.array_equal(x, mixture.sample(n, seed=4)[0])


# the finite space: w @ x cut into cells that end exactly on the threshold and on the reach


@pytest.mark.parametrize("signal", [0.0, 0.75, 2.0])
@pytest.mark.parametrize("cells", [0, 1, 8, 30, 60])
def test_agrees_with_transport_on_a_finite_space(signal: float, cells: int) -> None:
    width = 1 / 16
    edges = np.arange(-10 * 16, 10 * 16 + 1) * width
    joint = np.stack([ndtr(edges[1:] - sign * signal) - ndtr(edges[:-1] - sign * signal) for sign in (-1, 1)], axis=1)
    joint /= joint.sum()
    points = edges[:-1] + width / 2
    feature, cost = (points >= 0).astype(int), np.abs(points[:, None] - points)
    mixture, threat = GaussianMixture([signal], [[1.0]]), Linf(cells * width)
    finite = representation_vulnerability(joint.sum(axis=1), feature, cost, threat.radius)
    assert finite == pytest.approx(mixture.representation_vulnerability([1.0], threat), abs=1e-12)
    risk = adversarial_risk(joint, feature, cost, threat.radius)
    assert risk == pytest.approx(mixture.adversarial_risk([1.0], threat), abs=1e-12)


# objects and errors


def test_mixture_is_frozen_and_keeps_its_own_copy() -> None:
    mean = np.array([1.0, 0.5])
    mixture = GaussianMixture(mean, np.eye(2))
    mean[0] = 7.0
    assert mixture.mean[0] == 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        mixture.mean = mean  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        mixture.covariance[0, 0] = 2.0


def test_leading_axes_give_what_one_call_for_each_gives() -> None:
    rng = np.random.default_rng(4)
    mixture, w = GaussianMixture([1.0, 0.5, -0.3], [[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 0.5]]), rng.standard_normal((2, 5, 3))
    for threat in (Linf(0.2), L2(0.5), L1(0.7)):
        for name in ("reach", "adversarial_risk", "adversarial_gap", "representation_vulnerability", "minimal_information",
                     "vulnerability_bounds", "printed_bounds"):
            method = getattr(mixture, name)
            single = np.array([[method(v, threat) for v in row] for row in w])  # the bounds are pairs
            np.testing.assert_allclose(np.moveaxis(np.array(method(w, threat)), 0, -1) if single.ndim == 3 else method(w, threat),
                                       single, rtol=1e-13)
        np.testing.assert_allclose(dual_perturbation(w, threat)[1, 3], dual_perturbation(w[1, 3], threat), rtol=1e-13)
    rv = np.concatenate([[0.0, 1e-320, 1e-200, 0.2999999, 0.3, math.log(2)], rng.random(50) * math.log(2)])
    np.testing.assert_allclose(movable_mass_from_vulnerability(rv), [movable_mass_from_vulnerability(v) for v in rv], rtol=1e-13)
    assert isinstance(mixture.risk([1.0, 0.0, 0.0]), float) and mixture.risk(w).shape == (2, 5)


def test_importing_loads_no_torch() -> None:
    code = "import sys, robinfo.theory.gaussian_mixture; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "mean shape": (lambda: GaussianMixture([[1.0]], [[1.0]]), ValueError, r"mean must have shape \[d\], got \(1, 1\)"),
    "covariance shape": (lambda: GaussianMixture([1.0, 2.0], [[1.0]]), ValueError, r"shape \(2, 2\).*np.diag"),
    "NaN": (lambda: GaussianMixture([math.nan], [[1.0]]), ValueError, "must be finite, got NaN"),
    "asymmetric": (lambda: GaussianMixture([1.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), ValueError, r"symmetric, got"),
    "indefinite": (lambda: GaussianMixture([1.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), ValueError, "eigenvalue -1; add"),
    "singular": (lambda: GaussianMixture([1.0], [[0.0]]), ValueError, "positive definite, got smallest eigenvalue 0"),
    "w zero": (lambda: PLANE.risk([0.0, 0.0]), ValueError, "w must be finite and not zero"),
    "w NaN": (lambda: PLANE.risk([0.0, math.nan]), ValueError, "w must be finite"),
    "w length": (lambda: PLANE.risk([1.0]), ValueError, r"w must have shape \(2,\).*got \(1,\)"),
    "w number": (lambda: PLANE.risk(1.0), ValueError, r"w must have shape \[..., d\], got \(\)"),
    "one w of many": (lambda: PLANE.risk([[1.0, 0.0], [0.0, 0.0]]), ValueError, r"w must be finite and not zero, got \[0. 0.\]"),
    "threat number": (lambda: PLANE.adversarial_risk([1.0, 1.0], 0.5), TypeError, "norm ball such as L2.*got float"),
    "threat class": (lambda: dual_perturbation([1.0], L2), TypeError, "must be a norm ball"),
    "no draws": (lambda: UNIT.sample(0, seed=0), ValueError, "n must be at least 1, got 0"),
    "negative width": (lambda: normal_interval(0.0, -1.0), ValueError, "width must be >= 0.*swap"),
    "NaN start": (lambda: normal_interval(math.nan, 1.0), ValueError, "start a number"),
    "negative signal": (lambda: movable_mass(-1.0, 1.0), ValueError, r"signal must lie in \[0, inf\], got -1"),
    "NaN reach": (lambda: movable_mass(1.0, math.nan), ValueError, "reach must not contain NaN"),
    "gap": (lambda: vulnerability_bounds_from_gap(1.2), ValueError, r"adversarial_gap must lie in \[0, 1\], got 1.2"),
    "printed gap": (lambda: printed_bounds_from_gap(-0.1), ValueError, r"got -0.1; it is adversarial risk minus risk"),
    "risk": (lambda: representation_vulnerability_from_risks(0.7, 0.8), ValueError, "got 0.7; flip the sign"),
    "risk NaN": (lambda: representation_vulnerability_from_risks(math.nan, 0.8), ValueError, "got nan"),
    "attack helps": (lambda: representation_vulnerability_from_risks(0.3, 0.2), ValueError, "cannot lower the error"),
    "bits": (lambda: adversarial_gap_bounds(1.0), ValueError, "vulnerability must lie in .*at most log 2 nats"),
    "form": (lambda: adversarial_gap_bounds(0.1, "weak"), ValueError, "form must be 'closed' or 'sharp', got 'weak'"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_expected(name: str) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_ball_with_a_bad_radius() -> None:
    @dataclasses.dataclass(frozen=True)
    class Ball:
        radius: float
        dual_order: float

    for radius, dual_order in [(-0.1, 2.0), (math.nan, 2.0), (math.inf, 2.0), (0.1, 0.5)]:
        with pytest.raises(ValueError, match="finite radius >= 0 and dual_order >= 1"):
            PLANE.reach([1.0, 1.0], Ball(radius, dual_order))
