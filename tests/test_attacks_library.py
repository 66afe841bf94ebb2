"""The attacks of pyautoattack and foolbox behind our call: the same images as called directly, nothing touched, clear errors."""
from __future__ import annotations

import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import foolbox
import pyautoattack
import pytest
import torch
from pyautoattack import checks
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from robinfo.attacks import APGD, DDN, AttackWarning, AutoAttack, CarliniWagner, Square, library
from robinfo.attacks.library import AttackRun, LibraryAttack, ModelView
from robinfo.evaluation import robust_accuracy
from robinfo.threats import L1, L2, Linf

THREATS = [Linf(0.06), L2(0.4), L1(2.0)]
every = pytest.mark.parametrize("threat", THREATS, ids=str)


def small_model(classes: int = 4, seed: int = 0, shape: tuple[int, int, int] = (1, 6, 6)) -> nn.Sequential:
    """A little network with every kind of layer whose mode matters, in evaluation mode, with little margin."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(shape[0], 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                          nn.Linear(3 * shape[1] * shape[2], classes)).eval()
    nn.init.normal_(model[5].weight)
    return model


def batch(model: nn.Module, n: int = 10, seed: int = 0, shape: tuple[int, int, int] = (1, 6, 6)) -> tuple[Tensor, Tensor]:
    """Images with some pixels at the ends of the range; labels that the model gives, save the first."""
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)).mul(1.4).sub(0.2).clamp(0, 1)
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(1)
    labels[0] = (labels[0] + 1) % logits.shape[1]
    return images, labels


def directly(model: nn.Module, images: Tensor, labels: Tensor, attack: AutoAttack, members: list[str]) -> Tensor:
    """pyautoattack itself, with the settings of the wrapper."""
    norm = type(attack.threat).__name__
    plain = pyautoattack.AutoAttack(model, norm=norm, eps=attack.threat.radius, seed=attack.seed, version="standard")
    plain.attacks_to_run, plain.square.n_queries, plain.fab.n_iter = members, attack.queries, attack.steps
    classes = model(images[:1]).shape[1]
    targets = 5 if norm == "L1" else 9
    plain.apgd_targeted.n_target_classes, plain.fab.n_target_classes = min(targets, classes - 1), min(9, classes - 1)
    if attack.steps != 100:
        restarts, large = plain.apgd.n_restarts, norm == "L1"
        options: dict[str, Any] = {"n_iter": attack.steps, "norm": norm, "eps": attack.threat.radius, "seed": attack.seed,
                                   "device": "cpu", "use_largereps": large, "logger": plain.logger}
        plain.apgd = APGDAttack(model, n_restarts=restarts, **options)
        plain.apgd_targeted = APGDAttack_targeted(model, n_target_classes=min(targets, classes - 1), **options)
    return plain.run_standard_evaluation(images, labels, batch_size=attack.batch_size)[0]


def state(model: nn.Module) -> list[Any]:
    """Everything of a model and of the process that an attack might disturb."""
    return [[m.training for m in model.modules()], [(p.requires_grad, None if p.grad is None else p.grad.clone().tolist())
            for p in model.parameters()], [b.clone().tolist() for b in model.buffers()], torch.get_rng_state().tolist(), sys.gettrace(),
            torch.is_grad_enabled(), dict(checks.funcs)]


ATTACKS = [AutoAttack(Linf(0.06), steps=5, queries=15), AutoAttack(L2(0.4), version="plus", steps=3, queries=5),
           APGD(Linf(0.06), steps=5), APGD(L2(0.4), loss="dlr", steps=5), APGD(L1(2), loss="targeted", steps=5), Square(Linf(0.06), queries=20),
           Square(L2(0.4), queries=20), Square(L1(2), queries=20), CarliniWagner(L2(0.4), steps=10, binary_search_steps=3),
           DDN(Linf(0.2), steps=20), AutoAttack(Linf(0.06), steps=5, queries=15, fast=True)]
each = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{type(a).__name__}-{a.threat}")


# The same as the library called directly


@pytest.mark.parametrize(("classes", "members"), [(2, ["apgd-ce", "fab-t", "square"]), (3, ["apgd-ce", "fab-t", "square"]),
                                                  (4, ["apgd-ce", "apgd-t", "fab-t", "square"]),
                                                  (10, ["apgd-ce", "apgd-t", "fab-t", "square"])])
@every
def test_same_images_as_pyautoattack(threat: Any, classes: int, members: list[str]) -> None:
    """Bit for bit, with a batch size that splits the images."""
    model = small_model(classes, seed=classes)
    images, labels = batch(model, 12)
    attack = AutoAttack(threat, steps=8, queries=40, seed=3, batch_size=5)
    run = attack.run(model, images, labels)
    assert torch.equal(run.images, directly(model, images, labels, attack, members))
    assert list(run.accuracy)[1:] == members[: len(run.accuracy) - 1]
    assert run.accuracy[list(run.accuracy)[-1]] == pytest.approx(run.robust_accuracy)
    assert bool((run.fooled == (model(run.images).argmax(1) != labels)).all())


def test_same_images_with_the_numbers_of_the_benchmark() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    images, labels = batch(model, 8, shape=(1, 4, 4))
    attack = AutoAttack(Linf(0.06), seed=1)
    found = attack.run(model, images, labels)
    assert 0 < found.robust_accuracy < found.accuracy["clean"]
    assert torch.equal(found.images, directly(model, images, labels, attack, ["apgd-ce", "apgd-t", "fab-t", "square"]))


@every
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
def test_same_images_as_apgd(threat: Any, loss: Any) -> None:
    model = small_model(5)
    images, labels = batch(model)
    options: dict[str, Any] = {"n_iter": 10, "norm": type(threat).__name__, "n_restarts": 2, "eps": threat.radius, "seed": 4,
                               "device": "cpu", "use_largereps": isinstance(threat, L1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = APGDAttack_targeted(model, n_target_classes=4, **options) if loss == "targeted" else APGDAttack(model, loss=loss, **options)
        expected = plain.perturb(images, labels)
    assert torch.equal(APGD(threat, loss=loss, steps=10, restarts=2, seed=4)(model, images, labels), expected)


@every
@pytest.mark.parametrize("rescale", [False, True])
def test_same_images_as_square(threat: Any, rescale: bool) -> None:
    model = small_model(5)
    images, labels = batch(model)
    plain = SquareAttack(model, norm=type(threat).__name__, n_queries=60, eps=threat.radius, seed=4, device="cpu", resc_schedule=rescale)
    with torch.no_grad():
        expected = plain.perturb(images, labels)
    assert torch.equal(Square(threat, queries=60, rescale_schedule=rescale, seed=4)(model, images, labels), expected)
    assert not torch.equal(expected, images)


@pytest.mark.parametrize("confidence", [0.0, 0.5])
def test_same_images_as_foolbox(confidence: float) -> None:
    """Where foolbox succeeds on an image that was right; otherwise the clean image, where its C&W returns black."""
    model = small_model(5)
    images, labels = batch(model)
    wrapped, right = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), model(images).argmax(1) == labels
    pairs = [(CarliniWagner(confidence=confidence, steps=30, binary_search_steps=4, step_size=0.05),
              foolbox.attacks.L2CarliniWagnerAttack(steps=30, binary_search_steps=4, stepsize=0.05, confidence=confidence)),
             (DDN(steps=30, init_radius=0.5), foolbox.attacks.DDNAttack(steps=30, init_epsilon=0.5))]
    for ours, theirs in pairs:
        _, expected, fooled = theirs(wrapped, images, labels, epsilons=None)
        assert bool((fooled & right).any())
        kept = (fooled & right & (expected != 0).flatten(1).any(1)).reshape(-1, 1, 1, 1)
        assert torch.equal(ours(model, images, labels), torch.where(kept, expected, images))


def test_the_black_image_of_a_failed_search_is_no_success() -> None:
    """With one tiny constant the search finds nothing; foolbox returns black, which this model takes for another class."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[5.0] * 4, [-5.0] * 4]))
        model[1].bias.copy_(torch.tensor([-1.0, 1.0]))
    images, labels = torch.full((3, 1, 2, 2), 0.9), torch.zeros(3, dtype=torch.int64)
    assert int(model(torch.zeros(1, 1, 2, 2)).argmax()) == 1
    attack = CarliniWagner(steps=2, binary_search_steps=1, initial_const=1e-6)
    assert torch.equal(attack(model, images, labels), images)
    assert not bool(attack.run(model, images, labels).fooled.any())


def test_a_change_beyond_the_threat_is_not_kept() -> None:
    model = small_model(5)
    images, labels = batch(model, 20)
    free = DDN()(model, images, labels)
    length = L2(0).norm(free - images)
    limit = float(length[length > 0].median())
    held = DDN(L2(limit))(model, images, labels)
    inside = (length <= limit).reshape(-1, 1, 1, 1)
    assert 0 < int(inside.sum()) < 20
    assert torch.equal(held, torch.where(inside, free, images))
    for threat in (Linf(0.05), L1(1.0)):
        assert bool((threat.norm(DDN(threat)(model, images, labels) - images) <= threat.radius).all())


def test_carlini_wagner_leaves_saturated_pixels() -> None:
    """Pixels equal to 0 and 1 move, which a search in arctanh space cannot do without drawing them in a little."""
    model = small_model(3)
    images = torch.randint(0, 2, (6, 1, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    labels = model(images).argmax(1)
    run = CarliniWagner(steps=200, step_size=0.1, binary_search_steps=6).run(model, images, labels)
    assert bool(run.fooled.all())


# Where the result lies


@each
def test_result_lies_in_ball_and_range(attack: Any) -> None:
    model = small_model()
    images, labels = batch(model)
    found = attack(model, images, labels)
    assert (found.shape, found.dtype, found.requires_grad) == (images.shape, images.dtype, False)
    assert found.min() >= 0
    assert found.max() <= 1
    assert bool((attack.threat.norm(found - images) <= attack.threat.radius * (1 + 1e-5)).all())
    assert torch.equal(found[0], images[0])  # wrong before


@each
def test_radius_zero_returns_the_images(attack: Any) -> None:
    model = small_model()
    images, labels = batch(model)
    still = type(attack)(type(attack.threat)(0))
    run = still.run(model, images, labels)
    assert torch.equal(run.images, images)
    assert run.robust_accuracy == pytest.approx(0.9)


@each
def test_double_precision_stays(attack: Any) -> None:
    model = small_model().double()
    images, labels = batch(model.float())
    model, images = model.double(), images.double() * 0.999
    run = attack.run(model, images, labels)
    assert run.images.dtype == torch.float64
    assert bool((attack.threat.norm(run.images - images) <= attack.threat.radius * (1 + 1e-6)).all())
    assert torch.equal(run.images[~run.fooled], images[~run.fooled])


@pytest.mark.parametrize("shape", [(1, 7, 11), (1, 14, 14), (3, 9, 5), (1, 4, 6), (1, 10, 13), (2, 28, 30)], ids=str)
@every
def test_images_of_any_shape(threat: Any, shape: tuple[int, int, int]) -> None:
    model = small_model(4, shape=shape)
    images, labels = batch(model, 4, shape=shape)
    run = AutoAttack(threat, steps=2, queries=8).run(model, images, labels)
    assert run.images.shape == images.shape
    assert bool((threat.norm(run.images - images) <= threat.radius * (1 + 1e-5)).all())
    assert 0 <= run.images.min() <= run.images.max() <= 1
    assert Square(threat, queries=3)(model, images[:1], labels[:1]).shape == (1, *shape)


def test_other_memory_layouts() -> None:
    """Images and weights in channels-last memory: `.view` inside the library would fail on them."""
    model = small_model(4, shape=(3, 6, 6)).to(memory_format=torch.channels_last)
    images, labels = batch(model, 6, shape=(3, 6, 6))
    for threat in THREATS:
        attack = AutoAttack(threat, steps=3, queries=5)
        found = attack(model, images.contiguous(memory_format=torch.channels_last), labels)
        assert torch.equal(found, attack(model, images, labels))


# Nothing is touched, and everything is repeatable


@each
def test_model_is_left_as_found(attack: Any) -> None:
    model = small_model()
    images, labels = batch(model)
    model[1].train()  # the attack must look at it in evaluation mode, and put it back
    model[0].weight.requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)
    torch.manual_seed(11)
    before, pixels = state(model), images.clone()
    attack(model, images, labels)
    assert state(model) == before
    assert torch.equal(images, pixels)


class Raising(nn.Module):
    """Fails from a given call on; copies of it count together."""

    left = 0

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        Raising.left -= 1
        if Raising.left < 0:
            raise RuntimeError("in the middle")
        return self.inner(x)


@pytest.mark.parametrize("attack", ATTACKS[:-1], ids=lambda a: f"{type(a).__name__}-{a.threat}")
@pytest.mark.parametrize("at", [1, 3, 8])
def test_model_is_left_as_found_when_it_raises(attack: Any, at: int) -> None:
    """At call 8 pyautoattack's tracer is on."""
    model, Raising.left = Raising(small_model()).train(), at - 1
    images, labels = batch(small_model())
    torch.manual_seed(11)
    before = state(model)
    with pytest.raises(RuntimeError, match="in the middle"):
        attack(model, images, labels)
    assert state(model) == before


def test_tracer_of_a_debugger_survives() -> None:
    def tracer(*_: Any) -> None:
        """Do nothing."""

    model, old = small_model(), sys.gettrace()
    sys.settrace(tracer)
    try:
        AutoAttack(Linf(0.06), steps=1, queries=1)(model, *batch(model))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(old)


@each
def test_same_seed_same_result(attack: Any) -> None:
    model = small_model()
    images, labels = batch(model)
    torch.manual_seed(1)
    first = attack(model, images, labels)
    torch.manual_seed(2)
    assert torch.equal(first, attack(model, images, labels))
    drawn = [attack(model, images, labels, generator=torch.Generator().manual_seed(s)) for s in (5, 5)]
    assert torch.equal(drawn[0], drawn[1])


def test_another_seed_another_result() -> None:
    model = small_model()
    images, labels = batch(model)
    found = [Square(Linf(0.06), queries=30, seed=s)(model, images, labels) for s in (0, 1)]
    assert not torch.equal(*found)
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(*[Square(Linf(0.06), queries=30)(model, images, labels, generator=generator) for _ in range(2)])


@each
def test_plain_functions_inference_mode_and_silence(attack: Any) -> None:
    """A function instead of a module, images made in inference mode, and no line printed."""
    model = small_model()
    images, labels = batch(model)
    expected = attack(model, images, labels)
    said = StringIO()
    with redirect_stdout(said), torch.inference_mode():
        fast = getattr(attack, "fast", False)
        found = attack(model if fast else lambda x: model(x), images.clone(), labels)
    assert torch.equal(found, expected)
    assert said.getvalue() == ""
    assert all(p.grad is None for p in model.parameters())


# Flags


class Odd(nn.Module):
    """A linear classifier with one defect."""

    def __init__(self, defect: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.defect = nn.Linear(16, 4), defect

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x.flatten(1))
        if self.defect == "randomised":
            logits = logits + torch.randn_like(logits)
        if self.defect == "dynamic":
            with torch.enable_grad():
                inside = x.detach().requires_grad_()
                torch.autograd.grad(self.linear(inside.flatten(1)).sum(), inside)
        return {"probabilities": logits.softmax(1), "no gradient": logits.detach(),
                "zero gradients": logits - logits.detach() * 0 if self.defect != "zero gradients" else torch.sign(logits)}.get(self.defect, logits)


@pytest.mark.parametrize("kind", ["randomised", "probabilities", "no gradient", "zero gradients", "dynamic"])
def test_flags(kind: str) -> None:
    model = Odd(kind).eval()
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    attack = AutoAttack(Linf(0.05), steps=3, queries=5)
    assert kind in [flag.kind for flag in attack.run(model, images, labels).flags]
    with pytest.warns(AttackWarning, match=kind):
        attack(model, images, labels)


def test_no_flags_on_an_honest_model_after_a_dynamic_one() -> None:
    """pyautoattack itself goes on to call every later model dynamic."""
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    attack = AutoAttack(Linf(0.05), steps=20, queries=5)
    for defect in ("dynamic", ""):
        model = Odd(defect).eval()
        run = attack.run(model, images, model(images).argmax(1))
    assert run.flags == ()
    assert "flag" not in str(run)


def test_square_gain_is_flagged() -> None:
    """A model whose gradient points nowhere: Square is the only member that fools it."""
    linear = small_model(4)
    images, labels = batch(linear, 10)
    run = AutoAttack(Linf(0.1), steps=3, queries=200).run(lambda x: linear(x.detach()), images, labels)
    assert {"square gain", "no gradient"} <= {flag.kind for flag in run.flags}
    assert run.accuracy["fab-t"] > run.accuracy["square"] + 0.1


@pytest.mark.parametrize(("classes", "version", "gone"), [(2, "standard", "apgd-t"), (3, "standard", "apgd-t"), (2, "plus", "apgd-dlr and apgd-t"),
                                                          (3, "plus", "apgd-t"), (2, "rand", "apgd-dlr")])
def test_members_left_out_are_flagged(classes: int, version: Any, gone: str) -> None:
    model = small_model(classes)
    flags = AutoAttack(Linf(0.01), version=version, steps=1, queries=1).run(model, *batch(model)).flags
    assert [f.message.split(" left")[0] for f in flags if f.kind == "classes"] == [gone]
    assert not [f for f in flags if f.kind == "other"]


def test_unconfirmed_is_flagged_and_searched_again() -> None:
    """A fast copy that disagrees with the model: what it calls fooled is not, and the model itself is attacked."""
    model = small_model()
    images, labels = batch(model)
    attack, wrong = AutoAttack(Linf(0.06), steps=5, queries=15, fast=True), small_model(seed=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_fast_copy", lambda *_: wrong)
        run = attack.run(model, images, labels)
    confirmed = model(run.images).argmax(1) != labels
    assert torch.equal(run.fooled, confirmed)
    assert int(run.fooled.sum()) > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoAttack, "_again", LibraryAttack._again)
        patch.setattr(library, "_fast_copy", lambda *_: wrong)
        assert "unconfirmed" in [f.kind for f in attack.run(model, images, labels).flags]


def test_fast_finds_the_same_survivors() -> None:
    model = small_model(10)
    images, labels = batch(model, 16)
    slow, fast = (AutoAttack(Linf(0.03), steps=20, queries=100, fast=f).run(model, images, labels) for f in (False, True))
    assert 0.1 < slow.robust_accuracy < 0.9
    assert torch.equal(slow.fooled, fast.fooled)


def test_fast_copy() -> None:
    """Folded where the model can be traced, as it is where it cannot; the model itself keeps its memory format."""

    class Branching(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    images = torch.rand(2, 3, 6, 6)
    for model, norms in ((small_model(shape=(3, 6, 6)), 0), (Branching(*small_model(shape=(3, 6, 6))).eval(), 1)):
        copy = library._fast_copy(model, images)
        assert sum(isinstance(m, nn.BatchNorm2d) for m in copy.modules()) == norms
        assert torch.allclose(copy(images), model(images), atol=1e-4)
        weights = [next(p for p in m.parameters() if p.ndim == 4) for m in (model, copy)]
        assert [w.is_contiguous(memory_format=torch.channels_last) for w in weights] == [False, True]
        assert not any(p.requires_grad for p in copy.parameters())


# What a run tells


def test_run_counts_images() -> None:
    model = small_model()
    images, labels = batch(model, 6)
    labels[0] = model(images)[0].argmax()
    run = Square(Linf(1e-6), queries=7).run(model, images, labels)
    assert run.robust_accuracy == 1
    assert run.accuracy == {"clean": 1.0, "square": 1.0}
    assert run.forwards["square"] == 6 * (1 + 1 + 7 + 1)
    assert run.backwards == {}
    apgd = APGD(Linf(1e-6), steps=5).run(model, images, labels)
    assert apgd.forwards["apgd-ce"] == 6 * (1 + 1 + 5)
    assert apgd.backwards["apgd-ce"] == 6 * (1 + 5)
    assert "clean 1.000 > apgd-ce 1.000" in str(apgd)
    assert isinstance(apgd, AttackRun)


def test_batch_size_is_part_of_the_settings() -> None:
    assert "batch_size=250" in str(AutoAttack(Linf(0.1)))
    assert "batch_size=32" in repr(AutoAttack(Linf(0.1), batch_size=32))
    text = str(AutoAttack(Linf(0.1), version="custom", attacks=("apgd-ce", "square")))
    assert "attacks=('apgd-ce', 'square')" in text


def test_custom_members_and_robust_accuracy() -> None:
    model = small_model()
    images, labels = batch(model)
    attack = AutoAttack(Linf(0.06), version="custom", attacks=("square", "apgd-dlr", "fab"), steps=4, queries=10, batch_size=16)
    run = attack.run(model, images, labels)
    assert list(run.accuracy) == ["clean", "square", "apgd-dlr", "fab"][: len(run.accuracy)]
    assert robust_accuracy(model, images, labels, attack, batch_size=16) == pytest.approx(run.robust_accuracy)


def test_model_view_shows_no_parameter() -> None:
    model = small_model()
    view = ModelView(model, torch.rand(1, 1, 6, 6))
    assert list(view.parameters()) == list(view.children()) == []
    x = torch.rand(2, 1, 6, 6, requires_grad=True)
    assert torch.equal(view(x), model(x))
    (ours,) = torch.autograd.grad(view(x).square().sum(), x)
    (plain,) = torch.autograd.grad(model(x).square().sum(), x)
    assert torch.equal(ours, plain)
    flat = ModelView(nn.Flatten(), x)
    flat(x.detach()).fill_(7)  # a model may return a view of its input
    assert x.max() <= 1


# Errors


@pytest.mark.parametrize("kind", [AutoAttack, APGD, Square, CarliniWagner, DDN])
def test_not_a_threat(kind: Any) -> None:
    with pytest.raises(TypeError, match="threat must be Linf, L2"):
        kind(0.3)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AutoAttack(Linf(0.1), version="best"), "version must be"),
    (lambda: AutoAttack(Linf(0.1), version="custom"), "attacks must be given"),
    (lambda: AutoAttack(Linf(0.1), attacks=("square",)), "attacks must be given"),
    (lambda: AutoAttack(Linf(0.1), version="custom", attacks=("pgd",)), "attacks must be a tuple of names"),
    (lambda: AutoAttack(Linf(0.1), version="custom", attacks="fab"), "attacks must be a tuple"),
    (lambda: AutoAttack(Linf(0.1), batch_size=0), "batch_size"), (lambda: AutoAttack(Linf(0.1), seed=-1), "seed"),
    (lambda: APGD(Linf(0.1), loss="mse"), "loss must be"), (lambda: APGD(Linf(0.1), steps=0), "steps"),
    (lambda: APGD(Linf(0.1), restarts=0), "restarts"), (lambda: Square(Linf(0.1), queries=0), "queries"),
    (lambda: CarliniWagner(step_size=0), "step_size"), (lambda: CarliniWagner(confidence=-1), "confidence"),
    (lambda: DDN(gamma=1.0), "gamma must lie"), (lambda: DDN(init_radius=float("nan")), "init_radius")])
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_shared_form_is_no_attack() -> None:
    with pytest.raises(TypeError, match="use AutoAttack"):
        LibraryAttack(Linf(0.1))


@pytest.mark.parametrize(("loss", "classes"), [("dlr", 2), ("targeted", 3)])
def test_too_few_classes(loss: Any, classes: int) -> None:
    model = small_model(classes)
    with pytest.raises(ValueError, match=f"got {classes}; use loss='ce'"):
        APGD(Linf(0.1), loss=loss)(model, *batch(model))


@each
def test_bad_input(attack: Any) -> None:
    model = small_model()
    images, labels = batch(model)
    cases: list[tuple[Any, Any, Any, type[Exception], str]] = [
        (model, images + 1, labels, ValueError, "must lie in"), (model, images * float("nan"), labels, ValueError, "finite"),
        (model, images, labels + 3, ValueError, r"labels must lie in 0\.\.3"), (model, images, labels[:3], ValueError, "labels must have shape"),
        (model, images.half(), labels, TypeError, "single or double"), (model, images.numpy(), labels, TypeError, "torch tensor"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), images, labels, ValueError, "K >= 2"),
        (nn.Conv2d(1, 1, 1), images, labels, ValueError, r"logits \[N, K\]")]
    for broken, x, y, error, message in cases:
        with pytest.raises(error, match=message):
            attack(broken, x, y)


def test_outputs_that_are_no_logits() -> None:
    images, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
    with pytest.raises(TypeError, match="got tuple"):
        Square(Linf(0.1))(lambda x: (x.flatten(1),), images, labels)
    with pytest.raises(ValueError, match="got NaN"):
        Square(Linf(0.1))(lambda x: x.flatten(1) * float("nan"), images, labels)
    with pytest.raises(TypeError, match=r"fast=True needs a torch\.nn\.Module"):
        AutoAttack(Linf(0.1), fast=True)(lambda x: x.flatten(1), images, labels)


@pytest.mark.parametrize(("attack", "name", "cure"), [(AutoAttack(Linf(0.1)), "pyautoattack", "pyautoattack>=0.2"),
                                                      (APGD(Linf(0.1)), "pyautoattack.autopgd_base", "pyautoattack>=0.2"),
                                                      (Square(Linf(0.1)), "pyautoattack.square", "pyautoattack>=0.2"),
                                                      (DDN(), "foolbox", r"robinfo\[attacks\]"),
                                                      (CarliniWagner(), "foolbox", "scipy below 2")])
def test_library_missing(attack: Any, name: str, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    images, labels = batch(model)
    before = state(model)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=cure):
        attack(model, images, labels)
    monkeypatch.undo()
    assert state(model) == before
