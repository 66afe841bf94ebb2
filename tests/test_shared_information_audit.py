"""The audit of the AutoAttack claim and the information view: judging by fresh draws, pairing, verdicts, estimates with known values."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from robinfo.attacks import PGD, AutoAttack, ExpectationOverTransformation
from robinfo.experiments import shared_information_audit as audit
from robinfo.experiments import shared_information_view as view
from robinfo.experiments.shared_information_audit import (
    INFERENCES,
    ClaimsAudit,
    Searches,
    claims_audit,
    plot_claims_audit,
)
from robinfo.experiments.shared_information_study import METHODS, Count, Settings, Study
from robinfo.experiments.shared_information_view import (
    Estimate,
    InformationView,
    Measured,
    Measures,
    Representation,
    plot_information_view,
)
from robinfo.latent import GaussianLatent
from robinfo.models import classifier
from robinfo.theory.fano import adversarial_accuracy_upper_bound
from robinfo.theory.shared_information import symmetric_gaussian_kl
from robinfo.threats import Linf
from robinfo.vulnerability import VulnerabilityEstimate

NOTEBOOKS = Path(__file__).resolve().parents[1] / "nbs" / "experiments"


def noisy(std: float = 2.0, slope: float = 0.0) -> GaussianLatent:
    """Two classes: the latent's mean is 1 plus a slope times the first pixel's distance from 0.5, its deviation as given; class 1 above 0."""
    model = GaussianLatent(nn.Flatten(), 4, 2, latent=1).eval().requires_grad_(False)
    model.gaussian.weight.zero_()
    model.gaussian.weight[0, 0] = slope
    model.gaussian.bias.copy_(torch.tensor([1.0 - 0.5 * slope, math.log(math.expm1(std))]))
    model.last.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    model.last.bias.zero_()
    return model


IMAGES, LABELS = torch.full((60, 1, 2, 2), 0.5), torch.ones(60, dtype=torch.long)
PHI = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))  # P(N(1, 2^2) > 0)


# --- the audit ----------------------------------------------------------------------------------------------------------
def test_searches_say_what_they_are() -> None:
    settings, searches = Settings(dataset="mnist"), Searches(queries=10, members=("apgd-ce", "square"))
    for inference in INFERENCES:
        attacks: dict[str, Any] = searches.attacks(settings, inference)
        assert list(attacks) == ["PGD-40", "PGD-40, worst iterate", "APGD", "AutoAttack", "Square"]
        assert attacks["PGD-40"].keep == "last" and attacks["PGD-40, worst iterate"].keep == "best"
        assert {a.drop_fooled for a in attacks.values() if isinstance(a, PGD)} == {"never"}
        assert attacks["AutoAttack"].fast == (inference == "mean") and all(a.threat == Linf(0.3) for a in attacks.values())
    assert searches.reduced() == ["queries 10", "AutoAttack of apgd-ce and square"] and Searches().reduced() == []


@pytest.mark.parametrize(("changes", "message"), [({"passes": 3}, "even and at least 2, got 3"), ({"passes": 0}, "got 0"),
                                                  ({"audit_images": -1}, "at least 0, got -1")])
def test_searches_are_checked(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Searches(**changes)  # type: ignore[arg-type]


def test_networks_without_a_latent_are_refused() -> None:
    with pytest.raises(ValueError, match="must have a Gaussian latent, got TRADES of kind 'plain'"):
        claims_audit(Settings(dataset="digits"), variant=METHODS["TRADES"])


def test_judging_asks_for_fresh_draws_as_the_network_gives_them() -> None:
    model = noisy()
    one = audit._judged(model, IMAGES, LABELS, 50, seed=0)
    assert one.shape == (60, 1) and one.all()  # the mean is 1
    drawn = audit._judged(model.with_inference("sample"), IMAGES, LABELS, 200, seed=0)
    assert abs(drawn.mean() - PHI) < 4 * math.sqrt(PHI * (1 - PHI) / drawn.size)
    average = audit._judged(model.with_inference("average", samples=400), IMAGES[:5], LABELS[:5], 10, seed=0)
    assert average.all()  # more often right than wrong
    forward = torch.stack([model.with_inference("sample")(IMAGES).argmax(1) == 1 for _ in range(200)]).double().mean()
    assert abs(float(forward) - drawn.mean()) < 0.03
    before = torch.get_rng_state()
    assert (audit._judged(model.with_inference("sample"), IMAGES, LABELS, 4, seed=1) == audit._judged(
        model.with_inference("sample"), IMAGES, LABELS, 4, seed=1)).all() and torch.equal(before, torch.get_rng_state())


def test_the_average_is_the_expectation_over_the_draws() -> None:
    model = noisy()
    smooth = ExpectationOverTransformation(model.with_inference("sample"), samples=4000, seed=0, average="probabilities")
    torch.manual_seed(0)
    ours = model.with_inference("average", samples=4000)(IMAGES[:2]).exp()
    assert torch.allclose(ours, smooth(IMAGES[:2]).exp(), atol=0.04)


def test_an_ensemble_that_waits_for_a_wrong_answer_is_fooled_by_luck() -> None:
    """The mechanism itself: no image in the ball is worse than another, and yet each member books what one draw gets wrong as lost."""
    model, attack = noisy(), AutoAttack(Linf(0.1), version="custom", attacks=("apgd-ce", "square"), steps=10, queries=10)
    hunt = audit._hunt(attack, model.with_inference("sample"), IMAGES, LABELS)
    fresh = audit._judged(model.with_inference("sample"), hunt.images, LABELS, 100, seed=0).mean()
    assert abs(hunt.booked / 60 - PHI**3) < 0.2 and hunt.booked / 60 < fresh - 0.15  # right three times in a row: clean, and after each member
    assert abs(fresh - PHI) < 0.03 and "randomised" in hunt.flags
    steady = audit._hunt(attack, model, IMAGES, LABELS)
    assert steady.booked == 60 and steady.images.shape == IMAGES.shape and "randomised" not in steady.flags


def test_differences_are_paired() -> None:
    a, b = np.array([1.0, 0.5, 1.0, 0.0]), np.array([0.0, 0.5, 1.0, 0.0])
    mean, (low, high) = audit._paired(a, b)
    half = 3.1824463 * 0.5 * 100 / 2  # Student, three degrees of freedom; the deviation of (1, 0, 0, 0) is 1/2
    assert (mean, low, high) == (25.0, pytest.approx(25 - half, abs=1e-4), pytest.approx(25 + half, abs=1e-4))
    mean, (low, high) = audit._paired(b, b)
    assert mean == 0 and high == -low == pytest.approx(100 * (1 - 0.025**0.25))  # no exception among four


def test_recorded_images_are_found_again_in_any_order() -> None:
    images = torch.rand(5, 1, 2, 2)
    recorded = audit._Recorded(lambda *_: images, images, images + 1)
    order = torch.tensor([3, 0])
    assert torch.equal(recorded(None, images[order], order), images[order] + 1) and str(recorded).endswith("run before")


def test_finds_are_kept_for_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_CHUNK", 25)
    calls: list[int] = []

    class Shift:
        """An attack that counts its calls."""

        def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            calls.append(len(images))
            return images + 0.01

        def __repr__(self) -> str:
            return "Shift"

    def run(identity: str = "a") -> Tensor:
        """What the attack finds."""
        return audit._hunt_all(Shift(), noisy(), IMAGES, LABELS, tmp_path, identity).images

    first = run()
    assert calls == [25, 25, 10] and torch.equal(first, IMAGES + 0.01)
    assert torch.equal(run(), first) and len(calls) == 3
    run("b")
    assert len(calls) == 6
    damaged = min(tmp_path.glob("*.safetensors"))
    damaged.write_bytes(b"damaged")
    run(), run("b")
    assert len(calls) == 7


def result(pgd: dict[str, float], ensemble: dict[str, float], *, n: int = 400, passes: int = 10, dataset: str = "mnist", **changes: Any) -> ClaimsAudit:
    """An audit in which images are right with these probabilities under PGD and AutoAttack, by way of answering."""
    rng, correct = np.random.default_rng(0), {}
    for asked in INFERENCES:
        count = 1 if asked == "mean" else passes
        correct["natural", "", asked] = np.ones((n, count), bool)
        for seen in INFERENCES:
            for name, p in (("PGD-40", pgd), ("PGD-40, worst iterate", pgd), ("APGD", pgd), ("AutoAttack", ensemble), ("Square", pgd)):
                correct[name, seen, asked] = (rng.random(n) < p[asked])[:, None] & np.ones((n, count), bool)
    fields: dict[str, Any] = {"study": Study(Settings(dataset=dataset, seeds=[0], epochs=2)), "searches": Searches(passes=passes), "correct": correct,
                              "booked": dict.fromkeys(INFERENCES, (n // 4, n)), "flags": {"sample": ("randomised",)}, "audits": {}, "noise": 0.5}
    return ClaimsAudit(**(fields | changes))


HALF: dict[str, float] = {asked: 0.5 for asked in INFERENCES}


@pytest.mark.parametrize(("ensemble", "sentence", "title"), [
    (HALF | {"mean": 0.3, "sample": 0.7}, "appears when the network answers by one draw; by the mean it does not appear: it is a sign of random answers",
     r"One draw puts AutoAttack \d+\.\d points above PGD-40; the mean \d+\.\d below"),
    (dict.fromkeys(INFERENCES, 0.2), "does not appear in any way of answering. Whether random answers push towards it is open", "AutoAttack is not above PGD-40 beyond the interval"),
    (HALF, "does not appear beyond the intervals. Whether", "AutoAttack is not above"),
    (HALF | {"mean": 0.1}, "But against the mean, one draw moves the difference by +", "AutoAttack is not above"),
    (HALF | {"sample": 0.1}, "does not appear beyond the intervals. Nor do random answers push towards it", "AutoAttack is not above"),
    (dict.fromkeys(INFERENCES, 0.9), "although the answers are not random", "The mean puts AutoAttack .*, one draw puts AutoAttack"),
])
def test_the_verdict_follows_from_the_measurements(ensemble: dict[str, float], sentence: str, title: str) -> None:
    import re

    found = result(HALF, ensemble)
    assert sentence in found.verdict() and re.match(title, found.headline())
    assert plot_claims_audit(found).axes[0].get_title(loc="left").replace("\n", " ") == found.headline()
    assert "books 25.0 % as robust" in found.verdict() and "printed for MNIST: -0.88" in found.verdict()
    assert found.verdict().startswith("Not comparable: reduced: epochs 2, 1 trial.")


def test_the_printed_difference_is_that_of_the_two_cells() -> None:
    gaps = {name: result(HALF, HALF, study=Study(Settings(dataset=name))).printed_gap() for name in ("cifar10", "mnist", "digits")}
    assert gaps["digits"] is None and gaps["mnist"] is not None and gaps["cifar10"] is not None
    assert gaps["cifar10"]["mean"] == pytest.approx(3.1) and gaps["cifar10"]["std"] == pytest.approx(0.35)
    assert gaps["mnist"]["mean"] == pytest.approx(-0.88) and gaps["cifar10"]["unit"] == "pp"
    full = result(HALF, HALF, study=Study(Settings(dataset="cifar10")))
    assert full.verdict().startswith("The printed difference: ") and "answering by the mean" in full.verdict()
    other = result(HALF, HALF, study=Study(Settings(dataset="cifar10", epsilon=0.1)))
    assert other.verdict().startswith("Not comparable: ") and "another threat than the paper's Linf(0.031)" in other.verdict().split(". ")[0]


def test_the_shift_is_the_difference_of_the_differences() -> None:
    found = result(HALF, HALF | {"sample": 0.9, "mean": 0.2})
    assert found.shift("sample")[0] == pytest.approx(found.difference("AutoAttack", "sample")[0] - found.difference("AutoAttack", "mean")[0])
    assert found.shift("sample")[1][0] > 50


def test_the_worst_case_is_judged_by_other_passes_than_choose_it() -> None:
    rng = np.random.default_rng(0)
    noise = {key: rng.random(table.shape) < 0.5 for key, table in result(HALF, HALF, passes=40).correct.items()}
    blind = result(HALF, HALF, correct=noise)
    assert abs(blind.accuracy("worst case", "sample")[0] - 50) < 2  # the least of sixteen half-shares would lie near 36
    known = result(HALF, HALF | {"sample": 0.0})
    assert known.accuracy("worst case", "sample")[0] == 0 and known.unsteady("sample") == 0
    mean = known.correct
    expected = np.stack([table[:, 0] for key, table in mean.items() if key[2] == "mean"]).all(0).mean()
    assert known.accuracy("worst case", "mean")[0] == pytest.approx(100 * expected)


def test_rows_and_tables_hold_every_line() -> None:
    found = result(HALF, HALF | {"sample": 0.8})
    rows = {(row.method, row.attack or row.metric): row for row in found.rows}
    assert rows["Ours, answers by one draw", "AutoAttack"].value == pytest.approx(found.accuracy("AutoAttack", "sample")[0])
    gap = rows["Ours, answers by one draw", "AutoAttack minus PGD-40"]
    assert (gap.value, gap.unit) == (pytest.approx(found.difference("AutoAttack", "sample")[0]), "pp") and gap.paper is not None
    assert ("Ours, answers by the mean", "AutoAttack against the mean") not in rows  # that is AutoAttack
    assert ("Ours, answers by the mean", "AutoAttack against the average") in rows
    assert all(row.settings.startswith("reduced: epochs 2, 1 trial") and row.n == 400 for row in found.rows)
    assert {row.verdict for row in found.rows if row.paper is not None} == {"not comparable"}
    table = found.table()
    assert len(table.splitlines()) == 2 + len(found.lines) + 3 and "AutoAttack by its own books" in table
    assert found.audit_table() == "No audit: it was left out."
    assert "no image" in result(HALF, HALF, audits={"mean": "not made: no image"}).audit_table()


# --- the information view -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("changes", "message"), [({"batch_size": 10}, "must exceed the 10 neighbours"), ({"pair_images": 5}, "pair_images must fill"),
                                                  ({"critic_images": 5}, "critic_images must fill")])
def test_measures_are_checked(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measures(**changes)  # type: ignore[arg-type]


def test_representations_have_a_law() -> None:
    images = torch.rand(3, 1, 28, 28)
    plain = classifier("small_cnn", in_channels=1, image_size=28).eval()
    points = Representation(plain)
    mean, std = points.law(images)
    assert not points.gaussian and not std.any() and torch.equal(points(images), mean)
    assert torch.allclose(plain(images), list(plain.modules())[-1](mean), atol=1e-6)  # the last layer builds on it
    latent = noisy()
    gaussian = Representation(latent)
    assert gaussian.gaussian and torch.equal(gaussian(IMAGES), latent.encode(IMAGES)[0]) and not gaussian.training


def chain(correlation: float, n: int, seed: int, dims: int = 2) -> Any:
    """Views whose draws z, z' are standard normal with this correlation in each of some coordinates."""
    common = torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) * math.sqrt(correlation)
    std = torch.full_like(common, math.sqrt(1 - correlation))
    return view._Views(common, std, common, std)


def test_mine_finds_the_information_of_correlated_gaussians() -> None:
    measures = Measures(batch_size=64, pair_images=64, critic_images=64, hidden=(64,), mine_epochs=15, learning_rate=3e-3)
    truth = -math.log(1 - 0.8**2)  # two coordinates
    found = view._mine(chain(0.8, 3000, 10), chain(0.8, 1280, 11), measures, seed=0)
    assert abs(found.value - truth) < 0.2 and found.interval is not None and found.value < measures.ceiling
    assert abs(view._mine(chain(0.0, 1000, 10), chain(0.0, 640, 11), replace(measures, mine_epochs=4), seed=0).value) < 0.1


def test_hsic_stands_beside_unrelated_pairs() -> None:
    measures = Measures(batch_size=100, pair_images=100, critic_images=100)
    joint, apart = view._hsic(chain(0.9, 500, 10), measures, seed=0)
    assert joint.value > 2 * apart.value
    joint, apart = view._hsic(chain(0.0, 500, 10), measures, seed=0)
    assert joint.value == pytest.approx(apart.value, rel=0.25)
    with pytest.raises(ValueError, match="test_images must fill one batch of 100, got 50"):
        view._hsic(chain(0.0, 50, 0), measures, seed=0)


def test_scaling_changes_units_alone() -> None:
    views = view._Views(*(7 * part for part in chain(0.5, 4000, 10)))
    scaled = views.scaled(views)
    draws = torch.cat(scaled.draw(slice(None), torch.Generator().manual_seed(0)))
    assert float(draws.mean().abs()) < 0.03 and float(draws.std()) == pytest.approx(1, abs=0.03)
    moved = views._replace(other_mean=views.other_mean + 3)
    before, after = (symmetric_gaussian_kl(*(part.double().numpy() for part in v)) for v in (moved, moved.scaled(views)))
    assert np.allclose(before, after, rtol=1e-3) and before.min() > 0.1


def test_the_divergence_of_the_answers() -> None:
    logits = {0: torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0]]), 1: torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0]])}
    found = view._answer_divergence(lambda x: logits[int(x[0, 0, 0, 0])], torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1))  # type: ignore[arg-type]
    p, q = (np.exp(logits[i].numpy()) / np.exp(logits[i].numpy()).sum(1, keepdims=True) for i in (0, 1))
    assert found.value == pytest.approx(((p * np.log(p / q)).sum(1) + (q * np.log(q / p)).sum(1)).mean() / 2, rel=1e-5)


def measured(correct: int, worst: float, *, gaussian: bool = False, mine: float = 1.0) -> Measured:
    """A network with this accuracy and worst-case information."""
    rv = VulnerabilityEstimate(2.0, worst, 2.0 - worst, (1.9, 2.1), (worst - 0.1, worst + 0.1), None, 4.85, "Linf(0.3)", 2, 128, 0, "")
    return Measured(gaussian, 5, Count(correct, 100, "PGD"), Estimate(0.02, (0.01, 0.03)), Estimate(0.01, None), Estimate(mine, None),
                    Estimate(3.0, (2.0, 4.0)) if gaussian else None, Estimate(0.1, (0.0, 0.2)), rv)


def test_the_page_is_computed() -> None:
    networks = {"Standard": measured(40, 1.0), "TRADES": measured(60, 0.5, mine=4.8), "Ours": measured(50, 1.5, gaussian=True)}
    found = InformationView(Study(Settings(dataset="digits", seeds=[0])), Measures(), networks)
    assert found.headline() == "Most accurate under PGD-40: TRADES; least vulnerable: Ours; most shared information: TRADES"
    assert networks["Ours"].bound(10).value == pytest.approx(100 * float(adversarial_accuracy_upper_bound(1.5, 10)))
    assert found.agreement(lambda m: -m.vulnerability.vulnerability) == (1, 3) and found.agreement(lambda m: 0.0) == (0, 3)
    verdict = found.verdict()
    assert "infinite for Standard, TRADES" in verdict and "which TRADES nearly reach" in verdict and "accuracy of TRADES exceeds" in verdict
    assert "HSIC stands above that of unrelated pairs, beyond both intervals, for no network" in verdict  # 0.01 against 0.01
    clear = {"Ours": replace(networks["Ours"], hsic=Estimate(0.02, (0.011, 0.03)))}
    assert "beyond both intervals, for Ours; MINE" in replace(found, networks=clear).verdict()
    lines = found.table().splitlines()
    assert len(lines) == 5 and "∞ (points)" in lines[2] and "3.00 [2.00, 4.00]" in lines[4]
    assert [row.method for row in found.rows if row.metric.startswith("symmetrised KL of p(z|x)")] == ["Ours"]
    assert plot_information_view(found)._suptitle.get_text() == found.headline()


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match=r"methods must be out of Standard.*got \['Mine'\]"):
        view.information_view(Settings(dataset="digits"), methods=["Mine"])


# --- the profiles -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "profile"), [("claims_audit_shared_information", "cpu"), ("claims_audit_shared_information", "paper"),
                                               ("shared_information_view", "smoke"), ("shared_information_view", "cpu"),
                                               ("shared_information_view", "paper")])
def test_the_networks_are_those_of_table_4(name: str, profile: str) -> None:
    """The profiles train with the settings of Table 4, so that its networks are found again."""
    def checkpoint(notebook: str) -> list[Path]:
        """Files of the five networks under a profile."""
        given = yaml.safe_load((NOTEBOOKS / f"{notebook}.yaml").read_text())[profile]
        known = {key: value for key, value in given.items() if key in Settings.__dataclass_fields__}
        study = Study(Settings(**({"dataset": "mnist"} | known)))
        make: Callable[..., Path] = study.checkpoint
        return [make(variant, 0) for variant in METHODS.values()]

    assert checkpoint(name) == checkpoint("shared_information_table4")
