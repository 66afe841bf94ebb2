"""Information of kernels: the patch, the scores, the best critic, the attack, what is left alone and what is refused."""
from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robinfo.data import load, to_float
from robinfo.estimators import donsker_varadhan, info_nce, jensen_shannon, nwj
from robinfo.kernel_information import (
    KernelCritics,
    KernelFeatures,
    KernelInfoMax,
    KernelInformation,
    ReceptiveField,
    batch_kernel_information,
    convolution_layers,
    estimate_kernel_vulnerability,
    ideal_worst_case,
    interior_patches,
    kernel_information,
    linear_critic_ceiling,
    receptive_field,
    sample_patches,
)
from robinfo.models import Encoder, classifier
from robinfo.threats import L1, L2, Linf

PART = load("digits").subset(train=192, test=96)
TRAIN, TEST = to_float(PART.train_images), to_float(PART.test_images)
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 32, "steps": 2, "ideal_steps": 2, "critic_width": 16, "critic_channels": 4,
                         "learning_rate": 1e-2, "device": "cpu", "progress": False}


def encoder(in_channels: int = 1, size: int = 28, seed: int = 0) -> nn.Module:
    """A narrow encoder with batch statistics that are not those of the start, in evaluation mode."""
    torch.manual_seed(seed)
    model = Encoder(in_channels, size, features=8, width=0.1)
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(32, in_channels, size, size))
    return model.eval()


def scores(a: Tensor, z: Tensor) -> Tensor:
    """The array [N, N, K] that is never made."""
    return torch.einsum("ki,kj->ijk", a, z)


# The patch


@pytest.mark.parametrize(("in_channels", "size", "depth"), [(1, 28, 1), (1, 28, 2), (3, 32, 2), (3, 32, 3)])
def test_the_patch_gives_the_value_of_the_map(in_channels: int, size: int, depth: int) -> None:
    model = encoder(in_channels, size)
    layers = convolution_layers(model, depth)
    kernels, images = KernelFeatures(layers), torch.rand(3, in_channels, size, size)
    kernels.standardise(torch.rand(50, in_channels, kernels.field.size, kernels.field.size))
    places = kernels.field.interior(size)
    with torch.no_grad():
        plain = nn.Sequential(*layers)(images)
        maps = kernels.maps(images)
        alone = kernels(interior_patches(images, kernels.field).flatten(0, 1)).unflatten(0, (3, -1))
    assert plain.shape[-1] == kernels.field.outputs(size)
    assert torch.allclose(maps * kernels.scale[:, None, None] + kernels.shift[:, None, None], plain, atol=1e-4)
    inside = maps[:, :, places.start : places.stop, places.start : places.stop].flatten(2).mT
    assert torch.allclose(inside, alone, atol=1e-4)


def test_every_interior_place_and_no_other_is_exact() -> None:
    """Zero pixels beyond the border are not what the network sees there: its padding is of the first layer's map."""
    kernels, images = KernelFeatures(convolution_layers(encoder())), torch.rand(2, 1, 28, 28)
    field = kernels.field
    padded = nn.functional.pad(images, [field.padding] * 4).unfold(2, 10, 4).unfold(3, 10, 4).permute(0, 2, 3, 1, 4, 5)
    with torch.no_grad():
        by_patch = kernels(padded.flatten(0, 2)).unflatten(0, (2, 7, 7)).permute(0, 3, 1, 2)
        same = (by_patch - kernels.maps(images)).abs().amax((0, 1)) < 1e-4
    inside = torch.zeros(7, 7, dtype=torch.bool)
    inside[1:6, 1:6] = True
    assert bool((same == inside).all())


def test_receptive_field_is_what_a_gradient_reaches() -> None:
    stack = [nn.Conv2d(1, 2, 3, stride=1, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(2, 2, 3, stride=2), nn.Conv2d(2, 1, 2)]
    field, image = receptive_field(stack), torch.rand(1, 1, 40, 40, requires_grad=True)
    output = nn.Sequential(stack[0], *stack[2:])(image)
    place = field.interior(40)[1]
    output[0, 0, place, place].backward()
    assert image.grad is not None
    touched = image.grad[0, 0].abs().sum(1).nonzero()[:, 0]
    assert (int(touched[0]), int(touched[-1]) + 1) == (place * field.stride - field.padding, place * field.stride - field.padding + field.size)
    assert output.shape[-1] == field.outputs(40)
    assert receptive_field(convolution_layers(Encoder(3, 32))) == ReceptiveField(10, 4, 3)


def test_sampled_patches_are_patches_of_their_image() -> None:
    images, field = torch.rand(5, 2, 28, 28), ReceptiveField(10, 4, 3)
    everything, drawn = interior_patches(images, field), sample_patches(images, field, 25, seed=3).unflatten(0, (25, 5))
    for i in range(5):
        found = {int((everything[i] - patch).abs().sum((1, 2, 3)).argmin()) for patch in drawn[:, i]}
        assert found == set(range(25))  # every place once
        assert all(float((everything[i] - patch).abs().sum((1, 2, 3)).min()) == 0 for patch in drawn[:, i])
    assert torch.equal(sample_patches(images, field, 2, seed=3), drawn[:2].flatten(0, 1))
    assert not torch.equal(sample_patches(images, field, 2, seed=4), drawn[:2].flatten(0, 1))


def test_a_kernel_alone_is_the_same_kernel() -> None:
    kernels, critics = KernelFeatures(convolution_layers(encoder())), KernelCritics(1, 10, 13, width=16, channels=4).eval()
    nn.init.normal_(critics.outputs.weight)
    patches = torch.rand(13, 6, 1, 10, 10)
    with torch.no_grad():
        for module in (kernels.standardise(torch.rand(40, 1, 10, 10)), critics):
            own = module.own(patches)
            assert own.shape == (13, 6)
            for k in (0, 5, 12):
                assert torch.allclose(own[k], module(patches[k])[:, k], atol=1e-5)
                assert torch.allclose(module.own(patches[k : k + 1], [k])[0], own[k], atol=1e-5)


def test_standardised_kernels_have_mean_zero_and_variance_one() -> None:
    layer = nn.Conv2d(1, 3, 5)
    nn.init.zeros_(layer.weight[2:])
    patches = torch.rand(200, 1, 5, 5)
    with torch.no_grad():
        values = KernelFeatures([layer]).standardise(patches)(patches)
    assert values.mean(0).abs().max() < 1e-5
    assert torch.allclose(values.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)  # the last one is constant


def test_the_network_is_left_as_it_was_and_later_training_changes_nothing() -> None:
    model = encoder()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    kernels, patches = KernelFeatures(convolution_layers(model)), torch.rand(4, 1, 10, 10)
    values = kernels(patches)
    estimate_kernel_vulnerability(convolution_layers(model), TRAIN, TEST, Linf(0.1), **QUICK)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert torch.equal(kernels(patches), values)


# The scores


@pytest.mark.parametrize("negatives", ["others", "all"])
def test_each_estimate_is_that_of_the_full_array(negatives: Any) -> None:
    torch.manual_seed(0)
    a, z = (torch.randn(6, 11, dtype=torch.float64) for _ in range(2))
    for name, plain in (("dv", donsker_varadhan), ("nwj", nwj), ("js", jensen_shannon)):
        single = torch.stack([plain(scores(a[k : k + 1], z[k : k + 1]), negatives=negatives) for k in range(6)])
        assert torch.allclose(kernel_information(a, z, name, negatives), single, atol=1e-12)
    single = torch.stack([info_nce(scores(a[k : k + 1], z[k : k + 1])) for k in range(6)])
    assert torch.allclose(kernel_information(a, z, "nce"), single, atol=1e-12)


@pytest.mark.parametrize("negatives", ["others", "all"])
def test_both_gradients_are_right(negatives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import robinfo.kernel_information as module

    monkeypatch.setattr(module, "_CHUNK", 100)  # several blocks of kernels
    a, z = (torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: kernel_information(x, y, negatives=negatives), (a, z))


def test_extreme_scores_give_finite_numbers() -> None:
    sign = torch.tensor([1.0, -1.0] * 8)
    assert float(kernel_information(1e4 * sign, sign, negatives="all")) == pytest.approx(math.log(2), abs=1e-3)
    for factor in (1e4, -1e4):
        a = (factor * sign).requires_grad_()
        value = kernel_information(a, sign)
        value.backward()
        assert math.isfinite(float(value.detach())) and a.grad is not None and bool(torch.isfinite(a.grad).all())


def test_kernels_do_not_see_each_other() -> None:
    a, z = torch.randn(4, 8), torch.randn(4, 8)
    alone = torch.stack([kernel_information(a[k], z[k]) for k in range(4)])
    assert torch.allclose(kernel_information(a, z), alone, atol=1e-6)


# The best critic


@pytest.mark.parametrize("share", [1 / 64, 0.25, 0.5, 0.9375])
def test_two_standardised_values_reach_their_entropy(share: float) -> None:
    z = torch.where(torch.arange(64) < 64 * share, 1.0, 0.0)
    exact = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert float(linear_critic_ceiling((z - share) * 7)) == pytest.approx(exact, abs=1e-3)


def test_no_critic_beats_the_ceiling_and_gradient_ascent_reaches_it() -> None:
    torch.manual_seed(0)
    z = torch.stack([torch.randn(40), torch.randn(40) + 1, torch.rand(40) ** 3, torch.randn(40) ** 3]).double()
    ceiling = linear_critic_ceiling(z).double()
    a = (0.5 * z / z.std(1, keepdim=True) ** 2).requires_grad_()
    search = torch.optim.LBFGS([a], max_iter=1500, history_size=50, tolerance_grad=1e-10, tolerance_change=1e-13, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        """Minus the sum of the estimates."""
        search.zero_grad()
        value = -kernel_information(a, z, negatives="all").sum()
        value.backward()
        return value

    search.step(loss)
    reached = kernel_information(a.detach(), z, negatives="all")
    assert bool((reached <= ceiling + 1e-3).all())
    assert torch.allclose(reached, ceiling, atol=5e-3)
    for _ in range(20):
        assert bool((kernel_information(torch.randn_like(z), z, negatives="all") <= ceiling + 1e-6).all())


def test_the_ceiling_knows_scale_from_shift() -> None:
    gauss = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(128) + 0.5) / 128)
    plain, scaled, mirrored, shifted, far = linear_critic_ceiling(torch.stack([gauss, 30 * gauss, -gauss, gauss + 1, gauss + 3])).tolist()
    assert plain == pytest.approx(scaled, abs=1e-4) and plain == pytest.approx(mirrored, abs=1e-3)
    assert plain > shifted + 0.05 > far + 0.2
    assert float(linear_critic_ceiling(torch.zeros(8))) == pytest.approx(0.0, abs=1e-6)  # a dead kernel


def test_trained_critics_find_known_entropies() -> None:
    """Kernels with two values: mean brightness against a threshold. Normal information = entropy; radius 0 changes nothing."""
    levels = torch.tensor([0.2, 0.4, 0.6, 0.8])
    images = levels[torch.arange(1024) % 4][:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    found = estimate_kernel_vulnerability(_Thresholds(), images, images[:256], Linf(0.0), **{**QUICK, "epochs": 12, "batch_size": 128})
    for k, share in enumerate((0.75, 0.5, 0.25)):
        exact = -share * math.log(share) - (1 - share) * math.log(1 - share)
        assert float(found.normal_mi[k]) == pytest.approx(exact, abs=0.03)
        assert float(found.worst_case_mi[k]) == pytest.approx(exact, abs=0.03)
        assert float(found.ideal_normal[k]) == pytest.approx(exact, abs=2e-3)


class _Thresholds(nn.Module):
    """Is a patch brighter than 0.3, 0.5, 0.7? Standardised; the slope is that of the brightness."""

    field, num_kernels = ReceptiveField(4, 4, 0), 3
    thresholds, shares = torch.tensor([0.3, 0.5, 0.7]), torch.tensor([0.75, 0.5, 0.25])

    def _answer(self, brightness: Tensor, thresholds: Tensor, shares: Tensor) -> Tensor:
        """Two values."""
        return ((brightness > thresholds).float() + brightness - brightness.detach() - shares) / (shares * (1 - shares)).sqrt()

    def forward(self, patches: Tensor) -> Tensor:
        """[M, K]."""
        return self._answer(patches.mean((1, 2, 3))[:, None], self.thresholds, self.shares)

    def own(self, patches: Tensor, kernels: Any = slice(None)) -> Tensor:
        """[B, N]."""
        return self._answer(patches.mean((2, 3, 4)), self.thresholds[kernels][:, None], self.shares[kernels][:, None])


# The attack


def _mean_kernel() -> KernelFeatures:
    """One kernel: mean brightness minus one half."""
    layer = nn.Conv2d(1, 1, 4)
    with torch.no_grad():
        layer.weight.fill_(1 / 16)
        layer.bias.fill_(-0.5)  # type: ignore[union-attr]
    return KernelFeatures([layer])


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.1])
def test_the_search_against_the_best_critic_finds_the_brute_force_minimum(radius: float) -> None:
    levels = torch.tensor([0.2, 0.4, 0.6, 0.8])
    grid = torch.cartesian_prod(*(torch.linspace(float(level) - radius, float(level) + radius, 5) for level in levels)) - 0.5
    brute = float(linear_critic_ceiling(grid).min())
    patches = levels.repeat(8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    kernels = _mean_kernel()
    normal = float(linear_critic_ceiling(kernels(patches).T.detach()))
    found = float(ideal_worst_case(kernels, patches, Linf(radius), steps=5))
    assert brute - 5e-3 <= found <= normal + 1e-3
    assert found == pytest.approx(brute, abs=5e-3)


def _pair() -> tuple[KernelFeatures, KernelCritics, Tensor]:
    """Kernels, critics with something to say, patches."""
    torch.manual_seed(1)
    patches = sample_patches(TRAIN[:64], ReceptiveField(10, 4, 3))
    kernels = KernelFeatures(convolution_layers(encoder())).standardise(patches)
    critics = KernelCritics(1, 10, 13, width=16, channels=4).eval()
    nn.init.normal_(critics.outputs.weight, std=0.3)
    return kernels, critics, patches[:24]


@pytest.mark.parametrize("threat", [Linf(0.1), L2(1.0), L1(4.0)])
def test_each_kernel_is_attacked_for_itself_within_the_ball(threat: Any) -> None:
    kernels, critics, patches = _pair()
    objective = KernelInfoMax(threat, steps=4, block=5)
    attacked = objective.perturb(kernels, critics, patches)
    assert attacked.shape == (13, *patches.shape)
    assert bool((threat.norm((attacked - patches).flatten(0, 1)) <= threat.radius * (1 + 1e-4) + 1e-6).all())
    assert 0 <= float(attacked.min()) and float(attacked.max()) <= 1
    with torch.no_grad():
        before, after = (objective.information(*objective.factors(kernels, critics, x)) for x in (patches, attacked))
    assert bool((after <= before + 1e-5).all())  # the best iterate of every kernel, and the clean one is the first
    assert float((before - after).mean()) > 0.01


def test_blocks_change_nothing_and_a_kernel_alone_is_attacked_alike() -> None:
    kernels, critics, patches = _pair()
    whole, parts = (KernelInfoMax(Linf(0.1), steps=3, block=block).perturb(kernels, critics, patches) for block in (13, 2))
    assert (whole - parts).abs().max() < 1e-5


def test_one_attack_for_all_leaves_more_on_average() -> None:
    kernels, critics, patches = _pair()
    values = {}
    for attack in ("per_kernel", "shared"):
        objective = KernelInfoMax(Linf(0.1), steps=4, attack=attack)  # type: ignore[arg-type]
        values[attack] = batch_kernel_information(kernels, critics, patches, objective, batch_size=24)[0]
    assert objective.perturb(kernels, critics, patches).shape == patches.shape
    assert float((values["shared"] - values["per_kernel"]).mean()) > 0.01
    normal = linear_critic_ceiling(kernels(patches).T.detach())
    own, shared = (ideal_worst_case(kernels, patches, Linf(0.02), attack=attack, steps=15) for attack in ("per_kernel", "shared"))  # type: ignore[arg-type]
    assert bool((own <= normal + 1e-3).all()) and float(own.mean()) < float(shared.mean()) - 0.01 < float(normal.mean())


def test_published_gradient_passes_through_the_kernel_only() -> None:
    kernels, critics, patches = _pair()
    critics.outputs.weight.data.zero_()  # phi is constant: both ways must agree
    full, published = (KernelInfoMax(Linf(0.1), steps=2, gradient=g).perturb(kernels, critics, patches) for g in ("full", "published"))  # type: ignore[arg-type]
    assert torch.equal(full, published)


# The estimate


@pytest.fixture(scope="module")
def found() -> KernelInformation:
    """One quick estimate of a narrow second layer."""
    return estimate_kernel_vulnerability(convolution_layers(encoder()), TRAIN, TEST, Linf(0.1), **{**QUICK, "epochs": 4})


def test_numbers_fit_together(found: KernelInformation) -> None:
    assert found.normal_batches.shape == (3, 13)
    assert torch.allclose(found.vulnerability, found.normal_mi - found.worst_case_mi, atol=1e-6)
    for quantity in ("normal_mi", "worst_case_mi", "vulnerability"):
        intervals, (mean, ends) = found.intervals(quantity), found.mean(quantity)
        values = getattr(found, quantity)
        assert intervals is not None and ends is not None
        assert bool(((intervals[:, 0] <= values) & (values <= intervals[:, 1])).all())
        assert mean == pytest.approx(float(values.mean()), abs=1e-6) and ends[0] <= mean <= ends[1]
    assert (found.ceiling, found.field, found.threat, found.attack) == (math.log(32), ReceptiveField(10, 4, 3), "Linf(0.1)", "per_kernel")
    assert bool((found.ideal_worst_case <= found.ideal_normal + 2e-3).all())
    assert float(found.normal_mi.mean()) > 0.1  # something was learnt
    assert "estimates, not bounds" in str(found) and "best critic" in str(found)


def test_the_critics_of_the_estimate_give_its_numbers(found: KernelInformation) -> None:
    kernels = KernelFeatures(convolution_layers(encoder())).standardise(sample_patches(TRAIN, found.field))
    held_out = sample_patches(TEST, found.field, seed=1)
    again = batch_kernel_information(kernels, found.critics[0], held_out, KernelInfoMax(), batch_size=32)
    assert torch.allclose(again, found.normal_batches, atol=1e-5)
    attacked = batch_kernel_information(kernels, found.critics[1], held_out, KernelInfoMax(Linf(0.1), steps=2), batch_size=32)
    assert torch.allclose(attacked, found.worst_case_batches, atol=1e-4)


def test_an_estimate_repeats_and_continues(found: KernelInformation, tmp_path: Any) -> None:
    for epochs in (2, 4):  # interrupted after two epochs
        again = estimate_kernel_vulnerability(convolution_layers(encoder()), TRAIN, TEST, Linf(0.1), checkpoint=tmp_path, **{**QUICK, "epochs": epochs})
    assert torch.equal(again.normal_batches, found.normal_batches)
    assert torch.equal(again.worst_case_batches, found.worst_case_batches)


def test_baseline_h_has_the_paper_s_kernels() -> None:
    kernels = KernelFeatures(convolution_layers(classifier("baseline_h", in_channels=3, image_size=32).eval()))
    assert (kernels.num_kernels, kernels.field.size, kernels.field.outputs(32), len(kernels.field.interior(32))) == (128, 10, 8, 6)


# What is refused


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: receptive_field([nn.Linear(2, 2)]), TypeError, "got Linear; pass the layers in front"),
    (lambda: receptive_field([nn.Conv2d(1, 1, (3, 2))]), ValueError, r"must be square and not dilated, got kernel_size=\(3, 2\)"),
    (lambda: receptive_field([nn.Conv2d(1, 1, 3, dilation=2)]), ValueError, "must be square and not dilated"),
    (lambda: receptive_field([nn.Conv2d(1, 1, 3, padding="same")]), ValueError, "must be square"),
    (lambda: ReceptiveField(10, 4, 3).interior(8), ValueError, "must hold a whole patch of 10 pixels, got side 8"),
    (lambda: convolution_layers(Encoder(1, 28), 4), ValueError, "at most the number of convolutions 3, got 4"),
    (lambda: KernelFeatures([]), ValueError, "must end with the nn.Conv2d .* got no layers; use convolution_layers"),
    (lambda: KernelFeatures([nn.Conv2d(1, 1, 3), nn.ReLU()]), ValueError, "must end with the nn.Conv2d"),
    (lambda: KernelFeatures(convolution_layers(Encoder(1, 28))), ValueError, "must be in evaluation mode"),
    (lambda: sample_patches(torch.rand(2, 1, 28, 28), ReceptiveField(10, 4, 3), 26), ValueError, "at most the 25 places inside an image, got 26"),
    (lambda: kernel_information(torch.zeros(2, 3), torch.zeros(2, 4)), ValueError, r"one shape \[..., N\] with N >= 2, got \[2, 3\] and \[2, 4\]"),
    (lambda: kernel_information(torch.zeros(2, 1), torch.zeros(2, 1)), ValueError, "N >= 2"),
    (lambda: kernel_information(torch.zeros(2), torch.tensor([0.0, math.nan])), ValueError, "must be finite, got NaN"),
    (lambda: kernel_information(torch.zeros(2), torch.zeros(2), "mine"), ValueError, "expected an estimator of dv, nwj, js, nce"),
    (lambda: linear_critic_ceiling(torch.tensor([1.0, math.inf])), ValueError, "at least two finite outputs"),
    (lambda: KernelInfoMax(Linf(0.1), attack="all"), ValueError, "attack must be 'per_kernel' or 'shared'"),  # type: ignore[arg-type]
    (lambda: KernelInfoMax(0.1), TypeError, "threat must be Linf, L2, L1 or None, got 0.1"),  # type: ignore[arg-type]
    (lambda: KernelInfoMax().search, ValueError, "the normal case has no attack"),
    (lambda: KernelCritics(1, 1, 3), ValueError, "size must be a whole number >= 2, got 1"),
    (lambda: ideal_worst_case(_mean_kernel(), torch.rand(1, 1, 4, 4), Linf(0.1)), ValueError, "patches must be at least two, got 1"),
    (lambda: ideal_worst_case(_mean_kernel(), 2 * torch.ones(3, 1, 4, 4), Linf(0.1)), ValueError, r"patches must lie in \[0, 1\]"),
    (lambda: estimate_kernel_vulnerability([nn.Conv2d(1, 1, 3)], TRAIN, TEST, 0.1, **QUICK), TypeError, "threat must be Linf, L2 or L1"),  # type: ignore[arg-type]
    (lambda: estimate_kernel_vulnerability([nn.Conv2d(1, 1, 3)], TRAIN * 2, TEST, Linf(0.1), **QUICK), ValueError, r"train_images must lie in \[0, 1\]"),
    (lambda: estimate_kernel_vulnerability([nn.Conv2d(1, 1, 3)], TRAIN, TEST[:8], Linf(0.1), **QUICK), ValueError, "at least one batch of 32 patches, got 8"),
    (lambda: estimate_kernel_vulnerability([nn.Conv2d(1, 1, 3)], TRAIN, TEST.expand(-1, 3, -1, -1), Linf(0.1), **QUICK), ValueError, "same channels, got 1 and 3"),
])
def test_bad_input_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_benchmark_takes_steps_that_learn() -> None:
    path = Path(__file__).parent / "benchmarks" / "kernel_critic.py"
    spec = importlib.util.spec_from_file_location("kernel_critic", path)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    assert benchmark.FIELD.outputs(32) ** 2 == 64  # every place of an image, as the single critic has them
    for step in (benchmark.single(8, 32), benchmark.kernels(8, 32, 2)):
        losses = [float(step()) for _ in range(10)]
        assert losses[-1] < losses[0]
