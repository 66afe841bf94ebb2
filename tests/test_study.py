"""The study behind the experiments: settings, limits, rows."""
from __future__ import annotations

import pytest

from robinfo.experiments.record import paper_row
from robinfo.experiments.study import Setup, Study, paper_threat
from robinfo.experiments.worst_case_mi import Table1, _bound_row, overall_verdict, table1
from robinfo.vulnerability import VulnerabilityEstimate


def test_paper_attacks_are_those_of_the_supplement() -> None:
    assert [str(paper_threat(name)[0]) for name in ("mnist", "fashion_mnist", "svhn", "cifar10")] == [
        "Linf(0.3)", "Linf(0.1)", "Linf(4/255)", "Linf(8/255)"]
    assert str(Setup(dataset="cifar10").attack) == (
        "PGD(Linf(8/255), steps=7, step_size=0.01, random_start=False, restarts=1, keep='best')")
    assert Setup(dataset="mnist", epsilon=0.1, steps=5).attack.size == pytest.approx(0.05)  # 2.5 radius / steps


def test_reduced_settings_say_so() -> None:
    paper = Setup(dataset="mnist", seeds=(0, 1, 2, 3))
    assert paper.reduced() == "" and paper.comparable is True
    less = Setup(dataset="mnist", width=0.5, train_images=1000)
    assert less.reduced() == "reduced: width 0.5, train_images 1000, 1 trial"


def test_another_ball_is_not_comparable() -> None:
    cell = paper_row("Zhu2020", "3", method="Ours / h=Robust", metric="adversarial_accuracy", head="MLP")
    for epsilon, expected in ((None, "reproduced"), (0.3, "reproduced"), (0.1, "not comparable")):
        study = Study(Setup(dataset="mnist", epsilon=epsilon, seeds=(0, 1, 2, 3)))
        study.__dict__["test"] = (range(10_000), None)  # only its length is asked for; the images need not be there
        row = study.accuracy_row("adversarial_accuracy", [6064, 6060, 6070, 6062], model="m", method="Ours / h=Robust", paper=cell)
        assert row.verdict == expected
        assert ("another threat than the paper's Linf(0.3)" in row.settings) == (expected == "not comparable")
        assert overall_verdict([row]).lower().startswith(expected)


def test_impossible_settings_fail_before_the_work() -> None:
    with pytest.raises(ValueError, match="dataset must be one of digits, mnist"):
        Study(Setup(dataset="imagenet"))
    with pytest.raises(ValueError, match="seeds must name at least one"):
        Study(Setup(dataset="digits", seeds=()))
    with pytest.raises(ValueError, match="needs validation_images >= 1, got 0"):
        table1(Setup(dataset="digits"))


def test_a_choice_on_the_test_images_says_so() -> None:
    study = Study(Setup(dataset="digits"))
    counts = {("MLP", f"Ours / h=Standard{es}"): [{"adversarial_accuracy": 10}] for es in ("", " (E.S.)")}
    for split, expected in (("validation", [False, False]), ("test", [False, True])):
        assert ["test images" in row.settings for row in Table1(study, counts, split).rows] == expected


def test_the_bound_stands_at_the_mean_of_the_seeds() -> None:
    study = Study(Setup(dataset="digits", seeds=(0, 1)))
    made = [VulnerabilityEstimate(2.0, worst, 2.0 - worst, None, None, None, 4.85, "Linf(0.1)", 2, 128, seed, "")
            for seed, worst in enumerate((0.0, 2.16))]
    row = _bound_row(study, made, "standard", "net")
    assert row.value == pytest.approx(71.54, abs=0.01)  # the sharp bound at 1.08 nats
    assert row.interval == (pytest.approx(10.0), pytest.approx(100.0))
