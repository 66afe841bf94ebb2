"""The weight of Equation 5.2 and the choice of the bound: ends to the bit, exact cases, verdicts that follow the numbers."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad

from robinfo.estimators import donsker_varadhan, info_nce, nwj
from robinfo.experiments import worst_case_mi_tradeoff as tradeoff
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi_tradeoff import (
    BetaCurve,
    Bounds,
    beta_curve,
    bounds,
    exact_tradeoff,
    gaussian_truth,
    nwj_deviation,
    plot_beta_curve,
    plot_bounds,
    plot_exact_tradeoff,
    plot_truth,
    table_critics,
    twice_jensen_shannon,
)
from robinfo.models import Critic, Encoder
from robinfo.objectives import InfoMax
from robinfo.theory.divergences import information_bounds
from robinfo.threats import Linf
from robinfo.vulnerability import VulnerabilityEstimate

mpl.use("Agg")
TINY: dict[str, Any] = {"dataset": "digits", "train_images": 64, "test_images": 32, "width": 0.125, "critic_width": 8, "critic_channels": 2,
                        "encoder_epochs": 1, "head_epochs": 1, "critic_epochs": 1, "batch_size": 16, "learning_rate": 0.001, "steps": 1,
                        "device": "cpu"}


@pytest.fixture(autouse=True)
def _own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained parts of a test stay with the test."""
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "results"))


def weights(model: torch.nn.Module) -> torch.Tensor:
    """All numbers of a model in one row."""
    return torch.cat([v.flatten().double() for v in model.state_dict().values()])


# --- the weight -----------------------------------------------------------------------------------------------------------
def test_the_ends_of_the_curve_are_the_two_known_representations_to_the_bit(tmp_path: Path) -> None:
    found = {}
    for name, settings in (("normal", {"worst_case": False}), ("0", {"worst_case": True, "beta": 0.0}), ("1", {"worst_case": True, "beta": 1.0}),
                           ("worst", {"worst_case": True}), ("half", {"worst_case": True, "beta": 0.5})):
        study = Study(Setup(**TINY, run_dir=str(tmp_path / name)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROBINFO_RESULTS", str(tmp_path / name))  # each trained on its own, none found again
            found[name] = weights(study.encoder(0, **settings))
    assert torch.equal(found["0"], found["normal"]) and torch.equal(found["1"], found["worst"])
    assert not torch.equal(found["half"], found["normal"]) and not torch.equal(found["half"], found["worst"])


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("estimator", ["dv", "nwj", "js", "nce"])
def test_the_objective_is_the_weighted_sum_of_both_informations(beta: float, estimator: str) -> None:
    torch.manual_seed(0)
    encoder, critic = Encoder(1, 8, width=0.125).eval(), Critic(1, 64, width=8, channels=2).eval()
    clean, attacked = torch.rand(2, 8, 1, 8, 8)
    objective = InfoMax(Linf(0.1), beta=beta, estimator=estimator)
    with torch.no_grad():
        normal, worst = (float(objective.information(critic(x, encoder(x)))) for x in (clean, attacked))
        loss, metrics = objective.loss(encoder, critic, clean, attacked, torch.zeros(8))
    assert float(loss) == pytest.approx(-(normal - beta * (normal - worst)), abs=1e-6)  # Equation 5.2 as printed
    assert set(metrics) == {"mutual_information"} | ({"normal_mi"} if beta < 1 else set()) | ({"worst_case_mi"} if beta else set())


laws = st.lists(st.integers(1, 9), min_size=4, max_size=4).map(lambda w: np.array(w) / sum(w))
lines = st.lists(st.integers(0, 4), min_size=3, max_size=3).map(lambda gaps: np.r_[0, np.cumsum(gaps)] / 2)


@given(positions=lines, p=laws, eps=st.sampled_from([0.0, 0.5, 1.0, 2.0]), betas=st.lists(st.floats(0, 1), min_size=2, max_size=4))
def test_exact_maximisers_are_ordered_by_the_weight(positions: Any, p: Any, eps: float, betas: list[float]) -> None:
    exact = exact_tradeoff(positions, p, eps)
    assert np.all(exact.worst_case <= exact.normal + 1e-12) and np.all(exact.worst_case > -1e-12)
    chosen = [exact.best(beta) for beta in sorted(betas)]
    for a, b in pairwise(chosen):
        assert exact.normal[b] <= exact.normal[a] + 1e-9  # normal information cannot rise …
        assert exact.worst_case[b] >= exact.worst_case[a] - 1e-9  # … worst-case information cannot fall
        assert (exact.normal - exact.worst_case)[b] <= (exact.normal - exact.worst_case)[a] + 1e-9


def test_every_partition_is_tried_once_and_only_distance_costs_information() -> None:
    exact = exact_tradeoff(np.arange(6.0), np.full(6, 1 / 6), 0.4, outputs=4)
    assert len(exact.maps) == 1 + 31 + 90 + 65  # partitions of six points into at most four classes
    assert len({tuple(m) for m in exact.maps}) == len(exact.maps)
    assert np.allclose(exact.normal, exact.worst_case)  # no two points within reach of one another
    everything = exact_tradeoff(np.arange(6.0), np.full(6, 1 / 6), 3.0, outputs=2)
    assert everything.worst_case.max() == pytest.approx(0, abs=1e-12)  # from the middle, both sides are in reach


def estimate(normal: float, worst: float, width: float = 0.02, seed: int = 0) -> VulnerabilityEstimate:
    """An estimate with intervals of this half-width, as from ten batches."""
    values = (normal, worst, normal - worst)
    return VulnerabilityEstimate(*values, *((v - width, v + width) for v in values), math.log(64), "Linf(0.1)", 10, 64, seed, "")  # type: ignore[arg-type]


def curve(normal: Sequence[float], worst: Sequence[float], natural: Sequence[int], adversarial: Sequence[int], *, seeds: int = 1,
          images: int = 1000) -> BetaCurve:
    """A made-up curve over evenly spaced weights."""
    study = Study(Setup(dataset="digits", seeds=tuple(range(seeds))))
    study.__dict__["test"] = (range(images), None)  # only its length is asked for
    betas = [float(b) for b in np.linspace(0, 1, len(normal))]
    trials = [[{"natural_accuracy": n, "adversarial_accuracy": a}] * seeds for n, a in zip(natural, adversarial, strict=True)]
    counts = {(b, h): t for b, t in zip(betas, trials, strict=True) for h in ("standard", "robust")}
    return BetaCurve(study, {b: [estimate(n, w, seed=s) for s in range(seeds)] for b, n, w in zip(betas, normal, worst, strict=True)}, counts, "MLP")


def test_a_monotone_curve_whose_end_is_best_is_called_so() -> None:
    result = curve([1.2, 1.1, 1.0], [0.1, 0.3, 0.5], [950, 940, 930], [100, 300, 600])
    assert result.against("normal_mi") == result.against("worst_case_mi") == [] and result.better("standard") == []
    text = result.verdict()
    assert text.startswith("Not comparable: the paper has no such experiment")
    assert text.count("monotone up to two standard errors") == 2 and "not monotone" not in text
    assert "standard MLP head: no weight beats beta = 1" in text and "one seed" in text
    assert "normal information -0.20 ±" in text and "worst-case information +0.40 ±" in text


def test_a_weight_that_beats_the_paper_s_in_both_is_named_with_its_lead() -> None:
    result = curve([1.2, 1.3, 1.0], [0.1, 0.6, 0.5], [950, 950, 900], [100, 700, 600])
    assert [step[:2] for step in result.against("normal_mi")] == [(0.0, 0.5)]
    assert [step[:2] for step in result.against("worst_case_mi")] == [(0.5, 1.0)]
    assert result.better("robust") == [0.5]
    text = result.verdict()
    assert "it rises by 0.10 between 0 and 0.5" in text and "it falls by 0.10 between 0.5 and 1" in text
    gap, error = result.accuracy_gap(0.5, 1.0, "robust", "adversarial_accuracy")
    assert gap == pytest.approx(10.0) and error == pytest.approx(100 * math.sqrt(0.7 * 0.3 / 1000 + 0.6 * 0.4 / 1000), rel=0.01)
    assert f"by 5.0 ± {2 * result.accuracy_gap(0.5, 1.0, 'robust', 'natural_accuracy')[1]:.1f} points natural and 10.0 ± {2 * error:.1f}" in text


def test_a_head_above_the_plug_in_bound_shows_an_underestimate() -> None:
    result = curve([1.2, 1.1, 1.0], [0.1, 0.3, 2.3], [950, 940, 930], [100, 500, 900])  # 0.3 nats allow 39 %, 2.3 all
    assert result.above_bound(0.0) == [] and result.above_bound(0.5) == ["standard", "robust"] and result.above_bound(1.0) == []
    assert "above their plug-in bound (Theorem 3.4) for beta = 0.5: there" in result.verdict()
    assert "No head lies above" in curve([1.2, 1.0], [2.2, 2.3], [950, 930], [100, 600]).verdict()


def test_a_lead_within_the_noise_of_images_or_of_seeds_is_none() -> None:
    assert curve([1, 1, 1], [1, 1, 1], [95, 95, 90], [20, 70, 60], images=100).better("robust") == []  # the same shares of fewer images
    result = curve([1, 1, 1], [1, 1, 1], [950, 950, 900], [100, 700, 600], seeds=2)
    noisy = dict(result.counts)
    noisy[0.5, "robust"] = [{"natural_accuracy": 1000, "adversarial_accuracy": 900}, {"natural_accuracy": 900, "adversarial_accuracy": 500}]
    assert result.better("robust") == [0.5] and replace(result, counts=noisy).better("robust") == []
    assert "2 seeds" in result.verdict()


def test_the_standard_error_of_no_success_is_not_zero() -> None:
    result = curve([1, 1], [1, 1], [900, 900], [0, 0])
    assert result.accuracy_gap(0.0, 1.0, "robust", "adversarial_accuracy")[1] > 0


def test_rows_hold_every_number_and_no_cell_of_the_paper() -> None:
    result = curve([1.2, 1.1, 1.0], [0.1, 0.3, 0.5], [950, 940, 930], [100, 300, 600])
    rows = result.rows
    assert len(rows) == 3 * (3 + 1 + 4) and all(r.paper is None and r.verdict is None for r in rows)
    assert len({(r.model, r.method, r.metric) for r in rows}) == len(rows)
    bound = next(r for r in rows if r.metric == "accuracy_upper_bound_plug_in" and r.method == "beta = 1")
    assert bound.interval is not None and bound.interval[0] < bound.value < bound.interval[1]
    assert all(r.settings.startswith("reduced: 1 trial") for r in rows)


# --- the bounds -----------------------------------------------------------------------------------------------------------
def compared(js: float, *, adversarial: int = 600) -> Bounds:
    """A made-up comparison of "dv" with "js"."""
    study = Study(Setup(dataset="digits"))
    study.__dict__["test"] = (range(1000), None)
    estimates = {(b, r): [estimate(1.0, 0.4 if b == "dv" else js)] for b in ("dv", "js") for r in ("dv", "nce")}
    counts = {((b, "dv"), h): [{"natural_accuracy": 900, "adversarial_accuracy": 600 if b == "dv" else adversarial}]
              for b in ("dv", "js") for h in ("standard", "robust")}
    readings = {"dv": [{"own": [0.4, 0.5], "dv": [0.4, 0.5]}], "js": [{"own": [0.2, 0.2], "dv": [0.3, 0.4]}]}
    return Bounds(study, estimates, counts, readings)


def test_the_verdict_says_where_the_bound_matters() -> None:
    assert "a difference is shown in 0 of 8 quantities (beyond 2.73 standard errors, 5 % over all comparisons). None is shown in: normal" in compared(0.4).verdict()
    text = compared(0.5, adversarial=700).verdict()
    assert "shown in 4 of 8 quantities" in text and "worst-case information (dv critic): js +0.10 ±" in text
    assert "adversarial accuracy (robust head): js +10.0 ±" in text and "dv 0.45, js 0.20" in text


def test_all_comparisons_share_one_false_alarm() -> None:
    two = compared(0.4)
    four = replace(two, readings={b: two.readings["dv"] for b in ("dv", "nwj", "js", "nce")})
    assert two.limit() == pytest.approx(2.734, abs=0.001) and four.limit() == pytest.approx(3.078, abs=0.001)
    study = SimpleNamespace(setup=replace(two.study.setup, seeds=(0, 1)), test=two.study.test)
    assert replace(two, study=study).limit() == pytest.approx(101.9, abs=0.1)  # Student's law with one degree of freedom


def test_the_title_of_the_curve_says_what_was_found() -> None:
    for worst, text in (((0.1, 0.3, 0.5), "More weight, more worst-case information"), ((0.4, 0.4, 0.4), "does not move"),
                        ((0.5, 0.3, 0.5), "breaks the order")):
        figure = plot_beta_curve(curve([1.2, 1.1, 1.0], worst, [950, 940, 930], [100, 300, 600]))
        assert text in figure.axes[0].get_title()


def test_a_jensen_shannon_value_is_not_recorded_as_information() -> None:
    rows = compared(0.4).rows
    own = {r.method: r for r in rows if "own critic" in r.model and not r.model.endswith("dv/all")}
    assert own["trained by js"].metric == "twice_jensen_shannon_own_critic" and own["trained by dv"].metric == "worst_case_mi_own_critic"
    assert len({(r.model, r.method, r.metric) for r in rows}) == len(rows) == 2 * (2 + 2 * 4 + 4) and all(r.paper is None for r in rows)
    assert compared(0.4).deviation("dv") == pytest.approx(0.1 / math.sqrt(2)) and compared(0.4).deviation("js") == 0


# --- ground truth ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("information", [0.1, 0.7, 2.0])
def test_jensen_shannon_against_an_adaptive_quadrature(information: float) -> None:
    rho = math.sqrt(1 - math.exp(-2 * information))

    def integrand(z: float, x: float) -> float:
        product = math.exp(-(x * x + z * z) / 2) / (2 * math.pi)
        ratio = information - (rho**2 * (x * x + z * z) - 2 * rho * x * z) / (2 * (1 - rho**2))
        return product * (-math.exp(ratio) * np.logaddexp(0, -ratio) - np.logaddexp(0, ratio))

    exact = dblquad(integrand, -8, 8, lambda x: -8, lambda x: 8, epsabs=1e-7, epsrel=1e-7)[0] + 2 * math.log(2)
    assert twice_jensen_shannon(information) == pytest.approx(exact, abs=1e-6)


def test_jensen_shannon_grows_to_its_ceiling() -> None:
    values = [twice_jensen_shannon(i) for i in np.linspace(0, 8, 17)]
    assert values[0] == 0 and all(a < b for a, b in pairwise(values)) and values[-1] < 2 * math.log(2)


def test_the_variance_of_nwj_in_closed_form_against_batches() -> None:
    truth = gaussian_truth([0.3, 0.6], batch_size=16, batches=3000, seed=1)
    for row, exact in zip(truth.values["nwj"], truth.information, strict=True):
        assert row.std(ddof=1) == pytest.approx(nwj_deviation(float(exact), 16), rel=0.1)
        assert row.mean() == pytest.approx(exact, abs=5 * row.std() / math.sqrt(row.size))  # unbiased; false alarm below 1e-6
    assert nwj_deviation(6, 64) / nwj_deviation(5, 64) == pytest.approx(math.e, rel=0.01)  # deviation like e^I


def test_every_bound_meets_its_own_target_and_ceiling() -> None:
    truth = gaussian_truth([0.5, 1.0], batch_size=32, batches=400)
    for bound in ("nwj", "js"):
        values, target = truth.values[bound], truth.target(bound)
        assert np.all(abs(values.mean(axis=1) - target) < 5 * values.std(axis=1) / 20)
    error = truth.values["nce"].std(axis=1) / 20
    assert np.all(truth.values["nce"].mean(axis=1) < truth.information + 5 * error)
    assert gaussian_truth([7.0], batch_size=8, batches=20).values["nce"].max() <= math.log(8) + 1e-9


def test_expectations_over_all_batches_of_a_finite_law() -> None:
    """Ground truth without sampling: NWJ is unbiased, DV is biased upwards, InfoNCE stays below the information."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        law, table = rng.dirichlet(np.ones(4)).reshape(2, 2), rng.normal(size=(2, 2))
        exact, best = information_bounds(table, law), np.log(law / np.outer(law.sum(1), law.sum(0)))
        mean = {"nwj": 0.0, "dv": 0.0, "nce": 0.0}
        for cells in product(range(4), repeat=3):
            x, z = np.divmod(cells, 2)
            weight = float(law[x, z].prod())
            scores, optimal = (torch.as_tensor(t[x[:, None], z]) for t in (table, best))
            mean["nwj"] += weight * float(nwj(scores))
            mean["dv"] += weight * float(donsker_varadhan(scores))
            mean["nce"] += weight * float(info_nce(optimal))
        assert mean["nwj"] == pytest.approx(exact.nwj, abs=1e-9)
        assert mean["dv"] > exact.donsker_varadhan + 1e-4
        assert mean["nce"] < min(exact.information, math.log(3))


def test_trained_tables_never_certify_more_than_there_is_and_come_close() -> None:
    channel = np.full((3, 3), 0.03) + np.eye(3) * (1 - 0.27) / 3
    found = table_critics(channel, steps=100, batch_size=32, seeds=[0, 1])
    assert all(0 <= found.information - value < 0.05 for values in found.certified.values() for value in values)
    assert found == table_critics(channel, steps=100, batch_size=32, seeds=[0, 1])
    assert found.sentence().startswith(f"Exact information {found.information:.3f} nats") and "2 seeds" in found.sentence()


# --- bad input ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("call", "message"), [
    (lambda: beta_curve(Setup(dataset="digits"), betas=[0, -0.1]), r"betas must lie in \[0, 1\], got -0.1; above 1"),
    (lambda: beta_curve(Setup(dataset="digits"), betas=[0, math.nan]), r"betas must lie in \[0, 1\], got nan"),
    (lambda: beta_curve(Setup(dataset="digits"), betas=[1, 1]), r"at least two different weights, got \[1, 1\]; for example"),
    (lambda: beta_curve(Setup(dataset="digits"), head="mlp"), "head must be 'MLP' or 'Linear', got 'mlp'; choose"),
    (lambda: bounds(Setup(dataset="digits"), estimators=["dv"]), r"two or more of dv, nwj, js, nce, got \['dv'\]; choose"),
    (lambda: bounds(Setup(dataset="digits"), estimators=["dv", "mine"]), r"got \['dv', 'mine'\]; choose"),
    (lambda: bounds(Setup(dataset="digits"), head="CNN"), "got 'CNN'; choose"),
    (lambda: exact_tradeoff(np.zeros(9), np.full(9, 1 / 9), 1.0), r"2 to 8 points on a line, got shape \[9\]"),
    (lambda: exact_tradeoff([0, 1], [0.5, 0.6], 1.0), "sum"),
    (lambda: exact_tradeoff([0, 1], [0.5, 0.5], 1.0).best(-1), "beta must be at least 0, got -1"),
    (lambda: twice_jensen_shannon(-0.1), "information must be a number of nats >= 0, got -0.1"),
    (lambda: nwj_deviation(math.nan, 8), "got nan"),
    (lambda: nwj_deviation(1.0, 1), "batch_size must be a whole number >= 2, got 1"),
    (lambda: gaussian_truth([-1.0]), "got -1.0"),
    (lambda: table_critics([[0.5, 0.6], [0, 0]]), "sum"),
    (lambda: table_critics([[0.5, 0], [0, 0.5]], seeds=[]), "seeds must name at least one"),
])
def test_bad_input_is_refused_before_any_work(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- from end to end, with figures ----------------------------------------------------------------------------------------
def test_beta_curve_from_end_to_end(tmp_path: Path) -> None:
    result = beta_curve(Setup(**TINY, run_dir=str(tmp_path)), betas=[1.0, 0.0])
    assert result.betas == (0.0, 1.0) and all(e.settings.count("dv/all") for es in result.estimates.values() for e in es)
    figure = plot_beta_curve(result)
    assert [a.get_xlabel() for a in figure.axes] == ["worst-case information, nats (common critics)", "weight β of the worst case in training"]
    assert "not beaten" in figure.axes[1].get_title() and {t.get_text() for t in figure.axes[0].texts} == {"β = 0", "β = 1"}
    assert "n = 32 images" in result.verdict() and "\n" in figure.axes[0].get_title() and len(result.rows) == 16


def test_bounds_from_end_to_end(tmp_path: Path) -> None:
    result = bounds(Setup(**TINY, run_dir=str(tmp_path)), estimators=["js", "nwj"])
    assert result.bounds == ("js", "nwj") and len(result.readings["js"][0]["own"]) == 2
    assert {r: result.estimates["js", r][0].settings.count(f"{r}/all") for r in ("dv", "nce")} == {"dv": 1, "nce": 1}
    figure = plot_bounds(result)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["js", "nwj"] and "nats" in figure.axes[0].get_ylabel()
    assert "each bound against js" in result.verdict()
    assert f"{sum('information' in name for name in result.mattering())} of 4 values" in figure.axes[1].get_title()


def test_a_bound_reads_its_own_critic_on_batches_attacked_by_itself(tmp_path: Path) -> None:
    study = tradeoff._Witness(Setup(**TINY, run_dir=str(tmp_path)))
    encoder = study.encoder(0, worst_case=True, estimator="js")
    objective, history = study.trained
    assert objective.estimator == "js" and len(history.epochs) == 1
    read = tradeoff._read(encoder, objective, history, study.test[0], 16)
    same = tradeoff._read(encoder, replace(objective, threat=None), history, study.test[0], 16)
    assert all(a <= b + 1e-6 for a, b in zip(read["own"], same["own"], strict=True)) and max(read["own"]) <= 2 * math.log(2)
    assert read["own"] != read["dv"]


def test_figures_of_the_exact_cases() -> None:
    figure = plot_exact_tradeoff(exact_tradeoff([0.0, 1.0, 5.0], [0.4, 0.3, 0.3], 1.0))
    assert "2 of 5 maps" in figure.axes[0].get_title() and "exact" in figure.axes[0].get_xlabel()
    figure = plot_truth(gaussian_truth([0.5, 1.0], batches=20))
    assert all("nats" in axis.get_ylabel() for axis in figure.axes) and "20 batches of 64" in figure.texts[0].get_text()
