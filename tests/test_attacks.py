"""PGD and FGSM: inside ball and range, never worse than before, closed form, foolbox, and nothing touched on the way."""
from __future__ import annotations

import gc
import itertools
import math
import os
import sys
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import foolbox
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robinfo.attacks import FGSM, PGD, cross_entropy, difference_of_logits_ratio, margin
from robinfo.attacks.gradient import _TWINS, without_batch_norm
from robinfo.data import load, to_float
from robinfo.threats import L1, L2, Linf

THREATS = [Linf(0.1), L2(0.8), L1(3.0)]
LOSSES = [cross_entropy, margin, difference_of_logits_ratio]
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


@every
@pytest.mark.parametrize("drop", ["never", "restarts", "steps"])
def test_batch_size_does_not_matter_for_seeded_starts(threat: Any, drop: Any) -> None:
    """The start of an image is its own: neither its place, nor its neighbours, nor what was dropped before change it."""
    model, (images, labels) = small_model().double(), batch(10)
    images = images.double()
    attack = PGD(threat, steps=3, restarts=3, seed=4, drop_fooled=drop)
    whole = attack(model, images, labels)
    parts = [attack(model, images[i : i + s], labels[i : i + s]) for i, s in ((0, 1), (1, 4), (5, 5))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-9)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(attack(model, images[order], labels[order]), whole[order], rtol=0, atol=1e-9)


def test_seeded_starts_differ_between_images_restarts_and_seeds() -> None:
    """Uniform in the ball as the draws of a batch are, and no two alike."""
    images = torch.rand(200, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    starts = [PGD(Linf(0.1), steps=1, seed=seed)._start(images, restart, None) - images for seed, restart in ((0, 0), (0, 1), (1, 0))]
    assert all(float((a - b).abs().amax(dim=(1, 2, 3)).min()) > 0.05 for a, b in itertools.combinations(starts, 2))
    moves = starts[0].flatten() / 0.1
    assert abs(float(moves.mean())) < 0.03
    assert abs(float(moves.square().mean()) - 1 / 3) < 0.02
    correlation = torch.corrcoef(starts[0].flatten(1))
    assert float((correlation - torch.eye(200)).abs().max()) < 0.8


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


# The losses


@given(st.integers(0, 2**31), st.integers(3, 12), st.floats(0.01, 50.0), st.floats(-20.0, 20.0))
def test_losses_by_their_definition(seed: int, classes: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (3,), generator=generator)
    for row, label, m, ratio in zip(logits.tolist(), labels.tolist(), margin(logits, labels), difference_of_logits_ratio(logits, labels), strict=True):
        wrong, ordered = max(v for k, v in enumerate(row) if k != label), sorted(row, reverse=True)
        assert float(m) == pytest.approx(wrong - row[label], abs=1e-12)
        assert float(ratio) == pytest.approx((wrong - row[label]) / (ordered[0] - ordered[2]), abs=1e-9)
    fooled = logits.argmax(1) != labels
    assert torch.equal(margin(logits, labels) > 0, fooled)
    assert torch.equal(difference_of_logits_ratio(logits, labels) > 0, fooled)
    assert difference_of_logits_ratio(logits, labels).min() >= -1 - 1e-12
    torch.testing.assert_close(difference_of_logits_ratio(scale * logits + shift, labels), difference_of_logits_ratio(logits, labels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("logits", [torch.zeros(2, 3), torch.tensor([[1e4, 0, -1e4], [-1e4, 1e4, 0]]), torch.full((2, 3), 1e-42)], ids=["ties", "huge", "tiny"])
def test_losses_are_finite_at_the_edges(loss: Any, logits: Tensor) -> None:
    z = logits.clone().requires_grad_()
    value = loss(z, torch.tensor([0, 2]))
    assert torch.isfinite(value).all()
    assert torch.isfinite(torch.autograd.grad(value.sum(), z)[0]).all()


@pytest.mark.parametrize(("loss", "classes", "needed"), [(margin, 1, 2), (difference_of_logits_ratio, 2, 3)])
def test_losses_refuse_too_few_classes(loss: Any, classes: int, needed: int) -> None:
    with pytest.raises(ValueError, match=f"at least {needed} classes, got {classes}; use"):
        loss(torch.zeros(2, classes), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="needs labels, got None"):
        loss(torch.zeros(2, 5), None)


def test_saturated_softmax_stops_cross_entropy_and_not_the_others() -> None:
    """Logits times 1e5: the cross-entropy has no slope left in single precision, and PGD with it finds nothing."""
    model, (images, labels) = small_model(), batch(40)
    labels = model(images).argmax(1)  # all right at first

    def saturated(x: Tensor) -> Tensor:
        return 1e5 * model(x)

    left = {loss.__name__: float((model(PGD(Linf(0.05), steps=5, loss=loss, random_start=False)(saturated, images, labels)).argmax(1) == labels)
                                 .double().mean()) for loss in LOSSES}
    assert left["margin"] == left["difference_of_logits_ratio"]
    assert left["cross_entropy"] > left["margin"] + 0.1


# Settings that change how the gradient is computed

FAST: list[dict[str, Any]] = [{"memory_format": "channels_last"}, {"fold_batch_norm": True}, {"precision": "bfloat16"},
                              {"memory_format": "channels_last", "fold_batch_norm": True, "precision": "bfloat16"}]
fast = pytest.mark.parametrize("options", FAST, ids=lambda options: "+".join(options))


@fast
def test_settings_find_what_the_plain_search_finds(options: dict[str, Any]) -> None:
    model, (images, labels) = small_model(), batch(60)
    labels = model(images).argmax(1)
    with torch.no_grad():
        model[1].running_mean.normal_()  # type: ignore[union-attr]
        model[1].running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    for keep in ("best", "last"):
        plain, quick = (PGD(Linf(0.06), steps=6, keep=keep, seed=0, **o)(model, images, labels) for o in ({}, options))  # type: ignore[arg-type]
        survive = [model(x).argmax(1) == labels for x in (plain, quick)]
        assert 3 < survive[0].sum() < 57
        assert (survive[0] != survive[1]).sum() <= (2 if options.get("precision") else 0)
        assert quick.is_contiguous()
        if "precision" not in options:
            assert ((quick - plain).abs().amax((1, 2, 3)) < 1e-5).double().mean() > 0.95


@fast
def test_settings_leave_the_model_as_it_was(options: dict[str, Any]) -> None:
    model, (images, labels) = small_model().train(), batch()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    state, strides = {k: v.clone() for k, v in model.state_dict().items()}, [p.stride() for p in model.parameters()]
    identities, rng, tracer = [id(p) for p in model.parameters()], torch.get_rng_state(), sys.gettrace()
    for change in (0, 9):  # the second call raises
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.4") if change else nullcontext():
            PGD(Linf(0.1), steps=2, restarts=2, seed=0, drop_fooled="steps", **options)(model, images, labels + change)
        assert all(m.training for m in model.modules())
        assert [p.stride() for p in model.parameters()] == strides
        assert [id(p) for p in model.parameters()] == identities
        assert all(p.requires_grad and (p.grad == 0.5).all() for p in model.parameters())
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), rng)
        assert sys.gettrace() is tracer


def test_claims_of_a_coarse_search_are_confirmed_by_the_model() -> None:
    """A model that is fooled only in bfloat16 (a gap of 1e-4 between logits of size 100): no image may be returned as a success."""
    class OnTheEdge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = (x.flatten(1) @ torch.ones(36, 1)) * 1e-3 + 100
            if torch.is_autocast_enabled("cpu"):
                score = score.bfloat16() + torch.tensor(1.0).bfloat16()  # the rounding, made large
            return torch.cat([torch.full_like(score, 100.5), score], 1)

    model, (images, _) = OnTheEdge(), batch(8)
    labels = torch.zeros(8, dtype=torch.long)
    for drop in ("never", "restarts", "steps"):
        attack = PGD(Linf(0.1), steps=3, precision="bfloat16", seed=0, restarts=2, drop_fooled=drop)  # type: ignore[arg-type]
        found = attack(model, images, labels)
        assert (model(found).argmax(1) == 0).all()
        assert (found - images).abs().max() > 0.05  # a false success would have ended the search at once
        rank = attack._ranking(model, images, labels, torch.zeros(8), torch.ones(8, dtype=torch.bool))
        assert (rank < 1).all()


def test_folding_follows_training_and_spares_what_it_must() -> None:
    torch.manual_seed(0)
    shared = nn.Conv2d(2, 2, 1)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), shared, nn.BatchNorm2d(2), shared,
                          nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)).eval()
    x = torch.rand(5, 1, 6, 6)
    for _ in range(3):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        twin = without_batch_norm(model)
        torch.testing.assert_close(twin(x), model(x), rtol=1e-4, atol=1e-5)
        assert not any(p.requires_grad for p in twin.parameters())
    norms = [m for m in twin.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 3  # the first is folded; those behind the shared convolution, and the last, are not
    assert without_batch_norm(model) is twin
    model[0] = nn.Conv2d(1, 2, 3, bias=True)
    torch.testing.assert_close(without_batch_norm(model)(x), model(x), rtol=1e-4, atol=1e-5)
    double = model.double()
    torch.testing.assert_close(without_batch_norm(double)(x.double()), double(x.double()))


def test_twins_die_with_their_models() -> None:
    gc.collect()
    model, count = small_model(), len(_TWINS)
    without_batch_norm(model)
    assert len(_TWINS) == count + 1
    del model
    gc.collect()
    assert len(_TWINS) == count


def test_what_cannot_be_folded_is_refused() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :5] if x.sum() > 0 else -x.flatten(1)[:, :5]

    images, labels = batch()
    attack = PGD(Linf(0.1), steps=1, fold_batch_norm=True)
    with pytest.raises(ValueError, match=r"torch\.fx can trace, got Branches .*; leave it off"):
        attack(Branches(), images, labels)
    with pytest.raises(TypeError, match=r"needs an nn\.Module, got function"):
        attack(lambda x: x.flatten(1), images, labels)

    class Changing(nn.Module):
        """Its forward reads a plain attribute, which the trace froze."""

        sign = 1.0

        def forward(self, x: Tensor) -> Tensor:
            return self.sign * x.flatten(1)[:, :5]

    model = Changing()
    attack(model, images, labels)
    model.sign = -1.0
    with pytest.raises(ValueError, match="answers as its traced graph does"):
        attack(model, images, labels)
    attack(model, images, labels)  # traced anew


# Dropping


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@every
def test_dropping_keeps_the_survivors(threat: Any, loss: Any) -> None:
    """In double precision, where the size of a batch does not decide ties; from a random start, for the same images."""
    model, (images, labels) = small_model().double(), batch(60)
    images = images.double()
    labels = torch.where(torch.arange(60) < 50, model(images).argmax(1), labels)
    small, survive, states = type(threat)(threat.radius / 5), [], []
    for drop in ("never", "restarts", "steps"):
        generator = torch.Generator().manual_seed(0)
        attack = PGD(small, steps=4, restarts=3, drop_fooled=drop, loss=loss)  # type: ignore[arg-type]
        found = attack(model, images, labels, generator=generator)
        survive.append(model(found).argmax(1) == labels)
        assert (small.norm(found - images) <= small.radius * (1 + 1e-9)).all()
        states.append(generator.get_state())
    assert 2 < survive[0].sum() < 58
    assert torch.equal(survive[0], survive[1])
    assert torch.equal(survive[0], survive[2])
    assert torch.equal(states[0], states[2])  # what the caller draws next is the same too


def test_dropping_saves_work() -> None:
    model, (images, labels) = small_model(), batch(40)
    work = []
    for drop in ("never", "restarts", "steps"):
        calls: list[int] = []

        def spy(x: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(len(x))
            return model(x)

        PGD(Linf(0.1), steps=5, restarts=3, drop_fooled=drop, seed=0)(spy, images, labels)  # type: ignore[arg-type]
        work.append(sum(calls))
    assert work[0] == 40 * 6 * 3
    assert work[1] < 0.5 * work[0]
    assert work[2] < 0.5 * work[1]


class Company(nn.Module):
    """Logits relative to the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Centred."""
        rows = x.flatten(1)[:, :5]
        return rows - rows.mean(0)


@pytest.mark.parametrize("model", [Company(), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, track_running_stats=False)),
                                   lambda x: x.flatten(1)[:, :5] + torch.rand(len(x), 5)], ids=["centred", "batch statistics", "noise"])
def test_nothing_is_dropped_where_images_are_not_alone(model: Any) -> None:
    images, labels = batch(20)
    found = [PGD(Linf(0.1), steps=4, restarts=2, seed=0, drop_fooled=drop)(model, images, labels) for drop in ("never", "never")]  # type: ignore[arg-type]
    assert torch.equal(*found)  # also for the model that draws
    calls: list[int] = []

    def spy(x: Tensor) -> Tensor:
        calls.append(len(x))
        return model(x)

    PGD(Linf(0.1), steps=4, restarts=2, seed=0, drop_fooled="steps")(spy, images, labels)
    assert calls == [4, 2] + [20] * 10


@every
def test_no_dropping_for_other_losses(threat: Any) -> None:
    images, labels = batch(20)

    def distance(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.square().sum(1)

    first, second = (PGD(threat, steps=3, restarts=2, seed=0, loss=distance, drop_fooled=d)(small_model(), images, labels) for d in ("never", "steps"))  # type: ignore[arg-type]
    assert torch.equal(first, second)


# Invariances, for every loss


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("drop", ["never", "steps"])
@every
def test_invariances(threat: Any, loss: Any, drop: Any) -> None:
    model, (images, labels) = small_model().double(), batch(12)
    images = images.double()
    still = PGD(type(threat)(0), steps=3, restarts=2, loss=loss, drop_fooled=drop, step_size=0.1)(model, images, labels)
    assert torch.equal(still, images)
    attack = PGD(threat, steps=3, random_start=False, loss=loss, drop_fooled=drop, seed=1)
    whole = attack(model, images, labels)
    assert torch.equal(whole, attack(model, images, labels))
    for size in (1, 5):
        parts = torch.cat([attack(model, x, y) for x, y in zip(images.split(size), labels.split(size), strict=True)])
        assert torch.equal(model(parts).argmax(1) == labels, model(whole).argmax(1) == labels)
        if drop == "never":
            torch.testing.assert_close(parts, whole, rtol=0, atol=1e-9)


def test_the_model_comes_back_when_it_raises_itself() -> None:
    model, (images, labels) = small_model().train(), batch()
    rng, calls = torch.get_rng_state(), []

    def fail(module: nn.Module, inputs: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        PGD(Linf(0.1), steps=5, seed=0, memory_format="channels_last", precision="bfloat16")(model, images, labels)
    assert all(m.training for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)
    assert not torch.is_autocast_enabled("cpu")
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize(("options", "message"), [
    ({"drop_fooled": True}, "drop_fooled must be 'never', 'restarts', 'steps', got True"),
    ({"memory_format": "nhwc"}, "memory_format must be 'preserve' or 'channels_last', got 'nhwc'"),
    ({"precision": "float16"}, "precision must be 'float32' or 'bfloat16', got 'float16'"),
    ({"fold_batch_norm": "yes"}, "fold_batch_norm must be False or True, got 'yes'"),
    ({"compile": "yes"}, "compile must be False or True, got 'yes'"),
    ({"keep": "last", "drop_fooled": "steps"}, "returns the first success, got keep='last'"),
    ({"compile": True, "fold_batch_norm": True}, "exclude each other"),
])
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PGD(Linf(0.1), **options)


def test_every_option_is_in_the_name() -> None:
    attacks = [PGD(Linf(0.1)), *(PGD(Linf(0.1), **o) for o in FAST), PGD(Linf(0.1), drop_fooled="steps"), PGD(Linf(0.1), compile=True),
               PGD(Linf(0.1), loss=margin)]
    assert len({str(a) for a in attacks}) == len({repr(a) for a in attacks}) == len(attacks)
    assert all(f"{f.name}=" in repr(attacks[0]) for f in fields(PGD) if f.name != "_")


def test_compiled_search_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler's front end only: what is tested is that the setting reaches it and that the model stays as it was."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend="eager"))
    model, (images, labels) = small_model(), batch()
    plain, compiled = (PGD(Linf(0.1), steps=3, seed=0, compile=c)(model, images, labels) for c in (False, True))
    torch.testing.assert_close(compiled, plain)
    assert type(model) is nn.Sequential


# L1


def test_l1_uses_the_room_that_the_box_leaves() -> None:
    """All steep pixels are at their border already: the step of the ball alone would not move at all."""
    weight = torch.tensor([5.0, 4.0, 3.0, 1.0])

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ weight[:, None]
        return torch.cat([0 * score + 9, score], 1)

    images, labels = torch.tensor([1.0, 1.0, 1.0, 0.5]).reshape(1, 1, 2, 2), torch.tensor([0])
    found = PGD(L1(0.4), steps=5, random_start=False, loss=margin)(model, images, labels)
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 1.0, 0.9]).reshape(1, 1, 2, 2))


def test_l1_is_at_least_as_strong_as_foolbox(digits: Any) -> None:
    model, images, labels = digits[0], digits[1][:120], digits[2][:120]
    theirs = foolbox.attacks.SparseL1DescentAttack(steps=40)(foolbox.PyTorchModel(model, (0, 1), device="cpu"), images, labels, epsilons=8.0)[1]
    ours = PGD(L1(8.0), steps=40, random_start=False)(model, images, labels)
    left = [float((model(x).argmax(1) == labels).double().mean()) for x in (ours, theirs)]
    assert 0.1 < left[0] < 0.9
    assert left[0] <= left[1] + 0.01


# Agreement with foolbox


def network() -> nn.Sequential:
    """A small convolutional network for images 1x28x28."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 4, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(392, 10))


def trained(attack: PGD | None, images: Tensor, labels: Tensor, batches: int) -> nn.Module:
    """The network, trained for some batches of 64, adversarially with an attack."""
    model, generator = network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(batches):
        index = torch.randint(len(images), (64,), generator=generator)
        x = images[index] if attack is None else attack(model, images[index], labels[index], generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x), labels[index]).mean().backward()
        optimizer.step()
    return model.eval()


def agreement(name: str, eps: float, batches: int, points: int, *, adversarial: bool) -> list[tuple[float, float]]:
    """Robust accuracy under PGD-40 with ours and with foolbox, for three seeds of the random starts."""
    data, threat = load(name), Linf(eps)
    attack = PGD(threat, steps=5, keep="last") if adversarial else None
    model = trained(attack, to_float(data.train_images[:6000]), data.train_labels[:6000], batches)
    images, labels, size = to_float(data.test_images[:points]), data.test_labels[:points], 2.5 * eps / 40
    reference = foolbox.attacks.LinfPGD(steps=40, abs_stepsize=size, random_start=True)
    pairs = []
    for seed in range(3):
        torch.manual_seed(seed)
        theirs = reference(foolbox.PyTorchModel(model, (0, 1), device="cpu"), images, labels, epsilons=eps)[1]
        ours = PGD(threat, steps=40, step_size=size, seed=seed, drop_fooled="steps")(model, images, labels)
        pairs.append(tuple(float((model(x).argmax(1) == labels).double().mean()) for x in (ours, theirs)))
    print(f"{name} {'adversarial' if adversarial else 'standard'}: {pairs}")
    return pairs  # type: ignore[return-value]


@pytest.mark.parametrize("adversarial", [False, True], ids=["standard", "adversarial"])
def test_pgd_agrees_with_foolbox_on_digits(adversarial: bool) -> None:
    pairs = agreement("digits", 0.05, 100, 200, adversarial=adversarial)
    assert all(0.05 < ours < 0.95 and abs(ours - theirs) <= 0.01 for ours, theirs in pairs), pairs


@pytest.mark.slow
@pytest.mark.skipif("ROBINFO_DATA" not in os.environ, reason="needs MNIST: set ROBINFO_DATA")
@pytest.mark.parametrize("adversarial", [False, True], ids=["standard", "adversarial"])
def test_pgd_agrees_with_foolbox_on_mnist(adversarial: bool) -> None:
    pairs = agreement("mnist", 0.1, 400, 500, adversarial=adversarial)
    assert all(0.05 < ours < 0.98 and abs(ours - theirs) <= 0.01 for ours, theirs in pairs), pairs
