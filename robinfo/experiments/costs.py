"""What a reproduction at the papers' own settings costs: counted operations, and the hours that they take.

Every training and every evaluation of the three papers is a `Work`: how often, on how many images, for how many epochs, and how many passes of the
network an image needs for it. The operations of one forward pass are counted by running it. Importing this module does not load torch.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from robinfo.experiments.published import published_cells
from robinfo.experiments.record import markdown_table

__all__ = ["PEAK", "Work", "cost_page", "reproduction"]

PEAK = 989e12  # dense bfloat16 operations per second of an NVIDIA H100 SXM, from its data sheet
_TRAIN = {"cifar10": 50_000, "cifar100": 50_000, "mnist": 60_000, "fashion_mnist": 60_000, "svhn": 73_257}
_TEST = {"cifar10": 10_000, "cifar100": 10_000, "mnist": 10_000, "fashion_mnist": 10_000, "svhn": 26_032}
_AUTOATTACK = 2 * (100 + 9 * 100 + 9 * 100) + 5000  # passes for an image that survives: APGD-CE, APGD-T, FAB-T, Square


@dataclass(frozen=True)
class Work:
    """A part of a reproduction.

    Attributes
    ----------
    paper, table : str
        Where its numbers are printed.
    what : str
        In words.
    times : int
        Trainings, or networks evaluated.
    images, epochs : int
        Images of one epoch; epochs, 1 for an evaluation.
    passes : float
        Forward passes that an image costs in operations: a backward pass for the weights and the images counts two, for the images alone one.
    forward : float
        Operations (additions and multiplications) of a forward pass of one image.

    Examples
    --------
    >>> Work("p", "1", "training", 2, 100, 3, 3.0, 1e6).operations
    1800000000.0
    """

    paper: str
    table: str
    what: str
    times: int
    images: int
    epochs: int
    passes: float
    forward: float

    @property
    def operations(self) -> float:
        """All of them."""
        return self.times * self.images * self.epochs * self.passes * self.forward

    def hours(self, share: float = 0.3) -> float:
        """Time on one H100.

        Parameters
        ----------
        share : float
            Of the card's dense bfloat16 peak that is reached, in (0, 1].

        Returns
        -------
        float
            Hours.

        Raises
        ------
        ValueError
            A share outside (0, 1].

        Examples
        --------
        >>> round(Work("p", "1", "training", 1, 1, 1, 1.0, PEAK * 3600).hours(1.0), 3)
        1.0
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {share}; 0.3 is what a well-fed convolutional network may reach")
        return self.operations / (share * PEAK) / 3600


def _counted(build: Callable[[], Any], shape: Sequence[int]) -> float:
    """Operations of a forward pass for one image, counted while it runs."""
    import torch

    from robinfo.label_hypothesis import operations_per_image

    return operations_per_image(build(), torch.zeros(2, *shape))


def _shape(dataset: str) -> tuple[int, int, int]:
    """Shape of an image."""
    return (3, 32, 32) if dataset in ("cifar10", "cifar100", "svhn") else (1, 28, 28)


@lru_cache(maxsize=64)
def _classifier(name: str, dataset: str) -> float:
    """Operations of a classifier of `robinfo.models`."""
    from robinfo.models import classifier

    channels, size, _ = _shape(dataset)
    return _counted(lambda: classifier(name, in_channels=channels, image_size=size), _shape(dataset))


@lru_cache(maxsize=8)
def _critic(dataset: str, features: int) -> float:
    """Operations of the paper's critic for an image and its share of a batch of 128."""
    import torch
    from torch import nn

    from robinfo.models import Critic

    class Pairs(nn.Module):
        """A batch against as many representations."""

        def __init__(self) -> None:
            super().__init__()
            self.critic = Critic(_shape(dataset)[0], features)

        def forward(self, images: Any) -> Any:
            """Scores, the products as for 128 pairs of each image."""
            return self.critic(images, torch.zeros(128, features))

    return _counted(Pairs, _shape(dataset))


# --- the three papers -----------------------------------------------------------------------------------------------------
def _worst_case() -> Iterator[Work]:
    """Zhu, Zhang and Evans (2020): four tables, and the classifiers of the figures."""
    from robinfo.experiments.study import paper_threat

    for table, dataset in (("1", "cifar10"), ("3", "mnist"), ("4", "fashion_mnist"), ("5", "svhn")):
        _, steps, _ = paper_threat(dataset)
        model, images, seeds = _classifier("baseline_h", dataset), _TRAIN[dataset], 4
        both, attacked = model + _critic(dataset, 64), 3 + 2 * steps
        yield Work("Zhu2020", table, f"representations, normal ({dataset})", seeds, images, 300, 3, both)
        yield Work("Zhu2020", table, f"representations, worst case ({dataset})", seeds, images, 300, attacked, both)
        yield Work("Zhu2020", table, f"standard heads above them ({dataset})", 4 * seeds, images, 300, 1, model)
        yield Work("Zhu2020", table, f"robust heads above them ({dataset})", 4 * seeds, images, 300, 1 + 2 * steps, model)
        yield Work("Zhu2020", table, f"supervised, standard ({dataset})", 2 * seeds, images, 300, 3, model)
        yield Work("Zhu2020", table, f"supervised, robust ({dataset})", 2 * seeds, images, 300, attacked, model)
    for name in ("baseline_h", "vgg16", "resnet18", "resnet50", "densenet121"):
        model, critic, epochs = _classifier(name, "cifar10"), _critic("cifar10", 10), 300 if name == "baseline_h" else 200
        yield Work("Zhu2020", "Figures 1 and 2", f"{name}, standard", 1, 50_000, epochs, 3, model)
        yield Work("Zhu2020", "Figures 1 and 2", f"{name}, robust and at a quarter of the radius", 2, 50_000, epochs, 17, model)
        yield Work("Zhu2020", "Figures 1 and 2", f"{name}, critics, normal", 3, 50_000, 300, 1, model + 3 * critic)
        yield Work("Zhu2020", "Figures 1 and 2", f"{name}, critics, worst case", 3, 50_000, 300, 15, model + critic)


_OURS = "Ours"
_NUMBERS = ("cell", "metric", "attack", "mean", "std", "unit", "approx", "note")  # what differs between the numbers of one network


def _shared_information() -> Iterator[Work]:
    """Yu et al. (2022): every row of every table is a network, trained three times."""
    from robinfo.experiments.shared_information_study import METHODS, Settings, paper_recipe

    cells = [row for row in published_cells() if row["paper"] == "Yu2022" and row["table"] in ("4", "5", "9", "10", "11", "12", "13", "14")]
    for table, data in dict.fromkeys((row["table"], row["dataset"]) for row in cells):
        dataset = data.lower().replace("-", "")
        large = table == "5"
        networks = {tuple(str(value) for key, value in row.items() if key not in _NUMBERS): row for row in cells if (row["table"], row["dataset"]) == (table, data)}
        settings = Settings(dataset=dataset, architecture="wide_resnet34_10" if large else None)
        network = "wide_resnet34_10" if large else "small_cnn" if dataset == "mnist" else "resnet18"
        forward = _classifier(network, dataset)
        counts: dict[tuple[str, float], int] = {}
        for row in networks.values():
            kind = (next((known for known in METHODS if known in row["method"]), _OURS), float(row.get("train_fraction") or 1))
            counts[kind] = counts.get(kind, 0) + 1
        for (base, share), count in sorted(counts.items()):
            recipe, steps = paper_recipe(dataset, base), settings.attack.steps
            what = f"{base} on {data}, {network}" + (f", {100 * share:.0f} % of the images" if share < 1 else "")
            yield Work("Yu2022", table, what, 3 * count, round(share * _TRAIN[dataset]), recipe.epochs, 2 * steps + (3 if base == "Standard" else 6), forward)
        yield Work("Yu2022", table, f"AutoAttack and PGD on {data}, if half of the images survive", 3 * len(networks), _TEST[dataset], 1,
                   2 * (20 + 40) + _AUTOATTACK / 2, forward)


def _guess_first() -> Iterator[Work]:
    """Guess First (2019): six models on two data sets."""
    from robinfo.label_hypothesis import baseline_cnn, label_hypothesis_network

    for table, dataset in (("1", "mnist"), ("2", "fashion_mnist")):
        plain = _counted(baseline_cnn, _shape(dataset))
        guessing = _counted(label_hypothesis_network, _shape(dataset))
        for what, times, forward in (("plain network and bottleneck", 2, plain), ("networks that guess first", 4, guessing)):
            yield Work("GuessFirst2019", table, f"{what}, training ({dataset})", times, _TRAIN[dataset], 200, 3, forward)
            yield Work("GuessFirst2019", table, f"{what}, C&W and PGD, white box ({dataset})", times, _TEST[dataset], 1, 2 * (5 * 1000 + 20 * 40), forward)


def reproduction() -> tuple[Work, ...]:
    """Every training and every costly evaluation of the three papers, at their own settings.

    Returns
    -------
    tuple of Work
        By paper and table. Counting takes some seconds.
    """
    return (*_worst_case(), *_shared_information(), *_guess_first())


def cost_page(works: Sequence[Work], shares: tuple[float, float] = (0.1, 0.4)) -> str:
    """The page *What a reproduction costs*, in Markdown.

    Parameters
    ----------
    works : sequence of Work
        Usually `reproduction`.
    shares : (float, float)
        Shares of the card's peak between which the hours are given.

    Returns
    -------
    str
        One table for each paper, and the sums.

    Examples
    --------
    >>> print(cost_page([Work("p", "1", "training", 1, 1, 1, 1.0, 1e20)]).splitlines()[0])
    # What a reproduction costs
    """
    low, high = shares
    total = sum(work.operations for work in works)
    parts = ["# What a reproduction costs", "",
             ("Operations of every training and every costly evaluation at the papers' own settings: counted for one forward pass, times passes, images, epochs and "
             "repetitions, no network shared between two tables. Hours are those of one NVIDIA H100, "
             f"at {100 * high:.0f} % and at {100 * low:.0f} % of its dense bfloat16 peak of {PEAK / 1e12:.0f} Tflop/s. The share that is really reached has not been measured: "
             "no run on a GPU is recorded."), "",
             f"**All of it: {total:.2g} operations, {_hours(works, high)} to {_hours(works, low)} GPU-hours.**", ""]
    for paper in dict.fromkeys(work.paper for work in works):
        own = [work for work in works if work.paper == paper]
        lines = [[work.table, work.what, str(work.times), str(work.epochs), f"{work.passes:g}", f"{work.forward / 1e6:,.1f}", f"{work.operations:.2g}",
                  f"{_hours([work], high)} to {_hours([work], low)}"] for work in own]
        header = ["table", "what", "times", "epochs", "passes per image", "Mflop per pass", "operations", "GPU-hours"]
        parts += [f"## {paper}", "", f"Together {_hours(own, high)} to {_hours(own, low)} GPU-hours.", "", markdown_table(header, lines), ""]
    return "\n".join(parts)


def _hours(works: Sequence[Work], share: float) -> str:
    """Hours of some works together, two digits."""
    return f"{float(f'{sum(work.hours(share) for work in works):.2g}'):g}"
