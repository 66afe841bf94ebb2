"""Divergences and their critics: golden values, inequalities as properties, equality cases, printed forms, errors."""
from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.optimize import linprog, minimize
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from scipy.stats import norm

from robinfo.theory.claims import check_claim
from robinfo.theory.divergences import (
    CLAIMS,
    bayes_decision,
    conjugate,
    cross_entropy,
    cross_entropy_bound,
    donsker_varadhan_bound,
    energy_based_bound,
    f_divergence,
    generator,
    gibbs_law,
    information_bounds,
    jensen_shannon_bound,
    nwj_bound,
    optimal_critic,
    variational_bound,
)
from robinfo.theory.information import entropy, kl_divergence, mutual_information

NAMES = ("kl", "reverse_kl", "js", "chi2", "hellinger2", "tv")
GOLDEN_NAMES = {"fdiv_KL": "kl", "fdiv_reverse_KL": "reverse_kl", "fdiv_TV": "tv"}
WEIGHTS = st.sampled_from([0.0, 0.0, 1e-6, 0.05, 0.3, 1.0, 4.0, 30.0])
SPECIAL = [-math.inf, -20.0, -1.0, -0.5, 0.0, 0.5, math.log(2), 1.0, 20.0, math.inf]
SCORES = st.one_of(st.floats(-4, 4), st.sampled_from(SPECIAL))
FINITE = st.floats(-6, 6)


@st.composite
def law_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two laws on the same outcomes; zeros and disjoint supports included."""
    size = draw(st.integers(1, 5))
    laws = []
    for _ in range(2):
        weights = draw(arrays(np.float64, size, elements=WEIGHTS))
        weights[draw(st.integers(0, size - 1))] += 1.0
        laws.append(weights / weights.sum())
    return laws[0], laws[1]


@st.composite
def joints(draw: st.DrawFn, uniform: bool = False) -> np.ndarray:
    """A joint law of up to 4 x 4 outcomes, zeros included; labels in the columns, uniform if wished."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    weights = draw(arrays(np.float64, shape, elements=WEIGHTS))
    if uniform:
        weights[draw(st.integers(0, shape[0] - 1))] += 0.5
        return weights / weights.sum(axis=0) / shape[1]
    weights[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] += 1.0
    return weights / weights.sum()


@st.composite
def tables(draw: st.DrawFn, uniform: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A joint law and a finite critic."""
    joint = draw(joints(uniform))
    return draw(arrays(np.float64, joint.shape, elements=FINITE)), joint


def product_of(joint: np.ndarray) -> np.ndarray:
    return np.outer(joint.sum(axis=1), joint.sum(axis=0))


def ratio_of(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """p / q, infinite where only p has mass and one where neither has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p == 0) & (q == 0), 1.0, p / q)


def by_definition(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """Equation 1, term by term, from separately written generators and limits."""
    f = {"kl": lambda u: u * math.log(u), "reverse_kl": lambda u: -math.log(u), "chi2": lambda u: (u - 1) ** 2,
         "js": lambda u: u * math.log(u) - (1 + u) * math.log((1 + u) / 2),
         "hellinger2": lambda u: (math.sqrt(u) - 1) ** 2, "tv": lambda u: abs(u - 1) / 2}[name]
    at_zero, at_infinity = {"kl": (0, math.inf), "reverse_kl": (math.inf, 0), "js": (math.log(2),) * 2,
                            "chi2": (1, math.inf), "hellinger2": (1, 1), "tv": (0.5, 0.5)}[name]
    total = 0.0
    for a, b in zip(p, q):
        if b > 0:
            total += b * (f(a / b) if a > 0 else at_zero)
        elif a > 0:
            total += a * at_infinity
    return total


# --- golden values ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", golden_cases("f_divergence"))
def test_golden_divergences(case: dict[str, Any]) -> None:
    name, joint, v = GOLDEN_NAMES[case["id"]], np.array(case["inputs"]["J"]), np.array(case["inputs"]["V"])
    critic = {"kl": v, "reverse_kl": -np.exp(v), "tv": np.tanh(v) / 2}[name]
    product, out = product_of(joint), {key: entry["value"] for key, entry in case["outputs"].items()}
    best = optimal_critic(name, joint / product)
    assert f_divergence(name, joint, product) == pytest.approx(out["D_f"], abs=case["tolerance"])
    for key, scores in (("variational_value", critic), ("value_at_Tstar", best)):
        bound = variational_bound(name, scores, scores, joint, product)
        assert bound == pytest.approx(out[key], abs=case["tolerance"])
    flat = [variational_bound(name, critic.ravel(), critic.ravel(), joint.ravel(), product.ravel())]
    assert flat == [variational_bound(name, critic, critic, joint, product)]


@pytest.mark.parametrize("case", golden_cases("mi_variational"))
def test_golden_information_bounds(case: dict[str, Any]) -> None:
    joint, scores = np.array(case["inputs"]["J"]), np.array(case["inputs"]["T"])
    out = {key: entry["value"] for key, entry in case["outputs"].items()}
    bounds = information_bounds(scores, joint)
    found = {"MI": bounds.information, "DV": bounds.donsker_varadhan, "NWJ": bounds.nwj, "EB": bounds.energy_based,
             "CE": cross_entropy(scores, joint), "HY_minus_CE": cross_entropy_bound(scores, joint),
             "HY": entropy(joint.sum(axis=0)), "HX": entropy(joint.sum(axis=1))}
    assert found == pytest.approx(out, abs=case["tolerance"])


# --- the divergence ---------------------------------------------------------------------------------------------------
@given(law_pairs())
def test_divergence_agrees_with_its_definition(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            value = f_divergence(name, *pair)
            assert value == pytest.approx(by_definition(name, *pair), rel=1e-9, abs=1e-9)
            assert 0 <= value <= generator(name).at_zero + generator(name).recession + 1e-12


@given(law_pairs())
def test_divergence_agrees_with_scipy_and_other_formulas(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = pair
    assert f_divergence("kl", p, q) == pytest.approx(scipy_entropy(p, q), abs=1e-12) == kl_divergence(p, q)
    assert f_divergence("reverse_kl", p, q) == f_divergence("kl", q, p)
    assert f_divergence("js", p, q) / 2 == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-9)
    assert f_divergence("tv", p, q) == pytest.approx(np.maximum(p - q, 0).sum(), abs=1e-12)
    assert f_divergence("hellinger2", p, q) == pytest.approx(2 - 2 * np.sqrt(p * q).sum(), abs=1e-9)


@given(law_pairs(), st.permutations(range(5)))
def test_zero_exactly_for_equal_laws_and_no_order_of_outcomes(
        pair: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    p, q = pair
    order = [k for k in order if k < len(p)]
    for name in NAMES:
        assert f_divergence(name, p, p) == 0.0
        assert f_divergence(name, p[order], q[order]) == pytest.approx(f_divergence(name, p, q), rel=1e-12, abs=1e-15)
        if np.abs(p - q).max() > 1e-6:
            assert f_divergence(name, p, q) > 0


@given(law_pairs())
def test_data_processing_and_order_between_divergences(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Merging two outcomes never increases a divergence; Pinsker, Le Cam and KL <= log(1 + chi2)."""
    p, q = pair
    merged = [np.append(x[:-2], x[-2:].sum()) for x in pair]
    d = {name: f_divergence(name, p, q) for name in NAMES}
    for name in NAMES:
        assert f_divergence(name, *merged) <= d[name] + 1e-9 * max(1.0, min(d[name], 1e12))
    assert 2 * d["tv"] ** 2 <= d["kl"] + 1e-12
    assert d["hellinger2"] / 2 <= d["tv"] + 1e-12
    assert d["tv"] <= math.sqrt(d["hellinger2"] * (1 - d["hellinger2"] / 4)) + 1e-9
    assert d["kl"] <= math.log1p(d["chi2"]) + 1e-9


def test_disjoint_supports_and_batches() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    top = [math.inf, math.inf, 2 * math.log(2), math.inf, 2.0, 1.0]
    assert [f_divergence(name, p, q) for name in NAMES] == pytest.approx(top)
    assert f_divergence("chi2", [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]) == pytest.approx(1 / 3)
    batch = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    for name in NAMES:
        rows = f_divergence(name, batch, [0.2, 0.3, 0.5], axis=-1)
        assert rows.shape == (2,)
        assert rows.tolist() == pytest.approx([f_divergence(name, row, [0.2, 0.3, 0.5]) for row in batch])
        assert f_divergence(name, batch / 2, batch[::-1] / 2) > 0  # a table is one law


@pytest.mark.parametrize(("name", "closed"), [
    ("kl", lambda m: m * m / 2), ("reverse_kl", lambda m: m * m / 2), ("chi2", lambda m: math.expm1(m * m)),
    ("hellinger2", lambda m: 2 - 2 * math.exp(-m * m / 8)), ("tv", lambda m: 2 * norm.cdf(m / 2) - 1)])
def test_fine_quantisation_of_two_gaussians_reaches_the_closed_form(name: str, closed: Any) -> None:
    edges, m = np.linspace(-6, 6.5, 4001), 0.8  # beyond, differences of a cdf near 1 have no digits
    p, q = (np.diff(norm.cdf(edges, loc=a)) for a in (m, 0.0))
    assert f_divergence(name, p / p.sum(), q / q.sum()) == pytest.approx(closed(m), rel=1e-3)


def test_jensen_shannon_of_gaussians_by_quadrature() -> None:
    def integrand(x: float) -> float:
        a, b = norm.pdf(x, 0.8), norm.pdf(x)
        return float(a * math.log(2 * a / (a + b)) + b * math.log(2 * b / (a + b)))

    edges = np.linspace(-9, 10, 4001)
    p, q = (np.diff(norm.cdf(edges, loc=a)) for a in (0.8, 0.0))
    assert f_divergence("js", p / p.sum(), q / q.sum()) == pytest.approx(quad(integrand, -9, 10)[0], rel=1e-4)


# --- generators -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_generator_is_what_the_theorem_asks_for(name: str) -> None:
    g, u = generator(name), np.geomspace(1e-3, 1e3, 401)
    values = g.term(u, 1.0)
    assert float(g.term(1.0, 1.0)) == 0.0
    chord = (values[:-2] * (u[2:] - u[1:-1]) + values[2:] * (u[1:-1] - u[:-2])) / (u[2:] - u[:-2])
    assert (chord >= values[1:-1] - 1e-12).all()  # convex
    slope = (g.term(u * (1 + 1e-6), 1.0) - g.term(u * (1 - 1e-6), 1.0)) / (2e-6 * u)
    assert np.allclose(optimal_critic(name, u), slope, rtol=1e-5, atol=1e-6)
    assert (np.diff(optimal_critic(name, u)) >= 0).all()
    assert np.allclose(g.term(3.0 * u, 3.0), 3.0 * values, rtol=1e-12)  # homogeneous


@given(st.sampled_from(NAMES), st.floats(0, 50), SCORES)
def test_fenchel_young(name: str, u: float, t: float) -> None:
    """f(u) >= ut - f*(t), with equality at the slope."""
    value = float(generator(name).term(u, 1.0))
    if math.isfinite(t):
        assert value >= u * t - conjugate(name, t) - 1e-9 * max(1.0, abs(u * t))
    slope = optimal_critic(name, u)
    if math.isfinite(slope) and u > 1e-12:
        assert u * slope - conjugate(name, slope) == pytest.approx(value, abs=1e-9 * max(1.0, abs(slope * u)))


@given(st.sampled_from(NAMES), st.floats(-6, 3))
def test_conjugate_is_the_supremum(name: str, t: float) -> None:
    g = generator(name)
    u = np.concatenate([[0.0], np.geomspace(1e-6, 1e6, 601)])
    values = u * t - g.term(u, 1.0)
    if t > g.recession:
        assert conjugate(name, t) == math.inf
    elif t < g.recession - 1e-3:
        best = values.max()
        assert best - 1e-9 <= conjugate(name, t) <= best + 1e-2 * max(1.0, abs(best))


@pytest.mark.parametrize("name", NAMES)
def test_ends_of_the_conjugate(name: str) -> None:
    g = generator(name)
    assert conjugate(name, -math.inf) == pytest.approx(-g.at_zero)
    assert conjugate(name, math.inf) == math.inf
    assert optimal_critic(name, math.inf) == g.recession
    assert optimal_critic(name, [0.0]).shape == (1,)


# --- theorem: representation by critics -------------------------------------------------------------------------------
@given(law_pairs(), st.data())
def test_no_critic_exceeds_the_divergence(pair: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Any scores whatever, infinite ones and those outside the domain included, zeros and disjoint supports too."""
    p, q = pair
    critic = data.draw(arrays(np.float64, p.size, elements=SCORES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            bound, divergence = variational_bound(name, critic, critic, p, q), f_divergence(name, p, q)
            assert bound <= divergence + 1e-9 * max(1.0, min(divergence, 1e9))
        assert donsker_varadhan_bound(critic, critic, p, q) <= f_divergence("kl", p, q) + 1e-9
        assert jensen_shannon_bound(critic, critic, p, q) <= f_divergence("js", p, q) + 1e-9


@given(law_pairs())
def test_the_optimal_critic_attains_the_divergence(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Also with zeros on either side, where its scores are the limits of the slope."""
    ratio = ratio_of(*pair)
    for name in NAMES:
        critic = optimal_critic(name, ratio)
        bound = variational_bound(name, critic, critic, *pair)
        assert bound == pytest.approx(f_divergence(name, *pair), rel=1e-8, abs=1e-9)
    with np.errstate(divide="ignore"):
        log_ratio = np.log(ratio)
    assert jensen_shannon_bound(log_ratio, log_ratio, *pair) == pytest.approx(f_divergence("js", *pair), abs=1e-9)


@given(law_pairs(), st.data())
def test_equality_only_for_the_slope(pair: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Both laws positive: moving one score of the optimal critic by a tenth loses."""
    p, q = (0.9 * law + 0.1 / law.size for law in pair)
    k, shift = data.draw(st.integers(0, p.size - 1)), data.draw(st.sampled_from([-0.1, 0.1]))
    for name in ("kl", "reverse_kl", "js", "chi2", "hellinger2"):
        critic = optimal_critic(name, p / q)
        critic[k] += shift
        assert variational_bound(name, critic, critic, p, q) < f_divergence(name, p, q) - 1e-6


@given(law_pairs())
def test_bounded_critics_approach_the_divergence(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The truncation of step 4: increasing in n, to the divergence, also when that is infinite."""
    ratio = ratio_of(*pair)
    for name in ("kl", "reverse_kl", "js", "chi2", "hellinger2"):
        scores = [optimal_critic(name, np.clip(ratio, 1 / n, n)) for n in (1.0, 10.0, 1e3, 1e6)]
        paid = [variational_bound(name, s, s, *pair) for s in scores]
        assert all(np.isfinite(s).all() for s in scores)
        assert all(b >= a - 1e-9 * max(1.0, abs(a)) for a, b in pairwise(paid))
        divergence = f_divergence(name, *pair)
        if math.isfinite(divergence) and 1e-6 < ratio[ratio > 0].min() <= ratio.max() < 1e6:
            assert paid[-1] == pytest.approx(divergence, rel=1e-2, abs=5e-3)
        elif divergence == math.inf:
            assert paid[-1] > paid[0]


def test_total_variation_is_a_linear_programme_over_critics() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, q = rng.dirichlet(np.ones(4), size=2)
        best = -linprog(-(p - q), bounds=[(-0.5, 0.5)] * 4).fun
        assert f_divergence("tv", p, q) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", ["kl", "chi2"])
def test_numerical_maximisation_finds_the_divergence(name: str) -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    found = minimize(lambda t: -variational_bound(name, t, t, p, q), np.zeros(3), method="BFGS")
    assert -found.fun == pytest.approx(f_divergence(name, p, q), abs=1e-8)
    assert found.x == pytest.approx(optimal_critic(name, p / q), abs=1e-3)


@pytest.mark.parametrize(("name", "outside"), [("reverse_kl", 0.0), ("js", 0.7), ("hellinger2", 1.0), ("tv", 0.51)])
def test_a_score_outside_the_domain_voids_the_bound(name: str, outside: float) -> None:
    end = generator(name).recession
    inside = min(end - 0.1, 0.3)
    assert math.isfinite(variational_bound(name, [inside, inside], [inside]))
    assert variational_bound(name, [inside, inside], [inside, outside]) == -math.inf
    assert variational_bound(name, [inside, end + 0.1], [inside]) == -math.inf  # also where only P has mass
    assert math.isfinite(variational_bound(name, [inside, end + 9], [inside, end + 9], [1.0, 0.0], [1.0, 0.0]))


def test_the_naive_formula_exceeds_the_divergence_without_the_domain_on_the_singular_part() -> None:
    p, q, critic = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5]), np.array([9.0, 0.0, -3.0])
    naive = p @ critic - q[1:] @ conjugate("js", critic[1:])
    assert naive > f_divergence("js", p, q)
    assert variational_bound("js", critic, critic, p, q) == -math.inf


@given(law_pairs(), st.floats(-3, 3))
def test_a_multiple_of_u_minus_one_moves_only_the_critic(pair: tuple[np.ndarray, np.ndarray], c: float) -> None:
    """The generator u log u + c (u - 1) has the conjugate exp(t - c - 1) + c, found here by brute force."""
    p, q = pair
    ratios = np.geomspace(1e-5, 1e5, 20001)
    value = ratios * np.log(ratios) + c * (ratios - 1)
    assert (ratios * 0.5 - value).max() == pytest.approx(conjugate("kl", 0.5 - c) + c, abs=1e-4)
    critic = np.linspace(-2, 0.4, p.size)
    shifted = p @ (critic + c) - q @ (conjugate("kl", critic + c - c) + c)
    assert shifted == pytest.approx(variational_bound("kl", critic, critic, p, q), abs=1e-9)


def test_samples_count_equally_and_axes_are_batches() -> None:
    rng = np.random.default_rng(1)
    on_p, on_q = rng.normal(size=(3, 7)) - 2, rng.normal(size=(3, 4)) - 2
    for name in ("kl", "js", "chi2"):
        rows = variational_bound(name, on_p, on_q, axis=-1)
        plain = [a.mean() - conjugate(name, b).mean() for a, b in zip(on_p, on_q)]
        assert np.allclose(rows, np.where(np.isfinite(plain), plain, -np.inf))
    assert nwj_bound(on_p, on_q) == pytest.approx(on_p.mean() - np.exp(on_q - 1).mean())
    assert donsker_varadhan_bound(on_p, on_q) == pytest.approx(on_p.mean() - math.log(np.exp(on_q).mean()))
    assert donsker_varadhan_bound(on_p, on_q, axis=-1).shape == (3,)
    assert donsker_varadhan_bound([900.0], [900.0, 900.0]) == pytest.approx(0.0)  # no overflow
    assert jensen_shannon_bound(on_p, on_q, axis=1).shape == (3,)


# --- theorem: Donsker and Varadhan ------------------------------------------------------------------------------------
@given(law_pairs(), st.data())
def test_gibbs_identity(pair: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """KL - DV(T) = KL(P || Q_T), with infinities on both sides at once."""
    p, q = pair
    critic = data.draw(arrays(np.float64, p.size, elements=FINITE))
    tilted, divergence = gibbs_law(critic, q), kl_divergence(p, q)
    assert tilted.sum() == pytest.approx(1.0)
    if divergence == math.inf:
        assert kl_divergence(p, tilted) == math.inf
    else:
        loss = divergence - donsker_varadhan_bound(critic, critic, p, q)
        assert loss == pytest.approx(kl_divergence(p, tilted), abs=1e-9)


@given(law_pairs(), FINITE)
def test_donsker_varadhan_has_a_line_of_maximisers(pair: tuple[np.ndarray, np.ndarray], c: float) -> None:
    p, q = pair
    assume((q > 0).all())
    with np.errstate(divide="ignore"):
        log_ratio = np.log(p / q)
    assert donsker_varadhan_bound(log_ratio + c, log_ratio + c, p, q) == pytest.approx(kl_divergence(p, q), abs=1e-9)
    if abs(c - 1) > 0.05:
        assert nwj_bound(log_ratio + c, log_ratio + c, p, q) < kl_divergence(p, q) - 1e-4
    assert nwj_bound(log_ratio + 1, log_ratio + 1, p, q) == pytest.approx(kl_divergence(p, q), abs=1e-9)


@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_unrestricted_critics_find_the_logarithm_of_the_sample_size(m: int) -> None:
    joint = np.eye(m) / m
    with np.errstate(divide="ignore"):
        critic = np.log(joint * m * m)
    found = donsker_varadhan_bound(critic, critic, joint, np.full((m, m), 1 / m**2))
    assert found == pytest.approx(math.log(m), abs=1e-12)
    assert mutual_information(joint) == pytest.approx(math.log(m), abs=1e-12)


@given(arrays(np.float64, st.integers(1, 6).map(lambda n: (n, n)), elements=FINITE | st.sampled_from([500.0, -500.0])))
def test_all_pairs_cap_and_no_cap_without_the_diagonal(scores: np.ndarray) -> None:
    n = len(scores)
    assert donsker_varadhan_bound(scores.diagonal(), scores) <= math.log(n) + 1e-9
    if n > 1:
        loud = scores + 1000 * np.eye(n)
        others = loud[~np.eye(n, dtype=bool)]
        assert donsker_varadhan_bound(loud.diagonal(), others) > donsker_varadhan_bound(scores.diagonal(), others) + 999


# --- theorem: four bounds in order ------------------------------------------------------------------------------------
@given(tables())
def test_order_and_gaps(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, joint = table
    b, p_x, p_y = information_bounds(scores, joint), joint.sum(axis=1), joint.sum(axis=0)
    assert b.nwj <= b.donsker_varadhan + 1e-9
    assert b.donsker_varadhan <= b.energy_based + 1e-9
    assert b.energy_based <= b.information + 1e-9
    z, c = np.exp(scores) @ p_y, float((product_of(joint) * np.exp(scores - 1)).sum())
    assert b.donsker_varadhan - b.nwj == pytest.approx(c - 1 - math.log(c), rel=1e-9, abs=1e-9)
    assert b.energy_based - b.donsker_varadhan == pytest.approx(kl_divergence(p_x, p_x * z / (p_x @ z)), abs=1e-9)
    seen = p_x > 0
    loss = kl_divergence(joint[seen] / p_x[seen, None], gibbs_law(scores[seen], p_y))
    assert b.information - b.energy_based == pytest.approx(p_x[seen] @ loss, abs=1e-9)


@given(tables(), st.data())
def test_freedoms_of_the_bounds(table: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """EB ignores functions of x, DV constants; the best constant makes NWJ DV, the best function of x makes DV EB."""
    scores, joint = table
    product, shift = product_of(joint), data.draw(arrays(np.float64, (len(joint), 1), elements=FINITE))
    b = information_bounds(scores, joint)
    assert energy_based_bound(scores + shift, joint) == pytest.approx(b.energy_based, abs=1e-9)
    assert donsker_varadhan_bound(scores + 3, scores + 3, joint, product) == pytest.approx(b.donsker_varadhan, abs=1e-9)
    best = scores + 1 - math.log((product * np.exp(scores)).sum())
    assert nwj_bound(best, best, joint, product) == pytest.approx(b.donsker_varadhan, abs=1e-9)
    normalised = scores - np.log(np.exp(scores) @ joint.sum(axis=0))[:, None]
    assert donsker_varadhan_bound(normalised, normalised, joint, product) == pytest.approx(b.energy_based, abs=1e-9)


@given(joints(), st.data())
def test_three_families_of_maximisers(joint: np.ndarray, data: st.DataObject) -> None:
    product, information = product_of(joint), mutual_information(joint)
    with np.errstate(divide="ignore"):
        log_ratio = np.log(ratio_of(joint, product))
    tilt = data.draw(arrays(np.float64, (len(joint), 1), elements=FINITE))
    assert information_bounds(log_ratio + 1, joint).nwj == pytest.approx(information, abs=1e-9)
    assert information_bounds(log_ratio - 4, joint).donsker_varadhan == pytest.approx(information, abs=1e-9)
    assert energy_based_bound(log_ratio + tilt, joint) == pytest.approx(information, abs=1e-9)


def test_closed_forms_of_the_binary_symmetric_channel() -> None:
    joint, sign = np.array([[0.4, 0.1], [0.1, 0.4]]), np.array([[1.0, -1.0], [-1.0, 1.0]])
    for t in (0.0, 0.5, math.log(2), 2.0):
        b, dv = information_bounds(t * sign, joint), 0.6 * t - math.log(math.cosh(t))
        closed = 0.6 * t - math.cosh(t) / math.e, dv, dv
        assert (b.nwj, b.donsker_varadhan, b.energy_based) == pytest.approx(closed, abs=1e-12)


# --- theorem: labels --------------------------------------------------------------------------------------------------
@given(tables())
def test_cross_entropy_is_the_energy_based_bound(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, joint = table
    p_y = joint.sum(axis=0)
    posterior = softmax(scores, axis=1)
    assert cross_entropy(scores, joint) == pytest.approx(-(joint * np.log(posterior)).sum(), abs=1e-9)
    assert cross_entropy(scores, joint) >= entropy(joint.ravel()) - entropy(joint.sum(axis=1)) - 1e-9
    assert cross_entropy_bound(scores, joint) <= mutual_information(joint) + 1e-9
    with np.errstate(divide="ignore"):
        logits = scores + np.log(p_y)
    assert cross_entropy_bound(logits, joint) == pytest.approx(energy_based_bound(scores, joint), abs=1e-9)
    p_x = joint.sum(axis=1)
    seen = p_x > 0
    gap = p_x[seen] @ kl_divergence(joint[seen] / p_x[seen, None], posterior[seen])
    assert mutual_information(joint) - cross_entropy_bound(scores, joint) == pytest.approx(gap, abs=1e-9)


@given(tables(uniform=True))
def test_log_classes_minus_cross_entropy_for_uniform_labels(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, joint = table
    corrected = math.log(joint.shape[1]) - cross_entropy(scores, joint)
    assert corrected == pytest.approx(energy_based_bound(scores, joint), abs=1e-9)
    assert -cross_entropy(scores, joint) <= 0  # as printed: says nothing


@given(joints())
def test_decisions(joint: np.ndarray) -> None:
    """log r + log p(y) is Bayes for every label law; a critic against uniform labels decides without a correction."""
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(ratio_of(joint, product_of(joint)))
    rows = np.arange(len(joint))
    assert joint[rows, bayes_decision(log_ratio, p_y)] == pytest.approx(joint.max(axis=1), abs=1e-12)
    seen = p_x > 0
    against_uniform = joint[seen] * joint.shape[1] / p_x[seen, None]
    for name in ("kl", "reverse_kl", "js", "chi2", "hellinger2"):
        chosen = optimal_critic(name, against_uniform).argmax(axis=1)
        assert joint[seen][np.arange(seen.sum()), chosen] == pytest.approx(joint[seen].max(axis=1), abs=1e-12)
    uniform = np.repeat(p_x[:, None], joint.shape[1], axis=1) / joint.shape[1]
    conditional = entropy(joint.ravel()) - entropy(p_x)
    assert f_divergence("kl", joint, uniform) == pytest.approx(math.log(joint.shape[1]) - conditional, abs=1e-9)


def test_the_ratio_alone_is_not_bayes_for_unequal_labels() -> None:
    joint = np.array([[0.55, 0.09], [0.35, 0.01]])
    log_ratio = np.log(joint / product_of(joint))
    assert log_ratio[0].argmax() == 1 != joint[0].argmax() == bayes_decision(log_ratio, joint.sum(axis=0))[0]


def test_batches_of_tables_and_infinite_scores() -> None:
    rng = np.random.default_rng(2)
    joint, scores = rng.dirichlet(np.ones(6), size=4).reshape(4, 2, 3), rng.normal(size=(4, 2, 3))
    for function in (energy_based_bound, cross_entropy, cross_entropy_bound):
        assert function(scores, joint) == pytest.approx([function(s, j) for s, j in zip(scores, joint)])
    diagonal = np.eye(2) / 2
    with np.errstate(divide="ignore"):
        perfect = np.log(diagonal)
    assert cross_entropy(perfect, diagonal) == 0.0 == math.log(2) - energy_based_bound(perfect, diagonal)
    assert cross_entropy(perfect, np.full((2, 2), 0.25)) == math.inf
    assert energy_based_bound(perfect, np.full((2, 2), 0.25)) == -math.inf


# --- what the paper prints --------------------------------------------------------------------------------------------
@given(joints(), st.floats(-30, 30))
def test_equation_2_as_printed_equals_any_constant(joint: np.ndarray, t: float) -> None:
    product = product_of(joint)
    log_sigmoid, log_other = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    printed = (joint * log_sigmoid).sum() - (product * log_other).sum()
    assert printed == pytest.approx(t, abs=1e-9)
    if t > 2 * math.log(2):
        assert printed > f_divergence("js", joint, product)
    assert jensen_shannon_bound(np.full(joint.shape, t), np.full(joint.shape, t), joint, product) <= 1e-9


def test_printed_js_critic_leaves_the_domain_exactly_above_its_threshold() -> None:
    for ratio in (0.1, 0.58, 0.59, 1.0, 5.0):
        printed = 1 + optimal_critic("js", ratio)
        assert (conjugate("js", printed) == math.inf) == (ratio > 1 / (math.e - 1))


def test_printed_base_measure_gives_minus_the_information_for_reverse_kl() -> None:
    joint = np.array([[0.4, 0.1], [0.1, 0.4]])
    printed = (joint * generator("reverse_kl").term(joint / product_of(joint), 1.0)).sum()
    assert printed == pytest.approx(-mutual_information(joint))
    assert printed < 0 < f_divergence("reverse_kl", joint, product_of(joint))


def test_log_classes_minus_cross_entropy_is_false_for_unequal_labels() -> None:
    joint = np.outer([0.5, 0.5], [0.9, 0.1])
    assert math.log(2) - cross_entropy(np.log(joint), joint) > 0.3
    assert cross_entropy_bound(np.log(joint), joint) == pytest.approx(mutual_information(joint), abs=1e-12)


BASE = "definition of D_f in equation 1, "
WRONG = {
    BASE + "reverse_kl", BASE + "js", BASE + "chi2", BASE + "hellinger2", BASE + "tv",
    BASE + "kl, tightness at the optimal critic", "below equation 1, the optimal critic of JS", "equation 2",
    "equation 2, read with a plus sign and as tight", "appendix C, the objective",
    "equation 4, the optimal critic read as the only one", "equation 6, as the uniform-label form of equation 5",
    "section 2.2, the decision, read without the hypothesis on the labels",
    "section 4, strong consistency, read with unrestricted critics"}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement.replace(" ", "_"))
def test_claims(claim: Any) -> None:
    check = check_claim(claim, 200, seed=3)
    where = claim.statement.split(", ", 1)[1]
    assert check.proved_failures == 0
    assert claim.statement.startswith(claim.paper)
    assert check.verdict == ("wrong as printed" if where in WRONG else "holds as printed")


def test_every_wrong_statement_is_a_claim() -> None:
    assert {claim.statement.split(", ", 1)[1] for claim in CLAIMS} >= WRONG


# --- errors -----------------------------------------------------------------------------------------------------------
TABLE = np.full((2, 2), 0.25)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: f_divergence("jsd", [1.0], [1.0]), "name must be one of kl, .*, tv, got 'jsd'.*half of 'js'"),
    (lambda: f_divergence("kl", [0.5, 0.5], [1.0]), "p and q must be laws on the same outcomes"),
    (lambda: f_divergence("kl", [0.5, 0.6], [0.5, 0.5]), "p must sum to 1, got 1.1"),
    (lambda: f_divergence("kl", [0.5, 0.5], [1.5, -0.5]), "q must be non-negative, got -0.5"),
    (lambda: f_divergence("kl", [math.nan, 0.5], [0.5, 0.5]), "p must not contain NaN"),
    (lambda: f_divergence("kl", [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5]), "p must sum to 1, got 2 over the whole array"),
    (lambda: f_divergence("kl", TABLE, TABLE.ravel()), "axis=-1 if the rows are laws"),
    (lambda: conjugate("kl", math.nan), "t must not contain NaN"),
    (lambda: optimal_critic("kl", -0.1), "ratio must lie in .*exponentiate log-ratios"),
    (lambda: variational_bound("kl", [], [0.0]), "critic_p must hold at least one score"),
    (lambda: variational_bound("kl", [0.0], [math.nan]), "critic_q must not contain NaN"),
    (lambda: variational_bound("kl", [0.0, 1.0], [0.0], [0.2, 0.3, 0.5]), "weights_p must match critic_p"),
    (lambda: donsker_varadhan_bound([0.0, 1.0], [0.0, 1.0], None, [0.2, 0.3]), "weights_q must sum to 1, got 0.5"),
    (lambda: jensen_shannon_bound([0.0, 1.0], [0.0], [1.5, -0.5]), "weights_p must be non-negative"),
    (lambda: gibbs_law([math.inf, 0.0], [0.5, 0.5]), "a tilt needs finite scores"),
    (lambda: gibbs_law([0.0, 0.0], [0.5, 0.6]), "q must sum to 1"),
    (lambda: energy_based_bound(np.zeros((2, 3)), TABLE), "scores and joint must both have shape"),
    (lambda: energy_based_bound(np.zeros(4), TABLE.ravel()), "scores and joint must both have shape"),
    (lambda: cross_entropy(np.zeros((2, 2)), 2 * TABLE), "joint must sum to 1, got 2"),
    (lambda: cross_entropy_bound(np.full((2, 2), math.nan), TABLE), "scores must not contain NaN"),
    (lambda: information_bounds(np.zeros((2, 2)), [[0.5, 0.5]]), "evaluate the critic on every pair"),
    (lambda: bayes_decision(np.zeros((2, 3)), [0.5, 0.5]), "label_law must hold one probability per label"),
])
def test_errors_say_what_was_expected(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="critic_p must be real numbers"):
        variational_bound("kl", ["a"], [0.0])


# ---------------------------------------------------------------- axes and extreme numbers
@given(st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_laws_along_an_axis_meet_the_laws_of_the_other_argument(axis: int, seed: int) -> None:
    """One law against a square batch: the axis of each argument is its own, not that of the broadcast array."""
    rng = np.random.default_rng(seed)
    p, batch = rng.dirichlet(np.ones(3)), np.moveaxis(rng.dirichlet(np.ones(3), size=3), -1, axis)
    for name in NAMES:
        expected = [f_divergence(name, p, row) for row in np.moveaxis(batch, axis, -1)]
        assert np.allclose(f_divergence(name, p, batch, axis=0 if axis == 0 else -1), expected, atol=1e-12)


def test_chi2_of_tiny_masses_does_not_underflow() -> None:
    assert f_divergence("chi2", [1e-300, 1.0], [1e-310, 1.0]) == pytest.approx(1e-290, rel=1e-9)


@pytest.mark.parametrize("function", [nwj_bound, donsker_varadhan_bound, jensen_shannon_bound])
def test_bad_axes_are_refused(function: Any) -> None:
    for axis in (3, -3):
        with pytest.raises(ValueError, match="axis must be one of the axes of"):
            function(np.zeros((2, 2)), np.zeros((2, 2)), axis=axis)
    for axis in ("x", (0, 1), True):
        with pytest.raises(TypeError, match="axis must be one integer or None"):
            function(np.zeros((2, 2)), np.zeros((2, 2)), axis=axis)
    with pytest.raises(ValueError, match="agree in the axes that are not averaged"):
        function(np.zeros((3, 2)), np.zeros((4, 5)), axis=0)


def test_other_shapes_that_do_not_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="axis must be one of the axes of p"):
        f_divergence("kl", [0.5, 0.5], [0.5, 0.5], axis=1)
    with pytest.raises(ValueError, match="laws on the same outcomes"):
        f_divergence("kl", np.full((2, 2), 0.5), np.full((3, 2), 0.5), axis=-1)
    with pytest.raises(ValueError, match="one score for each mass"):
        gibbs_law(np.zeros((4, 2)), [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="loop over the batch"):
        information_bounds(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.25))
    with pytest.raises(ValueError, match="logit_q"):
        jensen_shannon_bound([0.0], [])


def test_huge_scores_neither_warn_nor_fool() -> None:
    joint, huge = np.array([[0.4, 0.1], [0.1, 0.4]]), np.array([[1e308, -1e308], [0.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gibbs_law(huge[0], [0.5, 0.5]).tolist() == [1.0, 0.0]
        assert energy_based_bound(huge, joint) < 0 and donsker_varadhan_bound(huge, huge, joint, joint) < 0
        assert cross_entropy(huge, joint) > 1e300
        assert bayes_decision([math.inf, 0.0], [0.0, 1.0]) == 1
