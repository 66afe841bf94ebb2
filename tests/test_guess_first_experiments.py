"""The experiments of the label-hypothesis paper: the paper's settings and cells, attacks, models found again, rows, verdicts."""
from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robinfo.attacks import FGSM, PGD, Transfer, margin
from robinfo.audit import AuditReport, Finding
from robinfo.experiments import parameters
from robinfo.experiments.guess_first import Curves, Table, figure3, lines_of, plot_figure3, plot_table, published, table
from robinfo.experiments.guess_first_audit import PAPERS, WORST, Audit, Searches, claims_audit, plot_claims_audit
from robinfo.experiments.guess_first_study import (
    ACCESS,
    METHODS,
    SUBSTITUTE,
    Cell,
    GradientLine,
    Settings,
    Study,
    attack_of,
    check_methods,
    make_model,
    make_objective,
    paper_cell,
)
from robinfo.experiments.models_store import Count, apart, evaluation_folder, model_file
from robinfo.experiments.record import VERDICTS
from robinfo.label_hypothesis import LabelHypothesisNetwork
from robinfo.latent import GaussianLatent
from robinfo.objectives.label_hypothesis import InformationElimination, LabelHypothesis
from robinfo.threats import L2, Linf

NOTEBOOKS = ("guess_first_table1", "guess_first_table2", "guess_first_figure3", "claims_audit_guess_first")
TINY = Settings(dataset="digits", train_images=64, test_images=20, attack_images=6, epochs=1, batch_size=32, width=0.1, epsilons=(0.1,),
                line_points=4, pgd_steps=2, cw_steps=2, cw_searches=1, device="cpu")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models of a test lie in its own folder."""
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path))
    monkeypatch.delenv("ROBINFO_RUN_DIR", raising=False)
    yield


# --- the paper's settings -----------------------------------------------------------------------------------------------
def test_the_defaults_are_the_papers() -> None:
    s = Settings(dataset="mnist")
    assert (s.epochs, s.batch_size, s.learning_rate, s.beta, s.bandwidth, s.layer) == (200, 250, 1e-3, 1e-3, 1.0, "relu2")
    assert s.reduced() == s.manner() == "" and s.comparable is True
    assert replace(s, epochs=10, train_images=100, pgd_steps=20).reduced() == "reduced: train_images 100, epochs 10, pgd_steps 20"
    assert replace(s, normalisation="sum", padding="valid").manner() == "normalisation sum, padding valid"
    assert replace(s, width=0.5).comparable == "another width than the paper's: 0.5"


def test_the_six_models_are_the_papers() -> None:
    s = Settings(dataset="mnist")
    assert METHODS == ("CNN", "C-DV", "C-JS", "C-DV-IE", "C-JS-IE", "Alemi et al.")
    objectives = {m: str(make_objective(m, s)) for m in METHODS}
    assert objectives["CNN"] == "Standard()" and objectives["Alemi et al."] == "VIB(beta=0.001, samples=1)"
    assert objectives["C-DV"] == "LabelHypothesis(dv)" and objectives["C-JS"] == "LabelHypothesis(js)"
    assert objectives["C-DV-IE"] == "LabelHypothesis(dv, elimination=relu2, beta=0.001, bandwidth=1, mean/batch)"
    assert str(make_objective("C-EB", s)) == "LabelHypothesis(energy)" and "chi2, elim" in str(make_objective("C-CHI2-IE", s))
    median = make_objective("C-JS-IE", replace(s, bandwidth="median", normalisation="sum", layer="linear1"))
    assert "linear1, beta=0.001, bandwidth=median, sum/batch" in str(median)


def test_the_networks_are_the_papers() -> None:
    study = Study(TINY)
    full = replace(TINY, width=1.0)
    sizes = {m: sum(p.numel() for p in make_model(m, full, study.data).parameters()) for m in (*METHODS, SUBSTITUTE)}
    assert sizes["CNN"] == 1805130 and sizes["C-DV"] == sizes["C-JS-IE"] == 1809089 and sizes[SUBSTITUTE] == 61706
    assert isinstance(make_model("C-JS", TINY, study.data), LabelHypothesisNetwork)
    assert isinstance(make_model("Alemi et al.", TINY, study.data), GaussianLatent)


@pytest.mark.parametrize("methods", [[], ["C-WASSERSTEIN"], ["cnn"], ["CNN", "CNN"], ["C-DV-IE-IE"]])
def test_other_models_are_refused(methods: list[str]) -> None:
    with pytest.raises(ValueError, match="methods must be different names out of CNN, C-DV.*correct the names"):
        check_methods(methods)


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong, words in (({"seeds": ()}, "seeds must name"), ({"epsilons": ()}, "epsilons must be radii"), ({"epsilons": (0.0,)}, "epsilons must be radii"),
                         ({"train_images": 0}, "train_images must be"), ({"epochs": 0}, "epochs must be"), ({"cw_searches": 0}, "cw_searches must be")):
        with pytest.raises(ValueError, match=words):
            replace(TINY, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer must be one of linear1"):
        Study(replace(TINY, layer="relu9")).trained("C-DV-IE", 0)
    with pytest.raises(ValueError, match="normalisation must be"):
        make_objective("C-DV-IE", replace(TINY, normalisation="median"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bandwidth"):
        make_objective("C-DV-IE", replace(TINY, bandwidth=0.0))


# --- what can go wrong in a batch ---------------------------------------------------------------------------------------
def test_label_counts_that_do_not_match_are_refused() -> None:
    study = Study(TINY)
    model, objective = make_model("C-JS-IE", TINY, study.data), make_objective("C-JS-IE", TINY)
    images = torch.rand(4, 1, 28, 28)
    with pytest.raises(ValueError, match="labels"):
        objective.loss(model, None, images, images, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="labels"):
        objective.loss(model, None, images, images, torch.tensor([0, 1, 2, 10]))


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 9]])
def test_classes_may_be_missing_or_have_one_image(labels: list[int]) -> None:
    study = Study(TINY)
    torch.manual_seed(0)
    model = make_model("C-DV-IE", TINY, study.data)
    assert isinstance(model, LabelHypothesisNetwork)
    images = torch.rand(4, 1, 28, 28)
    for normalisation in ("mean", "sum_hypotheses", "sum"):
        for bandwidth in (1.0, "median"):
            objective = LabelHypothesis("js", elimination=InformationElimination(bandwidth=bandwidth, normalisation=normalisation))  # type: ignore[arg-type]
            loss, metrics = objective.loss(model, None, images, images, torch.tensor(labels))
            (gradient,) = torch.autograd.grad(loss, model.get_parameter("trunk.linear1.weight"))
            assert bool(torch.isfinite(loss)) and bool(torch.isfinite(gradient).all())
            assert float(metrics["elimination"]) >= -1e-6 and (len(set(labels)) > 1 or abs(float(metrics["elimination"])) < 1e-6)


# --- the paper's numbers ------------------------------------------------------------------------------------------------
def test_every_printed_cell_is_found() -> None:
    for number, first in (("1", (98.8, 98.9, 99.0, 98.9, 99.0, 99.0)), ("2", (91.7, 91.3, 92.0, 90.4, 91.0, 92.3))):
        cells = published(number)
        assert len(cells) == 66 and tuple(c["mean"] for c in cells[:6]) == first
        assert len({(c["method"], c["attack"]) for c in cells}) == 66
    assert [paper_cell(Cell("C&W", a, 2.0), "1", "mnist", "C-DV")["mean"] for a in ACCESS] == [76.0, 76.0, 34.6]  # type: ignore[index]
    assert paper_cell(Cell("PGD", "white-box", 0.2), "1", "mnist", "C-DV") is None
    assert paper_cell(Cell("PGD", "white-box", 0.3), "1", "digits", "C-DV") is None
    assert paper_cell(Cell("PGD", "white-box", 0.3), "1", "mnist", "C-EB") is None


def test_the_lines_are_the_papers() -> None:
    s = Settings(dataset="mnist")
    assert len(lines_of(s)) == 16 and str(lines_of(s)[1]) == "FGSM composite eps=0.15" and lines_of(s)[-1] == Cell("C&W", "white-box", 2.0)
    assert lines_of(s)[-1].threat == L2(2.0) and lines_of(s)[-2].threat == Linf(0.3)
    for attacks, access in (([], ACCESS), (["DDN"], ACCESS), (["PGD"], ["grey-box"]), (["PGD"], [])):
        with pytest.raises(ValueError, match="must be out of .*correct the names"):
            lines_of(s, attacks, access)


# --- attacks ------------------------------------------------------------------------------------------------------------
class _Ramp(nn.Module):
    """Two logits of one pixel: wrong for class 1 where the pixel lies in a window, so that a larger step can be worse than a smaller one."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        x = images.flatten(1)[:, :1]
        bump = 4 * ((x - 0.4).abs() < 0.06).float() - 2
        return torch.cat([bump - 1e-3 * x, 1e-3 * x], 1)


def test_the_line_finds_the_smallest_step_that_fools() -> None:
    model, images, labels = _Ramp(), torch.full((1, 1, 1, 1), 0.6), torch.tensor([1])
    line = GradientLine(Linf(0.4), points=40)
    assert float(line.radii(model, images, labels)) == pytest.approx(0.15)  # 0.45 lies in the window; the whole step, to 0.2, does not fool
    whole = FGSM(Linf(0.4))(model, images, labels)
    assert int(model(whole).argmax()) == 1 and int(model(line(model, images, labels)).argmax()) == 0
    assert float((line(model, images, labels) - images).abs().max()) <= 0.4
    assert float(line.radii(model, images, torch.tensor([0]))) == 0.0
    assert math.isinf(float(GradientLine(Linf(0.1)).radii(model, images, labels)))


def test_the_line_follows_its_guide_and_leaves_both_networks_alone() -> None:
    torch.manual_seed(0)
    model, guide = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout()).train() for _ in range(2))
    images = torch.rand(9, 1, 4, 4)
    labels = model.eval()(images).argmax(1)
    line = GradientLine(Linf(0.5), points=20, guide=guide)
    moved = line(model.train(), images, labels)
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(guide.eval()(x), labels), x)
    assert bool((((moved - images) * slope) >= 0).all())
    assert model.training and all(p.grad is None for p in (*model.parameters(), *guide.parameters()))
    assert bool(((moved >= 0) & (moved <= 1)).all()) and "guide=Sequential" in str(line)
    parts = torch.cat([line.radii(model, images[i:i + 1], labels[i:i + 1]) for i in range(9)])
    assert torch.equal(parts, replace(line, batch_size=4).radii(model, images, labels))


def test_lines_become_attacks() -> None:
    s, substitute = Settings(dataset="mnist"), nn.Flatten()
    pgd = attack_of(Cell("PGD", "white-box", 0.15), s)
    assert isinstance(pgd, PGD) and (pgd.steps, pgd.random_start, pgd.restarts) == (40, True, 1) and pgd.size == pytest.approx(0.005)
    assert "steps=1000, binary_search_steps=5, step_size=0.005, initial_const=0.01, abort_early=True" in str(attack_of(Cell("C&W", "white-box", 2.0), s))
    assert isinstance(attack_of(Cell("FGSM", "composite", 0.3), s, substitute), GradientLine)
    for kind in ("PGD", "C&W"):
        composite, plain = (attack_of(Cell(kind, access, 0.3), s, substitute) for access in ACCESS[:2])
        assert isinstance(composite, Transfer) and composite.composite and isinstance(plain, Transfer) and not plain.composite
    with pytest.raises(ValueError, match="need a substitute"):
        attack_of(Cell("PGD", "transfer", 0.3), s)
    with pytest.raises(ValueError, match="a line must be one of FGSM"):
        attack_of(Cell("DDN", "white-box", 0.3), s)


# --- models and evaluations found again ---------------------------------------------------------------------------------
def test_a_model_is_trained_once() -> None:
    study = Study(TINY)
    first = study.trained("C-JS", 0)
    path = model_file(study.identity("C-JS", 0), "digits-c-js")
    assert path.exists() and path.with_suffix(".json").exists() and not first.training
    written = path.stat().st_mtime_ns
    again = Study(replace(TINY, epsilons=(0.2,), test_images=10)).trained("C-JS", 0)
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    names = {model_file(Study(s).identity("C-JS-IE", 0), "x").name for s in (TINY, replace(TINY, beta=0.1), replace(TINY, padding="valid"),
                                                                              replace(TINY, epochs=2), replace(TINY, bandwidth="median"))}
    assert len(names) == 5 and study.identity("C-JS", 1) != study.identity("C-JS", 0)


def test_the_bottleneck_answers_as_asked() -> None:
    model = Study(replace(TINY, inference="average", samples=3)).trained("Alemi et al.", 0)
    assert isinstance(model, GaussianLatent) and (model.inference, model.samples, model.seed) == ("average", 3, 0)
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(images), model(images))


def test_evaluations_are_kept_only_where_words_decide() -> None:
    model, images, labels = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    others = [nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2)]

    def folder(attack: object) -> Path | None:
        """Where its batches lie."""
        return evaluation_folder(model, images, labels, "a", attack)  # type: ignore[arg-type]

    kept = [PGD(Linf(0.1), seed=0), PGD(Linf(0.1), seed=0, loss=margin), GradientLine(Linf(0.1)),
            *(Transfer(o, PGD(Linf(0.1), seed=0), composite=True) for o in others), *(GradientLine(Linf(0.1), guide=o) for o in others)]
    assert None not in map(folder, kept) and len(set(map(folder, kept))) == len(kept)  # the weights of the guide decide, too
    for attack in (PGD(Linf(0.1)), PGD(Linf(0.1), seed=0, loss=lambda z, y: z.sum(1)), Transfer(others[0], PGD(Linf(0.1))), lambda m, x, y: x):
        assert folder(attack) is None


def test_standard_errors() -> None:
    assert apart((5, 10), (5, 10)) == 0.0 and apart((9, 10), (1, 10)) == -apart((1, 10), (9, 10)) > 2
    assert math.isfinite(apart((0, 10), (0, 10))) and math.isfinite(apart((1, 1), (0, 1)))


# --- Tables 1 and 2 -----------------------------------------------------------------------------------------------------
def _made(shares: dict[str, tuple[int, ...]], dataset: str = "mnist", n: int = 1000, **settings: object) -> Table:
    """A table with given counts: clean, PGD composite, transfer, white-box."""
    cells = (Cell("clean"), *(Cell("PGD", access, 0.3) for access in ACCESS))
    study = Study(Settings(dataset=dataset, **settings))  # type: ignore[arg-type]
    return Table(study, "1", {m: {c: [Count(k, n, "words")] for c, k in zip(cells, counts, strict=True)} for m, counts in shares.items()})


def test_rows_stand_beside_the_paper() -> None:
    rows = _made({"CNN": (988, 84, 400, 0), "C-JS": (900, 131, 300, 297)}).rows
    assert [(r.method, r.attack, r.verdict) for r in rows if r.method == "C-JS"] == [
        ("C-JS", None, "not reproduced"), ("C-JS", "PGD composite", "reproduced"), ("C-JS", "PGD transfer", "not reproduced"), ("C-JS", "PGD white-box", "reproduced")]
    assert {r.paper["mean"] for r in rows if r.attack in ("PGD composite", "PGD transfer") and r.method == "CNN"} == {8.4}  # type: ignore[index]
    assert all(r.interval is not None and r.n == 1000 and r.settings.endswith("words") for r in rows)
    less = _made({"CNN": (988, 84, 400, 0)}, epochs=10).rows
    assert {r.verdict for r in less} == {"not comparable"} and all(r.settings.startswith("reduced: epochs 10") for r in less)
    assert all(r.paper is None and r.verdict is None for r in _made({"CNN": (9, 8, 4, 0)}, "digits", 10).rows)


def test_several_seeds_give_an_interval_over_seeds() -> None:
    result = _made({"CNN": (988, 84, 400, 0)}, seeds=(0, 1, 2))
    cell = result.cells[1]
    result.counts["CNN"][cell] = [Count(80, 1000), Count(84, 1000), Count(88, 1000)]
    row = next(r for r in result.rows if r.attack == "PGD composite")
    assert row.value == pytest.approx(8.4) and row.interval == pytest.approx((8.4 - 0.4 * 4.3027 / 3**0.5, 8.4 + 0.4 * 4.3027 / 3**0.5), abs=1e-3)
    assert result.total("CNN", cell) == (252, 3000) and row.seeds == (0, 1, 2)


def test_what_was_not_run_is_said() -> None:
    text = _made({"CNN": (988, 84, 400, 0), "C-JS": (900, 131, 300, 297)}).table_with_gaps()
    assert text.count("not run") == 66 - 6 and text.count("C-DV-IE") == 11
    assert "| MNIST |  | C-DV | robust accuracy, FGSM white-box eps=0.30 (linf) | not run | 23.80 | – | – |" in text


def test_the_verdict_counts_the_papers_claims() -> None:
    made = _made({"CNN": (988, 84, 400, 0), "C-DV": (940, 240, 600, 48), "C-JS": (990, 131, 300, 698), "C-DV-IE": (985, 500, 600, 74),
                  "C-JS-IE": (990, 270, 500, 500), "Alemi et al.": (990, 155, 450, 10)})
    text = made.verdict()
    assert text.startswith("Not reproduced.") and "Cells beside the paper:" in text
    assert "C-DV above CNN in 3 of 3, below in 0" in text and "C-JS above CNN in 2 of 3, below in 1" in text
    assert "C-DV-IE above C-DV in 2 of 3, below in 0" in text and "C-JS-IE above C-JS in 2 of 3, below in 1" in text
    assert "C-DV -4.8" in text and "less beyond two standard errors: C-DV." in text
    assert [(m, b.access) for m, _, b in made.odd()] == [("C-JS", "composite"), ("C-JS", "transfer"), ("C-JS-IE", "composite")]
    assert "Found in 3 places: C-JS: PGD white-box eps=0.30 leaves 69.8 %, composite 13.1 %" in text
    assert "composite" in text.split("Which reading of black box?")[1]
    assert "Found nowhere" in _made({"CNN": (988, 84, 400, 0)}).verdict()


def test_the_figure_says_what_was_found() -> None:
    odd = _made({"CNN": (988, 84, 400, 0), "C-JS": (990, 131, 300, 698)})
    figure = plot_table(odd)
    assert figure._suptitle.get_text() == "Seeing the gradient makes an attack weaker against C-JS: 2 of the pairs of lines"
    assert len(figure.axes) == 2
    assert plot_table(_made({"CNN": (9, 8, 4, 1)}, "digits", 10))._suptitle.get_text() == "Highest under PGD white-box eps=0.30: CNN (10.0 %)"


def test_a_table_runs_and_runs_again_from_what_it_kept() -> None:
    pytest.importorskip("foolbox")
    result = table(TINY, methods=["CNN", "C-JS-IE", "Alemi et al."])
    assert len(result.rows) == 3 * 10 and tuple(result.counts) == ("CNN", "C-JS-IE", "Alemi et al.")
    assert {c.n for c in result.counts["CNN"][Cell("PGD", "white-box", 0.1)]} == {20}
    assert {c.n for c in result.counts["CNN"][Cell("C&W", "composite", 2.0)]} == {6}
    for method in result.counts:
        assert all(result.total(method, c)[0] <= result.total(method, Cell("clean"))[0] for c in result.cells if c.kind != "C&W")
    started = time.perf_counter()
    again = table(TINY, methods=["CNN", "C-JS-IE", "Alemi et al."])
    assert again.counts == result.counts and time.perf_counter() - started < 20
    assert result.table_with_gaps() and result.verdict() and plot_table(result)
    with pytest.raises(ValueError, match="methods must be different names"):
        table(TINY, methods=["DNN"])


# --- Figure 3 -----------------------------------------------------------------------------------------------------------
def test_curves_are_read_at_the_tables_radii() -> None:
    radii = {"CNN": {Cell("PGD", "composite"): np.array([0.0, 0.1, 0.2, 0.4]), Cell("PGD", "white-box"): np.array([0.0, 0.05, 0.1, 0.1])},
             "C-JS": {Cell("PGD", "composite"): np.array([0.1, 0.1, 0.2, 0.2]), Cell("PGD", "white-box"): np.array([0.3, 0.4, np.inf, np.inf])}}
    result = Curves(Study(Settings(dataset="mnist")), {"FGSM": 0.5, "PGD": 0.5, "C&W": 4.0}, radii)
    rows = {(r.method, r.attack, r.threat): r for r in result.rows}
    assert len(rows) == 8 and rows["CNN", "PGD composite", "Linf(0.15)"].value == 50.0 and rows["C-JS", "PGD white-box", "Linf(0.3)"].value == 75.0
    assert rows["C-JS", "PGD white-box", "Linf(0.3)"].paper["mean"] == 29.7  # type: ignore[index]
    assert result.halving("CNN", Cell("PGD", "composite")) == 0.1 and "> 0.5" not in result.table()
    assert result.curve("CNN", Cell("PGD", "composite"), 6).accuracy.tolist() == [0.75, 0.5, 0.25, 0.25, 0.0, 0.0]
    title = plot_figure3(result)._suptitle.get_text()
    assert title.startswith("Seeing the gradient costs PGD most against C-JS: up to 100 points fewer successes")
    assert "PGD white-box: C-JS" in result.verdict() and result.longest(Cell("PGD", "composite")) == ["CNN", "C-JS"]


def test_figure_3_runs() -> None:
    pytest.importorskip("foolbox")
    result = figure3(TINY, methods=["CNN", "C-DV"], resolution=4)
    assert len(result.cells) == 6 and all(len(r) == 6 for by in result.radii.values() for r in by.values())
    for by in result.radii.values():
        assert len({int((r == 0).sum()) for r in by.values()}) == 1  # wrong without attack, whatever the attack
        assert all(((r <= result.highest[c.kind]) | np.isinf(r)).all() for c, r in by.items())
    assert plot_figure3(result) and result.table() and result.verdict()
    with pytest.raises(ValueError, match="must be positive"):
        figure3(TINY, highest_linf=0.0)


# --- the audit ----------------------------------------------------------------------------------------------------------
def _audit(papers: dict[str, int], square: dict[str, int], n: int = 100, flags: tuple[int, ...] = ()) -> Audit:
    """An audit with two attacks, of which the second finds a part of what the first leaves."""
    def alive(k: int) -> Tensor:
        """The first k images stand."""
        return torch.arange(n) < k

    row = [Finding(k, f"check {k}", "", "seen", "flag" if k in flags else "ok", "", "") for k in range(1, 21)]
    report = AuditReport(tuple(row), n, "Linf(0.15)", 1.0, 0.5)
    study = Study(Settings(dataset="mnist", epsilons=(0.15,)))
    found = {(m, 0.15, name): alive(counts[m]) for m in papers for name, counts in ((PAPERS, papers), ("Square", square))}
    return Audit(study, Searches(), {m: alive(99) for m in papers}, found, {(0.15, PAPERS): "PGD", (0.15, "Square"): "Square"}, dict.fromkeys(papers, report))


def test_the_audit_tells_masked_gradients_from_robustness() -> None:
    result = _audit({"CNN": 5, "C-JS": 70}, {"CNN": 80, "C-JS": 10}, flags=(11,))
    assert result.excess("C-JS", 0.15)[0] == 60.0 and result.excess("CNN", 0.15)[0] == 0.0
    assert result.blind("C-JS", 0.15) == ["Square"] and result.blind("CNN", 0.15) == [] and result.strongest("CNN", 0.15) == PAPERS
    assert result.share("C-JS", 0.15, WORST)[0] == 10.0 and int(result.standing("CNN", 0.15, WORST).sum()) == 5
    text = result.verdict()
    assert "C-JS: 70.0 % under the paper's PGD, 10.0 %" in text and "masked gradients: less is left by Square than by PGD" in text
    assert "CNN: 5.0 % under" in text and "PGD was nearly enough" in text and "checks that flag: 11 check 11" in text
    assert "C-JS +65.0 → +5.0 (within two standard errors)" in text
    assert result.headline() == "C-JS keeps 70 % under the paper's PGD at 0.15, and 10 % under all attacks"
    assert _audit({"CNN": 5}, {"CNN": 80}).headline() == "No attack finds more than the paper's PGD"


def test_the_audit_has_rows_tables_and_a_figure() -> None:
    result = _audit({"CNN": 5, "C-JS": 70}, {"CNN": 80, "C-JS": 10}, flags=(11,))
    rows = {(r.method, r.attack, r.unit): r for r in result.rows}
    assert rows["C-JS", "PGD white-box", "%"].paper["mean"] == 69.8 and rows["C-JS", "PGD white-box", "%"].verdict == "reproduced"  # type: ignore[index]
    assert rows["C-JS", WORST, "%"].value == 10.0 and rows["C-JS", WORST, "pp"].value == 60.0 and rows["C-JS", "Square", "%"].paper is None
    assert {r.verdict for r in result.rows} <= {*VERDICTS, None}
    assert "| 0.15 | PGD, printed | 4.4 | 69.8 |" in result.table() and "| 11 | check 11 | **flag**: seen | **flag**: seen |" in result.audit_table()
    assert _audit({"CNN": 5}, {"CNN": 80}).audit_table() == "No check flags."
    none = replace(result, audits={"CNN": "not made: no image is right"})
    assert none.audit_table() == "No audit was made.\n\nCNN: not made: no image is right"
    assert plot_claims_audit(result)._suptitle.get_text().startswith("C-JS keeps 70 %")


def test_the_audit_runs() -> None:
    pytest.importorskip("pyautoattack")
    searches = Searches(restarts=1, steps=2, queries=3, members=("apgd-ce",), audit_images=0)
    result = claims_audit(replace(TINY, attack_images=10), searches, methods=["CNN", "C-JS"])
    assert {"composite with LeNet-5", "transfer from CNN"} < set(result.attacks("C-JS", 0.1)) and "transfer from CNN" not in result.attacks("CNN", 0.1)
    for method in ("CNN", "C-JS"):
        worst = result.standing(method, 0.1, WORST)
        assert all(bool((worst <= result.standing(method, 0.1, a)).all()) for a in result.attacks(method, 0.1)) and bool((worst <= result.clean[method]).all())
    assert result.verdict() and result.table() and plot_claims_audit(result)
    with pytest.raises(ValueError, match="queries must be"):
        Searches(queries=0)


# --- the notebooks ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_know_every_setting(name: str) -> None:
    from robinfo.experiments import experiments

    found = {e.name: e for e in experiments()}[name]
    assert set(found.profiles) == {"smoke", "cpu", "paper"}
    declared = parameters(name)
    assert all(set(profile) <= set(declared) for profile in found.profiles.values())
    attacks_alone = {"l2_epsilon", "cw_steps", "cw_searches", "cw_step_size"} if name.startswith("claims_audit") else set()
    assert set(Settings.__dataclass_fields__) - attacks_alone - {"run_dir"} <= set(declared)
    for key in ("train_images", "test_images", "epochs", "learning_rate", "batch_size"):  # so that the trained models are found again
        assert found.profiles["cpu"].get(key) == {e.name: e for e in experiments()}["guess_first_table1"].profiles["cpu"].get(key)
