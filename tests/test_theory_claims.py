"""The statements of the papers: every proof link leads somewhere, every proved form holds, every printed one fares as recorded."""
from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robinfo.theory.claims import Claim, ClaimCheck, check_claim, claim_slacks, claims_table, collect_claims
from robinfo.theory.confidence import binomial_interval

NOTEBOOKS = Path(__file__).parents[1] / "nbs" / "theory"
PAPERS = ("Zhu 2020", "Yu 2022", "Guess First 2019")
CLAIMS = collect_claims()
FIRST, ALL, SEED = 250, 2000, 2020
WRONG, UNDEFINED, HOLDS = "wrong as printed", "undefined as printed", "holds as printed"

# What is known of each statement as printed, typed from the derivations; a change of a family or of a slack shows here.
VERDICTS = {
    # 01_information
    "Zhu 2020, Definition 2.1": UNDEFINED,
    "Zhu 2020, text after Definition 2.1, identical variables": WRONG,
    "Zhu 2020, text after Definition 2.1, symmetry and independence": HOLDS,
    "Zhu 2020, supplement, Lemma A.2": HOLDS,
    # 02_divergences
    "Guess First 2019, definition of D_f in equation 1, kl": HOLDS,
    "Guess First 2019, definition of D_f in equation 1, reverse_kl": WRONG,
    "Guess First 2019, definition of D_f in equation 1, js": WRONG,
    "Guess First 2019, definition of D_f in equation 1, chi2": WRONG,
    "Guess First 2019, definition of D_f in equation 1, hellinger2": WRONG,
    "Guess First 2019, definition of D_f in equation 1, tv": WRONG,
    "Guess First 2019, definition of D_f in equation 1, kl, tightness at the optimal critic": WRONG,
    "Guess First 2019, equation 1, with the divergence as the average over the second law": HOLDS,
    "Guess First 2019, below equation 1, the optimal critic": HOLDS,
    "Guess First 2019, below equation 1, the optimal critic of JS": WRONG,
    "Guess First 2019, below equation 1, the optimal critic of JS, read with the generator f + (u - 1)": HOLDS,
    "Guess First 2019, equation 2": WRONG,
    "Guess First 2019, equation 2, read with a plus sign and as tight": WRONG,
    "Guess First 2019, appendix C, the objective": WRONG,
    "Guess First 2019, equation 3": HOLDS,
    "Guess First 2019, equation 4": HOLDS,
    "Guess First 2019, equation 4, the optimal critic read as the only one": WRONG,
    "Guess First 2019, equation 5": HOLDS,
    "Guess First 2019, equation 6, as a lower bound": HOLDS,
    "Guess First 2019, equation 6, as the uniform-label form of equation 5": WRONG,
    "Guess First 2019, section 2.2, the decision, uniform labels": HOLDS,
    "Guess First 2019, section 2.2, the decision, read without the hypothesis on the labels": WRONG,
    "Zhu 2020, section 4, the dual representation": HOLDS,
    "Zhu 2020, section 4, strong consistency, read with unrestricted critics": WRONG,
    # 03_transport
    "Zhu 2020, Definition 2.2, limit": HOLDS,
    "Zhu 2020, supplement A, alternative definition of $W_\\infty$": WRONG,
    "Zhu 2020, Lemma 3.3, read with $X'$ independent of $Y$": WRONG,
    "Zhu 2020, Lemma 3.3, read with $X'$ coupled to $Y$ in any way": WRONG,
    "Zhu 2020, Lemma 3.3, read with $Y-X-X'$ a Markov chain": WRONG,
    "Zhu 2020, equation 4.2, inclusion": HOLDS,
    "Zhu 2020, remark after Theorem 3.4": HOLDS,
    # 03b_vulnerability
    "Zhu 2020, Definition 3.1, non-negative": HOLDS,
    "Zhu 2020, Definition 3.1 and equation 4.1, features without atoms": UNDEFINED,
    "Zhu 2020, section 3, scale invariance, deterministic features": HOLDS,
    "Zhu 2020, section 3, scale invariance, noisy features": WRONG,
    "Zhu 2020, Definition 3.1, outputs merged": WRONG,
    "Zhu 2020, equations 4.1 to 4.3, the ball replaced by moved samples": HOLDS,
    # 04_gaussian_mixture
    "Zhu 2020, Theorem 3.2, upper bound": WRONG,
    "Zhu 2020, Theorem 3.2, lower bound": WRONG,
    "Zhu 2020, supplement, Eq. A.1": WRONG,
    "Zhu 2020, supplement, the worst perturbation": WRONG,
    "Zhu 2020, supplement, Eq. A.2 and the line below": HOLDS,
    "Zhu 2020, Section 3.1, low vulnerability means a small gap": HOLDS,
    "Zhu 2020, Section 3.1, high vulnerability excludes a small gap": HOLDS,
    # 05_fano
    "Zhu 2020, Theorem 3.4": HOLDS,
    "Zhu 2020, Theorem 3.4 without uniform labels": WRONG,
    "Zhu 2020, Theorem 3.4 for lists of guesses": WRONG,
    "Zhu 2020, supplement, Lemma A.1": WRONG,
    "Zhu 2020, Section 6.1, ceilings of standard models": WRONG,
    "Zhu 2020, Section 6.1, ceiling of the most robust model": HOLDS,
    # 05b_robust_risk
    "Zhu 2020, section 3.2, remark after Theorem 3.4: high worst-case information is necessary": HOLDS,
    # 06_features
    "Zhu 2020, Lemma C.1: features independent given X": HOLDS,
    "Zhu 2020, Lemma C.1: its first hypothesis alone, a product law of Z": WRONG,
    "Zhu 2020, Appendix C: the neurons of one layer (deterministic features)": HOLDS,
    "Zhu 2020, section 6.1: information controlled by the sum, for any features": WRONG,
    "Zhu 2020, Appendix C: one perturbation for all neurons": HOLDS,
    "Zhu 2020, Appendix C: each neuron at its own worst case": WRONG,
    "Zhu 2020, section 6.1: the most vulnerable neuron as the bottleneck": WRONG,
    # 07_shared_information
    "Yu 2022, Eq. 6 to Eq. 7": WRONG,
    "Yu 2022, Eq. 8": HOLDS,
    "Yu 2022, section 3.3, the constant": WRONG,
    "Yu 2022, section 3.3, identity before Eq. 9": HOLDS,
    "Yu 2022, section 3.3, identity before Eq. 9, chain dropped": WRONG,
    "Yu 2022, Theorem 3.1, averaged over the pairs": HOLDS,
    "Yu 2022, Theorem 3.1, read for every pair": WRONG,
    "Yu 2022, Theorem 3.1, read for the marginals": WRONG,
    "Yu 2022, Theorem 3.1, chain dropped": WRONG,
    "Yu 2022, after Theorem 3.1, symmetric bound": HOLDS,
    "Yu 2022, after Theorem 3.1, tight for the same encoder": WRONG,
    "Yu 2022, after Theorem 3.1, tight for equal representations": HOLDS,
    "Yu 2022, Theorem 3.2": HOLDS,
    "Yu 2022, Theorem 3.2, chain dropped": WRONG,
    "Yu 2022, after Theorem 3.2, tightness": HOLDS,
    "Yu 2022, Eq. 15": HOLDS,
    "Yu 2022, section 3.3, HSIC in place of I": HOLDS,
    "Yu 2022, Eq. 18": WRONG,
    "Yu 2022, Eq. 19, the kernel": WRONG,
    "Guess First 2019, Eq. 7": HOLDS,
    "Guess First 2019, section 2.3, the surrogate read as control": WRONG,
    # 08_fisher
    "Guess First 2019, Lemma D.1, equation 12: noise independent of X": HOLDS,
    "Guess First 2019, Lemma D.1, equation 12: as a limit": HOLDS,
    "Guess First 2019, Lemma D.1, equation 12: before the limit": WRONG,
    "Guess First 2019, Lemma D.1 with equation 9: vectors, $I_x$ a trace": WRONG,
    "Guess First 2019, Appendix D: low information leads to low Fisher information": WRONG,
    "Guess First 2019, Lemma D.2: scalar input": HOLDS,
    "Guess First 2019, Lemma D.2: vectors, any direction": WRONG,
}


def by_statement(claim: Claim) -> str:
    """The name of a claim as the name of its test."""
    return re.sub(r"\W+", "-", claim.statement)


every_claim = pytest.mark.parametrize("claim", CLAIMS, ids=by_statement)


def made_up(**changes: Any) -> Claim:
    """A claim about a number in [0, 1] that fails as printed on half of them."""
    fields: dict[str, Any] = {
        "paper": "Zhu 2020", "statement": "Zhu 2020, a made-up example", "printed": r"$x\le\frac12$", "proved": r"$x\le1$",
        "remark": "too small.", "proof": "00_claims.ipynb#the-smallest-case", "family": "x uniform on [0, 1]",
        "draw": lambda rng: rng.random(), "printed_slack": lambda x: 0.5 - x, "proved_slack": lambda x: 1.0 - x}
    return Claim(**{**fields, **changes})


# --- the statements ---------------------------------------------------------------------------------------------------

@every_claim
def test_the_proved_form_holds_on_every_instance(claim: Claim) -> None:
    @given(st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        slack = float(claim.proved_slack(claim.draw(np.random.default_rng(seed))))
        assert slack >= -claim.tolerance  # NaN fails too

    holds()


@every_claim
def test_the_printed_form_fares_as_recorded(claim: Claim) -> None:
    check = check_claim(claim, FIRST, SEED)
    if check.verdict != VERDICTS[claim.statement] or check.verdict == HOLDS:
        check = check_claim(claim, ALL, SEED)
    assert check.verdict == VERDICTS[claim.statement]


def test_the_record_is_complete() -> None:
    assert sorted(claim.statement for claim in CLAIMS) == sorted(VERDICTS)


@every_claim
def test_the_instances_differ(claim: Claim) -> None:
    slacks = claim_slacks(claim, 40, SEED)
    rounded = np.where(np.abs(slacks) <= claim.tolerance, 0.0, slacks)  # an identity has the slack 0 up to rounding
    drawn = [repr(claim.draw(rng)) for rng in map(np.random.default_rng, range(5))]
    assert len(set(drawn)) > 1 or len(np.unique(rounded)) > 1


# --- what stands in the table -----------------------------------------------------------------------------------------

@cache
def anchors(notebook: str) -> set[str]:
    """The anchors that the site gives to the headings of a notebook, down to the third level."""
    cells = json.loads((NOTEBOOKS / notebook).read_text(encoding="utf-8"))["cells"]
    found: list[str] = []
    for text in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"):
        for heading in re.findall(r"^#{1,3} +(.*?)\s*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"\$[^$]*\$|[*`]", "", heading))  # MyST leaves formulas out
            slug = re.sub(r"[^\w\- ]", "", words.lower().replace(" ", "-"))
            found.append(next(name for name in (slug, *(f"{slug}-{i}" for i in range(1, 99))) if name not in found))
    return set(found)


def test_anchors_are_those_of_the_site() -> None:
    slugs = pytest.importorskip("myst_parser.slugs")
    for heading in ("Step 4. The vulnerability, exactly", "Proof, and each step as a function", "4 · Two Gaussians, one linear feature"):
        assert slugs.github_slugify(heading) == re.sub(r"[^\w\- ]", "", heading.lower().replace(" ", "-"))
    assert {"statement", "step-7-conclusion", "4--two-gaussians-one-linear-feature"} <= anchors("04_gaussian_mixture.ipynb")


@every_claim
def test_the_proof_is_there(claim: Claim) -> None:
    notebook, _, heading = claim.proof.partition("#")
    assert (NOTEBOOKS / notebook).exists(), f"{claim.proof}: no such notebook"
    assert heading in anchors(notebook), f"{claim.proof}: no such heading; there are {sorted(anchors(notebook))}"


@every_claim
def test_the_words_are_in_order(claim: Claim) -> None:
    assert claim.paper in PAPERS
    assert claim.statement.startswith(f"{claim.paper}, ")
    assert 0 < claim.tolerance <= 1e-4
    for text in (claim.statement, claim.printed, claim.proved, claim.remark, claim.family):
        assert text.strip() == text != "" and "\n" not in text
        assert text.count("$") % 2 == 0, text


@every_claim
def test_its_row_has_three_cells(claim: Claim) -> None:
    check = ClaimCheck(claim, 2000, 0, 3, 1, 0, -1.0, 0.0)
    rows = claims_table([check]).splitlines()
    assert len(rows) == 3
    assert [len(re.split(r"(?<!\\)\|", row)) for row in rows] == [5, 5, 5]
    assert not [formula for formula in re.findall(r"\$[^$]*\$", rows[2]) if "|" in formula]
    assert f"]({claim.proof})" in rows[2] and f"{claim.paper}, " not in rows[2].split("]")[0]


def test_statements_are_told_apart() -> None:
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.paper for claim in CLAIMS} == set(PAPERS)


# --- the machinery ----------------------------------------------------------------------------------------------------

@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_a_trial_counts_the_slacks(seed: int, instances: int) -> None:
    claim = made_up(printed_slack=lambda x: math.nan if x > 0.9 else 0.5 - x)
    check, x = check_claim(claim, instances, seed), np.random.default_rng(seed).random(instances)
    assert check.printed_failures == ((x > 0.5) & (x <= 0.9)).sum() and check.printed_undefined == (x > 0.9).sum()
    assert check.proved_failures == 0 and check.proved_least == (1 - x).min()
    assert check.failure_interval == binomial_interval(check.printed_failures, instances, method="exact")
    if check.printed_failures:
        assert check.verdict == WRONG and check.printed_least == (0.5 - x[x <= 0.9]).min()


def test_the_same_seed_gives_the_same_trial() -> None:
    claim = made_up()
    assert check_claim(claim, 50, 7) == check_claim(claim, 50, 7)
    assert check_claim(claim, 50, 7).printed_least != check_claim(claim, 50, 8).printed_least
    assert np.array_equal(claim_slacks(claim, 30, 7), claim_slacks(claim, 50, 7)[:30])


def test_verdicts_in_their_order() -> None:
    assert check_claim(made_up(proved_slack=lambda x: 0.5 - x), 50).verdict == "correction refuted"
    assert check_claim(made_up(), 50).verdict == WRONG
    assert check_claim(made_up(printed_slack=lambda x: math.nan), 50).verdict == UNDEFINED
    assert math.isnan(check_claim(made_up(printed_slack=lambda x: math.nan), 50).printed_least)
    assert check_claim(made_up(printed_slack=lambda x: 1 - x), 50).verdict == HOLDS


def test_rounding_is_no_failure() -> None:
    assert check_claim(made_up(printed_slack=lambda x: -1e-12, proved_slack=lambda x: -1e-12), 5).verdict == HOLDS
    assert check_claim(made_up(printed_slack=lambda x: -1e-12, tolerance=1e-13), 5).verdict == WRONG


def test_infinite_slacks_are_counted() -> None:
    check = check_claim(made_up(printed_slack=lambda x: -math.inf), 5)
    assert (check.printed_failures, check.printed_least) == (5, -math.inf)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: check_claim(made_up(), 2.5), ["instances must be a whole number", "got 2.5"]),  # type: ignore[arg-type]
    (lambda: claim_slacks(made_up(), 5, None), ["seed must be a whole number", "got None"]),  # type: ignore[arg-type]
    (lambda: check_claim("Lemma A.1", 5), ["claim must be a Claim", "got str", "collect_claims()"]),  # type: ignore[arg-type]
    (lambda: claims_table([made_up()]), ["what check_claim returned"]),  # type: ignore[list-item]
])
def test_wrong_kinds_are_refused(call: Any, words: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_a_remark_may_be_empty() -> None:
    assert "<br>. *Family:" in claims_table([check_claim(made_up(remark=""), 5)])


@pytest.mark.parametrize(("call", "words"), [
    (lambda: check_claim(made_up(), 5, -1), ["seed must be at least 0", "got -1"]),
    (lambda: check_claim(made_up(), 0), ["instances must be at least 1", "got 0"]),
    (lambda: claim_slacks(made_up(), -3), ["instances must be at least 1", "got -3"]),
    (lambda: check_claim(made_up(proved_slack=lambda x: math.nan), 5), ["a made-up example", "no meaning on 5 instances", "restrict the family"]),
])
def test_errors_say_what_came_and_the_cure(call: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_the_table_in_words() -> None:
    check = check_claim(made_up(printed=r"$P(A|B)\le D(p\|q)$ or a|b"), 100, 0)
    head, _, row = claims_table([check]).splitlines()
    assert head == "| statement and proof | as printed, as proved, and why | as printed it fails on |"
    low, high = (100 * bound for bound in check.failure_interval)
    assert row == (r"| [a made-up example](00_claims.ipynb#the-smallest-case) | **Printed:** $P(A\vert B)\le D(p\Vert q)$ or a\|b<br>"
                   r"**Proved:** $x\le1$<br>Too small. *Family: x uniform on [0, 1].* | "
                   f"**{check.printed_failures}** of 100 ({low:.1f}–{high:.1f} %) |")


def test_a_refuted_correction_a_dropped_hypothesis_and_two_papers_show_in_the_table() -> None:
    refuted = check_claim(made_up(proved_slack=lambda x: 0.5 - x, asserted=False), 20)
    table = claims_table([refuted, check_claim(made_up(paper="Yu 2022", statement="Yu 2022, another"), 20)])
    assert f"**(refuted on {refuted.proved_failures})**" in table and "Not claimed by the paper: too small." in table
    assert "[Zhu 2020, a made-up example]" in table and "[Yu 2022, another]" in table
    assert claims_table([]).count("\n") == 1


@pytest.mark.parametrize(("statement", "asserted", "stated"), [
    ("Lemma 3.3", True, True), ("Lemma 3.3, read with $X'$ independent of $Y$", True, False), ("Theorem 3.1, chain dropped", True, False),
    ("Lemma C.1: its first hypothesis alone", True, False), ("Theorem 3.4 for lists", False, False), ("Section 6.1, already spread", True, True)])
def test_readings_are_told_from_statements(statement: str, asserted: bool, stated: bool) -> None:
    assert made_up(statement=f"Zhu 2020, {statement}", asserted=asserted).stated is stated


def test_the_length_of_the_run_is_the_option(request: pytest.FixtureRequest) -> None:
    assert settings.default.max_examples == request.config.getoption("--examples") and settings.default.derandomize
    own = [path.name for path in Path(__file__).parent.glob("test_theory_*.py") if re.search(r"settings\([^)]*max_examples=", path.read_text())]
    assert own == []


def test_claims_come_in_the_order_of_the_notebooks() -> None:
    order = [claim.proof.split(".")[0] for claim in CLAIMS]
    assert order == sorted(order)
