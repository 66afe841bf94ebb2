"""What a reproduction costs: known operation counts, every table there, no hour without an operation."""
from __future__ import annotations

import pytest

from robinfo.experiments.costs import PEAK, Work, cost_page, reproduction
from robinfo.experiments.published import published_cells


@pytest.fixture(scope="module")
def works() -> tuple[Work, ...]:
    """All of it, counted once."""
    return reproduction()


def test_counted_operations_are_the_known_ones(works: tuple[Work, ...]) -> None:
    """Multiply-accumulate counts that the literature gives for 32x32 images: ResNet-18 0.56 G, WRN-34-10 6.66 G, VGG-16 0.31 G."""
    forward = {name: next(w.forward for w in works if name in w.what and "critics" not in w.what) for name in ("resnet18, standard", "wide_resnet34_10", "vgg16")}
    for name, known in (("resnet18, standard", 0.56e9), ("wide_resnet34_10", 6.66e9), ("vgg16", 0.31e9)):
        assert forward[name] / 2 == pytest.approx(known, rel=0.02)


def test_every_table_of_trained_networks_is_there(works: tuple[Work, ...]) -> None:
    """Tables that only look at networks of other tables (surrogates, matching, cost) are left out."""
    printed = {(row["paper"], row["table"]) for row in published_cells() if row["table"].isdigit()}
    assert printed - {(w.paper, w.table) for w in works} == {("Yu2022", "6"), ("Yu2022", "7"), ("Yu2022", "8")}
    rows = {row["method"] for row in published_cells() if row["paper"] == "Yu2022" and row["table"] == "4"}
    assert sum(w.times for w in works if w.table == "4" and w.epochs > 1 and "MNIST" in w.what and w.paper == "Yu2022") == 3 * len(rows)


def test_the_page_adds_up(works: tuple[Work, ...]) -> None:
    page = cost_page(works)
    assert f"{sum(w.operations for w in works):.2g} operations" in page
    assert sum(line.startswith("| ") for line in page.splitlines()) == len(works) + 3  # a header for each paper
    assert works[0].hours(1.0) == pytest.approx(works[0].operations / PEAK / 3600)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        Work("p", "1", "x", 1, 1, 1, 1.0, 1.0).hours(share)
