"""The engine: resume bit for bit (also after SIGKILL), checkpoints that are refused, frozen parts, precision, processes."""
from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robinfo.attacks import PGD
from robinfo.checks import evaluating
from robinfo.data import ImageDataset, load, random_crop_flip, to_float
from robinfo.models import Encoder
from robinfo.objectives import AdversarialTraining, InfoMax, Objective, Standard
from robinfo.objectives.base import Ramp
from robinfo.objectives.regularised import MMA
from robinfo.threats import Linf
from robinfo.training import (
    CheckpointError,
    History,
    Progress,
    TrainingStep,
    _Run,
    fit,
    join_checkpoint,
    load_tensors,
    readable_time,
    save_tensors,
    split_checkpoint,
)

DIGITS = load("digits")
PART = DIGITS.subset(train=200, test=40)
QUICK: dict[str, Any] = {"batch_size": 50, "learning_rate": 1e-2, "device": "cpu", "progress": False}
TRAINED = AdversarialTraining(PGD(Linf(0.1), steps=2, keep="last"))
INFORMED = InfoMax(Linf(0.1), beta=0.5, steps=2, critic_width=8, critic_channels=2)


def network(seed: int = 0) -> nn.Module:
    """A network with batch normalisation and dropout: everything that has state or draws numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))


def share_correct(model: nn.Module) -> dict[str, float]:
    """A monitor: accuracy on a few test images."""
    with torch.no_grad():
        correct = model(to_float(PART.test_images)).argmax(1) == PART.test_labels
    return {"test_accuracy": float(correct.double().mean())}


def everything(model: nn.Module, history: History) -> dict[str, Tensor]:
    """All tensors that a run leaves."""
    auxiliary = {} if history.auxiliary is None else history.auxiliary.state_dict()
    return {**{f"m.{k}": v for k, v in model.state_dict().items()}, **{f"a.{k}": v for k, v in auxiliary.items()},
            **{f"b.{k}": v for k, v in history.best.items()}}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors agree bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def train(objective: Objective = TRAINED, model: nn.Module | None = None, **options: Any) -> tuple[nn.Module, History]:
    """A short run with everything that matters for continuing it."""
    model = network() if model is None else model
    settings = {"epochs": 4, "augment": random_crop_flip, "monitor": share_correct, "select": "test_accuracy", **QUICK, **options}
    return model, fit(model, objective, settings.pop("dataset", PART), **settings)


def settings_of(kind: str) -> dict[str, Any]:
    """The variants for which continuing is tested."""
    if kind == "infomax":
        return {"objective": INFORMED, "model": Encoder(1, 28, features=4, width=0.05), "monitor": None, "select": "mutual_information"}
    if kind == "sgd":
        return {"optimizer": "sgd", "weight_decay": 1e-3, "milestones": (1, 3), "learning_rate": 0.05}
    if kind == "within":  # a checkpoint after every batch
        return {"save_every": 0}
    if kind == "mma":  # remembers each image; its radius grows
        return {"objective": Ramp(MMA(Linf(0.1), steps=2, minimum_radius=0.01), 3), "save_every": 0, "augment": None,
                "learning_rate": 0.05}
    return {}


# Continuing


@pytest.mark.parametrize("kind", ["adversarial", "sgd", "infomax", "mma"])
def test_continuing_at_any_epoch_changes_no_bit(tmp_path: Path, kind: str) -> None:
    def start() -> dict[str, Any]:
        torch.manual_seed(0)
        return settings_of(kind)

    model, history = train(**start())
    expected = everything(model, history)
    assert history.best_epoch is not None
    for stop in (1, 2, 3):
        path = tmp_path / f"{stop}.safetensors"
        train(**start(), epochs=stop, checkpoint=path)
        torch.manual_seed(99)  # the state of the caller's generator does not matter
        torch.rand(stop)
        again, continued = train(**start(), checkpoint=path)
        assert same(everything(again, continued), expected)
        assert continued.epochs == history.epochs
        assert continued.best_epoch == history.best_epoch


def test_finished_run_is_returned_without_training(tmp_path: Path) -> None:
    model, history = train(checkpoint=tmp_path / "a.safetensors")
    counted: list[int] = []
    again, repeated = train(checkpoint=tmp_path / "a.safetensors", monitor=lambda m: counted.append(1) or {"test_accuracy": 0.0})
    assert not counted
    assert same(everything(again, repeated), everything(model, history))
    assert repeated.epochs == history.epochs


def test_interruption_within_an_epoch_repeats_it(tmp_path: Path) -> None:
    calls = []

    def stumble(images: Tensor, *, generator: torch.Generator) -> Tensor:
        calls.append(1)
        if len(calls) == 7:  # in the middle of the second epoch of four batches
            raise KeyboardInterrupt
        return random_crop_flip(images, generator=generator)

    expected, history = train()
    with pytest.raises(KeyboardInterrupt):
        train(augment=stumble, checkpoint=tmp_path / "a.safetensors")
    assert len(json.loads(load_tensors(tmp_path / "a.safetensors")[1]["robinfo"])["history"]) == 1
    model, continued = train(augment=stumble, checkpoint=tmp_path / "a.safetensors")
    assert same(everything(model, continued), everything(expected, history))


# SIGKILL: children of a fork server that has imported everything, so that a start costs no time


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "sklearn.datasets", "robinfo.training", "robinfo.objectives", "robinfo.models", "robinfo.data"])


def child(folder: str, kind: str, fatal: str | None) -> None:
    """Train, logging a byte for each batch; write the result at the end. `fatal` names the step of a save to die in."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    log = (Path(folder) / "log").open("ab", buffering=0)

    def augment(images: Tensor, *, generator: torch.Generator) -> Tensor:
        log.write(b".")
        return random_crop_flip(images, generator=generator)

    if fatal is not None:
        _die_in(fatal)
    settings = {**settings_of(kind), "epochs": 6, "augment": augment, "checkpoint": Path(folder) / "run.safetensors"}
    model, history = train(**settings)
    text = {"epochs": history.epochs, "best_epoch": history.best_epoch}
    save_tensors(Path(folder) / "result.safetensors", everything(model, history), {"history": json.dumps(text)})


def _die_in(step: str) -> None:
    """Let the second save of this process end in SIGKILL: with half a file, before or after the file gets its name."""
    import robinfo.training as engine

    saves, write, replace = [0], engine.save_file, Path.replace

    def half(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        write(tensors, path, metadata=metadata)
        saves[0] += 1
        if step == "half" and saves[0] == 2:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def named(path: Path, target: Path) -> Path:
        if step == "before" and saves[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = replace(path, target)
        if step == "after" and saves[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    engine.save_file, Path.replace = half, named  # type: ignore[assignment, method-assign]


def batches_done(folder: Path) -> int:
    """Bytes in the log of a child."""
    return (folder / "log").stat().st_size if (folder / "log").exists() else 0


def run_child(folder: Path, kind: str, *, kill_after: tuple[int, float] | None = None, fatal: str | None = None) -> int:
    """Run a child; kill it a moment after it has done so many batches. Its exit status."""
    before = batches_done(folder)
    process = CONTEXT.Process(target=child, args=(str(folder), kind, fatal))
    process.start()
    deadline = time.monotonic() + 60
    while kill_after is not None and process.is_alive() and time.monotonic() < deadline:
        if batches_done(folder) - before >= kill_after[0]:
            time.sleep(kill_after[1])
            process.kill()
            break
        time.sleep(0.0005)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The result file of a run that nobody killed, by kind."""
    found: dict[str, bytes] = {}

    def of(kind: str) -> bytes:
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind)
            assert run_child(folder, kind) == 0
            assert batches_done(folder) == 24
            found[kind] = (folder / "result.safetensors").read_bytes()
        return found[kind]

    return of


@pytest.mark.parametrize("kind", ["adversarial", "infomax", "within", "mma"])
def test_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path, uninterrupted: Any, kind: str) -> None:
    """Twelve moments: after 1 to 9 of the 24 batches (4 an epoch) and up to 15 ms later; some hit the saving itself.

    Where every batch is saved, a run gets on between two kills: earlier ones, and a smaller number will do.
    """
    draw, killed = random.Random(f"kill {kind}"), 0
    most, later, enough = (2, 0.002, 2) if "save_every" in settings_of(kind) else (9, 0.015, 3)
    for _ in range(12):
        status = run_child(tmp_path, kind, kill_after=(draw.randint(1, most), draw.uniform(0, later)))
        assert status in (0, -signal.SIGKILL)
        killed += status != 0
        if status == 0:
            break
        if (tmp_path / "run.safetensors").exists():
            load_tensors(tmp_path / "run.safetensors")  # complete, whatever the moment
    assert killed >= enough
    assert run_child(tmp_path, kind) == 0
    assert batches_done(tmp_path) > 24 or enough == 2  # work was lost and done again
    assert (tmp_path / "result.safetensors").read_bytes() == uninterrupted(kind)
    assert kind != "within" or uninterrupted(kind) == uninterrupted("adversarial")  # saving changes nothing


@pytest.mark.parametrize("kind", ["adversarial", "within"])
@pytest.mark.parametrize("step", ["half", "before", "after"])
def test_killed_while_saving_ends_with_the_same_bits(tmp_path: Path, uninterrupted: Any, step: str, kind: str) -> None:
    for _ in range(2):
        assert run_child(tmp_path, kind, fatal=step) == -signal.SIGKILL
    left = list(tmp_path.glob("*.part"))
    assert bool(left) == (step != "after")
    assert run_child(tmp_path, kind) == 0
    assert (tmp_path / "result.safetensors").read_bytes() == uninterrupted("adversarial")


# Checkpoints


def test_half_written_file_beside_the_checkpoint_is_ignored(tmp_path: Path) -> None:
    model, history = train()
    path = tmp_path / "a.safetensors"
    train(epochs=2, checkpoint=path)
    (tmp_path / f"a.{os.getpid()}.part").write_bytes(path.read_bytes()[:100])
    (tmp_path / "a.1.part").write_bytes(b"half")
    again, continued = train(checkpoint=path)
    assert same(everything(again, continued), everything(model, history))
    assert not (tmp_path / f"a.{os.getpid()}.part").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    train(epochs=1, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": os.urandom(200)}[damage])
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + r" .*; delete it to train from the start"):
        train(checkpoint=path)
    assert path.exists()  # refused, not removed


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="expected a checkpoint written by robinfo.training.fit, got"):
        train(checkpoint=path)


def altered(number: int) -> ImageDataset:
    """The small data set with one pixel changed in one image."""
    images = PART.train_images.clone()
    images[number, 0, 0, 0] += 1
    return ImageDataset("altered", images, PART.train_labels, PART.test_images, PART.test_labels, PART.classes)


def swapped() -> ImageDataset:
    """The small data set with its labels in another order: the same sum."""
    labels = PART.train_labels.flip(0)
    return ImageDataset("swapped", PART.train_images, labels, PART.test_images, PART.test_labels, PART.classes)


@pytest.mark.parametrize(("change", "what"), [
    ({"model": nn.Sequential(nn.Flatten(), nn.Linear(784, 10))}, "another model"),
    ({"objective": Standard()}, r"another objective: expected objective Standard\(\), got AdversarialTraining"),
    ({"objective": AdversarialTraining(PGD(Linf(0.2), steps=2, keep="last"))}, r"another objective: .*Linf\(0.2\)"),
    ({"seed": 1}, "another seed: expected seed 1, got 0"),
    ({"batch_size": 25}, "another batch_size: expected batch_size 25, got 50"),
    ({"optimizer": "sgd"}, "another optimizer"),
    ({"learning_rate": 1e-3}, "another learning_rate"),
    ({"weight_decay": 1e-3}, "another weight_decay"),
    ({"milestones": (2,)}, "another milestones"),
    ({"precision": "bf16-mixed"}, "another precision"),
    ({"select": None}, "another select"),
    ({"dataset": DIGITS.subset(train=100)}, "another data"),
    ({"dataset": altered(3)}, "another data"),
    ({"dataset": altered(150)}, "another data"),
    ({"dataset": swapped()}, "another data"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    path = tmp_path / "a.safetensors"
    train(epochs=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=f"is the checkpoint of {what}.*delete it or choose another checkpoint file"):
        train(**{"checkpoint": path, **change})
    assert path.read_bytes() == before


def test_checkpoint_of_another_frozen_part_is_refused(tmp_path: Path) -> None:
    """Else the weights in the file would silently replace those of the representation that is being measured."""
    def run(seed: int) -> None:
        torch.manual_seed(seed)
        encoder = Encoder(1, 28, features=4, width=0.05)
        before = {k: v.clone() for k, v in encoder.state_dict().items()}
        try:
            fit(encoder, INFORMED, PART, epochs=1, frozen=[encoder], checkpoint=tmp_path / "a.safetensors", **QUICK)
        finally:
            assert same(dict(encoder.state_dict()), before)

    run(0)
    with pytest.raises(CheckpointError, match="is the checkpoint of another frozen"):
        run(1)


def test_unwritable_checkpoint_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        train(epochs=1, checkpoint=tmp_path / "file" / "a.safetensors")


def test_failed_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    train(epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full(*args: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robinfo.training.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        train(checkpoint=path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


# Losses that are not finite


class Exploding(Standard):
    """The standard loss, NaN from a given step on."""

    steps = 0
    limit = 6  # the second batch of the second epoch

    def loss(self, *args: Any) -> Any:
        """NaN after `limit` steps."""
        type(self).steps += 1
        loss, metrics = super().loss(*args)
        factor = math.nan if type(self).steps >= self.limit else 1.0
        return loss * factor, {**metrics, "loss": metrics["loss"] * factor}


def test_nan_loss_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Exploding.steps = 0
    with pytest.raises(FloatingPointError, match=r"loss must be finite, got nan in epoch 2 of Exploding; lower learning_rate \(now 0.01"):
        train(Exploding(), checkpoint=path)
    tensors, metadata = load_tensors(path)
    assert all(torch.isfinite(v).all() for v in tensors.values() if v.is_floating_point())
    assert len(json.loads(metadata["robinfo"])["history"]) == 1
    assert json.loads(metadata["robinfo"])["history"][0]["loss"] > 0


def test_run_that_diverges_ends_in_an_error() -> None:
    with pytest.raises((FloatingPointError, ValueError), match="finite"):
        train(AdversarialTraining(PGD(Linf(0.1), steps=1, keep="last")), model=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
              optimizer="sgd", learning_rate=1e38, epochs=3)


# Within an epoch


class Cut(Exception):
    """An interruption of a run."""


def cut_after(batches: int, calls: list[int]) -> Callable[..., Tensor]:
    """An augmentation that counts its calls and interrupts the run once, before the given batch is done."""
    def augment(images: Tensor, *, generator: torch.Generator) -> Tensor:
        calls.append(1)
        if len(calls) == batches + 1:
            raise Cut
        return random_crop_flip(images, generator=generator)

    return augment


@pytest.mark.parametrize("kind", ["adversarial", "sgd", "infomax", "mma"])
def test_run_cut_within_an_epoch_goes_on_at_the_next_batch(tmp_path: Path, kind: str) -> None:
    """Four batches an epoch; no batch is done twice, and no bit differs, wherever the cut is."""
    def run(**options: Any) -> tuple[nn.Module, History]:
        torch.manual_seed(0)
        options["epochs"] = 6 if kind == "mma" else 3
        augment = options.pop("augment", random_crop_flip)
        return train(**{**settings_of(kind), "augment": augment, **options})

    model, history = run(save_every=1000)
    expected = everything(model, history)
    assert kind != "mma" or int((history.auxiliary.radius > 0).sum()) > 20  # type: ignore[union-attr]
    for batches in (1, 3, 4, 6, 11):
        calls: list[int] = []
        options = {"augment": cut_after(batches, calls), "checkpoint": tmp_path / f"{batches}.safetensors", "save_every": 0}
        with pytest.raises(Cut):
            run(**options)
        torch.manual_seed(77)
        again, continued = run(**options)
        assert len(calls) == 4 * len(history.epochs) + 1  # the batch that was cut came twice
        assert same(everything(again, continued), expected)
        assert continued.epochs == history.epochs
        assert [list(e) for e in continued.epochs] == [list(e) for e in history.epochs]


def test_a_run_cut_twice_in_one_epoch(tmp_path: Path) -> None:
    expected = everything(*train(epochs=1))
    for batches in (1, 2):
        with pytest.raises(Cut):
            train(epochs=1, augment=cut_after(1, []), checkpoint=tmp_path / "a.safetensors", save_every=0)
        assert json.loads(load_tensors(tmp_path / "a.safetensors")[1]["robinfo"])["within"]["batch"] == batches
    assert same(everything(*train(epochs=1, checkpoint=tmp_path / "a.safetensors")), expected)


def test_checkpoints_within_an_epoch_come_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Any] = []
    monkeypatch.setattr("robinfo.training.save_tensors", lambda path, tensors, metadata: places.append(json.loads(metadata["robinfo"])["within"]))
    clock = iter(range(1_000_000))
    monkeypatch.setattr(time, "perf_counter", lambda: 10.0 * next(clock))  # every look at the clock takes ten seconds
    train(epochs=2, checkpoint=tmp_path / "a.safetensors", save_every=1e9)
    assert places == [None, None]
    places.clear()
    train(epochs=2, checkpoint=tmp_path / "a.safetensors", save_every=0)
    assert [p and p["batch"] for p in places] == [1, 2, 3, None] * 2
    places.clear()
    train(epochs=2, checkpoint=tmp_path / "a.safetensors", save_every=30)
    assert 2 < len(places) < 8
    assert [p for p in places if p is None] == [None, None]
    with pytest.raises(ValueError, match="save_every must be a finite number >= 0, got -1"):
        train(epochs=1, save_every=-1)


def test_a_state_with_nan_is_not_saved_within_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Exploding.steps = 0
    with pytest.raises(FloatingPointError, match="loss must be finite, got nan in epoch 2"):
        train(Exploding(), checkpoint=path, save_every=0)
    tensors, metadata = load_tensors(path)
    assert all(torch.isfinite(v).all() for v in tensors.values() if v.is_floating_point())
    assert json.loads(metadata["robinfo"])["within"]["batch"] == 1  # the last batch before the explosion


# The objective of an epoch, and objectives that remember images


@dataclass(frozen=True)
class Watching(AdversarialTraining):
    """Adversarial training that notes epoch, radius and positions of each batch; its attack shrinks from epoch to epoch."""

    notes: list[Any] = field(default_factory=list, repr=False)
    epoch: int = -1

    indexed = True

    def at(self, epoch: int) -> Objective:
        """The objective with a radius of 0.1 / (epoch + 1)."""
        return Watching(PGD(Linf(0.1 / (epoch + 1)), steps=2, keep="last"), self.notes, epoch)

    def auxiliary(self, model: nn.Module, images: Tensor, count: int = 0) -> nn.Module:
        """A memory of how often each image came."""
        memory = nn.Module()
        memory.register_buffer("visits", torch.zeros(count))
        return memory

    def perturb(self, model: nn.Module, auxiliary: Any, images: Tensor, labels: Tensor, generator: Any = None, index: Any = None) -> Tensor:
        """Counts the visits, then attacks."""
        auxiliary.visits[index] += 1
        assert torch.equal(labels, PART.train_labels[index])
        self.notes.append((self.epoch, round(self.attack.threat.radius, 6), index.tolist()))  # type: ignore[attr-defined]
        return super().perturb(model, auxiliary, images, labels, generator)


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_each_epoch_has_its_objective_also_after_a_cut(tmp_path: Path, stop: int) -> None:
    whole, parts = Watching(TRAINED.attack), Watching(TRAINED.attack)
    model, history = train(whole, epochs=3)
    assert [(e, r) for e, r, _ in whole.notes] == [(0, 0.1)] * 4 + [(1, 0.05)] * 4 + [(2, 0.033333)] * 4
    options = {"augment": cut_after(stop, []), "checkpoint": tmp_path / "a.safetensors", "save_every": 0, "epochs": 3}
    with pytest.raises(Cut):
        train(parts, **options)
    assert [e for e, *_ in parts.notes] == [0, 0, 0, 0, 1, 1, 1, 1, 2][:stop]
    again, continued = train(parts, **options)
    assert parts.notes == whole.notes
    assert same(everything(again, continued), everything(model, history))
    assert history.auxiliary.visits.tolist() == [3.0] * 200  # type: ignore[union-attr]
    assert history.objective == str(whole)  # of the run, not of an epoch


def test_positions_are_those_of_the_order_of_the_epoch() -> None:
    objective = Watching(TRAINED.attack)
    train(objective, epochs=2)
    for epoch in range(2):
        expected = torch.randperm(200, generator=torch.Generator().manual_seed(epoch)).tolist()
        assert [i for e, _, index in objective.notes if e == epoch for i in index] == expected


def test_positions_are_right_where_the_last_batch_is_left_out() -> None:
    objective = Watching(TRAINED.attack)
    history = train(objective, epochs=1, batch_size=64)[1]
    assert int(history.auxiliary.visits.sum()) == 192  # type: ignore[union-attr]
    assert history.auxiliary.visits.max() == 1  # type: ignore[union-attr]


def test_ramp_is_honoured_on_resume(tmp_path: Path) -> None:
    """The radius of each batch, from the images themselves, in one run and in one that is continued at each place."""
    def radii(stops: list[int], path: Path | None) -> tuple[list[float], dict[str, Tensor]]:
        seen: list[float] = []

        class Seen(AdversarialTraining):
            def perturb(self, model: nn.Module, auxiliary: Any, images: Tensor, labels: Tensor, generator: Any = None) -> Tensor:
                """Notes the radius."""
                x_adv = super().perturb(model, auxiliary, images, labels, generator)
                seen.append(round(float((x_adv - images).abs().max()), 4))
                return x_adv

        for epochs in stops:
            model, history = train(Ramp(Seen(PGD(Linf(0.08), steps=3, keep="last")), 4), epochs=epochs, checkpoint=path)
        return seen, everything(model, history)

    whole, bits = radii([5], None)
    assert whole == [0.02] * 4 + [0.04] * 4 + [0.06] * 4 + [0.08] * 8
    parts, continued = radii([1, 2, 4, 5], tmp_path / "a.safetensors")
    assert parts == whole
    assert same(bits, continued)


def test_checkpoint_of_another_ramp_is_refused(tmp_path: Path) -> None:
    train(Ramp(TRAINED, 2), epochs=1, checkpoint=tmp_path / "a.safetensors")
    for other in (Ramp(TRAINED, 3), TRAINED):
        with pytest.raises(CheckpointError, match="another objective"):
            train(other, epochs=1, checkpoint=tmp_path / "a.safetensors")


def test_objectives_that_remember_images_need_one_device() -> None:
    step, fabric = TrainingStep(network(), None, MMA(Linf(0.1))), SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match="MMA remembers each image and must run on one device, got 2; use devices=1"):
        _Run(step, PART.train_images, PART.train_labels, None, fabric=fabric, checkpoint=None,  # type: ignore[arg-type]
             augment=None, monitor=None, save_every=60)


# Pieces


def checkpoint_in(folder: Path, seed: int = 0) -> Path:
    """A checkpoint of about 170 kB."""
    path = folder / "run.safetensors"
    train(model=network(seed), epochs=1, seed=seed, checkpoint=path)
    return path


@pytest.mark.parametrize("limit", [50_000, 1_000_000, None])
def test_pieces_give_back_the_checkpoint(tmp_path: Path, limit: int | None) -> None:
    path = checkpoint_in(tmp_path)
    whole = path.read_bytes()
    *pieces, manifest = split_checkpoint(path) if limit is None else split_checkpoint(path, limit)
    limit = limit or 16_000_000
    assert len(pieces) == -(-len(whole) // limit)
    assert all(piece.stat().st_size <= limit for piece in pieces)
    assert b"".join(piece.read_bytes() for piece in pieces) == whole
    for source in (manifest, tmp_path, str(tmp_path)):
        path.unlink()
        assert join_checkpoint(source) == path
        assert path.read_bytes() == whole
    assert {p.name for p in tmp_path.iterdir()} == {path.name, manifest.name, *(p.name for p in pieces)}


def test_run_goes_on_from_joined_pieces_elsewhere(tmp_path: Path) -> None:
    expected = everything(*train(epochs=2))
    files = split_checkpoint(checkpoint_in(tmp_path), 60_000, folder=tmp_path / "out" / "deep")
    (tmp_path / "other").mkdir()
    for file in files:
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    path = join_checkpoint(tmp_path / "other")
    assert same(everything(*train(epochs=2, checkpoint=path)), expected)
    assert all((tmp_path / "other" / file.name).exists() for file in files)  # the engine's cleaning leaves them alone


def test_new_pieces_replace_the_old_ones(tmp_path: Path) -> None:
    first = split_checkpoint(checkpoint_in(tmp_path), 20_000)
    (tmp_path / "run.safetensors.notes.txt").write_text("mine")
    (tmp_path / "run.safetensors").unlink()
    second = split_checkpoint(checkpoint_in(tmp_path, seed=1), 100_000)
    assert not any(piece.exists() for piece in first[:-1])
    assert all(file.exists() for file in second)
    assert (tmp_path / "run.safetensors.notes.txt").exists()
    whole = (tmp_path / "run.safetensors").read_bytes()
    assert join_checkpoint(tmp_path).read_bytes() == whole


@pytest.mark.parametrize(("damage", "message"), [
    (lambda pieces: pieces[1].unlink(), r"expected \d pieces of run.safetensors, got no file .*\.001; copy it again"),
    (lambda pieces: pieces[1].write_bytes(pieces[1].read_bytes()[:-1]), r"expected .*\.001 to have 50000 bytes with SHA-256 .*copy it again"),
    (lambda pieces: pieces[-1].write_bytes(pieces[-1].read_bytes()[:-1] + b"?"), "expected .* with SHA-256 .*got something else; copy it again"),
    (lambda pieces: pieces[0].write_bytes(pieces[1].read_bytes()), r"expected .*\.000 to have 50000 bytes"),
], ids=["missing", "truncated", "one byte", "another piece"])
def test_damaged_pieces_are_named_and_nothing_is_written(tmp_path: Path, damage: Callable[[list[Path]], Any], message: str) -> None:
    path = checkpoint_in(tmp_path)
    *pieces, manifest = split_checkpoint(path, 50_000)
    path.unlink()
    damage(pieces)
    with pytest.raises(CheckpointError, match=message):
        join_checkpoint(manifest)
    assert not path.exists()
    assert not list(tmp_path.glob("*.part"))


def test_pieces_in_a_wrong_order_are_noticed(tmp_path: Path) -> None:
    """Each piece is good; the whole is not, and the checkpoint that is there stays."""
    path = checkpoint_in(tmp_path)
    before = path.read_bytes()
    manifest = split_checkpoint(path, 50_000)[-1]
    text = json.loads(manifest.read_text())
    text["pieces"][0], text["pieces"][1] = text["pieces"][1], text["pieces"][0]
    manifest.write_text(json.dumps(text))
    with pytest.raises(CheckpointError, match=r"expected run.safetensors to have SHA-256 .*split and copy it again"):
        join_checkpoint(manifest)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", "{\"file\": 3}", "not json", "{\"file\": \"../x\", \"pieces\": [], \"bytes\": 0, \"sha256\": \"\"}",
                                  "{\"file\": \"x\", \"pieces\": [{\"name\": \"/etc/passwd\"}], \"bytes\": 0, \"sha256\": \"\"}",
                                  "{\"file\": \"x\", \"pieces\": [{\"name\": \"y\"}], \"bytes\": 0, \"sha256\": \"\"}"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.pieces.json").write_text(text)
    with pytest.raises(CheckpointError, match="expected a manifest written by split_checkpoint, got .*copy it again"):
        join_checkpoint(tmp_path)


def test_what_cannot_be_split_or_joined_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a checkpoint to split, got no file"):
        split_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"expected one manifest \*.pieces.json in .*, got none"):
        join_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="got no such path"):
        join_checkpoint(tmp_path / "nowhere")
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
        split_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="got a.pieces.json, b.pieces.json; pass the path of the manifest"):
        join_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="limit must be a whole number >= 1, got 0"):
        split_checkpoint(tmp_path / "a", 0)


# Frozen parts and the caller's state


def test_frozen_parts_do_not_change() -> None:
    model = network()
    part = model[:3]
    part[1].weight.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seen: list[list[bool]] = []

    def augment(images: Tensor, *, generator: torch.Generator) -> Tensor:
        seen.append([m.training for m in model])
        return images

    train(model=model, frozen=[part], augment=augment, epochs=2)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if k[0] in "12")
    assert all(not torch.equal(v, before[k]) for k, v in model.state_dict().items() if k[0] == "5")
    assert [p.requires_grad for p in model.parameters()] == flags
    assert seen[0] == [False, False, False, True, True, True]
    assert all(p.grad is None for p in part.parameters())


def test_flags_come_back_after_an_error() -> None:
    model = network()
    with pytest.raises(ZeroDivisionError):
        train(model=model, frozen=[model[1]], monitor=lambda m: {"x": 1 / 0})
    assert all(p.requires_grad for p in model.parameters())


def test_everything_frozen_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="nothing to train, got every parameter frozen; freeze less"):
        train(model=model, frozen=[model])


@pytest.mark.parametrize("objective", [TRAINED, INFORMED], ids=["adversarial", "infomax"])
def test_caller_keeps_the_random_state(objective: Objective, tmp_path: Path) -> None:
    model = network() if objective is TRAINED else Encoder(1, 28, features=4, width=0.05)
    state, python_state = torch.get_rng_state(), random.getstate()
    train(objective, model=model, epochs=2, monitor=None, select=None, checkpoint=tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


def test_same_seed_same_bits_other_seed_others() -> None:
    runs = [everything(*train(seed=s, epochs=1)) for s in (3, 3, 4)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_monitor_sees_evaluation_mode_and_does_not_disturb(tmp_path: Path) -> None:
    modes = []

    def nosy(model: nn.Module) -> dict[str, float]:
        modes.append(any(m.training for m in model.modules()))
        torch.rand(100)
        return share_correct(model)

    first, second = train(), train(monitor=nosy)
    assert same(everything(*first), everything(*second))
    assert modes == [False] * 4


# What an epoch is


def bare_loop(model: nn.Module, epochs: int, rates: list[float]) -> None:
    """Adam on the cross-entropy of clean images in the engine's order, written out."""
    optimizer = torch.optim.Adam(model.parameters())
    images, labels = to_float(PART.train_images), PART.train_labels
    for epoch in range(epochs):
        order = torch.randperm(200, generator=torch.Generator().manual_seed(epoch))
        torch.manual_seed(epoch)
        optimizer.param_groups[0]["lr"] = rates[epoch]
        model.train()
        for index in order.split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
            optimizer.step()


def test_engine_equals_the_bare_loop() -> None:
    expected = network()
    bare_loop(expected, 3, [0.01, 0.01, 0.001])
    model, history = train(Standard(), augment=None, epochs=3, milestones=(2,))
    assert same(dict(model.state_dict()), dict(expected.state_dict()))
    assert len(history.epochs) == 3


def test_milestones_multiply_the_learning_rate() -> None:
    """With a decay of zero, nothing but batch normalisation moves after the milestone."""
    after: list[Tensor] = []
    train(milestones=(2,), decay=0.0, monitor=lambda m: after.append(m[1].weight.detach().clone()) or {"test_accuracy": 0.0})
    assert not torch.equal(after[0], after[1])
    assert torch.equal(after[1], after[2])
    assert torch.equal(after[2], after[3])


def test_learning_works() -> None:
    _, history = train(Standard(), dataset=DIGITS, epochs=4, augment=None)
    assert history.metric("loss")[-1] < 0.5 * history.metric("loss")[0]
    assert history.metric("test_accuracy")[-1] > 0.85
    assert history.metric("accuracy")[-1] > history.metric("accuracy")[0]


def test_batch_larger_than_the_data_is_one_batch() -> None:
    sizes: list[int] = []
    train(Standard(), batch_size=1000, epochs=2, augment=lambda x, generator: sizes.append(len(x)) or x)
    assert sizes == [200, 200]


def test_incomplete_batch_is_left_out_and_every_image_is_seen_once() -> None:
    seen: list[Tensor] = []
    train(Standard(), batch_size=64, epochs=1, augment=lambda x, generator: seen.append(x) or x)
    assert [len(x) for x in seen] == [64, 64, 64]
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == len(torch.cat(seen))


def test_float_images_train_like_their_bytes() -> None:
    data = type("Data", (), {"train_images": to_float(PART.train_images), "train_labels": PART.train_labels})
    assert same(everything(*train(dataset=data)), everything(*train()))


# The best epoch


def test_best_epoch_is_restored() -> None:
    scores, weights = iter([0.2, 0.7, math.nan, 0.7]), []

    def monitor(model: nn.Module) -> dict[str, float]:
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"test_accuracy": next(scores)}

    model, history = train(monitor=monitor)
    assert history.best_epoch == 2  # the first of two equals
    assert not same(dict(model.state_dict()), weights[1])
    history.restore_best(model)
    assert same(dict(model.state_dict()), weights[1])


def test_nan_is_never_the_best() -> None:
    scores = iter([math.nan, 0.1, 0.3, 0.2])
    assert train(monitor=lambda m: {"test_accuracy": next(scores)})[1].best_epoch == 3


def test_best_critic_is_restored_with_its_encoder() -> None:
    torch.manual_seed(0)
    model, history = train(**settings_of("infomax"))
    history.restore_best(model)
    assert same({f"auxiliary.{k}": v for k, v in history.auxiliary.state_dict().items()}  # type: ignore[union-attr]
                | {f"model.{k}": v for k, v in model.state_dict().items()}, history.best)


def test_unknown_metric_to_select_is_refused() -> None:
    with pytest.raises(ValueError, match="select must name a metric, one of loss, accuracy, test_accuracy, got 'acc'"):
        train(select="acc")


def test_nothing_to_restore_is_explained() -> None:
    model, history = train(select=None, epochs=1)
    with pytest.raises(ValueError, match='kept no best epoch, got select=None; pass select="name of a metric"'):
        history.restore_best(model)
    with pytest.raises(KeyError, match="expected one of accuracy, loss, test_accuracy, got 'acc'"):
        history.metric("acc")


# Precision, compilation, processes


def test_bfloat16_trains_and_attacks() -> None:
    dtypes: list[torch.dtype] = []
    model = network()
    model[1].register_forward_hook(lambda module, args, out: dtypes.append(out.dtype))
    history = train(model=model, precision="bf16-mixed", epochs=1, monitor=None, select=None)[1]
    assert set(dtypes) == {torch.bfloat16}  # in the attack, too
    assert len(dtypes) == 4 * 3
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert math.isfinite(history.metric("loss")[0])
    torch.manual_seed(0)
    worst = train(**{**settings_of("infomax"), "precision": "bf16-mixed", "epochs": 1})[1]
    assert math.isfinite(worst.metric("worst_case_mi")[0])


SCRIPT = '''
import sys, torch
from torch import nn
from robinfo.attacks import PGD
from robinfo.data import load
from robinfo.objectives import AdversarialTraining
from robinfo.threats import Linf
from robinfo.training import fit, save_tensors
from pathlib import Path

if __name__ == "__main__":
    folder, devices = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    objective = AdversarialTraining(PGD(Linf(0.1), steps=2, keep="last", random_start=False))
    strategy = {"devices": devices, "strategy": "ddp"} if devices > 1 else {}
    for epochs in (1, 2):  # the second call continues from the checkpoint
        history = fit(model, objective, load("digits").subset(train=200), epochs=epochs, batch_size=50, learning_rate=1e-2,
                      device="cpu", progress=False, checkpoint=folder / f"run{devices}.safetensors", **strategy)
    rank = torch.distributed.get_rank() if devices > 1 else 0
    save_tensors(folder / f"weights{devices}.{rank}.safetensors", model.state_dict(), {"loss": str(history.metric("loss"))})
'''


@pytest.mark.slow
def test_two_processes_do_the_work_of_one(tmp_path: Path) -> None:
    """Without batch normalisation, dropout or random starts the mean gradient of two halves is that of the batch."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        done = subprocess.run([sys.executable, str(script), str(tmp_path), str(devices)], env=environment, check=False,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
    alone, first, second = (load_tensors(tmp_path / f"weights{name}.safetensors") for name in ("1.0", "2.0", "2.1"))
    assert same(first[0], second[0])
    for name, value in alone[0].items():
        torch.testing.assert_close(first[0][name], value, rtol=0, atol=2e-3)
    assert first[1] == second[1]
    for one, two in zip(*(json.loads(m["loss"]) for m in (alone[1], first[1])), strict=True):
        assert one == pytest.approx(two, rel=1e-3)


def test_compiled_run_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself is not run; what the engine does with it is checked with one that only counts."""
    compiled: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda call, *args, **keywords: compiled.append("yes") or call)
    model, history = train(epochs=1, compile=True)
    assert compiled == ["yes"]
    assert model._compiled_call_impl is None
    assert same(everything(model, history), everything(*train(epochs=1)))


# Errors and progress


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"objective": PGD(Linf(0.1))}, TypeError, r"objective must be an Objective, got PGD.*; for example Standard\(\)"),
    ({"optimizer": "rmsprop"}, ValueError, "optimizer must be 'adam' or 'sgd', got 'rmsprop'"),
    ({"epochs": -1}, ValueError, "epochs must be a whole number >= 0, got -1"),
    ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, got 0"),
    ({"learning_rate": 0.0}, ValueError, "learning_rate must be a finite number > 0, got 0.0"),
    ({"learning_rate": math.nan}, ValueError, "learning_rate must be"),
    ({"weight_decay": -1.0}, ValueError, "weight_decay must be a finite number >= 0"),
    ({"momentum": -0.1}, ValueError, "momentum must be"),
    ({"dataset": [1, 2]}, TypeError, "dataset must have train_images and train_labels, got list"),
    ({"dataset": type("D", (), {"train_images": torch.rand(3, 4), "train_labels": torch.zeros(3).long()})}, ValueError,
     r"train_images must have shape \[N, C, H, W\], got \[3, 4\]"),
    ({"dataset": type("D", (), {"train_images": 2 * torch.ones(3, 1, 28, 28), "train_labels": torch.zeros(3).long()})}, ValueError,
     r"images must lie in \[0, 1\], got min 2 and max 2"),
    ({"dataset": type("D", (), {"train_images": torch.rand(3, 1, 28, 28), "train_labels": torch.zeros(2).long()})}, ValueError,
     r"labels must have shape \[3\]"),
    ({"dataset": type("D", (), {"train_images": torch.rand(3, 1, 28, 28), "train_labels": torch.zeros(3)})}, TypeError,
     "labels must be an integer tensor"),
])
def test_bad_input_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(**options)


@pytest.mark.parametrize("objective", [Standard(), TRAINED], ids=["standard", "adversarial"])
def test_labels_beyond_the_outputs_are_refused(objective: Objective) -> None:
    with pytest.raises(ValueError, match=r"labels must lie in 0..4, got 0..9"):
        train(objective, model=nn.Sequential(nn.Flatten(), nn.Linear(784, 5)))


def test_zero_epochs_change_nothing() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert train(model=model, epochs=0)[1].epochs == ()
    assert same(dict(model.state_dict()), before)


def test_progress_tells_how_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    lines = Progress("demo", total=4, done=2)
    lines.update(3, "loss 0.1")
    monkeypatch.setattr(time, "perf_counter", lambda: 60.0)
    lines.update(4)
    Progress("silent", total=1, enabled=False).update(1)
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"demo 3/4 · loss 0.1 · \d+ s left", first)
    assert last == "demo 4/4 · done in 1 min 00 s"


def test_training_prints_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1)
    assert not capsys.readouterr().out
    train(epochs=1, progress=True)
    assert re.search(r"AdversarialTraining epoch 1/1 · loss \d\.\d{3} .* done in", capsys.readouterr().out)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
                                               (3599.7, "1 h 00 min"), (90_000, "25 h 00 min")])
def test_readable_time(seconds: float, text: str) -> None:
    assert readable_time(seconds) == text


def test_model_keeps_its_modes_under_evaluating() -> None:
    model = network()
    with evaluating(model):
        train(model=model, epochs=1)
    assert all(m.training for m in model.modules())


def test_fewer_epochs_than_the_checkpoint_has_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    data, path = load("digits").subset(train=256), tmp_path / "run.safetensors"
    (tmp_path / "run.123.part").write_bytes(b"half a file of a killed process")
    fit(model, Standard(), data, epochs=2, checkpoint=path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    with pytest.raises(CheckpointError, match="holds 2 epochs, expected at most epochs=1"):
        fit(model, Standard(), data, epochs=1, checkpoint=path, progress=False)


def test_training_ignores_a_no_grad_block_and_takes_numpy_seeds() -> None:
    import numpy as np

    dataset, models = DIGITS.subset(train=40, test=20), []
    for seed, context in ((3, torch.enable_grad()), (np.int64(3), torch.no_grad())):
        torch.manual_seed(0)
        models.append(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
        with context:
            fit(models[-1], Standard(), dataset, epochs=1, seed=seed, batch_size=20, device="cpu", progress=False)
    assert torch.equal(models[0][1].weight, models[1][1].weight)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"seed": None}, TypeError, "seed must be a whole number, got NoneType"),
    ({"seed": -1}, ValueError, "seed must be a whole number >= 0, got -1"),
    ({"model": lambda images: images}, TypeError, "model must be a torch module, got function")])
def test_bad_seeds_and_models_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"model": nn.Flatten(), "objective": Standard(), "dataset": DIGITS, "epochs": 1, **change}
    with pytest.raises(error, match=message):
        fit(**arguments)
