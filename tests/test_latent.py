"""Gaussian latents: gradients and answers against closed forms, views, determinism, every backbone."""
from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped
from scipy.stats import norm
from torch import Generator, Tensor, nn

from robinfo.attacks import PGD, ExpectationOverTransformation, is_randomised
from robinfo.attacks.gradient import without_batch_norm
from robinfo.evaluation import evaluate, robust_accuracy
from robinfo.latent import MINIMUM_STD, GaussianLatent, gaussian_classifier
from robinfo.models import ARCHITECTURES, classifier
from robinfo.objectives import AdversarialTraining
from robinfo.threats import Linf

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
ANSWERS = ("mean", "sample", "average")


def tiny(classes: int = 3, latent: int = 5, **settings: Any) -> GaussianLatent:
    """A latent on flattened 4 x 4 images, in double precision and evaluation mode, with spread weights."""
    torch.manual_seed(0)
    model = GaussianLatent(nn.Flatten(), 16, classes, latent=latent, **settings).double().eval()
    nn.init.normal_(model.last.weight, std=2.0)
    return model


def pictures(count: int = 4) -> Tensor:
    """Images in double precision."""
    return torch.rand(count, 1, 4, 4, generator=Generator().manual_seed(1), dtype=torch.float64)


# The layer


@given(mean=st.floats(-3, 3), std=st.floats(0.01, 3), seed=st.integers(0, 2**31))
def test_a_draw_is_affine_in_mean_and_std(mean: float, std: float, seed: int) -> None:
    m, s = (torch.full((7, 5), v, dtype=torch.float64, requires_grad=True) for v in (mean, std))
    epsilon = torch.randn(7, 5, generator=Generator().manual_seed(seed), dtype=torch.float64)
    z = tiny().sample(m, s, generator=Generator().manual_seed(seed))
    torch.testing.assert_close(z, mean + std * epsilon, rtol=1e-12, atol=1e-12)
    by_mean, by_std = torch.autograd.grad(z.square().sum(), (m, s))
    torch.testing.assert_close(by_mean, 2 * (mean + std * epsilon))
    torch.testing.assert_close(by_std, 2 * (mean + std * epsilon) * epsilon)


@pytest.mark.parametrize(("mean", "std"), [(0.7, 1.3), (-2.0, 0.2), (0.0, 2.0)])
def test_expected_gradients_are_those_of_the_quadrature(mean: float, std: float) -> None:
    """200,000 draws against Gauss-Hermite, five standard errors: false alarm below 1e-6 each."""
    m, s = (torch.full((200_000, 1), v, dtype=torch.float64, requires_grad=True) for v in (mean, std))
    z = tiny().sample(m, s, generator=Generator().manual_seed(0))
    slope = -1 / (1 + np.exp(mean + std * NODES))
    for gradient, exact in zip(torch.autograd.grad(F.softplus(-z).sum(), (m, s)), (WEIGHTS @ slope, WEIGHTS @ (NODES * slope)), strict=True):
        assert abs(gradient.mean().item() - exact) < 5 * gradient.std().item() / 200_000**0.5


@pytest.mark.parametrize("raw", [-1e4, -104.0, -1.0, 0.0, 3.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_standard_deviation_is_softplus_above_a_floor(raw: float, dtype: torch.dtype) -> None:
    model = GaussianLatent(nn.Flatten(), 4, 2, latent=3).to(dtype)
    with torch.no_grad():
        model.gaussian.weight.zero_()
        model.gaussian.bias.copy_(torch.tensor([1.0, 2, 3, raw, raw, raw]))
    mean, std = model.encode(torch.rand(2, 1, 2, 2, dtype=dtype))
    assert torch.equal(mean, torch.tensor([1.0, 2, 3], dtype=dtype).expand(2, 3))
    expected = np.logaddexp(0, raw) + MINIMUM_STD
    torch.testing.assert_close(std, torch.full((2, 3), expected, dtype=dtype))
    assert (std >= MINIMUM_STD).all()
    (gradient,) = torch.autograd.grad(std.log().sum(), model.gaussian.bias)
    assert torch.isfinite(gradient).all()


def test_training_draws_once_for_each_image_from_the_global_numbers() -> None:
    for inference in ANSWERS:
        model = tiny(inference=inference, seed=0).train()
        torch.manual_seed(3)
        logits = model(pictures())
        mean, std = model.encode(pictures())
        torch.manual_seed(3)
        torch.testing.assert_close(logits, model.classify(mean + std * torch.randn_like(mean)))
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# The answers


def test_the_mean_is_the_last_layer_of_the_mean() -> None:
    model = tiny()
    mean, _ = model.encode(pictures())
    assert torch.equal(model(pictures()), mean @ model.last.weight.T + model.last.bias)
    state = torch.get_rng_state()
    model(pictures())
    assert torch.equal(torch.get_rng_state(), state)


def test_two_classes_are_their_closed_forms() -> None:
    """20,000 draws; the standard error of a share is at most 0.0036."""
    model, images = tiny(2), pictures(8)
    mean, std = model.encode(images)
    w = (model.last.weight[1] - model.last.weight[0]).detach()
    with torch.no_grad():
        m, s = (mean @ w + model.last.bias.diff()).numpy(), (std.square() @ w.square()).sqrt().numpy()
        average = model.with_inference("average", samples=20_000, seed=0)(images).exp()[:, 1].numpy()
        sample = model.with_inference("sample")
        decided = np.mean([(sample(images).argmax(1) == 1).numpy() for _ in range(4000)], axis=0)
    exact = (1 / (1 + np.exp(-(m[:, None] + s[:, None] * NODES)))) @ WEIGHTS
    np.testing.assert_allclose(average, exact, atol=0.02)
    np.testing.assert_allclose(decided, norm.cdf(m / s), atol=0.04)
    assert ((exact > 0.5) == (m > 0)).all()


@given(seed=st.integers(0, 2**31), samples=st.integers(1, 9), classes=st.integers(2, 5))
def test_the_average_is_the_logarithm_of_average_probabilities(seed: int, samples: int, classes: int) -> None:
    model, images = tiny(classes, latent=4), pictures(3)
    view = model.with_inference("average", samples=samples, seed=seed)
    mean, std = model.encode(images)
    noise = torch.randn(samples, 1, 4, generator=Generator().manual_seed(seed)).double()
    expected = torch.stack([model.classify(mean + std * e).softmax(1) for e in noise]).mean(0).log()
    torch.testing.assert_close(view(images), expected)
    torch.testing.assert_close(view(images).exp().sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(view(images)[1:2], view(images[1:2]))


def test_three_classes_may_be_decided_differently() -> None:
    model = GaussianLatent(nn.Flatten(), 1, 3, latent=1).eval()
    with torch.no_grad():
        model.last.weight.copy_(torch.tensor([[0.0], [5.0], [-5.0]]))
        model.last.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
        model.gaussian.weight.zero_()
        model.gaussian.bias.copy_(torch.tensor([0.05, math.log(math.e - 1)]))
    image = torch.zeros(1, 1, 1, 1)
    assert int(model(image).argmax()) == 0
    assert int(model.with_inference("average", samples=20_000, seed=0)(image).argmax()) == 1


def test_the_average_is_expectation_over_transformation() -> None:
    model = tiny(latent=16)
    point = pictures().requires_grad_()
    outside = ExpectationOverTransformation(model.with_inference("sample"), samples=7, seed=3, average="probabilities")(point)
    torch.manual_seed(3)
    inside = model.with_inference("average", samples=7)(point)
    torch.testing.assert_close(inside, outside)
    torch.testing.assert_close(*(torch.autograd.grad(f[:, 0].sum(), point)[0] for f in (inside, outside)))


def test_averaged_logits_are_the_logits_of_the_mean() -> None:
    model = tiny()
    mean, std = model.encode(pictures())
    logits = model.classify(model.sample(mean.expand(40_000, -1, -1), std, generator=Generator().manual_seed(0))).detach()
    error = logits.std(0) / 200
    assert ((logits.mean(0) - model(pictures())).abs() < 5 * error).all()


@pytest.mark.parametrize(("inference", "seed", "random"), [
    ("mean", None, False), ("mean", 0, False), ("sample", None, True), ("sample", 0, False), ("average", None, True), ("average", 0, False)])
def test_which_answers_are_random(inference: Any, seed: int | None, random: bool) -> None:
    model = tiny(inference=inference, seed=seed, samples=3)
    assert is_randomised(model, pictures()) is random
    if not random:
        torch.testing.assert_close(model(pictures())[2:], model(pictures()[2:]))
        assert torch.equal(model(pictures().flip(0)).flip(0), model(pictures()))
    if seed is not None and inference != "mean":
        assert not torch.equal(model(pictures()), model.with_inference(inference, seed=1)(pictures()))


def test_a_seeded_draw_has_one_noise_for_all_images() -> None:
    model = tiny()
    mean, std = model.encode(pictures())
    epsilon = torch.randn(1, 5, generator=Generator().manual_seed(7)).double()
    state = torch.get_rng_state()
    torch.testing.assert_close(model.with_inference("sample", seed=7)(pictures()), model.classify(mean + std * epsilon))
    model.with_inference("average", samples=3, seed=7)(pictures())
    assert torch.equal(torch.get_rng_state(), state)  # seeded answers take nothing from the global numbers


# Views


def test_a_view_shares_the_weights_and_the_mode() -> None:
    model = tiny().train()
    view = model.with_inference("average", samples=4, seed=0)
    assert (model.inference, model.samples, model.seed, model.noise) == ("mean", 20, None, None)
    assert all(a is b for a, b in zip(model.parameters(), view.parameters(), strict=True))
    assert is_randomised_as_is(view)
    model.eval()
    assert not is_randomised_as_is(view)
    with torch.no_grad():
        model.last.bias += 1
    assert torch.equal(view.last.bias, model.last.bias)
    assert view.state_dict().keys() == model.state_dict().keys()
    again = view.with_inference("average")
    assert (again.samples, again.seed, again.noise) == (4, None, None)
    assert view.noise is not None


def is_randomised_as_is(model: nn.Module) -> bool:
    """Whether two answers differ in the mode that the model is in."""
    return not torch.equal(model(pictures()), model(pictures()))


def test_checkpoints_do_not_depend_on_the_answer() -> None:
    model = tiny(inference="average", seed=5)
    other = GaussianLatent(nn.Flatten(), 16, 3, latent=5).double().eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.with_inference("average", seed=5)(pictures()), model(pictures()))
    assert torch.equal(copy.deepcopy(model)(pictures()), model(pictures()))


@pytest.mark.parametrize(("settings", "text"), [
    ({}, "latent=5, inference='mean'"),
    ({"inference": "sample"}, "latent=5, inference='sample', seed=None"),
    ({"inference": "average", "samples": 7, "seed": 3}, "latent=5, inference='average', samples=7, seed=3"),
])
def test_the_text_names_the_answer(settings: dict[str, Any], text: str) -> None:
    model = tiny(**settings)
    assert model.extra_repr() == text
    assert text in str(model)


# Any backbone


@pytest.mark.parametrize(("name", "latent", "added"), [
    ("small_cnn", 128, 200 * 256 + 256 + 128 * 10 + 10 - 2010), ("resnet18", 256, 512 * 512 + 512 + 2570 - 5130),
    ("resnet50", 256, 2048 * 512 + 512 + 2570 - 20490), ("vgg16", 256, 512 * 512 + 512 + 2570 - 5130),
    ("wide_resnet34_10", 320, 640 * 640 + 640 + 3210 - 6410), ("densenet121", 256, 1024 * 512 + 512 + 2570 - 10250),
    ("baseline_h", 64, 200 * 128 + 128 + 650 - 2010)])
def test_every_architecture_gets_the_layer(name: str, latent: int, added: int) -> None:
    with torch.device("meta"):
        model, plain = gaussian_classifier(name), classifier(name)
        images = torch.empty(2, 3, 32, 32)
        assert model(images).shape == (2, 10)
        assert [t.shape for t in model.eval().encode(images)] == [(2, latent)] * 2
        assert model.with_inference("average", samples=3)(images).shape == (2, 10)
    assert model.latent == latent
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters()) == added


def test_all_architectures_are_tested() -> None:
    assert len(ARCHITECTURES) == 7


def test_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in gaussian_classifier("resnet18").parameters()) == 11_434_058


def test_settings_reach_the_layer() -> None:
    model = gaussian_classifier("baseline_h", in_channels=1, image_size=28, num_classes=4, latent=9, inference="average", samples=2, seed=1)
    assert (model.latent, model.inference, model.samples, model.seed) == (9, "average", 2, 1)
    assert model.eval()(torch.rand(3, 1, 28, 28)).shape == (3, 4)


# Attacks and training


@pytest.mark.parametrize("inference", ANSWERS)
@pytest.mark.parametrize("seed", [None, 0])
def test_a_twin_without_batch_norm_answers_the_same(inference: Any, seed: int | None) -> None:
    model = gaussian_classifier("baseline_h", in_channels=1, image_size=8, latent=4, inference=inference, samples=3, seed=seed).eval()
    images = torch.rand(5, 1, 8, 8)
    twin, answers = without_batch_norm(model), []
    for network in (model, twin):
        torch.manual_seed(0)
        answers.append(network(images))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def test_attacks_take_the_mean_in_training_and_leave_the_mode() -> None:
    model = tiny(latent=4).float().train()
    images, labels = pictures().float(), torch.arange(4) % 3
    attack = PGD(Linf(0.1), steps=3, random_start=False)
    x_adv = attack(model, images, labels)
    assert model.training
    assert torch.equal(x_adv, attack(model.eval(), images, labels))
    half = PGD(Linf(0.1), steps=3, precision="bfloat16", random_start=False)(model, images, labels)
    assert half.dtype == torch.float32


def test_half_precision_gives_single_precision_latents() -> None:
    model = tiny().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, std = model.encode(pictures().float())
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(mean, model.encode(pictures().float())[0], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("inference", ANSWERS)
def test_half_precision_answers_are_those_of_single_precision(inference: Any) -> None:
    view = tiny().float().with_inference(inference, samples=50, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = view(pictures().float()).float()
    torch.testing.assert_close(half.softmax(1), view(pictures().float()).softmax(1), rtol=0, atol=0.05)
    if inference == "average":
        torch.testing.assert_close(half.exp().sum(1), torch.ones(4), rtol=0, atol=0.02)


@pytest.mark.parametrize("inference", ANSWERS)
def test_evaluate_judges_the_answer_whatever_the_batch(inference: Any) -> None:
    view = tiny().float().with_inference(inference, samples=5, seed=1)
    images = torch.rand(12, 1, 4, 4, generator=Generator().manual_seed(2))
    labels = view(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 3
    suite = {"PGD": PGD(Linf(0.9), steps=8, random_start=False)}
    reports = [evaluate(view, images, labels, suite, batch_size=size) for size in (12, 5)]
    assert reports[0].accuracies == reports[1].accuracies
    assert reports[0].accuracies["clean"] == 0.75
    assert reports[0].accuracies["PGD"] < 0.75


def test_adversarial_training_takes_the_model_as_it_is() -> None:
    model = tiny().float().train()
    images, labels = pictures().float(), torch.arange(4) % 3
    objective = AdversarialTraining(PGD(Linf(0.1), steps=2))
    x_adv = objective.perturb(model, None, images, labels, Generator().manual_seed(0))
    loss, _ = objective.loss(model, None, images, x_adv, labels)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


# Shapes and errors


@pytest.mark.parametrize(("call", "arguments", "wrong"), [
    (GaussianLatent.forward, [pictures()], [pictures()[0]]),
    (GaussianLatent.encode, [pictures()], [pictures()[0]]),
    (GaussianLatent.classify, [torch.rand(2, 3, 5, dtype=torch.float64)], [torch.tensor(1.0)]),
    (GaussianLatent.sample, [torch.rand(2, 5), torch.rand(2, 5)], [torch.rand(2, 5), torch.rand(3, 5)]),
], ids=["forward", "encode", "classify", "sample"])
def test_annotated_shapes_are_the_shapes(call: Any, arguments: list[Tensor], wrong: list[Tensor]) -> None:
    checked = jaxtyped(call, typechecker=beartype)
    checked(tiny(), *arguments)
    with pytest.raises(TypeCheckError):
        checked(tiny(), *wrong)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: tiny(inference="median"), ValueError, "inference must be 'mean', 'sample' or 'average', got 'median'; choose"),
    (lambda: tiny().with_inference("eot"), ValueError, "got 'eot'"),  # type: ignore[arg-type]
    (lambda: tiny(samples=0), ValueError, "samples must be a whole number >= 1, got 0"),
    (lambda: tiny(latent=0), ValueError, "latent must be a whole number >= 1, got 0"),
    (lambda: tiny(classes=1), ValueError, "num_classes must be a whole number >= 2, got 1"),
    (lambda: tiny(latent=2.5), TypeError, "latent must be a whole number, got float 2.5"),  # type: ignore[arg-type]
    (lambda: GaussianLatent(nn.Flatten(), 0, 2, latent=1), ValueError, "num_features must be a whole number >= 1"),
    (lambda: GaussianLatent(torch.flatten, 4, 2, latent=1), TypeError, r"features must be an nn.Module, got .*; use split_last_layer"),  # type: ignore[arg-type]
    (lambda: tiny()(torch.rand(1, 1, 5, 5)), ValueError, r"features must map images to \[N, 16\], got \[1, 25\]; pass that number as num_features"),
    (lambda: GaussianLatent(nn.Identity(), 4, 2, latent=1)(torch.rand(1, 1, 4, 4)), ValueError, r"got \[1, 1, 4, 4\]"),
    (lambda: gaussian_classifier("resnet19"), ValueError, "name must be one of"),
    (lambda: gaussian_classifier("small_cnn", latent=0), ValueError, "latent must be a whole number >= 1"),
])
def test_bad_input_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_an_evaluation_refuses_a_network_in_training_mode() -> None:
    """Also one without batch norm or dropout: it would be judged by one draw."""
    network = GaussianLatent(nn.Flatten(), 16, 3, latent=4).train()
    images, labels = torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="GaussianLatent"):
        robust_accuracy(network, images, labels, PGD(Linf(0.1), steps=1))
