"""Saliency maps and their scores: closed forms, finite differences, what a call leaves alone, what it refuses."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robinfo.attacks import margin
from robinfo.models import Classifier, Critic, Encoder, mlp_head
from robinfo.objectives import InfoMax
from robinfo.objectives.infomax import ESTIMATORS, estimate_information
from robinfo.saliency import (
    Alignment,
    against_null,
    alignment,
    cosine_alignment,
    edge_alignment,
    information_saliency,
    kernel_saliency,
    loss_saliency,
    noisiness,
    show_saliency,
)


def generator(seed: int = 0) -> torch.Generator:
    """Random numbers of a seed."""
    return torch.Generator().manual_seed(seed)


def images(count: int = 6, channels: int = 1, side: int = 8, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random images."""
    return torch.rand(count, channels, side, side, generator=generator(seed), dtype=dtype)


def network(seed: int = 0) -> nn.Module:
    """A classifier with batch norm and dropout, in training mode, double precision, with settled batch statistics."""
    torch.manual_seed(seed)
    return settled(Classifier(Encoder(1, 8, features=8, width=0.1), mlp_head(8, 4, hidden=12)).double(), images(32))


def settled(model: nn.Module, *arguments: Tensor) -> nn.Module:
    """A module whose batch norms have seen the data: gradients of usual size."""
    with torch.no_grad():
        for _ in range(20):
            model(*arguments)
    return model


def critic(seed: int = 1) -> nn.Module:
    """A critic for the representation of `network`."""
    torch.manual_seed(seed)
    features = torch.randn(32, 8, generator=generator(seed), dtype=torch.float64)
    return settled(Critic(1, 8, width=8, channels=3).double(), images(32), features)


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def slope(function: Callable[[Tensor], float], at: Tensor, direction: Tensor, step: float = 1e-6) -> float:
    """Central difference along a direction."""
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


# --- the three maps -----------------------------------------------------------------------------------------------------
def test_the_map_of_a_linear_model_is_its_weights() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double()
    x, y = images(), LABELS % 2
    weight, p = model[1].weight.detach(), model(x).softmax(1).detach()
    expected = -(1 - p[range(6), y])[:, None] * (weight[y] - weight[1 - y])
    assert torch.allclose(loss_saliency(model, x, y).flatten(1), expected, atol=1e-14)
    assert torch.allclose(loss_saliency(model, x, y, loss=margin).flatten(1), weight[1 - y] - weight[y], atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_loss_maps_agree_with_finite_differences(seed: int) -> None:
    model, x, direction = network(), images(seed=seed), images(seed=seed + 10) - 0.5
    maps = loss_saliency(model, x, LABELS)
    model.eval()
    cross_entropy = nn.CrossEntropyLoss(reduction="sum")
    expected = slope(lambda z: float(cross_entropy(model(z), LABELS).detach()), x, direction)
    assert float((maps * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("path", ["published", "full"])
def test_information_maps_agree_with_finite_differences(estimator: str, path: Any) -> None:
    g, t, x, direction = network().encoder, critic(), images(), images(seed=3) - 0.5
    maps = information_saliency(g, t, x, estimator=estimator, gradient=path)
    g.eval(), t.eval()

    def loss(z: Tensor) -> float:
        """Minus the estimate, with the pixels moved in one or both arguments."""
        with torch.no_grad():
            return -float(estimate_information(t(z if path == "full" else x, g(z)), estimator))

    assert float((maps * direction).sum()) == pytest.approx(slope(loss, x, direction), rel=1e-5, abs=1e-9)


def test_the_two_paths_differ_and_the_default_is_the_published_one() -> None:
    g, t, x = network().encoder, critic(), images()
    published, full = (information_saliency(g, t, x, gradient=path) for path in ("published", "full"))  # type: ignore[arg-type]
    assert torch.equal(information_saliency(g, t, x), published)
    assert not torch.allclose(published, full)
    constant = lambda z: torch.zeros(len(z), 8, dtype=z.dtype) + 0 * z.sum()
    assert not information_saliency(constant, t, x).any()
    assert information_saliency(constant, t, x, gradient="full").any()


def test_the_information_map_is_the_gradient_of_the_training_loss() -> None:
    g, t, x = network().encoder.eval(), critic().eval(), images()
    leaf = x.clone().requires_grad_()
    value, _ = InfoMax().loss(g, t, leaf, leaf, LABELS)
    (expected,) = torch.autograd.grad(value, leaf)
    assert torch.allclose(information_saliency(g, t, x, gradient="full"), expected, atol=1e-14)


def test_kernel_maps_of_one_convolution_are_its_weights() -> None:
    layer = nn.Conv2d(2, 3, 3).double()
    maps = kernel_saliency(layer, images(2, 2), [2, 0])
    assert maps.shape == (2, 2, 2, 8, 8)
    for place, kernel in enumerate((2, 0)):
        expected = layer.weight.detach()[kernel].sum((1, 2)) / 36  # an inner pixel meets every weight once
        assert torch.allclose(maps[0, place, :, 3, 4], expected, atol=1e-14)
        assert torch.allclose(maps[0, place, :, 0, 0], layer.weight.detach()[kernel, :, 0, 0] / 36, atol=1e-14)


def test_kernel_maps_agree_with_finite_differences() -> None:
    layers, x, direction = network().encoder.convolutions[:2], images(), images(seed=5) - 0.5
    maps = kernel_saliency(layers, x)
    layers.eval()
    for kernel in range(maps.shape[1]):
        expected = slope(lambda z, k=kernel: float(layers(z)[:, k].mean((1, 2)).sum().detach()), x, direction)
        assert float((maps[:, kernel] * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-9)


# --- chunks and batches ---------------------------------------------------------------------------------------------------
def test_chunks_change_nothing_for_losses_and_kernels() -> None:
    model, x = network(), images()
    layers = model.encoder.convolutions
    for size in (1, 4, 6, 100):
        assert torch.allclose(loss_saliency(model, x, LABELS, batch_size=size), loss_saliency(model, x, LABELS), atol=1e-14)
        assert torch.allclose(kernel_saliency(layers, x, batch_size=size), kernel_saliency(layers, x), atol=1e-14)


def test_information_batches_have_one_size() -> None:
    g, t, x = network().encoder, critic(), images()
    maps = information_saliency(g, t, x, batch_size=4)
    assert torch.allclose(maps[:4], information_saliency(g, t, x[:4]), atol=1e-14)
    assert torch.allclose(maps[4:], information_saliency(g, t, x[2:])[2:], atol=1e-14)  # the last batch is filled up from before
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(information_saliency(g, t, x[:4][order]), maps[:4][order], atol=1e-14)
    assert not torch.allclose(maps[:4], information_saliency(g, t, x)[:4])  # other negatives, other maps


# --- what a call leaves alone ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fails", [False, True])
def test_models_are_left_as_found(fails: bool) -> None:
    model, t, x = network(), critic(), images()
    model.encoder.convolutions[1].eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.ones_like(parameter) if number % 3 == 0 else None
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = [(m.training, p.requires_grad, None if p.grad is None else p.grad.clone()) for m in model.modules() for p in m.parameters()]
    kept, random = x.clone(), torch.random.get_rng_state()
    with torch.no_grad():
        if fails:
            with pytest.raises(ValueError, match="one number for each"):
                loss_saliency(model, x, LABELS, loss=lambda logits, _: logits.sum())
        else:
            loss_saliency(model, x, LABELS), information_saliency(model.encoder, t, x), kernel_saliency(model.encoder.convolutions, x)
        assert not torch.is_grad_enabled()
    after = [(m.training, p.requires_grad, p.grad) for m in model.modules() for p in m.parameters()]
    assert all(a[:2] == b[:2] and (a[2] is b[2] is None or torch.equal(a[2], b[2])) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(x, kept) and not x.requires_grad and torch.equal(random, torch.random.get_rng_state())


def test_frozen_models_and_inference_mode_work() -> None:
    model, x = network().requires_grad_(False), images()
    expected = loss_saliency(network(), x, LABELS)
    with torch.inference_mode():
        found = loss_saliency(model, x.clone(), LABELS)
    assert torch.allclose(found, expected) and not found.requires_grad


# --- alignment --------------------------------------------------------------------------------------------------------------
@given(st.integers(0, 10_000))
def test_alignment_of_a_linear_classifier_is_the_distance_to_its_boundary(seed: int) -> None:
    torch.manual_seed(seed)
    w, x = torch.randn(1, 9, dtype=torch.float64), images(3, side=3, seed=seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False)).double()
    model[1].weight.data = torch.cat([-w / 2, w / 2])
    found = alignment(x, loss_saliency(model, x, torch.tensor([0, 1, 1])))
    side = (x.flatten(1) @ w[0]).sign()
    for factor, expected in ((0.999, side), (1.001, -side)):  # just before the boundary and just behind it
        moved = x.flatten(1) - (factor * found * side)[:, None] * w / w.norm()
        assert torch.equal((moved @ w[0]).sign(), expected)


def test_alignment_of_a_network_without_bias_is_logit_over_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3, bias=False)).double()
    x = images()
    maps = loss_saliency(model, x, loss=lambda logits, _: logits.amax(1))
    assert torch.allclose(alignment(x, maps), model(x).amax(1).abs().detach() / maps.flatten(1).norm(dim=1), atol=1e-12)


@given(st.integers(0, 10_000), st.floats(1e-30, 1e30), st.sampled_from([-1.0, 1.0]))
def test_scores_do_not_depend_on_scale_or_sign_of_the_map(seed: int, scale: float, sign: float) -> None:
    x, maps = images(2, 3, 4, seed=seed), torch.randn(2, 3, 4, 4, generator=generator(seed), dtype=torch.float64)
    for score in (alignment, cosine_alignment, edge_alignment, lambda _, s: noisiness(s)):
        assert torch.allclose(score(x, maps), score(x, sign * scale * maps), rtol=1e-9)
    for score in (cosine_alignment, edge_alignment):
        assert torch.allclose(score(x / 2, maps), score(x, maps), rtol=1e-9)
    assert torch.allclose(alignment(x / 2, maps), alignment(x, maps) / 2)
    assert bool((cosine_alignment(x, maps) <= 1 + 1e-12).all() and (edge_alignment(x, maps).abs() <= 1 + 1e-12).all())


@given(st.integers(0, 10_000), st.floats(-5, 5))
def test_the_centred_score_does_not_see_brightness(seed: int, shift: float) -> None:
    x, maps = images(2, side=4, seed=seed), torch.randn(2, 1, 4, 4, generator=generator(seed), dtype=torch.float64)
    expected = [abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) for a, b in zip(x, maps, strict=True)]
    assert cosine_alignment(x, maps).tolist() == pytest.approx(expected, abs=1e-9)
    assert cosine_alignment(x / 2 + 0.5, maps + shift).tolist() == pytest.approx(expected, abs=1e-9)


def test_scores_of_white_noise_are_the_stated_ones() -> None:
    x = images(1, side=28).expand(2000, 1, 28, 28)
    noise = torch.randn(2000, 1, 28, 28, generator=generator())
    assert float(cosine_alignment(x, noise).mean()) == pytest.approx((2 / (torch.pi * 784)) ** 0.5, rel=0.05)  # 3 standard errors
    assert float(edge_alignment(x, noise).mean()) == pytest.approx(0, abs=0.004)  # 5 standard errors
    assert float(noisiness(noise).mean()) == pytest.approx(1, abs=0.003)


def test_edges_are_found_on_both_sides_and_whatever_the_sign() -> None:
    x = torch.zeros(1, 3, 6, 8)
    x[..., 4:] = 1.0
    maps = torch.zeros(1, 3, 6, 8)
    maps[..., 3], maps[..., 4] = -2.0, 2.0
    assert float(edge_alignment(x, maps)) == pytest.approx(1)
    assert float(cosine_alignment(x, maps)) < 0.8
    assert float(edge_alignment(x, 1 - maps.abs() / 2)) == pytest.approx(-1)


# --- noisiness --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [2, 5, 28])
def test_noisiness_in_closed_form(side: int) -> None:
    ramp = torch.arange(float(side)).expand(1, 1, side, side)
    assert float(noisiness(ramp)) == pytest.approx(3 / (2 * side))
    board = ((torch.arange(side)[:, None] + torch.arange(side)) % 2).double()
    ones, n = float(board.sum()), side * side
    assert float(noisiness(board[None, None])) == pytest.approx(n * (n - 1) / (2 * ones * (n - ones)))  # every neighbour differs


@given(st.integers(0, 10_000))
def test_noisiness_is_what_brute_force_gives(seed: int) -> None:
    maps = torch.randn(1, 2, 3, 4, generator=generator(seed), dtype=torch.float64)
    near, pairs = [], []
    for plane in maps[0]:
        near += [abs(float(plane[i, j] - plane[i + di, j + dj])) for di, dj in ((0, 1), (1, 0)) for i in range(3 - di) for j in range(4 - dj)]
        values = plane.flatten().tolist()
        pairs += [abs(a - b) for i, a in enumerate(values) for b in values[:i]]
    assert float(noisiness(maps)) == pytest.approx(sum(near) / len(near) / (sum(pairs) / len(pairs)))


def test_noisiness_of_any_values_at_random_places_is_one_on_average() -> None:
    values = torch.cat([torch.zeros(60), torch.tensor([1.0, 5.0, -100.0, 3.0])])  # sparse, with one large value
    places = torch.stack([values[torch.randperm(64, generator=generator(seed))] for seed in range(4000)])
    found = noisiness(places.reshape(-1, 1, 8, 8))
    assert float(found.mean()) == pytest.approx(1, abs=4 * float(found.std()) / 4000**0.5)


def test_scores_that_are_not_defined_are_nan() -> None:
    x, zero, flat = images(2), torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), 0.3)
    assert alignment(x, zero).isnan().all() and cosine_alignment(x, zero).isnan().all() and edge_alignment(x, zero).isnan().all()
    assert noisiness(zero).isnan().all() and noisiness(flat).isnan().all()
    assert cosine_alignment(x, flat).isnan().all() and cosine_alignment(flat, x).isnan().all() and edge_alignment(flat, x).isnan().all()
    tiny = torch.randn(2, 1, 8, 8, generator=generator()) * 1e-30  # squares would underflow in single precision
    assert torch.allclose(cosine_alignment(x, tiny), cosine_alignment(x, tiny * 1e30), rtol=1e-4)


# --- the null ---------------------------------------------------------------------------------------------------------------
def test_maps_of_nothing_have_no_excess_and_maps_of_the_image_have() -> None:
    x = images(400, side=6)
    template = torch.randn(1, 1, 6, 6, generator=generator(), dtype=torch.float64).expand(400, 1, 6, 6)
    one_map = against_null(x, template)
    assert torch.allclose(one_map.excess, torch.zeros(400, dtype=torch.float64), atol=1e-12)  # however well it aligns
    noise = against_null(x, torch.randn(400, 1, 6, 6, generator=generator(1), dtype=torch.float64)).interval(0.999)
    assert noise is not None and noise[0] < 0 < noise[1]  # fails by chance once in a thousand seeds; the seed is fixed
    own = against_null(x, x + torch.randn(400, 1, 6, 6, generator=generator(2), dtype=torch.float64))
    low_high = own.interval()
    assert low_high is not None and low_high[0] > 0.05 and own.n == 400


def test_the_null_is_the_score_with_other_maps_of_the_class() -> None:
    x, labels = images(7), torch.tensor([0, 0, 0, 1, 1, 2, 2])
    found = against_null(x, x, labels=labels, partners=1)
    for one, (image, label) in enumerate(zip(x, labels, strict=True)):
        others = [j for j in range(7) if j != one and labels[j] == label]
        possible = cosine_alignment(image.expand(len(others), 1, 8, 8), x[others]).tolist()
        assert any(float(found.null[one]) == pytest.approx(value) for value in possible)
    every = against_null(x, x, partners=6)
    expected = [sum(float(cosine_alignment(x[i : i + 1], x[j : j + 1])) for j in range(7) if j != i) / 6 for i in range(7)]
    assert every.null.tolist() == pytest.approx(expected)  # with N - 1 partners, each other image once


def test_an_image_alone_in_its_class_and_empty_maps_are_left_out() -> None:
    x = images(4)
    maps = x.clone()
    maps[1] = 0
    found = against_null(x, maps, labels=torch.tensor([0, 0, 0, 1]))
    assert found.excess.isfinite().tolist() == [True, False, True, False] and found.n == 2
    assert found.mean == pytest.approx(1) and found.null_mean < 1
    assert Alignment(torch.tensor([1.0]), torch.tensor([0.5])).interval() is None


def test_the_null_follows_its_seed() -> None:
    x, maps = images(30), images(30, seed=1)
    assert torch.equal(against_null(x, maps).null, against_null(x, maps).null)
    assert not torch.equal(against_null(x, maps).null, against_null(x, maps, seed=1).null)


# --- pictures ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_have_a_symmetric_scale_for_each_row(channels: int) -> None:
    x, maps = images(3, channels), torch.randn(3, channels, 8, 8, generator=generator())
    figure = show_saliency(x, {"one": maps, "ten": 10 * maps}, title="A claim", note="n = 3", unit_norm=False)
    assert len(figure.axes) == 9 and not plt.fignum_exists(figure.number)
    ends = []
    for row in (figure.axes[3:6], figure.axes[6:9]):
        limits = {axis.images[0].get_clim() for axis in row}
        assert len(limits) == 1
        low, high = limits.pop()
        assert low == -high
        ends.append(high)
    assert ends[1] == pytest.approx(10 * ends[0])
    assert "±" in figure.axes[3].get_ylabel() and figure.get_suptitle() == "A claim"
    same = show_saliency(x, {"one": maps, "ten": 10 * maps})
    assert same.axes[3].images[0].get_clim() == pytest.approx(same.axes[6].images[0].get_clim())


def test_empty_maps_can_be_shown() -> None:
    figure = show_saliency(images(2), {"dead": torch.zeros(2, 1, 8, 8)})
    assert figure.axes[2].images[0].get_clim() == (-1, 1)


# --- what is refused --------------------------------------------------------------------------------------------------------
X, FLAT = images(4), nn.Flatten()
REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("no model", lambda: loss_saliency(None, X, LABELS[:4]), TypeError, "expected a module or function of images, got NoneType; pass the network"),  # type: ignore[arg-type]
    ("range", lambda: loss_saliency(FLAT, 2 * X, LABELS[:4]), ValueError, r"images must lie in \[0, 1\]"),
    ("nan", lambda: loss_saliency(FLAT, X * float("nan"), LABELS[:4]), ValueError, "images must be finite"),
    ("labels", lambda: loss_saliency(FLAT, X, LABELS), ValueError, r"labels must have shape \[4\]"),
    ("no labels", lambda: loss_saliency(FLAT, X), ValueError, "needs labels, got None"),
    ("mean", lambda: loss_saliency(FLAT, X, loss=lambda z, _: z.mean()), ValueError, r"one number for each of 4 images, got \[\]; use reduction"),
    ("no tensor", lambda: loss_saliency(FLAT, X, loss=lambda z, _: 1.0), ValueError, "got float"),  # type: ignore[arg-type, return-value]
    ("detached", lambda: loss_saliency(FLAT, X, loss=lambda z, _: z.detach().sum(1)), ValueError, "must depend on the images, got one without"),
    ("unused", lambda: loss_saliency(lambda z: torch.ones(4, 2, requires_grad=True), X, loss=lambda z, _: z.sum(1)), ValueError,
     "got one that does not use them"),
    ("infinite", lambda: loss_saliency(FLAT, X * 0, loss=lambda z, _: z.sqrt().sum(1)), ValueError, "must be finite, got NaN or infinity for 4 of 4"),
    ("chunk", lambda: loss_saliency(FLAT, X, LABELS[:4], batch_size=0), ValueError, "batch_size must be a whole number >= 1"),
    ("path", lambda: information_saliency(FLAT, critic(), X, gradient="both"), ValueError, "'published' or 'full', got 'both'"),  # type: ignore[arg-type]
    ("estimator", lambda: information_saliency(network().encoder, critic(), X, estimator="mine"), ValueError, "estimator must be one of"),
    ("one image", lambda: information_saliency(FLAT, critic(), X[:1]), ValueError, "batch_size must be a whole number >= 2, got 1"),
    ("batch", lambda: information_saliency(FLAT, critic(), X, batch_size=5), ValueError, "at most the number of images, 4, got 5; lower it"),
    ("features", lambda: kernel_saliency(FLAT, X), ValueError, r"activations \[N, K, h, w\] with N = 4, got \[4, 64\]; stop at"),
    ("kernel", lambda: kernel_saliency(nn.Conv2d(1, 2, 3).double(), X, [2]), ValueError, r"in 0..1, at least one, got \[2\]"),
    ("no kernel", lambda: kernel_saliency(nn.Conv2d(1, 2, 3).double(), X, []), ValueError, r"at least one, got \[\]"),
    ("shape", lambda: alignment(X, X[:2]), ValueError, r"images' shape \[4, 1, 8, 8\], got \[2, 1, 8, 8\]; score one"),
    ("list", lambda: cosine_alignment(X, [1.0]), ValueError, "got list"),  # type: ignore[arg-type]
    ("edges", lambda: edge_alignment(X + 1, X), ValueError, r"images must lie in \[0, 1\]"),
    ("map", lambda: noisiness(X[0]), ValueError, r"maps must have shape \[N, C, H, W\] with at least two pixels, got \[1, 8, 8\]"),
    ("pixel", lambda: noisiness(X[..., :1, :1]), ValueError, "at least two pixels"),
    ("lonely", lambda: against_null(X[:1], X[:1]), ValueError, "a null needs at least two images, got 1"),
    ("partners", lambda: against_null(X, X, partners=0), ValueError, "partners must be a whole number >= 1"),
    ("seed", lambda: against_null(X, X, seed=-1), ValueError, "seed must be a whole number >= 0"),
    ("many", lambda: show_saliency(X.repeat(5, 1, 1, 1), {"a": X.repeat(5, 1, 1, 1)}), ValueError, "at most 16 images"),
    ("channels", lambda: show_saliency(X.repeat(1, 2, 1, 1), {"a": X}), ValueError, "1 or 3 channels"),
    ("rows", lambda: show_saliency(X, {}), ValueError, "rows must hold at least one set of maps, got none"),
    ("row", lambda: show_saliency(X, {"a": X[:1]}), ValueError, "maps must have the images' shape"),
]


@pytest.mark.parametrize(("call", "kind", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_bad_input_is_refused(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
