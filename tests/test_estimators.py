"""Estimators of mutual information against double loops, their orderings and ceilings, golden values, precision."""
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

from robinfo.estimators import donsker_varadhan, info_nce, jensen_shannon, nwj

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
