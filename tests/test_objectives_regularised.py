"""TRADES, MART, MMA: losses and radii against plain NumPy on fixed inputs, attacks against a loop in NumPy, the memory of MMA."""
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robinfo.attacks import PGD
from robinfo.checks import evaluating
from robinfo.data import load, random_crop_flip, to_float
from robinfo.objectives.adversarial import AdversarialTraining, Standard
from robinfo.objectives.base import Objective, Ramp
from robinfo.objectives.regularised import (
    MART,
    MMA,
    TRADES,
    ImageRadii,
    bisect_radius,
    boosted_cross_entropy,
    divergence_from_clean,
    mart_loss,
    mma_loss,
    soft_margin,
    trades_loss,
)
from robinfo.threats import L1, L2, Linf
from robinfo.training import fit, load_tensors

Array = NDArray[np.float64]
CLEAN = np.array([[2.0, 0.0, -1.0, 0.3], [0.5, 1.0, 0.0, -0.2], [-1.0, 3.0, 2.5, 0.0], [0.0, 0.0, 0.0, 0.0], [4.0, -4.0, 1.0, 2.0]])
ATTACKED = np.array([[0.5, 0.1, 0.0, 0.4], [1.5, 0.2, 0.1, 0.0], [0.0, 1.0, 2.5, 0.5], [0.3, -0.1, 0.0, 0.2], [-2.0, 6.0, 1.0, 0.0]])
LABELS = np.array([0, 1, 1, 3, 0])
DIGITS = load("digits").subset(train=200, test=40)


def tensors(*arrays: Any) -> tuple[Tensor, ...]:
    """Arrays as tensors, floats in single precision."""
    return tuple(torch.tensor(a, dtype=torch.float32 if np.asarray(a).dtype.kind == "f" else torch.int64) for a in arrays)


def softmax(logits: Array) -> Array:
    """Probabilities of logits [N, K]."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def images_and_labels(n: int = 12, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 4, 4] away from black and white, and labels."""
    generator = torch.Generator().manual_seed(0)
    return 0.3 + 0.4 * torch.rand(n, 1, 4, 4, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def network(classes: int = 3, *, dropout: bool = False) -> nn.Module:
    """A linear classifier of images [N, 1, 4, 4]; with normalisation and dropout on request."""
    torch.manual_seed(1)
    extra = [nn.BatchNorm1d(16), nn.Dropout(0.5)] if dropout else []
    return nn.Sequential(nn.Flatten(), *extra, nn.Linear(16, classes))


# Losses against NumPy


def trades_in_numpy(clean: Array, attacked: Array, labels: Array, beta: float) -> float:
    """Mean of -log p_y + beta * sum p log(p / q)."""
    p, q = softmax(clean), softmax(attacked)
    rows = np.arange(len(labels))
    return float(np.mean(-np.log(p[rows, labels]) + beta * (p * np.log(p / q)).sum(1)))


def mart_in_numpy(clean: Array, attacked: Array, labels: Array, beta: float) -> float:
    """The formula of the authors' program, image by image, by sorting."""
    total = 0.0
    for p, q, y in zip(softmax(clean), softmax(attacked), labels, strict=True):
        order = np.argsort(q)
        rival = order[-2] if order[-1] == y else order[-1]
        total += -math.log(q[y]) - math.log(1.0001 - q[rival] + 1e-12)
        total += beta * (1.0000001 - p[y]) * sum(a * (math.log(a) - math.log(b + 1e-12)) for a, b in zip(p, q, strict=True))
    return total / len(labels)


def mma_in_numpy(clean: Array, attacked: Array, labels: Array, radius: Array, maximum: float, weight: float) -> float:
    """The sums of the authors' program: hinge on the right images, clean cross-entropy of the wrong ones, divided by N."""
    rows = np.arange(len(labels))
    losses = -np.log(softmax(attacked)[rows, labels])
    right = radius > 0
    margin_part = losses[right & (radius < maximum)].sum()
    wrong_part = losses[~right].mean() * (~right).sum() if (~right).any() else 0.0
    return float(weight * -np.log(softmax(clean)[rows, labels]).mean() + (1 - weight) * (margin_part + wrong_part) / len(labels))


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_loss_is_that_of_numpy(beta: float) -> None:
    assert float(trades_loss(*tensors(CLEAN, ATTACKED, LABELS), beta)) == pytest.approx(trades_in_numpy(CLEAN, ATTACKED, LABELS, beta), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_mart_loss_is_that_of_numpy(beta: float) -> None:
    assert float(mart_loss(*tensors(CLEAN, ATTACKED, LABELS), beta)) == pytest.approx(mart_in_numpy(CLEAN, ATTACKED, LABELS, beta), rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1 / 3, 1.0])
@pytest.mark.parametrize("radius", [[0.1, 0.0, 0.45, 0.2, 0.0], [0.1] * 5, [0.0] * 5, [0.46] * 5, [0.44, 0.45, 0.47, 0.0, 0.3]])
def test_mma_loss_is_that_of_numpy(weight: float, radius: list[float]) -> None:
    found = mma_loss(*tensors(CLEAN, ATTACKED, LABELS, np.array(radius)), 0.45, weight)
    assert float(found) == pytest.approx(mma_in_numpy(CLEAN, ATTACKED, LABELS, np.array(radius), 0.45, weight), rel=1e-6)


def test_losses_of_the_classes_are_these_functions() -> None:
    model, (images, labels) = network(), images_and_labels()
    x_adv = (images + 0.05).clamp(0, 1)
    z, w = (model(x).detach().double().numpy() for x in (images, x_adv))
    memory = ImageRadii(20)
    memory.latest = torch.linspace(0, 0.5, 12)
    cases: list[tuple[Objective, nn.Module | None, float]] = [
        (TRADES(Linf(0.1), beta=2.0), None, trades_in_numpy(z, w, labels.numpy(), 2.0)),
        (MART(Linf(0.1), beta=3.0), None, mart_in_numpy(z, w, labels.numpy(), 3.0)),
        (MMA(Linf(0.3)), memory, mma_in_numpy(z, w, labels.numpy(), memory.latest.double().numpy(), 0.3, 1 / 3))]
    for objective, auxiliary, expected in cases:
        loss, metrics = objective.loss(model, auxiliary, images, x_adv, labels)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
        assert float(metrics["loss"]) == float(loss.detach())
        assert float(metrics["accuracy"]) == pytest.approx((z.argmax(1) == labels.numpy()).mean())
        assert not any(v.requires_grad for v in metrics.values())
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_identities_of_the_losses() -> None:
    clean, attacked, labels = tensors(CLEAN, ATTACKED, LABELS)
    assert divergence_from_clean(clean, clean).abs().max() < 1e-6
    assert (divergence_from_clean(clean, attacked) > 0).all()
    assert float(trades_loss(clean, clean, labels, 6.0)) == pytest.approx(float(nn.functional.cross_entropy(clean, labels)), rel=1e-6)
    assert float(mma_loss(clean, attacked, labels, torch.ones(5), 0.5, 1.0)) == pytest.approx(float(nn.functional.cross_entropy(clean, labels)))
    assert float(mma_loss(clean, attacked, labels, torch.ones(5), 0.5, 0.0)) == 0.0
    p = clean.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(soft_margin(clean, labels), ((1 - p) / p).log())


def test_gradient_of_trades_passes_through_both_predictions() -> None:
    clean, attacked, labels = tensors(CLEAN, ATTACKED, LABELS)
    clean.requires_grad_(), attacked.requires_grad_()
    (trades_loss(clean, attacked, labels, 6.0) - trades_loss(clean, attacked, labels, 0.0)).backward()
    assert clean.grad is not None and attacked.grad is not None
    p, q = softmax(CLEAN), softmax(ATTACKED)
    np.testing.assert_allclose(attacked.grad, 6.0 * (q - p) / 5, atol=1e-6)
    ratio = np.log(p / q)
    np.testing.assert_allclose(clean.grad, 6.0 * p * (ratio - (p * ratio).sum(1, keepdims=True)) / 5, atol=1e-6)


@pytest.mark.parametrize("loss", [trades_loss, mart_loss], ids=["trades", "mart"])
def test_saturated_logits_have_finite_losses_and_gradients(loss: Any) -> None:
    logits = torch.tensor([[500.0, 0.0, -500.0], [0.0, 0.0, 0.0]], requires_grad=True)
    attacked = torch.tensor([[-500.0, 500.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    value = loss(logits, attacked, torch.tensor([0, 1]), 6.0)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    assert torch.isfinite(attacked.grad).all()  # type: ignore[arg-type]


def test_boosted_cross_entropy_of_a_sure_mistake_is_bounded_in_its_second_term() -> None:
    value = boosted_cross_entropy(torch.tensor([[0.0, 60.0]]), torch.tensor([0]))
    assert float(value) == pytest.approx(60 - math.log(1e-4), rel=1e-3)


# Attacks against a loop in NumPy (a linear model has its gradient in closed form)


def search_in_numpy(model: Any, images: Tensor, labels: Tensor, kind: str, radius: float, steps: int, size: float) -> Array:
    """Ascent by signs from the image plus 0.001 times normal noise, within the ball and [0, 1]."""
    weight, bias = (t.detach().double().numpy() for t in (model[-1].weight, model[-1].bias))
    x = images.flatten(1).double().numpy()
    noise = torch.empty_like(images).normal_(generator=torch.Generator().manual_seed(3)).flatten(1).double().numpy()
    clean, truth = softmax(x @ weight.T + bias), np.eye(len(weight))[labels.numpy()]
    x_adv = np.clip(x + 0.001 * noise, 0, 1)
    for _ in range(steps):
        slope = (softmax(x_adv @ weight.T + bias) - (clean if kind == "trades" else truth)) @ weight
        x_adv = np.clip(np.clip(x_adv + size * np.sign(slope), x - radius, x + radius), 0, 1)
    return x_adv


@pytest.mark.parametrize(("kind", "objective"), [("trades", TRADES(Linf(0.1), 7, 0.03)), ("mart", MART(Linf(0.1), 7, 0.03))])
def test_attacks_are_those_of_the_programs(kind: str, objective: Objective) -> None:
    model, (images, labels) = network(), images_and_labels()
    found = objective.perturb(model, None, images, labels, torch.Generator().manual_seed(3))
    np.testing.assert_allclose(found.flatten(1), search_in_numpy(model, images, labels, kind, 0.1, 7, 0.03), atol=1e-5)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(1.0)])
def test_attacks_stay_in_ball_and_box_and_find_something(threat: Any) -> None:
    model, (images, labels) = network(), images_and_labels()
    images = (images * 3 - 1).clamp(0, 1)  # black and white pixels among them
    with torch.no_grad():
        clean = model(images)
        for objective in (TRADES(threat, steps=5), MART(threat, steps=5)):
            x_adv = objective.perturb(model, None, images, labels, torch.Generator().manual_seed(0))
            assert (threat.norm(x_adv - images) <= threat.radius * (1 + 1e-5)).all()
            assert x_adv.min() >= 0
            assert x_adv.max() <= 1
            assert not x_adv.requires_grad
            assert divergence_from_clean(clean, model(x_adv)).mean() > 1e-3


def test_searches_leave_the_model_as_it_was() -> None:
    model, (images, labels) = network(dropout=True), images_and_labels()
    model[2].eval()
    before, modes = {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]
    for objective in (TRADES(Linf(0.1)), MART(Linf(0.1)), MMA(Linf(0.1))):
        state = torch.get_rng_state()
        keywords = {"index": torch.arange(12)} if objective.indexed else {}
        auxiliary = objective.auxiliary(model, images, count=12) if isinstance(objective, MMA) else None
        first, second = (objective.perturb(model, auxiliary, images, labels, torch.Generator().manual_seed(0), **keywords) for _ in range(2))
        assert objective.indexed or torch.equal(first, second)
        assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_search_in_half_precision_finds_nearly_as_much() -> None:
    """Rounding moves the first step, which is as good as random anyway (the gradient at the image is zero); not the rest."""
    model, (images, labels) = network(), images_and_labels()
    with torch.no_grad():
        clean, found = model(images), []
        for precision in ("float32", "bfloat16"):
            objective = TRADES(Linf(0.1), precision=precision, start=0.1)  # type: ignore[arg-type]
            x_adv = objective.perturb(model, None, images, labels, torch.Generator().manual_seed(0))
            found.append(float(divergence_from_clean(clean, model(x_adv)).mean()))
    assert found[1] > 0.9 * found[0]


# MMA


def bisect_in_numpy(roots: Array, radius: Array, maximum: float, steps: int) -> Array:
    """Bracketing with running minimum and maximum, one image at a time; an image is right below its root."""
    found = []
    for root, middle in zip(roots, radius, strict=True):
        low, high = 0.0, maximum
        for _ in range(steps):
            if middle < root:
                low = max(low, middle)
            else:
                high = min(high, middle)
            middle = (low + high) / 2
        found.append(middle)
    return np.array(found)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_bisection_is_that_of_numpy(steps: int) -> None:
    roots, begin = np.array([0.03, 0.2, 0.29999, 0.5, 2.0, 0.0]), np.array([0.1, 0.1, 0.3, 0.45, 0.2, 0.05])
    calls = []

    def margin(radius: Tensor) -> Tensor:
        calls.append(1)
        return radius - torch.tensor(roots)

    found = bisect_radius(margin, torch.tensor(begin), maximum=0.4725, steps=steps)
    np.testing.assert_allclose(found, bisect_in_numpy(roots, begin, 0.4725, steps), rtol=0, atol=1e-12)
    assert len(calls) == steps


def test_radii_of_a_linear_model_are_those_of_numpy() -> None:
    """Two classes: the direction is known, the margin is linear in the radius, and its root is the distance."""
    model, (images, labels) = network(2), images_and_labels(classes=2)
    weight, bias = (t.detach().double().numpy() for t in (model[-1].weight, model[-1].bias))
    x, sign = images.flatten(1).double().numpy(), 1 - 2.0 * labels.numpy()
    roots = sign * (x @ (weight[0] - weight[1]) + bias[0] - bias[1]) / np.abs(weight[0] - weight[1]).sum()
    objective, memory = MMA(Linf(0.06), minimum_radius=0.01), ImageRadii(30)
    place = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:12]
    stored = np.zeros(12)
    for visit in range(3):
        x_adv = objective.perturb(model, memory, images, labels, torch.Generator().manual_seed(visit), index=place)
        stored = np.where(roots > 0, bisect_in_numpy(roots, np.maximum(stored, 0.01), 0.063, 10), 0.0)
        np.testing.assert_allclose(memory.radius[place], stored, atol=1e-6)
        np.testing.assert_allclose(memory.latest, stored, atol=1e-6)
    assert {bool(v) for v in roots > 0} == {True, False}
    assert (roots > 0.063).any()
    assert (memory.radius[place][torch.tensor(roots) > 0.063] >= 0.06).all()
    np.testing.assert_allclose(Linf(1).norm(x_adv - images), stored, atol=1e-6)
    elsewhere = torch.ones(30, dtype=torch.bool)
    elsewhere[place] = False
    assert (memory.radius[elsewhere] == 0).all()


@pytest.mark.parametrize("threat", [Linf(0.2), L2(1.0)])
def test_images_of_mma_are_on_the_boundary(threat: Any) -> None:
    model, (images, labels) = network(), images_and_labels()
    with torch.no_grad():
        model[1].weight *= 4
        labels[:8] = model(images[:8]).argmax(1)  # most of them right
    x_adv, radius = MMA(threat, steps=20, halvings=20).boundary(model, images, labels, torch.zeros(12), torch.Generator().manual_seed(0))
    with torch.no_grad():
        clean, margin = soft_margin(model(images), labels), soft_margin(model(x_adv), labels)
    inside = (clean < 0) & (radius < threat.radius)
    assert inside.any()
    assert margin[inside].abs().max() < 1e-3
    assert torch.equal(x_adv[clean >= 0], images[clean >= 0])
    assert (radius[clean >= 0] == 0).all()
    assert (threat.norm(x_adv - images) <= radius * (1 + 1e-4) + 1e-6).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


def small() -> nn.Module:
    """A network for the digits with state and randomness."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))


def trained(objective: Objective, **options: Any) -> tuple[nn.Module, Any]:
    """A short run."""
    model = options.pop("model", None) or small()
    settings = {"epochs": 4, "batch_size": 50, "learning_rate": 1e-2, "device": "cpu", "progress": False, "augment": random_crop_flip}
    return model, fit(model, objective, DIGITS, **{**settings, **options})


def test_radii_survive_a_checkpoint(tmp_path: Path) -> None:
    objective, path = MMA(Linf(0.1), steps=2), tmp_path / "a.safetensors"
    model, history = trained(objective, select="accuracy", augment=None, epochs=8)
    radius = history.auxiliary.radius
    assert int((radius > 0).sum()) > 50
    trained(objective, select="accuracy", augment=None, epochs=5, checkpoint=path)
    kept = load_tensors(path)[0]["auxiliary.radius"]
    assert kept.shape == (200,)
    assert not torch.equal(kept, radius)
    again, continued = trained(objective, select="accuracy", augment=None, epochs=8, checkpoint=path)
    assert torch.equal(continued.auxiliary.radius, radius)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert "auxiliary.radius" in history.best


def test_radii_belong_to_positions_not_to_places_in_the_batch() -> None:
    """Without learning, the radius of each image is that of a pass over the data in its own order."""
    model = small()
    _, history = trained(MMA(Linf(0.1), steps=20, halvings=12), learning_rate=1e-30, epochs=1, augment=None,
                         model=model.eval(), frozen=[model[2], model[4]])
    with evaluating(model):
        expected = MMA(Linf(0.1), steps=20, halvings=12).boundary(model, to_float(DIGITS.train_images), DIGITS.train_labels, torch.zeros(200))[1]
    agree = (history.auxiliary.radius - expected).abs() < 5e-3
    assert float(agree.float().mean()) > 0.95
    assert len(history.auxiliary.radius) == 200


@pytest.mark.parametrize("objective", [TRADES(Linf(0.05), steps=2, beta=1.0), MART(Linf(0.05), steps=2), MMA(Linf(0.1), steps=2),
                                       Ramp(MMA(Linf(0.1), steps=2, minimum_radius=0.01), 3), Ramp(TRADES(Linf(0.05), 2, 0.05), 3)], ids=str)
def test_they_learn(objective: Objective) -> None:
    _, history = trained(objective, epochs=8, augment=None)
    assert history.metric("loss")[-1] < history.metric("loss")[0] or isinstance(objective, Ramp)
    assert history.metric("accuracy")[-1] > 0.7


def test_trades_without_a_ball_and_without_beta_is_standard_training() -> None:
    """The second pass of the same images changes running statistics only: the model has neither them nor dropout."""
    models = []
    for objective in (TRADES(Linf(0.0), steps=1, beta=0.0, start=0.0), Standard()):
        torch.manual_seed(0)
        models.append(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
        trained(objective, model=models[-1], epochs=2, augment=None)
    assert torch.equal(models[0][1].weight, models[1][1].weight)


# Ramps, identity, errors


def test_ramp_scales_radius_step_and_smallest_radius() -> None:
    first = Ramp(MART(Linf(0.2), 10, 0.04), 4).at(0)
    assert isinstance(first, MART)
    assert (first.threat.radius, first.step_size) == (0.05, 0.01)
    assert first.attack.threat.radius == 0.05
    mma = Ramp(MMA(Linf(0.4), minimum_radius=0.1), 4).at(1)
    assert isinstance(mma, MMA)
    assert (mma.threat.radius, mma.smallest) == (0.2, 0.05)
    assert Ramp(MMA(Linf(0.4)), 4).indexed


def test_names_tell_settings_apart() -> None:
    objectives: list[Objective] = [kind(*settings, **options) for kind in (TRADES, MART) for settings, options in (
        ((Linf(0.1),), {}), ((Linf(0.2),), {}), ((L2(0.1),), {}), ((Linf(0.1), 5), {}), ((Linf(0.1), 10, 0.01), {}), ((Linf(0.1), 10, None, 2.0), {}),
        ((Linf(0.1),), {"start": 0.01}), ((Linf(0.1),), {"precision": "bfloat16"}), ((Linf(0.1),), {"memory_format": "channels_last"}),
        ((Linf(0.1),), {"fold_batch_norm": True}))]
    objectives += [MMA(Linf(0.1)), MMA(Linf(0.2)), MMA(L2(0.1)), MMA(Linf(0.1), 5), MMA(Linf(0.1), minimum_radius=0.05), MMA(Linf(0.1), clean_weight=0.5),
                   MMA(Linf(0.1), halvings=5), MMA(Linf(0.1), precision="bfloat16"), Ramp(MMA(Linf(0.1)), 2), Ramp(MMA(Linf(0.1)), 3)]
    assert len({str(o) for o in objectives}) == len(objectives)
    assert [o.name for o in objectives[-3:]] == ["MMA", "MMA", "MMA"]
    assert MART(Linf(0.1)).beta == 5.0
    assert TRADES(Linf(0.1)).beta == 6.0


@pytest.mark.parametrize(("kind", "options", "error", "message"), [
    *[(kind, {"threat": 0.1}, TypeError, "threat must be Linf, L2 or L1, got 0.1; for example") for kind in (TRADES, MART, MMA)],
    *[(kind, {"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0") for kind in (TRADES, MART, MMA)],
    *[(kind, {"precision": "half"}, ValueError, "precision must be 'float32' or 'bfloat16', got 'half'") for kind in (TRADES, MART, MMA)],
    *[(kind, {"beta": -1.0}, ValueError, "beta must be a finite number >= 0, got -1.0") for kind in (TRADES, MART)],
    *[(kind, {"beta": math.nan}, ValueError, "beta must be a finite number") for kind in (TRADES, MART)],
    (TRADES, {"start": -0.1}, ValueError, "start must be a finite number >= 0"),
    (TRADES, {"step_size": -0.1}, ValueError, "step_size must be a finite number >= 0"),
    (MMA, {"threat": L1(0.1)}, ValueError, r"MMA needs Linf or L2 with a positive radius, got L1\(0.1\); for example"),
    (MMA, {"threat": Linf(0.0)}, ValueError, r"MMA needs Linf or L2 with a positive radius, got Linf\(0\)"),
    (MMA, {"minimum_radius": 0.2}, ValueError, "minimum_radius must be at most the radius 0.1, got 0.2; choose a smaller one"),
    (MMA, {"minimum_radius": 0.0}, ValueError, "minimum_radius must be a finite number > 0"),
    (MMA, {"clean_weight": 1.5}, ValueError, r"clean_weight must lie in \[0, 1\], got 1.5"),
    (MMA, {"halvings": 0}, ValueError, "halvings must be a whole number >= 1"),
])
def test_bad_settings_are_refused(kind: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kind(**{"threat": Linf(0.1), **options})


def test_misuse_is_explained() -> None:
    model, (images, labels) = network(), images_and_labels()
    with pytest.raises(TypeError, match=r"MMA needs its memory ImageRadii\(count\), got NoneType"):
        MMA(Linf(0.1)).perturb(model, None, images, labels, index=torch.arange(12))
    with pytest.raises(TypeError, match="MMA needs its memory"):
        MMA(Linf(0.1)).loss(model, nn.Identity(), images, images, labels)
    with pytest.raises(ValueError, match="MMA needs the positions of the images, got index=None; train with robinfo.training.fit"):
        MMA(Linf(0.1)).perturb(model, ImageRadii(12), images, labels)
    with pytest.raises(ValueError, match="count must be a whole number >= 1, got 0"):
        MMA(Linf(0.1)).auxiliary(model, images)
    with pytest.raises(ValueError, match="the soft margin needs labels, got None"):
        soft_margin(torch.zeros(2, 3), None)
    for objective in (TRADES(Linf(0.1)), MART(Linf(0.1)), AdversarialTraining(PGD(Linf(0.1)))):
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, got"):
            objective.loss(model, None, images, images, labels + 2)


def test_checkpoint_says_which_objective_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trained(Ramp(MMA(Linf(0.1), steps=2), 2), epochs=1, checkpoint=path)
    identity = json.loads(load_tensors(path)[1]["robinfo"])["identity"]
    assert identity["objective"] == "Ramp(MMA(Linf(0.1), steps=2, minimum_radius=0.01, clean_weight=0.333333, halvings=10), epochs=2)"
