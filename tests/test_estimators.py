"""Estimators against double loops, their orderings and ceilings, golden values, precision, gradients."""
from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from conftest import golden_cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError, jaxtyped
from torch import Tensor

from robinfo.estimators import donsker_varadhan, hsic, info_nce, jensen_shannon, knn_bandwidth, mmd_squared, nwj

BOTH = pytest.mark.parametrize("negatives", ["others", "all"])


def naive(name: str, scores: list[list[float]], negatives: str) -> float:
    """The estimate of one N x N table, pair by pair."""
    n = len(scores)
    pairs = [(i, j) for i, j in itertools.product(range(n), repeat=2) if negatives == "all" or i != j]
    joint = [scores[i][i] for i in range(n)]
    if name == "dv":
        return sum(joint) / n - math.log(sum(math.exp(scores[i][j]) for i, j in pairs) / len(pairs))
    if name == "nwj":
        return sum(joint) / n - sum(math.exp(scores[i][j] - 1) for i, j in pairs) / len(pairs)
    if name == "js":
        first = sum(math.log(1 / (1 + math.exp(-t))) for t in joint) / n
        return first + sum(math.log(1 / (1 + math.exp(scores[i][j]))) for i, j in pairs) / len(pairs) + 2 * math.log(2)
    return sum(scores[i][i] - math.log(sum(map(math.exp, scores[i])) / n) for i in range(n)) / n


ESTIMATORS: dict[str, Any] = {"dv": donsker_varadhan, "nwj": nwj, "js": jensen_shannon,
                              "nce": lambda scores, negatives: info_nce(scores)}
every = pytest.mark.parametrize("name", list(ESTIMATORS))


def tables(bound: float, locations: bool = False) -> st.SearchStrategy[Tensor]:
    """Double-precision scores [N, N] or [N, N, L]."""
    def shape(n: int, extra: int) -> tuple[int, ...]:
        return (n, n, extra) if locations else (n, n)

    return st.tuples(st.integers(2, 6), st.integers(1, 3)).flatmap(lambda s: arrays(
        np.float64, shape(*s), elements=st.floats(-bound, bound, width=32))).map(torch.from_numpy)


@every
@BOTH
@given(scores=tables(8.0))
def test_equals_the_double_loop(name: str, negatives: str, scores: Tensor) -> None:
    expected = naive(name, scores.tolist(), negatives)
    assert float(ESTIMATORS[name](scores, negatives=negatives)) == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert float(ESTIMATORS[name](scores.float(), negatives=negatives)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@every
@BOTH
@given(scores=tables(8.0, locations=True))
def test_locations_are_averaged(name: str, negatives: str, scores: Tensor) -> None:
    expected = np.mean([naive(name, scores[..., i].tolist(), negatives) for i in range(scores.shape[2])])
    assert float(ESTIMATORS[name](scores, negatives=negatives)) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@BOTH
@given(scores=tables(50.0), shift=st.floats(-1000, 1000))
def test_donsker_varadhan_does_not_see_a_constant(negatives: Any, scores: Tensor, shift: float) -> None:
    moved = donsker_varadhan(scores + shift, negatives=negatives)
    assert float(moved) == pytest.approx(float(donsker_varadhan(scores, negatives=negatives)), abs=1e-9)


@BOTH
@given(scores=tables(1e4))
def test_nwj_is_below_donsker_varadhan(negatives: Any, scores: Tensor) -> None:
    assert float(nwj(scores, negatives=negatives)) <= float(donsker_varadhan(scores, negatives=negatives)) + 1e-9


@given(scores=tables(5.0))
def test_best_constant_makes_nwj_donsker_varadhan(scores: Tensor) -> None:
    """NWJ with T shifted by 1 - log E e^T is DV with T: equality is attained."""
    shift = 1 - (scores.logsumexp((0, 1)) - 2 * math.log(len(scores)))
    assert float(nwj(scores + shift, negatives="all")) == pytest.approx(float(donsker_varadhan(scores, negatives="all")), abs=1e-9)


@given(scores=st.one_of(tables(1e5), tables(1e5, locations=True)))
def test_log_n_is_the_ceiling_in_a_batch(scores: Tensor) -> None:
    ceiling = math.log(len(scores)) + 1e-9
    assert float(donsker_varadhan(scores, negatives="all")) <= ceiling
    assert float(info_nce(scores)) <= ceiling
    assert float(nwj(scores, negatives="all")) <= ceiling
    single = scores.float()
    slack = 1e-6 * float(single.abs().max()) + 1e-5
    assert float(donsker_varadhan(single, negatives="all")) <= ceiling + slack
    assert float(info_nce(single)) <= ceiling + slack


@BOTH
@given(scores=tables(1e5))
def test_jensen_shannon_is_at_most_two_log_two(negatives: Any, scores: Tensor) -> None:
    assert float(jensen_shannon(scores, negatives=negatives)) <= 2 * math.log(2) + 1e-9


def test_ceilings_are_attained() -> None:
    perfect = 1e3 * (2 * torch.eye(16, dtype=torch.float64) - 1)
    assert float(donsker_varadhan(perfect, negatives="all")) == pytest.approx(math.log(16))
    assert float(info_nce(perfect)) == pytest.approx(math.log(16))
    assert float(jensen_shannon(perfect)) == pytest.approx(2 * math.log(2))


def test_only_negatives_without_the_diagonal_exceed_log_n() -> None:
    assert float(donsker_varadhan(100 * torch.eye(8))) == pytest.approx(100)


@BOTH
@every
def test_exponentials_do_not_overflow(name: str, negatives: str) -> None:
    scores = torch.full((4, 4), 300.0, dtype=torch.float32) + 300 * torch.eye(4)
    value = ESTIMATORS[name](scores, negatives=negatives)
    assert torch.isfinite(value) or (name == "nwj" and value == -torch.inf)


@pytest.mark.parametrize("case", golden_cases("mi_variational"))
def test_golden_tables_are_exact_batches(case: dict[str, Any]) -> None:
    """A batch in which each pair (x, z) occurs 100 J(x, z) times has exactly the table's joint law and product of marginals."""
    joint, critic = np.array(case["inputs"]["J"]), np.array(case["inputs"]["T"])
    x, z = np.repeat(np.indices(joint.shape).reshape(2, -1), np.rint(100 * joint).astype(int).ravel(), axis=1)
    assert len(x) == 100
    scores = torch.from_numpy(critic[np.ix_(x, z)])
    for name, estimate in (("DV", donsker_varadhan), ("NWJ", nwj)):
        expected = case["outputs"][name]["value"]
        assert float(estimate(scores, negatives="all")) == pytest.approx(expected, abs=case["tolerance"])
    assert float(info_nce(scores)) == pytest.approx(case["outputs"]["EB"]["value"], abs=case["tolerance"])  # E_J T - E_x log E_z e^T
    assert float(donsker_varadhan(scores, negatives="all")) <= case["outputs"]["MI"]["value"]


# Precision and gradients


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every
@BOTH
def test_half_precision_input_is_computed_in_single(name: str, negatives: str, dtype: torch.dtype) -> None:
    """Sums over 256^2 pairs in half precision would be off by tens of per cent or overflow."""
    scores = (3 * torch.randn(256, 256, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = ESTIMATORS[name](scores, negatives=negatives)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(ESTIMATORS[name](scores.double(), negatives=negatives)), rel=1e-4, abs=1e-4)


@every
@BOTH
def test_double_stays_double(name: str, negatives: str) -> None:
    assert ESTIMATORS[name](torch.zeros(3, 3, dtype=torch.float64), negatives=negatives).dtype == torch.float64


@every
@BOTH
@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 2)])
def test_gradients(name: str, negatives: str, shape: tuple[int, ...]) -> None:
    scores = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: ESTIMATORS[name](s, negatives=negatives), scores)


@every
@BOTH
def test_gradients_of_masked_and_large_scores_are_finite(name: str, negatives: str) -> None:
    scores = (40 * torch.eye(5)).requires_grad_()
    (gradient,) = torch.autograd.grad(ESTIMATORS[name](scores, negatives=negatives), scores)
    assert torch.isfinite(gradient).all()


# Statistics


def test_correlated_gaussians_with_the_optimal_critic() -> None:
    """400 batches of 64 pairs; unbiased ones within 4.5 standard errors of the truth (false alarm below 1e-5 each)."""
    correlation, n, batches = 0.6, 64, 400
    exact = -0.5 * math.log(1 - correlation**2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batches, n, generator=generator, dtype=torch.float64)
    z = correlation * x + math.sqrt(1 - correlation**2) * torch.randn(batches, n, generator=generator, dtype=torch.float64)
    a, b = x[:, :, None], z[:, None, :]
    ratio = exact - (correlation**2 * (a**2 + b**2) - 2 * correlation * a * b) / (2 * (1 - correlation**2))

    def summary(values: list[Tensor]) -> tuple[float, float]:
        stacked = torch.stack(values)
        return float(stacked.mean()), float(stacked.std() / math.sqrt(batches))

    mean, error = summary([nwj(t + 1) for t in ratio])
    assert error < 0.01
    assert abs(mean - exact) < 4.5 * error
    mean, error = summary([donsker_varadhan(t) for t in ratio])
    assert exact - 4.5 * error < mean < exact + 0.02  # Jensen: biased upwards, by O(1 / N)
    mean, error = summary([info_nce(t) for t in ratio])
    assert exact - 0.05 < mean < exact + 4.5 * error  # a lower bound in expectation
    mean, error = summary([jensen_shannon(t) for t in ratio])
    log_ratio = ratio.diagonal(dim1=1, dim2=2).flatten()
    off = ratio[:, ~torch.eye(n, dtype=torch.bool)].flatten()
    truth = float(torch.nn.functional.logsigmoid(log_ratio).mean() + torch.nn.functional.logsigmoid(-off).mean()) + 2 * math.log(2)
    assert mean == pytest.approx(truth, abs=1e-9)
    assert 0 < mean < 2 * math.log(2)


def test_published_mask_differs() -> None:
    """Multiplying the diagonal by zero (as the released code does) leaves N terms e^0 in the sum: not the same number."""
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(2)) - 3
    masked = (scores * (1 - torch.eye(6))).flatten()
    published = scores.diagonal().mean() - (masked.logsumexp(0) - math.log(30))
    assert abs(float(published - donsker_varadhan(scores))) > 0.1


# Annotated shapes


@pytest.mark.parametrize("function", [donsker_varadhan, nwj, jensen_shannon, info_nce])
def test_annotated_shapes_are_the_shapes(function: Any) -> None:
    checked = jaxtyped(function, typechecker=beartype)
    for shape in ((3, 3), (4, 4, 2)):
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            assert checked(torch.zeros(shape, dtype=dtype)).shape == ()
    with pytest.raises(TypeCheckError):
        checked(torch.zeros(3, 4))


# Errors


@every
@pytest.mark.parametrize("shape", [(3, 4), (4,), (1, 1), (0, 0), (2, 2, 2, 2), (2, 3, 2)], ids=str)
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"scores must have shape \[N, N\] or \[N, N, L\] with N >= 2, got"):
        ESTIMATORS[name](torch.zeros(shape), negatives="all")


@every
def test_nan_is_refused(name: str) -> None:
    scores = torch.zeros(3, 3)
    scores[0, 2] = math.nan
    with pytest.raises(ValueError, match="scores must be numbers, got NaN; check the critic"):
        ESTIMATORS[name](scores, negatives="others")


@pytest.mark.parametrize("name", ["dv", "nwj", "js"])
def test_unknown_negatives_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="negatives must be 'others' or 'all', got 'some'"):
        ESTIMATORS[name](torch.zeros(3, 3), negatives="some")


@every
def test_scores_that_are_no_tensor_are_refused(name: str) -> None:
    for scores, kind in ((torch.zeros(3, 3).numpy(), "ndarray"), ([[0.0, 1.0], [1.0, 0.0]], "list")):
        with pytest.raises(TypeError, match=f"scores must be a torch tensor, got {kind}"):
            ESTIMATORS[name](scores, negatives="others")


# Kernels


def loop_kernel(a: Any, b: Any, bandwidth: float) -> Any:
    """Gaussian kernel, entry by entry, in exact sums of doubles."""
    return np.array([[math.exp(-math.fsum((p - q) ** 2 for p, q in zip(u, v, strict=True)) / (2 * bandwidth**2)) for v in b] for u in a])


def loop_hsic(x: Any, z: Any, bandwidth_x: float, bandwidth_z: float) -> float:
    """The three expectations of the definition, summed over all indices."""
    first, second, n = loop_kernel(x, x, bandwidth_x), loop_kernel(z, z, bandwidth_z), len(x)
    triples = math.fsum(first[i, j] * second[i, k] for i in range(n) for j in range(n) for k in range(n))
    return float((first * second).mean() + first.mean() * second.mean() - 2 * triples / n**3)


def clouds(rows: st.SearchStrategy[int]) -> st.SearchStrategy[Tensor]:
    """Points [N, D] in double precision: coincident ones, lattices and arbitrary ones."""
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-3, 3, width=32))
    return st.tuples(rows, st.integers(1, 3)).flatmap(lambda s: arrays(np.float64, s, elements=numbers)).map(torch.from_numpy)


pairs = st.integers(2, 6).flatmap(lambda n: st.tuples(clouds(st.just(n)), clouds(st.just(n))))
samples = st.integers(1, 3).flatmap(lambda d: st.tuples(*(
    arrays(np.float64, st.tuples(st.integers(1, 5), st.just(d)), elements=st.floats(-3, 3, width=32)).map(torch.from_numpy) for _ in range(2))))
bandwidths = st.floats(0.05, 20)


@pytest.mark.parametrize("case", golden_cases("hsic_biased"))
def test_golden_hsic(case: dict[str, Any]) -> None:
    given_, expected = case["inputs"], case["outputs"]
    x, z = (torch.tensor(given_[key], dtype=torch.float64) for key in "XY")
    found = float(hsic(x, z, given_["sigma_x"], given_["sigma_y"]))
    assert found == pytest.approx(expected["HSIC"]["value"], rel=0, abs=case["tolerance"])
    assert found * len(x)**2 == pytest.approx(expected["tr_KHLH"]["value"], rel=0, abs=len(x)**2 * case["tolerance"])


@pytest.mark.parametrize("case", golden_cases("mmd2_biased"))
def test_golden_mmd_squared(case: dict[str, Any]) -> None:
    x, y = (torch.tensor(case["inputs"][key], dtype=torch.float64) for key in "AB")
    assert float(mmd_squared(x, y, case["inputs"]["sigma"])) == pytest.approx(case["outputs"]["MMD2"]["value"], rel=0, abs=case["tolerance"])


@given(pair=pairs, first=bandwidths, second=bandwidths)
def test_hsic_equals_the_definition(pair: tuple[Tensor, Tensor], first: float, second: float) -> None:
    x, z = pair
    found = float(hsic(x, z, first, second))
    assert found == pytest.approx(loop_hsic(x.tolist(), z.tolist(), first, second), rel=0, abs=1e-14)
    assert float(hsic(z, x, second, first)) == pytest.approx(found, rel=0, abs=1e-15)
    assert -1e-15 <= found <= min(0.25, math.log(len(x)) / 2) + 1e-15
    assert float(hsic(x.float(), z.float(), first, second)) == pytest.approx(found, rel=0, abs=1e-6)


@given(pair=samples, bandwidth=bandwidths)
def test_mmd_squared_equals_the_definition(pair: tuple[Tensor, Tensor], bandwidth: float) -> None:
    x, y = pair
    a, b, c = (loop_kernel(u.tolist(), v.tolist(), bandwidth).mean() for u, v in ((x, x), (y, y), (x, y)))
    found = float(mmd_squared(x, y, bandwidth))
    assert found == pytest.approx(a + b - 2 * c, rel=0, abs=1e-14)
    assert float(mmd_squared(y, x, bandwidth)) == pytest.approx(found, rel=0, abs=1e-14)
    assert -1e-14 <= found <= 2
    assert float(mmd_squared(x, x.flip(0), bandwidth)) == pytest.approx(0, abs=1e-14)


@given(pair=pairs, order=st.randoms(use_true_random=False), bandwidth=bandwidths, shift=st.floats(-5, 5), factor=st.floats(0.1, 10))
def test_kernels_see_neither_order_nor_place_nor_unit(
        pair: tuple[Tensor, Tensor], order: Any, bandwidth: float, shift: float, factor: float) -> None:
    x, z = pair
    rows = order.sample(range(len(x)), len(x))
    moved = factor * (x + shift)[rows]
    assert float(hsic(moved, z[rows], factor * bandwidth, 1.0)) == pytest.approx(float(hsic(x, z, bandwidth, 1.0)), rel=0, abs=1e-11)
    other = x[:1] + 1
    assert float(mmd_squared(moved, factor * (other + shift), factor * bandwidth)) == pytest.approx(
        float(mmd_squared(x, other, bandwidth)), rel=0, abs=1e-11)


@given(pair=st.tuples(clouds(st.just(4)), clouds(st.just(4))), first=bandwidths, second=bandwidths)
def test_mean_over_all_pairings_is_of_order_one_over_n(pair: tuple[Tensor, Tensor], first: float, second: float) -> None:
    """Independence costs exactly (1 - 1/n)/n (1 - mean K off the diagonal)(1 - mean L off the diagonal)."""
    x, z, n = *pair, 4
    found = np.mean([float(hsic(x, z[list(p)], first, second)) for p in itertools.permutations(range(n))])
    off = [(kernel.sum() - n) / (n * (n - 1)) for kernel in (loop_kernel(x.tolist(), x.tolist(), first), loop_kernel(z.tolist(), z.tolist(), second))]
    assert found == pytest.approx((1 - 1 / n) / n * (1 - off[0]) * (1 - off[1]), rel=0, abs=1e-14)


@pytest.mark.parametrize("n", [10, 40])
def test_hsic_of_independent_normals(n: int) -> None:
    """600 independent batches: the mean is (1 - 1/n)/n (1 - kappa)^2 with kappa = E k = 1/sqrt(3) for s = 1, within 4.5 standard errors."""
    generator = torch.Generator().manual_seed(5)
    x, z = torch.randn(2, 600, n, 1, generator=generator, dtype=torch.float64)
    values = torch.stack([hsic(a, b, 1.0, 1.0) for a, b in zip(x, z, strict=True)])
    expected = (1 - 1 / n) / n * (1 - 1 / math.sqrt(3)) ** 2
    assert abs(float(values.mean()) - expected) < 4.5 * float(values.std()) / math.sqrt(600)
    assert expected < 0.18 / n


def test_bandwidth_too_small_saturates_without_gradient() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    for value, expected in ((hsic(x, x, 1e-4, 1e-4), 8 / 81), (mmd_squared(x, y, 1e-4), 1 / 9 + 1 / 5), (mmd_squared(x[:3], x, 1e-4), 1 / 3 - 1 / 9)):
        assert float(value.detach()) == pytest.approx(expected, rel=0, abs=1e-15)
        assert not torch.autograd.grad(value, x)[0].any()
    width = knn_bandwidth(x.detach(), 3)
    assert torch.autograd.grad(hsic(x, x.detach()[:, :1], width, width), x)[0].norm() > 1e-3


def test_ends_of_the_ranges_are_attained() -> None:
    groups = torch.tensor([[0.0], [0.0], [99.0], [99.0]])
    assert float(hsic(groups, groups, 1.0, 1.0)) == 0.25
    assert float(hsic(groups, groups[[0, 2, 1, 3]], 1.0, 1.0)) == 0
    assert float(hsic(groups, torch.zeros(4, 2), 1.0, 1.0)) == 0
    assert float(mmd_squared(groups[:2], groups[2:], 1.0)) == 2


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_single_precision_keeps_close_points_far_from_the_origin(offset: float) -> None:
    """The expansion of the square alone would lose every digit here: its rounding, 0.06, is above the distances, 0.01."""
    generator = torch.Generator().manual_seed(7)
    x = offset + torch.randint(-20, 21, (12, 4), generator=generator) / 1024  # exact in single precision
    z = torch.randn(12, 2, generator=generator)
    width = knn_bandwidth(x, 3)
    assert width == pytest.approx(knn_bandwidth(x.double(), 3), rel=1e-6)
    single, double = x.clone().requires_grad_(), x.double().requires_grad_()
    value, exact = hsic(single, z, width, 1.0), hsic(double, z.double(), width, 1.0)
    assert float(value.detach()) == pytest.approx(float(exact.detach()), rel=1e-4)
    found, expected = torch.autograd.grad(value, single)[0], torch.autograd.grad(exact, double)[0]
    assert float((found - expected).norm()) < 1e-4 * float(expected.norm())


@pytest.mark.parametrize("function", [lambda x, z: hsic(x, z, 0.9, 1.2), lambda x, z: mmd_squared(x, z[:4], 0.9)], ids=["hsic", "mmd"])
def test_kernel_gradients(function: Any) -> None:
    """Against finite differences, first and second; with coincident points, where a distance has no derivative."""
    generator = torch.Generator().manual_seed(8)
    x, z = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    x[1] = x[0]
    z[2] = z[0] = x[0]
    leaves = (x.requires_grad_(), z.requires_grad_())
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)
    collapsed = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(torch.autograd.grad(function(collapsed, torch.zeros(6, 3, dtype=torch.float64)), collapsed)[0], torch.zeros(6, 3))


@pytest.mark.parametrize("function", [lambda x: hsic(x, x, 0.7, 0.7), lambda x: mmd_squared(x[:40], x[40:], 0.7)], ids=["hsic", "mmd"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_compute_half_precision_in_single(function: Any, dtype: torch.dtype) -> None:
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(9)).to(dtype)
    assert function(x).dtype == torch.float32
    assert float(function(x)) == pytest.approx(float(function(x.double())), rel=1e-5)
    assert function(x.double()).dtype == torch.float64


def test_no_array_of_all_differences() -> None:
    """Neither direction makes anything larger than the N^2 kernel (here N D is small against N^2, and N^2 D large)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        """Remembers the size of the largest result."""

        size = 0

        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
            """Run the operation and look at what it returns."""
            out = function(*arguments, **(keywords or {}))
            self.size = max([self.size, *(t.numel() for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, Tensor))])
            assert "cdist_backward" not in str(function)  # whose CUDA kernel holds all differences
            return out

    x = torch.randn(50, 20, requires_grad=True)
    with Largest() as seen:
        (hsic(x, x.detach(), 3.0, 3.0) + mmd_squared(x, x.detach() + 1, 3.0)).backward()
    assert seen.size == 50 * 50


@given(points=clouds(st.integers(2, 6)), k=st.integers(1, 5))
def test_knn_bandwidth_sorts_all_other_samples(points: Tensor, k: int) -> None:
    k = min(k, len(points) - 1)
    rows = points.tolist()
    expected = np.mean([np.mean(sorted(math.dist(u, v) for j, v in enumerate(rows) if j != i)[:k]) for i, u in enumerate(rows)])
    assert knn_bandwidth(points, k) == pytest.approx(expected, rel=1e-12, abs=0)
    assert knn_bandwidth(points.flip(0), k) == pytest.approx(expected, rel=1e-12, abs=0)


def test_knn_bandwidth_is_a_number_of_ten_neighbours() -> None:
    x = torch.arange(12.0, requires_grad=True)[:, None]
    width = knn_bandwidth(x)
    assert isinstance(width, float)
    assert width == knn_bandwidth(x, 10) != knn_bandwidth(x, 11)
    assert knn_bandwidth(torch.ones(12, 3)) == 0


@pytest.mark.parametrize(("function", "shapes"), [
    (hsic, ((4, 2), (4, 3), None, None)), (mmd_squared, ((4, 2), (5, 2), None)), (knn_bandwidth, ((12, 2),))], ids=lambda v: getattr(v, "__name__", ""))
def test_annotated_shapes_of_kernels(function: Any, shapes: tuple[Any, ...]) -> None:
    checked = jaxtyped(function, typechecker=beartype)
    good = [1.0 if shape is None else torch.rand(shape) for shape in shapes]
    checked(*good)
    with pytest.raises(TypeCheckError):
        checked(torch.rand(4), *good[1:])


KERNEL_CALLS = {"hsic x": ("x", lambda t: hsic(t, torch.zeros(3, 1), 1.0, 1.0)), "hsic z": ("z", lambda t: hsic(torch.zeros(3, 1), t, 1.0, 1.0)),
                "mmd x": ("x", lambda t: mmd_squared(t, torch.zeros(3, 2), 1.0)), "mmd y": ("y", lambda t: mmd_squared(torch.zeros(3, 2), t, 1.0)),
                "knn": ("x", lambda t: knn_bandwidth(t, 1))}


@pytest.mark.parametrize("call", list(KERNEL_CALLS))
def test_bad_points_are_refused(call: str) -> None:
    name, function = KERNEL_CALLS[call]
    for bad in (torch.zeros(3), torch.zeros(3, 2, 1), torch.zeros(0, 2), torch.zeros(3, 0)):
        with pytest.raises(ValueError, match=rf"^{name} must have shape \[N, D\] with N >= [12] and D >= 1, got .*flatten"):
            function(bad)
    for value in (math.nan, math.inf, -math.inf, 1e30):
        bad = torch.zeros(3, 2)
        bad[1, 0] = value
        with pytest.raises(ValueError, match=f"^{name} must be finite, squares included, got NaN or infinity"):
            function(bad)
    for bad, kind in ((np.zeros((3, 2)), "ndarray"), ([[0.0, 1.0]], "list"), (torch.zeros(3, 2, dtype=torch.int64), "torch.int64"),
                      (torch.zeros(3, 2, dtype=torch.complex64), "torch.complex64")):
        with pytest.raises(TypeError, match=f"^{name} must be a floating-point torch tensor, got {kind}; use"):
            function(bad)


def test_kernels_refuse_what_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match="x and z must have one row per sample each, got 3 and 4 rows"):
        hsic(torch.zeros(3, 2), torch.zeros(4, 2), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"x must have shape \[N, D\] with N >= 2"):
        hsic(torch.zeros(1, 2), torch.zeros(1, 2), 1.0, 1.0)
    with pytest.raises(ValueError, match="x and y must have the same number of columns, got 2 and 3"):
        mmd_squared(torch.zeros(3, 2), torch.zeros(3, 3), 1.0)
    for k in (3, 4):
        with pytest.raises(ValueError, match=f"k must be less than the number of samples, got k = {k} for 3 samples"):
            knn_bandwidth(torch.zeros(3, 2), k)
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        knn_bandwidth(torch.zeros(3, 2), 0)
    with pytest.raises(TypeError, match="k must be a whole number, got float"):
        knn_bandwidth(torch.zeros(3, 2), 1.5)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_bad_bandwidths_are_refused(bad: float) -> None:
    x = torch.zeros(3, 2)
    for name, call in (("bandwidth_x", lambda: hsic(x, x, bad, 1.0)), ("bandwidth_z", lambda: hsic(x, x, 1.0, bad)),
                       ("bandwidth", lambda: mmd_squared(x, x, bad))):
        with pytest.raises(ValueError, match=f"^{name} must be a finite number > 0, got {bad}; use knn_bandwidth"):
            call()
    with pytest.raises(TypeError, match="bandwidth must be a number, got str"):
        mmd_squared(x, x, "median")
