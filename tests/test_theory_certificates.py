"""Ceilings of estimates and certificates of a noisy encoder: golden values, quadrature, brute force, broken hypotheses, errors."""
from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import logsumexp

from robinfo.theory import certificates
from robinfo.theory.certificates import (
    certified_information_lower_bound,
    gaussian_encoder_information_bounds,
    in_batch_ceiling,
    sample_ceiling,
)
from robinfo.theory.information import entropy


# ---------------------------------------------------------------- ceilings
@pytest.mark.parametrize("case", golden_cases("sample_cap"))
def test_golden_ceilings(case: dict[str, Any]) -> None:
    inputs, outputs = case["inputs"], case["outputs"]
    assert sample_ceiling(inputs["N"], k=inputs["k"]) == pytest.approx(outputs["cap"]["value"], abs=case["tolerance"])
    assert in_batch_ceiling(inputs["in_batch_N"]) == pytest.approx(outputs["in_batch_cap"]["value"], abs=case["tolerance"])


@given(n=st.integers(1, 10**6), k=st.floats(0.51, 1e4))
def test_sample_ceiling_counts_atoms(n: int, k: float) -> None:
    atoms = math.exp(sample_ceiling(n, k=k))
    assert k * n * n * (1 - 1e-9) <= atoms <= k * n * n + 1 + 1e-9 * atoms
    assert sample_ceiling(n, k=2 * k) >= sample_ceiling(n, k=k) >= 2 * in_batch_ceiling(n) + math.log(k) - 1e-9


@st.composite
def scores(draw: st.DrawFn) -> np.ndarray:
    """A square score matrix: ties, large values, dominant diagonals."""
    n = draw(st.integers(1, 5))
    entries = st.one_of(st.sampled_from([0.0, 1.0, -50.0, 50.0]), st.floats(-30, 30))
    matrix = np.array(draw(st.lists(entries, min_size=n * n, max_size=n * n))).reshape(n, n)
    return matrix + draw(st.sampled_from([0.0, 5.0, 500.0])) * np.eye(n)


@given(matrix=scores())
def test_no_batch_estimate_passes_log_n(matrix: np.ndarray) -> None:
    """InfoNCE, Donsker-Varadhan and NWJ over all pairs, in this order."""
    n, diagonal = len(matrix), matrix.diagonal().mean()
    nce = diagonal - (logsumexp(matrix, axis=1) - math.log(n)).mean()
    dv = diagonal - (logsumexp(matrix) - 2 * math.log(n))
    nwj = diagonal - math.exp(min(logsumexp(matrix) - 2 * math.log(n) - 1, 700))
    assert nwj - 1e-9 <= dv <= nce + 1e-9 <= in_batch_ceiling(n) + 2e-9


def test_ceiling_is_approached_and_needs_the_diagonal() -> None:
    """T = c Id: both estimates are log n - log(1 + (n - 1) e^-c); shuffled negatives give c."""
    n = 8
    for c in (1.0, 5.0, 30.0):
        matrix = c * np.eye(n)
        dv = c - (logsumexp(matrix) - 2 * math.log(n))
        assert dv == pytest.approx(math.log(n) - math.log1p((n - 1) * math.exp(-c)), abs=1e-12)
        shuffled = c - math.log(np.exp(matrix[~np.eye(n, dtype=bool)]).mean())
        assert shuffled == pytest.approx(c)
    assert dv == pytest.approx(in_batch_ceiling(n), abs=1e-9) and shuffled > in_batch_ceiling(n)


@pytest.mark.parametrize(("n", "k"), [(3, 1.0), (10, 0.7), (40, 2.0)])
def test_repetitions_in_the_double_are_rare_enough(n: int, k: float) -> None:
    """Step 3: n uniform indices among ceil(k n^2) repeat with probability at most 1 / 2k, by the exact product."""
    atoms = round(math.exp(sample_ceiling(n, k=k)))
    assert 1 - math.prod(1 - i / atoms for i in range(n)) <= 1 / (2 * k)


def test_cap_in_a_small_world() -> None:
    """n = 2, k = 1: M = 4. The largest distribution-free bound that sees only whether two draws agree is below log 4.

    B = b when they differ, 0 when they agree. Validity for every law with H(Q) < b needs P(differ) <= delta; laws on 5 points with entropy just
    below b and the largest P(differ) decide. Then (2) says b <= log 4 or P(differ) <= delta + 1/2 for every P.
    """
    delta = 0.3
    grid = [np.array(c) / 12 for c in itertools.product(range(13), repeat=4) if sum(c) == 12]
    valid = [b for b in np.linspace(0.1, 2.5, 25) if all(1 - (q**2).sum() <= delta for q in grid if entropy(q) < b)]
    assert valid and max(valid) <= sample_ceiling(2, k=1.0)


# ---------------------------------------------------------------- noisy encoders
def exact_information(codes: np.ndarray, noise: float) -> float:
    """I(X; f(X) + N) on the line by the trapezoidal rule."""
    grid = np.linspace(codes.min() - 9 * noise, codes.max() + 9 * noise, 1500)
    density = stats.norm.pdf((grid[:, None] - codes) / noise).mean(axis=1) / noise
    surprisal = -density * np.log(np.maximum(density, 1e-300))
    return float(np.trapezoid(surprisal, grid)) - 0.5 * math.log(2 * math.pi * math.e * noise**2)


def by_loops(codes: np.ndarray, noise: float, scale: float, moved: np.ndarray) -> float:
    """One side of the pairwise bounds, by the formula."""
    n = len(codes)
    total = 0.0
    for i in range(n):
        inner = sum(math.exp(-max(np.linalg.norm(codes[i] - codes[j]) - moved[i] - moved[j], 0) ** 2 / (scale * noise**2))
                    if i != j else 1.0 for j in range(n))
        total -= math.log(inner / n) / n
    return total


codes_on_a_line = st.lists(st.one_of(st.sampled_from([-1.0, 0.0, 2.0]), st.floats(-4, 4)), min_size=1, max_size=8).map(np.array)
noises = st.floats(0.1, 3)


@given(codes=codes_on_a_line, noise=noises)
def test_pairwise_bounds_hold_the_quadrature(codes: np.ndarray, noise: float) -> None:
    low, high = gaussian_encoder_information_bounds(codes, noise)
    assert -1e-9 <= low - 1e-9 <= exact_information(codes, noise) <= high + 1e-9 <= math.log(len(codes)) + 2e-9


@given(codes=codes_on_a_line, noise=noises, eps=st.floats(0, 2), seed=st.integers(0, 1000))
def test_certificate_survives_attacks(codes: np.ndarray, noise: float, eps: float, seed: int) -> None:
    """f(x) = L x with a random L, against random maps and against drawing everything to the middle."""
    rng = np.random.default_rng(seed)
    slope = rng.uniform(0.2, 3)
    certificate = certified_information_lower_bound(slope * codes, noise, lipschitz=slope, eps=eps)
    for shift in (rng.uniform(-eps, eps, len(codes)), np.clip(codes.mean() - codes, -eps, eps), eps * rng.choice([-1, 1], len(codes))):
        assert certificate <= exact_information(slope * (codes + shift), noise) + 1e-9
    assert certificate <= gaussian_encoder_information_bounds(slope * codes, noise)[0] + 1e-12


@given(seed=st.integers(0, 10**6), n=st.integers(1, 7), dimension=st.integers(1, 4), noise=noises)
def test_agreement_with_loops(seed: int, n: int, dimension: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    codes, constants, eps = rng.normal(size=(n, dimension)), rng.uniform(0, 2, n), rng.uniform(0, 0.6)
    zero = np.zeros(n)
    assert gaussian_encoder_information_bounds(codes, noise) == pytest.approx(
        (by_loops(codes, noise, 8, zero), by_loops(codes, noise, 2, zero)), rel=1e-10, abs=1e-13)
    assert certified_information_lower_bound(codes, noise, lipschitz=constants, eps=eps) == pytest.approx(
        by_loops(codes, noise, 8, constants * eps), rel=1e-10, abs=1e-13)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 20))
def test_certificate_falls_with_radius_and_constant(seed: int, n: int) -> None:
    codes = np.random.default_rng(seed).normal(size=(n, 3))
    values = [certified_information_lower_bound(codes, 0.3, lipschitz=c, eps=e) for c, e in ((0, 1), (1, 0), (1, 0.2), (2, 0.2), (2, 9))]
    assert values[0] == values[1] == gaussian_encoder_information_bounds(codes, 0.3)[0]
    assert values == sorted(values, reverse=True) and values[-1] == 0.0


def test_two_codes_in_closed_form_and_exactly() -> None:
    for d, s in ((0.3, 0.5), (2.0, 0.5), (1e-5, 1.0)):
        low, high = gaussian_encoder_information_bounds([0.0, d], s)
        for computed, c in ((low, 8), (high, 2)):
            closed = -math.log1p(math.expm1(-d * d / (c * s * s)) / 2)
            assert computed == pytest.approx(closed, rel=1e-12)
        channel = integrate.quad(lambda z, h=d / 2 / s: stats.norm.pdf(z - h) * np.logaddexp(0, -2 * z * h), -12, 12 + d / s, epsabs=1e-13)[0]
        assert low <= math.log(2) - channel + 1e-12 and math.log(2) - channel <= high + 1e-12


def test_edges_without_warning() -> None:
    """One code, equal codes, codes far apart, tiny and huge noise, tiny distances with all their digits."""
    with np.errstate(all="raise"):
        assert gaussian_encoder_information_bounds([3.0], 1.0) == (0.0, 0.0)
        assert gaussian_encoder_information_bounds(np.ones((5, 2)), 1e-300) == (0.0, 0.0)
        assert gaussian_encoder_information_bounds(np.arange(6.0), 1e-200) == pytest.approx((math.log(6), math.log(6)), rel=1e-14)
        low, high = gaussian_encoder_information_bounds([0.0, 1.0], 1e6)
        assert (low, high) == pytest.approx((1 / 16e12, 1 / 4e12), rel=1e-9)
        assert certified_information_lower_bound([0.0, 1e200], 1.0, lipschitz=1.0, eps=1.0) == pytest.approx(math.log(2), rel=1e-14)


@pytest.mark.parametrize("entries", [1, 7, 64])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    codes = np.random.default_rng(0).normal(size=(23, 2))
    whole = *gaussian_encoder_information_bounds(codes, 0.7), certified_information_lower_bound(codes, 0.7, lipschitz=0.5, eps=0.3)
    monkeypatch.setattr(certificates, "_BLOCK_ENTRIES", entries)
    assert whole == pytest.approx(
        (*gaussian_encoder_information_bounds(codes, 0.7), certified_information_lower_bound(codes, 0.7, lipschitz=0.5, eps=0.3)))


def test_a_wrong_constant_certifies_a_falsehood() -> None:
    """f(x) = 3 x claimed with L = 1: after the attack even the upper bound is below."""
    inputs, eps = np.array([-0.5, 0.5]), 0.4
    after = gaussian_encoder_information_bounds(3 * (inputs - eps * np.sign(inputs)), 0.4)[1]
    assert certified_information_lower_bound(3 * inputs, 0.4, lipschitz=1.0, eps=eps) > after
    assert certified_information_lower_bound(3 * inputs, 0.4, lipschitz=3.0, eps=eps) <= after


@pytest.mark.parametrize(("call", "message"), [
    (lambda: in_batch_ceiling(0), "n must be a whole number of at least 1, got 0"),
    (lambda: in_batch_ceiling(2.5), "got 2.5"),  # type: ignore[arg-type]
    (lambda: in_batch_ceiling(math.nan), "got nan"),  # type: ignore[arg-type]
    (lambda: sample_ceiling(0), "n must be a whole number"),
    (lambda: sample_ceiling(10, k=0.5), "k must be finite and above 1/2, got 0.5"),
    (lambda: sample_ceiling(10, k=math.nan), "k must be finite"),
    (lambda: sample_ceiling(10, k=math.inf), "k must be finite"),
    (lambda: gaussian_encoder_information_bounds([0.0, math.nan], 1.0), "codes must not contain NaN"),
    (lambda: gaussian_encoder_information_bounds([0.0, math.inf], 1.0), "codes must be finite"),
    (lambda: gaussian_encoder_information_bounds([], 1.0), r"shape \[n\] or \[n, d\], got shape \(0,\)"),
    (lambda: gaussian_encoder_information_bounds(np.zeros((2, 2, 2)), 1.0), r"codes.reshape\(n, -1\)"),
    (lambda: gaussian_encoder_information_bounds(1.0, 1.0), r"got shape \(\)"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], 0.0), "noise_std must be positive and finite, got 0.0"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], -1.0), "noise_std must be positive"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], math.nan), "noise_std must be positive"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], math.inf), "noise_std must be positive"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=-1.0, eps=0.1), r"lipschitz must lie in \[0, inf\], got -1"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=math.nan, eps=0.1), "lipschitz must not contain NaN"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=math.inf, eps=0.1), "lipschitz must be finite"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=[1.0, 1.0, 1.0], eps=0.1), r"one number or shape \[2\]"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=[[1.0, 1.0]], eps=0.1), r"got shape \(1, 2\)"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=1.0, eps=-0.1), "eps must be a finite radius >= 0, got -0.1"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=1.0, eps=math.nan), "eps must be a finite radius"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=1.0, eps=math.inf), "eps must be a finite radius"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 0.0, lipschitz=1.0, eps=0.1), "noise_std must be positive"),
])
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_ceiling_of_a_huge_sample() -> None:
    assert sample_ceiling(10**200) == pytest.approx(math.log(100) + 400 * math.log(10))
    assert sample_ceiling(10**5, k=1e300) == pytest.approx(310 * math.log(10))
    assert sample_ceiling(100, k=3.3) == math.log(33_000)


def test_a_product_that_overflows_certifies_nothing() -> None:
    assert certified_information_lower_bound([0.0, 1.0], 0.5, lipschitz=1e200, eps=1e200) == 0.0


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: in_batch_ceiling("a"), ValueError, "n must be a whole number of at least 1, got 'a'"),
    (lambda: sample_ceiling(None), ValueError, "n must be a whole number"),
    (lambda: sample_ceiling(10, k="a"), TypeError, "k must be a real number, got 'a'"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], None), TypeError, "noise_std must be a real number, got None"),
    (lambda: gaussian_encoder_information_bounds([0.0, 1.0], [1.0, 2.0]), ValueError, r"noise_std must be one number, got shape \(2,\)"),
    (lambda: certified_information_lower_bound([0.0, 1.0], 1.0, lipschitz=1.0, eps=[0.1, 0.2]), ValueError, "eps must be one number.*belong into lipschitz"),
])
def test_odd_input_is_refused_with_a_cure(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
