"""Transport on finite spaces: golden values, the theorems as properties, and the error messages."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from robinfo.theory import transport
from robinfo.theory.claims import check_claim
from robinfo.theory.information import binary_entropy, entropy
from robinfo.theory.transport import (
    CLAIMS,
    adversarial_risk,
    distributional_risk,
    minimal_information,
    minimal_information_wasserstein,
    reach_from_masks,
    reachable_labels,
    representation_vulnerability,
    wasserstein,
    wasserstein_inf,
    worst_case_error,
)

TOLERANCE = 1e-9
LINE = abs(np.arange(4.0)[:, None] - np.arange(4.0))
UNIFORM = np.full(4, 0.25)


# ---------------------------------------------------------------- golden values
@pytest.mark.parametrize("case", golden_cases("finite_winf"))
def test_golden_five_points(case: dict[str, Any]) -> None:
    inputs, outputs = case["inputs"], {k: v["value"] if isinstance(v, dict) else v for k, v in case["outputs"].items()}
    points, joint, f, eps = (np.array(inputs[k]) for k in ("points", "mu_xy", "f", "eps"))
    cost, p, tolerance = abs(points[:, None] - points), joint.sum(axis=1), case["tolerance"]
    reach = reachable_labels(f, cost, eps)
    assert (reach @ [1, 2]).tolist() == outputs["reach_masks"]
    assert (reach_from_masks(outputs["reach_masks"], 2) == reach).all()
    for computed, name in [
        (adversarial_risk(joint, f, cost, eps), "adv_risk"),
        (worst_case_error(joint, f, cost, eps), "adv_risk"),
        (adversarial_risk(joint, f, cost, 0.0), "risk"),
        (worst_case_error(joint, f, cost, eps, label_agnostic=True), "adv_risk_label_agnostic"),
        (minimal_information(p, reach), "Imin_g_eq_f"),
        (representation_vulnerability(p, f, cost, eps), "RV"),
        (
            min(adversarial_risk(joint, np.array(h)[f], cost, eps) for h in itertools.product([0, 1], repeat=2)),
            "inf_h_adv_risk",
        ),
    ]:
        assert computed == pytest.approx(outputs[name], abs=tolerance), name


# ---------------------------------------------------------------- random spaces
@st.composite
def laws(draw: st.DrawFn, size: int) -> np.ndarray:
    """A law with some zero masses and some tiny ones."""
    weights = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, 7, 100]), min_size=size, max_size=size)), float)
    assume(weights.sum() > 0)
    return weights / weights.sum()


@st.composite
def spaces(draw: st.DrawFn, max_points: int = 5, max_labels: int = 3) -> dict[str, Any]:
    """Points of a grid (possibly coinciding), a joint law, labels, a radius that often equals a distance."""
    n, num_labels = draw(st.integers(1, max_points)), draw(st.integers(2, max_labels))
    spots = np.array(draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=n, max_size=n)), float)
    cost = abs(spots[:, None] - spots).max(axis=-1)
    joint = draw(laws(n * num_labels)).reshape(n, num_labels)
    labels = np.array(draw(st.lists(st.integers(0, num_labels - 1), min_size=n, max_size=n)))
    return {
        "joint": joint,
        "labels": labels,
        "cost": cost,
        "p": joint.sum(axis=1),
        "num_labels": num_labels,
        "eps": draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0])),
    }


# ---------------------------------------------------------------- adversarial risk
@given(spaces())
def test_transport_and_balls_agree(space: dict[str, Any]) -> None:
    arguments = space["joint"], space["labels"], space["cost"], space["eps"]
    risk = adversarial_risk(*arguments)
    loop = sum(
        space["joint"][x, y]
        for x, y in np.ndindex(space["joint"].shape)
        if any(space["labels"][x_adv] != y for x_adv in np.flatnonzero(space["cost"][x] <= space["eps"]))
    )
    assert risk == pytest.approx(loop, abs=1e-12)
    assert worst_case_error(*arguments) == pytest.approx(risk, abs=TOLERANCE)


@given(spaces())
def test_label_agnostic_value_is_the_best_single_move_and_at_most_the_risk(space: dict[str, Any]) -> None:
    arguments = space["joint"], space["labels"], space["cost"], space["eps"]
    blind = worst_case_error(*arguments, label_agnostic=True)
    wrong = space["p"][:, None] - space["joint"][:, space["labels"]]  # mass fooled by sending x to x'
    assert blind == pytest.approx(np.where(space["cost"] <= space["eps"], wrong, 0).max(axis=1).sum(), abs=TOLERANCE)
    assert blind <= adversarial_risk(*arguments) + TOLERANCE


@given(spaces())
def test_label_agnostic_equality_condition(space: dict[str, Any]) -> None:
    """Equal exactly when each point with two labels in reach reaches one of conditional probability zero."""
    arguments = space["joint"], space["labels"], space["cost"], space["eps"]
    reach = reachable_labels(space["labels"], space["cost"], space["eps"], num_labels=space["num_labels"])
    smallest = np.where(reach, space["joint"], np.inf).min(axis=1)
    expected = ((reach.sum(axis=1) < 2) | (smallest == 0)).all()
    difference = adversarial_risk(*arguments) - worst_case_error(*arguments, label_agnostic=True)
    assert (difference < 1e-7) == expected  # masses are at least 1 / 1500


@given(spaces())
def test_two_outputs_two_heads(space: dict[str, Any]) -> None:
    """AdvRisk(f) + AdvRisk(1 - f) = mu(0 in S) + mu(1 in S), whatever the labels are."""
    joint = np.stack([space["joint"][:, 0], space["joint"][:, 1:].sum(axis=1)], axis=1)
    f = space["labels"] % 2
    reach = reachable_labels(f, space["cost"], space["eps"], num_labels=2)
    risks = [adversarial_risk(joint, h, space["cost"], space["eps"]) for h in (f, 1 - f)]
    assert sum(risks) == pytest.approx((space["p"] @ reach).sum(), abs=1e-12)


def test_printed_lemma_is_underspecified() -> None:
    """A point mass, a fair label: the adversary who sees the label wins always, the blind one half of the time."""
    joint, cost = [[0.5, 0.5], [0.0, 0.0]], np.array([[0.0, 1.0], [1.0, 0.0]])
    assert adversarial_risk(joint, [0, 1], cost, 1.0) == 1.0
    assert worst_case_error(joint, [0, 1], cost, 1.0) == pytest.approx(1.0, abs=TOLERANCE)
    assert worst_case_error(joint, [0, 1], cost, 1.0, label_agnostic=True) == pytest.approx(0.5, abs=TOLERANCE)


def test_balls_are_closed() -> None:
    joint = [[1.0, 0.0], [0.0, 0.0]]
    cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert adversarial_risk(joint, [0, 1], cost, 1.0) == 1.0
    assert adversarial_risk(joint, [0, 1], cost, np.nextafter(1.0, 0.0)) == 0.0


# ---------------------------------------------------------------- distances
def quantile_distance(x: np.ndarray, p: np.ndarray, q: np.ndarray, order: float) -> float:
    """W_p on the line from the quantile coupling, without a solver."""
    levels = np.unique(np.concatenate([[0.0], np.cumsum(p), np.cumsum(q)]).clip(0, 1))
    middle, width = (levels[1:] + levels[:-1]) / 2, np.diff(levels)
    quantiles = [x[np.searchsorted(np.cumsum(law), middle).clip(max=len(x) - 1)] for law in (p, q)]
    gaps = abs(quantiles[0] - quantiles[1])[width > 1e-12]
    if math.isinf(order) or gaps.max() == 0:
        return float(gaps.max())
    return float(gaps.max() * (width[width > 1e-12] @ (gaps / gaps.max()) ** order) ** (1 / order))


@given(
    laws(5),
    laws(5),
    st.lists(st.integers(0, 20), min_size=5, max_size=5),
    st.sampled_from([1, 1.5, 2, 8, 64, math.inf]),
)
def test_distances_on_the_line_follow_quantiles(p: np.ndarray, q: np.ndarray, x: list[int], order: float) -> None:
    line = np.sort(np.array(x, float))
    computed = wasserstein(p, q, abs(line[:, None] - line), order)
    assert computed == pytest.approx(quantile_distance(line, p, q, order), abs=1e-8)


@given(spaces(max_points=4), st.data(), st.sampled_from([(1, 2), (2, 6), (6, 300), (1.5, math.inf)]))
def test_distances_grow_with_the_order_up_to_the_bottleneck(
    space: dict[str, Any], data: st.DataObject, orders: tuple[float, float]
) -> None:
    p, q, cost = space["p"], data.draw(laws(len(space["p"]))), space["cost"]
    low, high = (wasserstein(p, q, cost, order) for order in orders)
    assert low <= high + TOLERANCE


@given(spaces(max_points=4), st.data())
def test_distances_of_high_order_are_the_bottleneck(space: dict[str, Any], data: st.DataObject) -> None:
    p, q, cost = space["p"], data.draw(laws(len(space["p"]))), space["cost"]
    bottleneck = wasserstein_inf(p, q, cost)
    unavoidable = transport._cheapest_plan(p, q, (cost >= bottleneck).astype(float)) if bottleneck else 1.0
    assert unavoidable > 1e-7
    assert bottleneck * unavoidable ** (1 / 300) - TOLERANCE <= wasserstein(p, q, cost, 300) <= bottleneck + TOLERANCE


@given(spaces(), st.data())
def test_bottleneck_is_the_smallest_feasible_cost(space: dict[str, Any], data: st.DataObject) -> None:
    """Strassen: moves of cost <= c suffice iff q gives the c-neighbourhood of each set at least its p-mass."""
    p, q, cost = space["p"], data.draw(laws(len(space["p"]))), space["cost"]

    def feasible(c: float) -> bool:
        sets = [np.array(s) for s in itertools.product([False, True], repeat=len(p))]
        return all(p[s].sum() <= q[(cost[s] <= c).any(axis=0)].sum() + TOLERANCE for s in sets)

    bottleneck = wasserstein_inf(p, q, cost)
    assert bottleneck in cost
    assert bottleneck == min(c for c in np.unique(cost) if feasible(c))


@given(spaces(), st.data())
def test_every_transport_stays_in_the_ball_and_keeps_the_minimal_information(
    space: dict[str, Any], data: st.DataObject
) -> None:
    """(C), and theorem (A): randomised moves within eps have W_inf <= eps and at least I_min."""
    p, cost, eps, n = space["p"], space["cost"], space["eps"], len(space["p"])
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n * n, max_size=n * n)), float).reshape(n, n)
    kernel = np.where(cost <= eps, weights, 0.0) + 1e-3 * np.eye(n)
    moved = p @ (kernel / kernel.sum(axis=1, keepdims=True))
    assert wasserstein_inf(p, moved, cost) <= eps
    information = entropy(np.bincount(space["labels"], weights=moved))
    assert minimal_information(p, reachable_labels(space["labels"], cost, eps)) <= information + TOLERANCE


def test_an_atom_is_split() -> None:
    line = LINE[:3, :3]
    assert wasserstein_inf([0, 1, 0], [0.5, 0, 0.5], line) == 1.0
    assert wasserstein([0, 1, 0], [0.5, 0, 0.5], line, 7) == pytest.approx(1.0, abs=TOLERANCE)


def test_high_order_neither_underflows_nor_overflows() -> None:
    cost = np.array([[0.0, 1e-3, 1e3], [1e-3, 0.0, 1e3], [1e3, 1e3, 0.0]])
    assert wasserstein([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], cost, 2000) == pytest.approx(
        1e-3 * 0.25 ** (1 / 2000), rel=1e-9
    )


# ---------------------------------------------------------------- distributional shift
ORDERS = st.sampled_from([1.0, 1.5, 2.0, 4.0, math.inf])


def shift_programme(space: dict[str, Any], order: float) -> float:
    """R_p as a linear programme over plans (x, y, x') with a budget, for eps > 0."""
    n, labels = space["joint"].shape
    x, y, x_adv = np.indices((n, labels, n)).reshape(3, -1)
    rows = np.eye(n * labels)[:, x * labels + y]
    price = (space["cost"][x, x_adv] / space["eps"]) ** order
    wrong = (space["labels"][x_adv] != y).astype(float)
    result = linprog(-wrong, A_ub=price[None], b_ub=[1.0], A_eq=rows, b_eq=space["joint"].ravel())
    assert result.status == 0
    return float(-result.fun)


@given(spaces(max_points=4), st.sampled_from([1.0, 1.5, 2.0, 4.0]))
def test_shift_knapsack_equals_the_linear_programme(space: dict[str, Any], order: float) -> None:
    space["eps"] = max(space["eps"] / 3, 0.1)
    arguments = space["joint"], space["labels"], space["cost"], space["eps"]
    assert distributional_risk(*arguments, order) == pytest.approx(shift_programme(space, order), abs=1e-7)


@given(spaces(), st.sampled_from([1.0, 0.3, 0.01]), st.sampled_from([(1, 2), (2, 5), (5, 400), (400, math.inf)]))
def test_shift_falls_with_the_order_to_the_adversarial_risk(
    space: dict[str, Any], shrink: float, orders: tuple[float, float]
) -> None:
    joint, labels, cost, eps = space["joint"], space["labels"], space["cost"], space["eps"] * shrink
    high, low = (distributional_risk(joint, labels, cost, eps, order) for order in orders)
    assert adversarial_risk(joint, labels, cost, eps) - 1e-12 <= low <= high + 1e-12
    c = eps * 1.5 + 1e-3
    assert high <= adversarial_risk(joint, labels, cost, c) + (eps / c) ** orders[0] + 1e-12


@given(spaces(), ORDERS)
def test_shift_without_and_with_unlimited_budget(space: dict[str, Any], order: float) -> None:
    arguments = space["joint"], space["labels"], space["cost"]
    for eps in (0.0, math.inf):
        computed = distributional_risk(*arguments, eps, order)
        assert computed == pytest.approx(adversarial_risk(*arguments, eps), abs=1e-12)


@given(spaces(), ORDERS)
def test_shift_grows_with_the_radius(space: dict[str, Any], order: float) -> None:
    values = [
        distributional_risk(space["joint"], space["labels"], space["cost"], eps, order)
        for eps in (0.0, 1e-300, 1e-6, 0.2, 1.0, 3.0)
    ]
    assert all(0 <= low <= high + 1e-12 and high <= 1 for low, high in itertools.pairwise(values))


@given(spaces(), st.data(), ORDERS)
def test_no_transport_within_the_budget_does_better(space: dict[str, Any], data: st.DataObject, order: float) -> None:
    """A randomised transport, scaled down to the budget, neither exceeds R_p nor keeps less than I_min^(p) for two outputs."""
    p, cost, n, labels = space["p"], space["cost"], len(space["p"]), space["labels"] % 2
    joint = np.stack([space["joint"][:, 0], space["joint"][:, 1:].sum(axis=1)], axis=1)
    eps = space["eps"] / 2
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n * n, max_size=n * n)), float).reshape(n, n)
    if math.isinf(order):
        weights = np.where(cost <= eps, weights, 0.0)
    kernel = weights + 1e-3 * np.eye(n)
    kernel /= kernel.sum(axis=1, keepdims=True)
    spent = 0.0 if math.isinf(order) else float(p @ (kernel * cost**order).sum(axis=1))
    share = 1.0 if spent <= eps**order else eps**order / spent
    kernel = share * kernel + (1 - share) * np.eye(n)
    error = sum(joint[x, y] * kernel[x] @ (labels != y) for x, y in np.ndindex(joint.shape))
    assert error <= distributional_risk(joint, labels, cost, eps, order) + 1e-12
    kept = entropy(np.bincount(labels, weights=p @ kernel, minlength=2))
    assert minimal_information_wasserstein(p, labels, cost, eps, order) <= kept + 1e-9


def test_two_points_under_a_shift_in_closed_form() -> None:
    d, m, rho = 0.7, 0.3, 0.2
    cost = np.array([[0.0, d], [d, 0.0]])
    joint = np.array([[(1 - m) * (1 - rho), (1 - m) * rho], [m * rho, m * (1 - rho)]])
    for order, eps in itertools.product((1, 2, 3.5), (0.0, 0.05, 0.3, 0.6)):
        moved = (eps / d) ** order
        assert distributional_risk(joint, [0, 1], cost, eps, order) == pytest.approx(min(1, rho + moved), abs=1e-12)
        assert minimal_information_wasserstein([1 - m, m], [0, 1], cost, eps, order) == pytest.approx(
            min(binary_entropy(max(m - moved, 0)), binary_entropy(min(m + moved, 1))), abs=1e-12
        )


def test_maps_do_not_suffice_when_the_budget_is_shared() -> None:
    """Two atoms, W_1 <= 1/4: half of an atom is moved; the only map within the budget is the identity."""
    cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    randomised = minimal_information_wasserstein([0.5, 0.5], [0, 1], cost, 0.25)
    maps = [to for to in itertools.product([0, 1], repeat=2) if 0.5 * (cost[0, to[0]] + cost[1, to[1]]) <= 0.25]
    assert maps == [(0, 1)]
    assert randomised == binary_entropy(0.25) < math.log(2)


def cut_one_point(p: np.ndarray, price: np.ndarray) -> float:
    """Least entropy over the vertices of the polytope of kernels: whole assignments, and one point cut on the budget."""
    n, labels = price.shape
    least = math.inf
    for to in itertools.product(range(labels), repeat=n):
        law, spent = np.bincount(to, weights=p, minlength=labels), p @ price[np.arange(n), to]
        least = min(least, entropy(law)) if spent <= 1 + 1e-12 else least
        for x, z in np.ndindex(n, labels):
            change = p[x] * (price[x, z] - price[x, to[x]])
            if change and 0 <= (1 - spent) / change <= 1:
                cut = law + (1 - spent) / change * p[x] * (np.eye(labels)[z] - np.eye(labels)[to[x]])
                least = min(least, entropy(np.clip(cut, 0, 1)))
    return least


@pytest.mark.parametrize("seed", range(12))
def test_vertices_of_the_polytope_equal_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, labels_count, order = 4, 3 + seed % 2, [1.0, 2.0, 3.0][seed % 3]
    where = rng.random((n, 2))
    cost, p = np.linalg.norm(where[:, None] - where, axis=-1), rng.dirichlet(np.ones(n))
    labels = np.append(np.arange(labels_count), rng.integers(0, labels_count, n - labels_count))
    eps = [0.05, 0.2, 0.4][seed // 4]
    to_label = np.stack([cost[:, labels == z].min(axis=1) for z in range(labels_count)], axis=1)
    computed = minimal_information_wasserstein(p, labels, cost, eps, order)
    assert computed == pytest.approx(cut_one_point(p, (to_label / eps) ** order), abs=1e-6)
    assert computed <= minimal_information(p, reachable_labels(labels, cost, eps)) + 1e-9
    high = minimal_information_wasserstein(p, labels, cost, eps, 5000)
    assert high == pytest.approx(minimal_information(p, reachable_labels(labels, cost, eps)), abs=1e-6)


def test_flat_and_degenerate_polytopes() -> None:
    """Two far pairs of labels (a polytope of two dimensions in three), no mass on a label, one label, coinciding points."""
    where = np.array([0.0, 1.0, 1e6, 1e6 + 1])
    cost = abs(where[:, None] - where)
    quarter = minimal_information_wasserstein(UNIFORM, [0, 1, 2, 3], cost, 0.25, 2)
    assert 0 < quarter < math.log(4)
    assert minimal_information_wasserstein([0.5, 0.5, 0, 0], [0, 1, 2, 3], cost, 0.0) == pytest.approx(math.log(2))
    assert minimal_information_wasserstein([1, 0, 0, 0], [0, 1, 2, 3], cost, 0.5) == pytest.approx(0.0, abs=1e-9)
    assert minimal_information_wasserstein(UNIFORM, [3, 3, 3, 3], cost, 0.5) == 0.0
    assert minimal_information_wasserstein(UNIFORM, [0, 1, 2, 0], np.zeros((4, 4)), 0.5) == pytest.approx(0.0, abs=1e-9)


# ---------------------------------------------------------------- the claims
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement)
def test_claims(claim: Any) -> None:
    check = check_claim(claim, instances=120, seed=11)
    wrong = any(word in claim.statement for word in ("Lemma 3.3", "alternative definition"))
    assert check.verdict.startswith("wrong" if wrong else "holds"), check
    assert claim.asserted


def test_claims_cover_the_three_readings_of_the_lemma() -> None:
    assert sum("Lemma 3.3, read with" in claim.statement for claim in CLAIMS) == 3
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS)


@given(spaces())
def test_readings_in_closed_form_equal_linear_programmes(space: dict[str, Any]) -> None:
    """Free coupling: maximise over the label laws of the ball and over couplings with the law of Y at once."""
    reach = reachable_labels(space["labels"], space["cost"], space["eps"], num_labels=space["num_labels"])
    case = {"p": space["p"], "joint": space["joint"], "reach": reach}
    n, labels = reach.shape
    x, z, y = np.indices((n, labels, labels)).reshape(3, -1)
    keep = reach[x, z]
    x, z, y = x[keep], z[keep], y[keep]
    sums = np.vstack([np.eye(n)[:, x], np.eye(labels)[:, y]])
    result = linprog(-(z != y).astype(float), A_eq=sums, b_eq=np.concatenate([space["p"], space["joint"].sum(axis=0)]))
    assert transport._free_reading(case) == pytest.approx(-result.fun, abs=1e-8)
    independent = max(
        (space["p"] @ np.array([1 - space["joint"][:, z].sum() for z in pick]))
        for pick in itertools.product(*(np.flatnonzero(row) for row in reach))
    )
    assert transport._independent_reading(case) == pytest.approx(independent, abs=1e-12)
    arguments = space["joint"], space["labels"], space["cost"], space["eps"]
    assert transport._markov_reading(case) == pytest.approx(worst_case_error(*arguments, label_agnostic=True), abs=1e-8)


# ---------------------------------------------------------------- bad input
JOINT = np.full((4, 2), 0.125)
GOOD_MAP = [0, 0, 1, 1]
BAD = [
    pytest.param(
        lambda: wasserstein([0.5, 0.6, 0, 0], UNIFORM, LINE), ValueError, "p must sum to 1, got 1.1", id="sum"
    ),
    pytest.param(
        lambda: wasserstein([0.5, math.nan, 0.5, 0], UNIFORM, LINE), ValueError, "p must not contain NaN", id="nan"
    ),
    pytest.param(lambda: wasserstein([1.5, -0.5, 0, 0], UNIFORM, LINE), ValueError, "non-negative", id="negative"),
    pytest.param(
        lambda: wasserstein(JOINT, UNIFORM, LINE),
        ValueError,
        r"p must be one law, shape \[n\], got shape \(4, 2\)",
        id="joint",
    ),
    pytest.param(lambda: wasserstein(UNIFORM, [0.5, 0.5], LINE), ValueError, "same points, got 4 and 2", id="lengths"),
    pytest.param(
        lambda: wasserstein(UNIFORM, UNIFORM, LINE, 0.5), ValueError, "order must be at least 1, got 0.5", id="order"
    ),
    pytest.param(
        lambda: wasserstein(UNIFORM, UNIFORM, LINE, math.nan),
        ValueError,
        "order must be at least 1, got nan",
        id="nan order",
    ),
    pytest.param(
        lambda: wasserstein_inf(UNIFORM, UNIFORM, LINE[:, :3]), ValueError, r"shape \(4, 4\).*got \(4, 3\)", id="square"
    ),
    pytest.param(
        lambda: wasserstein_inf(UNIFORM, UNIFORM, -LINE), ValueError, "cost must be finite and non-negative", id="minus"
    ),
    pytest.param(
        lambda: wasserstein_inf(UNIFORM, UNIFORM, LINE * math.nan), ValueError, "cost must be finite", id="nan cost"
    ),
    pytest.param(
        lambda: wasserstein_inf(UNIFORM, UNIFORM, LINE + 1), ValueError, "0 on the diagonal.*got 1", id="diagonal"
    ),
    pytest.param(
        lambda: wasserstein_inf(UNIFORM, UNIFORM, np.triu(LINE)),
        ValueError,
        "cost must be symmetric.*np.maximum",
        id="symmetry",
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, GOOD_MAP, LINE, -0.1),
        ValueError,
        "eps must be a radius >= 0, got -0.1",
        id="eps",
    ),
    pytest.param(
        lambda: worst_case_error(JOINT, GOOD_MAP, LINE, math.nan), ValueError, "eps must be .* got nan", id="nan eps"
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, GOOD_MAP, LINE, None), TypeError, "eps must be one number, got None", id="no eps"
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT[:, :1] * 2, [0] * 4, LINE, 1),
        ValueError,
        r"K >= 2 labels, got \(4, 1\)",
        id="one label",
    ),
    pytest.param(
        lambda: adversarial_risk(UNIFORM, GOOD_MAP, LINE, 1),
        ValueError,
        r"joint_xy must have shape \[n, K\]",
        id="no labels",
    ),
    pytest.param(
        lambda: worst_case_error(JOINT * 2, GOOD_MAP, LINE, 1),
        ValueError,
        "joint_xy must sum to 1, got 2",
        id="joint sum",
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, [0, 0, 1, 2], LINE, 1),
        ValueError,
        "predictions must lie in 0, ..., 1, got 0 to 2",
        id="range",
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, [0, 0, -1, 1], LINE, 1), ValueError, "got -1 to 1", id="negative label"
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, [0, 1], LINE, 1), ValueError, "got 2 for 4 rows", id="too few predictions"
    ),
    pytest.param(
        lambda: adversarial_risk(JOINT, [0.0, 0, 1, 1], LINE, 1),
        TypeError,
        "integer labels, got dtype float64",
        id="float labels",
    ),
    pytest.param(
        lambda: distributional_risk(JOINT, GOOD_MAP, LINE, 1, 0.5), ValueError, "order must be at least 1, got 0.5", id="shift order"
    ),
    pytest.param(
        lambda: distributional_risk(JOINT, GOOD_MAP, LINE, -1), ValueError, "eps must be a radius >= 0, got -1", id="shift eps"
    ),
    pytest.param(
        lambda: distributional_risk(JOINT * 2, GOOD_MAP, LINE, 1), ValueError, "joint_xy must sum to 1", id="shift sum"
    ),
    pytest.param(
        lambda: distributional_risk(JOINT, GOOD_MAP, LINE[:, :3], 1), ValueError, r"got \(4, 3\)", id="shift cost"
    ),
    pytest.param(
        lambda: minimal_information_wasserstein(UNIFORM, GOOD_MAP, LINE, 1, math.nan),
        ValueError,
        "order must be at least 1, got nan",
        id="ball order",
    ),
    pytest.param(
        lambda: minimal_information_wasserstein(
            np.full(6, 1 / 6), range(6), abs(np.arange(6.0)[:, None] - np.arange(6.0)), 1
        ),
        ValueError,
        "at most 5 different labels.*got 6; merge labels",
        id="ball labels",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input_is_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
