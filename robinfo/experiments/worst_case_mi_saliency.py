"""Figures 4, 5 and 6 of the worst-case mutual information paper (2020): saliency, with scores beside the pictures.

The paper shows gradients with respect to the pixels and says of those of robust representations that they are "less noisy" and
"aligned with the original images". Here both statements are scores of `robinfo.saliency`, each beside what chance would give.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from robinfo.checks import check_count, evaluating
from robinfo.experiments.record import Row
from robinfo.experiments.study import Setup, Study
from robinfo.figures import BLUE, GREEN, GREY, RED, finished
from robinfo.objectives import InfoMax
from robinfo.saliency import (
    against_null,
    alignment,
    cosine_alignment,
    edge_alignment,
    information_saliency,
    kernel_saliency,
    loss_saliency,
    noisiness,
    show_saliency,
)
from robinfo.theory.confidence import mean_interval
from robinfo.training import History, fit

__all__ = ["Contrast", "Kernels", "Saliency", "plot_kernels", "plot_losses", "plot_representations", "plot_scores", "saliency"]

Key = tuple[str, str]  # model, gradient

STANDARD, ROBUST = "fully supervised, standard", "fully supervised, robust"
HJELM, OURS = "Hjelm et al. (2018)", "Ours"
LOSS, OWN, ALIKE = "cross-entropy", "information, own critic", "information, critics alike"
_COLOURS = {STANDARD: GREY, ROBUST: GREEN, HJELM: BLUE, OURS: RED}
_SCORES = {"alignment": "own map", "alignment_excess": "own map − map of another image",
           "alignment_excess_same_class": "own map − map of another image of its class", "edge_alignment": "magnitude and edges",
           "edge_alignment_excess": "magnitude and edges, own map − map of another image", "noisiness": "1 is noise",
           "alpha": "Etmann's α, pixel units"}
_CONTRASTED = ("noisiness", "alignment_excess", "edge_alignment_excess")


# --- what is compared ---------------------------------------------------------------------------------------------------
class Contrast(NamedTuple):
    """A difference of two mean scores.

    Attributes
    ----------
    value : float
        First minus second.
    interval : (float, float) or None
        Student interval at 95 %, paired by image, or by kernel.
    n : int
        Images, or kernels, behind it.
    signs : tuple of float
        The difference in each seed.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    signs: tuple[float, ...]

    def finding(self, wanted: int) -> str:
        """Whether a claim on the sign holds: beyond the interval and in every seed.

        Parameters
        ----------
        wanted : int
            The sign that is claimed, 1 or -1.

        Returns
        -------
        str
            "held", "opposite" (with a remark where there was one training only) or "no difference shown".
        """
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "no difference shown"
        sign = 1 if self.value > 0 else -1
        if any(sign * one <= 0 for one in self.signs):
            return "no difference shown (the seeds disagree)"
        return ("held" if sign == wanted else "opposite") + (" (in one training)" if len(self.signs) == 1 else "")

    def __str__(self) -> str:
        ends = "" if self.interval is None else f" [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}]"
        return f"{self.value:+.3f}{ends}".replace("-", "−")


class Kernels(NamedTuple):
    """Scores of the kernels of one network's second convolution, and some of their maps.

    Attributes
    ----------
    noisiness, excess : Tensor
        [K], means over the images on which the kernel's map is not zero; NaN for a kernel that never is active.
    maps : Tensor
        [shown images, shown kernels, C, H, W].
    """

    noisiness: Tensor
    excess: Tensor
    maps: Tensor


@dataclass(frozen=True)
class Saliency:
    """Maps, scores and accuracies of every model, by seed.

    Attributes
    ----------
    study : Study
        Data and settings.
    images, labels : Tensor
        Of the scores.
    maps : dict of (str, str) to list of Tensor
        By model and gradient, one [N, C, H, W] for each seed.
    kernels : dict of str to list of Kernels
        Of the fully supervised networks, one for each seed.
    counts : dict of str to list of dict
        Correct test images of each classifier, one dict for each seed.
    shown, shown_kernels : list of int
        Images and kernels of the pictures; fixed before anything is looked at.
    settings : str
        What a reader of every row has to know.
    """

    study: Study
    images: Tensor
    labels: Tensor
    maps: dict[Key, list[Tensor]]
    kernels: dict[str, list[Kernels]]
    counts: dict[str, list[dict[str, int]]]
    shown: list[int]
    shown_kernels: list[int]
    settings: str = ""
    seeds: tuple[int, ...] = field(default=(0,))

    @cached_property
    def scores(self) -> dict[Key, dict[str, Tensor]]:
        """By model and gradient, each score as [seeds, N]; NaN where a map is zero."""
        return {key: _stacked([_scores(self.images, one, self.labels) for one in maps]) for key, maps in self.maps.items()}

    def mean(self, key: Key, score: str) -> tuple[float, tuple[float, float] | None, int]:
        """A mean score over images and seeds.

        Parameters
        ----------
        key : (str, str)
            Model and gradient.
        score : str
            Name of the score.

        Returns
        -------
        (float, (float, float) or None, int)
            Mean, interval over images (each averaged over the seeds first), number of images.
        """
        return _summary(self.scores[key][score].nanmean(0))

    def contrast(self, first: Key, second: Key, score: str) -> Contrast:
        """A score of one kind of map minus that of another, paired by image.

        Parameters
        ----------
        first, second : (str, str)
            Model and gradient.
        score : str
            Name of the score.

        Returns
        -------
        Contrast
            Over the images for which both are defined.
        """
        difference = self.scores[first][score] - self.scores[second][score]
        return Contrast(*_summary(difference.nanmean(0)), tuple(difference.nanmean(1).tolist()))

    def kernel_contrast(self, score: Literal["noisiness", "excess"]) -> Contrast:
        """Kernels of the robust network minus those of the standard one.

        Parameters
        ----------
        score : {"noisiness", "excess"}
            Which score.

        Returns
        -------
        Contrast
            Paired by kernel: with one seed, kernel k of both networks began with the same weights. Kernels that are active in both.
        """
        ours, other = (torch.stack([getattr(one, score) for one in self.kernels[name]]) for name in (ROBUST, STANDARD))
        return Contrast(*_summary((ours - other).flatten()), tuple((ours - other).nanmean(1).tolist()))

    @property
    def contrasts(self) -> dict[tuple[str, str], Contrast]:
        """Every difference that the paper's statements are about, by name and score."""
        pairs = {f"Ours − Hjelm, {gradient}": ((OURS, gradient), (HJELM, gradient)) for gradient in (OWN, ALIKE, LOSS)}
        pairs["robust − standard, fully supervised, cross-entropy"] = ((ROBUST, LOSS), (STANDARD, LOSS))
        pairs["Ours, information − fully supervised robust, cross-entropy"] = ((OURS, OWN), (ROBUST, LOSS))
        found = {(name, score): self.contrast(*keys, score) for name, keys in pairs.items() for score in _CONTRASTED}
        name = "robust − standard, kernels of the second convolution"
        return found | {(name, "noisiness"): self.kernel_contrast("noisiness"), (name, "alignment_excess"): self.kernel_contrast("excess")}

    # --- rows

    def _row(self, metric: str, summary: tuple[float, tuple[float, float] | None, int], model: str, method: str) -> Row:
        """One score; the paper prints none."""
        setup, (value, interval, n) = self.study.setup, summary
        return Row(metric=metric, value=value, unit="pixel units" if metric == "alpha" else "", n=n, interval=interval, dataset=setup.dataset,
                   model=model, method=method, seeds=self.seeds, settings="; ".join(filter(None, (setup.reduced(), self.settings))))

    @property
    def difference_rows(self) -> list[Row]:
        """The differences, for the notebook."""
        return [self._row(f"{score}_difference", found[:3], "saliency", name)
                for (name, score), found in self.contrasts.items() if math.isfinite(found.value)]

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``."""
        rows = [self._row(score, found, model, f"gradient of {gradient}") for model, gradient in self.maps for score in _SCORES
                if math.isfinite((found := self.mean((model, gradient), score))[0])]
        for name, kernels in self.kernels.items():
            for score, metric in (("noisiness", "kernel_noisiness"), ("excess", "kernel_alignment_excess")):
                rows.append(self._row(metric, _summary(torch.cat([getattr(one, score) for one in kernels])), name, "second convolution"))
        rows += [self.study.accuracy_row(metric, [one[metric] for one in counts], model=name, method="classifier whose maps are shown")
                 for name, counts in self.counts.items() for metric in counts[0]]
        return rows + self.difference_rows

    # --- what was found

    def accuracy(self, model: str) -> float:
        """Adversarial accuracy of the classifier of a model, mean over the seeds.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        float
            Per cent.
        """
        counts = self.counts[model]
        return 100 * sum(one["adversarial_accuracy"] for one in counts) / len(counts) / len(self.study.test[0])

    def verdict(self) -> str:
        """What became of each statement, in sentences."""
        setup, found = self.study.setup, self.contrasts
        kernels = "robust − standard, kernels of the second convolution"
        claims = [("Figure 4, less noise (noisiness, ours − Hjelm)", found[f"Ours − Hjelm, {OWN}", "noisiness"], -1),
                  ("the same with critics trained alike", found[f"Ours − Hjelm, {ALIKE}", "noisiness"], -1),
                  ("Figure 4, alignment beyond another image's map (ours − Hjelm)", found[f"Ours − Hjelm, {OWN}", "alignment_excess"], 1),
                  ("the same with critics trained alike", found[f"Ours − Hjelm, {ALIKE}", "alignment_excess"], 1),
                  ("Figure 6, cross-entropy gradients, noise", found[f"Ours − Hjelm, {LOSS}", "noisiness"], -1),
                  ("and alignment", found[f"Ours − Hjelm, {LOSS}", "alignment_excess"], 1),
                  ("fully supervised, robust − standard, noise", found["robust − standard, fully supervised, cross-entropy", "noisiness"], -1),
                  ("and alignment", found["robust − standard, fully supervised, cross-entropy", "alignment_excess"], 1),
                  ("Figure 5, kernels, noise", found[kernels, "noisiness"], -1), ("and alignment", found[kernels, "alignment_excess"], 1)]
        told = "; ".join(f"{text}: {difference}, **{difference.finding(sign)}**" for text, difference, sign in claims)
        held = sum(difference.finding(sign).startswith("held") for _, difference, sign in claims)
        seeds = f"{len(self.seeds)} trained network{'s' if len(self.seeds) > 1 else ''} of each kind"
        premise = (f"The premise, in {setup.threat}: a standard head reaches {self.accuracy(OURS):.1f} % above ours and {self.accuracy(HJELM):.1f} % "
                   f"above Hjelm's representation, the fully supervised robust network {self.accuracy(ROBUST):.1f} %")
        return (f"Not comparable: the paper shows pictures and prints no numbers{_clause(setup.reduced())}. {premise}. {held} of {len(claims)} statements held "
                f"on {setup.dataset} ({len(self.images)} images, {seeds}; 95 % intervals over images or kernels): {told}. {self._comparable_maps()}")

    def _comparable_maps(self) -> str:
        """Figure 6's statement that ours are comparable to supervised robust maps; and whose maps beat their null within the class."""
        same = [f"{model} ({gradient})" for model, gradient in self.maps
                if (found := self.mean((model, gradient), "alignment_excess_same_class")[1]) is not None and found[0] > 0]
        ours, robust = (self.mean(key, "noisiness")[0] for key in ((OURS, OWN), (ROBUST, LOSS)))
        beyond = ", ".join(same) or "none"
        return (f"Ours (information) has noisiness {ours:.2f}, the fully supervised robust network {robust:.2f}. Maps that align with their own "
                f"image more than with others of its class: {beyond}.")


def _clause(text: str) -> str:
    """A text after a semicolon, if there is one."""
    return f"; {text}" if text else ""


def _scores(images: Tensor, maps: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Every score of one set of maps, [N] each."""
    found, within = against_null(images, maps), against_null(images, maps, labels=labels)
    edges = against_null(images, maps, score=edge_alignment)
    return {"alignment": found.value, "alignment_excess": found.excess, "alignment_excess_same_class": within.excess,
            "edge_alignment": edges.value, "edge_alignment_excess": edges.excess, "noisiness": noisiness(maps), "alpha": alignment(images, maps)}


def _stacked(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One dict of tensors with a leading axis for the seeds."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _summary(values: Tensor) -> tuple[float, tuple[float, float] | None, int]:
    """Mean, interval and number of the finite values; a mean of NaN and n = 1 where there is none."""
    kept = values[values.isfinite()]
    return float(kept.mean()), mean_interval(kept.tolist()) if len(kept) > 1 else None, max(len(kept), 1)


# --- training and maps ----------------------------------------------------------------------------------------------------
class _Remembering(Study):
    """A study that keeps the history of the last training: it holds the critic of a representation."""

    last: History

    def _fit(self, *args: Any, **options: Any) -> History:
        """As `Study`, remembered."""
        self.last = super()._fit(*args, **options)
        return self.last

    def fresh_critic(self, encoder: nn.Module, seed: int, name: str) -> nn.Module:
        """A critic trained on a frozen representation for the normal information, the same way for every representation.

        Parameters
        ----------
        encoder : nn.Module
            The representation; not changed.
        seed : int
            Of the critic.
        name : str
            What the representation is called in the checkpoint.

        Returns
        -------
        nn.Module
            Of the best training epoch.
        """
        setup = self.setup
        self._heading(f"critic of the {name} representation, trained alike, seed {seed}")
        objective = InfoMax(None, estimator=setup.estimator, negatives=setup.negatives, critic_width=setup.critic_width,
                            critic_channels=setup.critic_channels, critic_scale=setup.critic_scale)
        with evaluating(encoder):
            history = fit(encoder, objective, self.data, epochs=setup.critic_epochs, seed=seed, batch_size=setup.batch_size,
                          learning_rate=setup.learning_rate, frozen=[encoder], select="mutual_information", device=setup.device,
                          precision=setup.precision, checkpoint=Path(setup.run_dir) / "checkpoints" / f"alike-{name}-{seed}.safetensors")
            history.restore_best(encoder)
        assert history.auxiliary is not None
        return history.auxiliary


def saliency(setup: Setup, *, images: int = 512, head: str = "MLP", gradient: Literal["published", "full"] = "published",
             kernel_layer: Literal["activation", "convolution"] = "activation", kernel_images: int = 64, pictures: int = 8) -> Saliency:
    """Figures 4 to 6: maps of representations, classifiers and kernels, and their scores.

    Parameters
    ----------
    setup : Setup
        Settings.
    images : int
        Test images that are scored; all if there are fewer. Whole batches of `batch_size` for the information.
    head : {"MLP", "Linear"}
        Standard head above each representation, for its cross-entropy gradients.
    gradient : {"published", "full"}
        Path of the information's gradient: through the representation alone, or through the critic's images, too.
    kernel_layer : {"activation", "convolution"}
        Whether a kernel's activation is taken after batch norm and ReLU, or is the convolution's output.
    kernel_images : int
        Images on which kernels are scored.
    pictures : int
        Images in the figures, at most 16.

    Returns
    -------
    Saliency
        Maps, scores, accuracies.

    Raises
    ------
    ValueError
        Counts too small, an unknown head, path or layer.

    References
    ----------
    Zhu, Zhang and Evans (2020), Figure 4; supplement, Figures 5 and 6.
    """
    _check_choices(head=(head, "MLP", "Linear"), gradient=(gradient, "published", "full"), kernel_layer=(kernel_layer, "activation", "convolution"))
    check_count(images, "images", minimum=2), check_count(kernel_images, "kernel_images", minimum=2), check_count(pictures, "pictures")
    study = _Remembering(setup, parts=8 * len(setup.seeds))
    test, labels = (part[:images] for part in study.test)
    shown = _one_of_each_class(labels, min(pictures, 16))
    maps: dict[Key, list[Tensor]] = {}
    kernels: dict[str, list[Kernels]] = {}
    counts: dict[str, list[dict[str, int]]] = {}
    chosen: list[int] = []
    for seed in setup.seeds:
        for name, robust in ((STANDARD, False), (ROBUST, True)):
            model = study.supervised(seed, kind=head, robust=robust)
            counts.setdefault(name, []).append(study.accuracies(model))
            maps.setdefault((name, LOSS), []).append(_loss_maps(model, test, labels))
            layers = _second_layer(model, kernel_layer)
            chosen = _spread(layers, test)
            kernels.setdefault(name, []).append(_kernel_scores(layers, test[:kernel_images], test[shown], chosen))
        for name, worst_case in ((HJELM, False), (OURS, True)):
            found, count = _representation_maps(study, seed, test, labels, worst_case=worst_case, head=head, gradient=gradient)
            counts.setdefault(name, []).append(count)
            for loss, one in found.items():
                maps.setdefault((name, loss), []).append(one)
    told = f"gradient {gradient}, batch of {min(setup.batch_size, len(test))}, head {head}, kernels at the {kernel_layer}"
    return Saliency(study, test, labels, maps, kernels, counts, shown, chosen, told, tuple(setup.seeds))


def _check_choices(**choices: tuple[str, str, str]) -> None:
    """Refuse a setting that is none of its two values, before anything is trained."""
    for name, (given, one, other) in choices.items():
        if given not in (one, other):
            raise ValueError(f"{name} must be {one!r} or {other!r}, got {given!r}; choose one of them")


def _representation_maps(study: _Remembering, seed: int, images: Tensor, labels: Tensor, *, worst_case: bool, head: str,
                         gradient: Literal["published", "full"]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The three maps of one representation, and what its standard head gets right."""
    setup, name = study.setup, "worst-case" if worst_case else "normal"
    encoder = study.encoder(seed, worst_case=worst_case)
    own = study.last.auxiliary
    alike = study.fresh_critic(encoder, seed, name)
    model, _ = study.head(encoder, seed, kind=head, robust=False, name=name)

    def information(critic: Any) -> Tensor:
        """Gradient of the information loss with one critic."""
        return _on(encoder, images, lambda x: information_saliency(
            encoder, critic, x, estimator=setup.estimator, negatives=setup.negatives, gradient=gradient,
            batch_size=min(setup.batch_size, len(images))))

    found = {OWN: information(own), ALIKE: information(alike),
             LOSS: _loss_maps(model, images, labels)}
    return found, study.accuracies(model)


def _on(model: nn.Module, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of the images on the model's device; the result on the CPU."""
    return function(images.to(next(model.parameters()).device)).cpu()


def _loss_maps(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradients of the cross-entropy, on the CPU."""
    return _on(model, images, lambda x: loss_saliency(model, x, labels.to(x.device)))


def _one_of_each_class(labels: Tensor, count: int) -> list[int]:
    """The first image of each class, then the first others, in the order of the classes."""
    first = [int((labels == c).nonzero()[0]) for c in labels.unique()]
    return (first + [i for i in range(len(labels)) if i not in first])[:count]


def _second_layer(model: Any, kernel_layer: str) -> nn.Module:
    """Baseline-H up to its second convolution."""
    convolutions = model.encoder.convolutions
    return convolutions[:2] if kernel_layer == "activation" else nn.Sequential(convolutions[0], convolutions[1][0])


def _spread(layers: nn.Module, images: Tensor, count: int = 4) -> list[int]:
    """Evenly spaced kernels of a layer."""
    with torch.no_grad(), evaluating(layers):
        channels = _on(layers, images[:1], layers).shape[1]
    return [i * channels // count for i in range(min(count, channels))]


def _kernel_scores(layers: nn.Module, images: Tensor, shown: Tensor, chosen: list[int]) -> Kernels:
    """Scores of every kernel, one kernel at a time, and the maps of the chosen ones."""
    with torch.no_grad(), evaluating(layers):
        channels = _on(layers, images[:1], layers).shape[1]
    noise, excess = [], []
    for kernel in range(channels):
        maps = _on(layers, images, partial(kernel_saliency, layers, kernels=[kernel]))[:, 0]
        noise.append(noisiness(maps).nanmean())
        excess.append(against_null(images, maps, score=cosine_alignment).excess.nanmean())
    return Kernels(torch.stack(noise), torch.stack(excess), _on(layers, shown, partial(kernel_saliency, layers, kernels=chosen)))


# --- figures --------------------------------------------------------------------------------------------------------------
def _counted(seeds: Sequence[int]) -> str:
    """How many seeds, in words."""
    return f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}"


def _shown(result: Saliency, keys: Mapping[str, Key], title: str, note: str) -> Any:
    """A picture of the first seed's maps of some models, each row with its mean scores."""
    rows = {}
    for label, key in keys.items():
        own, excess, noise = (result.mean(key, score)[0] for score in ("alignment", "alignment_excess", "noisiness"))
        rows[f"{label}\n|r| {own:.2f} (other {own - excess:.2f})\nnoise {noise:.2f}"] = result.maps[key][0][result.shown]
    legend = (f"{note} Maps: norm one, one scale for each row (±); blue lowers, red raises the loss; seed {result.seeds[0]}; images: first of each class. "
              f"Scores: means over {len(result.images)} test images of {result.study.setup.dataset}, {_counted(result.seeds)}: |r| correlation of map and image "
              "(with the map of another image); noise: 1 is random.")
    return show_saliency(result.images[result.shown], rows, title=title, note=legend)


_TITLES = {"held": "{} are less noisy", "opposite": "{} are noisier, not less noisy", "no": "No difference in noise is shown for {}"}


def _title(contrast: Contrast, subject: str) -> str:
    """The claim on noise, as it fell."""
    text = f"{_TITLES[contrast.finding(-1).split()[0]].format(subject)}: difference in noisiness {contrast}"
    return text[0].upper() + text[1:]


def plot_representations(result: Saliency) -> Any:
    """Figure 4: information gradients of the two representations, with their own critics and with critics trained alike.

    Parameters
    ----------
    result : Saliency
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    keys = {"Hjelm\nown critic": (HJELM, OWN), "ours\nown critic": (OURS, OWN), "Hjelm\ncritics alike": (HJELM, ALIKE),
            "ours\ncritics alike": (OURS, ALIKE)}
    found = result.contrasts[f"Ours − Hjelm, {OWN}", "noisiness"]
    return _shown(result, keys, _title(found, "information gradients of the worst-case representation"),
                  f"Gradients of minus the information estimate ({result.settings}).")


def plot_losses(result: Saliency) -> Any:
    """Figure 6: both losses, representations and fully supervised networks.

    Parameters
    ----------
    result : Saliency
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    keys = {"(b) supervised\nstandard, CE": (STANDARD, LOSS), "(c) supervised\nrobust, CE": (ROBUST, LOSS), "(d) Hjelm, CE": (HJELM, LOSS),
            "(e) Hjelm, MI": (HJELM, OWN), "(f) ours, CE": (OURS, LOSS), "(g) ours, MI": (OURS, OWN)}
    found = result.contrasts[f"Ours − Hjelm, {LOSS}", "noisiness"]
    return _shown(result, keys, _title(found, "cross-entropy gradients above the worst-case representation"),
                  "Letters as in the paper's Figure 6; CE: cross-entropy, MI: minus the information estimate.")


def plot_kernels(result: Saliency) -> Any:
    """Figure 5: maps of four kernels of the second convolution, standard above robust.

    Parameters
    ----------
    result : Saliency
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = {}
    for name, short in ((STANDARD, "standard"), (ROBUST, "robust")):
        kernels = result.kernels[name][0]
        for place, kernel in enumerate(result.shown_kernels):
            rows[f"{short}\nkernel {kernel}, noise {float(kernels.noisiness[kernel]):.2f}"] = kernels.maps[:, place]
    found = result.kernel_contrast("noisiness")
    note = (f"Gradient of a kernel's averaged activation ({result.settings.rsplit(', ', 1)[-1]}), evenly spaced kernels; norm one, one scale for each row (±); "
            f"seed {result.seeds[0]}. Difference: robust − standard, mean over {found.n} pairs of kernels, {_counted(result.seeds)}, "
            "95 % over pairs. An empty map: the kernel is not active.")
    return show_saliency(result.images[result.shown], rows, title=_title(found, "maps of the robust network's kernels"), note=note)


def plot_scores(result: Saliency) -> Any:
    """The scores of every kind of map, beside what chance gives.

    Parameters
    ----------
    result : Saliency
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    keys = [(STANDARD, LOSS), (ROBUST, LOSS), (HJELM, LOSS), (OURS, LOSS), (HJELM, OWN), (OURS, OWN), (HJELM, ALIKE), (OURS, ALIKE)]
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.9), sharey=True)
    panels = (("noisiness", None, "noisiness of the map"), ("alignment", "alignment_excess", "|correlation| of map and image"),
              ("edge_alignment", "edge_alignment_excess", "correlation of magnitude and edges"))
    for axis, (score, excess, label) in zip(axes, panels, strict=True):
        for place, key in enumerate(keys):
            _draw_score(axis, result, key, place, score, excess)
        axis.set(xlabel=label, yticks=range(len(keys)), yticklabels=[f"{_short(key[0])}\n{key[1]}" for key in keys], ylim=(len(keys) - 0.5, -0.5))
        axis.tick_params(axis="y", labelsize=7)
        axis.axvline(1.0 if excess is None else 0.0, color="black", linewidth=0.8, linestyle=":")
    for axis, title in zip(axes, ("noise: random values lie at 1", "image: filled own, hollow another", "outlines: filled own, hollow another"), strict=True):
        axis.set_title(title, fontsize=9, fontweight="normal")
    noise, beyond = (result.contrasts[f"Ours − Hjelm, {OWN}", score] for score in ("noisiness", "alignment_excess"))
    figure.suptitle(f"Ours − Hjelm, information gradients: noisiness {noise}, alignment beyond another image's map {beyond}", x=0.01, ha="left",
                    fontsize=10, fontweight="bold")
    figure.text(0.01, -0.02, f"Means over {len(result.images)} test images of {result.study.setup.dataset}, {_counted(result.seeds)}; small marks: single seeds; "
                "bars: 95 % over images (networks held fixed).", fontsize=7)
    return finished(figure)


def _short(model: str) -> str:
    """A model's name for a tick."""
    return {STANDARD: "supervised, standard", ROBUST: "supervised, robust", HJELM: "Hjelm", OURS: "ours"}[model]


def _draw_score(axis: Any, result: Saliency, key: Key, place: int, score: str, excess: str | None) -> None:
    """One mean with its interval and its seeds; hollow the null."""
    (value, interval, _), colour = result.mean(key, score), _COLOURS[key[0]]
    axis.plot(result.scores[key][score].nanmean(1), [place] * len(result.seeds), "|", color=colour, markersize=9, markeredgewidth=1)
    if interval is not None:
        axis.hlines(place, *interval, color=colour, linewidth=2)
    axis.plot(value, place, "o", color=colour, markersize=5)
    if excess is not None:
        axis.plot(value - result.mean(key, excess)[0], place, "o", color=colour, markerfacecolor="white", markersize=5)
