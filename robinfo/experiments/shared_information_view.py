"""The information view of the shared-information paper (2022): what five objectives do to their representations, on one page.

For each trained network the dependence between clean and attacked representation (HSIC and the bound that MINE trains), the divergence
between their laws, the vulnerability of the representation, the accuracy that Theorem 3.4 (sharp) allows above it, and the accuracy measured.
"""
from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robinfo.attacks import PGD
from robinfo.data import to_float
from robinfo.dependence import HSIC, MINE
from robinfo.estimators import donsker_varadhan
from robinfo.experiments.record import Row, markdown_table
from robinfo.experiments.shared_information_study import (
    METHODS,
    PAPER_MODEL,
    Count,
    Settings,
    Study,
    Variant,
    evaluation_attacks,
)
from robinfo.figures import BLACK, BLUE, GREEN, GREY, ORANGE, RED
from robinfo.latent import GaussianLatent
from robinfo.models import split_last_layer
from robinfo.objectives.shared_information import symmetric_kl
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.theory.fano import adversarial_accuracy_upper_bound
from robinfo.vulnerability import VulnerabilityEstimate, estimate_vulnerability

__all__ = ["Estimate", "InformationView", "Measured", "Measures", "Representation", "information_view", "plot_information_view"]

Interval = tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How the quantities of the page are estimated.

    Parameters
    ----------
    pgd_steps : int
        Of the PGD that makes the attacked images, on which everything but the vulnerability rests.
    batch_size : int
        Pairs in one estimate; no estimate of an information exceeds its logarithm.
    neighbours : int
        Of the bandwidth of HSIC; the paper has 10.
    pair_images : int
        Training images whose pairs train the critic of MINE.
    critic_images : int
        Training images of the two critics of the vulnerability.
    hidden : sequence of int
        Widths of MINE's critic; the paper has 512 and 512.
    mine_epochs, critic_epochs : int
        Passes of the two kinds of critics.
    learning_rate : float
        Of Adam, for all critics.
    critic_width, critic_channels : int
        Sizes of the critics of the vulnerability.
    critic_steps : int
        Steps of the search of their worst case.

    Raises
    ------
    ValueError
        Fewer training images than one batch, or a batch too small for the neighbours.

    Examples
    --------
    >>> round(Measures(batch_size=128).ceiling, 3)
    4.852
    """

    pgd_steps: int = 40
    batch_size: int = 128
    neighbours: int = 10
    pair_images: int = 10_000
    critic_images: int = 10_000
    hidden: Sequence[int] = (512, 512)
    mine_epochs: int = 30
    critic_epochs: int = 10
    learning_rate: float = 1e-3
    critic_width: int = 256
    critic_channels: int = 16
    critic_steps: int = 10

    def __post_init__(self) -> None:
        if self.batch_size <= self.neighbours:
            raise ValueError(f"batch_size must exceed the {self.neighbours} neighbours of the bandwidth, got {self.batch_size}; raise it")
        for name in ("pair_images", "critic_images"):
            if getattr(self, name) < self.batch_size:
                raise ValueError(f"{name} must fill one batch of {self.batch_size}, got {getattr(self, name)}; raise it or lower batch_size")

    @property
    def ceiling(self) -> float:
        """Largest information that a batch can show, nats."""
        return math.log(self.batch_size)


# --- representations ----------------------------------------------------------------------------------------------------
class Representation(nn.Module):
    """What a classifier's last layer receives: mean and standard deviation of a Gaussian latent, or features, whose law is a point.

    Parameters
    ----------
    model : nn.Module
        A `GaussianLatent`, or a classifier with a linear last layer.

    Examples
    --------
    >>> from robinfo.models import classifier
    >>> plain = Representation(classifier("small_cnn", in_channels=1, image_size=28).eval())
    >>> plain.gaussian, plain(torch.zeros(2, 1, 28, 28)).shape
    (False, torch.Size([2, 200]))
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.gaussian = isinstance(model, GaussianLatent)
        self.model = model if self.gaussian else split_last_layer(model)[0]
        self.train(model.training)

    def law(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each image's representation.

        Parameters
        ----------
        images : Tensor
            [N, C, H, W].

        Returns
        -------
        mean, std : Tensor
            [N, d] each; the deviation of a point is 0.
        """
        if isinstance(self.model, GaussianLatent):
            return self.model.encode(images)
        features = self.model(images)
        return features, torch.zeros_like(features)

    def forward(self, images: Tensor) -> Tensor:
        """The mean, on which a network that answers by its mean builds."""
        return self.law(images)[0]


class _Views(NamedTuple):
    """Laws of the representations of clean and attacked images, [N, d] each."""

    mean: Tensor
    std: Tensor
    other_mean: Tensor
    other_std: Tensor

    def draw(self, rows: slice | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One draw of each law for some images: z and z'."""
        noise = [torch.randn(self.mean[rows].shape, generator=generator) for _ in range(2)]
        return self.mean[rows] + self.std[rows] * noise[0], self.other_mean[rows] + self.other_std[rows] * noise[1]

    def scaled(self, like: _Views) -> _Views:
        """Shifted and scaled so that draws on other images have mean 0 and, over all coordinates, variance 1; no information changes."""
        centre = torch.cat([like.mean, like.other_mean]).mean(0)
        between = torch.cat([like.mean - centre, like.other_mean - centre]).square().mean()
        spread = (between + torch.cat([like.std, like.other_std]).square().mean()).sqrt().clamp_min(1e-9)
        return _Views((self.mean - centre) / spread, self.std / spread, (self.other_mean - centre) / spread, self.other_std / spread)


@torch.no_grad()
def _views(representation: Representation, images: Tensor, attacked: Tensor) -> _Views:
    """The laws of both views, on the CPU."""
    laws = [[torch.cat(parts).cpu() for parts in zip(*(representation.law(x) for x in batch.split(500)), strict=True)]
            for batch in (images, attacked)]
    return _Views(*laws[0], *laws[1])


# --- estimates ----------------------------------------------------------------------------------------------------------
class Estimate(NamedTuple):
    """A number with its interval over images or batches.

    Attributes
    ----------
    value : float
        The mean.
    interval : (float, float) or None
        95 %, Student; None for a single batch.
    """

    value: float
    interval: Interval


def _estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of several values."""
    return Estimate(math.fsum(values) / len(values), mean_interval(values))


def _batches(count: int, size: int) -> Iterator[slice]:
    """Batches of one size; the remainder is left out."""
    if count < size:
        raise ValueError(f"test_images must fill one batch of {size}, got {count}; raise it or lower batch_size")
    yield from (slice(start, start + size) for start in range(0, count - size + 1, size))


def _hsic(views: _Views, measures: Measures, seed: int) -> tuple[Estimate, Estimate]:
    """HSIC of z and z', and of z with the z' of another image: what a batch shows without any dependence."""
    generator, measure = torch.Generator().manual_seed(seed), HSIC(k=measures.neighbours)
    joint, apart = [], []
    for rows in _batches(len(views.mean), measures.batch_size):
        z, other = views.draw(rows, generator)
        joint.append(float(measure(z, other)))
        apart.append(float(measure(z, other[torch.randperm(len(other), generator=generator)])))
    return _estimate(joint), _estimate(apart)


def _mine(train: _Views, test: _Views, measures: Measures, seed: int) -> Estimate:
    """The Donsker-Varadhan bound on held-out batches, by a critic that MINE trained on other images.

    The last fifth of those images chooses the epoch; where no epoch beats a constant critic, that one is taken: 0.
    """
    train, test = train.scaled(train), test.scaled(train)
    kept = max(measures.batch_size, len(train.mean) - max(measures.batch_size, len(train.mean) // 5))
    fit, choice = _Views(*(part[:kept] for part in train)), _Views(*(part[-measures.batch_size :] for part in train))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        best, chosen = 0.0, None
        for critic in _trained_critics(fit, measures, generator):
            value = _bound(critic, choice, slice(None), generator)
            if value > best:
                best, chosen = value, copy.deepcopy(critic)
    if chosen is None:
        return Estimate(0.0, None)
    return _estimate([_bound(chosen, test, rows, generator) for rows in _batches(len(test.mean), measures.batch_size)])


def _trained_critics(views: _Views, measures: Measures, generator: torch.Generator) -> Iterator[nn.Module]:
    """The critic after each epoch, with fresh draws in every step."""
    measure, count = MINE(tuple(measures.hidden)), len(views.mean)
    critic = measure.auxiliary(views.mean.shape[1], views.mean.shape[1])
    optimizer = torch.optim.Adam(critic.parameters(), measures.learning_rate)
    for _ in range(measures.mine_epochs):
        for rows in torch.randperm(count, generator=generator).split(measures.batch_size)[: count // measures.batch_size]:
            loss = -measure(*views.draw(rows, generator), critic)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield critic


def _bound(critic: nn.Module, views: _Views, rows: slice, generator: torch.Generator) -> float:
    """The bound on all pairs of one batch, nats."""
    return float(donsker_varadhan(_scores(critic, *views.draw(rows, generator)), negatives="all"))


@torch.no_grad()
def _scores(critic: nn.Module, z: Tensor, other: Tensor) -> Tensor:
    """The critic on all pairs of a batch, [N, N]."""
    return torch.stack([critic(row.expand_as(other), other) for row in z])


@torch.no_grad()
def _answer_divergence(model: nn.Module, images: Tensor, attacked: Tensor) -> Estimate:
    """Symmetrised divergence between the probabilities that the network gives before and after the attack, nats."""
    logs = [torch.cat([model(x) for x in batch.split(500)]).double().log_softmax(1) for batch in (images, attacked)]
    return _estimate((((logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])).sum(1) / 2).tolist())


# --- the page -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measured:
    """What was measured on one network.

    Attributes
    ----------
    gaussian : bool
        Whether its representation is a Gaussian; else a point.
    width : int
        Length of the representation.
    count : Count
        Correct test images under PGD.
    hsic, hsic_apart : Estimate
        Of clean and attacked representation, and of pairs that do not belong together.
    mine : Estimate
        Bound on their information, nats.
    divergence : Estimate or None
        Symmetrised divergence between their laws, nats; None: infinite, between different points.
    answers : Estimate
        The same between the probabilities of the classes.
    vulnerability : VulnerabilityEstimate
        Normal and worst-case information of the representation's mean.
    """

    gaussian: bool
    width: int
    count: Count
    hsic: Estimate
    hsic_apart: Estimate
    mine: Estimate
    divergence: Estimate | None
    answers: Estimate
    vulnerability: VulnerabilityEstimate

    @property
    def accuracy(self) -> Estimate:
        """Accuracy under PGD, per cent."""
        return Estimate(100 * self.count.correct / self.count.n, binomial_interval(self.count.correct, self.count.n, scale=100))

    def bound(self, num_classes: int) -> Estimate:
        """Accuracy that Theorem 3.4 (sharp) allows at the estimated worst-case information: a plug-in value, not a certificate.

        Parameters
        ----------
        num_classes : int
            K.

        Returns
        -------
        Estimate
            Per cent, with the interval carried through.
        """
        def allowed(information: float) -> float:
            """The bound at one value; negative estimates count as none."""
            return 100 * float(adversarial_accuracy_upper_bound(max(information, 0.0), num_classes, form="sharp"))

        ends = self.vulnerability.worst_case_interval
        return Estimate(allowed(self.vulnerability.worst_case_mi), None if ends is None else (allowed(ends[0]), allowed(ends[1])))


class _Column(NamedTuple):
    """One quantity of the page."""

    name: str
    unit: str
    of: Callable[[Measured, int], Estimate | None]


_COLUMNS = (
    _Column("robust_accuracy", "%", lambda m, k: m.accuracy),
    _Column("accuracy_upper_bound_plug_in", "%", lambda m, k: m.bound(k)),
    _Column("HSIC(z, z')", "", lambda m, k: m.hsic),
    _Column("HSIC of unrelated pairs", "", lambda m, k: m.hsic_apart),
    _Column("MINE, I(z; z')", "nats", lambda m, k: m.mine),
    _Column("symmetrised KL of p(z|x), p(z|x')", "nats", lambda m, k: m.divergence),
    _Column("symmetrised KL of p(y|x), p(y|x')", "nats", lambda m, k: m.answers),
    _Column("normal information", "nats", lambda m, k: Estimate(m.vulnerability.normal_mi, m.vulnerability.normal_interval)),
    _Column("worst-case information", "nats", lambda m, k: Estimate(m.vulnerability.worst_case_mi, m.vulnerability.worst_case_interval)),
    _Column("representation vulnerability", "nats", lambda m, k: Estimate(m.vulnerability.vulnerability, m.vulnerability.vulnerability_interval)),
)


@dataclass(frozen=True)
class InformationView:
    """The page: every quantity of every network.

    Attributes
    ----------
    study : Study
        Data and settings.
    measures : Measures
        How it was estimated.
    networks : dict of str to Measured
        By method; the first seed.
    """

    study: Study
    measures: Measures
    networks: dict[str, Measured]

    @property
    def attack(self) -> str:
        """Name of the attack."""
        return f"PGD-{self.measures.pgd_steps}"

    @property
    def rows(self) -> list[Row]:
        """Every finite number, for ``metrics.json``."""
        return [row for name, network in self.networks.items() for column in _COLUMNS if (row := self._row(name, network, column)) is not None]

    def _row(self, name: str, network: Measured, column: _Column) -> Row | None:
        """One number; None where it is infinite."""
        s, found = self.study.settings, column.of(network, self.study.data.num_classes)
        if found is None:
            return None
        per_image = column.name == "robust_accuracy" or column.name.startswith("symmetrised")
        note = "; ".join(filter(None, (s.reduced(), s.manner(), "latent, answers by its mean" if network.gaussian else "penultimate layer",
                                       "" if per_image else f"batches of {self.measures.batch_size}")))
        return Row(metric=column.name, value=found.value, unit=column.unit, interval=found.interval, dataset=s.dataset,
                   n=network.count.n if per_image else max(1, network.count.n // self.measures.batch_size),
                   model=PAPER_MODEL.get(s.network, s.network), method=name, attack=None if "information" in column.name or "vulner" in column.name
                   or "bound" in column.name else self.attack, threat=str(s.threat), seeds=tuple(s.seeds[:1]), settings=note)

    def table(self) -> str:
        """One line for each network.

        Returns
        -------
        str
            A Markdown table with 95 % intervals: over images for accuracies and divergences, over batches for the rest.
        """
        header = ["method", "z", f"{self.attack}, %", "bound of Th. 3.4, %", "HSIC(z, z')", "HSIC, unrelated", "MINE, nats", "SKL of p(z), nats",
                  "SKL of p(y), nats", "I normal, nats", "I worst case, nats", "RV, nats"]
        return markdown_table(header, [self._line(name, network) for name, network in self.networks.items()])

    def _line(self, name: str, network: Measured) -> list[str]:
        """The cells of one network."""
        kind = f"Gaussian, {network.width}" if network.gaussian else f"point, {network.width}"
        found = [column.of(network, self.study.data.num_classes) for column in _COLUMNS]
        return [name, kind, *("∞ (points)" if f is None else _text(f, c.unit) for f, c in zip(found, _COLUMNS, strict=True))]

    def ranked(self, key: Callable[[Measured], float]) -> list[str]:
        """Methods by a quantity, the largest first.

        Parameters
        ----------
        key : callable
            Of `Measured`.

        Returns
        -------
        list of str
            Names.
        """
        return sorted(self.networks, key=lambda name: -key(self.networks[name]))

    def agreement(self, key: Callable[[Measured], float]) -> tuple[int, int]:
        """In how many pairs of networks a quantity and the accuracy under PGD have the same order.

        Parameters
        ----------
        key : callable
            Of `Measured`.

        Returns
        -------
        (int, int)
            Pairs of the same order, and all pairs; ties are of no order.
        """
        networks = list(self.networks.values())
        pairs = [(a, b) for i, a in enumerate(networks) for b in networks[i + 1 :]]
        return sum((key(a) - key(b)) * (a.accuracy.value - b.accuracy.value) > 0 for a, b in pairs), len(pairs)

    def headline(self) -> str:
        """The claim of the figure, as measured.

        Returns
        -------
        str
            For a title.
        """
        tops = (f"most accurate under {self.attack}: {self.ranked(lambda m: m.accuracy.value)[0]}",
                f"least vulnerable: {self.ranked(lambda m: -m.vulnerability.vulnerability)[0]}",
                f"most shared information: {self.ranked(lambda m: m.mine.value)[0]}")
        return _capital("; ".join(tops))

    def verdict(self) -> str:
        """What the page says about the paper's account, in a few sentences.

        Returns
        -------
        str
            Computed.
        """
        classes, points = self.study.data.num_classes, [name for name, m in self.networks.items() if not m.gaussian]
        above = [name for name, m in self.networks.items() if m.accuracy.value > m.bound(classes).value]
        orders = {"HSIC": self.agreement(lambda m: m.hsic.value), "MINE's bound": self.agreement(lambda m: m.mine.value),
                  "small divergence of the answers": self.agreement(lambda m: -m.answers.value),
                  "small vulnerability": self.agreement(lambda m: -m.vulnerability.vulnerability)}
        s, order = self.study.settings, ", ".join(f"{name} {same} of {pairs}" for name, (same, pairs) in orders.items())
        return (f"Not comparable: the paper has no such page{', ' + s.reduced() if s.reduced() else ''}. {self.headline()}. "
                f"Pairs of networks that a quantity orders as their accuracy under {self.attack} does: {order}. "
                + (f"The divergence between latents is infinite for {', '.join(points)}, whose representations are points, and so may be the information. "
                   if points else "") + f"{self._limits()} "
                + ("Every accuracy lies below its plug-in bound of Theorem 3.4." if not above else
                   f"The accuracy of {', '.join(above)} exceeds its plug-in bound of Theorem 3.4: the worst-case information was underestimated there "
                   f"(critics of {self.measures.critic_epochs} epochs on {self.measures.critic_images} images)."))

    def _limits(self) -> str:
        """What the two estimates of dependence can show and do."""
        near = [name for name, m in self.networks.items() if m.mine.value > 0.95 * self.measures.ceiling]
        felt = [name for name, m in self.networks.items() if (m.hsic.interval or (m.hsic.value,))[0] > (m.hsic_apart.interval or (m.hsic_apart.value,))[-1]]
        return (f"HSIC stands above that of unrelated pairs, beyond both intervals, for {', '.join(felt) or 'no network'}; MINE's bound cannot exceed "
                f"{self.measures.ceiling:.2f} nats" + (f", which {', '.join(near)} nearly reach." if near else "."))


def _capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def _text(found: Estimate, unit: str) -> str:
    """A number with its interval."""
    digits = 1 if unit == "%" else 2 if unit else 4
    ends = "" if found.interval is None else f" [{found.interval[0]:.{digits}f}, {found.interval[1]:.{digits}f}]"
    return f"{found.value:.{digits}f}{ends}"


def information_view(settings: Settings, measures: Measures | None = None, *, methods: Sequence[str] = tuple(METHODS)) -> InformationView:
    """Measure the representations of the networks of Table 4.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose trainings are found again; the first seed is used, and a Gaussian latent answers by its mean.
    measures : Measures, optional
        How to estimate.
    methods : sequence of str
        Out of `METHODS`.

    Returns
    -------
    InformationView
        The page.

    Raises
    ------
    ValueError
        Unknown methods, or too few test images for one batch.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(f"methods must be out of {', '.join(METHODS)}, got {list(methods)}; correct the names")
    measures, study = measures or Measures(), Study(replace(settings, inference="mean"), parts=len(methods))
    return InformationView(study, measures, {name: _measure(study, METHODS[name], measures, settings.seeds[0]) for name in methods})


def _measure(study: Study, variant: Variant, measures: Measures, seed: int) -> Measured:
    """Everything about one network."""
    model, settings = study.trained(variant, seed), study.settings
    device, representation = next(model.parameters()).device, Representation(model)
    images, labels = (part.to(device) for part in study.test)
    pgd = evaluation_attacks(settings, [f"PGD-{measures.pgd_steps}"])[f"PGD-{measures.pgd_steps}"]
    assert isinstance(pgd, PGD)
    search = replace(pgd, drop_fooled="never")  # the worst of all iterates, also for images that are fooled early
    attacked = torch.cat([search(model, x, y) for x, y in zip(images.split(500), labels.split(500), strict=True)])
    with torch.no_grad():
        logits = [torch.cat([model(x) for x in batch.split(500)]).argmax(1) == labels for batch in (images, attacked)]
    count = Count(int((logits[0] & logits[1]).sum()), len(labels), str(search))
    test = _views(representation, images, attacked)
    hsic, apart = _hsic(test, measures, seed)
    mine = _mine(_training_views(study, representation, model, search, measures), test, measures, seed)
    divergence = _estimate(symmetric_kl(*(part.double() for part in test)).tolist()) if representation.gaussian else None
    answers = _answer_divergence(model, images, attacked)
    print(f"  {variant.name}: {100 * count.correct / count.n:.1f} % under {measures.pgd_steps} steps, HSIC {hsic.value:.4f}, MINE {mine.value:.2f}", flush=True)
    return Measured(representation.gaussian, test.mean.shape[1], count, hsic, apart, mine, divergence, answers,
                    _vulnerability(study, variant, representation, images, measures, seed))


def _training_views(study: Study, representation: Representation, model: nn.Module, search: PGD, measures: Measures) -> _Views:
    """The laws of both views on training images, for MINE's critic."""
    chosen = study.data.subset(train=min(measures.pair_images, len(study.data.train_images)), seed=1)
    device = next(model.parameters()).device
    images, labels = (to_float(chosen.train_images.to(device)), chosen.train_labels.to(device))
    attacked = torch.cat([search(model, x, y) for x, y in zip(images.split(500), labels.split(500), strict=True)])
    return _views(representation, images, attacked)


def _vulnerability(study: Study, variant: Variant, representation: Representation, images: Tensor, measures: Measures,
                   seed: int) -> VulnerabilityEstimate:
    """Normal and worst-case information of the representation's mean."""
    chosen = study.data.subset(train=min(measures.critic_images, len(study.data.train_images)), seed=2)
    folder = Path(study.settings.run_dir) / "checkpoints" / f"view-{variant.name.lower()}-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return estimate_vulnerability(
        representation.eval(), to_float(chosen.train_images), images.cpu(), study.settings.threat, epochs=measures.critic_epochs,
        batch_size=measures.batch_size, steps=measures.critic_steps, critic_width=measures.critic_width,
        critic_channels=measures.critic_channels, learning_rate=measures.learning_rate, seed=seed, checkpoint=folder,
        device=study.settings.device, progress=False)


# --- the figure ---------------------------------------------------------------------------------------------------------
def plot_information_view(result: InformationView) -> Any:
    """Six panels, one bar for each network.

    Parameters
    ----------
    result : InformationView
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title names the networks that lead in accuracy, vulnerability and shared information.
    """
    import matplotlib.pyplot as plt

    classes, networks = result.study.data.num_classes, list(result.networks.values())
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 5.4))
    _bars(axes[0, 0], [m.accuracy for m in networks], RED, f"accuracy under {result.attack}, %", marks=[m.bound(classes) for m in networks],
          mark="bound of Theorem 3.4 (plug-in)")
    _bars(axes[0, 1], [m.hsic for m in networks], BLUE, "HSIC(z, z')", marks=[m.hsic_apart for m in networks], mark="unrelated pairs")
    _bars(axes[0, 2], [m.mine for m in networks], BLUE, "MINE's bound on I(z; z'), nats")
    _bars(axes[1, 0], [m.divergence for m in networks], ORANGE, "symmetrised KL of latents, nats")
    _bars(axes[1, 1], [m.answers for m in networks], ORANGE, "symmetrised KL of answers, nats")
    _bars(axes[1, 2], [_lost(m) for m in networks], GREEN, "representation vulnerability, nats")
    for axis in axes.flat:
        axis.set_xticks(range(len(networks)), list(result.networks), fontsize=7)
        axis.set_xlim(-0.6, len(networks) - 0.4)
    s = result.study.settings
    figure.suptitle(result.headline(), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.01, 0.005, f"{s.dataset}, {s.threat}, seed {s.seeds[0]}, {networks[0].count.n} test images; lines: 95 % intervals", fontsize=7)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    plt.close(figure)
    return figure


def _lost(network: Measured) -> Estimate:
    """The vulnerability with its interval."""
    return Estimate(network.vulnerability.vulnerability, network.vulnerability.vulnerability_interval)


def _bars(axis: Any, values: Sequence[Estimate | None], colour: str, label: str, *, marks: Sequence[Estimate] = (), mark: str = "") -> None:
    """One bar with its interval for each network, ∞ where there is no number, and a second value as a line."""
    for i, found in enumerate(values):
        if found is None:
            axis.annotate("∞", (i, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=14, color=GREY)
            continue
        axis.bar(i, found.value, 0.6, color=colour)
        if found.interval is not None:
            axis.vlines(i, *found.interval, color=BLACK, linewidth=1)
    for i, found in enumerate(marks):
        axis.hlines(found.value, i - 0.4, i + 0.4, color=BLACK, linestyles=":", linewidth=1.5, label=mark if i == 0 else None)
    if marks:
        axis.legend(fontsize=6, loc="upper right")
    axis.margins(y=0.35 if marks else 0.15)
    finite = [found.value for found in (*values, *marks) if found is not None]
    if finite and min(finite) < 0:
        axis.axhline(0, color=BLACK, linewidth=0.5)
    axis.set_title(label, fontsize=8, fontweight="normal")
