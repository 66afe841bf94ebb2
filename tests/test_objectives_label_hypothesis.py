"""Objectives of label-hypothesis networks: every bound against the theory, what training finds, what the printed formulas do, the regulariser."""
from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from robinfo.data import ImageDataset
from robinfo.estimators import mmd_squared
from robinfo.label_hypothesis import LabelHypothesisNetwork, label_hypothesis_network
from robinfo.objectives.label_hypothesis import (
    DIVERGENCES,
    VIB,
    InformationElimination,
    LabelHypothesis,
    class_conditional_mmd,
    label_information,
)
from robinfo.theory.divergences import donsker_varadhan_bound, f_divergence, optimal_critic, variational_bound
from robinfo.theory.information import kl_divergence, mutual_information
from robinfo.training import fit
from robinfo.vib import rate, vib_network

SEEDS = st.integers(0, 99_999)
SMOOTH = [name for name in DIVERGENCES if name not in ("dv", "energy", "tv")]


class Population:
    """A random law on a few images and labels, as copies of images with labels in exact proportions."""

    def __init__(self, seed: int, zeros: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.points, self.classes = int(rng.integers(1, 5)), int(rng.integers(2, 6))
        self.counts = rng.integers(0 if zeros else 1, 6, size=(self.points, self.classes))
        self.counts[:, 0] += 1
        self.joint = self.counts / self.counts.sum()
        self.product = np.repeat(self.joint.sum(1, keepdims=True), self.classes, 1) / self.classes
        self.table = rng.normal(size=self.counts.shape) * 10 ** rng.uniform(-2, 0.5)
        cells = [(x, y) for x in range(self.points) for y in range(self.classes) for _ in range(self.counts[x, y])]
        self.index, self.labels = torch.tensor(cells).T

    def value(self, name: str, table: np.ndarray, **keywords: bool) -> float:
        """The objective at a table T[x, y]."""
        return float(label_information(torch.as_tensor(table)[self.index], self.labels, name, **keywords))

    def divergence(self, name: str) -> float:
        """What the objective bounds."""
        return f_divergence("kl" if name in ("dv", "energy") else name, self.joint, self.product)

    @property
    def log_ratio(self) -> np.ndarray:
        """log p(y | x) + log M."""
        with np.errstate(divide="ignore"):
            return np.log(self.joint / self.product)


# --- values -----------------------------------------------------------------------------------------------------------
@given(SEEDS, st.sampled_from(SMOOTH + ["tv"]))
def test_bounds_are_those_of_the_theory(seed: int, name: str) -> None:
    """Scores as log-ratios, turned into critics, give the convex-conjugate bound."""
    p = Population(seed)
    critic = np.tanh(p.table / 2) / 2 if name == "tv" else optimal_critic(name, np.exp(p.table))
    expected = variational_bound(name, critic, critic, p.joint, p.product)
    assert p.value(name, p.table) == pytest.approx(expected, rel=1e-8, abs=1e-9)


@given(SEEDS)
def test_dv_and_energy_against_their_formulas(seed: int) -> None:
    """Donsker-Varadhan from the theory; the energy-based bound is log M minus the cross-entropy, constants and all."""
    p = Population(seed)
    assert p.value("dv", p.table) == pytest.approx(donsker_varadhan_bound(p.table, p.table, p.joint, p.product), rel=1e-9, abs=1e-11)
    scores = torch.as_tensor(p.table)[p.index]
    entropy = float(F.cross_entropy(scores, p.labels))
    assert p.value("energy", p.table) == pytest.approx(math.log(p.classes) - entropy, rel=1e-9, abs=1e-11)
    assert p.value("energy", p.table, printed=True) == pytest.approx(-entropy, rel=1e-9, abs=1e-11) and -entropy <= 0


@given(SEEDS, st.sampled_from(DIVERGENCES))
def test_every_score_gives_a_lower_bound(seed: int, name: str) -> None:
    """No table of scores exceeds its divergence; NWJ, Donsker-Varadhan and energy-based are ordered."""
    p = Population(seed)
    assert p.value(name, p.table) <= p.divergence(name) + 1e-9
    ordered = [p.value(n, p.table) for n in ("kl", "dv", "energy")] + [p.divergence("kl")]
    assert all(low <= high + 1e-9 for low, high in pairwise(ordered))


@given(SEEDS, st.sampled_from(DIVERGENCES))
def test_the_log_ratio_attains_the_divergence(seed: int, name: str) -> None:
    """T = log p(y|x) + log M is optimal for all, with a free constant for dv and a free row for energy; tv needs the sign."""
    p = Population(seed, zeros=False)
    rng = np.random.default_rng(seed + 1)
    free = {"dv": rng.normal(), "energy": rng.normal(size=(p.points, 1))}.get(name, 0.0)
    best = 1e3 * np.sign(p.log_ratio) if name == "tv" else p.log_ratio + free
    assert p.value(name, best) == pytest.approx(p.divergence(name), rel=1e-9, abs=1e-10)


@given(SEEDS, st.sampled_from(SMOOTH))
def test_the_log_ratio_is_the_only_optimum(seed: int, name: str) -> None:
    """Moving the scores away from the log-ratio loses something, in every direction, constants included."""
    p = Population(seed, zeros=False)
    moved = p.log_ratio + np.random.default_rng(seed).choice([-0.3, 0.3]) * (1 if seed % 2 else np.sign(p.table))
    assert p.value(name, moved) < p.divergence(name) - 1e-6


@given(SEEDS)
def test_uniform_hypotheses_make_the_bayes_decision(seed: int) -> None:
    """The ratio to a uniform label law decides for the most probable label, whatever the label frequencies; log M - H(Y|X) is its KL."""
    p = Population(seed)
    assert (p.log_ratio.argmax(1) == p.joint.argmax(1)).all()
    label_law = p.joint.sum(0)
    excess = mutual_information(p.joint) + math.log(p.classes) + float((label_law[label_law > 0] * np.log(label_law[label_law > 0])).sum())
    assert p.divergence("kl") == pytest.approx(excess, abs=1e-9)


def test_huge_scores_are_finite() -> None:
    """On large scores the stable forms hold: dv, energy and js do not overflow, in single and half precision (js pays for overconfidence)."""
    scores, labels = torch.tensor([[300.0, -300.0], [-300.0, 300.0]]), torch.tensor([0, 1])
    for name, expected in (("dv", math.log(2)), ("energy", math.log(2)), ("js", 2 * math.log(2) - 150)):
        for dtype in (torch.float32, torch.bfloat16):
            assert float(label_information(scores.to(dtype), labels, name)) == pytest.approx(expected, abs=1e-5)
    gradient = torch.autograd.grad(label_information(scores.requires_grad_(), labels, "js"), scores)[0]
    assert bool(torch.isfinite(gradient).all())


# --- the printed formulas ---------------------------------------------------------------------------------------------
@given(SEEDS)
def test_equation_2_as_printed_has_no_supremum(seed: int) -> None:
    """Adding c to all scores adds at least c - 2 log-sum terms: above twice the Jensen-Shannon divergence, and without limit."""
    p = Population(seed)
    values = [p.value("js", p.table + shift, printed=True) for shift in (0.0, 50.0, 100.0)]
    assert values[2] - values[1] == pytest.approx(50.0, rel=1e-6) and values[2] > p.divergence("js") + 40
    assert p.value("js", p.table - 200.0, printed=True) < -150  # Appendix C minimises it: no infimum either


def test_equation_2_as_printed_drives_every_score_up() -> None:
    """Its gradient with respect to every score is positive, right label or wrong."""
    scores, labels = torch.randn(20, 5, requires_grad=True), torch.arange(20) % 5
    (gradient,) = torch.autograd.grad(label_information(scores, labels, "js", printed=True), scores)
    assert bool((gradient > 0).all())
    (corrected,) = torch.autograd.grad(label_information(scores, labels, "js"), scores)
    assert bool((corrected < 0).any() and (corrected > 0).any())


# --- training: what a network learns ----------------------------------------------------------------------------------
def known_problem() -> tuple[Population, Tensor]:
    """A law on four images of four pixels and three labels, and the images."""
    p = Population(0, zeros=False)
    rng = np.random.default_rng(5)
    p.points, p.classes = 4, 3
    p.counts = np.array([rng.multinomial(20, rng.dirichlet(np.ones(3))) + 2 for _ in range(4)])
    p.joint = p.counts / p.counts.sum()
    p.product = np.repeat(p.joint.sum(1, keepdims=True), 3, 1) / 3
    cells = [(x, y) for x in range(4) for y in range(3) for _ in range(p.counts[x, y])]
    p.index, p.labels = torch.tensor(cells).T
    return p, torch.eye(4).reshape(4, 1, 2, 2)


def trained(objective: LabelHypothesis, steps: int = 400) -> tuple[np.ndarray, Population]:
    """Scores of a small label-hypothesis network after full-batch training on the known problem."""
    p, pictures = known_problem()
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4 + 3, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    network = LabelHypothesisNetwork(nn.Flatten(), trunk, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss, _ = objective.loss(network, None, pictures[p.index], pictures[p.index], p.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network(pictures).detach().double().numpy(), p


@pytest.mark.parametrize("name", [n for n in DIVERGENCES if n != "tv"])
def test_a_trained_network_approximates_the_log_posterior(name: str) -> None:
    """T = log p(y|x) + log M to 0.01 nats, up to one constant for dv and one per image for energy."""
    scores, p = trained(LabelHypothesis(name))
    error = scores - p.log_ratio
    if name in ("dv", "energy"):
        assert np.abs(error).max() > 0.05  # the freedom is used
        error = error - (error.mean() if name == "dv" else error.mean(1, keepdims=True))
    assert np.abs(error).max() < 0.01
    assert p.value(name, scores) == pytest.approx(p.divergence(name), abs=1e-4)


def test_total_variation_learns_signs_at_most() -> None:
    """Its scores run away from the log-ratio, and the value stays below the divergence."""
    scores, p = trained(LabelHypothesis("tv"))
    assert np.abs(scores - p.log_ratio).max() > 1 and 0 < p.value("tv", scores) <= p.divergence("tv") + 1e-9


def test_the_printed_equation_2_does_not_approximate_it() -> None:
    """Every score is far above the log-ratio, further with more steps, and removing a constant does not help."""
    errors = [trained(LabelHypothesis("js", printed=True), steps)[0] - known_problem()[0].log_ratio for steps in (100, 300)]
    assert errors[0].min() > 5 and errors[1].min() > 2 * errors[0].min()
    assert np.abs(errors[1] - errors[1].mean()).max() > 0.5


# --- the regulariser --------------------------------------------------------------------------------------------------
def layer(seed: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Activations [N, M, D] and labels, classes missing and with one image included."""
    rng = np.random.default_rng(seed)
    count, size = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    return torch.as_tensor(rng.normal(size=(count, classes, size)) * 10 ** rng.uniform(-2, 1)), torch.as_tensor(rng.integers(0, classes, count))


@given(SEEDS, st.sampled_from([0.3, 1.0]))
def test_class_conditional_mmd_is_the_estimator_pair_by_pair(seed: int, bandwidth: float) -> None:
    """For every hypothesis and class; a missing class has 0, a class that is the whole batch has 0."""
    hidden, labels = layer(seed)
    values = class_conditional_mmd(hidden, labels, bandwidth)
    for y in range(4):
        for c in range(4):
            rows = hidden[:, y]
            members = rows[labels == c]
            expected = float(mmd_squared(members, rows, bandwidth)) if len(members) else 0.0
            assert float(values[y, c]) == pytest.approx(expected, abs=1e-9)
    if len(labels.unique()) == 1:
        assert float(values.abs().max()) < 1e-12


@given(SEEDS)
def test_references_differ_by_the_class_sizes(seed: int) -> None:
    """The balanced reference is the batch with classes weighted equally: the same for equal sizes, a replicated batch otherwise."""
    hidden, labels = layer(seed)
    sizes = torch.bincount(labels, minlength=4)
    least = math.lcm(*[int(s) for s in sizes if s > 0])
    copies = torch.cat([torch.nonzero(labels == c)[:, 0].repeat(least // int(s)) for c, s in enumerate(sizes) if s > 0])
    expected = class_conditional_mmd(hidden[copies], labels[copies])
    torch.testing.assert_close(class_conditional_mmd(hidden, labels, reference="balanced"), expected, rtol=1e-9, atol=1e-10)


@given(SEEDS)
def test_mmd_never_exceeds_the_divergence_of_the_class(seed: int) -> None:
    """On layers with few values: MMD^2 of a class is at most its KL divergence from the batch, nats."""
    rng = np.random.default_rng(seed)
    states, labels = rng.integers(0, 3, size=(12, 4)), np.arange(12) % 4
    values = class_conditional_mmd(torch.as_tensor(states, dtype=torch.double)[:, :, None], torch.as_tensor(labels))
    for y in range(4):
        laws = np.array([np.bincount(states[labels == c, y], minlength=3) / 3 for c in range(4)])
        assert (values[y].numpy() <= kl_divergence(laws, np.broadcast_to(laws.mean(0), laws.shape)) + 1e-9).all()


@given(SEEDS, st.sampled_from(DIVERGENCES))
def test_what_a_layer_without_label_information_leaves(seed: int, name: str) -> None:
    """The bound of scores computed from a layer is at most the mean divergence of the hypothesis's own class from the batch."""
    rng = np.random.default_rng(seed)
    states, labels = rng.integers(0, 3, size=(12, 4)), np.arange(12) % 4
    if seed % 3 == 0:  # the same law for every class, under every hypothesis
        states = np.stack([np.concatenate([rng.permutation(3) for _ in range(4)]) for _ in range(4)], 1)
        labels = np.repeat(np.arange(4), 3)
    table = rng.normal(size=(4, 3))
    scores = torch.as_tensor(table[np.arange(4), states])
    value = float(label_information(scores, torch.as_tensor(labels), name))
    laws = np.array([[np.bincount(states[labels == c, y], minlength=3) / 3 for c in range(4)] for y in range(4)])
    own, whole = laws[np.arange(4), np.arange(4)], laws.mean(1)
    if name != "energy":
        limit = np.mean([f_divergence("kl" if name == "dv" else name, a, b) for a, b in zip(own, whole, strict=True)])
        assert value <= limit + 1e-9
    if seed % 3 == 0:
        assert value <= 1e-9


def test_accuracy_can_survive_what_no_objective_sees() -> None:
    """The wrapped clock: every class has the same law under every hypothesis, and 9 of 10 decisions are right."""
    clock, labels = torch.arange(10).repeat(2), torch.arange(2).repeat_interleave(10)
    scores = torch.stack([clock, (clock + 2 * labels - 1) % 10], 1).double()
    assert float((scores.argmax(1) == labels).double().mean()) == 0.9
    assert float(class_conditional_mmd(scores[:, :, None], labels).abs().max()) < 1e-12
    assert all(float(label_information(0.1 * scores, labels, name)) <= 1e-12 for name in DIVERGENCES)


def test_saturated_kernels_have_the_value_of_the_batch_and_no_gradient() -> None:
    """Far points: 1/n - 1/m; near points: 0; the median rule does not see the scale."""
    labels = torch.arange(40) % 4
    raw = torch.randn(40, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double).requires_grad_()
    far = class_conditional_mmd(1e3 * raw, labels)
    torch.testing.assert_close(far, torch.full((4, 4), 1 / 10 - 1 / 40, dtype=torch.double))
    assert float(torch.autograd.grad(far.sum(), raw)[0].abs().max()) == 0
    assert float(class_conditional_mmd(1e-4 * raw.detach(), labels).abs().max()) < 1e-7
    values = [class_conditional_mmd(scale * raw, labels, "median") for scale in (1e-3, 1.0, 1e3)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(values[2], values[1], rtol=1e-9, atol=1e-12)
    assert float(torch.autograd.grad(values[2].sum(), raw)[0].abs().max()) > 0


def test_a_batch_of_one_or_of_equal_rows_is_defined() -> None:
    """One image, all images equal, one class: zero and a finite gradient, with either bandwidth."""
    for hidden, labels in ((torch.randn(1, 3, 2), torch.tensor([1])), (torch.ones(5, 3, 2), torch.tensor([0, 1, 2, 0, 1]))):
        for bandwidth in (1.0, "median"):
            hidden = hidden.detach().requires_grad_()
            value = class_conditional_mmd(hidden, labels, bandwidth).sum()  # type: ignore[arg-type]
            assert float(value.detach().abs()) < 1e-6
            assert float(torch.autograd.grad(value, hidden)[0].abs().max()) < 1e-6


def network_batch(count: int = 40) -> tuple[LabelHypothesisNetwork, Tensor, Tensor]:
    """The paper's network, small, on random images."""
    torch.manual_seed(0)
    return label_hypothesis_network(image_size=8, width=0.1), torch.rand(count, 1, 8, 8), torch.arange(count) % 10


@pytest.mark.parametrize("layer_name,reached", [("relu2", 2), ("linear2", 2), ("relu1", 1), ("score", 4)])
def test_the_regulariser_trains_the_layers_up_to_its_own(layer_name: str, reached: int) -> None:
    """No gradient for the features, nor for the layers above; the objective's own gradients are unchanged by adding it."""
    network, x, labels = network_batch()
    elimination = InformationElimination(layer_name, bandwidth="median", beta=0.5)
    elimination.penalty(network, network.features(x), labels).backward()
    names = [n for n, p in network.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0]
    expected = [f"trunk.{n}.{k}" for n in ("linear1", "linear2", "linear3", "score")[:reached] for k in ("weight", "bias")]
    assert [n for n in names if n != "trunk.score.bias"] == [n for n in expected if n != "trunk.score.bias"]
    pairs = []
    for e in (None, elimination):
        network.zero_grad()
        LabelHypothesis("dv", e).loss(network.eval(), None, x, x, labels)[0].backward()
        pairs.append([p.grad.clone() for p in network.features.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*pairs, strict=True))


def test_normalisations_and_missing_classes() -> None:
    """Factors 1, M and M^2; a missing class is left out of the mean; with all classes it is the mean over all M^2 pairs."""
    network, x, labels = network_batch()
    features = network.features(x)
    values = class_conditional_mmd(network.hidden(features, "relu2"), labels)
    for normalisation, factor in (("mean", 1), ("sum_hypotheses", 10), ("sum", 100)):
        own = InformationElimination(normalisation=normalisation).penalty(network, features, labels)  # type: ignore[arg-type]
        torch.testing.assert_close(own, factor * values.mean())
    few = labels.clamp(max=6)
    values = class_conditional_mmd(network.hidden(features, "relu2"), few)
    assert float(values[:, 7:].detach().abs().max()) == 0
    torch.testing.assert_close(InformationElimination().penalty(network, features, few), values[:, :7].mean())
    loss, metrics = LabelHypothesis("js", InformationElimination(beta=0.25)).loss(network, None, x, x, few)
    torch.testing.assert_close(loss.detach(), 0.25 * metrics["elimination"] - metrics["information"])


# --- the objectives as objectives -------------------------------------------------------------------------------------
def toy_dataset() -> ImageDataset:
    """Forty random 8 x 8 images whose label is a bright row."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    pictures = torch.randint(0, 60, (40, 1, 8, 8), generator=generator)
    pictures[torch.arange(40), 0, labels] = 250
    pictures = pictures.to(torch.uint8)
    return ImageDataset(name="rows", train_images=pictures, train_labels=labels, test_images=pictures, test_labels=labels,
                        classes=tuple("abcd"))


@pytest.mark.parametrize("objective", [LabelHypothesis("dv"), LabelHypothesis("js", InformationElimination()), LabelHypothesis("energy")], ids=str)
def test_fit_trains_and_resumes(objective: LabelHypothesis, tmp_path: Path) -> None:
    """The engine trains every objective to high accuracy, and continues from a checkpoint."""
    torch.manual_seed(0)
    model = label_hypothesis_network(1, 8, 4, width=0.1)
    settings = {"batch_size": 20, "learning_rate": 5e-3, "device": "cpu", "progress": False, "checkpoint": tmp_path / "a.safetensors"}
    fit(model, objective, toy_dataset(), epochs=10, **settings)  # type: ignore[arg-type]
    history = fit(model, objective, toy_dataset(), epochs=20, **settings)  # type: ignore[arg-type]
    assert len(history.metric("accuracy")) == 20 and history.metric("accuracy")[-1] > 0.9
    assert history.metric("information")[-1] > history.metric("information")[0]


def test_the_energy_objective_is_cross_entropy_for_any_model() -> None:
    """Up to log M, and with the same gradients, also without hypotheses in the network."""
    torch.manual_seed(0)
    model, x, labels = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.rand(7, 1, 8, 8), torch.arange(7)
    loss, metrics = LabelHypothesis("energy").loss(model, None, x, x, labels)
    entropy = F.cross_entropy(model(x), labels)
    torch.testing.assert_close(loss, entropy - math.log(10))
    for own, other in zip(torch.autograd.grad(loss, model.parameters()), torch.autograd.grad(entropy, model.parameters()), strict=True):
        torch.testing.assert_close(own, other)
    assert set(metrics) == {"loss", "accuracy", "information"} and not metrics["loss"].requires_grad


def test_names_are_identities() -> None:
    """Different settings have different texts, which checkpoints compare; names are those of the paper."""
    objectives = [LabelHypothesis(), LabelHypothesis("js"), LabelHypothesis("js", printed=True), LabelHypothesis("energy")]
    objectives += [LabelHypothesis("dv", InformationElimination(**{k: v})) for k, v in (  # type: ignore[arg-type]
        ("layer", "relu1"), ("beta", 0.1), ("bandwidth", "median"), ("bandwidth", 2.0), ("normalisation", "sum"), ("reference", "balanced"))]
    assert len({str(o) for o in objectives}) == len(objectives)
    assert [LabelHypothesis(n).name for n in ("dv", "js", "energy")] == ["C-DV", "C-JS", "C-EB"]
    assert LabelHypothesis("js", InformationElimination()).name == "C-JS-IE"
    assert str(VIB()) == "VIB(beta=0.001, samples=1)"


def test_vib_loss_by_hand() -> None:
    """Cross-entropy of the drawn codes plus beta times the mean rate; several draws average."""
    torch.manual_seed(0)
    model, x, labels = vib_network(image_size=8, width=0.1).eval(), torch.rand(6, 1, 8, 8), torch.arange(6)
    for samples in (1, 3):
        torch.manual_seed(1)
        loss, metrics = VIB(beta=0.3, samples=samples).loss(model, None, x, x, labels)
        mean, std = model.encode(x)
        torch.manual_seed(1)
        codes = mean + std * torch.randn(samples, *mean.shape)
        entropy = torch.stack([F.cross_entropy(model.classify(code), labels) for code in codes]).mean()
        torch.testing.assert_close(loss, entropy + 0.3 * rate(mean, std).mean())
        torch.testing.assert_close(metrics["rate"], rate(mean, std).mean().detach())


# --- bad input --------------------------------------------------------------------------------------------------------
SCORES, LABELS = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("call,error,text", [
    (lambda: LabelHypothesis("wasserstein"), ValueError, "divergence must be one of dv, energy, kl, .* got 'wasserstein'"),
    (lambda: LabelHypothesis("dv", printed=True), ValueError, "printed must be False for 'dv'"),
    (lambda: LabelHypothesis("dv", 0.1), TypeError, "elimination must be InformationElimination"),  # type: ignore[arg-type]
    (lambda: label_information(SCORES, LABELS, "f"), ValueError, "divergence must be one of"),
    (lambda: label_information(SCORES, LABELS + 1), ValueError, r"labels must lie in 0\.\.2, got 1\.\.3"),
    (lambda: label_information(SCORES, LABELS[:3]), ValueError, r"labels must have shape \[4\]"),
    (lambda: label_information(SCORES, LABELS.float()), TypeError, "labels must be an integer tensor"),
    (lambda: label_information(SCORES[0], LABELS), ValueError, r"scores must be \[N, M\] with M >= 2 hypotheses, got \[3\]"),
    (lambda: label_information(SCORES[:, :1], LABELS), ValueError, r"got \[4, 1\]"),
    (lambda: InformationElimination(layer=2), TypeError, "layer must be the name of a layer"),  # type: ignore[arg-type]
    (lambda: InformationElimination(beta=-1.0), ValueError, "beta must be a finite number >= 0"),
    (lambda: InformationElimination(bandwidth=0.0), ValueError, "bandwidth must be a finite number > 0"),
    (lambda: InformationElimination(bandwidth="mean"), TypeError, "bandwidth must be a number"),  # type: ignore[arg-type]
    (lambda: InformationElimination(normalisation="none"), ValueError, "normalisation must be one of"),  # type: ignore[arg-type]
    (lambda: InformationElimination(reference="prior"), ValueError, "reference must be 'batch' or 'balanced'"),  # type: ignore[arg-type]
    (lambda: class_conditional_mmd(torch.zeros(4, 3), LABELS), ValueError, r"hidden must be \[N, M, D\]"),
    (lambda: class_conditional_mmd(torch.zeros(4, 2, 1), LABELS), ValueError, r"labels must lie in 0\.\.1"),
    (lambda: class_conditional_mmd(torch.full((4, 3, 1), torch.nan), LABELS), ValueError, "hidden must be finite"),
    (lambda: LabelHypothesis("dv", InformationElimination("relu7")).loss(*_arguments()), ValueError,
     "layer must be one of linear1, relu1, linear2, relu2, linear3, relu3, score, got 'relu7'"),
    (lambda: LabelHypothesis("dv", InformationElimination()).loss(nn.Flatten(), *_arguments()[1:]), TypeError,
     "needs a LabelHypothesisNetwork, got Flatten"),
    (lambda: LabelHypothesis("dv").loss(*_arguments(classes=10)), ValueError, r"labels must lie in 0\.\.2"),
    (lambda: VIB(beta=math.nan), ValueError, "beta must be a finite number >= 0"),
    (lambda: VIB(samples=0), ValueError, "samples must be a whole number >= 1"),
    (lambda: VIB().loss(*_arguments()), TypeError, "model must be a GaussianLatent, got LabelHypothesisNetwork"),
])
def test_bad_input_says_what_was_expected(call: object, error: type[Exception], text: str) -> None:
    """Every refusal names what was expected, what came, and a cure."""
    with pytest.raises(error, match=text) as caught:
        call()  # type: ignore[operator]
    assert ";" in str(caught.value)


def _arguments(classes: int = 3) -> tuple[nn.Module, None, Tensor, Tensor, Tensor]:
    """Arguments of `Objective.loss` for a network of three classes, with labels of `classes`."""
    x = torch.rand(10, 1, 8, 8)
    return label_hypothesis_network(1, 8, 3, width=0.1), None, x, x, torch.arange(10) % classes
