"""The three balls: membership, nearest point, steepest step, uniform draws."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import optimize, stats

from robinfo.threats import L1, L2, Linf, Threat

KINDS = [Linf, L2, L1]
every = pytest.mark.parametrize("kind", KINDS)
radii = st.one_of(st.just(0.0), st.floats(1e-3, 10.0))


@st.composite
def batches(draw: st.DrawFn, bound: float = 10.0) -> torch.Tensor:
    """Double-precision batches [N, ...] of one to four axes."""
    shape = draw(array_shapes(min_dims=2, max_dims=4, max_side=4))
    return torch.from_numpy(draw(arrays(np.float64, shape, elements=st.floats(-bound, bound, width=32))))


def generator(seed: int = 0) -> torch.Generator:
    """A CPU generator in a known state."""
    return torch.Generator().manual_seed(seed)


# Projection


@every
@given(change=batches(), radius=radii)
def test_projection_lies_in_the_ball_and_is_idempotent(kind: Any, change: torch.Tensor, radius: float) -> None:
    threat, centre = kind(radius), torch.linspace(-1, 1, change.numel(), dtype=torch.float64).reshape(change.shape)
    once = threat.project(centre + change, centre)
    assert once.dtype == torch.float64
    assert once.shape == change.shape
    assert (threat.norm(once - centre) <= radius + 1e-9).all()
    torch.testing.assert_close(threat.project(once, centre), once, rtol=0, atol=1e-12)


@every
@given(change=batches(), radius=radii, seed=st.integers(0, 1000))
def test_projection_is_the_nearest_point(kind: Any, change: torch.Tensor, radius: float, seed: int) -> None:
    """<z - Pz, y - Pz> <= 0 for every y of the ball: exactly the points of steepest inner product, and random ones."""
    threat, centre = kind(radius), torch.zeros_like(change)
    residual = change - threat.project(change, centre)
    for y in (threat.step(residual, radius), threat.random(centre, generator(seed)), centre):
        inner = (residual * (y - threat.project(change, centre))).flatten(1).sum(1)
        assert (inner <= 1e-8).all()


@every
@given(change=batches(), radius=radii)
def test_points_of_the_ball_stay(kind: Any, change: torch.Tensor, radius: float) -> None:
    threat, centre = kind(radius), torch.zeros_like(change)
    inside = change * (0.999 * radius / threat.norm(change).max().clamp_min(1e-9)).clamp_max(1.0)
    torch.testing.assert_close(threat.project(inside, centre), inside, rtol=0, atol=1e-12)


@every
@given(change=batches())
def test_radius_zero_leaves_only_the_centre(kind: Any, change: torch.Tensor) -> None:
    threat, centre = kind(0.0), torch.full_like(change, 0.3)
    assert torch.equal(threat.project(centre + change, centre), centre)
    assert torch.equal(threat.random(centre, generator()), centre)


@every
def test_samples_of_a_batch_do_not_depend_on_each_other(kind: Any) -> None:
    threat, x = kind(0.7), torch.randn(6, 2, 3, 3, generator=generator())
    far = x + torch.randn(x.shape, generator=generator(1))
    whole = threat.project(far, x), threat.step(far, 0.1)
    for i in range(len(x)):
        one = threat.project(far[i : i + 1], x[i : i + 1]), threat.step(far[i : i + 1], 0.1)
        for a, b in zip(whole, one, strict=True):
            torch.testing.assert_close(a[i : i + 1], b)


# Step


@every
@given(gradient=batches(), size=st.floats(0.0, 10.0))
def test_step_has_its_length_and_attains_the_dual_norm(kind: Any, gradient: torch.Tensor, size: float) -> None:
    assume(bool((gradient.flatten(1).norm(dim=1) > 1e-6).all()))
    threat, step = kind(1.0), kind(1.0).step(gradient, size)
    torch.testing.assert_close(threat.norm(step), torch.full((len(step),), size, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    gain = (step * gradient).flatten(1).sum(1)
    torch.testing.assert_close(gain, size * torch.from_numpy(threat.dual_norm(gradient.flatten(1))), rtol=1e-9, atol=1e-9)


@every
@given(gradient=batches(), seed=st.integers(0, 1000))
def test_no_perturbation_of_the_ball_gains_more(kind: Any, gradient: torch.Tensor, seed: int) -> None:
    threat, zero = kind(1.0), torch.zeros_like(gradient)
    gain = (threat.random(zero, generator(seed)) * gradient).flatten(1).sum(1)
    assert (gain <= torch.from_numpy(threat.dual_norm(gradient.flatten(1))) + 1e-9).all()


@every
@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-25, 1e-15, 1e30])
def test_scale_of_the_gradient_does_not_matter(kind: Any, scale: float) -> None:
    """A confident model has gradients whose squares are zero in single precision; the attack must go on."""
    threat, gradient = kind(1.0), torch.tensor([[3.0, -4.0, 1.0]])
    step = threat.step(gradient * scale, 0.5)
    torch.testing.assert_close(step, threat.step(gradient, 0.5), rtol=1e-3, atol=1e-6)
    assert float(threat.norm(step)) == pytest.approx(0.5, rel=1e-3)


@every
def test_zero_gradient_gives_zero_step(kind: Any) -> None:
    for dtype in (torch.float32, torch.float64):
        for size in (0.0, 0.5, 100.0):
            assert torch.equal(kind(1.0).step(torch.zeros(2, 3, dtype=dtype), size), torch.zeros(2, 3, dtype=dtype))


@every
def test_dual_norm_is_conjugate(kind: Any) -> None:
    threat = kind(1.0)
    inverse = (0 if math.isinf(o) else 1 / o for o in (threat.order, threat.dual_order))
    assert sum(inverse) == 1
    assert threat.dual_norm([[3.0, -4.0]]) == pytest.approx({Linf: 7, L2: 5, L1: 4}[kind])


# Random points


@every
@given(radius=radii, seed=st.integers(0, 1000), shape=array_shapes(min_dims=2, max_dims=4, max_side=5))
def test_random_points_lie_in_the_ball(kind: Any, radius: float, seed: int, shape: tuple[int, ...]) -> None:
    threat, centre = kind(radius), torch.full(shape, 0.25, dtype=torch.float64)
    drawn = threat.random(centre, generator(seed))
    assert drawn.dtype == torch.float64
    assert (threat.norm(drawn - centre) <= radius + 1e-12).all()
    assert torch.equal(drawn, threat.random(centre, generator(seed)))


@every
def test_generator_leaves_the_global_state_alone(kind: Any) -> None:
    state = torch.get_rng_state()
    first, second = (kind(0.5).random(torch.zeros(3, 2, 2), generator(s)) for s in (1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)


@every
def test_random_points_are_uniform(kind: Any) -> None:
    """The share within radius r of a uniform draw is (r / R)^d, and coordinates have zero mean; false alarm 1e-4 each."""
    threat, n, d = kind(2.0), 4000, 3
    drawn = threat.random(torch.zeros(n, d, dtype=torch.float64), generator(7))
    assert stats.kstest((threat.norm(drawn) / 2.0).numpy() ** d, "uniform").pvalue > 1e-4
    for axis in range(d):
        assert stats.ttest_1samp(drawn[:, axis].numpy(), 0).pvalue > 1e-4
        assert stats.kstest(drawn[:, axis].numpy(), drawn[:, (axis + 1) % d].numpy()).pvalue > 1e-4


# Ball and box together


@st.composite
def images_and_directions(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of the box, many on its border, and directions with ties and zeros; one to six pixels."""
    n, d = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    pixel = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0, width=16))
    slope = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), st.floats(-3.0, 3.0, width=16))
    x, v = draw(arrays(np.float64, (n, d), elements=pixel)), draw(arrays(np.float64, (n, d), elements=slope))
    return torch.from_numpy(x), torch.from_numpy(v)


@every
@given(pair=images_and_directions(), radius=radii)
def test_projection_in_the_box_lies_in_both(kind: Any, pair: Any, radius: float) -> None:
    x, v = pair
    found = kind(radius).project_in_box(x + v, x)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (kind(radius).norm(found - x) <= radius * (1 + 1e-12) + 1e-15).all()
    inside = x + (kind(1e-3).random(x, generator()) - x)
    assert (kind(radius).norm(kind(radius).project_in_box(inside, x) - x) <= radius * (1 + 1e-12) + 1e-15).all()


@pytest.mark.parametrize("kind", [Linf, L1])
@given(pair=images_and_directions(), radius=radii)
def test_projection_in_the_box_is_the_nearest_point(kind: Any, pair: Any, radius: float) -> None:
    """<z - Pz, y - Pz> <= 0 for the y of ball and box with the largest inner product, which `step_in_box` gives for L1."""
    x, v = pair
    near = kind(radius).project_in_box(x + v, x)
    residual = x + v - near
    far = x + kind(radius).step_in_box(x, residual, radius)
    for y in (far.clamp(0, 1), kind(radius).random(x, generator()).clamp(0, 1), x):
        assert ((residual * (y - near)).flatten(1).sum(1) <= 1e-9).all()


@pytest.mark.parametrize("seed", range(12))
def test_l1_projection_in_the_box_solves_the_quadratic_programme(seed: int) -> None:
    """Against SLSQP on u = a - b with a, b >= 0, in three dimensions, from points on the border too."""
    rng = np.random.default_rng(seed)
    x, v, radius = np.clip(rng.uniform(-0.3, 1.3, 3), 0, 1), rng.normal(size=3), rng.uniform(0.05, 1.5)
    done = optimize.minimize(lambda ab: ((ab[:3] - ab[3:] - v) ** 2).sum(), np.zeros(6), method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
                             bounds=[(0, room) for room in (*(1 - x), *x)],
                             constraints={"type": "ineq", "fun": lambda ab: radius - ab.sum()})
    found = L1(radius).project_in_box(torch.from_numpy(x + v)[None], torch.from_numpy(x)[None])[0].numpy() - x
    np.testing.assert_allclose(found, done.x[:3] - done.x[3:], atol=2e-6)


@given(pair=images_and_directions(), size=st.floats(0.0, 4.0))
def test_l1_step_in_the_box_solves_the_linear_programme(pair: Any, size: float) -> None:
    x, slope = pair
    step = L1(1.0).step_in_box(x, slope, size)
    assert (L1(1.0).norm(step) <= size + 1e-12).all()
    assert ((x + step >= -1e-12) & (x + step <= 1 + 1e-12)).all()
    g, room = slope[0].numpy(), np.concatenate([1 - x[0].numpy(), x[0].numpy()])
    best = optimize.linprog(-np.concatenate([g, -g]), A_ub=np.ones((1, 2 * len(g))), b_ub=[size], bounds=list(zip(0 * room, room, strict=True)))
    assert float((slope[0] * step[0]).sum()) == pytest.approx(-best.fun, abs=3e-6)  # the tolerance of the solver is 1e-7 for each row


def test_l1_clipping_after_the_ball_is_not_the_nearest_point() -> None:
    """Drop the box from the projection and a nearer image of the ball exists: the reason for the method."""
    x, v = torch.tensor([[0.9, 0.5, 0.2]]), torch.tensor([[0.6, 0.5, -0.4]])
    clipped, exact = L1(0.6).project(x + v, x).clamp(0, 1), L1(0.6).project_in_box(x + v, x)
    assert float((exact - x - v).norm()) < float((clipped - x - v).norm()) - 0.01
    assert float((exact - x).abs().sum()) == pytest.approx(0.6, abs=1e-6)
    step = L1(1.0).step_in_box(torch.tensor([[1.0, 0.5]]), torch.tensor([[5.0, 1.0]]), 0.25)
    torch.testing.assert_close(step, torch.tensor([[0.0, 0.25]]))  # the steepest pixel is at its border
    assert torch.equal(L1(0).project_in_box(x + v, x), x)


# Names and errors


@pytest.mark.parametrize(("threat", "text"), [
    (Linf(8 / 255), "Linf(8/255)"), (Linf(1 / 255), "Linf(1/255)"), (Linf(0.3), "Linf(0.3)"), (L2(0.5), "L2(0.5)"),
    (L1(12), "L1(12)"), (Linf(0), "Linf(0)"), (L2(128 / 255), "L2(128/255)")])
def test_names(threat: Threat, text: str) -> None:
    assert str(threat) == text


@every
@pytest.mark.parametrize("radius", [-0.1, -1e-30, math.nan, math.inf, -math.inf])
def test_bad_radius_is_refused(kind: Any, radius: float) -> None:
    with pytest.raises(ValueError, match=r"radius must be a finite number >= 0, got .*; pass the size"):
        kind(radius)


@every
def test_radius_that_is_no_number_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="radius must be a number, got str 'big'"):
        kind("big")


def test_threats_are_values() -> None:
    assert Linf(0.1) == Linf(0.1) != L2(0.1)
    assert len({Linf(0.1), Linf(0.1), L1(0.1)}) == 2
    with pytest.raises(AttributeError):
        Linf(0.1).radius = 0.2  # type: ignore[misc]
    with pytest.raises(TypeError, match="Threat is abstract"):
        Threat(0.1)


@pytest.mark.parametrize(("threat", "text"), [
    (Linf(1e-9), "Linf(1e-09)"), (Linf(0.2), "Linf(0.2)"), (Linf(64 / 255), "Linf(64/255)"), (Linf(1), "Linf(1)")])
def test_a_name_never_says_zero_for_a_radius_that_is_not(threat: Threat, text: str) -> None:
    assert str(threat) == text
