"""The audit: every mask is caught by its check, an honestly trained model passes all, and everything is left as it was found."""
from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import robinfo
import robinfo.audit as rooms
import robinfo.evaluation
from robinfo.attacks import PGD
from robinfo.audit import AuditReport, Finding, audit
from robinfo.checks import evaluating
from robinfo.data import load, to_float
from robinfo.threats import L1, L2, Linf

THREAT = Linf(0.1)


# --- models: an honest one, and the same one behind masks ---------------------------------------------------------------


@pytest.fixture(scope="module")
def points() -> tuple[Tensor, Tensor]:
    """A hundred test digits."""
    digits = load("digits")
    return to_float(digits.test_images)[:100], digits.test_labels[:100]


@pytest.fixture(scope="module")
def honest() -> nn.Module:
    """A small network trained against PGD on the digits; a few seconds."""
    digits = load("digits")
    images, labels = F.avg_pool2d(to_float(digits.train_images), 2), digits.train_labels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(5):
            for batch in torch.randperm(len(images)).split(64):
                x_adv = PGD(THREAT, steps=3, keep="last")(net, images[batch], labels[batch])
                optimizer.zero_grad()
                F.cross_entropy(net(x_adv), labels[batch]).backward()
                optimizer.step()
    return nn.Sequential(nn.AvgPool2d(2), net).eval()


class Masked(nn.Module):
    """A model behind a mask that is given as a function of the model and the images."""

    def __init__(self, model: nn.Module, answer: Any) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.model, images)


class Learning(nn.Module):
    """A model that adapts itself while it is evaluated."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.shift = copy.deepcopy(model), nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images) + self.shift
        if torch.is_grad_enabled():
            (slope,) = torch.autograd.grad(logits.logsumexp(1).mean(), self.shift, retain_graph=True)
            with torch.no_grad():
                self.shift.sub_(0.01 * slope)
        return logits


class Drifting(nn.Module):
    """A model with a buffer that changes at every pass, without any gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        return self.model(images)


class Remembering(nn.Module):
    """A model that knows its test images: whatever lies far from them is answered as the nearest."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("images", images)

    def forward(self, images: Tensor) -> Tensor:
        distance = torch.cdist(images.flatten(1), self.images.flatten(1), p=math.inf)
        nearest = self.images[distance.argmin(1)]
        return self.model(torch.where((distance.amin(1) > 0.08)[:, None, None, None], nearest, images))


class FunctionalDropout(Masked):
    """A model whose mode no layer shows."""

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(self.model(images), 0.5, self.training)


def _rounded(m: nn.Module, x: Tensor) -> Tensor:
    return m((8 * x).round() / 8)


MASKS: dict[str, tuple[Any, int]] = {
    "saturated, zero gradients": (lambda m, x: 1e3 * m(x), 10),
    "saturated, p = 1": (lambda m, x: 1e3 * m(x), 11),
    "saturated, unbounded attack": (lambda m, x: 1e3 * m(x), 3),
    "saturated, Square is stronger": (lambda m, x: 1e3 * m(x), 5),
    "saturated, planted examples": (lambda m, x: 1e3 * m(x), 19),
    "rounded, zero gradients": (_rounded, 10),
    "rounded, differences": (_rounded, 15),
    "rounded, unbounded": (_rounded, 3),
    "rounded, Square gains": (_rounded, 7),
    "rounded, planted examples": (_rounded, 19),
    "stand-in gradient": (lambda m, x: m(x + ((4 * x).round() / 4 - x).detach()), 15),
    "detached": (lambda m, x: m(x.detach()), 10),
    "detached, blind luck": (lambda m, x: m(x.detach()), 8),
    "noise": (lambda m, x: m(x + 0.1 * torch.randn_like(x)), 12),
    "probabilities": (lambda m, x: m(x).softmax(1), 13),
    "batch": (lambda m, x: m(x) - 2 * m(x).mean(0), 18),
    "order": (lambda m, x: m(x) + torch.arange(len(x))[:, None] * torch.eye(10)[0], 18),
}


def check(number: int, model: Any, points: tuple[Tensor, Tensor], **options: Any) -> Finding:
    """One row of an audit."""
    options = {"attacks": None, "surrogate": None, "seed": 0, "budget": rooms._BUDGETS["quick"], **options}
    context = rooms._Context(model, *points, THREAT, **options)
    with rooms._left_as_found(model):
        torch.manual_seed(0)
        return rooms._CHECKS[number - 1].row(context)


# --- what must be caught, and what must pass ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cleared(honest: nn.Module, points: tuple[Tensor, Tensor]) -> AuditReport:
    """The audit of the honest model, with another model and the transfer from it."""
    torch.manual_seed(1)
    return audit(honest, *points, THREAT, surrogate=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))


def test_an_honestly_trained_model_is_cleared(cleared: AuditReport) -> None:
    assert cleared.clean, cleared
    assert not cleared.flags
    assert 0.2 < cleared.robust_accuracy < cleared.clean_accuracy - 0.1  # neither trivial nor indestructible
    assert [row.number for row in cleared.not_run] == [6, 17]  # quick, and no attack by another route
    assert cleared.n == 100
    assert "transfer" in cleared.rows[4].measured and "Square" in cleared.rows[4].measured


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_caught_by_its_check(name: str, honest: nn.Module, points: tuple[Tensor, Tensor], cleared: AuditReport) -> None:
    mask, number = MASKS[name]
    assert check(number, Masked(honest, mask).eval(), points).verdict == "flag"
    assert cleared.rows[number - 1].verdict == "ok"


def test_saturation_is_undone_by_another_loss(honest: nn.Module, points: tuple[Tensor, Tensor], cleared: AuditReport) -> None:
    report = audit(Masked(honest, lambda m, x: 1e3 * m(x)).eval(), *points, THREAT)
    assert {3, 5, 10, 11, 19} <= {row.number for row in report.flags}
    assert not {1, 12, 13, 14, 15, 18, 20} & {row.number for row in report.flags}
    assert report.robust_accuracy > cleared.robust_accuracy + 0.2
    margin = float(report.rows[10].measured.split("margin ")[1].split(";")[0])
    assert margin <= cleared.robust_accuracy + 0.02


def test_accuracy_that_rises_with_eps_is_caught(honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    assert check(2, Remembering(honest, points[0]).eval(), points).verdict == "flag"


@pytest.mark.parametrize("number", [12, 18])
def test_a_random_model_is_told_from_one_that_depends_on_its_batch(number: int, honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    noisy = Masked(honest, lambda m, x: m(x + 0.1 * torch.randn_like(x))).eval()
    row = check(number, noisy, points)
    assert row.verdict == ("flag" if number == 12 else "not run")
    assert ("EOT-20" if number == 12 else "check 12") in row.measured


@pytest.mark.parametrize(("build", "reason"), [
    (lambda m: nn.Sequential(m, nn.Dropout(0.3)), "training mode in 1 (Dropout)"),
    (lambda m: nn.Sequential(nn.BatchNorm2d(1), m, nn.BatchNorm1d(10)), "training mode in 0 (BatchNorm2d) and 1 more"),
    (lambda m: FunctionalDropout(m, None), "the answers depend on it")], ids=["dropout", "batch norm", "functional"])
def test_training_mode_is_caught(build: Any, reason: str, honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    model = build(copy.deepcopy(honest))
    found = check(14, model.train(), points)
    assert found.verdict == "flag"
    assert reason in found.measured
    assert all(m.training for m in model.modules())
    assert check(14, model.eval(), points).verdict == "ok"


def test_a_mode_on_which_nothing_depends_is_no_flag(honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    found = check(14, copy.deepcopy(honest).train(), points)
    assert (found.verdict, "nothing depends" in found.measured) == ("ok", True)


@pytest.mark.parametrize(("build", "words"), [
    (Learning, "2 backward passes in two forward passes, 1 tensors of the model changed (first: shift)"),
    (Drifting, "0 backward passes in two forward passes, 1 tensors of the model changed (first: count)")])
def test_a_model_that_changes_in_forward_is_caught(build: Any, words: str, honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    model, grad = build(honest).eval(), torch.autograd.grad
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = check(20, model, points)
    assert (found.verdict, found.measured) == ("flag", words)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.autograd.grad is grad


@given(scale=st.floats(0.1, 20), shift=st.floats(-5, 5))
def test_only_probabilities_are_taken_for_probabilities(scale: float, shift: float) -> None:
    images, labels = torch.linspace(0, 1, 12).reshape(6, 2, 1, 1), torch.zeros(6).long()
    context = rooms._Context(nn.Flatten(), images, labels, THREAT, attacks=None, surrogate=None, seed=0, budget=rooms._BUDGETS["quick"])
    for model, expected in ((lambda x: scale * x.flatten(1) + shift, False), (lambda x: (scale * x.flatten(1)).softmax(1), True),
                            (lambda x: (scale * x.flatten(1)).log_softmax(1), False)):
        context.model = model
        assert rooms._output_range(context)[0] is expected


# --- attacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [
    lambda m, x, y: (x + 0.11).clamp(0, 1), lambda m, x, y: x * 0, lambda m, x, y: x - 0.05, lambda m, x, y: x * math.nan],
    ids=["outside the ball", "far outside", "below 0", "NaN"])
def test_an_invalid_attack_is_caught_and_wins_nothing(attack: Any, honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    found = check(1, honest, points, attacks={"bad": attack})
    assert (found.verdict, found.measured.startswith("invalid images: 100 of bad;")) == ("flag", True)
    context = rooms._Context(honest, *points, THREAT, attacks={"bad": attack}, surrogate=None, seed=0, budget=rooms._BUDGETS["quick"])
    assert torch.equal(context.alive, context.clean)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(3.0)])
def test_our_own_attacks_are_valid(threat: Any, honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    context = rooms._Context(honest, *points, threat, attacks=None, surrogate=None, seed=0, budget=rooms._BUDGETS["quick"])
    assert rooms._validity(context) == (False, "no invalid images; 0 unconfirmed successes")
    assert not rooms._attack_unit_test(context)[0]


@pytest.mark.parametrize(("attack", "numbers"), [
    (lambda m, x, y: x, (4, 9, 19)),
    (PGD(THREAT, steps=1, step_size=0.01, random_start=False), (4, 9)),
    (PGD(THREAT, steps=10, loss=lambda z, y: -F.cross_entropy(z, y, reduction="none"), seed=0), (4, 9, 16, 19)),
], ids=["does nothing", "one tiny step", "downhill"])
def test_a_weak_attack_is_caught(attack: Any, numbers: tuple[int, ...], honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    for number in numbers:
        assert check(number, honest, points, attacks={"weak": attack}).verdict == "flag", number


def test_an_ensemble_weaker_than_its_member_is_caught(honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    pgd = PGD(THREAT, steps=10, seed=0)
    assert check(6, honest, points, attacks={"AutoAttack": lambda m, x, y: x, "PGD": pgd}).verdict == "flag"
    assert check(6, honest, points, attacks={"AutoAttack": lambda m, x, y: x}).verdict == "flag"  # against our own PGD
    assert check(6, honest, points, attacks={"AutoAttack": pgd, "PGD": pgd}).verdict == "ok"


def test_an_attack_by_another_route_is_compared(honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    def other(model: Any, images: Tensor, labels: Tensor) -> Tensor:
        return PGD(THREAT, steps=10, seed=0)(honest, images, labels)

    saturated = Masked(honest, lambda m, x: 1e3 * m(x)).eval()
    assert check(17, saturated, points, surrogate=other).verdict == "flag"
    assert check(17, honest, points, surrogate=other).verdict == "ok"
    assert check(17, honest, points, surrogate=honest).verdict == "not run"
    assert check(5, saturated, points, surrogate=honest).verdict == "flag"


# --- the parts ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
def test_slopes_of_a_linear_model_are_its_differences(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()  # two classes: the margin has no kink
    images, labels = torch.rand(3, 1, 2, 2), torch.randint(0, 2, (3,))
    slopes, differences = rooms._directional(model, images, labels, directions=2, generator=torch.Generator().manual_seed(seed))
    weight = (model[1].weight[1] - model[1].weight[0]).detach() * (1 - 2 * labels[:, None])
    assert torch.allclose(slopes, differences, atol=1e-9)
    assert bool((slopes.abs() <= weight.abs().sum(1, keepdim=True) + 1e-12).all())


@given(p=st.floats(0, 1), n=st.integers(1, 10**6))
def test_the_tolerance_is_two_standard_errors(p: float, n: int) -> None:
    images = torch.zeros(1, 2, 1, 1)
    context = rooms._Context(nn.Flatten(), images, torch.zeros(1).long(), THREAT, attacks=None, surrogate=None, seed=0,
                             budget=rooms._BUDGETS["quick"])
    assert context.tolerance(p, n) == pytest.approx(2 * math.sqrt(p * (1 - p) / n))


def test_the_planted_example_exists(honest: nn.Module, points: tuple[Tensor, Tensor]) -> None:
    context = rooms._Context(honest, *points, THREAT, attacks=None, surrogate=None, seed=0, budget=rooms._BUDGETS["quick"])
    built = 0
    for i in range(20):
        x = points[0][i : i + 1]
        with torch.no_grad():
            test = rooms._unit_test(context, x, torch.Generator().manual_seed(i))
            if test is None:
                continue
            built += 1
            assert int(test(x).argmax(1)) == 0
            generator = torch.Generator().manual_seed(i)  # the same draws again
            Linf(0.05).random(x.expand(64, *x.shape[1:]), generator)
            surface = (x + 0.1 * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
            assert int(test(surface).argmax(1)) == 1
            assert bool(context.valid(surface, x))
    assert built >= 10


def test_the_full_budget_runs_the_ensemble() -> None:
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    report = audit(model, images, model(images).argmax(1), Linf(0.05), budget="full")
    if "pyautoattack" in str(report.rows[5].measured):
        pytest.skip("pyautoattack is not installed")
    assert "AutoAttack" in report.rows[5].measured
    assert report.clean, report
    assert [row.number for row in report.not_run] == [17]


# --- the report ---------------------------------------------------------------------------------------------------------


def test_the_report_has_twenty_rows_and_renders(cleared: AuditReport) -> None:
    assert [row.number for row in cleared.rows] == list(range(1, 21))
    assert all(row.check and row.criterion and row.measured and row.meaning and row.remedy for row in cleared.rows)
    table, page, text = cleared._repr_markdown_(), cleared._repr_html_(), str(cleared)
    assert "No flag" in cleared.summary and repr(cleared) == f"<AuditReport: {cleared.summary}>"
    assert page.count("<tr>") == 21 and "&gt; .9" not in page and "&lt; .9" in page
    assert table.count("\n") == 23 and text.count("\n") == 20
    assert all(row.check in table and row.check in text for row in cleared.rows)
    row = replace(cleared.rows[0], verdict="flag", measured="a | b <c>")
    flagged = replace(cleared, rows=(row,))
    assert (flagged.clean, flagged.flags) == (False, (row,))
    assert "a \\| b <c>" in flagged._repr_markdown_() and "a | b &lt;c&gt;" in flagged._repr_html_()
    assert "1 flagged: 1 validity" in flagged.summary
    assert set(cleared.settings) == {"PGD-20", "budget", "seed"}
    assert "steps=20" in cleared.settings["PGD-20"]


def test_two_audits_with_one_seed_are_equal(points: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = Masked(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), lambda m, x: m(x + 0.05 * torch.randn_like(x))).eval()
    few = points[0][:20], points[1][:20]
    first = audit(model, *few, THREAT)
    torch.rand(5)
    assert audit(model, *few, THREAT) == first


def test_a_broken_check_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: Any) -> Any:
        raise KeyError("of this check")

    monkeypatch.setattr(rooms, "_CHECKS", (replace(rooms._CHECKS[0], measure=broken), rooms._CHECKS[12]))
    report = audit(nn.Flatten(), torch.tensor([0.8, 0.5]).reshape(1, 2, 1, 1), torch.tensor([0]), THREAT)
    assert [row.verdict for row in report.rows] == ["not run", "ok"]
    assert report.rows[0].measured == "KeyError: 'of this check'"


def test_everything_is_left_as_it_was_found(points: tuple[Tensor, Tensor]) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout().eval(), nn.Linear(784, 10))
    model[3].bias.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    torch.manual_seed(3)
    random = torch.get_rng_state()
    with torch.no_grad():
        few = points[0][:12], copy.deepcopy(model).eval()(points[0][:12]).argmax(1)

    def failing(m: Any, x: Tensor, y: Tensor) -> Tensor:
        m[3].weight.data.add_(1)
        m.requires_grad_(False)
        torch.rand(3)
        raise LookupError("an attack that fails")

    for attacks in (None, {"failing": failing}):
        with pytest.raises(LookupError, match="an attack that fails") if attacks else evaluating():
            audit(model, *few, THREAT, attacks=attacks)
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
        assert [m.training for m in model.modules()] == modes
        assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]
        assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))
        assert model[0].weight.grad is None
        assert torch.equal(torch.get_rng_state(), random)


def test_a_model_and_tensors_of_ones_own_in_ten_lines() -> None:
    torch.manual_seed(0)
    images = torch.rand(60, 1, 6, 6)
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    result = robinfo.evaluation.evaluate(model, images, labels, {"PGD": PGD(Linf(0.02), seed=0)})
    report = robinfo.evaluation.audit(lambda x: model(x), images, labels, Linf(0.02))  # a plain function will do
    assert report.clean, report
    assert report.clean_accuracy == result.accuracies["clean"]
    assert robinfo.AuditReport is AuditReport


# --- errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"model": 3}, TypeError, "model must be callable, got int"),
    ({"threat": 0.1}, TypeError, "threat must be Linf, L2 or L1, got 0.1"),
    ({"threat": Linf(0)}, ValueError, "radius > 0, got Linf"),
    ({"attacks": [PGD(THREAT)]}, TypeError, "attacks must be a mapping of names to callables"),
    ({"attacks": {}}, TypeError, "attacks must be a mapping"),
    ({"attacks": {"a": None}}, TypeError, "attacks must be a mapping"),
    ({"attacks": {"a": lambda m, x, y: x[:1]}}, ValueError, "must return images of the shape it was given"),
    ({"budget": "huge"}, ValueError, "budget must be 'quick' or 'full', got 'huge'"),
    ({"seed": -1}, ValueError, "seed must be a whole number >= 0"),
    ({"images": torch.full((4, 2, 1, 1), math.nan)}, ValueError, "images must be finite"),
    ({"images": torch.full((4, 2, 1, 1), 2.0)}, ValueError, r"images must lie in \[0, 1\]"),
    ({"images": torch.zeros(4, 2, 1, 1, dtype=torch.uint8)}, TypeError, "floating point"),
    ({"labels": torch.tensor([0, 1])}, ValueError, "labels must have shape"),
    ({"labels": torch.tensor([0, 1, 2, 0])}, ValueError, r"labels must lie in 0\.\.1"),
    ({"labels": torch.zeros(4).long()}, ValueError, "clean accuracy 0"),
    ({"model": nn.Identity()}, ValueError, r"must return logits \[N, K\] with K >= 2, got \[2, 2, 1, 1\]"),
    ({"model": lambda x: (x.flatten(1),)}, ValueError, "got tuple"),
    ({"model": lambda x: x.flatten(1) * math.nan}, ValueError, "finite logits, got NaN"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    images = torch.tensor([0.2, 0.8]).repeat(4).reshape(4, 2, 1, 1)
    call: dict[str, Any] = {"model": nn.Flatten(), "images": images, "labels": torch.ones(4).long(), "threat": THREAT, **change}
    with pytest.raises(error, match=message):
        audit(**call)
