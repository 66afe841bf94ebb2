"""Input checks: what passes unchanged, what is refused, and that the message says what came and how to cure it."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robinfo.checks import (
    check_callable,
    check_count,
    check_evaluation_mode,
    check_images,
    check_labels,
    check_logits,
    check_prediction,
    check_real,
    check_seed,
    evaluating,
    mode_dependent_layers,
)

GOOD = torch.full((2, 1, 3, 3), 0.5)


def spoilt(value: float) -> torch.Tensor:
    """Good images with one bad pixel."""
    images = GOOD.clone()
    images[1, 0, 2, 1] = value
    return images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_good_images_pass_unchanged(dtype: torch.dtype) -> None:
    images = torch.tensor([0.0, 1.0]).to(dtype).reshape(2, 1, 1, 1)
    assert check_images(images) is images


@pytest.mark.parametrize(("images", "error", "message"), [
    (np.zeros((1, 1, 2, 2)), TypeError, r"images must be a torch tensor, got ndarray; use torch.from_numpy"),
    (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), TypeError, r"floating point in \[0, 1\], got torch.uint8; .*/ 255"),
    (torch.zeros(1, 1, 2, 2, dtype=torch.int64), TypeError, r"got torch.int64"),
    (torch.zeros(2, 4), ValueError, r"shape \[N, C, H, W\] with N >= 1, got \[2, 4\]; add the missing axes"),
    (torch.zeros(0, 1, 2, 2), ValueError, r"got \[0, 1, 2, 2\]"),
    (spoilt(math.nan), ValueError, r"finite, got NaN or infinity"),
    (spoilt(math.inf), ValueError, r"finite, got NaN or infinity"),
    (spoilt(-math.inf), ValueError, r"finite, got NaN or infinity"),
    (spoilt(2.64), ValueError, r"lie in \[0, 1\], got min 0.5 and max 2.64; .*Normalized"),
    (spoilt(-1e-3), ValueError, r"got min -0.001 and max 0.5"),
], ids=["array", "uint8", "int64", "axes", "empty", "nan", "inf", "-inf", "above", "below"])
def test_bad_images_are_refused(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_images(images)
    with pytest.raises(error, match="test_images must"):
        check_images(images, "test_images")


@given(value=st.floats(allow_nan=True, allow_infinity=True, width=32))
def test_one_pixel_decides(value: float) -> None:
    if 0 <= value <= 1:
        check_images(spoilt(value))
    else:
        with pytest.raises(ValueError, match="images must"):
            check_images(spoilt(value))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64])
def test_good_labels_become_int64(dtype: torch.dtype) -> None:
    labels = check_labels(torch.tensor([0, 9], dtype=dtype), 2, 10)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 9]


@pytest.mark.parametrize(("labels", "error", "message"), [
    ([0, 1], TypeError, r"integer tensor of class numbers, got list"),
    (torch.tensor([0.0, 1.0]), TypeError, r"got torch.float32; convert them: labels.long\(\)"),
    (torch.tensor([True, False]), TypeError, r"got torch.bool"),
    (torch.tensor([0, 1, 2]), ValueError, r"shape \[2\], one for each image, got \[3\]"),
    (torch.tensor([[0, 1], [1, 0]]), ValueError, r"got \[2, 2\]; turn one-hot labels .*argmax"),
    (torch.tensor([0, -1]), ValueError, r"lie in 0..9, got -1..0"),
    (torch.tensor([0, 10]), ValueError, r"lie in 0..9, got 0..10; number the classes from 0"),
], ids=["list", "float", "bool", "length", "one-hot", "negative", "large"])
def test_bad_labels_are_refused(labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_labels(labels, 2, 10)


@given(value=st.floats(allow_nan=True, allow_infinity=True), minimum=st.floats(-5, 5), strict=st.booleans())
def test_check_real_accepts_exactly_the_range(value: float, minimum: float, strict: bool) -> None:
    if math.isfinite(value) and (value > minimum or (value == minimum and not strict)):
        assert check_real(value, "x", minimum=minimum, strict=strict) == value
    else:
        with pytest.raises(ValueError, match="x must be a finite number"):
            check_real(value, "x", minimum=minimum, strict=strict)


@pytest.mark.parametrize("value", ["big", None, [1.0, 2.0], 1j])
def test_check_real_refuses_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="radius must be a number, got"):
        check_real(value, "radius")


@given(value=st.integers(-5, 5), minimum=st.integers(-5, 5))
def test_check_count_accepts_exactly_the_range(value: int, minimum: int) -> None:
    if value >= minimum:
        assert check_count(np.int64(value), "steps", minimum=minimum) == value
    else:
        with pytest.raises(ValueError, match=f"steps must be a whole number >= {minimum}, got {value}"):
            check_count(value, "steps", minimum=minimum)


@pytest.mark.parametrize("value", [True, 2.0, "3", None])
def test_check_count_refuses_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(TypeError, match="steps must be a whole number, got"):
        check_count(value, "steps")


# Modes


def mixed() -> nn.Module:
    """A model with every kind of layer and a mixture of modes."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.InstanceNorm2d(2)), nn.ReLU())
    model[2][0].eval()
    model[3].eval()
    return model


def test_mode_dependent_layers_are_named() -> None:
    assert mode_dependent_layers(mixed()) == ["1 (BatchNorm2d)", "2.1 (InstanceNorm2d)"]
    assert mode_dependent_layers(nn.BatchNorm1d(2)) == ["model (BatchNorm1d)"]
    assert mode_dependent_layers(nn.Sequential(nn.Linear(1, 1), nn.LayerNorm(1))) == []


def test_evaluation_mode_is_demanded_only_where_it_matters() -> None:
    check_evaluation_mode(nn.Linear(1, 1))  # in training mode, but nothing depends on it
    check_evaluation_mode(lambda x: x)
    with pytest.raises(ValueError, match=r"got training mode in 1 \(BatchNorm2d\) and 1 more; call model.eval\(\)"):
        check_evaluation_mode(mixed())
    check_evaluation_mode(mixed().eval())


@pytest.mark.parametrize("fails", [False, True])
def test_evaluating_gives_every_mode_back(fails: bool) -> None:
    model = mixed()
    before = [m.training for m in model.modules()]
    try:
        with evaluating(model, None, len):
            assert not any(m.training for m in model.modules())
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert [m.training for m in model.modules()] == before


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: check_seed(-1), ValueError, "seed must be a whole number >= 0, got -1"),
    (lambda: check_seed(2**63), ValueError, r"seed must be below 2\^63"),
    (lambda: check_seed(None), TypeError, "seed must be a whole number, got NoneType"),
    (lambda: check_real("0.1", "radius"), TypeError, "radius must be a number, got str '0.1'"),
    (lambda: check_callable(3, "attack"), TypeError, "attack must be callable, got int 3"),
    (lambda: check_evaluation_mode("resnet"), TypeError, "model must be callable, got str 'resnet'"),
    (lambda: check_logits(torch.zeros(2, 3, dtype=torch.long)), TypeError, "logits must be a floating-point tensor, got torch.int64"),
    (lambda: check_logits(torch.zeros(0, 3), "scores"), ValueError, "scores must have shape .N, K. with N >= 1 and K >= 2, got .0, 3."),
    (lambda: check_prediction(torch.zeros(2, 3), torch.tensor([0, 1, 2])), ValueError, "labels must have shape .2."),
    (lambda: check_prediction(torch.zeros(2, 3), torch.tensor([0, -1])), ValueError, "labels must lie in 0..2, got -1..0"),
    (lambda: check_labels(torch.zeros(0, dtype=torch.long)), ValueError, "labels must have shape .N."),
])
def test_shared_checks_refuse(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_labels_are_not_read_where_that_would_wait_for_the_device() -> None:
    assert check_labels(torch.tensor([7, -7]), 2, 3, values=False).tolist() == [7, -7]
    assert check_seed(None, optional=True) is None and check_prediction(torch.zeros(1, 2), torch.tensor([1], dtype=torch.uint8)).dtype == torch.int64
