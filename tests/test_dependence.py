"""Dependence measures: values and gradients against closed forms, edge cases, errors."""
from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robinfo.dependence import HSIC, MIGE, MINE, Dependence, PairCritic, spectral_stein_gradient
from robinfo.estimators import knn_bandwidth


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gram(points: Tensor, bandwidth: float) -> Tensor:
    """Gaussian kernel by explicit differences."""
    return torch.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / (2 * bandwidth**2))


def trace_formula(x: Tensor, z: Tensor, width_x: float, width_z: float) -> Tensor:
    """tr(K H L H) / n^2 by explicit matrices."""
    n = len(x)
    centre = torch.eye(n, dtype=x.dtype) - 1 / n
    return torch.trace(gram(x, width_x) @ centre @ gram(z, width_z) @ centre) / n**2


@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_hsic_and_its_gradient_are_those_of_the_trace(bandwidth: float | None) -> None:
    x, z = normal(30, 3, dtype=torch.float64).requires_grad_(), normal(30, 2, seed=1, dtype=torch.float64).requires_grad_()
    widths = [knn_bandwidth(v.detach(), 4) if bandwidth is None else bandwidth for v in (x, z)]
    value, expected = HSIC(k=4, bandwidth=bandwidth)(x, z), trace_formula(x, z, *widths)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(torch.autograd.grad(value, (x, z)), torch.autograd.grad(expected, (x, z)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_hsic_of_coinciding_latents_is_zero_with_finite_gradient() -> None:
    x = torch.ones(16, 3, requires_grad=True)
    value = HSIC()(x, 2 * x)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-7)
    assert bool(torch.isfinite(x.grad).all())


def test_measures_compute_in_single_precision_under_autocast() -> None:
    x, z = normal(32, 4), normal(32, 4, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = HSIC()(x, z), MIGE()(x, z)
    torch.testing.assert_close(inside, (HSIC()(x, z), MIGE()(x, z)), rtol=0, atol=0)
    assert HSIC()(x.bfloat16(), z.bfloat16()).dtype == torch.float32


def test_mine_is_the_bound_of_a_cyclic_shift() -> None:
    x, z, measure = normal(6, 2), normal(6, 3, seed=1), MINE(hidden=(8,))
    torch.manual_seed(0)
    critic = measure.auxiliary(2, 3)
    bounds = []
    for shift in range(1, 6):
        partners = [float(critic(x[i:i + 1], z[(i - shift) % 6][None]).detach()) for i in range(6)]
        bounds.append(float(critic(x, z).mean().detach()) - math.log(sum(map(math.exp, partners)) / 6))
    values = {round(float(measure(x, z, critic).detach()), 5) for _ in range(60)}
    assert values <= {round(b, 5) for b in bounds} | {round(b + d, 5) for b in bounds for d in (-1e-5, 1e-5)}
    assert len(values) > 1


def test_the_critic_of_the_paper() -> None:
    shapes = [tuple(p.shape) for p in MINE().auxiliary(256, 256).parameters() if p.ndim == 2]
    assert shapes == [(512, 512), (512, 512), (1, 512)]
    assert str(MINE(hidden=[4, 5])) == "MINE(hidden=(4, 5))"


def test_ascent_on_mine_finds_the_information_of_a_gaussian_pair() -> None:
    torch.manual_seed(0)
    measure, rho = MINE(hidden=(32,)), 0.9
    critic = measure.auxiliary(1, 1)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
    for step in range(300):
        x, noise = normal(2, 512, 1, seed=step)
        optimizer.zero_grad()
        (-measure(x, rho * x + math.sqrt(1 - rho**2) * noise, critic)).backward()
        optimizer.step()
    x, noise = normal(2, 20_000, 1, seed=10_000)
    estimate = measure.estimate(x, rho * x + math.sqrt(1 - rho**2) * noise, critic)
    exact = -math.log(1 - rho**2) / 2
    assert 0.7 * exact < float(estimate) < 1.05 * exact
    assert not estimate.requires_grad


@pytest.mark.parametrize("covariance", [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.8], [0.8, 1.0]], [[1.0, -0.5], [-0.5, 2.0]]])
@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_score_of_gaussians(covariance: Any, mean: float) -> None:
    sigma = torch.tensor(covariance)
    x = normal(600, 2) @ torch.linalg.cholesky(sigma).T + mean
    exact = -(x - mean) @ torch.linalg.inv(sigma)
    estimated = spectral_stein_gradient(x)
    assert float((estimated - exact).norm() / exact.norm()) < 0.4  # measured: at most 0.355
    assert float((estimated * exact).sum() / exact.square().sum()) > 0.8
    torch.testing.assert_close(spectral_stein_gradient(x, x), estimated, rtol=0.02, atol=0.02)


def test_score_scales_inversely_with_the_samples() -> None:
    x = normal(200, 1, dtype=torch.float64)
    torch.testing.assert_close(spectral_stein_gradient(5 * x), spectral_stein_gradient(x) / 5)


def test_score_of_degenerate_samples_is_finite() -> None:
    some = torch.cat([torch.zeros(30, 2), normal(3, 2)])
    for samples, share in ((torch.ones(20, 3), 0.99), (some, 0.99), (normal(50, 2), 1.0)):
        assert bool(torch.isfinite(spectral_stein_gradient(samples, share=share)).all())
    torch.testing.assert_close(spectral_stein_gradient(torch.ones(20, 3)), torch.zeros(20, 3))


@pytest.mark.parametrize("rho", [0.5, 0.8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_mige_has_the_gradient_of_the_information_of_a_gaussian_pair(rho: float, sign: int) -> None:
    """I = -log(1 - r^2) / 2, so dI/dr = r / (1 - r^2), with z = r x + sqrt(1 - r^2) e; seeds 0 to 4, all deterministic."""
    slopes = []
    for seed in range(5):
        r = torch.tensor(sign * rho, requires_grad=True)
        x, noise = normal(2, 500, 1, seed=seed)
        MIGE()(x, r * x + (1 - r**2).sqrt() * noise).backward()
        slopes.append(float(r.grad))
    assert sum(slopes) / 5 == pytest.approx(sign * rho / (1 - rho**2), rel=0.3)


def test_what_may_be_reported() -> None:
    x = normal(20, 2)
    assert MIGE().estimate(x, x) is None
    assert float(HSIC().estimate(x, x)) == float(HSIC()(x, x))
    assert HSIC().auxiliary(2, 2) is None and MIGE().auxiliary(2, 2) is None


def test_settings_are_shown() -> None:
    assert str(HSIC()) == "HSIC(k=10, bandwidth=None)"
    assert str(MINE()) == "MINE(hidden=(512, 512))"
    assert str(MIGE()) == "MIGE(bandwidth=None, share=0.99)"


@pytest.mark.parametrize(("call", "message"), [
    (lambda: HSIC()(normal(10, 2), normal(10, 2)), "batch of at least 11, got 10"),
    (lambda: MIGE()(normal(1, 2), normal(1, 2)), "batch of at least 2"),
    (lambda: MINE()(normal(1, 2), normal(1, 2), PairCritic(2, 2)), "batch of at least 2"),
    (lambda: MINE()(normal(4, 2), normal(4, 2)), "needs its critic"),
    (lambda: MIGE()(normal(4, 2), normal(5, 2)), "shapes"),
    (lambda: MIGE()(normal(4, 2, 2), normal(4, 2)), "shapes"),
    (lambda: HSIC(k=0), "k must"),
    (lambda: HSIC(bandwidth=0.0), "bandwidth must"),
    (lambda: HSIC(bandwidth=math.nan), "bandwidth must"),
    (lambda: MIGE(share=1.5), "share must"),
    (lambda: MIGE(share=0.0), "share must"),
    (lambda: MIGE(bandwidth=-1.0), "bandwidth must"),
    (lambda: MINE(hidden=(0,)), "hidden must"),
    (lambda: HSIC()(torch.full((12, 2), math.nan), normal(12, 2)), "finite"),
])
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_measure_must_define_itself() -> None:
    with pytest.raises(NotImplementedError, match="_measure"):
        Dependence()(normal(3, 1), normal(3, 1))
