"""Feature matching in the shared-information paper (2022): Table 7 and Figure 4.

The attack moves an image, within a box, to where its features at a layer are nearest to those of an image of another class.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from robinfo.attacks import FeatureMatching
from robinfo.experiments.record import Row
from robinfo.experiments.shared_information import _variants
from robinfo.experiments.shared_information_study import METHODS, Count, Settings, Study, Variant
from robinfo.experiments.shared_information_tables import Case, Grid, _against, _cells
from robinfo.figures import BLUE, GREEN, ORANGE, PINK, RED, finished
from robinfo.latent import GaussianLatent
from robinfo.models import split_last_layer
from robinfo.objectives import Objective
from robinfo.threats import Linf, Threat

__all__ = ["Matched", "MatchedVariant", "Pictures", "Representation", "RepresentationAttack", "feature_matching", "pictures", "plot_pictures",
           "plot_sigma"]

_PAPER_METHODS = ("Standard", "TRADES", "MART", "Ours")


# --- the attack ---------------------------------------------------------------------------------------------------------
class Representation(nn.Module):
    """A classifier up to the input of its last layer; of a Gaussian latent, the mean.

    Parameters
    ----------
    model : nn.Module
        A classifier that ends with a linear layer, or a `GaussianLatent`.

    Examples
    --------
    >>> Representation(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))(torch.zeros(5, 1, 2, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.features = None if isinstance(model, GaussianLatent) else split_last_layer(model)[0]

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, d].

        Parameters
        ----------
        images : Tensor
            Shape [N, C, H, W].

        Returns
        -------
        Tensor
            What the last layer sees.
        """
        found: Tensor = self.model.encode(images)[0] if self.features is None else self.features(images)  # type: ignore[operator]
        return found


@dataclass(frozen=True)
class RepresentationAttack:
    """Feature matching at the input of the last layer, or at a named one.

    Parameters
    ----------
    threat : Threat
        The box, `Linf`.
    steps : int
        Iterations of L-BFGS-B.
    layer : str or None
        Name in `model.named_modules()`; None: the input of the last layer, of a Gaussian latent its mean.
    half : bool
        As in training: the first half of the batch are the guides and stay as they are, the second half is moved towards them.

    Examples
    --------
    >>> print(RepresentationAttack(Linf(10 / 255), steps=20))
    RepresentationAttack(Linf(10/255), steps=20, layer=input of the last, guide=next of another class)
    """

    threat: Threat
    steps: int = 20
    layer: str | None = None
    half: bool = False

    def __str__(self) -> str:
        guide = "first half of the batch" if self.half else "next of another class"
        return f"RepresentationAttack({self.threat}, steps={self.steps}, layer={self.layer or 'input of the last'}, guide={guide})"

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Images moved to the features of their guides.

        Parameters
        ----------
        model : nn.Module
            The classifier.
        images : Tensor
            Shape [N, C, H, W], in [0, 1].
        labels : Tensor
            Shape [N].
        generator : torch.Generator, optional
            Not used: nothing is random.

        Returns
        -------
        Tensor
            Shape [N, C, H, W], in the box and in [0, 1].
        """
        view = Representation(model) if self.layer is None else model
        attack = FeatureMatching(self.threat, layer=self.layer or "", steps=self.steps)
        if not self.half:
            return attack(view, images, labels)
        middle = len(images) // 2
        if not middle:
            return images
        moved = replace(attack, guide=images[:middle], batch_size=middle)(view, images[middle : 2 * middle], labels[middle : 2 * middle])
        return torch.cat([images[:middle], moved, images[2 * middle :]])


@dataclass(frozen=True)
class Matched(Objective):
    """An objective whose training attack is replaced by another one.

    Parameters
    ----------
    objective : Objective
        Gives the loss.
    attack : RepresentationAttack
        Gives the images.
    """

    objective: Objective
    attack: RepresentationAttack

    def __str__(self) -> str:
        return f"Matched({self.objective}, {self.attack})"

    def at(self, epoch: int) -> Objective:
        """As `Objective.at`, of the objective inside."""
        return replace(self, objective=self.objective.at(epoch))

    def auxiliary(self, model: nn.Module, images: Tensor) -> nn.Module | None:
        """As `Objective.auxiliary`, of the objective inside."""
        return self.objective.auxiliary(model, images)

    def perturb(self, model: nn.Module, auxiliary: nn.Module | None, images: Tensor, labels: Tensor,
                generator: Generator | None = None) -> Tensor:
        """As `Objective.perturb`, by the attack."""
        return self.attack(model, images, labels, generator=generator)

    def loss(self, model: nn.Module, auxiliary: nn.Module | None, images: Tensor, x_adv: Tensor,
             labels: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """As `Objective.loss`, of the objective inside."""
        return self.objective.loss(model, auxiliary, images, x_adv, labels)


@dataclass(frozen=True, kw_only=True)
class MatchedVariant(Variant):
    """A method trained on images of feature matching, with the first half of each batch as guides.

    Parameters
    ----------
    name, method, kind, options, architecture, recipe
        As for `Variant`.
    attack : RepresentationAttack
        Of training.
    """

    attack: RepresentationAttack = RepresentationAttack(Linf(10 / 255), half=True)

    def objective(self, settings: Settings, epochs: int | None = None) -> Objective:
        """As `Variant.objective`, without a growing radius."""
        return Matched(super().objective(replace(settings, ramp_epochs=0), epochs), self.attack)


# --- Table 7 ------------------------------------------------------------------------------------------------------------
def feature_matching(settings: Settings, *, methods: Sequence[str] = _PAPER_METHODS, sigmas: Sequence[float] = (5, 10, 15),
                     steps: Sequence[int] = (10, 20), training: str = "matching", training_steps: int = 20, training_sigma: float = 10) -> Grid:
    """Table 7: accuracy under feature matching at the input of the last layer.

    Parameters
    ----------
    settings : Settings
        With ``training="pgd"`` as for Table 4, whose trainings are then found again.
    methods : sequence of str
        Out of `METHODS` (MMA has its own search and cannot be trained on matched images).
    sigmas : sequence of float
        Half widths of the box, in 255ths.
    steps : sequence of int
        Iterations of L-BFGS-B.
    training : {"matching", "pgd"}
        The attack of training.
    training_steps, training_sigma : int, float
        Of matching in training.

    Returns
    -------
    Grid
        A case for each method.

    Raises
    ------
    ValueError
        Unknown training, or MMA with matching.

    References
    ----------
    Yu et al. (2022), Section 4.4 and Table 7.
    """
    if training not in ("matching", "pgd") or training == "matching" and "MMA" in methods:
        raise ValueError(f"training must be 'matching' (not for MMA) or 'pgd', got {training!r} for {', '.join(methods)}; choose one")
    variants = _variants(methods)
    if training == "matching":
        attack = RepresentationAttack(Linf(training_sigma / 255), steps=training_steps, half=True)
        variants = [MatchedVariant(name=v.name, method=v.method, kind=v.kind, attack=attack) for v in variants]
    names = {_attack_name(k, sigma): RepresentationAttack(Linf(sigma / 255), steps=k) for k in steps for sigma in sigmas}
    study = Study(settings, parts=len(variants) * len(settings.seeds))
    counts = {v.name: [study.counts(study.trained(v, seed), {"natural": None, **names}) for seed in settings.seeds] for v in variants}
    wanted = [{"method": m, "attack": _attack_name(k, sigma)} for m in _PAPER_METHODS for k in (10, 20) for sigma in (5, 10, 15)]
    return _MatchingGrid(study, "7", {v.name: Case(v.name, v) for v in variants}, counts, _against("Ours", methods, tuple(names)),
                         _cells("7", wanted), {"model": "ResNet18"},
                         note="trained on images of this attack" if training == "matching" else "trained with PGD and not with this attack")


class _MatchingGrid(Grid):
    """As `Grid`; the box of each attack stands in its name, not in the settings."""

    def _rows_of(self, name: str) -> dict[str, Row]:
        """As `Grid._rows_of`, with the box of the attack as threat."""
        return {attack: row if attack == "natural" else replace(row, threat=str(Linf(float(attack.split("=")[-1]) / 255)))
                for attack, row in super()._rows_of(name).items()}


def _attack_name(steps: int, sigma: float) -> str:
    """The paper's name of an attack."""
    return f"ARA step={steps} sigma={sigma:g}"


def plot_sigma(grid: Grid) -> Any:
    """Accuracy of every method over the half width of the box, for the largest number of steps; interval as a line.

    Parameters
    ----------
    grid : Grid
        From `feature_matching`.

    Returns
    -------
    matplotlib.figure.Figure
        The title names the method with the highest accuracy in the widest box.
    """
    import matplotlib.pyplot as plt


    last = grid.attacks[-1]
    names = ["natural", *(a for a in grid.attacks if a.startswith(last.split(" sigma")[0] + " "))]
    figure, axis = plt.subplots(figsize=(6.5, 3.6))
    for k, (method, colour) in enumerate(zip(grid.cases, (BLUE, GREEN, PINK, RED, ORANGE), strict=False)):
        rows = [grid._rows_of(method)[name] for name in names]
        places = [0.0 if name == "natural" else float(name.split("=")[-1]) for name in names]
        shifted = [x + 0.12 * k for x in places]
        axis.plot(shifted, [row.value for row in rows], "-o", color=colour, label=method)
        for x, row in zip(shifted, rows, strict=True):
            if row.interval is not None:
                axis.vlines(x, max(0, row.interval[0]), min(100, row.interval[1]), color=colour, linewidth=1)
    n = grid.total(next(iter(grid.cases)), last)[1]
    axis.set(xlabel="half width of the box, 255ths (0: clean)", ylabel=f"accuracy, % ({grid.study.settings.dataset}, n={n})")
    axis.set_title(f"Highest in the widest box: {grid.best(last)}", loc="left")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)


# --- Figure 4 -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Pictures:
    """Images of one model moved towards a guide, at several layers and half widths.

    Attributes
    ----------
    images, guides : Tensor
        Shape [N, C, H, W].
    labels : Tensor
        Shape [N].
    moved : dict of (str, float) to Tensor
        By layer and half width; shape [N, C, H, W].
    answers : dict of (str, float) to Tensor
        Predicted classes.
    closer : dict of (str, float) to float
        Distance to the guide in features over what it was at the start, median over the images.
    fooled : dict of (str, float) to Count
        Images that were right at the start and are wrong now.
    """

    images: Tensor
    guides: Tensor
    labels: Tensor
    moved: dict[tuple[str, float], Tensor]
    answers: dict[tuple[str, float], Tensor]
    closer: dict[tuple[str, float], float]
    fooled: dict[tuple[str, float], Count]

    @property
    def layers(self) -> list[str]:
        """Names, shallow first."""
        return list(dict.fromkeys(layer for layer, _ in self.moved))

    @property
    def sigmas(self) -> list[float]:
        """Half widths, in 255ths."""
        return sorted({sigma for _, sigma in self.moved})

    def share(self, layer: str, sigma: float) -> float:
        """Share of the images that are fooled.

        Parameters
        ----------
        layer : str
            By name.
        sigma : float
            In 255ths.

        Returns
        -------
        float
            Per cent of those that were right.
        """
        fooled = self.fooled[layer, sigma]
        return 100 * fooled.correct / fooled.n

    def claim(self) -> str:
        """A title: whether deeper layers fool more, as the paper says.

        Returns
        -------
        str
            Computed.
        """
        widest = self.sigmas[-1]
        first, last = self.share(self.layers[0], widest), self.share(self.layers[-1], widest)
        more = "more than" if last > first else "less than" if last < first else "as often as"
        n = self.fooled[self.layers[0], widest].n
        return f"Matching at the deepest layer fools {more} at the shallowest: {last:.0f} % and {first:.0f} % of {n} images"


def pictures(settings: Settings, *, method: str = "Standard", architecture: str | None = "vgg16", layers: Sequence[str] = (),
             sigmas: Sequence[float] = (5, 10, 15), steps: int = 20, images: int = 20) -> Pictures:
    """Figure 4: images moved towards the features of a guide, for several layers and boxes.

    Parameters
    ----------
    settings : Settings
        The model is trained under these.
    method : str
        Out of `METHODS`.
    architecture : str, optional
        In place of the settings' network; the paper shows VGG-16.
    layers : sequence of str
        Names in `model.named_modules()`; empty: two convolutions (the third and the fifth, if there are so many), and the input of the
        last layer.
    sigmas : sequence of float
        Half widths of the box, in 255ths.
    steps : int
        Iterations of L-BFGS-B.
    images : int
        How many test images.

    Returns
    -------
    Pictures
        Of the first seed's model.

    References
    ----------
    Yu et al. (2022), Figure 4.
    """
    study = Study(settings, parts=1)
    model = study.trained(replace(METHODS[method], architecture=architecture), settings.seeds[0])
    x, y = (part[:images].to(next(model.parameters()).device) for part in study.attacked)
    attacks = {(layer, float(s)): RepresentationAttack(Linf(s / 255), steps=steps, layer=None if layer == "last" else layer)
               for layer in (layers or _some_layers(model)) for s in sigmas}
    moved = {key: attack(model, x, y) for key, attack in attacks.items()}
    guides = FeatureMatching(Linf(1.0), layer="").guides(x, y)
    with torch.no_grad():
        right = model(x).argmax(1) == y
        answers = {key: model(x_adv).argmax(1) for key, x_adv in moved.items()}
    fooled = {key: Count(int((right & (answer != y)).sum()), max(1, int(right.sum())), str(attacks[key])) for key, answer in answers.items()}
    closer = {key: _closer(model, attacks[key], x, moved[key], guides) for key in moved}
    return Pictures(x.cpu(), guides.cpu(), y.cpu(), {k: v.cpu() for k, v in moved.items()}, {k: v.cpu() for k, v in answers.items()}, closer, fooled)


def _closer(model: nn.Module, attack: RepresentationAttack, images: Tensor, moved: Tensor, guides: Tensor) -> float:
    """Median over the images of the feature distance to the guide, in parts of what it was."""
    view = Representation(model) if attack.layer is None else model
    matching = FeatureMatching(attack.threat, layer=attack.layer or "")
    before, after = (matching.distances(view, x, guides).clamp_min(1e-30) for x in (images, moved))
    return float((after / before).sqrt().median())


def _some_layers(model: nn.Module) -> list[str]:
    """The third and the fifth convolution, or the last ones there are, and the input of the last layer."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    chosen = dict.fromkeys(names[min(k, len(names)) - 1] for k in (3, 5)) if names else {}
    return [*chosen, "last"]


def plot_pictures(result: Pictures, *, image: int = 0) -> Any:
    """Source and guide, then for each layer (row) and half width (column) the moved image with the answer of the model.

    Parameters
    ----------
    result : Pictures
        From `pictures`.
    image : int
        Which one.

    Returns
    -------
    matplotlib.figure.Figure
        The title is `Pictures.claim`.
    """
    import matplotlib.pyplot as plt

    rows, columns = result.layers, result.sigmas
    figure, axes = plt.subplots(len(rows), 2 + len(columns), figsize=(1.5 * (2 + len(columns)), 0.6 + 1.65 * len(rows)), squeeze=False)
    for i, layer in enumerate(rows):
        shown = [("guide", result.guides[image]), (f"source: {int(result.labels[image])}", result.images[image])]
        shown += [(f"σ={s:g}: {int(result.answers[layer, s][image])} · {result.share(layer, s):.0f} %", result.moved[layer, s][image]) for s in columns]
        for axis, (text, picture) in zip(axes[i], shown, strict=True):
            axis.imshow(picture.permute(1, 2, 0).squeeze().numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_title(text, fontsize=7)
            axis.set(xticks=[], yticks=[])
        axes[i][0].set_ylabel("input of the last" if layer == "last" else layer, fontsize=7)
    figure.suptitle(result.claim(), x=0.01, ha="left", fontsize=9)
    return finished(figure)
