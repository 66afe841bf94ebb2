"""Label-hypothesis networks: the scores are those of the literal concatenation; partial forward; the networks of the paper; the bottleneck."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from robinfo.attacks import FGSM, PGD
from robinfo.evaluation import accuracy, robust_accuracy
from robinfo.label_hypothesis import (
    LabelHypothesisNetwork,
    PartialForward,
    baseline_cnn,
    label_hypothesis_network,
    lenet5,
    operations_per_image,
    ridge_first_pass,
)
from robinfo.latent import MINIMUM_STD
from robinfo.theory.shared_information import gaussian_kl
from robinfo.threats import Linf
from robinfo.vib import VIBNetwork, rate, vib_network

TRUNKS = {
    "linear first": lambda d: nn.Sequential(nn.Linear(d, 7), nn.ReLU(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1)),
    "one layer": lambda d: nn.Sequential(nn.Linear(d, 1)),
    "norm first": lambda d: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 6), nn.ReLU(), nn.Linear(6, 1)),
    "nested": lambda d: nn.Sequential(nn.Sequential(nn.Linear(d, 6), nn.ReLU()), nn.Linear(6, 1)),
    "no bias": lambda d: nn.Sequential(nn.Linear(d, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False)),
}


def small(kind: str = "linear first", classes: int = 4, memory: float = 64.0, seed: int = 0) -> LabelHypothesisNetwork:
    """A network on 3 x 3 images, in double precision."""
    torch.manual_seed(seed)
    return LabelHypothesisNetwork(nn.Flatten(), TRUNKS[kind](9 + classes), classes, memory=memory).double()


def literal(network: LabelHypothesisNetwork, images: Tensor) -> Tensor:
    """One concatenated row for each image and hypothesis, one after the other."""
    features, eye = network.features(images), torch.eye(network.num_classes, dtype=images.dtype)
    rows = [torch.stack([network.trunk(torch.cat([f, y])[None])[0, 0] for y in eye]) for f in features]
    return torch.stack(rows)


def images(count: int = 6, seed: int = 0) -> Tensor:
    """Random images 3 x 3 in double precision."""
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def gradients(value: Tensor, network: nn.Module, x: Tensor) -> list[Tensor]:
    """Gradients of an uneven sum of scores with respect to the images and every parameter."""
    weights = torch.arange(1.0, value.numel() + 1, dtype=value.dtype).reshape(value.shape).sin()
    return list(torch.autograd.grad((weights * value).sum(), [x, *network.parameters()]))


# --- scores -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("memory", [64.0, 1e-3])
@pytest.mark.parametrize("kind", TRUNKS)
def test_scores_and_gradients_are_those_of_the_literal_reading(kind: str, memory: float) -> None:
    """Split layer, broadcast, blocks and recomputation change neither scores nor gradients."""
    network, x = small(kind, memory=memory), images().requires_grad_()
    assert memory == 64 or network.block_size() < len(x)
    scores, expected = network(x), literal(network, x)
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)
    for own, other in zip(gradients(scores, network, x), gradients(expected, network, x), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 9), st.integers(2, 6), st.sampled_from([64.0, 2e-3, 1e-6]), st.integers(0, 99))
def test_the_answer_for_an_image_does_not_depend_on_the_batch(count: int, classes: int, memory: float, seed: int) -> None:
    """Any batch size, number of classes and cap: rows are those of the images alone."""
    network, x = small(classes=classes, memory=memory, seed=seed), images(count, seed)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in x])
        torch.testing.assert_close(network(x), alone, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 5), st.integers(0, 999))
def test_chosen_hypotheses_have_the_scores_of_all(keep: int, seed: int) -> None:
    """Any order, also a hypothesis twice, under any cap."""
    generator = torch.Generator().manual_seed(seed)
    network, x = small(classes=5, memory=(64.0, 1e-3)[seed % 2]), images(7, seed)
    chosen = torch.randint(5, (7, keep), generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(network.score(network.features(x), chosen), network(x).gather(1, chosen), rtol=1e-12, atol=1e-12)


def rows_seen(network: LabelHypothesisNetwork) -> list[int]:
    """A list that fills with the number of rows of every later call of the third layer of the trunk."""
    seen: list[int] = []
    network.trunk[2].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return seen


def test_memory_is_capped_and_linear_in_hypotheses() -> None:
    """Blocks hold at most the cap, twice the hypotheses means half the images, and each image is seen once."""
    for classes in (10, 20, 40):
        network = LabelHypothesisNetwork(nn.Flatten(), TRUNKS["linear first"](9 + classes), classes, memory=0.05)
        seen = rows_seen(network)
        with torch.no_grad():
            network(images(40).float())
        assert sum(seen) == 40 * classes and len(seen) > 1
        assert max(seen) == network.block_size(gradient=False) * classes
        assert max(seen) * 4 * (7 + 5 + 1) <= 0.05 * 2**20
    assert network.block_size(20, gradient=True) == pytest.approx(2 * network.block_size(40, gradient=True), abs=1)
    network.memory = 1e-9
    assert network.block_size() == 1  # at least one image


def test_gradients_beyond_the_cap_recompute_blocks() -> None:
    """Each block runs once forward and once more on the way back; below the cap only once, in one block."""
    network, x = small(memory=1e-3), images().requires_grad_()
    seen = rows_seen(network)
    network(x).sum().backward()
    blocks = math.ceil(len(x) / network.block_size(gradient=True))
    assert blocks > 1 and len(seen) == 2 * blocks
    network.memory = 64.0
    seen.clear()
    network(x).sum().backward()
    assert seen == [len(x) * 4]


def test_batch_dependent_layers_see_all_rows_at_once() -> None:
    """Batch normalisation in the trunk: training statistics of all N M rows whatever the cap, blocks in evaluation mode."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(13, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1))
    network, x = LabelHypothesisNetwork(nn.Flatten(), trunk, 4, memory=1e-3).double(), images()
    seen = rows_seen(network)
    network(x)
    assert seen == [24] and int(trunk[1].num_batches_tracked) == 1
    network.eval()
    seen.clear()
    with torch.no_grad():
        network(x)
    assert len(seen) > 1


def test_hidden_gives_every_layer() -> None:
    """Layers by name equal the trunk up to there; the last is the score."""
    network, x = small(), images()
    features = network.features(x)
    rows = torch.cat([features.repeat_interleave(4, 0), torch.eye(4, dtype=torch.double).repeat(6, 1)], 1)
    for position, name in enumerate(network.layers):
        rows = network.trunk[position](rows)
        torch.testing.assert_close(network.hidden(features, name), rows.unflatten(0, (6, 4)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.hidden(features, network.layers[-1]).squeeze(2), network(x))


def test_attacks_and_evaluation_work_unchanged() -> None:
    """FGSM and PGD stay in the ball, lower the score of the label, and leave mode, gradients and settings as they were."""
    torch.manual_seed(0)
    network = label_hypothesis_network(image_size=8, width=0.1)
    network.train()
    x, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    for attack in (FGSM(Linf(0.1)), PGD(Linf(0.1), steps=3)):
        x_adv = attack(network.eval(), x, labels)
        assert float((x_adv - x).abs().max()) <= 0.1 + 1e-6
        assert F.cross_entropy(network(x_adv), labels) > F.cross_entropy(network(x), labels)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert 0 <= robust_accuracy(network, x, labels, PGD(Linf(0.1), steps=2)) <= accuracy(network, x, labels)


def test_mixed_precision() -> None:
    """Under autocast every row is half precision, and the scores are those of single precision to its accuracy."""
    torch.manual_seed(0)
    network, x = label_hypothesis_network(image_size=8, width=0.1).eval(), torch.rand(5, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        features = network.features(x)
        assert network.hidden(features, "linear1").dtype == torch.bfloat16
        scores = network(x)
    torch.testing.assert_close(scores.float(), network(x), rtol=0.05, atol=0.05)


# --- the networks of the paper ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("padding,features", [("same", 3136), ("valid", 1600)])
def test_networks_have_the_sizes_of_the_paper(padding: str, features: int) -> None:
    """Convolutions leave 7 x 7 x 64 or 5 x 5 x 64; only the first and the last linear layer differ."""
    baseline, guessing = baseline_cnn(padding=padding), label_hypothesis_network(padding=padding)  # type: ignore[arg-type]
    assert guessing.features(torch.rand(2, 1, 28, 28)).shape == (2, features)
    shapes = [[tuple(m.weight.shape) for m in trunk if isinstance(m, nn.Linear)] for trunk in (baseline.head, guessing.trunk)]
    assert shapes[0] == [(512, features), (256, 512), (128, 256), (10, 128)]
    assert shapes[1] == [(512, features + 10), (256, 512), (128, 256), (1, 128)]
    assert guessing.layers == ("linear1", "relu1", "linear2", "relu2", "linear3", "relu3", "score")


@pytest.mark.parametrize("size,channels,classes", [(28, 1, 10), (32, 3, 7), (13, 2, 2)])
def test_networks_take_any_image(size: int, channels: int, classes: int) -> None:
    """Other sizes, channels and numbers of classes."""
    x = torch.rand(2, channels, size, size)
    for make in (baseline_cnn, label_hypothesis_network, vib_network):
        for padding in ("same", "valid"):
            assert make(channels, size, classes, width=0.1, padding=padding)(x).shape == (2, classes)
    assert lenet5(channels, size, classes)(x).shape == (2, classes)


def test_operations_are_counted_exactly() -> None:
    """Convolutions and first layer once, the layers behind M times; the same for any batch."""
    network = label_hypothesis_network()
    convolutions = 14 * 14 * 32 * 16 + 7 * 7 * 64 * 32 * 16
    products = convolutions + 3136 * 512 + 10 * (512 * 256 + 256 * 128 + 128)
    for count in (1, 60):
        assert operations_per_image(network, torch.rand(count, 1, 28, 28)) == 2 * products
    assert operations_per_image(baseline_cnn(), torch.rand(3, 1, 28, 28)) == 2 * (
        convolutions + 3136 * 512 + 512 * 256 + 256 * 128 + 128 * 10)
    assert network.training


# --- partial forward --------------------------------------------------------------------------------------------------
def partial(keep: int, seed: int) -> tuple[PartialForward, Tensor, Tensor, Tensor]:
    """A partial network with a random first pass, images, its guesses and the scores of the full network."""
    network, x = small(classes=6, seed=seed), images(5, seed)
    torch.manual_seed(seed + 1)
    first = nn.Linear(9, 6).double()
    return PartialForward(network, first, keep), x, first(network.features(x)), network(x)


@given(st.integers(1, 6), st.integers(0, 999))
def test_partial_scores_are_exact_for_the_tested_and_ranked_below_for_the_others(keep: int, seed: int) -> None:
    """The k best guesses keep their scores, the others follow in the order of the guesses, finite; the winner survives if it was tested."""
    model, x, guesses, full = partial(keep, seed)
    with torch.no_grad():
        scores = model(x)
    assert bool(torch.isfinite(scores).all())
    for row, guess, exact in zip(scores, guesses, full, strict=True):
        order = guess.argsort(descending=True)
        tested, others = order[:keep], order[keep:]
        torch.testing.assert_close(row[tested], exact[tested], rtol=1e-12, atol=1e-12)
        if keep < 6:
            assert row[others].max() < row[tested].min()
            torch.testing.assert_close(row[others].diff(), guess[others].diff(), rtol=1e-9, atol=1e-12)
        if exact.argmax() in tested:
            assert row.argmax() == exact.argmax()


def test_all_hypotheses_are_exact_and_one_is_the_first_pass() -> None:
    """With k = M the bits of the network, without asking the first pass; with k = 1 the decision of the first pass."""
    model, x, guesses, full = partial(6, 0)
    model.first = nn.Identity()  # would fail if asked
    assert torch.equal(model(x), full)
    model, x, guesses, full = partial(1, 0)
    assert torch.equal(model(x).argmax(1), guesses.argmax(1))
    network = label_hypothesis_network()
    first, sample = nn.Linear(3136, 10), torch.rand(2, 1, 28, 28)
    costs = [operations_per_image(PartialForward(network, first, k), sample) for k in (1, 2, 3)]
    assert costs[1] - costs[0] == costs[2] - costs[1] == 2 * (512 * 256 + 256 * 128 + 128)


def test_ridge_first_pass_is_the_least_squares_solution() -> None:
    """Against an augmented least-squares problem; the mode of the network stays; gradients are off."""
    network, x = small(), images(30)
    network.trunk.insert(1, nn.Dropout(0.5))
    network.train()
    first = ridge_first_pass(network, x, ridge=0.1, batch_size=7)
    assert network.training and network.trunk[1].training and not first.weight.requires_grad
    network.eval()
    with torch.no_grad():
        features, target = network.features(x), network(x).log_softmax(1)
    centred = features - features.mean(0)
    penalty = (0.1 * centred.square().mean() * 30).sqrt() * torch.eye(9, dtype=torch.double)
    stacked = torch.linalg.lstsq(torch.cat([centred, penalty]), torch.cat([target - target.mean(0), torch.zeros(9, 4).double()])).solution
    torch.testing.assert_close(first.weight.double(), stacked.T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first(features.float()).mean(0).double(), target.mean(0), rtol=1e-5, atol=1e-5)


# --- bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("call,error,text", [
    (lambda: LabelHypothesisNetwork(nn.Flatten(), nn.Linear(13, 1), 4), TypeError, "trunk must be an nn.Sequential"),
    (lambda: LabelHypothesisNetwork(nn.Flatten(), nn.Sequential(), 4), TypeError, "trunk must be an nn.Sequential"),
    (lambda: LabelHypothesisNetwork(torch.flatten, nn.Sequential(nn.Linear(13, 1)), 4), TypeError, "features must be an nn.Module"),
    (lambda: LabelHypothesisNetwork(nn.Flatten(), nn.Sequential(nn.Linear(4, 1)), 4), ValueError, "d features and 4 label entries"),
    (lambda: LabelHypothesisNetwork(nn.Flatten(), nn.Sequential(nn.Linear(13, 1)), 1), ValueError, "num_classes must be a whole number >= 2"),
    (lambda: small(memory=0.0), ValueError, "memory must be a finite number > 0"),
    (lambda: small(classes=4)(torch.rand(2, 1, 4, 4).double()), ValueError, r"16 features \+ 4 labels = 20 numbers, got in_features=13"),
    (lambda: LabelHypothesisNetwork(nn.Identity(), nn.Sequential(nn.Linear(13, 1)), 4)(images()), ValueError, "end the extractor with nn.Flatten"),
    (lambda: LabelHypothesisNetwork(nn.Flatten(), nn.Sequential(nn.Linear(13, 2)), 4)(images().float()), ValueError, "must end in one score"),
    (lambda: small().hidden(images().flatten(1), "relu9"), ValueError, "layer must be one of 0, 1, 2, 3, 4, got 'relu9'"),
    (lambda: small().score(images().flatten(1), torch.zeros(5, 2).long()), ValueError, r"hypotheses must be class numbers \[6, k\]"),
    (lambda: small().score(images().flatten(1), torch.zeros(6, 2)), ValueError, "got torch.float32"),
    (lambda: small().score(images().flatten(1), torch.full((6, 1), 4)), ValueError, r"in 0\.\.3"),
    (lambda: small().score(images().flatten(1), torch.zeros(6, 0).long()), ValueError, "at least one per image"),
    (lambda: PartialForward(nn.Linear(2, 2), nn.Identity(), 1), TypeError, "network must be a LabelHypothesisNetwork"),  # type: ignore[arg-type]
    (lambda: PartialForward(small(), nn.Identity(), 5), ValueError, "at most the number of hypotheses 4, got 5"),
    (lambda: PartialForward(small(), nn.Identity(), 0), ValueError, "keep must be a whole number >= 1"),
    (lambda: PartialForward(small(), nn.Identity(), 2)(images()), ValueError, r"first pass must return \[6, 4\], got \[6, 9\]"),
    (lambda: ridge_first_pass(small(), images(), ridge=0.0), ValueError, "ridge must be a finite number > 0"),
    (lambda: baseline_cnn(padding="full"), ValueError, "padding must be 'same' or 'valid', got 'full'"),  # type: ignore[arg-type]
    (lambda: baseline_cnn(image_size=9, padding="valid"), ValueError, "image_size must be a whole number >= 10"),
    (lambda: baseline_cnn(width=0.0), ValueError, "width must be a finite number > 0"),
    (lambda: label_hypothesis_network(num_classes=1), ValueError, "num_classes must be a whole number >= 2"),
    (lambda: lenet5(image_size=8), ValueError, "image_size must be a whole number >= 12"),
    (lambda: vib_network(decoder="deep"), ValueError, "decoder must be 'hidden' or 'linear'"),
    (lambda: vib_network(latent=0), ValueError, "latent must be a whole number >= 1"),
    (lambda: rate(torch.zeros(2, 3), torch.ones(3)), ValueError, "mean and std must have the same shape"),
])
def test_bad_input_says_what_was_expected(call: object, error: type[Exception], text: str) -> None:
    """Every refusal names what was expected, what came, and a cure."""
    with pytest.raises(error, match=text) as caught:
        call()  # type: ignore[operator]
    assert ";" in str(caught.value)


# --- the bottleneck ---------------------------------------------------------------------------------------------------
@given(st.integers(0, 9999), st.integers(1, 5))
def test_rate_is_the_divergence_from_the_standard_gaussian(seed: int, size: int) -> None:
    """Against torch and the theory, for any means and scales; zero only at the prior."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=(3, size)) * 10 ** rng.uniform(-2, 2), 10 ** rng.uniform(-3, 2, size=(3, size))
    own = rate(torch.as_tensor(mean), torch.as_tensor(std))
    code, prior = (Independent(Normal(torch.as_tensor(m), torch.as_tensor(s)), 1) for m, s in ((mean, std), (0 * mean, 0 * std + 1)))
    torch.testing.assert_close(own, kl_divergence(code, prior), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(own, gaussian_kl(mean, std, 0 * mean, 0 * std + 1), rtol=1e-9, atol=1e-12)
    assert bool((own > 0).all())


def test_rate_bounds_the_information_of_a_code() -> None:
    """Two images at +-a: the rate is at least I(X; Z), computed by quadrature, and equals it plus the divergence of the codes' law."""
    z = np.linspace(-12, 12, 20_001)
    for a, s in ((0.5, 0.5), (1.0, 0.3), (2.0, 1.0)):
        p = [np.exp(-((z - m) ** 2) / (2 * s * s)) / math.sqrt(2 * math.pi) / s + 1e-300 for m in (-a, a)]
        mixture, prior = (p[0] + p[1]) / 2, np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        information = float(np.trapezoid(p[1] * np.log(p[1] / mixture), z))  # the same for both images
        excess = float(np.trapezoid(mixture * np.log(mixture / (prior + 1e-300)), z))
        own = float(rate(torch.tensor([a]).double(), torch.tensor([s]).double()))
        assert information <= own and own == pytest.approx(information + excess, abs=1e-5)


def test_bottleneck_modes() -> None:
    """Training draws, the mean is deterministic, averages of fixed draws are probabilities and converge, views share weights."""
    torch.manual_seed(0)
    model, x = vib_network(image_size=8, width=0.1), torch.rand(4, 1, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x)) and torch.equal(model(x), model.classify(model.encode(x)[0]))
    view = model.with_inference("average", samples=2000, seed=0)
    assert isinstance(view, VIBNetwork) and view.decoder is model.decoder
    mean, std = model.encode(x)
    draws = model.classify(mean + std * torch.randn(2000, *mean.shape)).softmax(2)
    torch.testing.assert_close(view(x).exp(), draws.mean(0), rtol=0, atol=0.01)
    assert float((std - F.softplus(torch.tensor(-5.0)) - MINIMUM_STD).detach().abs().max()) < 0.01  # almost no noise at the start


def test_bottleneck_layers() -> None:
    """The code replaces the middle layer; a linear decoder has nothing between code and logits."""
    hidden, linear = vib_network(), vib_network(decoder="linear", latent=32)
    assert hidden.gaussian.weight.shape == (512, 512) and hidden.latent == 256
    assert [tuple(m.weight.shape) for m in hidden.decoder if isinstance(m, nn.Linear)] == [(128, 256)]
    assert linear.gaussian.weight.shape == (64, 512) and linear.last.weight.shape == (10, 32)
    assert linear(torch.rand(2, 1, 28, 28)).shape == (2, 10)
