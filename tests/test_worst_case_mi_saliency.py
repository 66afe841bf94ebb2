"""Figures 4 to 6: how scores become rows, figures and a verdict, and one small run of everything."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robinfo.experiments.record import write_metrics
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi_saliency import (
    ALIKE,
    HJELM,
    LOSS,
    OURS,
    OWN,
    ROBUST,
    STANDARD,
    Contrast,
    Kernels,
    Saliency,
    plot_kernels,
    plot_losses,
    plot_representations,
    plot_scores,
    saliency,
)
from robinfo.saliency import cosine_alignment, kernel_saliency, noisiness

KEYS = [(STANDARD, LOSS), (ROBUST, LOSS), (HJELM, OWN), (HJELM, ALIKE), (HJELM, LOSS), (OURS, OWN), (OURS, ALIKE), (OURS, LOSS)]
KERNELS = "robust − standard, kernels of the second convolution"


def made(*, seeds: int = 2, mixed: float = 1.0, smooth: bool = True) -> Saliency:
    """A result made by hand: maps of the robust models are the image and noise, those of the others noise."""
    study, generator = Study(Setup(dataset="digits", train_images=64, test_images=48)), torch.Generator().manual_seed(0)
    images, labels = study.test
    coarse = torch.nn.functional.interpolate(torch.randn(48 * seeds * 8, 1, 7, 7, generator=generator), size=28)
    maps: dict[tuple[str, str], list[Tensor]] = {}
    for place, key in enumerate(KEYS):
        robust = key[0] in (ROBUST, OURS)
        for seed in range(seeds):
            noise = torch.randn(images.shape, generator=generator)
            part = coarse[48 * (place * seeds + seed) :][:48] if robust and smooth else noise
            maps.setdefault(key, []).append(part + (mixed * images if robust else 0))
    shown = images.new_zeros(4, 2, 1, 28, 28)
    kernels = {name: [Kernels(torch.tensor([level, level + 0.1, float("nan"), level + 0.05 * seed]), torch.tensor([0.1, 0.2, float("nan"), 0.3]), shown)
                      for seed in range(seeds)] for name, level in ((STANDARD, 1.0), (ROBUST, 0.7))}
    counts = {name: [{"natural_accuracy": 40, "adversarial_accuracy": 12}] * seeds for name in (STANDARD, ROBUST, HJELM, OURS)}
    return Saliency(study, images, labels, maps, kernels, counts, [0, 1, 2, 3], [0, 2], "gradient published, kernels at the activation", tuple(range(seeds)))


def title(figure: Any) -> str:
    """A figure's title on one line."""
    return " ".join(figure.get_suptitle().split())


# --- contrasts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("value", "interval", "signs", "wanted", "expected"), [
    (-0.2, (-0.3, -0.1), (-0.2, -0.1), -1, "held"),
    (-0.2, (-0.3, -0.1), (-0.2, -0.1), 1, "opposite"),
    (-0.2, (-0.3, -0.1), (-0.2,), -1, "held (in one training)"),
    (-0.2, (-0.3, 0.1), (-0.2, -0.1), -1, "no difference shown"),
    (-0.2, (-0.3, -0.1), (-0.5, 0.1), -1, "no difference shown (the seeds disagree)"),
    (-0.2, None, (-0.2,), -1, "no difference shown"),
])
def test_a_finding_needs_the_interval_and_every_seed(value: float, interval: Any, signs: tuple[float, ...], wanted: int, expected: str) -> None:
    assert Contrast(value, interval, 9, signs).finding(wanted) == expected


def test_contrasts_are_paired_means() -> None:
    result = made()
    found = result.contrast((OURS, OWN), (HJELM, OWN), "noisiness")
    ours, other = (torch.stack([noisiness(one) for one in result.maps[key]]) for key in ((OURS, OWN), (HJELM, OWN)))
    assert found.value == pytest.approx(float((ours - other).mean())) and found.n == 48
    assert found.signs == pytest.approx((ours - other).mean(1).tolist())
    assert found.interval is not None and found.interval[0] < found.value < found.interval[1] < 0
    own = result.mean((OURS, OWN), "alignment")[0]
    assert own == pytest.approx(float(torch.stack([cosine_alignment(result.images, one) for one in result.maps[OURS, OWN]]).mean()))


def test_kernels_that_are_never_active_are_left_out() -> None:
    found = made().kernel_contrast("noisiness")
    assert found.value == pytest.approx(-0.3) and found.n == 6 and found.finding(-1) == "held"


# --- the verdict follows the numbers ---------------------------------------------------------------------------------------
def test_the_verdict_says_what_was_found_whichever_way_it_falls() -> None:
    for result, noise, aligned in ((made(), "held", "held"), (made(mixed=0.0, smooth=False), "no difference", "no difference")):
        found = result.contrasts
        assert found[f"Ours − Hjelm, {OWN}", "noisiness"].finding(-1).startswith(noise)
        assert found[f"Ours − Hjelm, {OWN}", "alignment_excess"].finding(1).startswith(aligned)
        text = result.verdict()
        assert text.startswith("Not comparable: the paper shows pictures and prints no numbers; reduced: ")
        assert f"less noise (noisiness, ours − Hjelm): {found[f'Ours − Hjelm, {OWN}', 'noisiness']}, **{noise}" in text
        assert "25.0 %" in text and "48 images, 2 trained networks of each kind" in text
    assert text.endswith("others of its class: none.")
    swapped = made()
    for gradient in (OWN, ALIKE, LOSS):
        swapped.maps[OURS, gradient], swapped.maps[HJELM, gradient] = swapped.maps[HJELM, gradient], swapped.maps[OURS, gradient]
    assert swapped.verdict().count("**opposite**") == 6
    assert "are noisier, not less noisy" in title(plot_representations(swapped))
    assert "are less noisy" in title(plot_representations(made()))
    assert "in one training" in made(seeds=1).verdict()


def test_rows_hold_every_score_and_no_published_number(tmp_path: Path) -> None:
    result = made()
    rows = result.rows
    assert {row.metric for row in rows} >= {"alignment", "alignment_excess", "alignment_excess_same_class", "edge_alignment", "noisiness", "alpha",
                                            "kernel_noisiness", "adversarial_accuracy", "noisiness_difference"}
    assert all(row.paper is None and row.verdict is None and "reduced" in row.settings for row in rows)
    assert {row.n for row in rows if row.metric == "noisiness"} == {48} and {row.seeds for row in rows if row.metric == "alpha"} == {(0, 1)}
    assert len(result.difference_rows) == len(result.contrasts) == 17
    keys = [(row.metric, row.model, row.method) for row in rows]
    assert len(set(keys)) == len(keys)
    assert write_metrics(tmp_path, "worst_case_mi_saliency", "smoke", {}, rows).is_file()


def test_maps_of_zeros_are_left_out_and_do_not_stop_the_run() -> None:
    result = made()
    for one in result.maps[STANDARD, LOSS]:
        one.zero_()
    assert not any(row.model == STANDARD and row.metric == "noisiness" for row in result.rows)
    assert result.contrasts["robust − standard, fully supervised, cross-entropy", "noisiness"].finding(-1) == "no difference shown"
    assert "no difference shown" in result.verdict()
    half = made()
    half.maps[STANDARD, LOSS][0][:10] = 0
    assert half.mean((STANDARD, LOSS), "noisiness")[2] == 48  # the other seed has them
    plot_scores(result), plot_losses(result)


# --- figures -----------------------------------------------------------------------------------------------------------------
def test_figures_show_the_rows_of_the_paper() -> None:
    result = made()
    for plot, rows in ((plot_representations, 4), (plot_losses, 6), (plot_kernels, 4)):
        figure = plot(result)
        assert len(figure.axes) == 4 * (rows + 1)
        assert "are less noisy: difference in noisiness −" in title(figure)
    assert "noise 0.70" in plot_kernels(result).axes[12].get_ylabel()
    scores = plot_scores(result)
    assert [axis.get_xlabel() for axis in scores.axes] == ["noisiness of the map", "|correlation| of map and image", "correlation of magnitude and edges"]


# --- one run ------------------------------------------------------------------------------------------------------------------
def tiny(folder: Path, **options: Any) -> Setup:
    """Settings that take seconds."""
    return Setup(dataset="digits", run_dir=str(folder), train_images=64, test_images=40, width=0.0625, critic_width=8, critic_channels=2, steps=1,
                 encoder_epochs=1, head_epochs=1, classifier_epochs=1, critic_epochs=1, batch_size=16, learning_rate=1e-3, device="cpu", **options)


def test_a_small_run_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "results"))
    result = saliency(tiny(tmp_path), images=36, kernel_images=6, pictures=3)
    assert set(result.maps) == set(KEYS) and all(len(one) == 1 and one[0].shape == (36, 1, 28, 28) for one in result.maps.values())
    assert result.labels[result.shown].tolist() == [0, 1, 2] and result.shown_kernels == [0, 2, 4, 6]
    assert [one.maps.shape for one in result.kernels[ROBUST]] == [(3, 4, 1, 28, 28)] and len(result.kernels[STANDARD][0].noisiness) == 8
    assert all(one.isfinite().any() for one in result.scores[OURS, OWN].values())
    assert not torch.allclose(result.maps[OURS, OWN][0], result.maps[OURS, ALIKE][0])  # another critic
    again = saliency(tiny(tmp_path), images=36, kernel_images=6, pictures=3)  # everything is found again
    assert all(torch.equal(again.maps[key][0], result.maps[key][0]) for key in KEYS)
    assert again.verdict() == result.verdict() and len(result.rows) == len(again.rows)


def test_the_kernels_are_those_of_the_second_convolution() -> None:
    from robinfo.experiments.worst_case_mi_saliency import _second_layer
    from robinfo.models import classifier

    model, x = classifier("baseline_h", in_channels=1, image_size=28, width=0.0625).eval(), torch.rand(2, 1, 28, 28)
    before, after = _second_layer(model, "convolution"), _second_layer(model, "activation")
    norm = model.encoder.convolutions[1][1]
    assert torch.allclose(torch.relu(norm(before(x))), after(x)) and after(x).shape == (2, 8, 7, 7)
    assert not torch.allclose(kernel_saliency(before, x), kernel_saliency(after, x))


@pytest.mark.parametrize(("options", "message"), [
    ({"kernel_layer": "relu"}, "kernel_layer must be 'activation' or 'convolution', got 'relu'"),
    ({"images": 1}, "images must be a whole number >= 2, got 1"),
    ({"kernel_images": 0}, "kernel_images must be a whole number >= 2"),
    ({"pictures": 0}, "pictures must be a whole number >= 1"),
    ({"gradient": "both"}, "gradient must be 'published' or 'full', got 'both'"),
    ({"head": "CNN"}, "head must be 'MLP' or 'Linear', got 'CNN'"),
])
def test_bad_settings_fail_before_the_training(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saliency(tiny(tmp_path), **options)
    assert not list(tmp_path.iterdir())
