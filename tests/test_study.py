"""The study behind the experiments: settings, limits, rows."""
from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robinfo.experiments import models_store, study
from robinfo.experiments.record import paper_row
from robinfo.experiments.study import Setup, Study, fingerprint, paper_threat
from robinfo.experiments.worst_case_mi import Table1, bound_row, overall_verdict, table1
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
    row = bound_row(study, made, "standard", "net")
    assert row.value == pytest.approx(71.54, abs=0.01)  # the sharp bound at 1.08 nats
    assert row.interval == (pytest.approx(10.0), pytest.approx(100.0))


# --- parts that are found again ---------------------------------------------------------------------------------------
TINY = Setup(dataset="digits", train_images=64, test_images=40, width=0.05, critic_width=8, critic_channels=2, encoder_epochs=1, head_epochs=1,
             classifier_epochs=1, critic_epochs=1, batch_size=32, steps=1, learning_rate=1e-3)
CHANGES: dict[str, dict[str, Any]] = {  # of every setting that reaches a training; another value for each
    "all": {"train_images": 80, "validation_images": 10, "epsilon": 0.2, "steps": 2, "step_size": 0.01, "learning_rate": 2e-3, "batch_size": 16,
            "precision": "bf16-mixed", "augment": "crop_flip"},
    "encoder": {"width": 0.1, "critic_width": 16, "critic_channels": 4, "critic_scale": "mean", "encoder_epochs": 2, "estimator": "nwj",
                "negatives": "all", "gradient": "published"},
    "head": {"head_epochs": 2}, "supervised": {"width": 0.1, "classifier_epochs": 2},
    "critics": {"critic_width": 16, "critic_channels": 4, "critic_scale": "mean", "critic_epochs": 2, "estimator": "nwj", "negatives": "all",
                "gradient": "published"}}
NO_PART = {"run_dir", "seeds", "device", "evaluation_steps", "test_images"}  # where, how often and on what is measured


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A store of its own in which nothing is trained; which files were asked for, by part."""
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    files: dict[str, list[str]] = {}

    def file(identity: dict[str, str], name: str) -> Path:
        files.setdefault("now", []).append(models_store.model_file(identity, "x").name)
        return tmp_path / "models" / f"{name}.safetensors"

    class Nothing:
        epochs, histories = (), ((), ())

    monkeypatch.setattr(study, "model_file", file)
    monkeypatch.setattr(study, "fit", lambda *a, **k: Nothing)
    monkeypatch.setattr(study, "estimate_vulnerability", lambda *a, **k: type("E", (), {"histories": (Nothing, Nothing)}))
    return files


def parts(setup: Setup, asked: dict[str, list[str]], seed: int = 0) -> dict[str, str]:
    """The file of each part that a study with these settings asks for."""
    asked["now"] = []
    made, encoder = Study(setup), nn.Sequential(nn.Flatten(), nn.Linear(784, 64))
    nn.init.zeros_(encoder[1].weight), nn.init.zeros_(encoder[1].bias)
    made.encoder(seed, worst_case=True), made.head(encoder, seed, kind="MLP", robust=True, name="n")
    made.supervised(seed, robust=True), made.vulnerability(encoder, seed, "n")
    return dict(zip(("encoder", "head", "supervised", "critics"), asked["now"], strict=True))


def test_every_setting_that_reaches_a_training_names_its_file(asked: dict[str, list[str]]) -> None:
    known = NO_PART.union(*CHANGES.values(), {"dataset"})
    assert {f.name for f in fields(Setup)} == known, "classify the new setting in CHANGES or NO_PART"
    base = parts(TINY, asked)
    assert base == parts(TINY, asked) and len(set(base.values())) == 4
    assert all(a != b for a, b in zip(base.values(), parts(TINY, asked, seed=1).values(), strict=True))
    for group, changes in CHANGES.items():
        for name, value in changes.items():
            got = parts(replace(TINY, **{name: value}), asked)
            for part in base:
                reaches = any(name in CHANGES[g] for g in ("all", part)) and (name, part) != ("augment", "critics")
                assert (got[part] != base[part]) == reaches, (group, name, part)
    for name, value in {"run_dir": "elsewhere", "seeds": (0, 1), "device": "cpu", "evaluation_steps": 7, "test_images": 41}.items():
        assert parts(replace(TINY, **{name: value}), asked) == base, name


def test_other_data_are_other_parts(asked: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    digits, whole = parts(TINY, asked), study.load("digits")
    monkeypatch.setattr(study, "load", lambda name: whole)
    attack = {"epsilon": 0.1, "steps": 1, "step_size": 0.05}
    other = parts(replace(TINY, dataset="mnist", **attack), asked)
    assert not set(parts(replace(TINY, **attack), asked).values()) & set(other.values()) and digits


def test_what_is_asked_of_a_part_names_its_file(asked: dict[str, list[str]]) -> None:
    made, encoder, other = Study(TINY), nn.Linear(2, 2), nn.Linear(2, 2)
    calls: list[Any] = [
        lambda: made.encoder(0, worst_case=False), lambda: made.encoder(0, worst_case=True), lambda: made.encoder(0, worst_case=True, beta=0.5),
        lambda: made.encoder(0, worst_case=True, estimator="js"),
        *(lambda k=k, r=r, e=e, n=n, w=w: made.head(e, 0, kind=k, robust=r, name=n, monitor=w and dict, monitored=w)
          for k, r, e, n, w in (("MLP", True, encoder, "a", ""), ("Linear", True, encoder, "a", ""), ("MLP", False, encoder, "a", ""),
                                ("MLP", True, other, "a", ""), ("MLP", True, encoder, "b", ""), ("MLP", True, encoder, "a", "on test"),
                                ("MLP", True, encoder, "a", "on validation"))),
        *(lambda o=o: made.supervised(0, **o) for o in (
            {"robust": True}, {"robust": False}, {"robust": True, "radius": 0.025}, {"robust": True, "kind": "Linear"},
            {"robust": True, "architecture": "resnet18"}, {"robust": True, "optimizer": "sgd"}, {"robust": True, "learning_rate": 0.1},
            {"robust": True, "milestones": [1]}, {"robust": True, "weight_decay": 1e-4})),
        lambda: made.vulnerability(encoder, 0, "a"), lambda: made.vulnerability(encoder, 0, "b"), lambda: made.vulnerability(other, 0, "a")]
    asked["now"] = []
    for call in calls:
        call()
    assert len(asked["now"]) == len(set(asked["now"])) == len(calls)


def test_augmentation_that_changes_nothing_changes_no_file(asked: dict[str, list[str]]) -> None:
    assert parts(replace(TINY, augment="zhu2020"), asked) == parts(TINY, asked)  # it is for CIFAR only


def test_the_quarter_radius_is_what_the_attack_of_training_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    setup, seen = replace(TINY, steps=2), []
    whole = study.PGD.__call__

    def attack(self: Any, model: Any, images: torch.Tensor, labels: Any, **options: Any) -> torch.Tensor:
        found = whole(self, model, images, labels, **options)
        seen.append(float((found - images).abs().max()))
        return found

    monkeypatch.setattr(study.PGD, "__call__", attack)
    Study(setup).supervised(0, robust=True, radius=setup.threat.radius / 4)
    assert seen and max(seen) == pytest.approx(0.025, abs=1e-6)
    assert setup.attack.size / 4 == pytest.approx(Study(setup)._objective(True, 0.025).attack.size)


def test_a_part_is_found_by_another_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    state = torch.get_rng_state()
    first = Study(replace(TINY, run_dir=str(tmp_path / "a")))
    encoder = first.encoder(0, worst_case=True)
    heads = [first.head(encoder, 0, kind="MLP", robust=False, name="n", monitor=lambda m: {"adversarial_accuracy": 0.5}, monitored=w)[0]
             for w in ("", "half")]
    measured = first.vulnerability(encoder, 0, "n")
    assert torch.equal(torch.get_rng_state(), state)
    assert "epoch 1/1" in capsys.readouterr().out
    again = Study(replace(TINY, run_dir=str(tmp_path / "b")))
    found = again.encoder(0, worst_case=True)
    assert fingerprint(found) == fingerprint(encoder)
    assert fingerprint(again.head(found, 0, kind="MLP", robust=False, name="n", monitor=dict, monitored="half")[0]) == fingerprint(heads[1])
    assert again.vulnerability(found, 0, "n").vulnerability == measured.vulnerability
    assert "epoch" not in capsys.readouterr().out
    assert len(list((tmp_path / "a" / "checkpoints").glob("*.safetensors"))) == 1  # the monitor without words
    assert sorted(p.name.rsplit("-", 1)[0] for p in (tmp_path / "models").glob("*.json")) == ["digits-n-MLP-standard", "digits-worst-encoder"]
    assert len(list((tmp_path / "models").glob("digits-n-critics-*/*.safetensors"))) == 2


def test_fingerprints_tell_structure_and_weights_apart() -> None:
    a = nn.Linear(2, 2)
    copied = nn.Linear(2, 2)
    copied.load_state_dict(a.state_dict())
    assert fingerprint(a) == fingerprint(copied)
    assert len({fingerprint(m) for m in (a, nn.Sequential(a), nn.Sequential(a, nn.ReLU()), nn.Linear(2, 2))}) == 4
