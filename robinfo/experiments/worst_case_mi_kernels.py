"""Figure 3 of the worst-case paper: information and vulnerability of every kernel of the second layer of Baseline-H.

`kernels` trains standard and robust classifiers, two of each as the paper does, and estimates every kernel of each. The result has its
rows, its figures and its verdict, with trained critics (the paper's procedure) and with the best critic of the same family.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robinfo.data import to_float
from robinfo.experiments.record import Row, judge, paper_row
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi import overall_verdict
from robinfo.figures import BLACK, BLUE, GREY, ORANGE, RED, finished
from robinfo.kernel_information import (
    KernelInformation,
    convolution_layers,
    estimate_kernel_vulnerability,
    receptive_field,
)
from robinfo.models import classifier
from robinfo.theory.confidence import mean_interval

__all__ = ["PAPER_BARS", "Kernels", "kernels", "plot_critics", "plot_kernels"]

_QUANTITIES = {"normal_mi": "normal_case_MI_mean_over_neurons", "worst_case_mi": "worst_case_MI_mean_over_neurons",
               "vulnerability": "feature_vulnerability_mean"}
_TRAININGS = ("standard", "robust")
_PAPER_MODEL = "Baseline-H conv2 neurons"

PAPER_BARS: dict[tuple[str, str], dict[float, float]] = {
    # read off the published figure: centre of a bar in nats, number of kernels (the mean of two models); uncertainty about 0.01 nats
    ("standard", "worst_case_mi"): {.067: 3, .093: 5.5, .117: 7, .143: 12.5, .167: 24, .192: 22, .217: 25, .243: 14.5, .267: 4, .292: 4},
    ("standard", "normal_mi"): {.182: .5, .207: 7, .232: 21.5, .257: 45.5, .282: 31.5, .307: 16.5, .332: 3.5},
    ("robust", "worst_case_mi"): {.067: 1, .093: .5, .117: 2, .143: 6.5, .167: 10.5, .192: 13.5, .217: 19, .243: 23, .267: 22, .292: 17,
                                  .317: 6.5, .342: 2},
    ("robust", "normal_mi"): {.082: .5, .107: .5, .157: 3, .182: 9, .207: 15.5, .232: 19, .257: 24.5, .282: 30, .307: 17, .332: 5.5},
    ("standard", "vulnerability"): {.020: .5, .033: 9, .046: 16, .059: 13.5, .072: 16.5, .085: 17.5, .099: 12.5, .112: 12.5, .125: 10,
                                    .138: 4.5, .151: 2.5, .164: .5, .178: 3.5, .204: 1},
    ("robust", "vulnerability"): {.006: 10, .020: 44, .033: 40, .046: 15.5, .059: 6.5, .072: 4, .085: 2.5, .125: 1}}


@dataclass(frozen=True)
class Kernels:
    """Information of the kernels of several classifiers, and how accurate these are.

    Attributes
    ----------
    study : Study
        Data and settings.
    estimates : dict of str to list of KernelInformation
        By training ("standard", "robust"), one for each seed.
    counts : dict of str to list of dict
        Correct test images, likewise.
    note : str
        What else a reader of the rows has to know.
    """

    study: Study
    estimates: dict[str, list[KernelInformation]]
    counts: dict[str, list[dict[str, int]]]
    note: str = ""

    def models(self, training: str, quantity: str, critic: str = "trained") -> Tensor:
        """One quantity of every kernel of every model of a kind.

        Parameters
        ----------
        training : {"standard", "robust"}
            Kind of model.
        quantity : {"normal_mi", "worst_case_mi", "vulnerability"}
            Which.
        critic : {"trained", "best"}
            Critics trained as in the paper, or the best one of their family.

        Returns
        -------
        Tensor
            [models, kernels], nats.
        """
        if critic == "trained":
            return torch.stack([getattr(e, quantity) for e in self.estimates[training]]).double()
        parts = {name: torch.stack([getattr(e, f"ideal_{name}") for e in self.estimates[training]]).double() for name in ("normal", "worst_case")}
        return {"normal_mi": parts["normal"], "worst_case_mi": parts["worst_case"],
                "vulnerability": parts["normal"] - parts["worst_case"]}[quantity]

    def shift(self, quantity: str, critic: str = "trained") -> tuple[float, float, float]:
        """How much larger the mean over the kernels is in robust models than in standard ones.

        Parameters
        ----------
        quantity, critic : str
            As for `models`.

        Returns
        -------
        (float, float, float)
            Difference in nats; its standard error over kernels, taken as independent; and over models (NaN for one of each kind).
        """
        standard, robust = (self.models(t, quantity, critic) for t in _TRAININGS)
        over_kernels = math.sqrt(sum(float(v.var()) / v.numel() for v in (standard, robust)))
        means = [v.mean(1) for v in (standard, robust)]
        over_models = math.sqrt(sum(float(m.var()) / len(m) for m in means)) if len(means[0]) > 1 else math.nan
        return float(robust.mean() - standard.mean()), over_kernels, over_models

    @property
    def rows(self) -> list[Row]:
        """Means over the kernels beside those read off the paper's figure, the accuracies, and the two numbers of its text."""
        rows = _architecture_rows()
        for training in _TRAININGS:
            rows += [self._row(training, quantity, critic) for critic in ("trained", "best") for quantity in _QUANTITIES]
            rows += [self.study.accuracy_row(metric, [t[metric] for t in self.counts[training]], model="Baseline-H", method=training)
                     for metric in ("natural_accuracy", "adversarial_accuracy")]
        return rows

    def _row(self, training: str, quantity: str, critic: str) -> Row:
        """Mean over kernels and models; interval over models, or over held-out batches for a single one."""
        setup, means = self.study.setup, self.models(training, quantity, critic).mean(1).tolist()
        first = self.estimates[training][0]
        trained, attacked = critic == "trained", quantity != "normal_mi"
        interval = mean_interval(means) or (first.mean(quantity)[1] if trained else None)
        cell = paper_row("Zhu2020", "Fig3 (digitised)", model=_PAPER_MODEL, method=training, metric=_QUANTITIES[quantity]) if trained else None
        against = "the estimate of each kernel" if trained else "the best critic of each kernel"
        row = Row(metric=f"{quantity}_mean_over_kernels", value=sum(means) / len(means), unit="nats", n=first.normal_mi.numel() * len(means),
                  interval=interval, dataset=setup.dataset, model="Baseline-H conv2 kernels" + ("" if trained else ", best critic"), method=training,
                  attack=f"PGD ({first.attack}) on {against}" if attacked else None, threat=first.threat if attacked else None,
                  seeds=tuple(setup.seeds), paper=cell, settings="; ".join(filter(None, (_reduced(setup), self.note))))
        return judge(row, comparable=setup.comparable)

    def verdict(self) -> str:
        """What was found: is the paper's shift from standard to robust there, and by how many standard errors?"""
        texts = [_shift_text(self, critic) for critic in ("trained", "best")]
        correct = {t: 100 * sum(c["adversarial_accuracy"] for c in self.counts[t]) / len(self.counts[t]) / len(self.study.test[0]) for t in _TRAININGS}
        measured = [r for r in self.rows if r.metric not in ("number_of_neurons", "neuron_patch_side")]
        return (f"{overall_verdict(measured)}. The robust models classify {correct['robust']:.1f} % of the attacked test images, the standard ones "
                f"{correct['standard']:.1f} % ({self.study.setup.threat}). {texts[0]} {texts[1]} {_family_text(self)} "
                "A search that has not converged puts a worst case too high, and a critic that is hardly trained puts it near zero: the sign of a shift may "
                "depend on the effort spent on both, and two models of each kind are few.")


def _reduced(setup: Setup) -> str:
    """What is smaller than in the paper; two models of each kind are all that the paper has here."""
    parts = setup.reduced().removeprefix("reduced: ").split(", ")
    kept = [part for part in parts if part and not (len(setup.seeds) > 1 and part.endswith("trials"))]
    return f"reduced: {', '.join(kept)}" if kept else ""


def _direction(result: Kernels, critic: str) -> int:
    """-1, 0 or 1: whether kernels of robust models lose less, about as much, or more, beyond two standard errors of either kind."""
    change, over_kernels, over_models = result.shift("vulnerability", critic)
    error = over_kernels if math.isnan(over_models) else max(over_kernels, over_models)
    return 0 if abs(change) <= 2 * error else int(math.copysign(1, change))


def _shift_text(result: Kernels, critic: str) -> str:
    """One sentence about the vulnerability of standard and robust kernels, with one kind of critic."""
    mean = {t: float(result.models(t, "vulnerability", critic).mean()) for t in _TRAININGS}
    change, over_kernels, over_models = result.shift("vulnerability", critic)
    errors = f"{abs(change) / over_kernels:.1f} standard errors over kernels" if over_kernels > 0 else "kernels without spread"
    if over_models > 0:
        errors += f", {abs(change) / over_models:.1f} over models"
    found = {-1: "is there", 0: "is not there beyond two standard errors", 1: "is reversed"}[_direction(result, critic)]
    name = "With trained critics" if critic == "trained" else "With the best critic"
    return (f"{name} the mean vulnerability of a kernel is {mean['standard']:.3f} nats in standard and {mean['robust']:.3f} in robust models: "
            f"the paper's shift {found} ({change:+.3f} nats; {errors}).")


def _family_text(result: Kernels) -> str:
    """One sentence about how far the two worst cases are apart."""
    low, high = (float(torch.cat([result.models(t, "worst_case_mi", c) for t in _TRAININGS]).mean()) for c in ("trained", "best"))
    lost = float(torch.cat([result.models(t, "vulnerability") for t in _TRAININGS]).mean())
    apart = ("most of the vulnerability that trained critics report is that of the critics" if high - low > 0.5 * lost
             else "the two are apart by less than half of the vulnerability")
    return f"Frozen critics put the worst case at {low:.3f} nats on average, the best critic at {high:.3f}: {apart}."


def _architecture_rows() -> list[Row]:
    """The two numbers of the paper's text, computed from the architecture at full size."""
    layers = convolution_layers(classifier("baseline_h", in_channels=3, image_size=32))
    last: Any = layers[-1]
    values = {"number_of_neurons": (last.out_channels, "count"), "neuron_patch_side": (receptive_field(layers).size, "px")}
    return [judge(Row(metric=metric, value=value, unit=unit, n=None, dataset="cifar10", model="Baseline-H conv2", method="architecture",
                      paper=paper_row("Zhu2020", "text Fig3", metric=metric))) for metric, (value, unit) in values.items()]


# --- the call -----------------------------------------------------------------------------------------------------------
def kernels(setup: Setup, *, patches_per_image: int = 1, test_patches: int | None = None, critic_learning_rate: float | None = None,
            critic_steps: int | None = None, heldout_steps: int | None = None, best_critic_steps: int = 40,
            attack: str = "per_kernel", block: int = 32) -> Kernels:
    """Figure 3: every kernel of the second layer of standard and of adversarially trained classifiers.

    Parameters
    ----------
    setup : Setup
        Settings; one model of each kind for every seed. Sizes and length of the critics' training are `critic_width`,
        `critic_channels` and `critic_epochs`.
    patches_per_image : int
        Random places in each training image.
    test_patches : int, optional
        Held-out patches; one for each test image if not given.
    critic_learning_rate : float, optional
        Of the critics; that of the settings if not given.
    critic_steps, heldout_steps : int, optional
        Steps of the search while the critics are trained, and on held-out patches; those of the settings' attack if not given.
    best_critic_steps : int
        Steps of the search against the best critic.
    attack : {"per_kernel", "shared"}
        As for `robinfo.kernel_information.KernelInfoMax`.
    block : int
        Kernels attacked at a time.

    Returns
    -------
    Kernels
        Estimates and counts.

    References
    ----------
    Zhu, Zhang and Evans (2020), Section 6.1, Figure 3.
    """
    study = Study(setup, parts=4 * len(setup.seeds))
    estimates: dict[str, list[KernelInformation]] = {t: [] for t in _TRAININGS}
    counts: dict[str, list[dict[str, int]]] = {t: [] for t in _TRAININGS}
    options = {"patches_per_image": patches_per_image, "test_patches": test_patches, "learning_rate": critic_learning_rate or setup.learning_rate,
               "steps": critic_steps or setup.attack.steps, "evaluation_steps": heldout_steps, "attack": attack, "block": block, "ideal_steps": best_critic_steps,
               "step_size": None if critic_steps else setup.attack.size}
    for seed in setup.seeds:
        for training in _TRAININGS:
            model = study.supervised(seed, robust=training == "robust")
            counts[training].append(study.accuracies(model))
            estimates[training].append(_estimate(study, model, seed, training, options))
    return Kernels(study, estimates, counts, f"{patches_per_image} patch{'es' if patches_per_image > 1 else ''} of each training image")


def _estimate(study: Study, model: nn.Module, seed: int, training: str, options: dict[str, Any]) -> KernelInformation:
    """The kernels of one classifier."""
    setup = study.setup
    study._heading(f"kernels of the {training} classifier, seed {seed}")
    return estimate_kernel_vulnerability(
        convolution_layers(model), to_float(study.data.train_images), study.test[0], setup.threat, epochs=setup.critic_epochs,
        batch_size=setup.batch_size, estimator=setup.estimator, negatives=setup.negatives, gradient=setup.gradient,
        critic_width=setup.critic_width, critic_channels=setup.critic_channels, seed=seed, device=setup.device, precision=setup.precision,
        checkpoint=Path(setup.run_dir) / "checkpoints" / f"kernels-{training}-{seed}", **options)


# --- figures ------------------------------------------------------------------------------------------------------------
_LABELS = {"normal_mi": ("normal", BLUE), "worst_case_mi": ("worst case", RED), "vulnerability": ("vulnerability", ORANGE)}


def plot_kernels(result: Kernels, critic: str = "trained") -> Any:
    """Figure 3: histograms of the three quantities, standard models above robust ones; the paper's bars as lines for CIFAR-10.

    Parameters
    ----------
    result : Kernels
        What was measured.
    critic : {"trained", "best"}
        As for `Kernels.models`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(7.6, 4.6), sharex="col", sharey="col")
    for (column, names), below in zip(enumerate((("normal_mi", "worst_case_mi"), ("vulnerability",))), ("information", "vulnerability"), strict=True):
        edges = _edges(result, names, critic)
        for axis, training in zip(axes[:, column], _TRAININGS, strict=True):
            for name in names:
                _histogram(axis, result, training, name, critic, edges)
            axis.set(ylabel="kernels of a model", title=f"{training} models")
            axis.title.set(fontsize=8, fontweight="normal")
        axes[0, column].legend(fontsize=6, frameon=False, loc="upper left", ncols=len(names))
        axes[0, column].set_ylim(top=1.4 * axes[0, column].get_ylim()[1])
        axes[1, column].set(xlabel=f"{below} of a kernel, nats (estimate)")
    count, setup = result.models("standard", "normal_mi", critic).shape, result.study.setup
    kind = "trained critics" if critic == "trained" else "the best critic"
    figure.suptitle(f"{_claim(result, critic)} ({kind})", fontsize=10, fontweight="bold", x=0.02, ha="left")
    figure.text(0.02, -0.02, f"{setup.dataset}, {setup.threat}; {count[0]} model{'s' if count[0] > 1 else ''} of each kind, {count[1]} kernels each; lines: means", fontsize=7)
    return finished(figure)


def _claim(result: Kernels, critic: str) -> str:
    """The title of a figure, as it was found."""
    return {-1: "Kernels of robust models are less vulnerable", 0: "Kernels of robust and standard models are about equally vulnerable",
            1: "Kernels of robust models are more vulnerable"}[_direction(result, critic)]


def _edges(result: Kernels, names: Sequence[str], critic: str) -> Tensor:
    """Twenty-five bars that hold every kernel, and the paper's where they are drawn."""
    values = torch.cat([result.models(t, name, critic).flatten() for t in _TRAININGS for name in names])
    if result.study.setup.dataset == "cifar10":
        values = torch.cat([values, *(torch.tensor(list(PAPER_BARS[t, name])).double() for t in _TRAININGS for name in names)])
    low, high = float(values.min()), float(values.max())
    return torch.linspace(low, max(high, low + 1e-3), 26, dtype=torch.float64)


def _histogram(axis: Any, result: Kernels, training: str, name: str, critic: str, edges: Tensor) -> None:
    """One histogram, as kernels of one model, its mean as a line, and the paper's bars as steps where the data are the paper's."""
    label, colour = _LABELS[name]
    values = result.models(training, name, critic)
    axis.hist(values.flatten().numpy(), bins=edges.numpy(), weights=[1 / len(values)] * values.numel(), color=colour, alpha=0.6, label=label)
    axis.axvline(float(values.mean()), color=colour, linewidth=1.2)
    if result.study.setup.dataset == "cifar10":
        bars = PAPER_BARS[training, name]
        axis.step(list(bars), list(bars.values()), where="mid", color=BLACK, linewidth=0.9, label=f"{label}, paper (read off)",
                  linestyle="--" if name == "worst_case_mi" else "-")


def plot_critics(result: Kernels) -> Any:
    """Worst-case information of every kernel with frozen trained critics against the best critic.

    Parameters
    ----------
    result : Kernels
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.4), sharex=True, sharey=True)
    pairs = {(t, q): [result.models(t, q, c).flatten() for c in ("trained", "best")] for t in _TRAININGS for q in ("normal_mi", "worst_case_mi")}
    ends = [float(min(v.min() for pair in pairs.values() for v in pair)), float(max(v.max() for pair in pairs.values() for v in pair))]
    for axis, training in zip(axes, _TRAININGS, strict=True):
        axis.plot(ends, ends, color=GREY, linewidth=1)
        for quantity in ("normal_mi", "worst_case_mi"):
            label, colour = _LABELS[quantity]
            axis.plot(*pairs[training, quantity], "o", markersize=2.5, alpha=0.6, color=colour, label=label)
        axis.set(xlabel="trained critics, nats (estimate)", title=f"{training} models")
        axis.legend(fontsize=7, loc="lower right")
    axes[0].set(ylabel="best critic of the family, nats")
    below = torch.cat([pairs[t, "worst_case_mi"][0] < pairs[t, "worst_case_mi"][1] for t in _TRAININGS]).double().mean()
    figure.suptitle(f"Attacked, a frozen critic sees less than the best one in {100 * float(below):.0f} % of the kernels", fontsize=10, fontweight="bold", x=0.02, ha="left")
    return finished(figure)
