"""Tables 6 to 10, 12 to 14 and Figures 3 and 4 of the shared-information paper: cells found, comparisons, attacks, costs."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robinfo.experiments import experiments, parameters
from robinfo.experiments.shared_information_cost import Cost, Costs, cost, plot_cost
from robinfo.experiments.shared_information_matching import (
    Matched,
    MatchedVariant,
    Representation,
    RepresentationAttack,
    feature_matching,
)
from robinfo.experiments.shared_information_study import METHODS, Count, Settings, Study, ours
from robinfo.experiments.shared_information_tables import (
    ABLATIONS,
    Case,
    Contrast,
    Grid,
    ablation,
    black_box,
    data_efficiency,
    estimators,
    plot_grid,
    trade_off,
    trade_off_verdict,
    undominated,
    weights,
)
from robinfo.latent import gaussian_classifier
from robinfo.threats import Linf

NOTEBOOKS = ["shared_information_" + name for name in ("table6", "table7", "table8", "table9", "table10", "table12", "table13", "table14", "figure3")]
TINY = Settings(dataset="digits", train_images=64, test_images=20, attack_images=6, epochs=1, train_steps=1, batch_size=32, seeds=(0,), device="cpu")
CIFAR = Settings(dataset="cifar10")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models of a test lie in its own folder."""
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    monkeypatch.delenv("ROBINFO_RUN_DIR", raising=False)
    yield


def made_up(correct: dict[str, int], n: int = 10000, table: str = "13", seeds: int = 3) -> Grid:
    """A grid of Table 13 with given counts under PGD-20."""
    settings = replace(CIFAR, seeds=tuple(range(seeds)))
    lam = {"HSIC": 0.001, "MINE": 0.01, "MIGE": 0.01}
    cases = {k: Case(k, ours(f"Ours ({k})"), {"lam": lam[k]}) for k in correct}
    counts = {k: [{"PGD-20": Count(c, n, "PGD")} for _ in range(seeds)] for k, c in correct.items()}
    contrasts = tuple(Contrast("HSIC", k, "PGD-20") for k in correct if k != "HSIC")
    return Grid(Study(settings), table, cases, counts, contrasts, fields={"model": "ResNet18"})


def test_comparisons_have_the_papers_direction_the_opposite_one_or_none() -> None:
    found = made_up({"HSIC": 5500, "MINE": 5200, "MIGE": 5700})
    assert found.directions() == {"the paper's": 1, "opposite": 1, "undecided": 0}
    (_, printed, gap, errors), _ = found.judged()
    assert printed == pytest.approx(55.58 - 52.18) and gap == pytest.approx(3.0) and errors > 2
    assert made_up({"HSIC": 55, "MINE": 54}, n=100).directions()["undecided"] == 1
    assert "1 of 2 comparisons" in found.claim() and "Highest under PGD-20: MIGE" in found.verdict()


def test_cells_of_the_papers_data_set_are_judged_and_others_are_not_comparable() -> None:
    rows = made_up({"HSIC": 5558, "MINE": 5200}).rows
    assert [row.paper["mean"] for row in rows if row.paper] == [55.58, 52.18]
    assert rows[0].verdict != "not comparable"
    grid = made_up({"HSIC": 5558})
    elsewhere = replace(grid, study=Study(replace(CIFAR, dataset="mnist")))
    assert elsewhere.rows[0].verdict == "not comparable" and "CIFAR-10 only" in elsewhere.verdict()


def test_every_published_cell_of_a_table_is_found() -> None:
    made = {"10": ablation(TINY, terms=list(ABLATIONS)[-1:]), "12": weights(TINY, alphas=[0.5], lambdas=[]),
            "13": estimators(TINY, names=["HSIC"])}
    assert {table: len(grid.published) for table, grid in made.items()} == {"10": 12, "12": 22, "13": 6}
    assert len({grid.study.checkpoint(next(iter(grid.cases.values())).variant, 0) for grid in made.values()}) == 1, "one training serves all"
    text = made["10"].table_with_gaps()
    assert text.count("not run") == 10 and "not comparable" in text
    assert plot_grid(made["13"]).axes[0].get_title(loc="left") == made["13"].claim()


def test_a_share_of_the_training_images_stands_beside_its_cell() -> None:
    grid = data_efficiency(TINY, methods=["Standard"], fractions=[0.4], attacks=["natural", "PGD-2"])
    natural, attacked = grid.rows
    assert natural.paper is not None and natural.paper["mean"] == 59.48 and attacked.paper is None
    assert "40% of the training images" in natural.settings and len(grid.published) == 12
    with pytest.raises(ValueError, match="reading must be one of"):
        data_efficiency(TINY, reading="ARA")


def test_images_of_a_surrogate_are_shown_to_the_model() -> None:
    grid = black_box(TINY, methods=["Standard"], attacks=["natural", "PGD-10", "Square"], surrogate="small_cnn", queries=3)
    assert grid.attacks == ("natural", "PGD-10", "Square", "Square by queries")
    assert [None if row.paper is None else row.paper["mean"] for row in grid.rows] == [82.59, 80.27, 76.85, None]
    assert len(grid.published) == 30 and grid.total("Standard", "PGD-10")[1] == 6


def test_the_edge_of_the_trade_off() -> None:
    grid = trade_off(TINY, betas={"TRADES": [1.0], "MART": [5.0]}, attacks=["natural", "PGD-2"])
    points = {"TRADES, beta 1": (8, 3), "MART, beta 5": (7, 2)}
    counts = {name: [{"natural": Count(a, 10), "PGD-2": Count(b, 10)}] for name, (a, b) in points.items()}
    fixed = replace(grid, counts=counts)
    assert undominated(fixed) == ["TRADES, beta 1"] and "does not hold" in trade_off_verdict(fixed)
    with pytest.raises(ValueError, match="betas must be given for"):
        trade_off(TINY, betas={"MMA": [1.0]})


# --- feature matching ---------------------------------------------------------------------------------------------------
def test_the_representation_is_what_the_last_layer_sees() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    images = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain[2](Representation(plain)(images)), plain(images))
    model = gaussian_classifier("small_cnn", in_channels=1, image_size=8).eval()
    digits = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Representation(model)(digits), model.encode(digits)[0])


def test_half_a_batch_moves_towards_the_other_half() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    images, labels = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(5, dtype=torch.long)
    moved = RepresentationAttack(Linf(0.1), steps=5, half=True)(model, images, labels)
    view = Representation(model)
    before, after = ((view(x[2:4]) - view(images[:2])).square().sum(1) for x in (images, moved))
    assert torch.equal(moved[:2], images[:2]) and torch.equal(moved[4:], images[4:])
    assert bool((after < before).all()) and float((moved - images).abs().max()) <= 0.1 + 1e-6
    assert torch.equal(RepresentationAttack(Linf(0.1), half=True)(model, images[:1], labels[:1]), images[:1])


def test_training_on_matched_images_keeps_the_loss_and_the_schedule() -> None:
    variant = MatchedVariant(name="Ours", method="Ours", kind="gaussian")
    objective = variant.objective(replace(TINY, ramp_epochs=3))
    assert isinstance(objective, Matched) and "half" in str(objective)
    assert "beta=0.001" in str(objective.at(0)) or "LogLinear" not in str(objective.at(0))
    grid = feature_matching(TINY, methods=["Standard"], sigmas=[5], steps=[10], training_steps=1)
    natural, matched = grid.rows
    assert natural.paper is None and matched.paper is not None and matched.paper["mean"] == 73.54 and matched.threat == "Linf(5/255)"
    with pytest.raises(ValueError, match="training must be"):
        feature_matching(TINY, methods=["MMA"])


# --- cost ---------------------------------------------------------------------------------------------------------------
def test_ratios_are_formed_within_a_turn() -> None:
    result = Costs(CIFAR, 128, "CPU", {"Standard": Cost((1.0, 2.0), (1.0, 1.0), 100, 1000), "Ours": Cost((1.5, 3.0), (1.0, 1.0), 150, 1100)})
    assert result.ratios("Ours", "train_time_per_iteration") == (1.5, 1.5) and result.ratios("Ours", "gpu_memory") == (1.5,)
    row = result.rows[0]
    assert row.paper is not None and row.paper["mean"] == pytest.approx(3.81 / 2.47) and row.interval == (1.5, 1.5)
    assert "at most the paper's ratio" in result.verdict() and "1.50 ×" in result.claim()


def test_costs_are_measured() -> None:
    assert METHODS["Ours"].kind == "gaussian"
    result = cost(TINY, methods=["Ours"], turns=1)
    assert result.methods["Ours"].memory > result.methods["Standard"].memory > 1e6
    assert result.methods["Ours"].parameters > result.methods["Standard"].parameters
    assert plot_cost(result).get_suptitle() == result.claim()
    with pytest.raises(ValueError, match="turns must be at least 1"):
        cost(TINY, turns=0)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_profiles_name_parameters_of_the_notebook(notebook: str) -> None:
    declared, made = parameters(notebook), {e.name: e for e in experiments()}[notebook].profiles
    assert {name: made[name]["dataset"] for name in ("smoke", "cpu", "paper")} == {"smoke": "digits", "cpu": "mnist", "paper": "cifar10"}
    assert all(set(profile) <= set(declared) for profile in made.values())
