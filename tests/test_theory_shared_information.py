"""Shared information: golden values, both theorems on random chains, kernel surrogates, errors, and what fails as printed."""
from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm

from robinfo.theory.claims import check_claim
from robinfo.theory.information import conditional_mutual_information, entropy, kl_divergence, mutual_information
from robinfo.theory.shared_information import (
    CLAIMS,
    LinearGaussianChain,
    SharedInformationBounds,
    chain_joint,
    gaussian_hsic,
    gaussian_kernel,
    gaussian_kl,
    hsic_of_joint,
    mean_mmd_squared,
    mmd_squared_of_laws,
    shared_information_bounds,
    symmetric_gaussian_kl,
)

SLACK = 1e-9
WEIGHTS = st.sampled_from([0.0, 1e-4, 0.05, 0.3, 1.0, 4.0, 30.0])
GAINS = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1e-6]), st.floats(-5, 5))
VARIANCES = st.one_of(st.sampled_from([0.0, 1e-6, 1.0]), st.floats(1e-3, 5))
BANDWIDTHS = st.floats(0.05, 5)


@st.composite
def laws(draw: st.DrawFn, *shape: int) -> np.ndarray:
    """A random law on an array, zeros and very uneven weights included."""
    weights = draw(arrays(np.float64, math.prod(shape), elements=WEIGHTS))
    weights[draw(st.integers(0, weights.size - 1))] += 1.0
    return (weights / weights.sum()).reshape(shape)


@st.composite
def channels(draw: st.DrawFn, rows: int, columns: int) -> np.ndarray:
    """A random channel: `rows` laws on `columns` letters."""
    return np.stack([draw(laws(columns)) for _ in range(rows)])


@st.composite
def chains(draw: st.DrawFn) -> np.ndarray:
    """A joint law [z, x, x', z'] of a Markov chain."""
    n_x, n_xp, n_z = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return chain_joint(draw(laws(n_x, n_xp)), draw(channels(n_x, n_z)), draw(channels(n_xp, n_z)))


@st.composite
def quadruples(draw: st.DrawFn) -> np.ndarray:
    """A joint law [z, x, x', z'] without any independence."""
    n_z = draw(st.integers(1, 2))
    return draw(laws(n_z, 2, draw(st.integers(1, 2)), n_z))


@st.composite
def gaussian_chains(draw: st.DrawFn, noise: st.SearchStrategy[float] = VARIANCES) -> LinearGaussianChain:
    """A Gaussian chain, deterministic maps and constants included."""
    return LinearGaussianChain(draw(GAINS), draw(GAINS), draw(GAINS), draw(VARIANCES), draw(noise), draw(noise), draw(noise))


@st.composite
def grams(draw: st.DrawFn, size: int) -> np.ndarray:
    """A Gaussian kernel matrix of arbitrary points, equal points included."""
    return gaussian_kernel(draw(arrays(np.float64, (size, 2), elements=st.floats(-3, 3))), draw(BANDWIDTHS))


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the L1 distance."""
    return 0.5 * float(np.abs(p - q).sum())


# --- golden values ----------------------------------------------------------------------------------------------------
GOLDEN_NAMES = {"I_x_z_given_xp": "i_x_z_given_xp", "I_xp_zp_given_x": "i_xp_zp_given_x", "EKL": "expected_kl", "EKL_rev": "expected_kl_reverse",
                "ESKL": "expected_symmetric_kl", "residual_KL_pzxp_pzpxp": "residual_kl", "I_z_xp": "i_z_xp", "I_zp_x": "i_zp_x",
                "I_z_zp": "i_z_zp", "I_x_z": "i_x_z", "I_x_xp": "i_x_xp", "I_x_xp_given_z": "i_x_xp_given_z"}


@pytest.mark.parametrize("case", golden_cases("yu_linear_gaussian"))
def test_gaussian_chain_golden(case: dict[str, Any]) -> None:
    """Every reference value of the chain, as an attribute and in `bounds`."""
    chain = LinearGaussianChain(**{k: v for k, v in case["inputs"].items() if k != "model"})
    assert set(case["outputs"]) == set(GOLDEN_NAMES)
    for key, entry in case["outputs"].items():
        for owner in (chain, chain.bounds):
            assert abs(getattr(owner, GOLDEN_NAMES[key]) - entry["value"]) <= case["tolerance"], key


@pytest.mark.parametrize("case", golden_cases("gaussian_kl_diag"))
def test_gaussian_kl_golden(case: dict[str, Any]) -> None:
    """Both directions and the mean."""
    p, q = ([case["inputs"][f"{name}{i}"] for name in ("mu", "sigma")] for i in (1, 2))
    out = {name: entry["value"] for name, entry in case["outputs"].items()}
    assert abs(gaussian_kl(*p, *q) - out["KL12"]) <= case["tolerance"]
    assert abs(gaussian_kl(*q, *p) - out["KL21"]) <= case["tolerance"]
    assert abs(symmetric_gaussian_kl(*p, *q) - out["SKL"]) <= case["tolerance"]


@pytest.mark.parametrize("case", golden_cases("hsic_biased"))
def test_hsic_of_the_empirical_law_golden(case: dict[str, Any]) -> None:
    """The V-statistic of a sample is the population value of its empirical law."""
    x, y, n = case["inputs"]["X"], case["inputs"]["Y"], len(case["inputs"]["X"])
    kernels = gaussian_kernel(x, case["inputs"]["sigma_x"]), gaussian_kernel(y, case["inputs"]["sigma_y"])
    assert abs(hsic_of_joint(np.eye(n) / n, *kernels) - case["outputs"]["HSIC"]["value"]) <= case["tolerance"]


@pytest.mark.parametrize("case", golden_cases("mmd2_biased"))
def test_mmd_of_the_empirical_laws_golden(case: dict[str, Any]) -> None:
    """The same for two samples."""
    a, b = case["inputs"]["A"], case["inputs"]["B"]
    p, q = (np.r_[np.full(len(a), 1 / len(a)), np.zeros(len(b))], np.r_[np.zeros(len(a)), np.full(len(b), 1 / len(b))])
    kernel = gaussian_kernel(a + b, case["inputs"]["sigma"])
    assert abs(mmd_squared_of_laws(p, q, kernel) - case["outputs"]["MMD2"]["value"]) <= case["tolerance"]


# --- the finite chain -------------------------------------------------------------------------------------------------
@given(quadruples())
def test_chain_rule_needs_no_independence(joint: np.ndarray) -> None:
    """Eq. 8 on any joint law, with each term by entropies."""
    terms = shared_information_bounds(joint)
    assert terms.i_x_z == pytest.approx(terms.i_x_z_given_xp + terms.i_x_xp - terms.i_x_xp_given_z, abs=SLACK)

    def h(*axes: int) -> float:  # entropy of the named ones of (z, x, x', z')
        return entropy(joint.sum(axis=tuple(set(range(4)) - set(axes))).ravel())

    by_entropies = {"i_x_z": h(0) + h(1) - h(0, 1), "i_x_xp": h(1) + h(2) - h(1, 2), "i_z_xp": h(0) + h(2) - h(0, 2), "i_zp_x": h(1) + h(3) - h(1, 3),
                    "i_z_zp": h(0) + h(3) - h(0, 3), "i_x_z_given_xp": h(0, 2) + h(1, 2) - h(0, 1, 2) - h(2),
                    "i_x_xp_given_z": h(0, 1) + h(0, 2) - h(0, 1, 2) - h(0), "i_xp_zp_given_x": h(1, 2) + h(1, 3) - h(1, 2, 3) - h(1)}
    for name, value in by_entropies.items():
        assert getattr(terms, name) == pytest.approx(value, abs=SLACK), name
    defect = conditional_mutual_information(joint.sum(axis=3).transpose(0, 2, 1))  # I(z;x'|x)
    assert terms.i_z_xp == pytest.approx(terms.i_x_xp - terms.i_x_xp_given_z + defect, abs=SLACK)


@given(chains())
def test_theorem_31_and_its_slack(joint: np.ndarray) -> None:
    """The averaged divergence exceeds the information by the residual, infinite values included; both directions."""
    terms = shared_information_bounds(joint)
    if math.isinf(terms.expected_kl):
        assert math.isinf(terms.residual_kl)
    else:
        assert terms.expected_kl == pytest.approx(terms.i_x_z_given_xp + terms.residual_kl, abs=SLACK)
    assert terms.expected_kl >= terms.i_x_z_given_xp - SLACK
    assert terms.expected_kl_reverse >= terms.i_xp_zp_given_x - SLACK
    assert terms.i_x_z == pytest.approx(terms.i_x_z_given_xp + terms.i_z_xp, abs=SLACK)


@given(chains())
def test_averaged_divergences_by_loops(joint: np.ndarray) -> None:
    """The definition, letter by letter."""
    terms, views = shared_information_bounds(joint), joint.sum(axis=(0, 3))
    forward = backward = 0.0
    for x, u in itertools.product(*map(range, views.shape)):
        if views[x, u] > 0:
            p, q = joint.sum(axis=(2, 3))[:, x] / views[x].sum(), joint.sum(axis=(0, 1))[u] / views[:, u].sum()
            forward, backward = forward + views[x, u] * kl_divergence(p, q), backward + views[x, u] * kl_divergence(q, p)
    assert terms.expected_kl == pytest.approx(forward, abs=SLACK)
    assert terms.expected_kl_reverse == pytest.approx(backward, abs=SLACK)


@given(chains())
def test_theorem_32(joint: np.ndarray) -> None:
    """Both directions, and the gap is I(z; x' | z')."""
    terms = shared_information_bounds(joint)
    assert min(terms.i_z_xp, terms.i_zp_x) >= terms.i_z_zp - SLACK
    assert terms.i_z_xp - terms.i_z_zp == pytest.approx(conditional_mutual_information(joint.sum(axis=1)), abs=SLACK)


@given(chains(), st.floats(0, 5), st.floats(0, 5))
def test_equation_15(joint: np.ndarray, lambda_clean: float, lambda_adv: float) -> None:
    """The loss is at most its bound, also with twice the HSIC of any Gaussian kernels."""
    terms, pair = shared_information_bounds(joint), joint.sum(axis=(1, 2))
    loss, bound = terms.loss(lambda_clean, lambda_adv), terms.loss_upper_bound(lambda_clean, lambda_adv)
    assert bound >= loss - SLACK
    kernel = gaussian_kernel(np.arange(len(pair)), 0.4)
    assert terms.expected_symmetric_kl - (lambda_clean + lambda_adv) * hsic_of_joint(pair, kernel, kernel) >= bound - SLACK


@given(laws(3, 3), channels(3, 2))
def test_the_mixture_makes_the_upper_bound_tight(views: np.ndarray, encoder: np.ndarray) -> None:
    """q(.|x') = E[p(z|x) | x'] is the equality case."""
    mass = views.sum(axis=0)
    mixture = np.where(mass[:, None] > 0, (views.T @ encoder) / np.where(mass > 0, mass, 1)[:, None], 0.5)
    terms = shared_information_bounds(chain_joint(views, encoder, mixture))
    assert terms.residual_kl == pytest.approx(0, abs=SLACK)
    assert terms.expected_kl == pytest.approx(terms.i_x_z_given_xp, abs=SLACK)


@given(chains())
def test_both_bounds_are_tight_only_together_with_equal_encoders(joint: np.ndarray) -> None:
    """E(u - w)^2 <= sqrt(slack / 2) + sqrt(reverse slack / 2) for the probabilities u, w of each letter under the two encoders."""
    terms, views = shared_information_bounds(joint), joint.sum(axis=(0, 3))
    assume(np.isfinite(terms.expected_symmetric_kl))
    clean = joint.sum(axis=(2, 3)).T / np.maximum(views.sum(axis=1), 1e-300)[:, None]
    adv = joint.sum(axis=(0, 1)) / np.maximum(views.sum(axis=0), 1e-300)[:, None]
    slacks = np.maximum([terms.expected_kl - terms.i_x_z_given_xp, terms.expected_kl_reverse - terms.i_xp_zp_given_x], 0) + 1e-15
    squared = (views[:, :, None] * (clean[:, None] - adv) ** 2).sum(axis=(0, 1))
    assert squared.max() <= np.sqrt(slacks / 2).sum() + SLACK


@given(laws(3), st.floats(0, 5), st.floats(0, 5))
def test_equal_representations_of_a_common_part(law: np.ndarray, lambda_clean: float, lambda_adv: float) -> None:
    """z = z' almost surely under the chain: theorem 3.1 is 0 = 0, theorem 3.2 and eq. 15 are equalities."""
    views = np.zeros((6, 6))  # three parts of two letters each
    for part in range(3):
        views[2 * part:2 * part + 2, 2 * part:2 * part + 2] = law[part] / 4
    identity = np.repeat(np.eye(3), 2, axis=0)
    terms = shared_information_bounds(chain_joint(views, identity, identity))
    assert terms.expected_kl == terms.expected_kl_reverse == 0
    assert terms.i_x_z_given_xp == pytest.approx(0, abs=1e-12)
    assert [terms.i_z_zp, terms.i_z_xp] == pytest.approx([entropy(law)] * 2, abs=1e-12)
    losses = [terms.loss(lambda_clean, lambda_adv), terms.loss_upper_bound(lambda_clean, lambda_adv)]
    assert losses == pytest.approx([-0.5 * (lambda_clean + lambda_adv) * entropy(law)] * 2, abs=1e-11)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_bits_in_closed_form(s: float, t: float) -> None:
    """Fair bit, the attack flips with probability t, both encoders with s."""
    flip, views = [[1 - s, s], [s, 1 - s]], [[(1 - t) / 2, t / 2], [t / 2, (1 - t) / 2]]
    terms, error = shared_information_bounds(chain_joint(views, flip)), s * (1 - t) + t * (1 - s)
    twice = error * (1 - s) + s * (1 - error)
    expected = {"i_z_xp": math.log(2) - entropy([error, 1 - error]), "i_z_zp": math.log(2) - entropy([twice, 1 - twice]),
                "i_x_z_given_xp": entropy([error, 1 - error]) - entropy([s, 1 - s]), "expected_kl": t * (1 - 2 * s) * math.log((1 - s) / s)}
    for name, value in expected.items():
        assert getattr(terms, name) == pytest.approx(value, abs=SLACK), name


def test_what_fails_without_the_chain() -> None:
    """An attack that sees the encoder's noise, and two encoders with one noise."""
    sees_noise, one_noise = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2))
    for x, n in itertools.product(range(2), repeat=2):
        sees_noise[x ^ n, x, n, :], one_noise[n, x, x, n] = 1 / 8, 1 / 4
    terms = shared_information_bounds(sees_noise)
    assert terms.expected_kl == 0 < terms.i_x_z_given_xp == pytest.approx(math.log(2))
    terms = shared_information_bounds(one_noise)
    assert terms.i_z_xp == 0 < terms.i_z_zp == pytest.approx(math.log(2))


# --- Gaussians --------------------------------------------------------------------------------------------------------
@given(st.floats(-3, 3), st.floats(0.2, 3), st.floats(-3, 3), st.floats(0.2, 3))
def test_gaussian_kl_by_quadrature(mu: float, sigma: float, nu: float, tau: float) -> None:
    """The integral of p log(p/q), by a quadrature that is exact for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = mu + sigma * nodes
    integral = weights @ (norm.logpdf(z, mu, sigma) - norm.logpdf(z, nu, tau)) / math.sqrt(2 * math.pi)
    assert gaussian_kl(mu, sigma, nu, tau) == pytest.approx(integral, abs=1e-9, rel=1e-9)
    assert symmetric_gaussian_kl(mu, sigma, nu, tau) == symmetric_gaussian_kl(nu, tau, mu, sigma) >= 0


def test_gaussian_kl_by_an_adaptive_quadrature() -> None:
    """scipy.integrate, two coordinates."""
    def integral(mu: float, sigma: float, nu: float, tau: float) -> float:
        return quad(lambda z: norm.pdf(z, mu, sigma) * (norm.logpdf(z, mu, sigma) - norm.logpdf(z, nu, tau)), mu - 12 * sigma, mu + 12 * sigma)[0]

    assert gaussian_kl([0.3, -1], [0.5, 2], [0.1, 1], [0.7, 0.4]) == pytest.approx(integral(0.3, 0.5, 0.1, 0.7) + integral(-1, 2, 1, 0.4), rel=1e-8)


@given(arrays(np.float64, (4, 2, 3), elements=st.floats(0, 3)))
def test_gaussian_kl_over_leading_axes(moments: np.ndarray) -> None:
    """One call on a batch is the calls on its rows, coordinates add, and nothing is NaN or negative."""
    together = gaussian_kl(*moments)
    assert together.shape == (2,)
    for i in range(2):
        rows = moments[:, i]
        assert together[i] == gaussian_kl(*rows) == pytest.approx(sum(gaussian_kl(*rows[:, j]) for j in range(3)))
    assert (together >= 0).all()


def test_gaussian_kl_edges() -> None:
    """Equal laws, point masses, extreme ratios, single precision; no warnings."""
    with np.errstate(all="raise"):
        assert gaussian_kl([0.3], [0.5], [0.3], [0.5]) == 0.0
        assert gaussian_kl([1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]) == 0.0
        assert gaussian_kl([0.0], [0.0], [0.0], [1.0]) == math.inf == gaussian_kl([0.0], [1.0], [0.0], [0.0])
        assert gaussian_kl([0.0], [0.0], [1.0], [0.0]) == math.inf
        assert gaussian_kl(0.0, 1e-150, 0.0, 1.0) == pytest.approx(150 * math.log(10) - 0.5)
        assert gaussian_kl(0.0, 1e200, 0.0, 1e-200) == math.inf
    single = gaussian_kl(np.float32([0.1]), np.float32([1]), np.float32([0.2]), np.float32([1]))
    assert isinstance(single, float) and single == pytest.approx(0.005, rel=1e-6)


def logdet(chain: LinearGaussianChain, *axes: int) -> float:
    """Log determinant of a part of the covariance of (z, x, x', z')."""
    return float(np.linalg.slogdet(chain.covariance[np.ix_(axes, axes)])[1])


@given(gaussian_chains(st.floats(0.05, 5)))
def test_gaussian_chain_by_determinants(chain: LinearGaussianChain) -> None:
    """Every information by log determinants of the covariance."""
    assume(chain.var_x >= 1e-3)

    def information(i: int, j: int, *given: int) -> float:
        last = logdet(chain, *given) if given else 0.0
        return 0.5 * (logdet(chain, i, *given) + logdet(chain, j, *given) - logdet(chain, i, j, *given) - last)

    z, x, u, w = range(4)
    expected = {"i_x_z": information(x, z), "i_x_xp": information(x, u), "i_x_z_given_xp": information(x, z, u), "i_x_xp_given_z": information(x, u, z),
                "i_xp_zp_given_x": information(u, w, x), "i_z_xp": information(z, u), "i_zp_x": information(w, x), "i_z_zp": information(z, w)}
    for name, value in expected.items():
        assert getattr(chain, name) == pytest.approx(value, abs=1e-7), name


@given(gaussian_chains(st.floats(0.05, 5)))
def test_gaussian_divergences_by_quadrature(chain: LinearGaussianChain) -> None:
    """The average of `gaussian_kl` over x and the attack's noise: the integrand is quadratic, three nodes are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = np.outer(weights, weights) / (2 * math.pi)
    x = math.sqrt(chain.var_x) * nodes[:, None]
    u = chain.b * x + math.sqrt(chain.var_n_xp) * nodes
    p, q = (chain.a * x[..., None] + 0 * u[..., None], math.sqrt(chain.var_n_z)), (chain.c * u[..., None], math.sqrt(chain.var_n_zp))
    assert chain.expected_kl == pytest.approx((weights * gaussian_kl(*p, *q)).sum(), rel=1e-9, abs=1e-12)
    assert chain.expected_kl_reverse == pytest.approx((weights * gaussian_kl(*q, *p)).sum(), rel=1e-9, abs=1e-12)


@given(gaussian_chains(), st.floats(0, 3), st.floats(0, 3))
def test_gaussian_chain_obeys_the_theorems(chain: LinearGaussianChain, lambda_clean: float, lambda_adv: float) -> None:
    """Deterministic maps included: no NaN, (1), both bounds, eq. 8 where it has a meaning."""
    bounds = chain.bounds
    values = [getattr(bounds, name) for name in SharedInformationBounds.__dataclass_fields__]
    assert all(value >= 0 for value in values)  # fails for NaN too
    if math.isfinite(bounds.expected_kl):
        assert bounds.expected_kl == pytest.approx(bounds.i_x_z_given_xp + bounds.residual_kl, rel=1e-9, abs=SLACK)
    assert bounds.expected_kl >= bounds.i_x_z_given_xp - SLACK
    assert bounds.expected_kl_reverse >= bounds.i_xp_zp_given_x - SLACK
    assert min(bounds.i_z_xp, bounds.i_zp_x) >= bounds.i_z_zp - SLACK
    if math.isfinite(bounds.i_x_xp):
        assert bounds.i_x_z == pytest.approx(bounds.i_x_z_given_xp + bounds.i_x_xp - bounds.i_x_xp_given_z, rel=1e-6, abs=1e-6)
    assert bounds.i_x_z == pytest.approx(bounds.i_x_z_given_xp + bounds.i_z_xp, rel=1e-6, abs=1e-6)
    if all(map(math.isfinite, values)):
        assert bounds.loss_upper_bound(lambda_clean, lambda_adv) >= bounds.loss(lambda_clean, lambda_adv) - SLACK


@given(gaussian_chains(st.floats(0.05, 5)))
def test_gaussian_chain_is_tight_for_the_blurred_encoder(chain: LinearGaussianChain) -> None:
    """c = a gamma and var = a^2 v + v_n make the first bound an equality."""
    spread = chain.b**2 * chain.var_x + chain.var_n_xp
    gamma, posterior = chain.b * chain.var_x / spread, chain.var_x * chain.var_n_xp / spread
    best = LinearGaussianChain(chain.a, chain.b, chain.a * gamma, chain.var_x, chain.var_n_z, chain.var_n_xp, chain.a**2 * posterior + chain.var_n_z)
    assert best.residual_kl == pytest.approx(0, abs=1e-9)
    assert best.expected_kl == pytest.approx(best.i_x_z_given_xp, rel=1e-7, abs=1e-9)


def test_gaussian_chain_limits() -> None:
    """A deterministic attack, a deterministic encoder, a constant input, tiny noise."""
    frozen = LinearGaussianChain(1.0, 1.0, 1.0, var_n_xp=0.0)
    assert frozen.i_x_xp == frozen.i_x_xp_given_z == math.inf and frozen.i_x_z_given_xp == frozen.expected_kl == 0.0
    assert frozen.i_x_z == frozen.i_z_xp == pytest.approx(0.5 * math.log(2))
    exact = LinearGaussianChain(2.0, 1.0, 1.0, var_n_z=0.0)
    assert exact.i_x_z == exact.i_x_z_given_xp == exact.expected_kl == math.inf and exact.i_z_xp == pytest.approx(0.5 * math.log(2))
    assert LinearGaussianChain(1, 1, 1, 1, 0, 0, 0).expected_kl == 0.0  # z = z' almost surely
    blind = LinearGaussianChain(1.0, 0.0, 1.0, var_n_xp=0.0)  # x' is a constant and tells nothing about x
    assert blind.i_x_z_given_xp == blind.i_x_z == pytest.approx(0.5 * math.log(2)) and blind.i_z_xp == blind.i_x_xp == 0.0
    constant = LinearGaussianChain(1.0, 1.0, 1.0, var_x=0.0)
    assert constant.i_x_z == constant.i_x_xp == constant.i_z_zp == 0.0
    assert LinearGaussianChain(1.0, 1.0, 1.0, var_n_z=1e-30).i_x_z == pytest.approx(15 * math.log(10))
    assert LinearGaussianChain(1e-9, 1.0, 1.0).i_x_z == pytest.approx(5e-19)


def test_the_same_encoder_is_not_tight() -> None:
    """The remark after theorem 3.1 as printed: 0.168 < 0.25, while equal representations give 0 = 0."""
    chain = LinearGaussianChain(1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.5)
    assert chain.i_x_z_given_xp == pytest.approx(0.5 * math.log(1.4)) and chain.expected_kl == pytest.approx(0.25)


# --- kernels ----------------------------------------------------------------------------------------------------------
@given(st.data())
def test_hsic_is_bounded_by_total_variation_and_information(data: st.DataObject) -> None:
    """HSIC <= TV^2 <= I/2 and HSIC <= 1/4, for Gaussian kernels and the identity."""
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    joint = data.draw(laws(rows, columns))
    variation = total_variation(joint, np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    for kernels in ((data.draw(grams(rows)), data.draw(grams(columns))), (np.eye(rows), np.eye(columns))):
        hsic = hsic_of_joint(joint, *kernels)
        assert -1e-15 <= hsic <= min(variation**2, 0.25) + 1e-12
    assert variation**2 <= mutual_information(joint) / 2 + 1e-12


@given(laws(2, 3))
def test_hsic_by_the_three_expectations(joint: np.ndarray) -> None:
    """Eq. 19 letter by letter, with independent copies."""
    k, kernel_z = gaussian_kernel([0.0, 0.7], 0.6), gaussian_kernel([[0.0, 1], [1, 1], [2, 0]], 1.1)
    p_x, p_z = joint.sum(axis=1), joint.sum(axis=0)
    value = 0.0
    for i, m in itertools.product(range(2), repeat=2):
        for j, n in itertools.product(range(3), repeat=2):
            weight = joint[i, j] * joint[m, n] + p_x[i] * p_x[m] * p_z[j] * p_z[n] - 2 * joint[i, j] * p_x[m] * p_z[n]
            value += weight * k[i, m] * kernel_z[j, n]
    assert hsic_of_joint(joint, k, kernel_z) == pytest.approx(value, abs=1e-14)
    assert hsic_of_joint(np.stack([joint, np.outer(p_x, p_z)]), k, kernel_z) == pytest.approx([value, 0], abs=1e-14)


@given(laws(4), laws(4), grams(4))
def test_mmd_is_bounded_by_total_variation_and_divergence(p: np.ndarray, q: np.ndarray, kernel: np.ndarray) -> None:
    """MMD^2 <= 2 TV^2 <= KL, it is symmetric, zero for equal laws, and the squared distance of mean features."""
    values, vectors = np.linalg.eigh(kernel)
    features = vectors * np.sqrt(np.maximum(values, 0))
    mmd = mmd_squared_of_laws(p, q, kernel)
    assert mmd == pytest.approx(((p @ features - q @ features) ** 2).sum(), abs=1e-12)
    assert mmd <= 2 * total_variation(p, q) ** 2 + 1e-12 <= kl_divergence(p, q) + 2e-12
    assert mmd == pytest.approx(mmd_squared_of_laws(q, p, kernel), abs=1e-15)
    assert mmd_squared_of_laws(np.stack([p, q]), p, kernel)[0] == 0.0


@given(laws(3, 4), grams(3))
def test_label_surrogate_is_a_lower_bound(joint: np.ndarray, kernel: np.ndarray) -> None:
    """sum_y P(y) MMD^2 <= I(H;Y); with squared weights it is an HSIC with the identity on labels."""
    assert -1e-15 <= mean_mmd_squared(joint, kernel) <= mutual_information(joint) + 1e-12
    weights, law = joint.sum(axis=0), joint.sum(axis=1)
    squares = sum(w**2 * mmd_squared_of_laws(column / w, law, kernel) for w, column in zip(weights, joint.T, strict=True) if w > 0)
    assert hsic_of_joint(joint, kernel, np.eye(4)) == pytest.approx(squares, abs=1e-12)


@pytest.mark.parametrize("rho", [0.0, 1e-3, 0.3, 1.0])
def test_constants_are_sharp(rho: float) -> None:
    """Fair bits and the identity kernel: HSIC = TV^2, and both informations are reached as rho goes to zero."""
    bits = np.array([[1 + rho, 1 - rho], [1 - rho, 1 + rho]]) / 4
    hsic, information = hsic_of_joint(bits, np.eye(2), np.eye(2)), mutual_information(bits)
    assert [hsic, total_variation(bits, np.full((2, 2), 0.25)) ** 2] == pytest.approx([rho**2 / 4] * 2, abs=1e-15)
    assert mean_mmd_squared(bits, np.eye(2)) == pytest.approx(rho**2 / 2, abs=1e-15)
    coin, fair = np.array([0.5 + rho / 2, 0.5 - rho / 2]), np.full(2, 0.5)
    assert mmd_squared_of_laws(coin, fair, np.eye(2)) == pytest.approx(2 * total_variation(coin, fair) ** 2, abs=1e-15)
    if rho == 1e-3:
        assert 2 * hsic == pytest.approx(information, rel=1e-5)
        assert mmd_squared_of_laws(coin, fair, np.eye(2)) == pytest.approx(kl_divergence(coin, fair), rel=1e-5)


@pytest.mark.parametrize("letters", [2, 3, 10, 100])
def test_hsic_of_equal_letters_falls(letters: int) -> None:
    """(n - 1) / n^2 for z = z' uniform, identity kernels: at most 1/4 although the information is log n."""
    assert hsic_of_joint(np.eye(letters) / letters, np.eye(letters), np.eye(letters)) == pytest.approx((letters - 1) / letters**2)


def test_interleaved_lattices() -> None:
    """The discrepancy vanishes with the spacing while the label stays known."""
    values = []
    for pairs in (1, 4, 32):
        joint, kernel = np.eye(2)[np.arange(2 * pairs) % 2] / (2 * pairs), gaussian_kernel(np.linspace(0, 1, 2 * pairs), 0.2)
        assert mutual_information(joint) == pytest.approx(math.log(2))
        values.append(mean_mmd_squared(joint, kernel))
    assert values[0] > 0.49 and values[1] < 0.01 and values[2] < 2e-4


@given(arrays(np.float64, (2, 2), elements=st.floats(-2, 2)), BANDWIDTHS, BANDWIDTHS)
def test_gaussian_hsic_is_a_lower_bound(root: np.ndarray, s: float, t: float) -> None:
    """In [0, 1/4], at most half the information; zero for independent numbers."""
    covariance = root @ root.T
    value, correlation = gaussian_hsic(covariance, s, t), covariance[0, 1] ** 2 / max(covariance[0, 0] * covariance[1, 1], 1e-300)
    assert 0 <= value <= 0.25 + 1e-12
    if correlation < 1 - 1e-9:
        assert value <= -0.25 * math.log1p(-correlation) + 1e-12
    assert gaussian_hsic(np.diag(np.diag(covariance)), s, t) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(("rho", "s", "t"), [(0.8, 1.0, 1.0), (-0.6, 0.7, 2.0), (0.3, 1.5, 0.8)])
def test_gaussian_hsic_against_a_grid(rho: float, s: float, t: float) -> None:
    """The finite formula on a fine grid, which for smooth integrands is as good as the integral."""
    grid = np.linspace(-7, 7, 141)
    density = np.exp(-(grid[:, None] ** 2 - 2 * rho * grid[:, None] * grid + grid**2) / (2 * (1 - rho**2)))
    value = hsic_of_joint(density / density.sum(), gaussian_kernel(grid, s), gaussian_kernel(grid, t))
    assert gaussian_hsic([[1.0, rho], [rho, 1.0]], s, t) == pytest.approx(value, abs=1e-10)


@given(arrays(np.float64, (4, 2), elements=st.floats(-5, 5)), BANDWIDTHS)
def test_the_printed_kernel_is_none(points: np.ndarray, bandwidth: float) -> None:
    """exp(-) is positive semidefinite with ones on the diagonal; exp(+) of two distinct points has a negative eigenvalue."""
    gram = gaussian_kernel(points, bandwidth)
    assert (np.diag(gram) == 1).all() and (gram >= 0).all() and (gram <= 1).all() and np.linalg.eigvalsh(gram)[0] > -1e-12
    k = gram[0, 1]
    if 1e-6 < k < 0.999:
        with pytest.raises(ValueError, match="positive semidefinite, got least eigenvalue .*minus sign"):
            mmd_squared_of_laws([0.5, 0.5], [0.4, 0.6], [[1.0, 1 / k], [1 / k, 1.0]])


# --- claims -----------------------------------------------------------------------------------------------------------
WRONG = {"Eq. 6 to Eq. 7", "section 3.3, the constant", "section 3.3, identity before Eq. 9, chain dropped", "Theorem 3.1, read for every pair",
         "Theorem 3.1, read for the marginals", "Theorem 3.1, chain dropped", "after Theorem 3.1, tight for the same encoder", "Theorem 3.2, chain dropped",
         "Eq. 18", "Eq. 19, the kernel", "section 2.3, the surrogate read as control"}
RIGHT = {"Eq. 8", "section 3.3, identity before Eq. 9", "Theorem 3.1, averaged over the pairs", "after Theorem 3.1, symmetric bound",
         "after Theorem 3.1, tight for equal representations", "Theorem 3.2", "after Theorem 3.2, tightness", "Eq. 15", "section 3.3, HSIC in place of I", "Eq. 7"}


def test_every_claim_is_known() -> None:
    """The list is complete, and every proof is a heading of the notebook."""
    assert {claim.statement.split(", ", 1)[0] for claim in CLAIMS} == {"Yu 2022", "Guess First 2019"}
    assert sorted(claim.statement.split(", ", 1)[1] for claim in CLAIMS) == sorted(WRONG | RIGHT)
    assert all(claim.proof.startswith("07_shared_information.ipynb#") for claim in CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement)
def test_claims(claim: Any) -> None:
    """What is proved holds on 200 instances, what is wrong as printed fails on some."""
    check = check_claim(claim, instances=200, seed=11)
    assert check.proved_failures == 0 and check.printed_undefined == 0
    assert check.verdict == ("wrong as printed" if claim.statement.split(", ", 1)[1] in WRONG else "holds as printed")


# --- errors -----------------------------------------------------------------------------------------------------------
HALVES, FLIP = [[0.25, 0.25], [0.25, 0.25]], [[0.9, 0.1], [0.1, 0.9]]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: gaussian_kl([0.0], [-1.0], [0.0], [1.0]), "std_p must lie in .*got -1; a standard deviation is exp"),
    (lambda: gaussian_kl([0.0], [1.0], [0.0], [math.inf]), "std_q must lie in .*got inf"),
    (lambda: gaussian_kl([math.nan], [1.0], [0.0], [1.0]), "mean_p must not contain NaN"),
    (lambda: gaussian_kl([0.0, 1.0], 1.0, [0.0, 1.0, 2.0], 1.0), r"shapes that broadcast, got mean_p \(2,\).*mean_q \(3,\)"),
    (lambda: LinearGaussianChain(1, 1, 1, var_n_z=-0.5), "var_n_z must lie in .*got -0.5; a variance is >= 0"),
    (lambda: LinearGaussianChain(math.nan, 1, 1), "a must not contain NaN"),
    (lambda: LinearGaussianChain(1, 1e40, 1), "b must lie in .*rescale"),
    (lambda: LinearGaussianChain(1, 1, [1.0, 2.0]), r"c must be one number, got shape \(2,\); build one chain"),
    (lambda: LinearGaussianChain(1, 1, 1).bounds.loss(-1, 0), "lambda_clean must lie in .*turn the bound around"),
    (lambda: LinearGaussianChain(1, 1, 1).bounds.loss_upper_bound(0, math.nan), "lambda_adv must not contain NaN"),
    (lambda: chain_joint(HALVES, [[0.9, 0.2], [0.1, 0.9]]), "encoder must sum to 1"),
    (lambda: chain_joint([[0.5, 0.0, 0.5]], [[1.0]]), r"rows of encoder, .*got \(1, 3\)"),
    (lambda: shared_information_bounds(HALVES), r"joint must have shape \[n_z, n_x, n_xp, n_z\], got \(2, 2\)"),
    (lambda: shared_information_bounds(np.full((1, 2, 2, 2), 1 / 8)), "give z and z' one alphabet"),
    (lambda: shared_information_bounds(np.full((2, 2, 2, 2), 1 / 8)), "joint must sum to 1"),
    (lambda: gaussian_kernel([0.0, 1.0], 0.0), "bandwidth be one positive number"),
    (lambda: gaussian_kernel([0.0, math.inf], 1.0), "points must lie in .*remove infinite coordinates"),
    (lambda: gaussian_kernel(np.zeros((2, 2, 2)), 1.0), r"points must have shape \[n\] or \[n, d\]"),
    (lambda: mmd_squared_of_laws([0.5, 0.5], [1.0], np.eye(2)), "same outcomes"),
    (lambda: mmd_squared_of_laws([0.5, 0.6], [0.5, 0.5], np.eye(2)), "p must sum to 1"),
    (lambda: mmd_squared_of_laws([0.5, 0.5], [0.5, 0.5], np.eye(3)), r"kernel must have shape \(2, 2\), one row for each outcome"),
    (lambda: mmd_squared_of_laws([0.5, 0.5], [0.5, 0.5], [[1.0, 0.5], [0.0, 1.0]]), "kernel must be symmetric"),
    (lambda: hsic_of_joint([0.5, 0.5], np.eye(2), np.eye(1)), r"joint must have shape \[..., n_x, n_z\]"),
    (lambda: hsic_of_joint(HALVES, np.eye(2), -np.eye(2)), "kernel_z must be symmetric and positive semidefinite"),
    (lambda: mean_mmd_squared([0.5, 0.5], np.eye(2)), r"joint must have shape \[n, M\]"),
    (lambda: gaussian_hsic([[1.0, 2.0], [2.0, 1.0]], 1, 1), "covariance must be symmetric and positive semidefinite"),
    (lambda: gaussian_hsic(np.eye(2), 1, 0), "bandwidths must be positive numbers, got 1 and 0"),
    (lambda: gaussian_hsic(np.eye(2), -1, 1), "bandwidth_x must lie in"),
])
def test_errors_say_what_to_do(call: Any, message: str) -> None:
    """Expected, got, cure."""
    with pytest.raises(ValueError, match=message):
        call()


def test_text_is_refused() -> None:
    """Numbers only."""
    with pytest.raises(TypeError, match="a must be real numbers"):
        LinearGaussianChain("1", 1, 1)  # type: ignore[arg-type]


# --- odd but legal input ----------------------------------------------------------------------------------------------

def test_gaussian_hsic_equals_its_determinants() -> None:
    for rho, s, t, u, v in ((0.3, 0.7, 1.4, 2.0, 0.5), (-0.95, 2.0, 0.1, 1.0, 9.0)):
        sigma = np.array([[u, rho * math.sqrt(u * v)], [rho * math.sqrt(u * v), v]])
        g, alone = np.diag([s**-2, t**-2]), np.diag([u, v])
        r = np.linalg.inv(np.linalg.inv(g) + alone)
        one, two, three, four = (np.linalg.det(np.eye(2) + m) ** -0.5 for m in (2 * sigma @ g, 2 * alone @ g, alone @ g, sigma @ r))
        assert gaussian_hsic(sigma, s, t) == pytest.approx(one + two - 2 * three * four, rel=1e-9)


@pytest.mark.parametrize(("covariance", "width", "value"), [
    ([[1.0, 1.0], [1.0, 1.0]], 1e-9, 0.5e-9), ([[1.0, 1.0], [1.0, 1.0]], 1e-300, 0.0), ([[1e300, 0.0], [0.0, 1e300]], 1.0, 0.0),
    ([[1e-300, 0.0], [0.0, 1e-300]], 1e300, 0.0), ([[1.0, 0.8], [0.8, 1.0]], 1e6, 0.64e-24), ([[0.0, 0.0], [0.0, 1.0]], 1.0, 0.0)])
def test_gaussian_hsic_at_extreme_bandwidths(covariance: list[list[float]], width: float, value: float) -> None:
    assert gaussian_hsic(covariance, width, width) == pytest.approx(value, rel=1e-6, abs=1e-200)


def test_nearly_equal_deviations_keep_their_digits() -> None:
    assert gaussian_kl(0.0, 1.0 + 1e-6, 0.0, 1.0) == pytest.approx(1e-12, rel=1e-4)
    assert gaussian_kl(0.0, 1e-308, 0.0, 1e308) == pytest.approx(616 * math.log(10) - 0.5)


def test_the_loss_with_infinite_terms() -> None:
    silent = LinearGaussianChain(1.0, 1.0, 1.0, var_n_z=0.0, var_n_xp=0.0, var_n_zp=0.0).bounds
    assert silent.loss(0.0, 0.0) == 0.0 and silent.loss(1.0, 0.0) == -math.inf and silent.loss_upper_bound(0.0, 0.0) == 0.0
    apart = LinearGaussianChain(1.0, 1.0, 2.0, var_n_z=0.0, var_n_xp=0.0, var_n_zp=0.0).bounds
    with pytest.raises(ValueError, match="finite terms, got infinity minus infinity; give every encoder"):
        apart.loss_upper_bound(1.0, 1.0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: LinearGaussianChain(1, 1, 1).bounds.loss([1.0, 2.0], 1.0), r"each weight must be one number, got shapes \(2,\)"),  # type: ignore[arg-type]
    (lambda: mmd_squared_of_laws(np.full((3, 2), 0.5), np.full((2, 2), 0.5), np.eye(2)), r"shapes that broadcast, got \(3, 2\) and \(2, 2\)"),
    (lambda: gaussian_hsic(np.eye(2), [1.0, 2.0], 1.0), "bandwidths must be positive numbers"),  # type: ignore[arg-type]
    (lambda: gaussian_hsic([[1.0, 2.0], [2.0, 1.0]], 1.0, 1.0), "least eigenvalue -1; a covariance matrix is one")])
def test_odd_input_is_refused_with_a_cure(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
