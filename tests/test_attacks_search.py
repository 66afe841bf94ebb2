"""Searches without the model's gradient, feature matching, minimal radii and averages over noise: closed forms, peers, invariances."""
from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, minimize
from scipy.stats import beta
from torch import Tensor, nn

from robinfo.attacks.gradient import FGSM, PGD, cross_entropy, margin
from robinfo.attacks.search import (
    ExpectationOverTransformation,
    FeatureMatching,
    RandomSearch,
    Transfer,
    _grafted_loss,
    _minimize_together,
    accuracy_curve,
    is_randomised,
    minimal_radius,
)
from robinfo.evaluation import robust_accuracy, survivors
from robinfo.threats import L1, L2, Linf

THREATS = [Linf(0.1), L2(0.8), L1(3.0)]
every = pytest.mark.parametrize("threat", THREATS, ids=str)


def small_model(seed: int = 0, classes: int = 5) -> nn.Sequential:
    """A little network with every kind of layer whose mode matters, in evaluation mode."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(4 * 36, classes)).eval()


def batch(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 6, 6] with some pixels at the ends of the range, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 1, 6, 6, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)
    return images, torch.randint(0, 5, (n,), generator=generator)


def answered(model: Any, n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images with the labels that the model itself gives, so that every one is right at first."""
    images = batch(n, seed)[0]
    with torch.no_grad():
        return images, model(images.to(next(model.parameters()).dtype)).argmax(1)


def linear(weight: Tensor, bias: float = 0.0) -> Any:
    """Two classes with logits (0, <w, x - 1/2> + b)."""
    def model(images: Tensor) -> Tensor:
        score = (images - 0.5).flatten(1) @ weight.to(images) + bias
        return torch.stack([torch.zeros_like(score), score], 1)

    return model


def ranking(model: Any, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and whether fooled."""
    with torch.no_grad():
        logits = model(images)
    return cross_entropy(logits, labels), logits.argmax(1) != labels


class Noisy(nn.Module):
    """A model behind Gaussian noise."""

    def __init__(self, model: nn.Module, sigma: float = 0.3) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images with fresh noise."""
        return self.model(images + self.sigma * torch.randn_like(images))


class Failing(nn.Module):
    """A model that breaks in its third call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits, twice."""
        self.calls += 1
        if self.calls > 2:
            raise FloatingPointError("the model broke")
        return self.model(images)


def seek(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Minimal radii as an attack, to run it through the tests of what must not be touched."""
    return minimal_radius(model, images, labels, lambda r: PGD(Linf(r), steps=2), high=0.2, tolerance=0.05)


ATTACKS = {
    "random": RandomSearch(Linf(0.1), draws=60),
    "transfer": Transfer(small_model(7), PGD(Linf(0.1), steps=3, seed=0)),
    "composite": Transfer(small_model(7), PGD(Linf(0.1), steps=3, seed=0), composite=True),
    "matching": FeatureMatching(Linf(0.1), layer="2", steps=4),
    "radius": seek,
}
attacks = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
images_from = pytest.mark.parametrize("attack", list(ATTACKS.values())[:4], ids=list(ATTACKS)[:4])


# What every one of them promises


@images_from
def test_result_lies_in_ball_and_range(attack: Any) -> None:
    images, labels = batch(20)
    found = attack(small_model(), images, labels)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    change = (found - images).abs().flatten(1).amax(1)
    assert (change <= 0.1 + 1e-6).all()
    assert change.max() > 0.05


@pytest.mark.parametrize("build", [
    lambda: RandomSearch(Linf(0), draws=5), lambda: RandomSearch(L2(0), draws=5), lambda: RandomSearch(L1(0), draws=5),
    lambda: Transfer(small_model(7), PGD(Linf(0))), lambda: Transfer(small_model(7), PGD(Linf(0)), composite=True),
    lambda: FeatureMatching(Linf(0), layer="0", steps=3)])
def test_radius_zero_returns_the_images(build: Any) -> None:
    images, labels = batch()
    assert torch.equal(build()(small_model(), images, labels), images)


@attacks
def test_same_seed_same_answer_and_random_numbers_untouched(attack: Any) -> None:
    images, labels = batch()
    seeded = attack if attack is not seek else lambda *a: minimal_radius(*a, lambda r: PGD(Linf(r), steps=2, seed=1), high=0.2)
    state = torch.get_rng_state()
    first, second = seeded(small_model(), images, labels), seeded(small_model(), images, labels)
    torch.set_rng_state(state)
    model = small_model()
    before = torch.get_rng_state()
    seeded(model, images, labels)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)


def fingerprint(model: nn.Module) -> list[Any]:
    """Everything that an attack might leave behind, apart from weights."""
    return [[m.training for m in model.modules()], [p.requires_grad for p in model.parameters()],
            [p.grad.clone() if p.grad is not None else None for p in model.parameters()],
            [len(m._forward_hooks) for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}]


def dirty_model(seed: int = 0) -> nn.Sequential:
    """A model in mixed modes, with frozen weights and gradients of its own."""
    model = small_model(seed)
    model[1].train()
    model[3].train()
    model[0].weight.requires_grad_(False)
    for parameter in list(model.parameters())[2:]:
        parameter.grad = torch.full_like(parameter, 0.5)
    return model


def same(one: Any, other: Any) -> bool:
    """Equal nested lists, dictionaries and tensors."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, dict)):
        keys = range(len(one)) if isinstance(one, list) else one
        return len(one) == len(other) and all(same(one[k], other[k]) for k in keys)
    return bool(one == other)


@attacks
@pytest.mark.parametrize("fails", [False, True], ids=["ends well", "fails"])
def test_model_and_surrogate_are_left_as_they_were(attack: Any, fails: bool) -> None:
    inner = dirty_model()
    model: nn.Module = Failing(inner) if fails else inner
    model.training = True
    surrogate = dirty_model(7)
    if isinstance(attack, Transfer):
        attack = Transfer(Failing(surrogate) if fails else surrogate, attack.attack, composite=attack.composite)
    if isinstance(attack, FeatureMatching) and fails:
        attack = FeatureMatching(Linf(0.1), layer="model.2", steps=4)
    images, labels = batch()
    kept, threads = [fingerprint(inner), fingerprint(surrogate)], threading.active_count()
    if fails:
        with pytest.raises(FloatingPointError, match="the model broke"):
            attack(model, images, labels)
    else:
        attack(model, images, labels)
    assert same([fingerprint(inner), fingerprint(surrogate)], kept)
    assert model.training
    assert threading.active_count() == threads
    assert torch.is_grad_enabled()


def test_attack_that_writes_gradients_and_flags_is_cleaned_up_after() -> None:
    """A foreign attack that calls backward() and freezes weights: transfer gives both networks back."""
    def rude(model: Any, images: Tensor, labels: Tensor) -> Tensor:
        x = images.clone().requires_grad_()
        cross_entropy(model(x), labels).sum().backward()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return images

    for composite in (False, True):
        model, surrogate = dirty_model(), dirty_model(7)
        kept = [fingerprint(model), fingerprint(surrogate)]
        Transfer(surrogate, rude, composite=composite)(model, *batch())
        assert same([fingerprint(model), fingerprint(surrogate)], kept)


@images_from
def test_works_where_gradients_are_off(attack: Any) -> None:
    model, (images, labels) = small_model(), batch()
    expected = attack(model, images, labels)
    with torch.no_grad():
        assert torch.equal(attack(model, images, labels), expected)
    with torch.inference_mode():
        inside = attack(model, images.clone(), labels.clone())
    assert torch.equal(inside, expected)


@attacks
def test_attack_sees_evaluation_mode(attack: Any) -> None:
    images, labels = batch()
    if attack is seek:
        attack = lambda *a: minimal_radius(*a, lambda r: FGSM(Linf(r)), high=0.2)
    assert torch.equal(attack(small_model().train(), images, labels), attack(small_model(), images, labels))


@attacks
@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda x, y: ((x * 255).to(torch.uint8), y), TypeError, r"images must be floating point in \[0, 1\], got torch.uint8"),
    (lambda x, y: (x * 2, y), ValueError, r"images must lie in \[0, 1\], got min 0 and max 2"),
    (lambda x, y: (x.where(x < 0.9, math.nan), y), ValueError, "images must be finite, got NaN"),
    (lambda x, y: (x, y.float()), TypeError, "labels must be an integer tensor"),
    (lambda x, y: (x, y[:-1]), ValueError, r"labels must have shape \[12\], one for each image, got \[11\]"),
], ids=["uint8", "above one", "nan", "float labels", "length"])
def test_bad_input_is_refused(attack: Any, change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        attack(small_model(), *change(*batch()))


@pytest.mark.parametrize("attack", [ATTACKS["random"], seek, ATTACKS["composite"]], ids=["random", "radius", "composite"])
@pytest.mark.parametrize(("output", "message"), [
    (lambda x: x, r"must return logits \[N, K\] with N = \d+, got \[\d+, 1, 6, 6\]; wrap it"),
    (lambda x: (x.flatten(1), None), "got tuple"),
], ids=["image", "tuple"])
def test_model_without_logits_is_refused(attack: Any, output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(output, *batch())


@pytest.mark.parametrize("attack", [ATTACKS["random"], seek], ids=["random", "radius"])
def test_nan_and_labels_beyond_the_classes_are_refused(attack: Any) -> None:
    images, labels = batch()
    with pytest.raises(ValueError, match="finite logits, got NaN"):
        attack(lambda x: x.flatten(1) * math.nan, images, labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.4, got 5\.\.9"):
        attack(small_model(), images, labels + 5)


def test_names_tell_settings_apart() -> None:
    other, guide = small_model(), batch(1)[0]
    named = [RandomSearch(Linf(0.1)), RandomSearch(L2(0.1)), RandomSearch(Linf(0.1), draws=5), RandomSearch(Linf(0.1), seed=None),
             RandomSearch(Linf(0.1), loss=margin), RandomSearch(Linf(0.1), batch_size=7), Transfer(other, FGSM(Linf(0.1))),
             Transfer(other, FGSM(Linf(0.2))), Transfer(linear(torch.ones(4)), FGSM(Linf(0.1))),
             Transfer(other, FGSM(Linf(0.1)), composite=True), FeatureMatching(Linf(0.1), layer="0"), FeatureMatching(Linf(0.1), layer="1"),
             FeatureMatching(Linf(0.1), layer="0", steps=3), FeatureMatching(Linf(0.1), layer="0", guide=guide),
             FeatureMatching(Linf(0.1), layer="0", batch_size=3)]
    assert len({str(a) for a in named}) == len(named)


# Random search


@every
def test_random_search_is_never_worse_than_nothing_and_grows_with_its_draws(threat: Any) -> None:
    model = small_model()
    images, labels = batch(30)
    before, was_fooled = ranking(model, images, labels)
    for draws in (1, 50, 200):
        attacked = RandomSearch(threat, draws=draws)(model, images, labels)
        assert (threat.norm(attacked - images) <= threat.radius * (1 + 1e-5)).all()
        value, fooled = ranking(model, attacked, labels)
        assert (fooled >= was_fooled).all()
        assert (fooled | (value >= before - 1e-6)).all()
        before, was_fooled = value, fooled  # the draws of a shorter search come first in a longer one, from 50 on


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@every
def test_random_search_does_not_depend_on_batches(threat: Any, batch_size: int) -> None:
    model = small_model().double()
    images, labels = answered(model, 10)
    images = images.double()
    whole = RandomSearch(threat, draws=70)(model, images, labels)
    assert torch.equal(RandomSearch(threat, draws=70, batch_size=batch_size)(model, images, labels), whole)
    order = torch.tensor([3, 9, 0, 5])
    assert torch.equal(RandomSearch(threat, draws=70)(model, images[order], labels[order]), whole[order])


def test_random_search_takes_the_first_draw_that_fools_and_leaves_fooled_images_alone() -> None:
    threat, model = Linf(0.3), linear(torch.ones(36) / 36, 0.01)
    images, labels = torch.full((3, 1, 6, 6), 0.5), torch.tensor([1, 0, 1])  # the second is wrong from the start
    shifts = threat.random(torch.zeros(50, 1, 6, 6), torch.Generator().manual_seed(0))
    scores = model((images[0] + shifts).clamp(0, 1))
    first = int((scores.argmax(1) == 0).nonzero()[0])
    found = RandomSearch(threat, draws=50)(model, images, labels)
    torch.testing.assert_close(found[0], (images[0] + shifts[first]).clamp(0, 1))
    assert torch.equal(found[1], images[1])
    sizes: list[int] = []

    def spy(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return model(x)

    RandomSearch(threat, draws=500)(spy, images, labels)
    assert sizes == [3, 100]  # the clean images, then one block for the two that were right; both are fooled in it


def test_random_search_keeps_the_draw_of_largest_loss() -> None:
    threat, model = Linf(0.1), linear(torch.ones(36), 100.0)  # cannot be fooled
    images, labels = torch.full((2, 1, 6, 6), 0.5), torch.tensor([1, 1])
    shifts = torch.cat([threat.random(torch.zeros(50, 1, 6, 6), g) for g in [torch.Generator().manual_seed(4)] for _ in range(2)])
    worst = images[0] + shifts[model(images[0] + shifts)[:, 1].argmin()]
    found = RandomSearch(threat, draws=100, seed=4, loss=margin)(model, images, labels)
    torch.testing.assert_close(found[0], worst)
    torch.testing.assert_close(found[1], worst)
    saturated = RandomSearch(threat, draws=100, seed=4)(model, images, labels)  # cross-entropy is zero for every draw
    assert torch.equal(saturated, images)


def test_share_of_draws_that_fool_in_closed_form() -> None:
    """One pixel, 2,000 seeds: binomial with p = (1 - m / eps) / 2; four standard deviations, false alarm 6e-5."""
    model, images, labels = linear(torch.ones(1), 0.04), torch.full((1, 1, 1, 1), 0.5), torch.tensor([1])
    hits = sum(bool(ranking(model, RandomSearch(Linf(0.1), draws=1, seed=s)(model, images, labels), labels)[1]) for s in range(2000))
    assert abs(hits / 2000 - 0.3) < 4 * math.sqrt(0.21 / 2000)


def test_random_search_uses_the_generator_that_it_is_given() -> None:
    model = small_model()
    images, labels = answered(model)
    a, b, c = (RandomSearch(Linf(0.02), draws=5, seed=0)(model, images, labels, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_random_search_on_a_model_that_draws_is_repeatable() -> None:
    noisy, (images, labels) = Noisy(small_model()).eval(), batch(20)
    state = torch.get_rng_state()
    first, second = (RandomSearch(Linf(0.05), draws=60, seed=s)(noisy, images, labels) for s in (3, 3))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    free = [RandomSearch(Linf(0.05), draws=60, seed=None)(noisy, images, labels) for _ in range(2)]
    assert not torch.equal(*free)


def test_random_search_refuses_batch_losses_and_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"a loss with one value per image, \[12\], got \[\]; .* use PGD"):
        RandomSearch(Linf(0.1), loss=lambda z, y: z.sum())(small_model(), *batch())
    with pytest.raises(ValueError, match="draws must be a whole number >= 1, got 0"):
        RandomSearch(Linf(0.1), draws=0)
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 1, got 0"):
        RandomSearch(Linf(0.1), batch_size=0)
    with pytest.raises(TypeError, match=r"threat must be Linf, L2 or L1, got 0.1; for example Linf\(8 / 255\)"):
        RandomSearch(0.1)  # type: ignore[arg-type]


# Transfer


def test_plain_transfer_is_the_attack_on_the_surrogate_and_never_asks_the_model() -> None:
    surrogate, attack = small_model(7), PGD(Linf(0.1), steps=3, seed=0)
    images, labels = batch()

    def forbidden(x: Tensor) -> Tensor:
        raise AssertionError("the model was asked")

    assert torch.equal(Transfer(surrogate, attack)(forbidden, images, labels), attack(surrogate, images, labels))


@pytest.mark.parametrize("loss", [None, margin, lambda z, y: z.square().sum()], ids=["default", "margin", "batch"])
@every
def test_model_that_is_its_own_surrogate(threat: Any, loss: Any) -> None:
    model, attack = small_model(), PGD(threat, steps=4, seed=0, loss=loss)
    images, labels = batch()
    expected = attack(model, images, labels)
    for composite in (False, True):
        assert torch.equal(Transfer(model, attack, composite=composite)(model, images, labels), expected)


def test_composite_follows_the_surrogate_and_keeps_what_is_best_for_the_model() -> None:
    surrogate, model = small_model(3), small_model()
    images, labels = answered(model, 60)
    attack = PGD(Linf(0.15), steps=5, step_size=0.15, random_start=False)
    fooled = [~survivors(model, images, labels, Transfer(surrogate, attack, composite=c)) for c in (False, True)]
    assert (fooled[1] >= fooled[0]).all()
    assert fooled[1].sum() > fooled[0].sum() + 3
    single = FGSM(Linf(0.15))  # one step, last iterate: nothing to choose, so the same images
    assert torch.equal(*(Transfer(surrogate, single, composite=c)(model, images, labels) for c in (False, True)))


def test_composite_ranks_what_fools_the_model_above_a_larger_loss() -> None:
    answer = torch.tensor([[0.45, 0.55, 0.0], [0.34, 0.33, 0.33]]).log().clamp_min(-20)  # fooled, loss 0.80; not fooled, loss 1.08
    labels, source = torch.tensor([0, 0]), torch.zeros(2, 3, requires_grad=True)
    for loss, ordered in ((None, True), (cross_entropy, True), (lambda z, y: cross_entropy(z, y), False)):
        value = _grafted_loss(loss)((answer, source), labels)
        assert bool(value[0] > value[1]) is ordered
        (slope,) = torch.autograd.grad(value.sum(), source)
        torch.testing.assert_close(slope, torch.tensor([[-2 / 3, 1 / 3, 1 / 3]]).expand(2, 3))


def test_composite_gradient_is_the_surrogates() -> None:
    """A model without any gradient and a linear surrogate: the step has the sign of the surrogate's weights."""
    weight = torch.randn(36, generator=torch.Generator().manual_seed(0))
    images, labels = torch.full((2, 1, 6, 6), 0.5), torch.tensor([1, 1])
    blocked = lambda x: linear(weight)(x.detach().round())
    for attack in (FGSM(Linf(0.1)), lambda m, x, y, generator=None: FGSM(Linf(0.1))(m, x, y)):  # grafted loss, grafted logits
        found = Transfer(linear(weight), attack, composite=True)(blocked, images, labels)
        torch.testing.assert_close(found[0, 0], 0.5 - 0.1 * weight.reshape(6, 6).sign())


def test_transfer_beats_a_masked_gradient() -> None:
    model, surrogate = small_model(), small_model()
    images, labels = answered(model, 40)
    masked, attack = (lambda x: 1e6 * model(x)), PGD(Linf(0.3), steps=10, random_start=False)
    direct = robust_accuracy(masked, images, labels, attack)
    through = [robust_accuracy(masked, images, labels, Transfer(surrogate, attack, composite=c)) for c in (False, True)]
    assert max(through) < direct - 0.3


def test_transfer_refuses_what_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="surrogate must be callable, got Linf"):
        Transfer(Linf(0.1), PGD(Linf(0.1)))
    with pytest.raises(TypeError, match=r"attack must be callable, got Linf; call it as Transfer\(surrogate, PGD"):
        Transfer(small_model(), Linf(0.1))  # type: ignore[arg-type]


# Feature matching


def smooth_model(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A network without kinks."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 12), nn.Softplus(), nn.Linear(12, 4)).to(dtype).eval()


def direct(model: nn.Sequential, depth: int, image: Tensor, guide: Tensor, eps: float, options: dict[str, Any], *,
           gradient: bool = True) -> tuple[Any, int]:
    """The same problem by a plain call of scipy, and its number of forward passes."""
    calls = []

    def objective(flat: Any) -> Any:
        calls.append(1)
        tried = torch.from_numpy(flat).to(image.dtype).reshape(1, *image.shape).requires_grad_()
        value = (model[:depth](tried) - model[:depth](guide[None])).double().square().sum()
        if not gradient:
            return float(value.detach())
        return float(value.detach()), torch.autograd.grad(value, tried)[0].double().numpy().ravel()

    start = image.double().numpy().ravel()
    box = list(zip(np.maximum(start - eps, 0), np.minimum(start + eps, 1), strict=True))
    return minimize(objective, start, jac=gradient, method="L-BFGS-B", bounds=box, options=options), len(calls)


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("eps", [0.02, 0.2])
def test_reaches_at_most_the_distance_of_scipy(steps: int, eps: float) -> None:
    model, (images, labels) = smooth_model(), batch(8)
    images = images.double()
    attack = FeatureMatching(Linf(eps), layer="4", steps=steps)
    guides = attack.guides(images, labels)
    ours = attack.distances(model, attack(model, images, labels), guides)
    start = attack.distances(model, images, guides)
    for i in range(len(images)):
        alone = direct(model, 5, images[i], guides[i], eps, {"maxiter": steps})[0].fun
        assert ours[i] <= alone * (1 + 1e-9) + 1e-12
        assert ours[i] < start[i]


def test_reaches_the_distance_of_scipy_in_single_precision_with_kinks() -> None:
    model, (images, labels) = small_model(), batch(30)
    attack = FeatureMatching(Linf(0.1), layer="5", steps=20)
    guides = attack.guides(images, labels)
    ours = attack.distances(model, attack(model, images, labels), guides)
    alone = np.array([direct(model, 6, x, g, 0.1, {"maxiter": 20})[0].fun for x, g in zip(images, guides, strict=True)])
    assert float(ours.sum()) <= alone.sum() * (1 + 1e-3)
    assert float(ours.sum()) < 0.5 * float(attack.distances(model, images, guides).sum())


def test_takes_far_fewer_passes_than_finite_differences() -> None:
    model, (images, _) = smooth_model(), batch(2)
    images = images.double()
    passes = 0

    def count(module: Any, inputs: Any) -> None:
        nonlocal passes
        passes += 1

    handle = model.register_forward_pre_hook(count)
    attack = FeatureMatching(Linf(0.1), layer="4", steps=10, guide=images[1:])
    found = attack(model, images[:1])
    handle.remove()
    blind, blind_passes = direct(model, 5, images[0], images[1], 0.1, {"maxiter": 10}, gradient=False)
    assert float(attack.distances(model, found, images[1:])[0]) <= blind.fun * (1 + 1e-6)
    assert blind_passes > 25 * passes  # 37 for each gradient


def test_gradient_is_right() -> None:
    """Against differences; through the optimiser's own interface: the first question is the source itself."""
    model, (images, _) = smooth_model(), batch(2)
    images = images.double()

    def value(flat: Any) -> float:
        tried = torch.from_numpy(flat).reshape(1, 1, 6, 6)
        return float((model[:4](tried) - model[:4](images[1:])).square().sum().detach())

    source = images[0].numpy().ravel().clip(0.1, 0.9)
    slope = approx_fprime(source, value, 1e-7)
    step = FeatureMatching(Linf(1e-4), layer="3", steps=5, guide=images[1:])(model, torch.from_numpy(source).reshape(1, 1, 6, 6))
    move = (step.numpy().ravel() - source)
    np.testing.assert_allclose(move, -1e-4 * np.sign(slope), atol=1e-9)  # in a tiny box the best point is a corner


def test_feature_matching_linear_features_in_closed_form() -> None:
    """One feature <w, x>: the distance falls by eps ||w||_1, not below zero."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 0.0]]))
    images, guide = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), torch.tensor([0.9, 0.1, 0.5, 0.5], dtype=torch.float64).reshape(1, 1, 2, 2)
    for eps in (0.1, 0.2, 0.4):
        attack = FeatureMatching(Linf(eps), layer="1", guide=guide)
        left = float(attack.distances(model, attack(model, images), guide)[0])
        assert left == pytest.approx(max(1.2 - 3.5 * eps, 0) ** 2, abs=1e-9)


def test_feature_matching_does_not_depend_on_batches_when_guides_are_given() -> None:
    model, (images, _) = smooth_model(), batch(9)
    images, guide = images.double(), batch(1, seed=5)[0].double()
    whole = FeatureMatching(Linf(0.1), layer="4", steps=10, guide=guide)(model, images)
    parts = FeatureMatching(Linf(0.1), layer="4", steps=10, guide=guide, batch_size=2)(model, images)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_guides_by_rule() -> None:
    images = torch.arange(6).reshape(6, 1, 1, 1) / 6
    guides = FeatureMatching(Linf(0.1), layer="").guides(images, torch.tensor([0, 0, 1, 1, 2, 0]))
    assert guides.flatten().mul(6).round().tolist() == [2, 2, 4, 4, 5, 2]
    with pytest.raises(ValueError, match=r"two classes to choose guides from, got only class 3; pass guide=images"):
        FeatureMatching(Linf(0.1), layer="").guides(images, torch.full((6,), 3))
    with pytest.raises(ValueError, match=r"guides of another class need labels, got None; pass labels, or guide=images"):
        FeatureMatching(Linf(0.1), layer="0")(small_model(), batch()[0])


def test_features_are_read_before_the_next_layer_changes_them_in_place() -> None:
    model, (images, labels) = small_model(), batch()
    attack = FeatureMatching(Linf(0.1), layer="1")  # batch norm, followed by a ReLU in place
    guides = attack.guides(images, labels)
    with torch.no_grad():
        expected = (model[:2](images) - model[:2](guides)).flatten(1).double().square().sum(1)
    torch.testing.assert_close(attack.distances(model, images, guides), expected)


class TwoHeads(nn.Module):
    """A layer that is never used and one that returns a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.unused, self.pair, self.cut = nn.Linear(2, 2), nn.LSTM(6, 3, batch_first=True), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.pair(images[:, 0])[0].flatten(1) + self.cut(images.detach().flatten(1)[:, :18])


@pytest.mark.parametrize(("layer", "message"), [
    ("head", r"layer must be one of \['', 'unused', 'pair', 'cut'\], got 'head' for a TwoHeads"),
    ("unused", "layer 'unused' must return one tensor .* got no call; choose a layer that forward"),
    ("pair", "layer 'pair' must return one tensor .* got tuple"),
    ("cut", "the features must depend on the images, got a layer without a gradient; choose an earlier layer")])
def test_bad_layers_are_refused(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureMatching(Linf(0.1), layer=layer)(TwoHeads(), *batch())


def test_feature_matching_refuses_bad_settings() -> None:
    images, labels = batch()
    with pytest.raises(TypeError, match=r"threat must be Linf, because L-BFGS-B searches a box, got L2\(1\); for example"):
        FeatureMatching(L2(1), layer="0")
    with pytest.raises(TypeError, match="layer must be the name of a layer, got int"):
        FeatureMatching(Linf(0.1), layer=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got 0"):
        FeatureMatching(Linf(0.1), layer="0", steps=0)
    with pytest.raises(ValueError, match=r"guide must lie in \[0, 1\]"):
        FeatureMatching(Linf(0.1), layer="0", guide=images * 2)
    with pytest.raises(ValueError, match=r"guide must have shape \[12, 1, 6, 6\] or one image of it, got \[5, 1, 6, 6\]"):
        FeatureMatching(Linf(0.1), layer="0", guide=images[:5])(small_model(), images, labels)
    with pytest.raises(ValueError, match=r"layer must be one of the layers of an nn.Module, got '0' for a function"):
        FeatureMatching(Linf(0.1), layer="0")(linear(torch.ones(36)), images, labels)  # type: ignore[arg-type]
    broken = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    nn.init.constant_(broken[1].weight, math.nan)
    with pytest.raises(ValueError, match="features and their gradient must be finite, got NaN"):
        FeatureMatching(Linf(0.1), layer="1")(broken, images, labels)


def test_best_point_met_is_kept_for_each_row() -> None:
    """An objective that is much worse from the third question on."""
    scale = np.array([1.0, 3.0, 10.0, 30.0])
    seen: dict[int, list[tuple[float, Any]]] = {0: [], 1: [], 2: []}

    def objective(rows: list[int], x: Any) -> Any:
        values = (scale * (x - 0.3) ** 2).sum(1) + [100.0 * (len(seen[row]) > 1) for row in rows]
        for row, value, point in zip(rows, values, x, strict=True):
            seen[row].append((value, point.copy()))
        return values, 2 * scale * (x - 0.3)

    best = _minimize_together(objective, np.full((3, 4), 0.8), np.zeros((3, 4)), np.ones((3, 4)), 10)
    for row, met in seen.items():
        np.testing.assert_array_equal(best[row], min(met, key=lambda pair: pair[0])[1])


def test_interrupted_search_ends_its_threads() -> None:
    """Whatever stops the caller, also the keyboard, must not leave runs waiting for an answer."""
    calls = 0

    def interrupt(module: Any, inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    model, threads = small_model(), threading.active_count()
    model.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        FeatureMatching(Linf(0.1), layer="2", steps=20)(model, *batch())
    assert threading.active_count() == threads


# The minimal radius


@pytest.mark.parametrize(("kind", "high"), [(Linf, 0.02), (L2, 0.1), (L1, 0.3)])
@pytest.mark.parametrize("growth", [1.3, 4.0])
def test_linear_model_in_closed_form(kind: Any, high: float, growth: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(36, generator=generator)
    images = (0.5 + 0.01 * torch.randn(60, 1, 6, 6, generator=generator)).double()
    gap = (images - 0.5).flatten(1) @ weight.double()
    exact = gap.clamp_min(0) / float(kind(1).dual_norm(weight.double().numpy()))
    radii = minimal_radius(linear(weight), images, torch.ones(60, dtype=torch.long), lambda r: PGD(kind(r), steps=8, random_start=False),
                           high=high, tolerance=high / 500, growth=growth)
    found = radii.isfinite()
    assert radii.dtype == torch.float64
    assert (radii[gap < 0] == 0).all()
    assert (gap < 0).sum() > 10
    assert (gap[found] > 0).sum() > 10
    right = found & (gap > 0)
    assert (radii[right] >= exact[right] * (1 - 1e-5)).all()
    assert (radii[right] <= exact[right] * (1 + 1e-5) + high / 500).all()
    assert (exact[~found] > high * (1 - 1e-5)).all()


def test_not_found_is_infinite_and_the_largest_radius_is_tried() -> None:
    images, labels = torch.full((1, 1, 1, 2), 0.5), torch.tensor([1])
    tried = []

    def attack_at(radius: float) -> PGD:
        tried.append(radius)
        return FGSM(Linf(radius))

    assert minimal_radius(linear(torch.ones(2), 1.0), images, labels, attack_at, high=0.3, low=0.1).tolist() == [math.inf]
    assert tried == pytest.approx([0.1, 0.2, 0.3])
    assert minimal_radius(linear(torch.ones(2), 0.599), images, labels, FGSM_at, high=0.3, low=0.5).tolist() == pytest.approx([0.2995], abs=5e-4)


def FGSM_at(radius: float) -> PGD:
    """FGSM in the Linf ball."""
    return FGSM(Linf(radius))


@pytest.mark.parametrize("build", [
    FGSM_at, lambda r: PGD(Linf(r), steps=5, random_start=False), lambda r: PGD(L2(5 * r), steps=5, random_start=False, step_size=0.2),
    lambda r: PGD(Linf(r), steps=3, random_start=False, loss=margin), lambda r: PGD(L1(30 * r), steps=5, random_start=False),
    lambda r: PGD(Linf(r), steps=3, random_start=False, drop_fooled="steps")],
    ids=["FGSM", "PGD", "absolute steps", "margin", "L1", "dropping"])
def test_one_radius_per_image_is_one_radius_after_another(build: Any) -> None:
    """The joint search against the search that calls the same attack once for each distinct radius."""
    model = small_model().double()
    images, labels = answered(model, 25)
    images, scale = images.double(), build(1.0).threat.radius
    options: Any = {"high": 0.4 * scale, "tolerance": 0.4 * scale / 200}

    def scaled(radius: float) -> PGD:
        return build(radius / scale)

    joint = minimal_radius(model, images, labels, scaled, **options)
    alone = minimal_radius(model, images, labels, lambda r: lambda m, x, y, generator=None: scaled(r)(m, x, y, generator=generator), **options)
    torch.testing.assert_close(joint, alone, rtol=0, atol=0.4 * scale / 200)
    assert ((joint - alone).abs() < 1e-9).double().mean() > 0.9
    assert joint.isfinite().double().mean() > 0.8
    assert len(joint.unique()) > 10


def test_joint_search_takes_one_attack_per_round() -> None:
    model = small_model()
    images, labels = answered(model, 25)
    calls = []

    def spy(x: Tensor) -> Tensor:
        calls.append(len(x))
        return model(x)

    minimal_radius(spy, images, labels, FGSM_at, high=0.4, low=0.4 / 64, tolerance=0.401 / 64)
    assert len(calls) <= 1 + 2 * (7 + 5)  # growth in 7 rounds, then a bracket of at most 32 tolerances; one step, one judgement


def test_success_is_verified_and_failures_are_below() -> None:
    """An attack that fails at the image itself for some radii: the radius returned is one where it succeeded, however odd."""
    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([1])
    outcome: dict[float, bool] = {}

    def attack_at(radius: float) -> Any:
        def attack(model: Any, x: Tensor, y: Tensor, *, generator: Any = None) -> Tensor:
            outcome[radius] = works = radius > 0.15 and int(radius * 1000) % 3 > 0
            return torch.zeros_like(x) if works else x

        return attack

    radius = float(minimal_radius(linear(torch.ones(1), 0.1), images, labels, attack_at, high=0.4, low=0.05, tolerance=1e-3))
    assert outcome[radius]
    assert any(not works and radius - 1e-3 <= r < radius for r, works in outcome.items())


def test_minimal_radius_does_not_depend_on_batches() -> None:
    model = small_model().double()
    images, labels = answered(model, 10)
    whole = minimal_radius(model, images.double(), labels, FGSM_at, high=0.4)
    assert torch.equal(minimal_radius(model, images.double(), labels, FGSM_at, high=0.4, batch_size=3), whole)


@pytest.mark.parametrize("attack_at", [
    lambda r: Transfer(small_model(7), PGD(Linf(r), steps=2)), lambda r: RandomSearch(Linf(r), draws=20), lambda r: PGD(Linf(r), steps=2, restarts=2, seed=0),
    lambda r: PGD(L1(20 * r), steps=2), lambda r: FeatureMatching(Linf(r), layer="5", steps=5, guide=batch(1, 3)[0])],
    ids=["transfer", "random", "restarts", "L1", "matching"])
def test_every_attack_has_a_minimal_radius(attack_at: Any) -> None:
    model = small_model()
    images, labels = answered(model, 8)
    scale = 20 if isinstance(getattr(attack_at(1.0), "threat", None), L1) else 1
    radii = minimal_radius(model, images, labels, lambda r: attack_at(r / scale), high=0.5 * scale, tolerance=0.1 * scale)
    assert radii.isfinite().any()
    assert (radii > 0).all()


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"high": 0}, ValueError, "high must be a finite number > 0, got 0"),
    ({"high": math.nan}, ValueError, "high must be a finite number > 0"),
    ({"low": -1}, ValueError, "low must be a finite number > 0, got -1"),
    ({"tolerance": 0}, ValueError, "tolerance must be a finite number >= 5e-08, got 0"),
    ({"growth": 1}, ValueError, "growth must be a finite number > 1, got 1"),
    ({"batch_size": 0}, ValueError, "batch_size must be"),
    ({"attack_at": lambda r: PGD(Linf(0.3))}, ValueError, r"attack_at\(0.0078125\) must return an attack of radius 0.0078125, got PGD.*lambda r: PGD"),
    ({"attack_at": lambda r: Linf(r)}, ValueError, r"must return an attack of radius .*, got Linf"),
    ({"attack_at": PGD(Linf(0.1))}, TypeError, r"attack_at must be a function of the radius, got PGD; write lambda r: PGD\(Linf\(r\)\)"),
    ({"attack_at": 0.3}, TypeError, "attack_at must be a function of the radius, got float"),
])
def test_minimal_radius_refuses_bad_settings(options: dict[str, Any], error: type[Exception], message: str) -> None:
    model = small_model()
    settings = {"attack_at": FGSM_at, "high": 0.5, **options}
    with pytest.raises(error, match=message):
        minimal_radius(model, *answered(model), **settings)


# The curve


def test_curve_counts_radii_above() -> None:
    curve = accuracy_curve(torch.tensor([0.0, 0.1, 0.1, 0.3, math.inf], dtype=torch.float64), [0, 0.05, 0.1, 0.3, 5])
    assert curve.accuracy.tolist() == [0.8, 0.8, 0.4, 0.2, 0.2]
    assert curve.n == 5
    assert (np.diff(curve.accuracy) <= 0).all()
    assert (curve.low <= curve.accuracy).all()
    assert (curve.accuracy <= curve.high).all()
    assert "| 0.05 | 0.800 | [0.284, 0.995] |" in curve._repr_markdown_()
    assert accuracy_curve([0.2], 0.1).accuracy.tolist() == [1.0]


def test_curve_has_the_interval_of_clopper_and_pearson() -> None:
    curve = accuracy_curve(np.linspace(0.01, 1, 100), [0.3], level=0.9)
    assert curve.low[0] == pytest.approx(beta.ppf(0.05, 70, 31))
    assert curve.high[0] == pytest.approx(beta.ppf(0.95, 71, 30))
    narrow = accuracy_curve(np.linspace(0.01, 1, 100), [0.3], level=0.9, method="wilson")
    assert narrow.high[0] - narrow.low[0] < curve.high[0] - curve.low[0]


def test_curve_agrees_with_one_attack_per_radius() -> None:
    """FGSM without restarts, accuracy at eight radii measured one by one; the curve may only be lower, by carried successes."""
    model = small_model()
    images, labels = answered(model, 80)
    radii = minimal_radius(model, images, labels, FGSM_at, high=0.4, tolerance=1e-4)
    curve = accuracy_curve(radii, np.linspace(0, 0.35, 8))
    single = [robust_accuracy(model, images, labels, FGSM(Linf(float(e)))) for e in curve.eps]
    assert curve.accuracy[0] == single[0] == 1
    assert curve.accuracy[-1] < 0.3
    assert np.abs(curve.accuracy - single).max() <= 0.05


@pytest.mark.parametrize(("radii", "eps", "message"), [
    ([math.nan], [0.1], "radii must be numbers >= 0"), ([-1.0], [0.1], "radii must be numbers >= 0"), ([], [0.1], "radii must be numbers >= 0"),
    ([[0.1]], [0.1], r"shape \[N\]"), ([0.1], [-0.1], "eps must be numbers >= 0"), ([0.1], [math.nan], "eps must be numbers >= 0")])
def test_curve_refuses_bad_numbers(radii: Any, eps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy_curve(radii, eps)


# Randomised models


def gradient_of(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the cross-entropy."""
    images = images.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(images), labels).sum(), images)[0]


def test_model_without_noise_passes_unchanged() -> None:
    model, (images, labels) = small_model(), batch()
    for samples in (1, 2, 4):
        wrapped = ExpectationOverTransformation(model, samples=samples)
        torch.testing.assert_close(wrapped(images), model(images))
        torch.testing.assert_close(gradient_of(wrapped, images, labels), gradient_of(model, images, labels))
    averaged = ExpectationOverTransformation(model, samples=3, average="probabilities")
    torch.testing.assert_close(averaged(images), model(images).log_softmax(1))


def test_average_and_gradient_are_the_means_of_the_draws() -> None:
    model, (images, _) = Noisy(small_model()).eval(), batch()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        draws = torch.stack([model(images) for _ in range(6)])
    torch.testing.assert_close(ExpectationOverTransformation(model, samples=6, seed=3)(images), draws.mean(0))
    averaged = ExpectationOverTransformation(model, samples=6, seed=3, average="probabilities")(images)
    torch.testing.assert_close(averaged.exp(), draws.softmax(2).mean(0))


def test_logits_and_log_probabilities_give_the_same_gradient() -> None:
    noisy, (images, labels) = Noisy(small_model()).eval(), batch()
    other = nn.Sequential(noisy, nn.LogSoftmax(1))
    one, two = (gradient_of(ExpectationOverTransformation(m, samples=8, seed=0), images, labels) for m in (noisy, other))
    torch.testing.assert_close(one, two)
    values = [cross_entropy(ExpectationOverTransformation(noisy, samples=8, seed=0, average=a)(images), labels)  # type: ignore[arg-type]
              for a in ("probabilities", "logits")]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean = torch.stack([cross_entropy(noisy(images), labels) for _ in range(8)]).mean(0)
    assert (values[0] <= mean + 1e-6).all()  # Jensen, twice
    assert (values[1] <= mean + 1e-6).all()


def test_average_converges_to_the_closed_form() -> None:
    """Noise before a linear model: the mean logits are the logits; error sigma ||w|| / sqrt(S), four deviations."""
    weight = torch.ones(36) / 6
    noisy, images = Noisy(linear(weight), 0.5), torch.full((1, 1, 6, 6), 0.7)  # type: ignore[arg-type]
    mean = ExpectationOverTransformation(noisy, samples=2000, seed=0)(images)[0, 1]
    assert abs(float(mean) - 1.2) < 4 * 0.5 / math.sqrt(2000)


def test_modes_and_random_numbers_of_the_average() -> None:
    model = Noisy(small_model())
    model.eval()
    model.model[3].train()
    modes = [m.training for m in model.modules()]
    wrapped, (images, labels) = ExpectationOverTransformation(model, samples=2, seed=0), batch()
    assert [m.training for m in model.modules()] == modes
    assert not wrapped.training
    state = torch.get_rng_state()
    assert torch.equal(wrapped(images), wrapped(images))
    PGD(Linf(0.1), steps=2, random_start=False)(wrapped, images, labels)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    fresh = ExpectationOverTransformation(model, samples=2)
    assert not torch.equal(fresh(images), fresh(images))
    assert "samples=2, seed=0, average='logits'" in repr(wrapped)


def test_every_attack_takes_an_averaged_model() -> None:
    model = Noisy(small_model(), 0.1).eval()
    images, labels = answered(small_model())
    wrapped = ExpectationOverTransformation(model, samples=5, seed=0)
    for attack in (FGSM(Linf(0.2)), PGD(Linf(0.2), steps=3), RandomSearch(Linf(0.2), draws=10), Transfer(wrapped, FGSM(Linf(0.2))),
                   FeatureMatching(Linf(0.2), layer="model.model.2", steps=3)):
        assert ((attack(wrapped, images, labels) - images).abs() > 0.01).any()  # type: ignore[operator]
    assert minimal_radius(wrapped, images, labels, FGSM_at, high=0.4).isfinite().any()


def test_randomness_is_seen() -> None:
    images, model = batch()[0], small_model()
    state = torch.get_rng_state()
    assert is_randomised(Noisy(model), images)
    assert is_randomised(Noisy(model, 1e-3), images)
    assert not is_randomised(model, images)
    assert not is_randomised(model.train(), images)  # dropout in training mode is not what an attack meets
    assert model.training
    assert is_randomised(ExpectationOverTransformation(Noisy(model)), images)
    assert not is_randomised(ExpectationOverTransformation(Noisy(model), seed=1), images)
    assert not is_randomised(lambda x: x.flatten(1) * math.nan, images)
    assert torch.equal(torch.get_rng_state(), state)


def test_average_and_detector_refuse_bad_settings() -> None:
    with pytest.raises(ValueError, match="samples must be a whole number >= 1, got 0"):
        ExpectationOverTransformation(small_model(), samples=0)
    with pytest.raises(ValueError, match="average must be 'logits' or 'probabilities', got 'votes'; choose one of them"):
        ExpectationOverTransformation(small_model(), average="votes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be callable, got int 3; pass a module"):
        ExpectationOverTransformation(3)
    with pytest.raises(ValueError, match="forwards must be a whole number >= 2, got 1"):
        is_randomised(small_model(), batch()[0], forwards=1)
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
        is_randomised(small_model(), batch()[0] * 2)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_minimal_radius_of_a_seeded_search_does_not_depend_on_the_batch(kind: Any) -> None:
    """With random starts too, every image has its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).double()
    images = torch.rand(7, 1, 3, 3, dtype=torch.float64)
    labels = model(images).argmax(1)
    high = {Linf: 0.5, L2: 1.5, L1: 4.0}[kind]

    def radii(rows: slice) -> Tensor:
        return minimal_radius(model, images[rows], labels[rows], lambda r: PGD(kind(r), steps=4, seed=0), high=high, tolerance=high / 64)

    whole = radii(slice(0, 7))
    assert bool((whole < high).any())
    assert torch.equal(torch.cat([radii(slice(0, 1)), radii(slice(1, 4)), radii(slice(4, 7))]), whole)
