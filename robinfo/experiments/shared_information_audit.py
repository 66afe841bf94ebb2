"""Audit of one claim of the shared-information paper (2022): more accuracy under AutoAttack than under PGD-40.

An ensemble that contains a stronger form of the same search on the same ball should leave less, not more. The network of the paper has a
Gaussian latent and the paper does not say how it answers in evaluation. So one trained network is attacked while it answers by the mean of its
latent, by one draw, and by an average over draws; what each attack found is then judged by fresh draws, which no attack has seen.
"""
from __future__ import annotations

import hashlib
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robinfo.attacks import APGD, PGD, AutoAttack, Square
from robinfo.audit import AuditReport, audit
from robinfo.experiments.record import Row, judge, markdown_table, paper_row
from robinfo.experiments.shared_information_study import (
    METHODS,
    PAPER_MODEL,
    Settings,
    Study,
    Variant,
    evaluation_attacks,
)
from robinfo.figures import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY
from robinfo.latent import GaussianLatent, Inference
from robinfo.theory.confidence import binomial_interval, mean_interval
from robinfo.training import CheckpointError, load_tensors, readable_time, save_tensors

__all__ = ["INFERENCES", "ClaimsAudit", "Searches", "claims_audit", "plot_claims_audit"]

Attack = Callable[..., Tensor]
Interval = tuple[float, float]
INFERENCES: tuple[Inference, ...] = ("mean", "sample", "average")
_WORDS = {"mean": "the mean", "sample": "one draw", "average": "the average"}
_PAPER_NAMES = {"AutoAttack": "AA"}
_CHUNK = 500  # images between two checkpoints


# --- the attacks --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Searches:
    """How hard the attacks of the audit search, and how often their finds are judged.

    Parameters
    ----------
    pgd_steps : int
        Of PGD.
    steps : int
        Of APGD and FAB, alone and within AutoAttack; the benchmark's number is 100.
    queries : int
        Of Square, alone and within AutoAttack; the benchmark's number is 5000.
    members : sequence of str
        Of AutoAttack, such as "apgd-ce" and "square"; none: the standard four.
    passes : int
        Fresh forward passes that judge each attacked image where answers are random; even.
    audit_images : int
        Images given to `robinfo.audit.audit`; 0 leaves the audit out.
    budget : {"quick", "full"}
        Of the audit.

    Raises
    ------
    ValueError
        An odd number of passes, or less than 2.

    Examples
    --------
    >>> Searches(queries=500).reduced()
    ['queries 500']
    """

    pgd_steps: int = 40
    steps: int = 100
    queries: int = 5000
    members: Sequence[str] = ()
    passes: int = 100
    audit_images: int = 200
    budget: Literal["quick", "full"] = "quick"

    def __post_init__(self) -> None:
        if self.passes < 2 or self.passes % 2:
            raise ValueError(f"passes must be even and at least 2, got {self.passes}; one half chooses the worst attack, the other judges it")
        if self.audit_images < 0:
            raise ValueError(f"audit_images must be at least 0, got {self.audit_images}; 0 leaves the audit out")

    @property
    def reference(self) -> str:
        """Name of the attack that AutoAttack is compared with."""
        return f"PGD-{self.pgd_steps}"

    def reduced(self) -> list[str]:
        """What is less than in the paper.

        Returns
        -------
        list of str
            One text each.
        """
        found = [f"{name} {getattr(self, name)}" for name in ("steps", "queries") if getattr(self, name) < getattr(Searches, name)]
        return found + ([f"AutoAttack of {' and '.join(self.members)}"] if self.members else [])

    def attacks(self, settings: Settings, inference: Inference) -> dict[str, Attack]:
        """Every attack by name.

        Parameters
        ----------
        settings : Settings
            Ball and data set.
        inference : {"mean", "sample", "average"}
            How the network answers. Random answers are searched without the second look of ``fast=True``, which would give
            doubtful finds another chance; the libraries give none.

        Returns
        -------
        dict of str to attack
            PGD returns its last iterate, as the library that the paper used; "worst iterate" keeps the one of largest loss.
        """
        threat, pgd = settings.threat, evaluation_attacks(settings, [self.reference])[self.reference]
        assert isinstance(pgd, PGD)
        members: dict[str, Any] = {"version": "custom", "attacks": tuple(self.members)} if self.members else {}
        ensemble = AutoAttack(threat, steps=self.steps, queries=self.queries, fast=inference == "mean", **members)
        return {self.reference: replace(pgd, keep="last", drop_fooled="never"),
                f"{self.reference}, worst iterate": replace(pgd, drop_fooled="never"), "APGD": APGD(threat, steps=self.steps),
                "AutoAttack": ensemble, "Square": Square(threat, queries=self.queries)}


class _Recorded:
    """An attack that returns what was found before, recognising every image by its pixels."""

    def __init__(self, attack: Attack, images: Tensor, found: Tensor) -> None:
        self.name, self.found = f"{attack}, run before", found
        self.place = {self._key(image): i for i, image in enumerate(images)}

    @staticmethod
    def _key(image: Tensor) -> bytes:
        """The pixels."""
        return bytes(image.detach().cpu().contiguous().numpy().data)

    def __str__(self) -> str:
        return self.name

    def __call__(self, model: Any, images: Tensor, labels: Tensor) -> Tensor:
        """The images found for these."""
        return self.found[[self.place[self._key(image)] for image in images]].to(images.device)


@dataclass
class _Hunt:
    """What one attack found against one way of answering."""

    images: Tensor
    booked: int  # images that the ensemble's own books call robust
    flags: tuple[str, ...]


def _hunt(attack: Attack, model: Any, images: Tensor, labels: Tensor) -> _Hunt:
    """One attack on some images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flags are kept
        if not isinstance(attack, AutoAttack):
            return _Hunt(attack(model, images, labels), 0, ())
        run = attack.run(model, images, labels)
    return _Hunt(run.images, round(list(run.accuracy.values())[-1] * len(images)), tuple(flag.kind for flag in run.flags))


def _hunt_all(attack: Attack, model: Any, images: Tensor, labels: Tensor, folder: Path, identity: str) -> _Hunt:
    """One attack on all images, in chunks that are kept on disk, so that a run that is cut goes on from the last one."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        key = hashlib.sha256(f"{identity} {attack} {len(images)} {start}".encode()).hexdigest()[:16]
        path, chunk = folder / f"found-{key}.safetensors", slice(start, start + _CHUNK)
        kept = _load_hunt(path)
        if kept is None:
            kept = _hunt(attack, model, images[chunk], labels[chunk])
            folder.mkdir(parents=True, exist_ok=True)
            save_tensors(path, {"images": kept.images, "booked": torch.tensor([kept.booked])}, {"flags": " ".join(kept.flags)})
        parts.append(kept)
    flags = tuple(dict.fromkeys(flag for part in parts for flag in part.flags))
    return _Hunt(torch.cat([part.images.to(images.device) for part in parts]), sum(part.booked for part in parts), flags)


def _load_hunt(path: Path) -> _Hunt | None:
    """A chunk found before; None where there is none, or a damaged one."""
    try:
        tensors, notes = load_tensors(path)
        return _Hunt(tensors["images"], int(tensors["booked"]), tuple(notes["flags"].split()))
    except (CheckpointError, OSError, KeyError):
        return None


# --- judging ------------------------------------------------------------------------------------------------------------
@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded draws for a block; the random state is then what it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _judged(view: GaussianLatent, images: Tensor, labels: Tensor, passes: int, seed: int) -> NDArray[np.bool_]:
    """Which images are classified correctly in each of some fresh passes, [N, passes]; one pass where answers are not random."""
    with _seeded(seed, images.device):
        parts = [torch.stack([answer == y for answer in _answers(view, x, passes)], 1)
                 for x, y in zip(images.split(_CHUNK), labels.split(_CHUNK), strict=True)]
    return torch.cat(parts).cpu().numpy()


def _answers(view: GaussianLatent, images: Tensor, passes: int) -> Iterator[Tensor]:
    """Predictions of some passes, [N] each, as `GaussianLatent.forward` makes them; the features are computed once for all."""
    mean, std = view.encode(images)
    if view.inference == "mean":
        yield view.classify(mean).argmax(-1)
        return
    draws = view.samples if view.inference == "average" else 1
    for _ in range(passes):
        z = view.sample(mean.expand(draws, *mean.shape), std.expand(draws, *std.shape))
        yield view.classify(z).softmax(-1).mean(0).argmax(-1)


def _paired(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, Interval]:
    """Mean difference of two shares of the same images in points, with a Student interval over the images.

    Where every difference is the same, the interval is that of no exception among the images.
    """
    differences, n = 100 * (a - b), len(a)
    mean, width = float(differences.mean()), 100 * binomial_interval(0, n, method="exact")[1]
    ends = mean_interval(differences.tolist()) if n > 1 and differences.std() > 0 else None
    return mean, ends or (mean - width, mean + width)


@dataclass(frozen=True)
class ClaimsAudit:
    """What every attack left, by the way of answering it was made against and by the way that judges it.

    Attributes
    ----------
    study : Study
        Data and settings.
    searches : Searches
        The attacks.
    correct : dict of (str, str, str) to ndarray
        By attack, answer it saw, answer that judges it: bool [N, passes]; N counts the images of all seeds. Clean images: ("natural", "", …).
    booked : dict of str to (int, int)
        By way of answering: images that AutoAttack's own books call robust, and images.
    flags : dict of str to tuple of str
        What AutoAttack itself remarks about the network, by way of answering.
    audits : dict of str to AuditReport or str
        By way of answering; a text says why an audit was not made.
    noise : float
        Mean standard deviation of the latent on clean images, in units of the standard deviation of its mean over the images.
    """

    study: Study
    searches: Searches
    correct: dict[tuple[str, str, str], NDArray[np.bool_]]
    booked: dict[str, tuple[int, int]]
    flags: dict[str, tuple[str, ...]]
    audits: dict[str, AuditReport | str]
    noise: float

    @property
    def n(self) -> int:
        """Images, over all seeds."""
        return len(next(iter(self.correct.values())))

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks."""
        return tuple(name for name, seen, asked in self.correct if seen == asked == "mean")

    def shares(self, attack: str, asked: str, seen: str | None = None) -> NDArray[np.float64]:
        """For each image the share of the passes in which it is classified correctly.

        Parameters
        ----------
        attack : str
            By name, "natural", or "worst case": for each image the attack that half of the passes find worst, judged by the other half.
        asked : {"mean", "sample", "average"}
            How the network answers when it judges.
        seen : str, optional
            How it answered while the attack searched; as it judges if not given.

        Returns
        -------
        ndarray
            [N], in [0, 1].
        """
        if attack == "worst case":
            return self._worst(asked)
        found = self.correct[attack, "" if attack == "natural" else seen or asked, asked]
        return np.asarray(found.mean(1), dtype=np.float64)

    def _worst(self, asked: str) -> NDArray[np.float64]:
        """Shares under the worst of all attacks, chosen on the even passes and judged on the odd ones."""
        tables = [table for key, table in self.correct.items() if key[2] == asked]
        choosing = np.stack([table[:, ::2].mean(1) for table in tables])
        judging = np.stack([(table[:, 1::2] if table.shape[1] > 1 else table).mean(1) for table in tables])
        return np.asarray(judging[choosing.argmin(0), np.arange(self.n)], dtype=np.float64)

    def accuracy(self, attack: str, asked: str, seen: str | None = None) -> tuple[float, Interval]:
        """Expected accuracy under an attack when the network answers with fresh draws.

        Parameters
        ----------
        attack, asked, seen
            As for `shares`.

        Returns
        -------
        (float, (float, float))
            Per cent, and a 95 % interval over the images (that of a single pass: not too narrow).
        """
        shares = self.shares(attack, asked, seen)
        return 100 * float(shares.mean()), binomial_interval(round(float(shares.sum())), self.n, scale=100)

    def difference(self, attack: str, asked: str, seen: str | None = None) -> tuple[float, Interval]:
        """Accuracy under an attack minus that under PGD against the same answers, image by image.

        Parameters
        ----------
        attack, asked, seen
            As for `shares`.

        Returns
        -------
        (float, (float, float))
            Points, and a 95 % interval over the images.
        """
        return _paired(self.shares(attack, asked, seen), self.shares(self.searches.reference, asked))

    def shift(self, asked: str) -> tuple[float, Interval]:
        """By how much a way of answering moves AutoAttack minus PGD, beside answering by the mean, image by image.

        Parameters
        ----------
        asked : {"sample", "average"}
            How the network answers.

        Returns
        -------
        (float, (float, float))
            Points, and a 95 % interval over the images.
        """
        gaps = [self.shares("AutoAttack", way) - self.shares(self.searches.reference, way) for way in (asked, "mean")]
        return _paired(*gaps)

    def order(self, asked: str) -> Literal["above", "below", "undecided"]:
        """Where the accuracy under AutoAttack lies, beside that under PGD.

        Parameters
        ----------
        asked : {"mean", "sample", "average"}
            How the network answers.

        Returns
        -------
        str
            "undecided" where the interval of the difference holds zero.
        """
        low, high = self.difference("AutoAttack", asked)[1]
        return "above" if low > 0 else "below" if high < 0 else "undecided"

    def books(self, asked: str) -> tuple[float, Interval]:
        """Accuracy after AutoAttack as the ensemble counts it: an image is lost if one pass was wrong once.

        Parameters
        ----------
        asked : {"mean", "sample", "average"}
            How the network answers.

        Returns
        -------
        (float, (float, float))
            Per cent, and a 95 % interval over the images.
        """
        left, n = self.booked[asked]
        return 100 * left / n, binomial_interval(left, n, scale=100)

    def unsteady(self, asked: str, attack: str = "natural") -> float:
        """Share of the images on which the passes disagree.

        Parameters
        ----------
        asked : {"mean", "sample", "average"}
            How the network answers.
        attack : str
            By name, against the same answers.

        Returns
        -------
        float
            Per cent.
        """
        shares = self.shares(attack, asked)
        return 100 * float(((shares > 0) & (shares < 1)).mean())

    # --- tables

    @property
    def lines(self) -> list[tuple[str, str, str | None]]:
        """Label, attack and answer seen of every line of the table; None: the answer that judges."""
        gradient = [name for name in self.attacks if name in (self.searches.reference, "APGD", "AutoAttack")]
        return [("natural", "natural", None), *((name, name, None) for name in self.attacks),
                *((f"{name} against the average", name, "average") for name in gradient),
                *((f"{name} against the mean", name, "mean") for name in gradient), ("worst case over all", "worst case", None)]

    def table(self) -> str:
        """Every attack beside every way of answering, with differences to PGD on the same images.

        Returns
        -------
        str
            A Markdown table, in per cent and points with 95 % intervals.
        """
        names = {"mean": "mean", "sample": "one draw", "average": f"average of {self.study.settings.samples}"}
        header = ["attack", *(text for asked in INFERENCES for text in (f"answers by {names[asked]}, %", f"minus {self.searches.reference}"))]
        body = [[label, *(text for asked in INFERENCES for text in self._cells(attack, asked, seen))] for label, attack, seen in self.lines]
        books = ["AutoAttack by its own books", *(text for asked in INFERENCES for text in (_text(*self.books(asked)), "–"))]
        unsteady = [f"passes disagree, {name}" for name in ("natural", "AutoAttack")]
        last = [[label, *(text for asked in INFERENCES for text in (f"{self.unsteady(asked, label.split(', ')[1]):.1f}", "–"))] for label in unsteady]
        return markdown_table(header, [*body, books, *last])

    def _cells(self, attack: str, asked: str, seen: str | None) -> tuple[str, str]:
        """Accuracy and difference as texts."""
        if seen == asked:
            return "as above", "as above"
        own = seen is None and attack == self.searches.reference
        return _text(*self.accuracy(attack, asked, seen)), "–" if own else _text(*self.difference(attack, asked, seen), sign=True)

    def audit_table(self) -> str:
        """What the twenty checks of the audit found for each way of answering.

        Returns
        -------
        str
            A Markdown table of the checks that flag, or were not run, for at least one way.
        """
        reports = {asked: report for asked, report in self.audits.items() if isinstance(report, AuditReport)}
        if not reports:
            return "No audit: " + ("; ".join(map(str, self.audits.values())) or "it was left out") + "."
        body = [[str(rows[0].number), rows[0].check, *(f"{row.verdict}: {row.measured}" for row in rows)]
                for rows in zip(*(report.rows for report in reports.values()), strict=True) if any(row.verdict != "ok" for row in rows)]
        return markdown_table(["#", "check", *(f"answers by {_WORDS[asked]}" for asked in reports)], body)

    # --- rows

    @property
    def rows(self) -> list[Row]:
        """Every number, for ``metrics.json``."""
        rows = [self._row(label, attack, asked, seen) for asked in INFERENCES for label, attack, seen in self.lines if seen != asked]
        rows += [self._gap_row(asked) for asked in INFERENCES]
        return [judge(row, comparable=self.study.settings.comparable) for row in rows]

    @property
    def _common(self) -> dict[str, Any]:
        """What all rows share."""
        s = self.study.settings
        return {"n": self.n, "dataset": s.dataset, "model": PAPER_MODEL.get(s.network, s.network), "seeds": tuple(s.seeds)}

    def _note(self, asked: str) -> str:
        """Settings of a row, what is reduced first."""
        s = self.study.settings
        less = [*filter(None, [s.reduced().removeprefix("reduced: ")]), *self.searches.reduced()]
        passes = "" if asked == "mean" else f"mean over {self.searches.passes} fresh passes"
        average = f" of {s.samples}" if asked == "average" else ""
        return "; ".join(filter(None, ("reduced: " + ", ".join(less) if less else "", s.manner(), f"latent answers by its {asked}{average}", passes)))

    def _row(self, label: str, attack: str, asked: str, seen: str | None) -> Row:
        """One accuracy."""
        value, interval = self.accuracy(attack, asked, seen)
        clean = attack == "natural"
        paper = None if seen else self._published(None if clean else _PAPER_NAMES.get(attack, attack))
        text = "" if attack in ("natural", "worst case") else str(self.searches.attacks(self.study.settings, seen or asked)[attack])  # type: ignore[arg-type]
        return Row(metric="natural_accuracy" if clean else "robust_accuracy", value=value, unit="%", interval=interval,
                   method=f"Ours, answers by {_WORDS[asked]}", attack=None if clean else label,
                   threat=None if clean else str(self.study.settings.threat), paper=paper,
                   settings="; ".join(filter(None, (self._note(asked), text))), **self._common)

    def _gap_row(self, asked: str) -> Row:
        """AutoAttack minus PGD."""
        value, interval = self.difference("AutoAttack", asked)
        return Row(metric=f"AutoAttack minus {self.searches.reference}", value=value, unit="pp", interval=interval,
                   method=f"Ours, answers by {_WORDS[asked]}", threat=str(self.study.settings.threat), paper=self.printed_gap(),
                   settings=f"{self._note(asked)}; paired over the images", **self._common)

    def _published(self, attack: str | None) -> dict[str, Any] | None:
        """The paper's cell for this data set and network."""
        where = {"dataset": self._common["dataset"], "model": self._common["model"], "method": "Ours"}
        metric = "natural_accuracy" if attack is None else "robust_accuracy"
        cells = (paper_row("Yu2022", table, required=False, metric=metric, attack=attack, **where) for table in ("4", "5"))
        return next(filter(None, cells), None)

    def printed_gap(self) -> dict[str, Any] | None:
        """AutoAttack minus PGD-40 in the paper, for this data set and network.

        Returns
        -------
        dict or None
            Made of the two cells, with the root of the summed squares of their deviations; None where the paper has not both.
        """
        ensemble, pgd = self._published("AA"), self._published(self.searches.reference)
        if ensemble is None or pgd is None:
            return None
        return ensemble | {"metric": "difference", "mean": round(ensemble["mean"] - pgd["mean"], 4), "unit": "pp",
                           "std": float(np.hypot(ensemble["std"] or 0.0, pgd["std"] or 0.0))}

    # --- words

    def headline(self) -> str:
        """The claim of the figure, as measured.

        Returns
        -------
        str
            For a title.
        """
        reference, above = self.searches.reference, [asked for asked in INFERENCES if self.order(asked) == "above"]
        if not above:
            gaps = ", ".join(f"{_WORDS[asked]} {self.difference('AutoAttack', asked)[0]:+.1f}" for asked in INFERENCES)
            return f"AutoAttack is not above {reference} beyond the interval, however the latent answers (points: {gaps})"
        parts = [f"{_WORDS[asked]} puts AutoAttack {self.difference('AutoAttack', asked)[0]:.1f} points above {reference}" for asked in above]
        mean = self.difference("AutoAttack", "mean")[0]
        rest = "" if "mean" in above else f"; the mean {abs(mean):.1f} {'above' if mean > 0 else 'below'}"
        text = ", ".join(parts) + rest
        return text[0].upper() + text[1:]

    def verdict(self) -> str:
        """The verdict that the measurements support, in a few sentences.

        Returns
        -------
        str
            Computed from the differences and their intervals alone.
        """
        gaps = ", ".join(f"answering by {_WORDS[asked]} {_text(*self.difference('AutoAttack', asked), sign=True)}" for asked in INFERENCES)
        worst = ", ".join(f"{_WORDS[asked]} {_text(*self.accuracy('worst case', asked))}" for asked in INFERENCES)
        printed = self.printed_gap()
        beside = f" (printed for {printed['dataset']}: {printed['mean']:+.2f})" if printed else ""
        return (f"{self._standing()} Accuracy under AutoAttack minus that under {self.searches.reference}, in points: {gaps}{beside}. "
                f"{self._reason()} {self._selection()} The worst case over all attacks leaves, in per cent: {worst} (n = {self.n})."
                f"{self._audit_words()}")

    def _standing(self) -> str:
        """The verdicts on the difference that the paper prints, or why there is none."""
        rows = [self._gap_row(asked) for asked in INFERENCES]
        judged = [judge(row, comparable=self.study.settings.comparable) for row in rows]
        if judged[0].verdict in (None, "not comparable"):
            why = self._note("mean").split(";")[0] if judged[0].verdict else "the paper prints no such pair for this data set and network"
            return f"Not comparable: {why if judged[0].settings.startswith('reduced') or not judged[0].verdict else judged[0].settings}."
        return f"The printed difference: {', '.join(f'{row.verdict} answering by {_WORDS[asked]}' for row, asked in zip(judged, INFERENCES, strict=True))}."

    def _reason(self) -> str:
        """What the three orders together say about the printed one."""
        orders, reference = {asked: self.order(asked) for asked in INFERENCES}, self.searches.reference
        random = [asked for asked in ("sample", "average") if orders[asked] == "above"]
        if orders["mean"] == "above":
            return (f"The order that the paper prints appears although the answers are not random: {reference} is the stronger attack here, "
                    "and random answers are not needed to explain the print.")
        if random:
            mean = "it does not appear" if orders["mean"] == "below" else "it does not appear beyond the interval"
            return (f"The order that the paper prints appears when the network answers by {' and by '.join(_WORDS[r] for r in random)}; "
                    f"by the mean {mean}: it is a sign of random answers, not of robustness.")
        if all(order == "below" for order in orders.values()):
            return f"The order that the paper prints does not appear in any way of answering. {self._shift_words()}"
        return f"The order that the paper prints does not appear beyond the intervals. {self._shift_words()}"

    def _shift_words(self) -> str:
        """Whether random answers at least move the difference towards the printed order."""
        shift, (low, high) = self.shift("sample")
        text = f"against the mean, one draw moves the difference by {_text(shift, (low, high), sign=True)} points"
        if low > 0:
            return f"But {text}: random answers push towards it, here not far enough to show."
        return f"Nor do random answers push towards it: {text}." if high < 0 else f"Whether random answers push towards it is open: {text}."

    def _selection(self) -> str:
        """By how much fresh draws revise the ensemble's own books."""
        fresh, booked = self.accuracy("AutoAttack", "sample")[0], self.books("sample")[0]
        text = (f"With one draw the ensemble books {booked:.1f} % as robust and fresh draws find {fresh:.1f} %: {fresh - booked:.1f} points "
                "of what it books as lost were the luck of a draw" if fresh > booked else
                f"With one draw the ensemble books {booked:.1f} % as robust, and fresh draws find no more ({fresh:.1f} %)")
        kinds = self.flags.get("sample", ())
        return f"{text}; AutoAttack itself flags: {', '.join(kinds) or 'nothing'}. Standard deviation of a draw: {self.noise:.2f} of that of the means."

    def _audit_words(self) -> str:
        """Which checks flag."""
        parts = []
        for asked, report in self.audits.items():
            found = report if isinstance(report, str) else ", ".join(f"{row.number} {row.check}" for row in report.flags) or "nothing"
            parts.append(f"{_WORDS[asked]}: {found}")
        return f" The {self.searches.budget} audit flags for {'; for '.join(parts)}." if parts else ""


def _text(value: float, interval: Interval, *, sign: bool = False) -> str:
    """A number with its interval."""
    form = "+.1f" if sign else ".1f"
    return f"{value:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


# --- all of it ----------------------------------------------------------------------------------------------------------
def claims_audit(settings: Settings, searches: Searches | None = None, *, variant: Variant = METHODS["Ours"]) -> ClaimsAudit:
    """Attack the paper's network while it answers in three ways, and judge every find by fresh draws.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose trainings are found again; `inference` is not used, `samples` is the number of draws of "average".
    searches : Searches, optional
        How hard to search.
    variant : Variant
        What was trained: a network with a Gaussian latent.

    Returns
    -------
    ClaimsAudit
        Judged images of all seeds, audits of the first.

    Raises
    ------
    ValueError
        A variant without a Gaussian latent.

    References
    ----------
    Yu et al. (2022), Tables 4, 5 and 11: "Ours" on CIFAR-10 under AutoAttack and PGD-40.
    """
    if variant.kind != "gaussian":
        raise ValueError(f"variant must have a Gaussian latent, got {variant.name} of kind {variant.kind!r}; there is one answer to audit")
    searches, settings = searches or Searches(), replace(settings, inference="mean")
    study = Study(settings, parts=len(settings.seeds))
    runs = [_one_model(study, searches, variant, seed) for seed in settings.seeds]
    correct = {key: np.concatenate([run.correct[key] for run in runs]) for key in runs[0].correct}
    booked: dict[str, tuple[int, int]] = {asked: (sum(run.booked[asked][0] for run in runs), sum(run.booked[asked][1] for run in runs)) for asked in INFERENCES}
    flags: dict[str, tuple[str, ...]] = {asked: tuple(dict.fromkeys(flag for run in runs for flag in run.flags[asked])) for asked in INFERENCES}
    return ClaimsAudit(study, searches, correct, booked, flags, runs[0].audits, sum(run.noise for run in runs) / len(runs))


def _one_model(study: Study, searches: Searches, variant: Variant, seed: int) -> ClaimsAudit:
    """The audit of one trained network."""
    model = study.trained(variant, seed)
    assert isinstance(model, GaussianLatent)
    images, labels = (part.to(model.last.weight.device) for part in study.attacked)
    views: dict[str, GaussianLatent] = {asked: model.with_inference(asked, samples=study.settings.samples) for asked in INFERENCES}
    identity = f"{study.identity(variant, seed)} {study.settings.samples}"
    correct = {("natural", "", asked): _judged(view, images, labels, searches.passes, seed) for asked, view in views.items()}
    booked: dict[str, tuple[int, int]] = {}
    flags: dict[str, tuple[str, ...]] = {}
    audits: dict[str, AuditReport | str] = {}
    for seen, view in views.items():
        hunts = _hunts(study, searches, view, images, labels, identity)
        for name, hunt in hunts.items():
            correct |= {(name, seen, asked): _judged(judge, hunt.images, labels, searches.passes, seed) for asked, judge in views.items()}
        booked[seen], flags[seen] = (hunts["AutoAttack"].booked, len(labels)), hunts["AutoAttack"].flags
        if searches.audit_images and seed == study.settings.seeds[0]:
            audits[seen] = _audited(study, searches, view, images, labels, hunts["AutoAttack"])
    return ClaimsAudit(study, searches, correct, booked, flags, audits, _noise(model, images))


def _hunts(study: Study, searches: Searches, view: GaussianLatent, images: Tensor, labels: Tensor, identity: str) -> dict[str, _Hunt]:
    """Every attack against one way of answering, with a line each."""
    found, folder = {}, Path(study.settings.run_dir) / "checkpoints"
    for name, attack in searches.attacks(study.settings, view.inference).items():
        started = time.perf_counter()
        found[name] = _hunt_all(attack, view, images, labels, folder, f"{identity} {view.inference}")
        print(f"  answering by {_WORDS[view.inference]}, {name}: {readable_time(time.perf_counter() - started)}", flush=True)
    return found


def _audited(study: Study, searches: Searches, view: GaussianLatent, images: Tensor, labels: Tensor, ensemble: _Hunt) -> AuditReport | str:
    """The audit of one way of answering, of PGD and of what AutoAttack found; a text where it could not be made."""
    attacks, k, started = searches.attacks(study.settings, view.inference), searches.audit_images, time.perf_counter()
    audited: Mapping[str, Attack] = {searches.reference: attacks[searches.reference],
                                     "AutoAttack": _Recorded(attacks["AutoAttack"], images, ensemble.images)}
    try:
        report: AuditReport | str = audit(view, images[:k], labels[:k], study.settings.threat, attacks=audited, seed=0, budget=searches.budget)
    except ValueError as error:  # for example no image that is classified correctly
        report = f"not made: {error}"
    print(f"  answering by {_WORDS[view.inference]}, audit: {readable_time(time.perf_counter() - started)}", flush=True)
    return report


@torch.no_grad()
def _noise(model: GaussianLatent, images: Tensor) -> float:
    """Root mean square of the deviations of a draw, in units of that of the means over the images."""
    mean, std = (torch.cat(parts) for parts in zip(*(model.encode(x) for x in images.split(_CHUNK)), strict=True))
    spread = (mean - mean.mean(0)).square().mean().sqrt()
    return float(std.square().mean().sqrt() / spread.clamp_min(1e-12))


# --- the figure ---------------------------------------------------------------------------------------------------------
_COLOURS = (BLUE, SKY, GREEN, RED, ORANGE)


def plot_claims_audit(result: ClaimsAudit) -> Any:
    """Accuracy under every attack with its interval, by the way of answering; below, what the paper prints.

    Parameters
    ----------
    result : ClaimsAudit
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        The title is the order of AutoAttack and PGD as found.
    """
    import matplotlib.pyplot as plt

    marks = [*((name, name, None, colour, "o") for name, colour in zip(result.attacks, _COLOURS, strict=True)),
             (f"{result.searches.reference} against the average", result.searches.reference, "average", PINK, "s"),
             ("worst case over all", "worst case", None, BLACK, "X")]
    figure, axis = plt.subplots(figsize=(8.2, 4.4))
    for i, asked in enumerate(INFERENCES):
        for k, (label, attack, seen, colour, mark) in enumerate(marks):
            value, interval = result.accuracy(attack, asked, seen)
            y = -i + 0.36 - 0.12 * k
            axis.hlines(y, *interval, color=colour, linewidth=1.5)
            axis.plot(value, y, mark, color=colour, markersize=5, label=label if i == 0 else None)
    printed = _plot_printed(axis, result)
    s = result.study.settings
    names = ["by the mean", "by one draw", f"by the average\nof {s.samples} draws", *(["printed,\nanswer not stated"] if printed else [])]
    axis.set(yticks=[-i for i in range(len(names))], yticklabels=names, xlabel=f"accuracy, % ({s.dataset}, {s.threat}, n = {result.n})")
    axis.set_title(textwrap.fill(result.headline(), 80), loc="left", fontsize=9)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    plt.close(figure)
    return figure


def _plot_printed(axis: Any, result: ClaimsAudit) -> bool:
    """Diamonds for what the paper prints on this data set; False where it prints nothing."""
    cells = [(result._published(name), colour) for name, colour in ((result.searches.reference, _COLOURS[0]), ("AA", _COLOURS[3]))]
    for k, (cell, colour) in enumerate(cells):
        if cell is not None:
            axis.plot(cell["mean"], -3 + 0.1 - 0.2 * k, "D", color=colour, markersize=6)
    return any(cell is not None for cell, _ in cells)
