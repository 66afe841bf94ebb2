"""The supervised worst case: golden values, theorems D and E as properties, closed forms, error messages."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from conftest import golden_cases
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from robinfo.theory import robust_risk
from robinfo.theory.claims import check_claim
from robinfo.theory.fano import fano_function, worst_case_information_lower_bound
from robinfo.theory.information import entropy, mutual_information
from robinfo.theory.robust_risk import (
    CLAIMS,
    adversarial_cross_entropy,
    adversarial_head_risk,
    best_adversarial_risk,
    joint_under_attack,
    minimal_label_information,
    randomised_adversarial_risk,
    risk_bound_chain,
)
from robinfo.theory.transport import adversarial_risk, minimal_information, reach_from_masks, reachable_labels

TRIANGLE = reach_from_masks([0b101, 0b011, 0b110], 3)
Problem = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Nothing in this module may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---------------------------------------------------------------- golden values
@pytest.mark.parametrize("case", golden_cases("finite_supervised"))
def test_golden_supervised(case: dict[str, Any]) -> None:
    joint = np.array(case["inputs"]["mu_xy"])
    reach = reach_from_masks(case["inputs"]["reach_masks"], case["inputs"]["K"])
    chain = risk_bound_chain(joint, reach)
    worst, labels = chain.label_information, joint.shape[1]
    for computed, name in [
        (chain.deterministic.value, "inf_h_adv_risk"),
        (chain.randomised.value, "lp_game"),
        (chain.randomised.lower, "lp_game"),
        (worst.upper, "sup_worst_MI"),
        (worst.lower, "sup_worst_MI"),
        (worst.cross_entropy, "robust_CE"),
        (adversarial_cross_entropy(joint, reach, worst.head), "robust_CE"),
        (chain.information, "Imin_unsup"),
        (chain.fano_label, "fano_full_from_sup"),
        (chain.rate_label, "fano_full_from_sup"),
        (max(0.0, 1 - (worst.value + math.log(2)) / math.log(labels)), "fano_weak_from_sup"),
    ]:
        assert computed == pytest.approx(case["outputs"][name]["value"], abs=case["tolerance"]), name


@pytest.mark.parametrize("case", golden_cases("finite_winf"))
def test_golden_five_points(case: dict[str, Any]) -> None:
    points, joint, f, eps = (np.array(case["inputs"][k]) for k in ("points", "mu_xy", "f", "eps"))
    reach = reachable_labels(f, abs(points[:, None] - points), eps)
    for computed, name in [
        (best_adversarial_risk(joint, reach).value, "inf_h_adv_risk"),
        (best_adversarial_risk(joint, reach).lower, "inf_h_adv_risk"),
        (randomised_adversarial_risk(joint, reach).value, "lp_game"),
        (randomised_adversarial_risk(joint, reach).lower, "lp_game"),
    ]:
        assert computed == pytest.approx(case["outputs"][name]["value"], abs=case["tolerance"]), name


# ---------------------------------------------------------------- random problems
@st.composite
def problems(draw: st.DrawFn, max_labels: int = 4, max_outputs: int = 4) -> Problem:
    """Few inputs with equal, absent and very unequal masses; reach sets of every size."""
    n, m, k = draw(st.integers(1, 6)), draw(st.integers(2, max_labels)), draw(st.integers(1, max_outputs))
    weights = draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 30]), min_size=n * m, max_size=n * m))
    assume(sum(weights) > 0)
    masks = draw(st.lists(st.integers(1, 2**k - 1), min_size=n, max_size=n))
    joint = np.array(weights, float).reshape(n, m)
    return joint / joint.sum(), reach_from_masks(masks, k)


def random_problem(seed: int, n: int, m: int, k: int, share: float = 0.35) -> Problem:
    """A problem of a given size."""
    rng = np.random.default_rng(seed)
    joint, reach = rng.dirichlet(np.full(n * m, 0.3)).reshape(n, m), rng.random((n, k)) < share
    reach[np.arange(n), rng.integers(0, k, n)] = True
    return joint, reach


def random_pair(problem: Problem, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Any head and any attack."""
    (joint, reach), rng = problem, np.random.default_rng(seed)
    weights = np.where(reach[:, None, :], rng.random((*joint.shape, reach.shape[1])) ** 4 + 1e-12, 0.0)
    head = rng.dirichlet(np.full(joint.shape[1], 0.4), size=reach.shape[1])
    return head, weights / weights.sum(axis=2, keepdims=True)


def all_answers(problem: Problem) -> Iterator[np.ndarray]:
    """Every deterministic head."""
    labels, outputs = problem[0].shape[1], problem[1].shape[1]
    return (np.eye(labels)[list(answers)] for answers in itertools.product(range(labels), repeat=outputs))


# ---------------------------------------------------------------- definitions
@given(problems(), st.integers(0, 99))
def test_losses_by_their_definition(problem: Problem, seed: int) -> None:
    (joint, reach), (head, _) = problem, random_pair(problem, seed)
    risk = sum(p * max(1 - head[z, y] for z in np.flatnonzero(reach[x])) for (x, y), p in np.ndenumerate(joint))
    positive = [(x, y, p) for (x, y), p in np.ndenumerate(joint) if p]
    loss = sum(p * max(-math.log(head[z, y]) for z in np.flatnonzero(reach[x])) for x, y, p in positive)
    assert adversarial_head_risk(joint, reach, head) == pytest.approx(risk, abs=1e-12)
    assert adversarial_cross_entropy(joint, reach, head) == pytest.approx(loss, abs=1e-12, rel=1e-12)
    assert risk <= -math.expm1(-loss) + 1e-12  # step 4 of the chain


@given(problems(), st.integers(0, 99))
def test_joint_under_attack(problem: Problem, seed: int) -> None:
    (joint, reach), (_, attack) = problem, random_pair(problem, seed)
    law = joint_under_attack(joint, reach, attack)
    assert law.sum(axis=1) == pytest.approx(joint.sum(axis=0), abs=1e-14)
    expected = sum(joint[x, y] * attack[x, y, 0] for x, y in np.ndindex(*joint.shape))
    assert law[:, 0].sum() == pytest.approx(expected, abs=1e-14)


@given(st.integers(0, 999), st.sampled_from([0.0, 1.0, 2.0]))
def test_a_deterministic_head_is_a_classifier_on_the_space(seed: int, eps: float) -> None:
    rng = np.random.default_rng(seed)
    points, g, answers = rng.integers(0, 5, 6).astype(float), rng.integers(0, 3, 6), rng.integers(0, 3, 3)
    cost, joint = abs(points[:, None] - points), rng.dirichlet(np.ones(18)).reshape(6, 3)
    on_outputs = adversarial_head_risk(joint, reachable_labels(g, cost, eps, num_labels=3), np.eye(3)[answers])
    assert on_outputs == pytest.approx(adversarial_risk(joint, answers[g], cost, eps), abs=1e-12)


def test_excluding_a_reachable_label_costs_infinity_only_if_it_has_mass() -> None:
    reach = np.ones((2, 1), dtype=bool)
    assert adversarial_cross_entropy([[0.5, 0.0], [0.5, 0.0]], reach, [[1.0, 0.0]]) == 0.0
    assert adversarial_cross_entropy([[0.5, 0.0], [0.4, 0.1]], reach, [[1.0, 0.0]]) == math.inf


# ---------------------------------------------------------------- DET
@given(problems(max_labels=3, max_outputs=3))
def test_partition_equals_enumeration(problem: Problem) -> None:
    best = best_adversarial_risk(*problem)
    assert best.value == pytest.approx(min(adversarial_head_risk(*problem, h) for h in all_answers(problem)), abs=1e-12)
    assert best.gap <= 1e-12 and best.coupling is None
    assert adversarial_head_risk(*problem, best.head) == pytest.approx(best.value, abs=1e-12)
    assert (np.isin(best.head, [0, 1]).all(axis=1) | ~problem[1][problem[0].any(axis=1)].any(axis=0)).all()


@pytest.mark.parametrize("seed", range(12))
def test_integer_programme_equals_partition(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(seed, 15, 2 + seed % 4, 5)
    expected = best_adversarial_risk(*problem).value
    monkeypatch.setattr(robust_risk, "_LARGEST_RECURSION", 0)
    best = best_adversarial_risk(*problem)
    assert best.value == pytest.approx(expected, abs=2e-6) and best.lower <= expected + 1e-9 and best.gap <= 2e-6


def test_twenty_outputs() -> None:
    problem = random_problem(0, 60, 3, 20, share=0.05)
    assert best_adversarial_risk(*problem).gap <= 1e-6


# ---------------------------------------------------------------- LP
def game_from_the_side_of_the_head(problem: Problem) -> float:
    """min E t with t(x, y) >= 1 - h(y|z) for z in S(x), ungrouped."""
    (joint, reach), (n, m), k = problem, problem[0].shape, problem[1].shape[1]
    x, y, z = (a.ravel() for a in np.meshgrid(range(n), range(m), range(k), indexing="ij"))
    keep = reach[x, z]
    rows = np.zeros((keep.sum(), n * m + k * m))
    rows[np.arange(keep.sum()), (x * m + y)[keep]] = -1.0
    rows[np.arange(keep.sum()), (n * m + z * m + y)[keep]] = -1.0
    sums = np.kron(np.eye(k), np.ones(m))
    result = linprog(np.r_[joint.ravel(), np.zeros(k * m)], A_ub=rows, b_ub=-np.ones(keep.sum()),
                     A_eq=np.hstack([np.zeros((k, n * m)), sums]), b_eq=np.ones(k), method="highs")
    return float(result.fun)


@given(problems())
def test_game_from_both_sides(problem: Problem) -> None:
    game = randomised_adversarial_risk(*problem)
    assert game.gap <= 1e-9 and game.coupling is not None
    assert game.value == pytest.approx(game_from_the_side_of_the_head(problem), abs=1e-8)
    assert adversarial_head_risk(*problem, game.head) == pytest.approx(game.value, abs=1e-12)
    bayes = 1 - joint_under_attack(*problem, game.coupling).max(axis=0).sum()
    assert bayes == pytest.approx(game.lower, abs=1e-12)


@given(problems(), st.integers(0, 99))
def test_every_pair_brackets_the_game(problem: Problem, seed: int) -> None:
    head, attack = random_pair(problem, seed)
    game, law = randomised_adversarial_risk(*problem), joint_under_attack(*problem, attack)
    assert 1 - law.max(axis=0).sum() <= game.value + 1e-9
    assert game.lower <= adversarial_head_risk(*problem, head) + 1e-9


@given(problems())
def test_price_of_determinism(problem: Problem) -> None:
    labels = problem[0].shape[1]
    best, game = best_adversarial_risk(*problem), randomised_adversarial_risk(*problem)
    assert game.lower <= best.value + 1e-9
    assert best.value <= 2 * (1 - 1 / labels) * game.value + 1e-9
    if (problem[0].sum(axis=0) > 0).sum() <= 2:
        assert best.value == pytest.approx(game.value, abs=1e-9)


def pairs_of_labels(labels: int) -> Problem:
    """X = Y uniform, an output for each pair of labels, reached by its members."""
    pairs = np.array(list(itertools.combinations(range(labels), 2)))
    return np.eye(labels) / labels, (pairs[None] == np.arange(labels)[:, None, None]).any(axis=2)


@pytest.mark.parametrize("labels", [2, 3, 4, 5])
def test_pairs_in_closed_form(labels: int) -> None:
    problem = pairs_of_labels(labels)
    assert best_adversarial_risk(*problem).value == pytest.approx(1 - 1 / labels, abs=1e-12)
    assert randomised_adversarial_risk(*problem).value == pytest.approx(0.5, abs=1e-9)
    assert minimal_label_information(*problem).value == pytest.approx(math.log(labels / 2), abs=1e-12)


@given(st.lists(st.integers(1, 30), min_size=3, max_size=3))
def test_triangle_in_closed_form(weights: list[int]) -> None:
    masses = np.array(weights) / sum(weights)
    top, joint = max(0.5, masses.max()), np.diag(masses)
    worst = minimal_label_information(joint, TRIANGLE)
    assert worst.gap <= 1e-9
    assert worst.value == pytest.approx(entropy(masses) - entropy([top, 1 - top]), abs=1e-9)
    assert randomised_adversarial_risk(joint, TRIANGLE).value == pytest.approx(1 - top, abs=1e-9)
    assert best_adversarial_risk(joint, TRIANGLE).value == pytest.approx(1 - masses.max(), abs=1e-12)


# ---------------------------------------------------------------- theorem E
@given(problems(), st.integers(0, 99))
def test_every_pair_brackets_the_information(problem: Problem, seed: int) -> None:
    head, attack = random_pair(problem, seed)
    worst, total = minimal_label_information(*problem), entropy(problem[0].sum(axis=0))
    assert worst.lower <= mutual_information(joint_under_attack(*problem, attack)) + 1e-12
    assert worst.upper >= total - adversarial_cross_entropy(*problem, head) - 1e-12


@given(problems())
def test_duality_gap_closes_and_both_certificates_are_what_they_say(problem: Problem) -> None:
    worst, total = minimal_label_information(*problem), entropy(problem[0].sum(axis=0))
    assert 0 <= worst.gap <= 1e-8 and worst.value == worst.upper
    assert mutual_information(joint_under_attack(*problem, worst.coupling)) == pytest.approx(worst.upper, abs=1e-12)
    assert adversarial_cross_entropy(*problem, worst.head) == pytest.approx(worst.cross_entropy, abs=1e-12)
    assert worst.lower == pytest.approx(max(0.0, min(worst.upper, total - worst.cross_entropy)), abs=1e-12)


@given(problems(max_labels=2))
def test_two_labels_have_one_worst_attack(problem: Problem) -> None:
    """Huber and Strassen: the attack that hides most information also causes most errors."""
    law = joint_under_attack(*problem, minimal_label_information(*problem).coupling)
    assert 1 - law.max(axis=0).sum() == pytest.approx(randomised_adversarial_risk(*problem).value, abs=2e-4)


@given(problems())
def test_no_attack_and_every_attack(problem: Problem) -> None:
    joint, reach = problem
    clean = np.eye(reach.shape[1], dtype=bool)[reach.argmax(axis=1)]
    law = np.einsum("xy,xz->yz", joint, clean.astype(float))
    assert minimal_label_information(joint, clean).value == pytest.approx(mutual_information(law), abs=1e-12)
    everything = minimal_label_information(joint, np.ones_like(reach))
    assert everything.upper <= 1e-12
    top = 1 - joint.sum(axis=0).max()
    for risk in (best_adversarial_risk, randomised_adversarial_risk):
        assert risk(joint, clean).value == pytest.approx(1 - law.max(axis=0).sum(), abs=1e-9)
        assert risk(joint, np.ones_like(reach)).value == pytest.approx(top, abs=1e-9)


@given(problems())
def test_mirror_descent_is_monotone_with_the_proved_rate(problem: Problem) -> None:
    game, least = robust_risk._group(*problem), minimal_label_information(*problem).lower
    attacks = [kernel for kernel, _ in islice(robust_risk._mirror_descent(game, robust_risk._uniform_kernel(game)), 12)]
    values = [mutual_information(robust_risk._label_law(game, kernel)) for kernel in attacks]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    assert all(k * (value - least) <= math.log(problem[1].shape[1]) + 1e-9 for k, value in enumerate(values))


@pytest.mark.parametrize("seed", [10, 16, 25, 26])
def test_newton_is_needed(seed: int) -> None:
    """Ties make mirror descent slow; with Newton's method two dozen proposals do."""
    rng = np.random.default_rng(seed)
    joint, reach = np.eye(6)[rng.integers(0, 6, 12)] / 12, rng.random((12, 6)) < 0.35
    reach[np.arange(12), rng.integers(0, 6, 12)] = True
    game = robust_risk._group(joint, reach)
    bounds = np.array([robust_risk._certificates(game, *pair) for pair in
                       islice(robust_risk._mirror_descent(game, robust_risk._uniform_kernel(game)), 500)])
    assert bounds[:, 1].min() - bounds[:, 0].max() > 1e-7
    worst = minimal_label_information(joint, reach, tolerance=1e-11)
    assert worst.gap <= 1e-11 and worst.iterations <= 30


@given(problems(), st.integers(1, 12))
def test_a_solver_that_stops_early_still_brackets(problem: Problem, budget: int) -> None:
    rough, exact = minimal_label_information(*problem, max_iterations=budget), minimal_label_information(*problem)
    assert rough.lower <= exact.upper + 1e-12 and exact.lower <= rough.upper + 1e-12
    assert rough.iterations <= budget and rough.gap >= -1e-15


def test_early_stop_is_seen_in_the_gap() -> None:
    problem = random_problem(3, 20, 4, 5)
    gaps = [minimal_label_information(*problem, max_iterations=budget).gap for budget in (1, 8, 1000)]
    assert gaps[0] > 1e-3 and gaps[0] > gaps[1] > gaps[2] and gaps[2] <= 1e-12
    loose = minimal_label_information(*problem, tolerance=0.01)
    assert 1e-12 < loose.gap <= 0.01


def test_masses_of_very_different_size_keep_the_certificate() -> None:
    joint = np.array([[1.0, 1e-12, 0.5], [1e-13, 3.0, 1e-6], [0.5, 1e-6, 1e-12]])
    joint, reach = joint / joint.sum(), reach_from_masks([0b11, 0b10, 0b11], 2)
    worst = minimal_label_information(joint, reach)
    assert worst.lower <= worst.upper and worst.gap <= 1e-6


def test_the_largest_size_of_the_design() -> None:
    problem = random_problem(0, 200, 10, 10)
    game, worst = randomised_adversarial_risk(*problem), minimal_label_information(*problem)
    assert game.gap <= 1e-8 and worst.gap <= 1e-10
    assert best_adversarial_risk(*problem).value >= game.lower - 1e-9


# ---------------------------------------------------------------- theorem D
@given(problems())
def test_chain(problem: Problem) -> None:
    chain, labels = risk_bound_chain(*problem), problem[0].shape[1]
    worst, best = chain.label_information, chain.deterministic.value
    assert all(low <= high + 1e-9 for low, high in itertools.pairwise(chain.values))
    assert chain.fano <= chain.fano_label + 1e-9 and chain.fano_label <= chain.rate_label + 1e-7
    assert worst.lower <= chain.information + 1e-12
    assert chain.randomised.value <= chain.ceiling + 1e-9
    assert best <= 2 * (1 - 1 / labels) * chain.ceiling + 1e-9
    assert [value for _, value in chain.rows()].count(chain.fano_label) >= 1
    assert worst.cross_entropy <= fano_function(min(best, 1 - 1 / labels), labels) + 1e-9  # equation (9)


@given(problems())
def test_chain_from_its_parts(problem: Problem) -> None:
    joint, reach = problem
    assume((joint.sum(axis=0) > 0).all())
    chain, labels = risk_bound_chain(joint, reach), joint.shape[1]
    total, information = entropy(joint.sum(axis=0)), minimal_information(joint.sum(axis=1), reach)
    assert (chain.information, chain.label_entropy) == pytest.approx((information, total), abs=1e-12)
    assert chain.weak == pytest.approx(max(0.0, (total - information - math.log(2)) / math.log(labels)), abs=1e-12)
    left = min(max(total - information, 0.0), math.log(labels))
    assert chain.fano <= 1 - 1 / labels  # compared through F_M: its inverse turns rounding, 1e-16, into 1e-8 at the top
    assert fano_function(chain.fano, labels) == pytest.approx(left, abs=1e-12)


@given(problems(), st.lists(st.integers(0, 15), min_size=6, max_size=6), st.integers(0, 99))
def test_sandwich(problem: Problem, extra: list[int], seed: int) -> None:
    """Larger reach sets: larger losses for every head, larger risks, less information."""
    (joint, reach), (head, _) = problem, random_pair(problem, seed)
    larger = reach | (np.array(extra[: len(reach)])[:, None] >> np.arange(reach.shape[1]) & 1 > 0)
    for value in (adversarial_head_risk, adversarial_cross_entropy):
        assert value(joint, reach, head) <= value(joint, larger, head) + 1e-12
    assert best_adversarial_risk(joint, reach).value <= best_adversarial_risk(joint, larger).value + 1e-12
    assert minimal_label_information(joint, larger).lower <= minimal_label_information(joint, reach).upper + 1e-12


@given(problems(), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_merging_outputs_never_helps(problem: Problem, merge: list[int]) -> None:
    joint, reach = problem
    merged = reach @ (np.array(merge[: reach.shape[1]])[:, None] == np.arange(4))
    assert minimal_label_information(joint, merged).lower <= minimal_label_information(joint, reach).upper + 1e-12
    assert best_adversarial_risk(joint, merged).value >= best_adversarial_risk(joint, reach).value - 1e-12


@given(problems(), st.randoms(use_true_random=False))
def test_names_and_copies_do_not_matter(problem: Problem, random: Any) -> None:
    joint, reach = problem
    outputs, labels = (random.sample(range(size), size) for size in (reach.shape[1], joint.shape[1]))
    twice = np.concatenate([joint / 4, 3 * joint / 4])[:, labels], np.concatenate([reach, reach])[:, outputs]
    assert best_adversarial_risk(*twice).value == pytest.approx(best_adversarial_risk(*problem).value, abs=1e-12)
    one, two = minimal_label_information(*problem), minimal_label_information(*twice)
    assert one.lower <= two.upper + 1e-12 and two.lower <= one.upper + 1e-12


@given(problems())
def test_softened_head_contains_the_converse_certificate(problem: Problem) -> None:
    joint, reach = problem
    best, labels = best_adversarial_risk(joint, reach), joint.shape[1]
    rho = best.value
    assume(0 < rho < 1 - 1 / labels and np.isin(best.head, [0, 1]).all())
    softened = best.head * (1 - rho) + (1 - best.head) * rho / (labels - 1)
    assert adversarial_cross_entropy(joint, reach, softened) <= fano_function(rho, labels) + 1e-12
    certified = worst_case_information_lower_bound(rho, labels) + entropy(joint.sum(axis=0)) - math.log(labels)
    assert minimal_label_information(joint, reach).upper >= certified - 1e-9


def test_one_label_with_mass() -> None:
    chain = risk_bound_chain([[0.5, 0.0], [0.5, 0.0]], [[True, False], [True, True]])
    assert chain.values == (0.0,) * 6 and chain.ceiling == 0.0
    assert (chain.label_information.lower, chain.label_information.upper) == (0.0, 0.0)


def test_outputs_nobody_reaches_and_inputs_without_mass() -> None:
    joint, reach = np.array([[0.5, 0.0], [0.0, 0.0], [0.0, 0.5]]), np.eye(4, dtype=bool)[[0, 1, 2]]
    worst, game = minimal_label_information(joint, reach), randomised_adversarial_risk(joint, reach)
    assert worst.value == pytest.approx(math.log(2), abs=1e-15) and game.value == 0.0
    assert worst.head.shape == (4, 2) and worst.coupling.shape == (3, 2, 4)
    assert worst.head.sum(axis=1) == pytest.approx(1.0) and worst.coupling.sum(axis=2) == pytest.approx(1.0)


# ---------------------------------------------------------------- what is false
def test_a_weak_attack_certifies_nothing() -> None:
    joint, reach = np.eye(2) / 2, np.ones((2, 2), dtype=bool)
    seen = np.eye(2, dtype=bool)  # the attack found nothing
    head = minimal_label_information(joint, seen).head
    claimed = math.log(2) - adversarial_cross_entropy(joint, seen, head)
    assert claimed == pytest.approx(math.log(2)) and minimal_information([0.5, 0.5], reach) == 0.0


def test_information_about_the_input_is_not_sufficient() -> None:
    chain = risk_bound_chain(np.full((2, 2), 0.25), np.eye(2, dtype=bool))
    assert chain.information == pytest.approx(math.log(2)) and chain.label_information.upper <= 1e-15
    assert chain.deterministic.value == 0.5


def test_three_labels_need_a_coin() -> None:
    joint = np.eye(3) / 3
    assert best_adversarial_risk(joint, TRIANGLE).value > randomised_adversarial_risk(joint, TRIANGLE).value + 0.16


def test_the_remark_of_the_paper_holds() -> None:
    check = check_claim(CLAIMS[0], instances=300, seed=1)
    assert (check.printed_failures, check.printed_undefined, check.proved_failures) == (0, 0, 0)


def test_table_for_notebooks() -> None:
    chain = risk_bound_chain(np.eye(3) / 3, TRIANGLE)
    table = chain._repr_html_()
    assert table.count("<tr>") == 8 and "0.6667" in table and "J = 0.4055" in table
    assert "array" not in repr(chain)
    assert chain.rows()[0][0] == "weak Fano, I_min"


# ---------------------------------------------------------------- bad input
JOINT = np.full((2, 2), 0.25)
REACH = np.ones((2, 3), dtype=bool)
HEAD = np.full((3, 2), 0.5)
EVERY = (best_adversarial_risk, randomised_adversarial_risk, minimal_label_information, risk_bound_chain)
BAD = [
    pytest.param([JOINT * 2, REACH], "joint_xy must sum to 1, got 2", id="sum"),
    pytest.param([[[1.5, -0.5]], REACH[:1]], "joint_xy must be non-negative, got -0.5", id="negative"),
    pytest.param([JOINT * math.nan, REACH], "joint_xy must not contain NaN", id="nan"),
    pytest.param([[0.5, 0.5], REACH], r"shape \[n, M\] with M >= 2 labels, got \(2,\)", id="one dimension"),
    pytest.param([[[0.5], [0.5]], REACH], r"M >= 2 labels, got \(2, 1\)", id="one label"),
    pytest.param([JOINT, REACH[:1]], "one row per row of joint_xy, got 1 for 2", id="rows"),
    pytest.param([JOINT, ~REACH], "empty reach set for point 0", id="empty reach"),
    pytest.param([JOINT, REACH.astype(float)], "boolean array.*got float64", id="reach type"),
]


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_problems_are_refused(function: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("function", [adversarial_head_risk, adversarial_cross_entropy])
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HEAD.T, "head must sum to 1"),
        (HEAD[:2], r"head must have shape \[K, M\] = \(3, 2\).*np.eye"),
        (HEAD * math.nan, "head must not contain NaN"),
        (HEAD * [3.0, -1.0], "head must be non-negative"),
    ],
)
def test_bad_heads_are_refused(function: Any, head: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(JOINT, REACH, head)


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        (np.full((2, 2, 3), 0.5), "coupling must sum to 1, got 1.5"),
        (np.full((2, 3), 1 / 3), r"\[n, M, K\] = \(2, 2, 3\), got \(2, 3\)"),
        (np.full((2, 2, 3), 1 / 3), "outputs in reach only"),
    ],
)
def test_bad_couplings_are_refused(coupling: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint_under_attack(JOINT, REACH & [True, True, False], coupling)


@pytest.mark.parametrize("options", [{"tolerance": -1.0}, {"tolerance": math.nan}, {"max_iterations": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tolerance must be >= 0 and max_iterations >= 1"):
        minimal_label_information(JOINT, REACH, **options)


@pytest.mark.parametrize(("name", "call"), [("linprog", randomised_adversarial_risk), ("milp", best_adversarial_risk)])
def test_a_solver_that_fails_says_so(name: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        """What SciPy returns when it gives up."""

        status, message, x = 4, "numerical difficulties", None

    monkeypatch.setattr(robust_risk, "_LARGEST_RECURSION", 0)
    monkeypatch.setattr(robust_risk, name, lambda *args, **kwargs: Failed())
    with pytest.raises(RuntimeError, match="was not solved: numerical difficulties"):
        call(JOINT, REACH)


# ---------------------------------------------------------------- arguments of the solver, and answers for a head
@pytest.mark.parametrize("settings", [{"tolerance": None}, {"tolerance": "a"}, {"max_iterations": 2.5},
                                      {"max_iterations": math.inf}, {"max_iterations": None}, {"max_iterations": True}])
def test_effort_of_the_wrong_type_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be .*suits most problems"):
        minimal_label_information(np.eye(3) / 3, TRIANGLE, **settings)


def test_answers_in_place_of_a_head_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"pass np\.eye\(M\)\[answers\]"):
        adversarial_head_risk(np.eye(3) / 3, TRIANGLE, [0, 1, 2])


@pytest.mark.parametrize("top", [0.5, 0.6, 0.9])
def test_heads_of_the_triangle_with_a_heavy_label(top: float) -> None:
    """The two heads of section 4 that attain min AdvCE and LP; the first does not attain LP."""
    joint, rest = np.diag([top, 0.6 * (1 - top), 0.4 * (1 - top)]), 1 - top
    soft = np.array([[top, rest, 0.0], [0.0, 0.5, 0.5], [top, 0.0, rest]])
    binary = entropy([top, rest])
    assert adversarial_cross_entropy(joint, TRIANGLE, soft) == pytest.approx(binary, abs=1e-12)
    assert minimal_label_information(joint, TRIANGLE).cross_entropy == pytest.approx(binary, abs=1e-9)
    constant = adversarial_head_risk(joint, TRIANGLE, np.eye(3)[[0, 0, 0]])
    assert constant == pytest.approx(rest) == randomised_adversarial_risk(joint, TRIANGLE).value
    assert adversarial_head_risk(joint, TRIANGLE, soft) == pytest.approx(2 * top * rest)
