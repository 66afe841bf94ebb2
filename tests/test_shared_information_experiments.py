"""The experiments of the shared-information paper: the paper's settings, models found again, rows, verdicts."""
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robinfo.attacks import PGD
from robinfo.experiments import parameters
from robinfo.experiments.record import compare, paper_row
from robinfo.experiments.shared_information import (
    ATTACKS,
    EarlyStopping,
    WhiteBox,
    apart,
    early_stopping,
    plot_early_stopping,
    plot_white_box,
    white_box,
)
from robinfo.experiments.shared_information_study import (
    METHODS,
    SURROGATE,
    Count,
    Recipe,
    Settings,
    Study,
    Variant,
    evaluation_attacks,
    evaluation_folder,
    of_method,
    only_writer,
    ours,
    paper_recipe,
)
from robinfo.latent import GaussianLatent

NOTEBOOKS = ("shared_information_table4", "shared_information_table5", "shared_information_table11")
TINY = Settings(dataset="digits", train_images=64, test_images=20, attack_images=6, epochs=2, train_steps=1, batch_size=32, seeds=(0,), device="cpu")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models of a test lie in its own folder."""
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    monkeypatch.delenv("ROBINFO_RUN_DIR", raising=False)
    yield


# --- the paper's settings -----------------------------------------------------------------------------------------------
def test_training_settings_are_those_of_table_3() -> None:
    mnist, cifar = Settings(dataset="mnist"), Settings(dataset="cifar10")
    assert str(METHODS["Standard"].objective(mnist)) == (
        "AdversarialTraining(PGD(Linf(0.3), steps=40, step_size=0.01, random_start=True, restarts=1, keep='last'))")
    assert str(METHODS["TRADES"].objective(mnist)) == "TRADES(Linf(0.3), steps=40, step_size=0.01, beta=1, start=0.001)"
    assert str(METHODS["MART"].objective(cifar)) == "MART(Linf(0.031), steps=10, step_size=0.007, beta=5, start=0.001)"
    assert "Linf(0.45), steps=40, minimum_radius=0.1," in str(METHODS["MMA"].objective(mnist))
    assert "Linf(12/255), steps=10, minimum_radius=0.005," in str(METHODS["MMA"].objective(cifar))
    plan = METHODS["MART"].plan(mnist)
    assert (plan.epochs, plan.learning_rate, plan.weight_decay, plan.milestones, plan.optimizer) == (50, 0.01, 5e-4, (20, 40), "sgd")
    assert paper_recipe("mnist", "MMA").optimizer == "adam" and paper_recipe("cifar100", "Ours").milestones == (75, 90, 100)
    early = {name: METHODS[name].plan(cifar).early for name in ("TRADES", "MMA", "MART", "Ours")}
    assert early == {"TRADES": 76, "MMA": 76, "MART": 91, "Ours": 101}


def test_the_rate_of_mma_ends_where_table_3_says() -> None:
    plan = paper_recipe("cifar10", "MMA")
    rates = [plan.learning_rate * plan.decay ** sum(epoch >= m for m in plan.milestones) for epoch in (0, 75, 90)]
    assert rates == pytest.approx([0.3, 0.0949, 0.003], abs=1e-4)


def test_our_objective_has_the_papers_weights_and_stretches_its_schedule() -> None:
    mnist = Settings(dataset="mnist")
    whole, short = METHODS["Ours"].objective(mnist), METHODS["Ours"].objective(replace(mnist, epochs=10))
    assert (whole.alpha, whole.beta, whole.lam, whole.schedule.hold, whole.schedule.ramp) == (0.5, 4.0, 0.001, 10, 90)  # type: ignore[attr-defined]
    assert (short.schedule.hold, short.schedule.ramp) == (1, 9)  # type: ignore[attr-defined]
    assert METHODS["Ours"].objective(Settings(dataset="cifar100")).beta == 6.0  # type: ignore[attr-defined]
    assert ours(alpha=1.0, beta=0.0, lam=0.0).objective(mnist).alpha == 1.0  # type: ignore[attr-defined]
    assert METHODS["Ours"].kind == "gaussian" and ours(location="softmax").kind == "plain"


def test_a_shorter_run_moves_everything_in_proportion() -> None:
    assert Recipe(100, 0.1, 0.0, (55, 75, 90), early=63).scaled(200) == Recipe(200, 0.1, 0.0, (110, 150, 180), early=126)
    assert Recipe(100, 0.1, 0.0, (), early=1).scaled(2).early == 1
    settings = Settings(dataset="mnist", epochs=10, optimizer="adam", learning_rate=1e-3)
    assert METHODS["TRADES"].plan(settings) == Recipe(10, 1e-3, 5e-4, (6, 8, 9), "adam", early=6)
    assert METHODS["TRADES"].plan(settings, epochs=20).milestones == (11, 15, 18)
    assert str(METHODS["MMA"].objective(replace(settings, ramp_epochs=3))).startswith("Ramp(MMA(")
    assert str(SURROGATE.objective(replace(settings, ramp_epochs=3))) == "Standard()"


def test_the_attacks_are_the_papers() -> None:
    suite = evaluation_attacks(Settings(dataset="cifar10"))
    assert tuple(suite) == ATTACKS and suite["natural"] is None
    assert isinstance(suite["PGD-40"], PGD) and suite["PGD-40"].size == 0.003 and suite["PGD-40"].steps == 40
    assert "steps=20, binary_search_steps=1, step_size=0.01, initial_const=1.0, abort_early=False" in str(suite["C&W(l2)"])
    assert str(suite["AA"]).startswith("AutoAttack(Linf(0.031), version='standard'")
    half = evaluation_attacks(Settings(dataset="mnist", epsilon=0.15), ["PGD-20"])["PGD-20"]
    assert isinstance(half, PGD) and half.size == pytest.approx(0.005)
    for name in ("PGD-0", "PGD-x", "FGSM"):
        with pytest.raises(ValueError, match="must be natural, PGD-k"):
            evaluation_attacks(TINY, [name])


def test_a_search_that_finds_nothing_leaves_the_image() -> None:
    pytest.importorskip("foolbox")
    linear = nn.Linear(16, 2)
    with torch.no_grad():  # so sure of itself that 20 steps change nothing; black is class 1
        linear.weight.copy_(torch.tensor([[100.0], [0.0]]).expand(2, 16))
        linear.bias.copy_(torch.tensor([0.0, 1.0]))
    model = nn.Sequential(nn.Flatten(), linear).eval()
    images, labels = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.long)
    attack = evaluation_attacks(TINY, ["C&W(l2)"])["C&W(l2)"]
    assert attack is not None and torch.equal(attack(model, images, labels), images)
    assert int(model(torch.zeros(1, 1, 4, 4)).argmax()) == 1


def test_settings_say_what_is_less_and_what_is_other() -> None:
    paper = Settings(dataset="mnist")
    assert paper.reduced() == paper.manner() == "" and paper.comparable is True
    less = replace(paper, epochs=10, seeds=(0,), train_images=100, ramp_epochs=3, train_precision="bfloat16")
    assert less.reduced() == "reduced: train_images 100, epochs 10, 1 trial"
    assert less.manner() == "radius of training grows over 3 epochs, training attack in bfloat16"
    assert replace(paper, epsilon=0.1).comparable == "another threat than the paper's Linf(0.3)"
    assert replace(paper, epsilon=0.1).attack.size == pytest.approx(0.1 / 16)


def test_impossible_settings_fail_before_the_work() -> None:
    with pytest.raises(ValueError, match="dataset must be one of mnist"):
        Settings(dataset="imagenet")
    with pytest.raises(ValueError, match="seeds must name at least one"):
        Settings(dataset="mnist", seeds=())
    with pytest.raises(ValueError, match="epochs must be at least 1 or None, got 0"):
        Settings(dataset="mnist", epochs=0)
    with pytest.raises(ValueError, match="methods must be out of Standard"):
        white_box(TINY, methods=["AT"])
    with pytest.raises(ValueError, match="method must be one of"):
        of_method("AT")
    with pytest.raises(ValueError, match=r"train_fraction must lie in \(0, 1\]"):
        Study(TINY).fraction(1.5)


# --- models -------------------------------------------------------------------------------------------------------------
def test_a_model_is_trained_once_and_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    study, variant = Study(TINY, parts=1), METHODS["TRADES"]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    model = study.trained(variant, 0)
    assert torch.equal(state, torch.get_rng_state()) and not model.training
    path = study.checkpoint(variant, 0)
    stamp = path.stat().st_mtime_ns
    assert capsys.readouterr().out.startswith("[1/1] TRADES, small_cnn, seed 0")
    again = Study(replace(TINY, test_images=None, attack_images=None, run_dir="elsewhere", seeds=(0, 1))).trained(variant, 0)
    assert path.stat().st_mtime_ns == stamp
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["method"] == "TRADES" and told["epochs"] == 2 and told["seconds"] > 0
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_every_setting_of_training_makes_another_file() -> None:
    study, variant = Study(TINY), METHODS["MART"]
    paths = [study.checkpoint(variant, 0), study.checkpoint(variant, 1), study.checkpoint(variant, 0, epochs=3),
             study.checkpoint(variant, 0, train_fraction=0.5), study.checkpoint(of_method("MART", beta=1.0), 0),
             study.checkpoint(METHODS["TRADES"], 0), study.checkpoint(replace(variant, architecture="resnet18"), 0)]
    paths += [Study(replace(TINY, **change)).checkpoint(variant, 0) for change in (  # type: ignore[arg-type]
        {"train_images": 32}, {"learning_rate": 0.5}, {"batch_size": 16}, {"ramp_epochs": 2}, {"epsilon": 0.2}, {"train_steps": 2},
        {"augment": "crop_flip"}, {"precision": "bf16-mixed"}, {"train_precision": "bfloat16"})]
    assert len(set(paths)) == len(paths)
    assert study.checkpoint(replace(variant, name="another title"), 0) == paths[0]


def test_weights_of_the_stopping_epoch_are_kept() -> None:
    study, variant = Study(TINY), METHODS["Standard"]
    early, last = study.trained(variant, 0, at="early"), study.trained(variant, 0)
    stopped = study.trained(variant, 0, epochs=1)  # one epoch with the same rate, since milestones come later
    assert variant.plan(TINY).early == 1 and variant.plan(TINY).milestones == (1, 2, 2)
    assert all(torch.equal(a, b) for a, b in zip(early.state_dict().values(), stopped.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(early.state_dict().values(), last.state_dict().values(), strict=True))
    three = Study(replace(TINY, epochs=3))
    assert three.trained(variant, 0).state_dict().keys() == last.state_dict().keys()
    with pytest.raises(ValueError, match="weights after that epoch were not kept"):
        three.trained(variant, 0, at=1)


def test_a_cut_training_goes_on_to_the_same_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Study(TINY).trained(METHODS["MMA"], 0).state_dict()
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "second"))
    study = Study(TINY)
    plan = METHODS["MMA"].plan(TINY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = METHODS["MMA"].network(TINY, study.data)
    study._train(METHODS["MMA"], model, study.checkpoint(METHODS["MMA"], 0), plan, 1, 0, epochs=None, train_fraction=1.0)  # cut here
    assert all(torch.equal(a, b) for a, b in zip(whole.values(), Study(TINY).trained(METHODS["MMA"], 0).state_dict().values(), strict=True))


def test_whoever_comes_second_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, events = tmp_path / "model.safetensors", list[str]()

    def second() -> None:
        """The lock belongs to the opened file, so that a thread stands for another process."""
        with only_writer(path):
            events.append("second")

    with only_writer(path):
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive() and events == []
        events.append("first")
    other.join(timeout=20)
    assert events == ["first", "second"] and "waiting: another process trains this model" in capsys.readouterr().out


def test_models_lie_beside_the_run_that_asks_for_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "there"))
    assert Study(TINY).checkpoint(METHODS["MMA"], 0).parent == tmp_path / "there" / "models"


def test_a_latent_answers_as_the_settings_say() -> None:
    class Made(Study):
        """A study whose models are new."""

        def _train(self, *args: object, **options: object) -> None:
            return

    model = Made(replace(TINY, inference="average", samples=3)).trained(ours(), 0)
    assert isinstance(model, GaussianLatent) and (model.inference, model.samples) == ("average", 3) and not model.training


# --- counts and rows ----------------------------------------------------------------------------------------------------
def test_slow_attacks_see_fewer_images() -> None:
    study = Study(TINY)
    model = METHODS["Standard"].network(TINY, study.data).eval()
    found = study.counts(model, evaluation_attacks(TINY, ["natural", "PGD-2", "C&W(l2)"]) | {"own": lambda model, x, y: x})
    assert [count.n for count in found.values()] == [20, 20, 6, 6]
    assert found["natural"].attack == "" and found["PGD-2"].attack.startswith("PGD(Linf(0.1)")
    assert found["PGD-2"].correct <= found["natural"].correct


def test_an_evaluation_is_found_again_where_its_settings_decide_it() -> None:
    study, calls = Study(TINY), []

    class Counting(nn.Module):
        """Counts how often a model is asked."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """The model's answer."""
            calls.append(len(images))
            return torch.as_tensor(self.model(images))

    model = Counting(METHODS["Standard"].network(TINY, study.data)).eval()
    suite = evaluation_attacks(TINY, ["PGD-3"])
    first, asked = study.counts(model, suite), len(calls)
    assert study.counts(model, suite) == first and len(calls) == asked + 1  # only the clean images
    study.counts(model, evaluation_attacks(TINY, ["PGD-4"]))
    assert len(calls) > asked + 4
    own = {"own": lambda model, x, y: x}
    for _ in range(2):  # an unknown attack: always anew
        before = len(calls)
        study.counts(model, own)
        assert len(calls) - before == 3
    assert evaluation_folder(model, *study.test, "PGD-3", PGD(TINY.threat, steps=3)) is None  # no seed
    drawn = ours().network(TINY, study.data).eval().with_inference("sample")  # type: ignore[operator]
    assert evaluation_folder(drawn, *study.test, "PGD-3", suite["PGD-3"]) is None  # type: ignore[arg-type]


def test_rows_stand_beside_the_papers_cells() -> None:
    study = Study(Settings(dataset="mnist"))
    trials = [{"natural": Count(9915 + k, 10_000), "AA": Count(9290, 10_000, "AutoAttack(...)")} for k in range(3)]
    clean, attacked = study.rows("4", METHODS["TRADES"], trials)
    assert (clean.verdict, attacked.verdict) == ("reproduced", "reproduced") and clean.attack is None and attacked.paper is not None
    assert attacked.paper["mean"] == 92.9 and attacked.seeds == (0, 1, 2) and attacked.threat == "Linf(0.3)"
    assert attacked.settings == "AutoAttack(...)" and attacked.interval is not None
    reduced = Study(Settings(dataset="mnist", seeds=(0,))).rows("4", METHODS["Ours"], trials[:1])
    assert reduced[0].verdict == "not comparable" and reduced[0].settings == "reduced: 1 trial; latent answers by its mean"
    assert all(row.paper is None and row.verdict is None for row in Study(TINY).rows("4", METHODS["MMA"], trials[:1]))


def test_cells_of_other_tables_are_found() -> None:
    study, one = Study(Settings(dataset="cifar10")), [{"PGD-20": Count(55, 100)}] * 3
    (row,) = study.rows("12", ours(alpha=0.3), one, paper={"alpha": 0.3, "lam": 0.001})
    assert row.paper is not None and row.paper["mean"] == 55.37
    (row,) = study.rows("6", METHODS["MART"], one, model="ResNet18 (surrogate ResNet-50)", paper_attack="black-box {}")
    assert row.paper is not None and row.paper["mean"] == 81.34
    (row,) = study.rows("9", METHODS["Ours"], one, paper={"metric": "accuracy_entire_test_set", "train_fraction": 0.4, "attack":
                        "caption: adversarial manipulation attack (ambiguous)"})
    assert row.paper is not None and row.paper["mean"] == 66.76


def _white_box(ours_aa: int, pgd: int = 90, table: str = "4") -> WhiteBox:
    """Made-up counts of two methods."""
    study = Study(Settings(dataset="mnist", seeds=(0,)))
    counts = {name: [{"natural": Count(99, 100), "PGD-40": Count(pgd, 100, "PGD"), "AA": Count(aa, 100, "AutoAttack")}]
              for name, aa in (("TRADES", 88), ("Ours", ours_aa))}
    return WhiteBox(study, table, counts, {"TRADES": 100, "Ours": 100})


def test_verdicts_report_what_was_found() -> None:
    assert "highest under AA: Ours (96.0 % of 100)" in _white_box(96).verdict()
    assert "Ours 86.0 %: not less beyond two standard errors" in _white_box(86).verdict()
    assert "Ours 50.0 %: less beyond two standard errors" in _white_box(50).verdict()
    assert "above that under PGD-40 beyond two standard errors: no method" in _white_box(90).verdict()
    assert "beyond two standard errors: TRADES, Ours (the paper" in _white_box(90, pgd=60).verdict()
    assert _white_box(96).verdict().startswith("Not comparable: reduced: 1 trial")
    stopped = EarlyStopping(_white_box(50), _white_box(80, table="11"))
    assert "TRADES +0.0 points (within two standard errors), Ours +30.0 points." in stopped.verdict()


def test_cells_that_were_not_run_say_so() -> None:
    text = _white_box(96).table_with_gaps()
    lines = text.splitlines()
    assert len(lines) == 2 + 50 and sum("not run" in line for line in lines) == 50 - 6
    assert "| MNIST | 4-layer CNN | TRADES | robust accuracy, PGD-20 | not run | 97.85 ± 0.06 | – | – |" in lines
    assert text.count("reduced") == 0 and len(compare(_white_box(96).rows).rows) == 6


def test_shares_are_compared_by_standard_errors() -> None:
    assert apart((90, 100), (90, 100)) == 0 and apart((96, 100), (50, 100)) > 2 > apart((90, 100), (88, 100)) > 0
    assert apart((0, 10), (10, 10)) < -2 and apart((1, 1), (0, 1)) == pytest.approx(2**0.5)


# --- experiments --------------------------------------------------------------------------------------------------------
def test_table_4_and_table_11_share_their_trainings() -> None:
    table4 = white_box(TINY, methods=["Standard", "TRADES"], attacks=["natural", "PGD-2"])
    models = {p: p.stat().st_mtime_ns for p in Study(TINY).checkpoint(METHODS["MMA"], 0).parent.glob("*.safetensors")}
    table11 = early_stopping(TINY, methods=["Standard", "TRADES"], attacks=["natural", "PGD-2"])
    assert {p: p.stat().st_mtime_ns for p in models} == models and len(models) == 4
    assert table11.last.counts == table4.counts
    assert [row.settings.split("; ")[1] for row in table11.rows[::2]] == [f"weights after epoch {e}" for e in (2, 2, 1, 1)]
    assert "Highest under PGD-2" in plot_white_box(table4).axes[0].get_title(loc="left")
    assert "of 2 methods" in plot_early_stopping(table11).axes[0].get_title(loc="left")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_know_every_setting(name: str) -> None:
    from robinfo.experiments import experiments

    found = {e.name: e for e in experiments()}[name]
    assert set(found.profiles) == {"smoke", "cpu", "paper"}
    declared = parameters(name)
    assert all(set(profile) <= set(declared) for profile in found.profiles.values())
    fields = set(Settings.__dataclass_fields__) - {"run_dir", "augment"}
    assert fields <= set(declared)


def test_the_paper_has_every_cell_of_tables_4_and_5() -> None:
    cell = paper_row("Yu2022", "5", dataset="cifar100", method="Ours", metric="robust_accuracy", attack="AA")
    assert cell is not None and (cell["mean"], cell["std"]) == (32.25, 0.18)
    assert isinstance(SURROGATE, Variant) and SURROGATE.plan(Settings(dataset="cifar10")).epochs == 100
