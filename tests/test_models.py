"""Networks: sizes of the paper, shapes for every input, orientation of the critic's scores."""
from __future__ import annotations

from typing import Any

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped
from torch import nn

from robinfo.models import (
    ARCHITECTURES,
    Classifier,
    Critic,
    CriticBlock,
    Encoder,
    Normalized,
    SmallCNN,
    WideBlock,
    WideResNet,
    classifier,
    linear_head,
    mlp_head,
    representation_size,
    sharing_copy,
    split_last_layer,
)


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def convolution(inputs: int, outputs: int) -> int:
    """Parameters of a 4 x 4 convolution without bias and its batch normalisation."""
    return 16 * inputs * outputs + 2 * outputs


def encoder_size(inputs: int, side: int, features: int = 64) -> int:
    """Parameters of Table 2 (Feature Extractor), counted by hand."""
    convolutions = convolution(inputs, 64) + convolution(64, 128) + convolution(128, 256)
    return convolutions + (256 * side**2 * 1024 + 1024) + 2 * 1024 + (1024 * features + features)


@pytest.mark.parametrize(("channels", "size", "side"), [(1, 28, 3), (1, 32, 4), (3, 28, 3), (3, 32, 4)])
def test_encoder_has_the_sizes_of_the_paper(channels: int, size: int, side: int) -> None:
    encoder = Encoder(channels, size)
    assert count(encoder) == encoder_size(channels, side)
    assert encoder.eval()(torch.rand(2, channels, size, size)).shape == (2, 64)


@pytest.mark.parametrize(("model", "expected"), [
    (Encoder(3, 32), 4_922_304),
    (mlp_head(), 64 * 200 + 200 + 400 + 200 * 10 + 10),
    (linear_head(), 650),
    (Critic(3, 64), convolution(3, 64) + convolution(64, 128)
     + sum(2 * i * 2048 + 2 * 2048 + 2048**2 + 2048 + 2 * 2048 for i in (128, 64))),
    (CriticBlock(5, 7), 5 * 7 + 14 + 56 + 35 + 14),
], ids=["encoder", "mlp_head", "linear_head", "critic", "critic_block"])
def test_parameter_counts(model: nn.Module, expected: int) -> None:
    assert count(model) == expected


@pytest.mark.parametrize(("name", "expected"), [
    ("resnet18", 11_173_962), ("resnet50", 23_520_842), ("vgg16", 14_728_266), ("densenet121", 6_956_426),
    ("baseline_h", 4_922_304 + 15_410), ("wide_resnet34_10", 46_160_474), ("small_cnn", 427_978)])
def test_parameter_counts_of_classifiers(name: str, expected: int) -> None:
    with torch.device("meta"):
        assert count(classifier(name)) == expected


def wide_size(inputs: int, classes: int, blocks: int, widen: int) -> int:
    """Parameters of a wide residual network, counted by hand."""
    total, before = 9 * inputs * 16, 16
    for channels in (16 * widen, 32 * widen, 64 * widen):
        for block in range(blocks):
            start = before if block == 0 else channels
            total += 2 * start + 9 * start * channels + 2 * channels + 9 * channels**2
        total += before * channels if before != channels or channels > 16 * widen else 0
        before = channels
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "widen", "inputs", "classes"), [(34, 10, 3, 10), (34, 10, 3, 100), (28, 4, 3, 10), (10, 1, 1, 5), (16, 2, 1, 2)])
def test_wide_networks_have_the_sizes_counted_by_hand(depth: int, widen: int, inputs: int, classes: int) -> None:
    with torch.device("meta"):
        network = WideResNet(inputs, classes, depth=depth, widen=widen)
    assert count(network) == wide_size(inputs, classes, (depth - 4) // 6, widen)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == depth - (widen == 1)  # no 1 x 1 where nothing changes


@pytest.mark.parametrize(("channels", "size", "classes", "side"), [(1, 28, 10, 4), (3, 32, 10, 5), (1, 8, 7, 1), (1, 16, 2, 1), (2, 17, 3, 1), (3, 64, 4, 13)])
def test_small_cnn_takes_every_size(channels: int, size: int, classes: int, side: int) -> None:
    model = SmallCNN(channels, size, classes)
    convolutions = sum(9 * a * b + b for a, b in ((channels, 32), (32, 32), (32, 64), (64, 64)))
    assert count(model) == convolutions + 64 * side**2 * 200 + 200 + 200 * 200 + 200 + 200 * classes + classes
    with torch.no_grad():
        nn.init.normal_(model.last.weight)
        assert model.eval()(torch.rand(2, channels, size, size)).shape == (2, classes)


def test_small_cnn_has_the_published_size() -> None:
    assert count(classifier("small_cnn", in_channels=1, image_size=28)) == 312_202


def test_small_cnn_starts_as_published() -> None:
    torch.manual_seed(0)
    model = SmallCNN()
    assert not model.last.weight.any()
    assert not model.last.bias.any()
    for c in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        assert float(c.weight.detach().std()) == pytest.approx((2 / (9 * c.in_channels)) ** 0.5, rel=0.15)
    layers = [type(m).__name__ for m in model.modules() if not list(m.children())]
    assert layers == ["ZeroPad2d", *("Conv2d", "ReLU") * 2, "MaxPool2d", *("Conv2d", "ReLU") * 2, "MaxPool2d", "Flatten",
                      "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert next(m for m in model.modules() if isinstance(m, nn.Dropout)).p == 0.5


def test_wide_block_is_its_formula() -> None:
    torch.manual_seed(0)
    block = WideBlock(3, 5, stride=2).eval()
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean, norm.running_var = torch.randn(norm.num_features), torch.rand(norm.num_features) + 0.5
    maps, functional = torch.randn(2, 3, 8, 8), nn.functional
    start, (first, norm, _, second) = block.start[0], block.residual
    started = functional.batch_norm(maps, start.running_mean, start.running_var, start.weight, start.bias).relu()
    hidden = functional.conv2d(started, first.weight, stride=2, padding=1)
    hidden = functional.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
    assert block.shortcut is not None
    expected = functional.conv2d(hidden, second.weight, padding=1) + functional.conv2d(started, block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(maps), expected)


def test_wide_network_starts_as_published() -> None:
    torch.manual_seed(0)
    network = WideResNet(3, 10, depth=10, widen=2)
    for c in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        expected = (2 / (c.kernel_size[0] ** 2 * c.out_channels)) ** 0.5
        assert float(c.weight.detach().std()) == pytest.approx(expected, rel=0.15)
    assert not network.last.bias.any()
    assert network.eval()(torch.rand(2, 3, 9, 9)).shape == (2, 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_split_shares_the_weights_and_keeps_the_model(name: str) -> None:
    with torch.device("meta"):
        model = classifier(name, in_channels=1, image_size=28, num_classes=7)
        before = {k: id(v) for k, v in model.named_parameters()}
        features, size = split_last_layer(model)
        assert features(torch.empty(2, 1, 28, 28)).shape == (2, size)
        assert model(torch.empty(2, 1, 28, 28)).shape == (2, 7)
    after = {k: id(v) for k, v in features.named_parameters()}
    assert {k: id(v) for k, v in model.named_parameters()} == before
    assert all(before[k] == v for k, v in after.items())
    assert count(model) - count(features) == 7 * size + 7


def test_split_then_last_layer_is_the_model() -> None:
    torch.manual_seed(0)
    model = classifier("baseline_h", in_channels=1, image_size=28, width=0.05).eval()
    features, size = split_last_layer(model)
    images = torch.rand(3, 1, 28, 28)
    last = model.head[-1]
    torch.testing.assert_close(last(features(images)), model(images))
    assert size == last.in_features
    features.train()
    assert model.encoder.training  # the parts that are not on the way are the model's own


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_split_is_recomposed_to_the_network(name: str) -> None:
    torch.manual_seed(0)
    size = 8 if name.startswith("wide") else 28
    model = classifier(name, in_channels=1, image_size=size, num_classes=3).eval()
    last = next(m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear))
    nn.init.normal_(last.weight)
    features, length = split_last_layer(model)
    images = torch.rand(2, 1, size, size)
    with torch.no_grad():
        rows, logits = features(images), model(images)
        assert rows.shape == (2, length)
        assert logits.abs().max() > 0.1
        torch.testing.assert_close(last(rows), logits)
    assert {id(p) for p in features.parameters()} == {id(p) for p in model.parameters()} - {id(p) for p in last.parameters()}


def test_sharing_copy_is_changed_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    twin = sharing_copy(model)
    twin[1] = nn.Identity()
    twin.register_buffer("extra", torch.zeros(1))
    twin.note = "mine"
    assert isinstance(model[1], nn.BatchNorm1d)
    assert "extra" not in dict(model.named_buffers())
    assert not hasattr(model, "note")
    assert twin[0] is model[0]


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "wide_resnet34_10"])
def test_every_architecture_takes_every_input(name: str, channels: int, size: int) -> None:
    model = classifier(name, in_channels=channels, image_size=size, num_classes=7)
    images = torch.rand(2, channels, size, size)
    with torch.inference_mode():
        assert model.eval()(images).shape == (2, 7)
    assert len(dict(model.named_modules())) > 5


def test_small_stem_keeps_the_resolution() -> None:
    seen: dict[str, Any] = {}
    model = classifier("resnet18").eval()
    model.layer1.register_forward_hook(lambda module, args, out: seen.update(layer1=out.shape))
    with torch.inference_mode():
        model(torch.rand(1, 3, 32, 32))
    assert seen["layer1"][2:] == (32, 32)


def test_small_images_are_padded_in_the_middle() -> None:
    model = classifier("resnet18", in_channels=1, image_size=28)
    assert torch.equal(model[0](torch.ones(1, 1, 28, 28))[0, 0].nonzero().amin(0), torch.tensor([2, 2]))
    assert model[0](torch.ones(1, 1, 28, 28)).shape == (1, 1, 32, 32)


def test_training_step_reaches_every_parameter() -> None:
    for model, images in ((classifier("baseline_h", in_channels=1, image_size=28, width=0.1), torch.rand(4, 1, 28, 28)),):
        model(images).square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_width_scales_the_hidden_layers() -> None:
    third = Encoder(1, 28, width=1 / 3)
    assert [m.out_channels for m in third.convolutions.modules() if isinstance(m, nn.Conv2d)] == [21, 43, 85]
    assert third.features == 64


def test_classifier_is_the_composition() -> None:
    encoder, head = Encoder(1, 28, width=0.05), mlp_head(num_classes=3)
    images = torch.rand(3, 1, 28, 28)
    model = Classifier(encoder, head).eval()
    assert torch.equal(model(images), head(encoder(images)))


# Critic


@pytest.mark.parametrize(("scale", "divisor"), [("sqrt", 3.0), ("mean", 9.0), ("none", 1.0)])
@pytest.mark.parametrize(("depth", "side"), [(1, 14), (2, 7), (3, 3)])
def test_scores_are_indexed_image_feature_location(depth: int, side: int, scale: Any, divisor: float) -> None:
    torch.manual_seed(0)
    critic = Critic(1, 6, width=9, depth=depth, channels=4, scale=scale).eval()
    images, features = torch.rand(3, 1, 28, 28), torch.randn(5, 6)
    with torch.no_grad():
        scores = critic(images, features)
        assert scores.shape == (3, 5, side**2)
        maps = critic.convolutions(images)
        for i in range(3):
            for j in range(5):
                for place in (0, side, side**2 - 1):
                    here = critic.image_block(maps[i, :, place // side, place % side][None])
                    there = critic.feature_block(features[j][None])
                    assert float(scores[i, j, place]) == pytest.approx(float(here @ there.T) / divisor, rel=1e-4, abs=1e-4)


def test_critic_block_starts_near_the_identity() -> None:
    shortcut = CriticBlock(4, 6).shortcut.weight.detach()
    assert torch.equal(shortcut.diagonal(), torch.ones(4))
    assert (shortcut - torch.eye(6, 4)).abs().max() <= 0.01
    rows = CriticBlock(4, 6).eval()(torch.randn(50, 4))
    assert rows.mean(1).abs().max() < 1e-5  # layer normalisation


# Normalisation and representation


def test_normalized_undoes_what_the_model_wants() -> None:
    model = Normalized(nn.Identity(), [0.5, 0.25, 0.1], [0.5, 0.25, 0.2])
    images = torch.rand(2, 3, 4, 4)
    expected = torch.stack([(images[:, c] - m) / s for c, (m, s) in enumerate(((0.5, 0.5), (0.25, 0.25), (0.1, 0.2)))], 1)
    torch.testing.assert_close(model(images), expected)
    assert {"mean", "std"} <= set(model.state_dict())
    assert not list(model.parameters())
    assert model.double()(images.double()).dtype == torch.float64


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5, 0.5]), ([0.5], [0.0]), ([0.5], [-1.0])])
def test_bad_normalisation_is_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match=r"one number per channel and std > 0, got .*; for one channel"):
        Normalized(nn.Identity(), mean, std)


def test_representation_size_leaves_the_modes_alone() -> None:
    encoder = Encoder(1, 28, width=0.05, features=11)
    buffers = {k: v.clone() for k, v in encoder.named_buffers()}
    assert representation_size(encoder, torch.rand(1, 1, 28, 28)) == 11
    assert encoder.training
    assert all(torch.equal(v, buffers[k]) for k, v in encoder.named_buffers())
    assert representation_size(lambda x: x.flatten(1), torch.rand(3, 2, 4, 4)) == 32


# Annotated shapes


@pytest.mark.parametrize(("call", "module", "arguments"), [
    (Normalized.forward, Normalized(nn.Identity(), [0.5], [0.5]), [torch.rand(2, 1, 8, 8)]),
    (Encoder.forward, Encoder(1, 28, width=0.05), [torch.rand(3, 1, 28, 28)]),
    (SmallCNN.forward, SmallCNN(1, 16, 3), [torch.rand(2, 1, 16, 16)]),
    (WideBlock.forward, WideBlock(2, 3), [torch.rand(2, 2, 8, 8)]),
    (WideResNet.forward, WideResNet(1, 3, depth=10, widen=1), [torch.rand(2, 1, 8, 8)]),
    (Classifier.forward, Classifier(nn.Flatten(), linear_head(64, 3)), [torch.rand(2, 1, 8, 8)]),
    (CriticBlock.forward, CriticBlock(4, 6), [torch.rand(5, 4)]),
    (Critic.embed_images, Critic(1, 4, width=8, channels=2), [torch.rand(3, 1, 8, 8)]),
    (Critic.forward, Critic(1, 4, width=8, channels=2), [torch.rand(3, 1, 8, 8), torch.rand(5, 4)]),
], ids=lambda value: getattr(value, "__qualname__", ""))
def test_annotated_shapes_are_the_shapes(call: Any, module: nn.Module, arguments: list[torch.Tensor]) -> None:
    checked = jaxtyped(call, typechecker=beartype)
    checked(module, *arguments)
    with pytest.raises(TypeCheckError):
        checked(module, *(a[0] for a in arguments))


def test_the_wide_network_takes_both_inputs() -> None:
    for channels, size in ((1, 28), (3, 32)):
        with torch.device("meta"):
            model = classifier("wide_resnet34_10", in_channels=channels, image_size=size, num_classes=7)
            assert model(torch.empty(2, channels, size, size)).shape == (2, 7)


# Errors


@pytest.mark.parametrize(("call", "message"), [
    (lambda: classifier("resnet19"), r"name must be one of baseline_h, small_cnn, .*, got 'resnet19'"),
    (lambda: classifier("resnet18", num_classes=1), "num_classes must be a whole number >= 2, got 1"),
    (lambda: classifier("vgg16", image_size=224), "image_size must be at most 32 for vgg16, got 224; resize"),
    (lambda: classifier("vgg16", image_size=0), "got 0"),
    (lambda: Encoder(1, 7), "image_size must be a whole number >= 8, got 7"),
    (lambda: mlp_head(num_classes=1), "num_classes must be a whole number >= 2"),
    (lambda: linear_head(num_classes=0), "num_classes must be a whole number >= 2"),
    (lambda: Critic(width=0), "width must be a whole number >= 1"),
    (lambda: Critic(width=4, scale="cube"), "scale must be one of sqrt, mean, none, got 'cube'"),  # type: ignore[arg-type]
    (lambda: SmallCNN(1, 0), "image_size must be a whole number >= 1, got 0"),
    (lambda: SmallCNN(0), "in_channels must be a whole number >= 1"),
    (lambda: SmallCNN(num_classes=1), "num_classes must be a whole number >= 2"),
    (lambda: SmallCNN(dropout=1.0), r"dropout must lie in \[0, 1\), got 1.0"),
    (lambda: SmallCNN(dropout=float("nan")), "dropout must lie in"),
    (lambda: WideResNet(depth=20), r"depth must be 6 n \+ 4 with n >= 1 blocks in each group, got 20; choose 10, 16, 28"),
    (lambda: WideResNet(depth=4), "got 4"),
    (lambda: WideResNet(widen=0), "widen must be a whole number >= 1"),
    (lambda: split_last_layer(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), r"the last layer must be linear, got 1 \(ReLU\); pass a"),
    (lambda: split_last_layer(nn.Linear(2, 2)), r"got the model \(Linear\)"),
    (lambda: Critic(depth=0), "depth must be a whole number >= 1"),
    (lambda: representation_size(nn.Identity(), torch.rand(2, 1, 4, 4)), r"to \[N, d\], got \[2, 1, 4, 4\]; append nn.Flatten"),
    (lambda: representation_size(lambda x: x.mean(), torch.rand(2, 1, 4, 4)), r"got \[\]"),
    (lambda: representation_size(lambda x: [x], torch.rand(2, 1, 4, 4)), "got list"),
])
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_split_wants_a_module() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn.Module, got function"):
        split_last_layer(lambda x: x)  # type: ignore[arg-type]
