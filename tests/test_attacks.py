"""PGD and FGSM: inside ball and range, never worse than before, closed form, foolbox, and nothing touched on the way."""
from __future__ import annotations

import math
from typing import Any

import foolbox
import pytest
import torch
from torch import Tensor, nn

from robinfo.attacks import FGSM, PGD, cross_entropy
from robinfo.data import load, to_float
from robinfo.threats import L1, L2, Linf

THREATS = [Linf(0.1), L2(0.8), L1(3.0)]
every = pytest.mark.parametrize("threat", THREATS, ids=str)


def small_model(seed: int = 0) -> nn.Sequential:
    """A little network with every kind of layer whose mode matters, in evaluation mode."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(4 * 36, 5)).eval()


def batch(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 6, 6] with some pixels at the ends of the range, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 1, 6, 6, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)
    return images, torch.randint(0, 5, (n,), generator=generator)


def losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image."""
    with torch.no_grad():
        return cross_entropy(model(images), labels)


def norm_inside(scores: Tensor, labels: Tensor | None = None) -> Tensor:
    """A loss over the whole batch that mixes its images."""
    return (scores @ scores.T).square().mean()


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A classifier trained on the digits, with the 360 test images."""
    data = load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    images, optimizer = to_float(data.train_images), torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), data.train_labels).backward()
        optimizer.step()
    return model.eval(), to_float(data.test_images), data.test_labels


# Where the result lies


@every
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("loss", [None, norm_inside], ids=["per image", "batch"])
def test_result_lies_in_ball_and_range(threat: Any, keep: Any, restarts: int, loss: Any) -> None:
    images, labels = batch()
    attack = PGD(threat, steps=4, step_size=threat.radius, keep=keep, restarts=restarts, loss=loss, seed=3)
    found = attack(small_model(), images, labels)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert (threat.norm(found - images) <= threat.radius * (1 + 1e-5)).all()
    assert (threat.norm(found - images) > 0.01 * threat.radius).double().mean() > 0.8  # an L1 step moves one pixel, if it can


@pytest.mark.parametrize("kind", [Linf, L2, L1])
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("step_size", [None, 0.1])
def test_radius_zero_returns_the_images(kind: Any, keep: Any, step_size: float | None) -> None:
    images, labels = batch()
    assert torch.equal(PGD(kind(0), steps=3, keep=keep, step_size=step_size, restarts=2)(small_model(), images, labels), images)
    assert torch.equal(FGSM(kind(0))(small_model(), images, labels), images)


@every
def test_double_precision_stays(threat: Any) -> None:
    images, labels = batch()
    assert PGD(threat, steps=2)(small_model().double(), images.double(), labels).dtype == torch.float64


# How good it is


@every
def test_best_is_never_worse_than_clean(threat: Any) -> None:
    model, (images, labels) = small_model(), batch(40)
    found = PGD(threat, steps=5, step_size=3 * threat.radius, random_start=False)(model, images, labels)
    kept_wrong = model(images).argmax(1) == labels
    lost = model(found).argmax(1) != labels
    assert (lost | kept_wrong).all()  # an image that was wrong stays wrong
    better = losses(model, found, labels) >= losses(model, images, labels) - 1e-6
    assert (better | (lost & kept_wrong)).all()


@every
def test_batch_loss_keeps_the_best_batch(threat: Any) -> None:
    """Steps so long that the last iterate is worse than an earlier one: the best is kept, as a whole."""
    images, _ = batch(6)
    seen: list[tuple[float, Tensor]] = []

    def spy(x: Tensor) -> Tensor:
        seen.append((float(norm_inside(model(x)).detach()), x.detach().clone()))
        return model(x)

    model = small_model()
    found = PGD(threat, steps=6, step_size=2.5 * threat.radius, random_start=False, loss=norm_inside)(spy, images)
    value, best = max(seen, key=lambda pair: pair[0])
    assert len(seen) == 7
    assert torch.equal(found, best)
    assert value >= seen[0][0]


@every
def test_restarts_never_lose(threat: Any) -> None:
    model, (images, labels) = small_model(), batch(30)
    ranks = []
    for restarts in (1, 2, 4):
        found = PGD(threat, steps=2, restarts=restarts, seed=1)(model, images, labels)
        ranks.append(losses(model, found, labels) + 1e3 * (model(found).argmax(1) != labels))
    assert (ranks[1] >= ranks[0] - 1e-4).all()
    assert (ranks[2] >= ranks[1] - 1e-4).all()
    assert (ranks[2] > ranks[0]).any()


@every
@pytest.mark.parametrize("keep", ["best", "last"])
def test_batch_size_does_not_matter(threat: Any, keep: Any) -> None:
    model, (images, labels) = small_model().double(), batch(10)
    images = images.double()
    attack = PGD(threat, steps=3, random_start=False, keep=keep)
    whole = attack(model, images, labels)
    parts = [attack(model, images[i : i + s], labels[i : i + s]) for i, s in ((0, 1), (1, 4), (5, 5))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_linear_model_in_closed_form(kind: Any) -> None:
    """For two classes with logits w.x and 0 the worst image of class 0 is x - radius * steepest(w), if the range allows."""
    torch.manual_seed(0)
    weight, threat = torch.randn(1, 9), kind(0.05)
    images, labels = torch.full((4, 1, 3, 3), 0.5), torch.tensor([0, 1, 0, 1])

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ weight.T
        return torch.cat([score, torch.zeros_like(score)], 1)

    sign = 1.0 - 2.0 * (labels == 0).float()
    expected = images + sign[:, None, None, None] * threat.step(weight, threat.radius).reshape(1, 1, 3, 3)
    torch.testing.assert_close(FGSM(threat)(model, images, labels), expected)
    torch.testing.assert_close(PGD(threat, steps=20, random_start=False)(model, images, labels), expected)
    margin = (model(expected)[:, 0] - model(images)[:, 0]).abs()
    torch.testing.assert_close(margin, torch.full((4,), threat.radius * float(threat.dual_norm(weight.numpy())[0])))


@pytest.mark.parametrize(("threat", "reference"), [
    (Linf(0.06), foolbox.attacks.LinfPGD), (L2(0.9), foolbox.attacks.L2PGD)], ids=["Linf", "L2"])
def test_agrees_with_foolbox(digits: Any, threat: Any, reference: Any) -> None:
    """Same steps, same step size, no random start: the same images and, within one point, the same accuracy."""
    model, images, labels = digits
    steps, size = 10, threat.radius / 4
    theirs = reference(steps=steps, abs_stepsize=size, random_start=False)(
        foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, labels, epsilons=threat.radius)[1]
    ours = PGD(threat, steps=steps, step_size=size, random_start=False, keep="last")(model, images, labels)
    fooled = [model(x).argmax(1) != labels for x in (ours, theirs)]
    clean, share = (model(images).argmax(1) == labels).double().mean(), fooled[1].double().mean()
    assert clean > 0.9
    assert 0.3 < share < 0.97  # otherwise agreement says nothing
    assert abs(fooled[0].double().mean() - share) <= 0.01
    assert (fooled[0] != fooled[1]).sum() <= 3
    assert ((ours - theirs).abs().flatten(1).amax(1) < 1e-4).double().mean() > 0.98
    best = PGD(threat, steps=steps, step_size=size, random_start=False)(model, images, labels)
    assert ((model(best).argmax(1) != labels) >= fooled[0]).all()


def test_training_iterate_costs_one_pass_less() -> None:
    calls = []

    def spy(x: Tensor) -> Tensor:
        calls.append(len(x))
        return model(x)

    model, (images, labels) = small_model(), batch()
    for keep, expected in (("last", 5), ("best", 6)):
        calls.clear()
        PGD(Linf(0.1), steps=5, keep=keep)(spy, images, labels)  # type: ignore[arg-type]
        assert len(calls) == expected


# What it must not touch


def test_model_is_left_as_it_was() -> None:
    model, (images, labels) = small_model(), batch()
    model[1].train()
    model[3].train()
    model[0].weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    pristine = images.clone()
    images.requires_grad_()
    PGD(Linf(0.1), steps=3, restarts=2)(model, images, labels)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all((p.grad == 0.5).all() for p in model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert images.grad is None
    assert torch.equal(images, pristine)


def test_modes_come_back_after_an_error() -> None:
    model, (images, labels) = small_model().train(), batch()
    with pytest.raises(ValueError, match="labels must lie in 0..4"):
        PGD(Linf(0.1), steps=1)(model, images, labels + 5)
    assert all(m.training for m in model.modules())


def test_attack_sees_evaluation_mode() -> None:
    model, (images, labels) = small_model(), batch()
    attack = PGD(Linf(0.1), steps=3, random_start=False)
    expected = attack(model, images, labels)
    assert torch.equal(attack(model.train(), images, labels), expected)


def test_works_where_gradients_are_off() -> None:
    model, (images, labels) = small_model(), batch()
    expected = FGSM(Linf(0.1))(model, images, labels)
    with torch.no_grad():
        assert torch.equal(FGSM(Linf(0.1))(model, images, labels), expected)


@every
def test_randomness_is_an_argument(threat: Any) -> None:
    model, (images, labels) = small_model(), batch()
    state = torch.get_rng_state()
    seeded = PGD(threat, steps=2, restarts=2, seed=5)
    first, second = seeded(model, images, labels), seeded(model, images, labels)
    given = [PGD(threat, steps=2)(model, images, labels, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
    PGD(threat, steps=2, random_start=False)(model, images, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert torch.equal(given[0], given[1])
    assert not torch.equal(given[0], given[2])
    PGD(threat, steps=1)(model, images, labels)  # the global generator otherwise
    assert not torch.equal(torch.get_rng_state(), state)


# Errors


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda x, y: ((x * 255).to(torch.uint8), y), TypeError, r"images must be floating point in \[0, 1\], got torch.uint8"),
    (lambda x, y: (x * 2, y), ValueError, r"images must lie in \[0, 1\], got min 0 and max 2"),
    (lambda x, y: (x.where(x < 0.9, math.nan), y), ValueError, "images must be finite, got NaN"),
    (lambda x, y: (x[0], y), ValueError, r"images must have shape \[N, C, H, W\]"),
    (lambda x, y: (x, y - 5), ValueError, r"labels must lie in 0..K-1, got -"),
    (lambda x, y: (x, y + 5), ValueError, r"labels must lie in 0..4, got 5..9; number the classes from 0"),
    (lambda x, y: (x, y.float()), TypeError, "labels must be an integer tensor"),
    (lambda x, y: (x, y[:-1]), ValueError, r"labels must have shape \[12\], one for each image, got \[11\]"),
    (lambda x, y: (x, nn.functional.one_hot(y)), ValueError, r"labels must have shape \[12\].*argmax"),
    (lambda x, y: (x, None), ValueError, "cross-entropy needs labels, got None"),
], ids=["uint8", "above one", "nan", "axes", "negative", "beyond K", "float labels", "length", "one-hot", "no labels"])
def test_bad_input_is_refused(change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PGD(Linf(0.1), steps=2)(small_model(), *change(*batch()))


@pytest.mark.parametrize(("output", "message"), [
    (lambda x: x, r"logits \[N, K\] with N = 12, got \[12, 1, 6, 6\]; wrap it"),
    (lambda x: x.flatten(1)[:5], r"got \[5, 36\]"),
    (lambda x: (x.flatten(1), None), "got tuple"),
], ids=["image", "length", "tuple"])
def test_model_without_logits_is_refused(output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PGD(Linf(0.1), steps=2)(output, *batch())


@pytest.mark.parametrize("keep", ["best", "last"])
@every
def test_nan_gradient_is_reported(threat: Any, keep: Any) -> None:
    """A root of zero has an infinite slope, times zero: NaN. The attack must not end quietly with the clean images."""
    def model(x: Tensor) -> Tensor:
        return ((x - x.detach()).square().sum((1, 2, 3)) * 0).sqrt()[:, None] * torch.tensor([1.0, -1.0])

    images, labels = batch()
    with pytest.raises(ValueError, match="gradient of the attack must be finite, got NaN"):
        PGD(threat, steps=3, keep=keep, random_start=False)(model, images, labels % 2)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0"),
    ({"steps": 2.5}, TypeError, "steps must be a whole number, got float"),
    ({"restarts": 0}, ValueError, "restarts must be"),
    ({"step_size": -0.1}, ValueError, "step_size must be a finite number >= 0, got -0.1"),
    ({"step_size": math.nan}, ValueError, "step_size must be a finite number"),
    ({"keep": "worst"}, ValueError, "keep must be 'best' or 'last', got 'worst'"),
])
def test_bad_settings_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PGD(Linf(0.1), **options)


def test_number_is_no_threat() -> None:
    with pytest.raises(TypeError, match=r"threat must be Linf, L2 or L1, got 0.03; for example Linf\(8 / 255\)"):
        PGD(0.03)  # type: ignore[arg-type]


def test_names_tell_settings_apart() -> None:
    attacks = [PGD(Linf(0.1)), PGD(L2(0.1)), PGD(Linf(0.1), steps=7), PGD(Linf(0.1), step_size=0.1), PGD(Linf(0.1), restarts=2),
               PGD(Linf(0.1), random_start=False), PGD(Linf(0.1), keep="last"), PGD(Linf(0.1), loss=norm_inside),
               PGD(Linf(0.1), seed=1)]
    assert len({str(a) for a in attacks}) == len(attacks)
    assert PGD(Linf(0.2), steps=5).size == pytest.approx(0.1)


def test_attack_works_in_inference_mode() -> None:
    model, (images, labels) = small_model(), batch()
    attack = PGD(Linf(0.1), steps=3, seed=0)
    with torch.inference_mode():
        inside = attack(model, images.clone(), labels.clone())
    assert torch.equal(inside, attack(model, images, labels))


@pytest.mark.parametrize(("loss", "message"), [
    (lambda logits, labels: logits, r"the loss must have shape \[N\] or \[\], got \[12, 5\]"),
    (lambda logits, labels: logits.detach().sum(), "the loss must depend on the images, got a value without a gradient")])
def test_bad_losses_are_refused(loss: Any, message: str) -> None:
    images, labels = batch()
    with pytest.raises(ValueError, match=message):
        PGD(Linf(0.1), steps=1, loss=loss)(small_model(), images, labels)


def test_fgsm_refuses_a_bare_radius() -> None:
    with pytest.raises(TypeError, match="threat must be Linf, L2 or L1, got 0.1"):
        FGSM(0.1)  # type: ignore[arg-type]
