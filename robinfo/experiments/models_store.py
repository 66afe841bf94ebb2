"""What the studies of the experiments share: files of trained models that any later run finds again, and counts of images."""
from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robinfo.attacks import PGD, Transfer, cross_entropy, difference_of_logits_ratio, margin
from robinfo.attacks.library import LibraryAttack
from robinfo.experiments.record import code_hash, results_root, write_json
from robinfo.latent import GaussianLatent
from robinfo.training import History

__all__ = ["Count", "Tally", "apart", "evaluation_folder", "model_file", "models_folder", "note_model", "only_writer"]

Attack = Callable[..., Tensor]


# --- counts -------------------------------------------------------------------------------------------------------------
class Count(NamedTuple):
    """How many images are classified correctly after an attack.

    Attributes
    ----------
    correct, n : int
        Images still right, and images attacked.
    attack : str
        The attack with its settings; empty for clean images.
    """

    correct: int
    n: int
    attack: str = ""


class Tally:
    """What was counted for some names, methods or cases: one dict of counts by attack for each seed."""

    counts: Mapping[str, Sequence[Mapping[str, Count]]]

    def total(self, name: str, attack: str) -> tuple[int, int]:
        """Correct images and all images, summed over the seeds.

        Parameters
        ----------
        name, attack : str
            What was counted, and after which attack.

        Returns
        -------
        (int, int)
            Correct, attacked.
        """
        trials = [trial[attack] for trial in self.counts[name]]
        return sum(t.correct for t in trials), sum(t.n for t in trials)

    def accuracy(self, name: str, attack: str) -> float:
        """Share of the images that are classified correctly, over all seeds.

        Parameters
        ----------
        name, attack : str
            As for `total`.

        Returns
        -------
        float
            Per cent.
        """
        correct, n = self.total(name, attack)
        return 100 * correct / n


def apart(a: tuple[int, int], b: tuple[int, int]) -> float:
    """By how many standard errors the first share lies above the second.

    Parameters
    ----------
    a, b : (int, int)
        Correct images and all images. A share of 0 or 1 counts as one image away from it.

    Returns
    -------
    float
        Negative where the first is lower.

    Examples
    --------
    >>> apart((50, 100), (50, 100)), round(apart((90, 100), (50, 100)), 1)
    (0.0, 6.9)
    """
    (x, n), (y, m) = a, b
    p, q = (min(max(k, 1), total - 1) / total if total > 1 else 0.5 for k, total in (a, b))
    return (x / n - y / m) / math.sqrt(p * (1 - p) / n + q * (1 - q) / m)


# --- files of models ----------------------------------------------------------------------------------------------------
def models_folder() -> Path:
    """Where trained models lie: below the results folder, which `robinfo run` tells the notebook.

    Returns
    -------
    Path
        It need not exist.
    """
    return results_root() / "models"


def model_file(identity: Mapping[str, str], name: str) -> Path:
    """File of a trained model, the same in every experiment that has the same settings.

    Parameters
    ----------
    identity : mapping of str to str
        Every setting that makes the model what it is.
    name : str
        Beginning of the file's name; it decides nothing.

    Returns
    -------
    Path
        In `models_folder`.

    Examples
    --------
    >>> model_file({"seed": "0"}, "demo").suffix
    '.safetensors'
    """
    text = json.dumps(dict(identity), sort_keys=True)
    return models_folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"


def note_model(path: Path, identity: Mapping[str, str], history: History) -> None:
    """Write beside a checkpoint what it is, how long it took so far, and the metrics of its last epoch.

    Parameters
    ----------
    path : Path
        The checkpoint.
    identity : mapping of str to str
        As for `model_file`.
    history : History
        What `fit` returned.
    """
    file = path.with_suffix(".json")
    before = json.loads(file.read_text(encoding="utf-8"))["seconds"] if file.exists() else 0.0
    write_json(file, {**identity, "epochs": len(history.epochs), "seconds": round(before + history.seconds, 1), "last": history.epochs[-1]})


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold a model's files against other processes; whoever comes second waits, and then finds the model trained.

    Parameters
    ----------
    path : Path
        The checkpoint; its folder is made, and told to git as one to leave alone.

    Yields
    ------
    None
        Once no other process holds it.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    keep_out = path.parent / ".gitignore"
    if not keep_out.exists():
        keep_out.write_text("*\n")
    with path.with_name(f"{path.stem}-lock.part").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another process trains this model", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- files of evaluations -----------------------------------------------------------------------------------------------
def evaluation_folder(model: nn.Module, images: Tensor, labels: Tensor, name: str, attack: Attack) -> Path | None:
    """Where the finished batches of an evaluation lie.

    Parameters
    ----------
    model : nn.Module
        With its weights.
    images, labels : Tensor
        What is attacked.
    name : str
        Of the attack.
    attack : callable
        The attack.

    Returns
    -------
    Path or None
        None where the settings in words do not decide what is found: attacks without a seed or not robinfo's own, losses of one's
        own, models that answer by fresh draws.
    """
    drawn = isinstance(model, GaussianLatent) and model.inference != "mean" and model.seed is None
    guides = _guides(attack)
    if drawn or guides is None:
        return None
    digest = hashlib.sha256(f"{code_hash()} {model} {name} {attack} {' '.join(map(str, guides))}".encode())
    for tensor in (*(t for part in (model, *guides) for t in part.state_dict().values()), images, labels):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return models_folder() / "evaluations" / digest.hexdigest()[:16]


def _guides(attack: Attack) -> tuple[nn.Module, ...] | None:
    """The other networks that an attack asks; None where its words do not decide what it does."""
    if isinstance(attack, Transfer):
        inner = _guides(attack.attack)
        return (attack.surrogate, *inner) if inner is not None and isinstance(attack.surrogate, nn.Module) else None
    known = isinstance(attack, PGD | LibraryAttack) or getattr(attack, "told_by_its_words", False)
    loss = getattr(attack, "loss", None)
    told = getattr(attack, "seed", 0) is not None and (isinstance(loss, str) or loss in (None, cross_entropy, margin, difference_of_logits_ratio))
    guide = getattr(attack, "guide", None)
    return (() if guide is None else (guide,)) if known and told else None
