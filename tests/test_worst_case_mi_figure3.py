"""Figure 3 of the worst-case paper: bars read off, rows, shift in standard errors, figures, verdicts that follow the numbers."""
from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import Tensor

from robinfo.experiments.record import paper_row
from robinfo.experiments.study import Setup, Study
from robinfo.experiments.worst_case_mi_kernels import PAPER_BARS, Kernels, kernels, plot_critics, plot_kernels
from robinfo.kernel_information import KernelInformation, ReceptiveField

mpl.use("agg")
METRICS = {"normal_mi": "normal_case_MI_mean_over_neurons", "worst_case_mi": "worst_case_MI_mean_over_neurons",
           "vulnerability": "feature_vulnerability_mean"}


def made(normal: float, worst: float, ideal: tuple[float, float] = (0.45, 0.3), spread: float = 0.05, seed: int = 0) -> KernelInformation:
    """An estimate of 128 kernels around given means."""
    generator = torch.Generator().manual_seed(seed)

    def around(mean: float, *shape: int) -> Tensor:
        """Numbers with exactly this mean."""
        noise = torch.randn(*shape, generator=generator)
        return mean + spread * (noise - noise.mean())

    return KernelInformation(around(normal, 4, 128), around(worst, 4, 128), around(ideal[0], 128), around(ideal[1], 128), math.log(64), "Linf(0.1)",
                             "per_kernel", ReceptiveField(10, 4, 3), 64, seed, "")


def result(standard: list[KernelInformation], robust: list[KernelInformation], dataset: str = "digits", **settings: Any) -> Kernels:
    """A result of made estimates; no image is read but for the number of test images."""
    study = Study(Setup(dataset=dataset, seeds=tuple(range(len(standard))), **settings))
    study.__dict__["test"] = (range(100), None)
    counts = {"standard": [{"natural_accuracy": 95, "adversarial_accuracy": 20}] * len(standard),
              "robust": [{"natural_accuracy": 90, "adversarial_accuracy": 70}] * len(robust)}
    return Kernels(study, {"standard": standard, "robust": robust}, counts)


def as_printed(**settings: Any) -> Kernels:
    """What the paper reports, measured exactly on CIFAR-10."""
    options = {"dataset": "cifar10", "width": 1.0, **settings}
    return result([made(0.2645, 0.2645 - 0.086), made(0.2645, 0.2645 - 0.086, seed=1)], [made(0.254, 0.254 - 0.032, seed=2), made(0.254, 0.254 - 0.032, seed=3)],
                  **options)


@pytest.mark.parametrize("key", list(PAPER_BARS))
def test_the_bars_read_off_hold_128_kernels_with_the_mean_in_the_tables(key: tuple[str, str]) -> None:
    bars = PAPER_BARS[key]
    cell = paper_row("Zhu2020", "Fig3 (digitised)", method=key[0], metric=METRICS[key[1]])
    assert cell is not None
    count = sum(bars.values())
    assert 120 <= count <= 128.5  # halves, as two models share a bar; up to eight kernels were lost in reading
    assert sum(c * n for c, n in bars.items()) / count == pytest.approx(cell["mean"], abs=0.01)


def test_rows_stand_beside_the_digitised_means() -> None:
    rows = {(r.method, r.metric, r.model): r for r in as_printed().rows}
    for training in ("standard", "robust"):
        for ours, theirs in METRICS.items():
            row = rows[training, f"{ours}_mean_over_kernels", "Baseline-H conv2 kernels"]
            assert row.paper == paper_row("Zhu2020", "Fig3 (digitised)", method=training, metric=theirs)
            assert row.interval is not None and row.interval[0] <= row.value <= row.interval[1]
            assert (row.n, row.unit, row.dataset) == (256, "nats", "cifar10")
            assert (row.threat is None) == (ours == "normal_mi")
            best = rows[training, f"{ours}_mean_over_kernels", "Baseline-H conv2 kernels, best critic"]
            assert best.paper is None and best.verdict is None
    standard = rows["standard", "normal_mi_mean_over_kernels", "Baseline-H conv2 kernels"]
    assert standard.value == pytest.approx(0.2645, abs=1e-4)


def test_reduced_runs_and_other_data_are_never_compared() -> None:
    for some in (as_printed(classifier_epochs=3), as_printed(dataset="digits"), as_printed(epsilon=0.5)):
        assert {r.verdict for r in some.rows if r.metric.endswith("over_kernels") and r.paper} == {"not comparable"}
    assert "classifier_epochs 3" in next(r for r in as_printed(classifier_epochs=3).rows if r.metric.startswith("normal_mi")).settings


def test_two_models_of_each_kind_are_not_reduced() -> None:
    """At the paper's settings the rows are compared. (Read off, the worst case of standard models is not normal minus lost: bars are missing.)"""
    rows = [r for r in as_printed(critic_epochs=300).rows if r.paper is not None and r.metric.endswith("over_kernels")]
    assert len(rows) == 6 and {r.settings for r in rows} == {""}
    assert [r.verdict for r in rows].count("reproduced") == 4 and "not comparable" not in [r.verdict for r in rows]
    assert "1 trial" in next(r for r in result([made(0.4, 0.3)], [made(0.4, 0.3)]).rows if r.metric.startswith("normal_mi")).settings


def test_the_two_numbers_of_the_text_are_computed() -> None:
    rows = {r.metric: r for r in as_printed(classifier_epochs=1).rows}
    for metric, value in (("number_of_neurons", 128), ("neuron_patch_side", 10)):
        assert (rows[metric].value, rows[metric].n, rows[metric].verdict) == (value, None, "reproduced")


def test_shift_and_its_standard_errors_by_hand() -> None:
    some = result([made(0.5, 0.3), made(0.5, 0.2, seed=1)], [made(0.5, 0.4, seed=2), made(0.5, 0.42, seed=3)])
    change, over_kernels, over_models = some.shift("vulnerability")
    assert change == pytest.approx(0.09 - 0.25, abs=1e-4)
    lost = [torch.cat([e.vulnerability for e in some.estimates[t]]).double() for t in ("standard", "robust")]
    assert over_kernels == pytest.approx(math.sqrt(sum(float(v.var()) / 256 for v in lost)), rel=1e-6)
    assert over_models == pytest.approx(math.sqrt(0.1**2 / 2 / 2 + 0.02**2 / 2 / 2), rel=1e-3)
    assert math.isnan(result([made(0.5, 0.3)], [made(0.5, 0.3)]).shift("vulnerability")[2])


@pytest.mark.parametrize(("robust", "text"), [(0.45, "the paper's shift is there"), (0.3, "not there beyond two standard errors"), (0.1, "shift is reversed")])
def test_the_verdict_follows_the_numbers(robust: float, text: str) -> None:
    standard = [made(0.5, 0.3), made(0.5, 0.3, seed=1)]
    some = result(standard, [made(0.5, robust + 1e-3, seed=2), made(0.5, robust + 1e-3, seed=3)])
    sentence = some.verdict()
    assert text in sentence.split("With the best critic")[0]
    assert sentence.startswith("Not comparable")
    assert "70.0 % of the attacked test images, the standard ones 20.0 %" in sentence
    assert "-0.000" not in sentence


def test_the_verdict_tells_trained_critics_from_the_best() -> None:
    answered = result([made(0.45, -0.2, (0.45, 0.3))], [made(0.45, 0.0, (0.45, 0.3))]).verdict()
    agreeing = result([made(0.45, 0.25, (0.45, 0.3))], [made(0.45, 0.28, (0.45, 0.3))]).verdict()
    assert "most of the vulnerability that trained critics report is that of the critics" in answered
    assert "apart by less than half of the vulnerability" in agreeing


@pytest.mark.parametrize("dataset", ["cifar10", "digits"])
def test_paper_bars_are_drawn_for_the_paper_s_data_only(dataset: str) -> None:
    some = as_printed(dataset=dataset)
    for critic in ("trained", "best"):
        figure = plot_kernels(some, critic)
        texts = [t.get_text() for axis in figure.axes if axis.get_legend() for t in axis.get_legend().get_texts()]
        assert any("paper (read off)" in t for t in texts) == (dataset == "cifar10")
        heights = [sum(p.get_height() for p in axis.patches[:25]) for axis in figure.axes]
        assert heights == pytest.approx([128] * 4)  # kernels of one model
    assert len(plot_critics(some).axes) == 2


def test_a_small_run_from_end_to_end(tmp_path: Any) -> None:
    setup = Setup(dataset="digits", run_dir=str(tmp_path), seeds=(0,), train_images=64, test_images=40, width=0.05, steps=1, classifier_epochs=1,
                  critic_width=8, critic_channels=4, critic_epochs=1, batch_size=20, learning_rate=1e-3, device="cpu")
    found = kernels(setup, best_critic_steps=1, patches_per_image=2)
    assert found.models("robust", "vulnerability").shape == (1, 6)
    assert all(r.settings.startswith("reduced: width 0.05") and r.settings.endswith("1 trial; 2 patches of each training image") for r in found.rows if "over_kernels" in r.metric)
    assert found.verdict().count("mean vulnerability of a kernel is") == 2
    assert {p.parent.name for p in tmp_path.glob("checkpoints/kernels-*/*.safetensors")} == {"kernels-standard-0", "kernels-robust-0"}
