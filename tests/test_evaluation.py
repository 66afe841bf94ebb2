"""Accuracy before and after attacks: a classifier that can be solved by hand, the union, intervals, errors."""
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robinfo.attacks import FGSM, PGD
from robinfo.evaluation import RobustnessReport, accuracy, evaluate, robust_accuracy, survivors
from robinfo.theory.confidence import binomial_interval
from robinfo.threats import L1, L2, Linf
from robinfo.training import CheckpointError

COMPARE = nn.Flatten()  # two pixels are the two logits: class 1 where the second is the larger


def pixels(gaps: list[float]) -> Tensor:
    """Images of two pixels around 1/2 whose second exceeds the first by the gap."""
    half = torch.tensor(gaps, dtype=torch.float64)[:, None] / 2
    return torch.cat([0.5 - half, 0.5 + half], 1).reshape(-1, 2, 1, 1)


# A classifier solved by hand: an image of margin m survives Linf(r) iff m > 2r, L2(r) iff m > sqrt(2) r, L1(r) iff m > r


@given(gaps=st.lists(st.integers(-40, 40).map(lambda k: k / 50), min_size=1, max_size=30), radius=st.integers(0, 20))
@pytest.mark.parametrize(("kind", "factor"), [(Linf, 2.0), (L2, math.sqrt(2)), (L1, 1.0)])
def test_two_pixels_in_closed_form(kind: Any, factor: float, gaps: list[float], radius: int) -> None:
    images, size = pixels(gaps), (radius + 0.5) / 100  # never exactly at a boundary for Linf and L1
    labels = (images[:, 1] > images[:, 0]).long().flatten()
    expected = sum(abs(g) > factor * size for g in gaps) / len(gaps)
    attack = PGD(kind(size), steps=20, random_start=False)  # from a random start L2 ends a little before the corner
    assert accuracy(COMPARE, images, labels) == 1
    assert robust_accuracy(COMPARE, images, labels, attack) == pytest.approx(expected)
    assert robust_accuracy(COMPARE, images, 1 - labels, attack) <= sum(g == 0 for g in gaps) / len(gaps)


def test_radius_zero_is_clean_accuracy() -> None:
    torch.manual_seed(0)
    model, images, labels = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), torch.rand(50, 1, 3, 3), torch.randint(0, 3, (50,))
    clean = accuracy(model, images, labels)
    assert 0.1 < clean < 0.9
    for attack in (FGSM(Linf(0)), PGD(L2(0), steps=2), PGD(L1(0), steps=2, restarts=2)):
        assert robust_accuracy(model, images, labels, attack) == clean


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double().eval()
    images, labels = torch.rand(50, 1, 4, 4, dtype=torch.float64), torch.randint(0, 3, (50,))
    attack = PGD(Linf(0.05), steps=4, random_start=False)
    whole = survivors(model, images, labels, attack, batch_size=50)
    assert torch.equal(survivors(model, images, labels, attack, batch_size=batch_size), whole)
    assert 0 < whole.sum() < 50


# Reports


def wrong(which: list[int]) -> Any:
    """An attack that turns the images of these numbers (and only these) over; the number is coded in the third pixel."""
    def attack(model: Any, images: Tensor, labels: Tensor) -> Tensor:
        number = (images[:, 2, 0, 0] * 100).round().long()
        turn = torch.isin(number, torch.tensor(which))
        return torch.where(turn[:, None, None, None], images[:, [1, 0, 2]], images)

    return attack


@given(first=st.sets(st.integers(0, 19)), second=st.sets(st.integers(0, 19)), bad=st.sets(st.integers(0, 19)))
def test_union_counts_images_that_survive_everything(first: set[int], second: set[int], bad: set[int]) -> None:
    images = torch.cat([pixels([0.3] * 20), torch.arange(20).double().div(100).reshape(20, 1, 1, 1)], 1)
    labels = torch.tensor([0 if i in bad else 1 for i in range(20)])
    report = evaluate(lambda x: x[:, :2].flatten(1), images, labels, {"a": wrong(list(first)), "b": wrong(list(second))}, batch_size=6)
    lost = {"clean": bad, "a": first | bad, "b": second | bad}  # an image that is wrong before an attack cannot survive it
    lost["union"] = lost["clean"] | lost["a"] | lost["b"]
    assert report.accuracies == {name: (20 - len(which)) / 20 for name, which in lost.items()}
    assert report.accuracies["union"] <= min(report.accuracies.values())
    assert report.intervals == {name: binomial_interval(20 - len(which), 20) for name, which in lost.items()}


def test_report_says_what_was_done() -> None:
    images, attacks = pixels([0.3, 0.1]), {"FGSM": FGSM(Linf(0.1)), "PGD": PGD(L2(0.1), steps=3)}
    report = evaluate(COMPARE, images, torch.tensor([1, 1]), attacks)
    assert (report.n, list(report.accuracies)) == (2, ["clean", "FGSM", "PGD", "union"])
    assert report.settings == {name: str(attack) for name, attack in attacks.items()}
    for text in ("n = 2", "95 % interval", "PGD(L2(0.1), steps=3", "union", "0.5000", "1.0000"):
        assert text in str(report)
    assert report._repr_html_() == f"<pre>{report}</pre>"
    assert isinstance(report, RobustnessReport)
    assert evaluate(COMPARE, images, torch.tensor([1, 1]), {}).accuracies == {"clean": 1.0, "union": 1.0}


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).train()
    images = pixels([0.1, 0.2]).float()
    robust_accuracy(model, images, torch.tensor([0, 1]), PGD(Linf(0.1), steps=2))
    assert all(m.training for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_result_is_on_the_cpu_and_boolean() -> None:
    found = survivors(COMPARE, pixels([0.1, -0.1]), torch.tensor([1, 1]))
    assert found.dtype == torch.bool
    assert found.tolist() == [True, False]


def test_progress_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    survivors(COMPARE, pixels([0.1] * 4), torch.ones(4).long(), batch_size=2)
    assert not capsys.readouterr().out
    survivors(COMPARE, pixels([0.1] * 4), torch.ones(4).long(), batch_size=2, progress=True)
    assert "images 4/4 · done in" in capsys.readouterr().out


# Dropping images that have fallen


@given(first=st.sets(st.integers(0, 19)), second=st.sets(st.integers(0, 19)), bad=st.sets(st.integers(0, 19)), size=st.integers(5, 25))
def test_dropping_changes_the_lines_but_not_the_union(first: set[int], second: set[int], bad: set[int], size: int) -> None:
    images = torch.cat([pixels([0.3] * 20), torch.arange(20).double().div(100).reshape(20, 1, 1, 1)], 1)
    labels = torch.tensor([0 if i in bad else 1 for i in range(20)])
    call: dict[str, Any] = {"model": lambda x: x[:, :2].flatten(1), "images": images, "labels": labels, "batch_size": size,
                            "attacks": {"a": wrong(list(first)), "b": wrong(list(second))}}
    full, ladder = evaluate(**call), evaluate(**call, drop_fooled=True)
    assert torch.equal(full.survivors["union"], ladder.survivors["union"])
    assert full.attacked == {"a": 20, "b": 20}
    assert ladder.attacked == {"a": 20 - len(bad), "b": 20 - len(bad | first)}
    assert ladder.accuracies == {"clean": (20 - len(bad)) / 20, "a": (20 - len(bad | first)) / 20,
                                 "b": (20 - len(bad | first | second)) / 20, "union": (20 - len(bad | first | second)) / 20}
    assert all(int(mask.sum()) == round(20 * ladder.accuracies[name]) for name, mask in ladder.survivors.items())
    assert "met only what still stood" in str(ladder) and "met    " in str(ladder)
    assert "met only" not in str(full)


def test_the_table_is_html_that_shows_what_it_says() -> None:
    report = evaluate(COMPARE, pixels([0.3]), torch.tensor([1]), {"f": lambda model, images, labels: images})
    assert "&lt;function" in report._repr_html_()
    assert " at 0x" not in str(report)  # an address would differ at each call


# Long suites: stopped and taken up again


class Counted:
    """An attack that counts its batches and may fail at one of them."""

    def __init__(self, fail_at: int = 0, name: str = "counted") -> None:
        self.fail_at, self.name, self.calls = fail_at, name, 0

    def __repr__(self) -> str:
        return self.name

    def __call__(self, model: Any, images: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return (images + torch.tensor([0.1, -0.1]).reshape(2, 1, 1)).clamp(0, 1)


def suite_call(folder: Path, **change: Any) -> dict[str, Any]:
    """Ten images in batches of three, two attacks, a folder."""
    torch.manual_seed(0)
    images = pixels([0.05 * (i - 1) for i in range(10)])
    return {"model": nn.Sequential(nn.Flatten(), nn.Linear(2, 2).double().requires_grad_(False)), "images": images,
            "labels": torch.ones(10).long(), "attacks": {"a": Counted(), "b": Counted(name="other")}, "batch_size": 3,
            "checkpoint": folder, **change}


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("fail_at", [1, 3, 4])
def test_a_stopped_suite_goes_on_where_it_stopped(fail_at: int, drop: bool, tmp_path: Path) -> None:
    call = suite_call(tmp_path, model=COMPARE, drop_fooled=drop)
    whole = evaluate(**{**call, "checkpoint": None})
    first, second = Counted(fail_at), Counted(name="other")
    with pytest.raises(KeyboardInterrupt):
        evaluate(**{**call, "attacks": {"a": first, "b": second}})
    needed = call["attacks"]["a"].calls, call["attacks"]["b"].calls
    again, other = Counted(), Counted(name="other")
    resumed = evaluate(**{**call, "attacks": {"a": again, "b": other}})
    assert resumed == whole
    assert all(torch.equal(mask, whole.survivors[name]) for name, mask in resumed.survivors.items())
    assert (first.calls - 1 + again.calls, other.calls) == needed
    third = Counted()
    assert evaluate(**{**call, "attacks": {"a": third, "b": Counted(name="other")}}) == whole
    assert third.calls == 0
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("name", "change"), [
    ("batch_size", {"batch_size": 4}), ("drop_fooled", {"drop_fooled": True}), ("labels", {"labels": torch.zeros(10).long()}),
    ("images", {"images": pixels([0.01 * i for i in range(10)])}),
    ("model", {"model": nn.Sequential(nn.Flatten(), nn.Linear(2, 2).double())}), ("model", {"model": COMPARE}),
    ("attack 'b'", {"attacks": {"a": Counted(), "b": Counted(name="a third")}}),
    ("order of the attacks", {"attacks": {"b": Counted(name="other"), "a": Counted()}}),
    ("order of the attacks", {"attacks": {"a": Counted()}})])
def test_another_setting_is_refused_by_name(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    evaluate(**suite_call(tmp_path))
    with pytest.raises(CheckpointError, match=f"with another {name}: expected .*, got .*; choose another folder"):
        evaluate(**{**suite_call(tmp_path), **change})


def test_a_damaged_batch_is_measured_again_and_damaged_settings_are_refused(tmp_path: Path) -> None:
    whole = evaluate(**suite_call(tmp_path))
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 8
    files[0].write_bytes(files[0].read_bytes()[:20])
    files[5].unlink()
    (tmp_path / "attack00-image0000000.12345.part").write_bytes(b"half")
    call = suite_call(tmp_path)
    assert evaluate(**call) == whole
    assert [attack.calls for attack in call["attacks"].values()] == [1, 1]
    assert not list(tmp_path.glob("*.part"))
    assert json.loads((tmp_path / "settings.json").read_text())["attack 'a'"] == "counted"
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(CheckpointError, match="got an unreadable file .*settings.json"):
        evaluate(**suite_call(tmp_path))


def test_progress_of_a_suite_counts_all_attacks(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(COMPARE, pixels([0.1] * 4), torch.ones(4).long(), {"a": wrong_nothing, "b": wrong_nothing}, batch_size=2, progress=True)
    assert "suite 8/8 · b · done in" in capsys.readouterr().out


def wrong_nothing(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """An attack that does nothing."""
    return images


# Errors


@pytest.mark.parametrize("attack", [None, PGD(Linf(0.1), steps=2)], ids=["clean", "attacked"])
@pytest.mark.parametrize(("change", "error", "message"), [
    ({"images": torch.zeros(2, 2, 1, 1, dtype=torch.uint8)}, TypeError, "images must be floating point"),
    ({"images": pixels([3.0, 0.0])}, ValueError, r"images must lie in \[0, 1\], got min -1 and max 2"),
    ({"images": pixels([math.nan, 0.0])}, ValueError, "images must be finite"),
    ({"images": torch.rand(2, 4)}, ValueError, r"images must have shape \[N, C, H, W\]"),
    ({"labels": torch.tensor([0, 2])}, ValueError, "labels must lie in 0..1, got 0..2"),
    ({"labels": torch.tensor([0, -1])}, ValueError, "labels must lie in 0"),
    ({"labels": torch.tensor([0.0, 1.0])}, TypeError, "labels must be an integer tensor"),
    ({"labels": torch.tensor([0])}, ValueError, r"labels must have shape \[2\]"),
    ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, got 0"),
    ({"model": nn.Identity()}, ValueError, r"the model must return logits \[N, K\] with N = 2.*got \[2, 2, 1, 1\]"),
    ({"model": lambda x: (x.flatten(1), x)}, ValueError, "got tuple"),
    ({"model": nn.Sequential(nn.BatchNorm2d(2), nn.Flatten())}, ValueError, r"evaluation mode, got training mode in 0 \(BatchNorm2d\)"),
    ({"model": nn.Sequential(nn.Flatten(), nn.Dropout())}, ValueError, r"evaluation mode, got training mode in 1 \(Dropout\)"),
    ({"model": lambda x: x.flatten(1) * math.nan}, ValueError, "NaN"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str, attack: Any) -> None:
    call: dict[str, Any] = {"model": COMPARE, "images": pixels([0.1, 0.2]), "labels": torch.tensor([0, 1]), "attack": attack, **change}
    with pytest.raises(error, match=message):
        survivors(**call)


def test_one_logit_is_no_classifier() -> None:
    with pytest.raises(ValueError, match=r"K >= 2, got \[2, 1\]"):
        accuracy(lambda x: x.flatten(1)[:, :1], pixels([0.1, 0.2]), torch.tensor([0, 0]))


@pytest.mark.parametrize(("attacks", "error", "message"), [
    ([FGSM(Linf(0.1))], TypeError, "attacks must be a mapping of names to attacks, got list"),
    ({"none": None}, TypeError, "attack 'none' must be callable, got None"),
    ({"clean": FGSM(Linf(0.1))}, ValueError, "must not be called clean or union.*got 'clean'; rename it")])
def test_a_bad_suite_is_refused(attacks: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate(COMPARE, pixels([0.3]), torch.tensor([1]), attacks)


def test_attacked_images_outside_the_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the attack's images must lie in \[0, 1\], got min .* and max 1.65"):
        robust_accuracy(COMPARE, pixels([0.3]), torch.tensor([1]), lambda model, images, labels: images + 1)
