"""Objectives: each loss against an independent computation, the mixture by beta, the gradients, identities, errors."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robinfo.attacks import PGD
from robinfo.estimators import donsker_varadhan, info_nce, jensen_shannon, nwj
from robinfo.models import Critic
from robinfo.objectives import AdversarialTraining, InfoMax, Objective, Standard
from robinfo.objectives.base import Ramp
from robinfo.objectives.infomax import ESTIMATORS, PairScores, estimate_information
from robinfo.threats import L2, Linf

SMALL: dict[str, Any] = {"critic_width": 8, "critic_channels": 2}


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] and labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 8, 8, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def network(outputs: int = 3) -> nn.Module:
    """A linear network."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


def critic_for(objective: InfoMax, model: nn.Module) -> nn.Module:
    """The critic of the objective from a fixed seed, in evaluation mode."""
    torch.manual_seed(2)
    return objective.auxiliary(model, batch()[0]).eval()


# Classification


def cross_entropy_by_hand(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean of -log of the probability of the label."""
    probability = torch.softmax(model(images).detach().double(), 1)
    return sum(-math.log(float(p[y])) for p, y in zip(probability, labels, strict=True)) / len(labels)


def test_standard_is_the_mean_cross_entropy() -> None:
    model, (images, labels) = network(), batch()
    loss, metrics = Standard().loss(model, None, images, images, labels)
    assert loss.item() == pytest.approx(cross_entropy_by_hand(model, images, labels), rel=1e-5)
    assert metrics["loss"].item() == loss.item()
    assert float(metrics["accuracy"]) == pytest.approx(float((model(images).argmax(1) == labels).double().mean()))
    assert not any(v.requires_grad for v in metrics.values())
    assert Standard().perturb(model, None, images, labels) is images
    assert Standard().auxiliary(model, images) is None


def test_adversarial_training_is_the_cross_entropy_of_attacked_images() -> None:
    model, (images, labels) = network(), batch()
    attack = PGD(Linf(0.1), steps=3)
    objective = AdversarialTraining(attack)
    generators = [torch.Generator().manual_seed(4) for _ in range(2)]
    x_adv = objective.perturb(model, None, images, labels, generators[0])
    assert torch.equal(x_adv, attack(model, images, labels, generator=generators[1]))
    loss, _ = objective.loss(model, None, images, x_adv, labels)
    assert loss.item() == pytest.approx(cross_entropy_by_hand(model, x_adv, labels), rel=1e-5)
    assert loss.item() > Standard().loss(model, None, images, images, labels)[0].item()


# Information


@pytest.mark.parametrize("negatives", ["others", "all"])
@pytest.mark.parametrize(("name", "function"), [("dv", donsker_varadhan), ("nwj", nwj), ("js", jensen_shannon), ("nce", None)])
def test_normal_infomax_is_minus_the_estimate(name: str, function: Any, negatives: Any) -> None:
    model, (images, labels) = network(5), batch()
    objective = InfoMax(estimator=name, negatives=negatives, **SMALL)
    critic = critic_for(objective, model)
    loss, metrics = objective.loss(model, critic, images, images, labels)
    scores = critic(images, model(images))
    expected = info_nce(scores) if function is None else function(scores, negatives=negatives)
    torch.testing.assert_close(-loss, expected)
    assert set(metrics) == {"normal_mi", "mutual_information"}
    assert float(metrics["mutual_information"]) == float(metrics["normal_mi"]) == pytest.approx(float(expected))
    assert objective.perturb(model, critic, images, labels) is images


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.9])
def test_beta_is_a_convex_combination(beta: float) -> None:
    model, (images, labels) = network(5), batch()
    parts = {b: InfoMax(Linf(0.1), beta=b, steps=3, **SMALL) for b in (0.0, beta, 1.0)}
    critic = critic_for(parts[1.0], model)
    x_adv = parts[1.0].perturb(model, critic, images, labels)
    values = {b: -float(o.loss(model, critic, images, x_adv, labels)[0]) for b, o in parts.items()}
    assert values[1.0] < values[0.0]
    assert values[beta] == pytest.approx((1 - beta) * values[0.0] + beta * values[1.0], rel=1e-5)
    metrics = parts[beta].loss(model, critic, images, x_adv, labels)[1]
    assert float(metrics["normal_mi"]) == pytest.approx(values[0.0], rel=1e-5)
    assert float(metrics["worst_case_mi"]) == pytest.approx(values[1.0], rel=1e-5)


def test_beta_zero_searches_nothing() -> None:
    model, (images, labels) = network(5), batch()
    objective = InfoMax(Linf(0.1), beta=0.0, **SMALL)
    assert objective.perturb(model, critic_for(objective, model), images, labels) is images
    assert "worst_case_mi" not in objective.loss(model, critic_for(objective, model), images, images, labels)[1]


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
@pytest.mark.parametrize("gradient", ["full", "published"])
def test_worst_case_search_lowers_the_estimate_inside_the_ball(threat: Any, gradient: Any) -> None:
    model, (images, labels) = network(5), batch()
    objective = InfoMax(threat, steps=5, gradient=gradient, **SMALL)
    critic = critic_for(objective, model)
    with torch.no_grad():
        x_adv = objective.perturb(model, critic, images, labels)
        assert float(donsker_varadhan(critic(x_adv, model(x_adv)))) < float(donsker_varadhan(critic(images, model(images))))
    assert (threat.norm(x_adv - images) <= threat.radius * (1 + 1e-5)).all()
    assert torch.equal(objective.perturb(model, critic, images, labels), x_adv)  # no randomness


def test_published_gradient_stops_at_the_images_of_the_critic() -> None:
    """Total derivative of I(x, z = g(x)) against the part through z alone, both assembled by hand."""
    model, (images, _) = network(5), batch()
    objective = InfoMax(Linf(0.1), **SMALL)
    critic = critic_for(objective, model)
    through_images, through_features = images.clone().requires_grad_(), images.clone().requires_grad_()
    value = objective.information(critic(through_images, model(through_features)))
    direct, indirect = torch.autograd.grad(value, (through_images, through_features))
    assert direct.abs().max() > 1e-4
    for gradient, expected in (("full", direct + indirect), ("published", indirect)):
        x = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(objective.information(PairScores(model, critic, gradient)(x)), x)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)


def test_loss_trains_encoder_and_critic() -> None:
    model, (images, labels) = network(5), batch()
    objective = InfoMax(Linf(0.1), beta=0.5, steps=2, **SMALL)
    critic = critic_for(objective, model)
    objective.loss(model, critic, images, images, labels)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (*model.parameters(), critic.feature_block.shortcut.weight))


def test_auxiliary_fits_model_and_images() -> None:
    critic = InfoMax(critic_width=12, critic_depth=1, critic_channels=3).auxiliary(network(5), batch()[0])
    assert isinstance(critic, Critic)
    assert critic(batch()[0], torch.randn(6, 5)).shape == (6, 6, 16)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_by_name_return_scalars(name: str) -> None:
    assert estimate_information(torch.randn(4, 4, 3), name).shape == ()


# Identity and errors


def test_names_tell_settings_apart() -> None:
    objectives: list[Objective] = [
        Standard(), AdversarialTraining(PGD(Linf(0.1))), AdversarialTraining(PGD(Linf(0.2))), AdversarialTraining(PGD(L2(0.1))),
        AdversarialTraining(PGD(Linf(0.1), steps=3)), InfoMax(), InfoMax(Linf(0.1)), InfoMax(L2(0.1)), InfoMax(Linf(0.1), beta=0.5),
        InfoMax(Linf(0.1), steps=3), InfoMax(Linf(0.1), step_size=0.05), InfoMax(Linf(0.1), gradient="published"),
        *(InfoMax(estimator=e) for e in ESTIMATORS[1:]), InfoMax(negatives="all"), InfoMax(critic_width=8),
        InfoMax(critic_depth=3), InfoMax(critic_channels=8), InfoMax(critic_scale="none")]
    assert len({str(o) for o in objectives}) == len(objectives)
    assert [o.name for o in objectives[:2]] == ["Standard", "AdversarialTraining"]
    assert str(Standard()) == "Standard()"


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"threat": 0.03}, TypeError, r"threat must be Linf, L2, L1 or None, got 0.03"),
    ({"beta": 1.5}, ValueError, r"beta must lie in \[0, 1\], got 1.5"),
    ({"beta": -0.5}, ValueError, "beta must be a finite number >= 0, got -0.5"),
    ({"beta": math.nan}, ValueError, "beta must be a finite number"),
    ({"estimator": "mine"}, ValueError, "expected an estimator of dv, nwj, js, nce .*, got 'mine'"),
    ({"gradient": "half"}, ValueError, "got 'dv' and 'half'"),
    ({"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0"),
])
def test_bad_settings_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InfoMax(**options)


def test_misuse_is_explained() -> None:
    with pytest.raises(ValueError, match="the normal case has no attack, got threat=None"):
        _ = InfoMax().attack
    with pytest.raises(ValueError, match="estimator must be one of dv, nwj, js, nce, got 'mine'"):
        estimate_information(torch.zeros(3, 3), "mine")
    with pytest.raises(NotImplementedError, match="Objective must define loss"):
        Objective().loss(network(), None, *batch()[:1], *batch())
    with pytest.raises(ValueError, match=r"representation must map images .* got \[2, 1, 8, 8\]"):
        InfoMax().auxiliary(nn.Identity(), batch()[0])
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        InfoMax().information(torch.full((3, 3), math.nan))


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        InfoMax().beta = 0.5  # type: ignore[misc]


def test_adversarial_training_refuses_what_is_no_attack() -> None:
    with pytest.raises(TypeError, match="attack must be callable, got 0.1; for example PGD"):
        AdversarialTraining(0.1)  # type: ignore[arg-type]


# Hooks of the engine: the objective of an epoch, and Ramp


def test_an_objective_is_the_same_in_every_epoch_unless_it_says_otherwise() -> None:
    objective = AdversarialTraining(PGD(Linf(0.1)))
    assert all(objective.at(epoch) is objective for epoch in (0, 1, 100))
    assert not Objective.indexed
    assert not objective.indexed


@pytest.mark.parametrize(("epochs", "shares"), [(1, [1, 1, 1]), (2, [0.5, 1, 1]), (5, [0.2, 0.4, 0.6, 0.8, 1, 1, 1])])
@pytest.mark.parametrize("threat", [Linf(0.3), L2(2.0)])
def test_ramp_grows_radius_and_step(epochs: int, shares: list[float], threat: Any) -> None:
    ramp = Ramp(AdversarialTraining(PGD(threat, steps=40, step_size=0.01, keep="last", precision="bfloat16")), epochs)
    for epoch, share in enumerate(shares):
        objective = ramp.at(epoch)
        assert isinstance(objective, AdversarialTraining)
        attack: Any = objective.attack
        assert type(attack.threat) is type(threat)
        assert attack.threat.radius == pytest.approx(share * threat.radius, rel=1e-12)
        assert attack.step_size == pytest.approx(share * 0.01, rel=1e-12)
        assert (attack.steps, attack.keep, attack.precision) == (40, "last", "bfloat16")
        if share == 1:
            assert objective is ramp.objective


def test_ramp_scales_the_default_step_with_the_radius() -> None:
    objective: Any = Ramp(AdversarialTraining(PGD(Linf(0.3), steps=10)), 3).at(0)
    assert objective.attack.step_size is None
    assert objective.attack.size == pytest.approx(2.5 * 0.1 / 10)


def test_ramp_finds_a_threat_of_the_objective_itself() -> None:
    objective: Any = Ramp(InfoMax(Linf(0.2), beta=0.5, step_size=0.04, **SMALL), 4).at(1)
    assert (objective.threat.radius, objective.step_size, objective.beta) == (0.1, 0.02, 0.5)


@dataclass(frozen=True)
class Weighted(AdversarialTraining):
    """Adversarial training with a weight that doubles from epoch to epoch."""

    weight: float = 1.0

    def at(self, epoch: int) -> Objective:
        """The weight of the epoch."""
        return Weighted(self.attack, 2.0**epoch)

    def loss(self, *arguments: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Times the weight."""
        loss, metrics = super().loss(*arguments)
        return self.weight * loss, metrics


def test_ramp_keeps_the_schedule_inside() -> None:
    ramp = Ramp(Weighted(PGD(Linf(0.3), steps=2)), 3)
    found: list[Any] = [ramp.at(epoch) for epoch in range(5)]
    assert [o.weight for o in found] == [1, 2, 4, 8, 16]
    assert [round(o.attack.threat.radius, 9) for o in found] == [0.1, 0.2, 0.3, 0.3, 0.3]


def test_ramp_outside_of_a_run_is_the_objective_inside() -> None:
    inner, model, (images, labels) = AdversarialTraining(PGD(Linf(0.1), steps=3)), network(), batch()
    ramp = Ramp(inner, 4)
    x_adv = [o.perturb(model, None, images, labels, torch.Generator().manual_seed(0)) for o in (ramp, inner)]
    assert torch.equal(*x_adv)
    assert float((x_adv[0] - images).abs().max()) == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(ramp.loss(model, None, images, x_adv[0], labels)[0], inner.loss(model, None, images, x_adv[0], labels)[0])
    assert ramp.auxiliary(model, images) is None
    assert isinstance(Ramp(InfoMax(Linf(0.1), **SMALL), 4).auxiliary(network(5), images), Critic)
    assert ramp.name == "AdversarialTraining"
    assert str(ramp) == f"Ramp({inner}, epochs=4)"
    assert len({str(Ramp(inner, n)) for n in (1, 2, 3)} | {str(inner)}) == 4


@pytest.mark.parametrize(("objective", "epochs", "error", "message"), [
    (Standard(), 3, TypeError, r"a ramp needs a setting called attack or threat, got Standard\(\); train it without a ramp"),
    (InfoMax(), 3, TypeError, "a ramp needs a setting called attack or threat, got InfoMax"),
    (AdversarialTraining(lambda model, images, labels, generator=None: images), 3, TypeError,
     r"a ramp needs a dataclass of settings with a threat, got <function.*use an attack such as PGD\(Linf\(0.3\)\)"),
    (PGD(Linf(0.3)), 3, TypeError, "objective must be an Objective, got PGD"),
    (AdversarialTraining(PGD(Linf(0.3))), 0, ValueError, "epochs must be a whole number >= 1, got 0"),
    (AdversarialTraining(PGD(Linf(0.3))), 2.5, TypeError, "epochs must be a whole number, got float 2.5")])
def test_ramp_refuses_what_has_no_radius(objective: Any, epochs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Ramp(objective, epochs)
