"""Fisher information: golden values, both lemmas as properties, their printed forms shown to fail, the errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import digamma, gammaln, softmax
from scipy.stats import binom, norm

from robinfo.theory import fisher as module
from robinfo.theory.claims import check_claim
from robinfo.theory.fisher import (
    CLAIMS,
    fisher_information,
    gaussian_channel_information,
    gaussian_entropy,
    information_lower_bound,
    information_upper_bound,
    local_divergence,
    local_divergence_bound,
    mixture_entropy,
    softmax_divergence,
    softmax_divergence_bounds,
    softmax_fisher_information,
)
from robinfo.theory.information import binary_entropy, kl_divergence

HALF = math.log(2 * math.pi * math.e) / 2


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats with the awkward ones: zero, tiny, whole."""
    special = [v for v in (0.0, 1e-9, 1e-3, 1.0, -1.0, -2.0) if low <= v <= high]
    return st.one_of(st.sampled_from(special or [high]), st.floats(low, high))


@st.composite
def matrices(draw: st.DrawFn, rows: int, columns: int) -> np.ndarray:
    """A matrix, often with zeros and of low rank."""
    values = draw(st.lists(numbers(-3, 3), min_size=rows * columns, max_size=rows * columns))
    return np.array(values).reshape(rows, columns)


@st.composite
def covariances(draw: st.DrawFn, size: int) -> np.ndarray:
    """A positive definite matrix."""
    root = draw(matrices(size, size))
    return root @ root.T + draw(st.floats(0.1, 2)) * np.eye(size)


@st.composite
def channels(draw: st.DrawFn, full_rank: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian [m, d] and noise covariance of a vector channel."""
    d = draw(st.integers(1, 3))
    m = d + draw(st.integers(0, 1)) if full_rank else draw(st.integers(1, 3))
    jacobian = draw(matrices(m, d))
    if full_rank:
        jacobian[:d] = jacobian[:d] @ jacobian[:d].T + 0.3 * np.eye(d)
    return jacobian, draw(covariances(m))


@st.composite
def softmaxes(draw: st.DrawFn, max_inputs: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Logits, Jacobian, direction and length of a shift."""
    labels, d = draw(st.integers(1, 4)), draw(st.integers(1, max_inputs))
    logits = np.array(draw(st.lists(numbers(-30, 30), min_size=labels, max_size=labels)))
    direction = np.array(draw(st.lists(numbers(-3, 3), min_size=d, max_size=d)))
    direction[0] += 0.0 if np.abs(direction).max() > 1e-3 else 1.0
    return logits, draw(matrices(labels, d)), direction, draw(st.sampled_from([0.0, 1e-9, 1e-4, 0.03, 0.5, 5.0]))


def unit(vector: np.ndarray) -> np.ndarray:
    """The direction of a vector."""
    return vector / np.linalg.norm(vector)


# ---------------------------------------------------------------- golden values
@pytest.mark.parametrize("case", golden_cases("lemma_D1_gaussian_channel"))
def test_golden_gaussian_channel(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], {k: v["value"] for k, v in case["outputs"].items()}
    fisher, v = fisher_information(inputs["a"], inputs["noise_var"]), inputs["var_x"]
    computed = {
        "fisher": fisher,
        "MI": gaussian_channel_information(fisher, v),
        "c": gaussian_entropy(v) - HALF,
        "rhs_D1": information_lower_bound(fisher, gaussian_entropy(v)),
        "rhs_nonasymptotic": information_lower_bound(fisher, gaussian_entropy(v + 1 / fisher)),
    }
    computed["slack"] = computed["MI"] - computed["rhs_D1"]
    assert set(computed) == set(expected)
    for name, value in computed.items():
        assert value == pytest.approx(expected[name], rel=0, abs=case["tolerance"]), name


@pytest.mark.parametrize("case", golden_cases("lemma_D2_bernoulli"))
def test_golden_bernoulli(case: dict[str, Any]) -> None:
    x, eps, expected = case["inputs"]["x"], case["inputs"]["eps"], {k: v["value"] for k, v in case["outputs"].items()}
    fisher = softmax_fisher_information([0.0, x], [[0.0], [1.0]])[0, 0]
    kl, half = softmax_divergence([0.0, x], [0.0, eps]), local_divergence(fisher, 1.0, eps)
    for name, value in {"fisher": fisher, "KL": kl, "half_eps2_J": half}.items():
        assert value == pytest.approx(expected[name], rel=0, abs=case["tolerance"]), name
    assert kl / half == pytest.approx(expected["ratio"], rel=1e-11)


# ---------------------------------------------------------------- Fisher information
@given(channels())
def test_fisher_information_by_inversion(channel: tuple[np.ndarray, np.ndarray]) -> None:
    jacobian, noise = channel
    expected = jacobian.T @ np.linalg.inv(noise) @ jacobian
    computed = fisher_information(jacobian, noise)
    assert computed == pytest.approx(expected, rel=1e-9, abs=1e-9) and (computed == computed.T).all()
    assert np.linalg.eigvalsh(computed).min() >= -1e-9 * max(1.0, np.abs(computed).max())
    stacked = fisher_information(np.stack([jacobian, 2 * jacobian]), noise)
    assert stacked == pytest.approx(np.stack([computed, 4 * computed]), rel=1e-9, abs=1e-12)


@given(numbers(-3, 3), st.floats(1e-3, 10))
def test_scalar_channels_agree_with_matrices(slope: float, noise: float) -> None:
    scalar = fisher_information(slope, noise)
    assert isinstance(scalar, float) and scalar == pytest.approx(slope**2 / noise, rel=1e-12)
    assert fisher_information([[slope]], noise) == pytest.approx(scalar, rel=1e-9)
    assert fisher_information([slope, 0.0], [noise, 1.0]) == pytest.approx([scalar, 0.0], rel=1e-12)


def test_fisher_information_is_the_mean_squared_score() -> None:
    """Quadrature of the squared score of Z = sin(3 x) + N(0, 0.5) at x = 0.2, by finite differences."""

    def density(z: float, x: float) -> float:
        return float(norm.pdf(z, math.sin(3 * x), math.sqrt(0.5)))

    def integrand(z: float) -> float:
        return (density(z, 0.2 + 1e-5) - density(z, 0.2 - 1e-5)) ** 2 / (4e-10 * density(z, 0.2))

    assert fisher_information(3 * math.cos(0.6), 0.5) == pytest.approx(quad(integrand, -6, 7)[0], rel=1e-7)


def test_correlated_noise_of_very_different_sizes_is_no_obstacle() -> None:
    assert fisher_information(np.eye(2), np.diag([1e-20, 1.0])) == pytest.approx(np.diag([1e20, 1.0]))


@given(softmaxes())
def test_softmax_fisher_information_by_its_definition(case: tuple[np.ndarray, np.ndarray, np.ndarray, float]) -> None:
    logits, jacobian, _, _ = case
    p = softmax(logits)
    scores = (np.eye(len(p)) - p) @ jacobian
    assert softmax_fisher_information(logits, jacobian) == pytest.approx(
        scores.T @ (p[:, None] * scores), rel=1e-9, abs=1e-12
    )


@given(channels(), st.data())
def test_a_statistic_loses_fisher_information(channel: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    jacobian, noise = channel
    mix = data.draw(matrices(1, len(noise)))
    mix[0, 0] += 0.5 if np.abs(mix).max() < 0.1 else 0.0
    lost = fisher_information(jacobian, noise) - fisher_information(mix @ jacobian, mix @ noise @ mix.T)
    assert np.linalg.eigvalsh(lost).min() >= -1e-7 * max(1.0, np.abs(lost).max())


# ---------------------------------------------------------------- Lemma D.1
@given(channels(full_rank=True), st.data())
def test_lower_bound_is_an_equality_for_gaussian_channels(
    channel: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    fisher = fisher_information(*channel)
    covariance = data.draw(covariances(len(fisher)))
    information = gaussian_channel_information(fisher, covariance)
    bound = information_lower_bound(fisher, gaussian_entropy(covariance + np.linalg.inv(fisher)))
    assert bound == pytest.approx(information, abs=1e-6)
    assert information_lower_bound(fisher, gaussian_entropy(covariance)) <= information + 1e-9  # h(X) <= h(Xhat) here
    assert information_upper_bound(fisher, gaussian_entropy(covariance), np.linalg.inv(covariance)) == pytest.approx(
        information, abs=1e-6
    )
    sign, determinant = np.linalg.slogdet(np.eye(len(fisher)) + fisher @ covariance)
    assert sign == 1 and information == pytest.approx(determinant / 2, abs=1e-9)


def test_lower_bound_holds_for_the_covariance_of_any_estimator() -> None:
    """A biased estimate, half of Z, of a Gaussian input: its covariance in place of 1/J."""
    v, noise = 1.5, 0.5
    information = gaussian_channel_information(1 / noise, v)
    for scale in (0.1, 0.5, 3.0):
        bound = information_lower_bound(1 / (scale**2 * noise), gaussian_entropy(scale**2 * (v + noise)))
        assert bound == pytest.approx(information, abs=1e-12)
    assert (
        information_lower_bound(2 / noise, gaussian_entropy(v + noise / 2)) > information
    )  # 1/J below every variance: false


MIXTURE = st.tuples(
    st.lists(numbers(-5, 5), min_size=2, max_size=2),
    st.floats(0.3, 2),
    st.floats(0.1, 0.9),
    st.floats(0.2, 3),
    st.floats(0.2, 2),
)


@given(MIXTURE)
def test_lower_bound_for_mixture_inputs(case: tuple[list[float], float, float, float, float]) -> None:
    means, variance, weight, slope, noise = case
    law, fisher = [weight, 1 - weight], fisher_information(slope, noise)
    information = mixture_entropy(slope * np.array(means), slope**2 * variance + noise, law) - gaussian_entropy(noise)
    proved = information_lower_bound(fisher, mixture_entropy(means, variance + 1 / fisher, law))
    printed = information_lower_bound(fisher, mixture_entropy(means, variance, law))
    assert proved == pytest.approx(information, abs=1e-7) and printed <= information + 1e-8


def test_lower_bound_averages_and_degenerates() -> None:
    assert information_lower_bound([1.0, math.e**2], 0.0) == pytest.approx(0.5 - HALF)
    assert information_lower_bound([1.0, math.e**2], 0.0, weights=[0.25, 0.75]) == pytest.approx(0.75 - HALF)
    assert information_lower_bound([1.0, 0.0], 3.0) == -math.inf
    assert information_lower_bound([1.0, 0.0], 3.0, weights=[1.0, 0.0]) == pytest.approx(3 - HALF)
    assert information_lower_bound([[1.0, 1.0], [1.0, 1.0]], 3.0) == -math.inf


@given(st.floats(0.01, 0.99), st.integers(1, 300))
def test_scale_family(shape: float, n: int) -> None:
    """Exponential times with mean X: (1) holds for every n, the printed form only up to 1 / (6 n)."""
    assert module._scale_family_proved((shape, n)) > 0
    assert module._scale_family_printed((shape, n)) >= -1 / (6 * n)
    assert shape > 0.25 or module._scale_family_printed((shape, n)) < 0


@pytest.mark.parametrize(("shape", "n"), [(0.5, 1), (0.5, 4), (2.0, 2)])
def test_scale_family_by_quadrature(shape: float, n: int) -> None:
    """Entropy of the estimate by integrating the density of log Xhat, a log ratio of Gamma variables."""
    constant = gammaln(n) + gammaln(shape) - gammaln(n + shape)

    def integrand(t: float) -> float:
        log_density = n * t - (n + shape) * np.logaddexp(0.0, t) - constant
        return float(-log_density * math.exp(log_density))

    entropy = quad(integrand, -200, 200, limit=500, points=[-10, 0, 10])[0]  # of log(n Xhat), so of log Xhat
    mean_log = -digamma(shape)
    given_x = n - math.log(n) + gammaln(n) + (1 - n) * digamma(n) + mean_log
    information = entropy + (digamma(n) - math.log(n) - digamma(shape)) - given_x
    estimate, printed = entropy + digamma(n) - math.log(n) + mean_log, module._log_gamma_entropy(shape) + mean_log
    assert information == pytest.approx(
        module._log_gamma_entropy(shape) - module._log_gamma_entropy(shape + n), abs=1e-8
    )
    half_log_fisher = 0.5 * math.log(n) - mean_log
    assert information - (printed + half_log_fisher - HALF) == pytest.approx(
        module._scale_family_printed((shape, n)), abs=1e-8
    )
    assert information - (estimate + half_log_fisher - HALF) == pytest.approx(
        module._scale_family_proved((shape, n)), abs=1e-8
    )


@given(st.floats(0.05, 3), st.floats(0.2, 8), st.floats(0, 6))
def test_upper_bound_needs_no_estimator(amplitude: float, frequency: float, phase: float) -> None:
    assert module._sine_proved((amplitude, frequency, phase)) >= -1e-9


def test_upper_bound_averages() -> None:
    assert information_upper_bound([1.0, 3.0], HALF, 1.0) == pytest.approx(0.5 * math.log(3))
    assert information_upper_bound([1.0, 3.0], HALF, 1.0, weights=[1, 0]) == pytest.approx(0.5 * math.log(2))
    assert information_upper_bound(np.zeros((4, 2, 2)), 2 * HALF, np.eye(2)) == pytest.approx(0)


def test_sine_channel_of_the_notebook() -> None:
    """A = 0.3, k = 50: information 0.022, mean Fisher information 112.5; the printed conclusion fails by two nats."""
    phase = 2 * math.pi * np.arange(1000) / 1000
    information = mixture_entropy(0.3 * np.sin(phase[::10]), 1.0) - gaussian_entropy(1.0)
    fisher = fisher_information(15 * np.cos(phase + 0.001), 1.0)
    assert information <= 0.5 * math.log(1.045) < 0.0221 and information == pytest.approx(0.022, abs=5e-5)
    assert fisher.mean() == pytest.approx(112.5)
    assert information_lower_bound(fisher, math.log(2 * math.pi)) > information + 2


@pytest.mark.parametrize("instance", [(0.2, 0.6, 0.3), (1.9, 3.0, 2.0), (2.0, 19.0, 5.0)])
def test_sine_claim_is_computed_accurately(instance: tuple[float, float, float]) -> None:
    """The coarse sum over x of the claim against a fine one, and the Fourier series against an average."""
    amplitude, frequency, phase = instance
    x = np.linspace(-8, 8, 6001)
    weights = softmax(-x * x / 2)
    z, step = np.linspace(-13, 13, 2001, retstep=True)
    density = norm.pdf(z[:, None], amplitude * np.sin(frequency * x + phase), 1.0) @ weights
    information = -float(np.sum(density * np.log(density)) * step) - gaussian_entropy(1.0)
    assert module._sine_information(instance) == pytest.approx(information, abs=1e-9)
    mean_log = quad(
        lambda t: norm.pdf(t) * math.log((amplitude * frequency * math.cos(frequency * t + phase)) ** 2),
        -8,
        8,
        limit=2000,
    )[0]
    assert module._sine_printed(instance) == pytest.approx(
        information - mean_log / 2 - gaussian_entropy(1.0) + HALF, abs=2e-3
    )


# ---------------------------------------------------------------- entropies
@given(st.integers(1, 3), st.data())
def test_gaussian_entropy(size: int, data: st.DataObject) -> None:
    covariance = data.draw(covariances(size))
    assert gaussian_entropy(covariance) == pytest.approx(
        0.5 * np.linalg.slogdet(2 * math.pi * math.e * covariance)[1], abs=1e-9
    )


@given(MIXTURE)
def test_mixture_entropy_by_adaptive_quadrature(case: tuple[list[float], float, float, float, float]) -> None:
    means, variance, weight, _, _ = case
    entropy = mixture_entropy(means, variance, [weight, 1 - weight])
    gap = abs(means[0] - means[1])
    lower = gaussian_entropy(variance)
    assert lower - 1e-9 <= entropy <= lower + binary_entropy(weight) + 1e-9
    assert entropy <= 0.5 * math.log(2 * math.pi * math.e * (variance + weight * (1 - weight) * gap**2)) + 1e-9
    assert mixture_entropy(np.array(means) + 7, variance, [weight, 1 - weight]) == pytest.approx(entropy, abs=1e-8)


def test_mixture_entropy_against_quad() -> None:
    means, variances, weights = np.array([-1.0, 0.0, 2.5]), np.array([0.5, 2.0, 0.1]), np.array([0.2, 0.5, 0.3])

    def integrand(z: float) -> float:
        p = float(weights @ norm.pdf(z, means, np.sqrt(variances)))
        return -p * math.log(p)

    assert mixture_entropy(means, variances, weights) == pytest.approx(
        quad(integrand, -14, 14, limit=200, epsabs=1e-12)[0], abs=1e-9
    )


# ---------------------------------------------------------------- Lemma D.2
@given(softmaxes())
def test_softmax_divergence(case: tuple[np.ndarray, np.ndarray, np.ndarray, float]) -> None:
    logits, jacobian, direction, eps = case
    move = eps * jacobian @ unit(direction)
    exact, (lower, upper) = softmax_divergence(logits, move), softmax_divergence_bounds(logits, move)
    assert exact == pytest.approx(kl_divergence(softmax(logits + move), softmax(logits)), abs=1e-12)
    noise = 1e-25 if eps < 0.1 else 1e-14  # shifts that are not small are computed with absolute precision
    assert lower <= exact * (1 + 1e-9) + noise and exact <= upper * (1 + 1e-9) + noise
    quadratic = local_divergence(softmax_fisher_information(logits, jacobian), direction, eps)
    assert lower <= quadratic * (1 + 1e-9) + 1e-25 and quadratic <= upper * (1 + 1e-9) + 1e-25
    assert eps > 0 or exact == lower == upper == quadratic == 0


@given(softmaxes())
def test_trace_bounds_every_direction(case: tuple[np.ndarray, np.ndarray, np.ndarray, float]) -> None:
    logits, jacobian, direction, eps = case
    fisher = softmax_fisher_information(logits, jacobian)
    largest, trace = local_divergence_bound(fisher, eps), local_divergence_bound(fisher, eps, form="trace")
    tiny = 1e-12 * (1 + trace)
    assert local_divergence(fisher, direction, eps) <= largest + tiny <= trace + 2 * tiny
    assert trace <= len(fisher) * largest + tiny
    worst = np.linalg.eigh(fisher)[1][:, -1]
    assert local_divergence(fisher, worst, eps) == pytest.approx(largest, rel=1e-6, abs=tiny)


@given(channels(), st.sampled_from([0.0, 1e-8, 0.1, 3.0]))
def test_linear_gaussian_divergence_is_exact(channel: tuple[np.ndarray, np.ndarray], eps: float) -> None:
    jacobian, noise = channel
    u = unit(np.arange(1.0, jacobian.shape[1] + 1))
    moved = eps * jacobian @ u
    expected = 0.5 * moved @ np.linalg.solve(noise, moved)
    assert local_divergence(fisher_information(jacobian, noise), 5 * u, eps) == pytest.approx(
        expected, rel=1e-6, abs=1e-12
    )


def test_binomial_divergence_to_second_order_by_both_orders() -> None:
    """Ten coins of logit x: both orders of the divergence approach eps^2 J / 2, the remainder shrinking like eps^3."""
    errors = []
    for eps in (0.1, 0.01):
        laws = [binom.pmf(np.arange(11), 10, 1 / (1 + math.exp(-t))) for t in (0.4, 0.4 + eps)]
        half = 10 * local_divergence(softmax_fisher_information([0.0, 0.4], [[0.0], [1.0]]), [1.0], eps)
        errors.append([abs(kl_divergence(*pair) - half) for pair in (laws, laws[::-1])])
    assert (np.array(errors[0]) / np.array(errors[1]) > 900).all()


def test_local_divergence_vectorises_and_ignores_length_and_sign() -> None:
    fisher = np.stack([np.diag([4.0, 1.0]), np.eye(2)])
    assert local_divergence(fisher, [0.0, -1e-200], 2.0) == pytest.approx([2.0, 2.0])
    assert local_divergence(fisher, [[1e200, 0.0], [0.0, 1.0]], [1.0, 2.0]) == pytest.approx([2.0, 2.0])
    assert local_divergence([8.0, 2.0], -3.0, 0.1) == pytest.approx([0.04, 0.01])
    assert local_divergence_bound([8.0, 2.0], 0.1) == pytest.approx([0.04, 0.01])
    assert local_divergence_bound(fisher, [1.0, 2.0], form="trace") == pytest.approx([2.5, 4.0])


def test_tiny_and_huge_shifts() -> None:
    fisher = softmax_fisher_information([0.0, 0.4], [[0.0], [1.0]])[0, 0]
    for eps in (1e-150, 1e-100, 1e-12, 1e-7):
        assert softmax_divergence([0.0, 0.4], [0.0, eps]) == pytest.approx(local_divergence(fisher, 1.0, eps), rel=1e-6)
    assert softmax_divergence([0.0, 0.4], [7.0, 7.0]) == pytest.approx(0, abs=1e-15)
    assert softmax_divergence([0.0, 0.0], [0.0, 1e6]) == pytest.approx(math.log(2))
    assert softmax_divergence([[0.0, 0.4], [1.0, 2.0]], [0.0, 0.1]).shape == (2,)


# ---------------------------------------------------------------- bad input
SINGULAR = [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fisher_information(np.eye(2), SINGULAR), "noise_covariance must be positive definite.*add noise"),
        (lambda: fisher_information(2.0, 0.0), "positive definite"),
        (lambda: fisher_information(2.0, -1.0), "positive definite"),
        (
            lambda: fisher_information(np.eye(2), [[1.0, 0.5], [0.0, 1.0]]),
            r"noise_covariance must be symmetric.*use \(c \+ c.T\) / 2",
        ),
        (lambda: fisher_information(np.eye(2), np.eye(3)), "one row for each output"),
        (lambda: fisher_information(np.eye(2), [1.0, 2.0]), "one row for each output"),
        (lambda: fisher_information(2.0, np.eye(2)), "scalar channels"),
        (lambda: fisher_information(math.nan, 1.0), "jacobian must not contain NaN"),
        (lambda: fisher_information(2.0, math.inf), "noise_covariance must be finite, got inf"),
        (lambda: gaussian_entropy(SINGULAR), "covariance must be positive definite"),
        (lambda: gaussian_entropy([[1.0, 2.0]]), r"matrices \[\.\.\., d, d\], got shape \(1, 2\)"),
        (lambda: gaussian_channel_information(np.eye(2), 1.0), "dimension of fisher"),
        (
            lambda: gaussian_channel_information(-1.0, 1.0),
            "fisher must be positive semidefinite, got the eigenvalue -1",
        ),
        (lambda: information_lower_bound([1.0, 2.0], 0.0, weights=[1.0]), r"weights must have shape \[2\]"),
        (lambda: information_lower_bound([1.0, 2.0], 0.0, weights=[1.0, 1.0]), "weights must sum to 1"),
        (lambda: information_lower_bound(1.0, math.nan), "estimate_entropy must not contain NaN"),
        (lambda: information_upper_bound(1.0, 0.0, np.eye(2)), "input_fisher must be one matrix of dimension 1"),
        (lambda: information_upper_bound(np.eye(2), 0.0, 1.0), "input_fisher must be one matrix of dimension 2"),
        (lambda: information_upper_bound(0.0, 0.0, 0.0), "positive definite, got rank 0 of 1"),
        (lambda: information_upper_bound(1.0, 0.0, math.inf), "input_fisher must be finite"),
        (lambda: local_divergence(np.eye(2), [0.0, 0.0], 0.1), "direction must not be zero.*eps=0"),
        (lambda: local_divergence(1.0, 0.0, 0.1), "direction must not be zero"),
        (lambda: local_divergence(np.eye(2), [1.0, 0.0, 0.0], 0.1), "direction must have 2 components"),
        (lambda: local_divergence(np.eye(2), 1.0, 0.1), "direction must have 2 components"),
        (lambda: local_divergence(np.eye(2), [1.0, math.nan], 0.1), "direction must not contain NaN"),
        (lambda: local_divergence(1.0, 1.0, -0.1), "eps must lie in"),
        (lambda: local_divergence(1.0, 1.0, math.inf), "eps must be finite"),
        (lambda: local_divergence_bound(1.0, -0.1), "eps must lie in"),
        (lambda: local_divergence_bound(1.0, 0.1, form="mean"), "form must be 'spectral' or 'trace', got 'mean'"),
        (lambda: softmax_fisher_information([0.0, 1.0], np.eye(3)), r"jacobian must have shape \[\.\.\., K, d\]"),
        (lambda: softmax_divergence([0.0, 1.0], [1.0]), "one entry for each logit"),
        (lambda: softmax_divergence(0.0, 1.0), "one entry for each logit"),
        (lambda: softmax_divergence([0.0, math.inf], [0.0, 1.0]), "logits must be finite"),
        (lambda: softmax_divergence_bounds([0.0, 1.0], [0.0, 800.0]), "the range of shift must lie in"),
        (lambda: mixture_entropy([0.0, 1.0], [1.0, 0.0]), "an atom has no differential entropy"),
        (lambda: mixture_entropy([0.0, 1.0], 1.0, [1.0]), r"one shape \[n\]"),
        (lambda: mixture_entropy([0.0, 1e9], 1.0), "the grid needs"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- claims
WRONG = ("before the limit", "a trace", "low information leads", "any direction")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement)
def test_claims(claim: Any) -> None:
    check = check_claim(claim, instances=200, seed=3)
    assert check.proved_failures == check.printed_undefined == 0
    wrong = any(words in claim.statement for words in WRONG)
    assert check.verdict == ("wrong as printed" if wrong else "holds as printed")
    assert not wrong or check.printed_failures > 20


# --- odd but legal input ----------------------------------------------------------------------------------------------

def test_softmax_divergence_of_huge_shifts() -> None:
    certain = math.log1p(math.e)  # -log softmax([0, 1])[0]
    for shift in (1e3, 1e16, 1e299):
        assert softmax_divergence([0.0, 1.0], [shift, 0.0]) == pytest.approx(certain)
    assert softmax_divergence([1e299, 0.0], [-1e299, 0.0]) == pytest.approx(5e298)


@pytest.mark.parametrize("place", [0.0, 1e6, -1e17, 5e307])
def test_mixture_entropy_does_not_see_a_translation(place: float) -> None:
    assert mixture_entropy([place], 1.0) == pytest.approx(gaussian_entropy(1.0), abs=1e-9)
    if abs(place) <= 1e6:
        assert mixture_entropy([place, place + 3.0], 1.0) == pytest.approx(mixture_entropy([0.0, 3.0], 1.0), abs=1e-8)


def test_the_upper_bound_of_a_badly_scaled_input() -> None:
    scales = np.diag([1e-20, 1.0])
    value = information_upper_bound(np.zeros((2, 2)), float(gaussian_entropy(np.linalg.inv(scales))), scales)
    assert value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fisher_information([1.0, 2.0], [1.0, 2.0, 3.0]), "the leading axes must broadcast.*one variance for each slope"),
    (lambda: fisher_information(np.ones((3, 2, 4)), np.stack([np.eye(2)] * 2)), r"jacobian \(3,\), noise_covariance \(2,\)"),
    (lambda: fisher_information(1e200, 1.0), "got an overflow; measure the input in a larger unit"),
    (lambda: gaussian_channel_information([1.0, 2.0], [1.0, 2.0, 3.0]), "the leading axes must broadcast"),
    (lambda: gaussian_channel_information(1e300, 1e300), "got an overflow"),
    (lambda: information_lower_bound([], 1.0), "at least one Fisher information"),
    (lambda: information_lower_bound(1.0, [1.0, 2.0]), "estimate_entropy must be one number"),
    (lambda: information_upper_bound(1.0, [1.0, 2.0], 1.0), "input_entropy must be one number"),
    (lambda: local_divergence(np.eye(2), [[1.0, 0.0]] * 2, [0.1] * 3), "one direction and one eps for each fisher"),
    (lambda: local_divergence_bound([1.0, 2.0], [0.1] * 3), "one eps for each fisher"),
    (lambda: local_divergence_bound(1.0, 1e200), "got an overflow"),
    (lambda: softmax_fisher_information([], np.zeros((0, 1))), "at least one label"),
    (lambda: softmax_divergence([0.0, 1.0], [1e308, 0.0]), "modulus at most 1e300"),
    (lambda: softmax_divergence(np.zeros((2, 2)), np.zeros((3, 2))), "one shift for each row of logits"),
    (lambda: mixture_entropy([], 1.0), "n at least 1"),
    (lambda: mixture_entropy([0.0, 1.0], [1.0, 2.0, 3.0]), "give each component its own"),
    (lambda: mixture_entropy([0.0], math.inf), "variances must be finite"),
    (lambda: mixture_entropy([0.0, 1e300], 1.0), r"grid needs 5e\+300 points")])
def test_odd_input_is_refused_with_a_cure(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
