"""Dependence measures: values and gradients against closed forms, edge cases, errors."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
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


def test_hsic_is_the_trace_in_numpy_and_symmetric() -> None:
    x, z = normal(25, 3, dtype=torch.float64), normal(25, 2, seed=1, dtype=torch.float64)
    kernels = []
    for points in (x.numpy(), z.numpy()):
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        width = np.sort(distances, 1)[:, 1:6].mean()
        kernels.append(np.exp(-(distances**2) / (2 * width**2)))
    centre = np.eye(25) - 1 / 25
    assert float(HSIC(k=5)(x, z)) == pytest.approx(np.trace(kernels[0] @ centre @ kernels[1] @ centre) / 625, rel=1e-10)
    assert float(HSIC(k=5)(x, z)) == pytest.approx(float(HSIC(k=5)(z, x)), rel=1e-10)


def test_hsic_of_a_constant_is_zero_and_of_independent_samples_of_order_one_over_n() -> None:
    x = normal(50, 2)
    assert abs(float(HSIC()(x, torch.zeros(50, 3)))) < 1e-7
    means = []
    for n in (50, 200, 800):
        means.append(sum(float(HSIC(bandwidth=1.0)(normal(n, 1, seed=s), normal(n, 1, seed=100 + s))) for s in range(10)) / 10)
        assert 0 < means[-1] < 1 / n
    assert 2 < means[0] / means[1] < 8 and 2 < means[1] / means[2] < 8  # 4 is expected


@pytest.mark.parametrize("agreement", [0.0, 0.05, 0.15, 0.25])
@pytest.mark.parametrize("bandwidth", [0.2, 0.5, 2.0])
def test_hsic_of_two_bits_in_closed_form_below_the_squared_variation(agreement: float, bandwidth: float) -> None:
    same, other = round(40 * (0.25 + agreement)), round(40 * (0.25 - agreement))
    counts = torch.tensor([same, other, other, same])
    x, z = (torch.tensor(v, dtype=torch.float64).repeat_interleave(counts)[:, None] for v in ([0, 0, 1, 1], [0, 1, 0, 1]))
    value = float(HSIC(bandwidth=bandwidth)(x, z))
    assert value == pytest.approx(4 * agreement**2 * (1 - math.exp(-1 / (2 * bandwidth**2))) ** 2, abs=1e-9)
    assert value <= (2 * agreement) ** 2 + 1e-9


@pytest.mark.parametrize(("dim", "limit"), [(1, 0.25), (2, 0.35), (4, 0.5)])
def test_score_of_a_standard_normal_in_several_dimensions(dim: int, limit: float) -> None:
    x = normal(600, dim)
    assert float((spectral_stein_gradient(x) + x).norm() / x.norm()) < limit


def test_score_turns_and_moves_with_the_samples() -> None:
    x, angle = normal(120, 2, dtype=torch.float64), 0.7
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    score, order = spectral_stein_gradient(x), torch.randperm(120, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectral_stein_gradient(x @ turn.T + 3), score @ turn.T, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(spectral_stein_gradient(x[order]), score[order], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_mige_has_the_gradient_of_a_noisy_channel(slope: float) -> None:
    """I = log(1 + a^2) / 2 for z = a x + e, so dI/da = a / (1 + a^2); mean of seeds 0 to 4, all deterministic."""
    found = []
    for seed in range(5):
        a = torch.tensor(slope, requires_grad=True)
        x, noise = normal(2, 400, 1, seed=seed)
        MIGE()(x, a * x + noise).backward()
        found.append(float(a.grad))
    assert sum(found) / 5 == pytest.approx(slope / (1 + slope**2), rel=0.2, abs=0.03)


def test_mige_does_not_see_shifts_nor_the_units_of_both() -> None:
    """The information is invariant under x -> c x + b: gradients shrink by c, and along shift and common scale they nearly vanish."""
    x, noise = normal(2, 300, 1, dtype=torch.float64)
    x.requires_grad_()
    z = (x + noise).detach()
    gradient = torch.autograd.grad(MIGE()(x, z), x)[0]
    scaled = torch.autograd.grad(MIGE()(3 * x + 5, 3 * z), x)[0]
    torch.testing.assert_close(scaled, gradient, rtol=1e-6, atol=1e-9)
    assert abs(float(gradient.sum())) < 0.1
    c = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    MIGE()(c * x.detach(), c * z).backward()
    assert abs(float(c.grad)) < 0.25


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: MINE(hidden=512), TypeError, r"tuple of widths, got 512; for one layer write \(512,\)"),  # type: ignore[arg-type]
    (lambda: MINE(hidden="512"), TypeError, "tuple of widths"),  # type: ignore[arg-type]
    (lambda: MINE(hidden=(8.5,)), TypeError, "hidden"),  # type: ignore[arg-type]
    (lambda: PairCritic(0, 2), ValueError, "dim_x"),
    (lambda: PairCritic(2, 2, (0,)), ValueError, "hidden"),
    (lambda: PairCritic(2, 2, 8), TypeError, "tuple of widths"),  # type: ignore[arg-type]
    (lambda: spectral_stein_gradient(normal(5)), ValueError, "samples must have the shape"),
    (lambda: spectral_stein_gradient(normal(5, 2), normal(5, 3)), ValueError, "queries must have the shape"),
    (lambda: spectral_stein_gradient(normal(1, 2)), ValueError, "at least 2 rows"),
    (lambda: spectral_stein_gradient(normal(5, 2).bfloat16()), TypeError, "float32 or float64"),
    (lambda: spectral_stein_gradient(normal(5, 2), share=0.0), ValueError, "share"),
    (lambda: spectral_stein_gradient(normal(5, 2), share=1.2), ValueError, r"share must lie in \(0, 1\]"),
    (lambda: spectral_stein_gradient(normal(5, 2), bandwidth=0.0), ValueError, "bandwidth"),
    (lambda: spectral_stein_gradient(torch.full((5, 2), math.nan)), ValueError, "samples must be finite"),
    (lambda: MIGE()(torch.full((5, 2), math.inf), normal(5, 2)), ValueError, "must be finite"),
])
def test_bad_widths_and_samples(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
