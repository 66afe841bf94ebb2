"""The pages Paper versus measured and Claims: every cell once, honest verdicts, and no number typed by hand."""
from __future__ import annotations

import ast
import dataclasses
import functools
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, browsing, needs_browser

from robinfo.experiments import claims, published, record, scoreboard
from robinfo.experiments.claims import CLAIM_VERDICTS, EMPIRICAL, Finding, JudgedClaim
from robinfo.experiments.record import Metrics, Row
from robinfo.experiments.scoreboard import STATES, Measured, Run, Scoreboard

ROOT = Path(__file__).resolve().parents[1]
RECORDED = sorted((ROOT / "results").glob("*/*/metrics.json"))
CELL = "zhu2020-table-1-cifar10-mlp-ours-h-robust-adversarial"


def row(**changes: Any) -> Row:
    """A row beside a cell of Table 1, as good as the paper's."""
    fields: dict[str, Any] = {"metric": "adversarial_accuracy", "value": 31.6, "unit": "%", "n": 10000, "dataset": "cifar10", "model": "MLP",
                              "method": "Ours / h=Robust", "threat": "Linf(8/255)", "attack": "PGD-7", "interval": (31.0, 32.0),
                              "paper": published.published_cell(CELL)}
    return Row(**(fields | changes))


def run(*rows: Row, name: str = "worst_case_mi_table1/one", profile: str = "paper", started: str = "2026-01-01", **provenance: Any) -> Run:
    """A recorded run with some rows."""
    metrics = Metrics(name.split("/")[0], profile, {}, {"device": "cpu", "started": started, **provenance}, rows)
    return Run(name, metrics, f"{name}/metrics.json")


@cache
def board() -> Scoreboard:
    """The scoreboard of the committed runs."""
    return scoreboard.scoreboard(scoreboard.read_runs(ROOT / "results", site=True))


@cache
def pages() -> tuple[str, str]:
    """Both pages of the committed runs."""
    return scoreboard.scoreboard_page(board()), claims.claims_page(claims.judged_claims(board()))


# --- the keys of the cells --------------------------------------------------------------------------------------------
def test_every_published_cell_has_a_key_of_its_own() -> None:
    cells = published.published_cells()
    keys = [cell["cell"] for cell in cells]
    assert len(keys) == len(set(keys)) == 566
    for cell in cells:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cell["cell"]) and cell["cell"].startswith(f"{cell['paper'].lower()}-")
        digits = re.findall(r"\d+", cell["table"])
        assert digits == re.findall(r"\d+", cell["cell"].removeprefix(cell["paper"].lower()))[: len(digits)]


def test_the_numbers_are_those_of_the_papers() -> None:
    """The sum of all means and deviations, as extracted; a slip of a digit would change it."""
    cells = published.published_cells()
    assert sum(cell["mean"] for cell in cells) == pytest.approx(SUMS[0], abs=1e-6)
    assert sum(cell["std"] or 0 for cell in cells) == pytest.approx(SUMS[1], abs=1e-6)


SUMS = (27785.2055, 101.16)


def test_unknown_keys_are_explained() -> None:
    with pytest.raises(ValueError, match=f"did you mean '{CELL}'"):
        published.published_cell(CELL.replace("robust", "robus"))


def test_a_row_is_written_with_the_key_and_found_again() -> None:
    for cell in published.published_cells():
        given = row(metric=cell["metric"], unit=cell["unit"], method=cell["method"], model=cell["model"], attack=cell["attack"],
                    dataset=cell["dataset"], paper=cell, value=cell["mean"], interval=None)
        stored = given.to_dict()["paper"]
        assert stored["cell"] == cell["cell"] and {"paper", "table", "mean", "std"} <= set(stored)
        assert published.cell_of(dataclasses.replace(given, paper=stored)) == cell


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_every_committed_row_with_a_published_cell_resolves_to_one(path: Path) -> None:
    """Also those recorded before there were keys; numbers computed from two cells (a difference, a ratio) stand beside none."""
    for measured in record.read_metrics(path).rows:
        if measured.paper is None:
            continue
        cell = published.cell_of(measured)
        if cell is None:
            printed = {(c["mean"], c["std"]) for c in published.published_cells()}
            assert (measured.paper["mean"], measured.paper["std"]) not in printed, measured
            continue
        assert all(cell[key] == measured.paper[key] for key in ("paper", "table", "mean", "std"))
        if measured.paper.get("cell"):
            assert cell["cell"] == measured.paper["cell"]
            continue
        assert cell["unit"] == measured.unit and cell["method"] in measured.method
        head = cell.get("head")
        assert head is None or measured.model.endswith(f"h={head}")
        words = {"FGSM", "PGD", "C&W", "AA", "white-box", "PGD-20", "PGD-40"} & set(re.split(r"[ (]", str(cell["attack"])))
        said = str(measured.attack).replace("AutoAttack", "AA")
        assert all(word in said for word in words), (cell["cell"], measured.attack)


def test_a_difference_of_two_cells_is_no_cell() -> None:
    gap = row(metric="difference", unit="pp", paper=published.published_cell(CELL) | {"mean": 3.1, "unit": "pp"})
    assert published.cell_of(gap) is None and "cell" not in gap.to_dict()["paper"]


# --- verdicts ---------------------------------------------------------------------------------------------------------
def test_a_full_run_can_reproduce_a_cell() -> None:
    found = scoreboard.assess(row(), run())
    assert (found.verdict, found.reasons) == ("reproduced", ())
    assert scoreboard.assess(row(value=20.0, interval=(19.0, 21.0)), run()).verdict == "not reproduced"


@pytest.mark.parametrize(("changes", "where", "reason"), [
    ({"dataset": "mnist"}, {}, "other data: mnist"),
    ({"threat": "Linf(0.1)"}, {}, "another threat: Linf(0.1)"),
    ({"settings": "reduced: epochs 3"}, {}, "reduced settings"),
    ({}, {"profile": "cpu"}, "reduced settings"),
    ({}, {"profile": "smoke"}, "reduced settings"),
    ({}, {"reduced": True}, "reduced settings"),
    ({"verdict": "not comparable"}, {}, "as recorded"),
    ({"verdict": "not comparable", "settings": "one trial"}, {}, "one trial"),
    ({"verdict": "reproduced"}, {"profile": "cpu"}, "reduced settings"),
])
def test_nothing_else_ever_counts_as_reproduced(changes: dict[str, Any], where: dict[str, Any], reason: str) -> None:
    measured = row(**changes)
    assert record.verdict(measured.value, measured.interval, 31.52, 0.31) == "reproduced"  # were it comparable
    found = scoreboard.scoreboard([run(measured, **where)])
    best = found.cells[CELL][0]
    assert best.verdict == "not comparable" and reason in best.reasons
    assert found.counts()["reproduced"] == 0 and found.counts()["not comparable"] == 1


def test_a_model_trained_for_another_threat_is_told_by_its_run() -> None:
    natural = published.published_cell(CELL.replace("adversarial", "natural"))
    rows = row(threat="Linf(0.1)"), row(metric="natural_accuracy", value=52.3, attack=None, threat=None, paper=natural, interval=None)
    found = scoreboard.scoreboard([run(*rows)]).cells[natural["cell"]][0]
    assert found.reasons == ("trained for another threat: Linf(0.1)",)


def test_no_committed_reduced_row_counts() -> None:
    for found in board().cells.values():
        for measured in found:
            if measured.run.reduced or measured.row.settings.startswith("reduced") or measured.elsewhere:
                assert measured.verdict == "not comparable"


def test_the_row_that_counts_is_the_one_nearest_to_the_cell() -> None:
    def order(*runs: Run) -> list[str]:
        """The names of the runs, the one that counts first."""
        return [measured.run.name.split("/")[1] for measured in scoreboard.scoreboard(runs).cells[CELL]]

    runs = [run(row(), name="a/smoke", profile="smoke"), run(row(), name="a/cpu", profile="cpu", started="2026-01-02"),
            run(row(), name="a/new", profile="cpu", started="2026-03-01"), run(row(), name="a/full"),
            run(row(dataset="mnist"), name="a/digits"), run(row(threat="Linf(0.1)"), name="a/weak", profile="cpu", started="2026-04-01")]
    assert order(*runs) == order(*reversed(runs)) == ["full", "new", "cpu", "weak", "smoke", "digits"]


def test_other_data_are_named_and_never_shown_as_the_cells_own() -> None:
    text = scoreboard.scoreboard_page(scoreboard.scoreboard([run(row(dataset="mnist"))]))
    line = next(line for line in text.splitlines() if f'id="{CELL}"' in line)
    assert "<strong>on mnist</strong>" in line and "not comparable<small>other data: mnist</small>" in line


def test_a_damaged_file_is_named_and_unfinished_runs_are_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        record.write_metrics(tmp_path / "toy" / name, "toy", "cpu", {}, [row()], device="cpu")
    (tmp_path / "toy" / "a" / "notebook.partial.ipynb").touch()
    assert [found.name for found in scoreboard.read_runs(tmp_path)] == ["toy/b"]
    (tmp_path / "toy" / "b" / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"b/metrics\.json is no metrics file"):
        scoreboard.read_runs(tmp_path)


# --- the pages --------------------------------------------------------------------------------------------------------
class Silent(http.server.SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Reader(HTMLParser):
    """The rows of the tables of cells, and the text of everything."""

    def __init__(self) -> None:
        """Nothing read yet."""
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.current = ""
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a row begins and each of its cells."""
        fields = dict(attrs)
        if tag == "tr":
            self.current = fields.get("id") or ""
            if self.current:
                assert self.current not in self.rows, self.current
                self.rows[self.current] = []
        if tag in ("td", "th") and self.current:
            self.rows[self.current].append("")

    def handle_data(self, data: str) -> None:
        """Text inside the last cell."""
        if self.current and self.rows[self.current]:
            self.rows[self.current][-1] += data


def test_every_cell_is_on_the_page_once_in_the_papers_order() -> None:
    reader = Reader()
    reader.feed(pages()[0])
    cells = published.published_cells()
    assert list(reader.rows) == [cell["cell"] for cell in cells]
    for cell in cells:
        what, printed, measured, gap, verdict = reader.rows[cell["cell"]]
        assert float(re.findall(r"\d+\.?\d*", printed)[0]) == pytest.approx(cell["mean"], abs=1e-9)
        assert (" ± " in printed) is (cell["std"] is not None) and what
        state = board().state(cell["cell"])
        assert verdict.startswith(state) and bool(measured) is bool(gap) is (state != "not run")


def test_the_counts_at_the_top_are_those_of_the_rows() -> None:
    text = pages()[0]
    marks = Counter(STATES[int(mark)] for mark in re.findall(r'<tr id="[^"]+" data-v="(\d)"', text))
    assert marks == +board().counts() and sum(marks.values()) == 566
    told = text[text.index("Of **"):].split("\n")[0]
    assert [int(n) for n in re.findall(r"\*\*(\d+)\*\*", told)] == [566, *(marks[state] for state in STATES)]
    lines = re.findall(r'<tr><th scope="row"[^>]*>(.*?)</th><td>(\d+)</td>((?:<td[^>]*>\d+</td>)+)</tr>', text)
    assert len(lines) == 1 + 3 + len({(c["paper"], c["table"]) for c in published.published_cells()})
    for _, total, rest in lines:
        assert int(total) == sum(int(n) for n in re.findall(r">(\d+)<", rest))
    assert [int(total) for name, total, _ in lines if "<a" not in name] == [566, 184, 249, 133]


def test_pages_are_deterministic_and_small(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    first, second = (scoreboard.scoreboard(scoreboard.read_runs(folder, site=True)) for _ in range(2))
    texts = [(scoreboard.scoreboard_page(one), claims.claims_page(claims.judged_claims(one))) for one in (first, second)]
    assert texts[0] == texts[1]
    assert len(texts[0][0].encode()) < 500_000 and len(texts[0][1].encode()) < 150_000
    written = scoreboard.write_report(folder)
    stamps = [path.stat().st_mtime_ns for path in (written.scoreboard, written.claims)]
    again = scoreboard.write_report(folder)
    assert [path.stat().st_mtime_ns for path in (again.scoreboard, again.claims)] == stamps
    assert written.counts == first.counts() and "not tested" in str(written)


def _copy(folder: Path) -> Path:
    """The committed metrics below another folder."""
    for path in RECORDED:
        target = folder / path.relative_to(ROOT / "results")
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
    return folder


def test_links_of_the_pages_lead_to_runs_and_notebooks() -> None:
    names = {found.name for found in board().runs}
    for link in re.findall(r'href="(experiments/_runs/[^"]+)"', pages()[0]):
        assert link in {f"experiments/_runs/{scoreboard.run_page(name)}.html" for name in names}
    anchors = set(re.findall(r"^\(([a-z0-9-]+)\)=$", pages()[0], re.MULTILINE))
    assert set(re.findall(r'href="#([^"]+)"', pages()[0])) <= anchors
    for target in re.findall(r"\]\(((?:theory|experiments)/(?!_runs)[^)#]+)", pages()[1]):
        assert (ROOT / "nbs" / target).is_file(), target
    elsewhere = claims.claims_page(claims.judged_claims(scoreboard.scoreboard(())), site=False)
    assert "](theory" not in elsewhere and "](experiments" not in elsewhere


def test_nothing_of_a_row_becomes_markup() -> None:
    text = scoreboard.scoreboard_page(scoreboard.scoreboard([run(row(method="<b>x", attack='"&', paper=None), row(method="<i>y"))]))
    assert "<b>x" not in text and "<i>y" not in text and "&lt;b&gt;x" in text


# --- claims -----------------------------------------------------------------------------------------------------------
def test_every_claim_has_a_verdict_of_the_list_and_its_paper() -> None:
    found = claims.judged_claims(board())
    assert {claim.base for claim in found} <= set(CLAIM_VERDICTS)
    assert [claim.paper for claim in found] == sorted((claim.paper for claim in found), key=list(scoreboard.PAPERS).index)
    assert Counter(claim.kind for claim in found)["measurement"] == len(EMPIRICAL)
    assert len({(claim.paper, claim.text) for claim in EMPIRICAL}) == len(EMPIRICAL)
    for claim in found:
        assert claim.reduced is False or (claim.verdict.endswith("at reduced settings") and claim.kind == "measurement")


def test_verdicts_of_theory_are_those_of_the_errata() -> None:
    """The trial of the page is shorter than the one of the errata notebook; both find the same failures."""
    from robinfo.theory.claims import collect_claims

    notebook = json.loads((ROOT / "nbs" / "theory" / "09_errata.ipynb").read_text(encoding="utf-8"))
    tables = "\n".join("".join(output.get("data", {}).get("text/markdown", [])) for cell in notebook["cells"] for output in cell.get("outputs", []))
    fails = {match[1]: match[2] != "0" or "no meaning" in match[0]
             for match in re.finditer(r"^\| \[(.*?)\]\([^)]*ipynb[^)]*\).*\| (\*\*[\d,]+\*\*|0) of 500 .*$", tables, re.MULTILINE)}
    places = {(claim.paper, claim.statement.removeprefix(f"{claim.paper}, ")) for claim in collect_claims() if claim.asserted}
    judged = [claim for claim in claims.judged_claims(scoreboard.scoreboard(())) if claim.kind == "theory"]
    assert len(judged) == len(places)
    for claim in judged:
        assert (claim.base == "proved") is not fails[claim.place], claim.place
        assert claim.base == "proved" or "**Correct:**" in claim.why


@pytest.mark.parametrize(("finding", "every", "verdict"), [
    (Finding(3, 0, 1), False, "supported"), (Finding(3, 0, 1), True, "not supported"), (Finding(3, 0, 0), True, "supported"),
    (Finding(1, 0, 2), False, "not supported"), (Finding(3, 1, 0), False, "not supported"), (Finding(3, 1, 0), True, "refuted"),
    (Finding(1, 2, 0), False, "refuted"), (Finding(0, 0, 2), False, "not supported"),
])
def test_claims_are_judged_by_their_comparisons(finding: Finding, every: bool, verdict: str) -> None:
    assert finding.verdict(every) == verdict


def hjelm(value: float, half: float = 0.5, **changes: Any) -> Row:
    """The rival of the row above."""
    cell = published.published_cell(CELL.replace("ours-h", "hjelm-et-al-2018-h"))
    return row(method=cell["method"], value=value, interval=(value - half, value + half), paper=cell, **changes)


@pytest.mark.parametrize(("rival", "profile", "verdict"), [
    (15.0, "paper", "supported"), (15.0, "cpu", "supported at reduced settings"), (31.5, "paper", "not supported"), (50.0, "paper", "refuted"),
])
def test_a_claim_follows_the_recorded_rows(rival: float, profile: str, verdict: str) -> None:
    found = claims.judged_claims(scoreboard.scoreboard([run(row(), hjelm(rival), profile=profile)]))
    first = next(claim for claim in found if claim.kind == "measurement" and claim.paper == "Zhu2020")
    assert first.verdict == verdict
    assert f"{rival:.2f} %" in first.why and "31.60 %" in first.why


def test_the_papers_own_settings_decide_before_smaller_ones() -> None:
    runs = [run(row(), hjelm(50.0), profile="cpu", name="worst_case_mi_table1/small"), run(row(), hjelm(15.0))]
    found = claims.judged_claims(scoreboard.scoreboard(runs))
    first = next(claim for claim in found if claim.kind == "measurement" and claim.paper == "Zhu2020")
    assert first.verdict == "supported" and "50.00 %" not in first.why


def reading(metric: str, value: float, half: float, method: str, model: str = "encoder") -> Row:
    """A number of an experiment that the papers have no table for."""
    return row(metric=metric, value=value, interval=(value - half, value + half), unit="nats", method=method, model=model, dataset="mnist", paper=None)


@pytest.mark.parametrize(("experiment", "rows", "start", "verdict"), [
    ("worst_case_mi_bounds", [reading("vulnerability and gap: spearman_correlation", 0.8, 0.1, "all trainings")], "The larger the vulnerability of",
     "supported"),
    ("worst_case_mi_bounds", [reading("vulnerability", 0.9, 0.1, "standard", "VGG16, logits"), reading("vulnerability", 0.5, 0.1, "robust", "VGG16, logits")],
     "Adversarial training lowers", "supported"),
    ("worst_case_mi_bounds", [reading("worst_case_mi", 0.9, 0.1, "standard", "VGG16, logits"), reading("worst_case_mi", 0.5, 0.1, "robust", "VGG16, logits")],
     "Robust networks keep more", "refuted"),
    ("worst_case_mi_beta", [reading("vulnerability", v, 0.05, f"beta = {b:g}") for b, v in ((1.0, 0.2), (0.0, 1.0), (0.5, 0.6))], "The larger the weight",
     "supported"),
    ("worst_case_mi_beta", [reading("normal_mi", v, 0.05, f"beta = {b:g}") for b, v in ((1.0, 0.9), (0.0, 0.9))], "A large weight", "not supported"),
    ("worst_case_mi_estimators", [reading("adversarial_accuracy", v, 1.0, f"trained by {b} / robust head") for b, v in (("dv", 45.0), ("nce", 40.0))],
     "Training with the bound", "refuted"),
    ("worst_case_mi_figure3", [reading("vulnerability_mean_over_kernels", v, 0.01, m) for m, v in (("standard", 0.09), ("robust", 0.03))], "The kernels of",
     "supported"),
    ("worst_case_mi_saliency", [reading("noisiness_difference", -0.2, 0.1, "Ours − Hjelm, cross-entropy"),
                                reading("alignment_excess_difference", 0.2, 0.1, "Ours − Hjelm, cross-entropy")], "Saliency maps of the worst", "supported"),
    ("worst_case_mi_saliency", [reading("noisiness_difference", 0.2, 0.1, "robust − standard, kernels of the second convolution")],
     "Saliency maps of the kernels", "refuted"),
    ("exact_vulnerability", [reading("error of vulnerability", v, 0.1, m) for m, v in (("decision, whole image", -0.4), ("decision, patches", 0.0))],
     "A neural critic", "not supported"),
    ("claims_audit_shared_information", [row(metric="AutoAttack minus PGD-40", unit="pp", value=3.0, interval=(1.0, 5.0), method="Ours, one draw",
                                             dataset="cifar10", paper=None)], "On CIFAR-10, AutoAttack", "supported"),
    ("claims_audit_shared_information", [row(metric="AutoAttack minus PGD-40", unit="pp", value=3.0, interval=(1.0, 5.0), dataset="mnist", paper=None)],
     "On CIFAR-10, AutoAttack", "not tested"),
], ids=lambda value: value[:24] if isinstance(value, str) else "")
def test_claims_without_a_table_are_read_from_their_experiments(experiment: str, rows: list[Row], start: str, verdict: str) -> None:
    found = claims.judged_claims(scoreboard.scoreboard([run(*rows, name=f"{experiment}/one")]))
    (claim,) = [claim for claim in found if claim.text.startswith(start) and claim.kind == "measurement"]
    assert claim.verdict == verdict, claim.why


def test_of_two_like_runs_the_newer_decides() -> None:
    old, new = (run(row(), hjelm(value), name=f"worst_case_mi_table1/{name}", started=name) for name, value in (("2026-01", 50.0), ("2026-02", 15.0)))
    first = next(claim for claim in claims.judged_claims(scoreboard.scoreboard([old, new])) if claim.kind == "measurement")
    assert first.verdict == "supported" and "50.00" not in first.why


def test_rank_correlation_agrees_with_scipy() -> None:
    from scipy.stats import spearmanr

    for a, b in (([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]), ([1.0, 1.0, 3.0, 4.0, 0.0], [5.0, 2.0, 2.0, 3.0, 9.0])):
        assert claims._spearman(a, b) == pytest.approx(float(spearmanr(a, b).statistic))
    assert claims._spearman([1.0, 1.0], [1.0, 2.0]) == 0.0


def test_a_claim_without_cells_is_a_slip() -> None:
    with pytest.raises(ValueError, match="got none for 'text'"):
        claims.ordering("Zhu2020", "Table", "text", (), claims.pairs_of("Zhu2020", ("1",), "Our", "Hjelm"))


# --- no number typed by hand ------------------------------------------------------------------------------------------
NAMES = re.compile(r"(?:[Tt]ables?|[Ff]igures?|[Ss]ections?|[Tt]heorem|[Aa]ppendix|[Ee]quation|[Ee]q\.|[Ll]emma|[Dd]efinition)s? "
                   r"(?:[A-Z]\.)?\d[\d.]*(?:(?:, | and | to )(?:[A-Z]\.)?\d[\d.]*)*|Appendix [A-Z](?:\.\d)?|\((?:19|20)\d\d\)|PGD-\d+|CIFAR-100?|Sections? \d")


def test_the_registry_and_the_templates_hold_no_numbers() -> None:
    texts = [text for claim in EMPIRICAL for text in (claim.place, claim.text)]
    texts += [scoreboard._INTRODUCTION, claims._INTRODUCTION.replace("09_errata", ""), *(part for pair in scoreboard.PAPERS.values() for part in pair)]
    for text in texts:
        assert not re.search(r"\d", NAMES.sub("", text)), NAMES.sub("", text)


@pytest.mark.parametrize("module", [scoreboard, claims], ids=lambda module: module.__name__)
def test_no_sentence_of_the_pages_holds_a_number(module: Any) -> None:
    """The fixed parts of the texts put together from values; markup and format specifications aside."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    formats = {node.format_spec for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node not in formats:
            fixed = " ".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            bare = NAMES.sub("", re.sub(r"<[^<>]*>?|\"[^\"]*\"?|rb-\w*|[\"\w-]*=[\"\w-]*", "", fixed))
            assert not re.search(r"\d", bare), fixed


def known_numbers() -> set[str]:
    """Every number that the pages may show, as text: recorded, printed, or the difference of the two."""
    found: set[str] = set()
    for cell in published.published_cells():
        for value in (cell["mean"], cell["std"]):
            if value is not None:
                found |= {f"{abs(value):.{digits}f}" for digits in range(5)}
        found |= set(re.findall(r"\d+(?:\.\d+)?", " ".join(str(cell[k]) for k in cell if k not in ("mean", "std"))))
    for measured in (m for found_ in (*board().cells.values(), board().loose) for m in found_):
        found |= _numbers_of(measured)
    for one in board().runs:
        found |= set(re.findall(r"\d+(?:\.\d+)?", f"{one.name} {one.settings} {one.started} {one.device}"))
    return found


def _numbers_of(measured: Measured) -> set[str]:
    """The numbers of one row."""
    given = measured.row
    values = [given.value, *(given.interval or ()), *([given.paper["mean"]] if given.paper else [])]
    values += [given.value - measured.cell["mean"]] if measured.cell else []
    texts = {f"{abs(value):.{digits}f}" for value in values for digits in (2, 3)} | {str(given.n)}
    return texts | set(re.findall(r"\d+(?:\.\d+)?", f"{given.metric} {given.method} {given.model} {given.attack} {given.threat} {given.dataset} {given.settings}"))


def test_every_number_on_the_scoreboard_was_printed_or_recorded() -> None:
    text = re.sub(r"<[^>]*>", " ", pages()[0].split("## Zhu, Zhang and Evans (2020)")[1])
    body = re.sub(r"n = ([\d,]+)", lambda match: f"n = {match[1].replace(',', '')}", NAMES.sub(" ", text))
    counted = re.compile(rf"\b\d+ (?:{'|'.join(STATES)}|more)\b|^\(.*\)=$|^#+ .*$", re.MULTILINE)
    unknown = {n for n in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", counted.sub(" ", body))} - known_numbers()
    lengths = {str(len(one.metrics.rows)) for one in board().runs}
    assert unknown - lengths == set()


def test_every_number_on_the_page_of_claims_was_printed_recorded_or_counted() -> None:
    judged = [claim for claim in claims.judged_claims(board()) if claim.kind == "measurement"]
    text = " ".join(claim.why for claim in judged)
    assert all(claim.why in pages()[1] or "|" in claim.why for claim in judged)
    body = re.sub(r"\]\([^)]*\)|\b\d+ of \d+\b|\b\d+ (?:undecided|the other way|do not)\b|over \d+ networks|rank correlation [+-][\d.]+", " ", NAMES.sub(" ", text))
    unknown = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", body)) - known_numbers()
    assert unknown == set()


def test_the_verdict_shown_is_that_of_the_claim() -> None:
    example = JudgedClaim("Zhu2020", "Table 1", "text", "measurement", "refuted", True, "", ())
    assert ">refuted at reduced settings</span>" in claims.claims_page([example])


# --- the filters ------------------------------------------------------------------------------------------------------
def plain_page(text: str) -> str:
    """The page as the site nests it, without the site: a section for each heading, the script and the style."""
    parts, depth = ['<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="scoreboard.css"><article>'], 0
    for line in text.splitlines():
        heading = re.fullmatch(r"(#+) (.*)", line)
        if heading:
            level = len(heading[1])
            parts += ["</section>"] * max(depth - level + 1, 0) + [f"<section><h{level}>{heading[2]}</h{level}>"]
            depth = level
        else:
            parts.append(line)
    return "\n".join([*parts, *["</section>"] * depth, '</article><script src="scoreboard.js"></script>'])


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """The scoreboard and its script in a headless browser, served on this machine."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(plain_page(pages()[0]), encoding="utf-8")
    for name in ("scoreboard.js", "scoreboard.css"):
        (folder / name).write_bytes((ROOT / "docs" / "_static" / name).read_bytes())
    handler = functools.partial(Silent, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with browsing(f"http://127.0.0.1:{server.server_port}/") as seen:
        yield seen
    server.shutdown()


@needs_browser
def test_the_filters_show_what_is_asked_and_everything_again(visit: Visit) -> None:
    page = visit.open("page.html")
    shown = "() => [...document.querySelectorAll('table.rb:not(.rb-loose) tbody tr')].filter(r => r.getClientRects().length).map(r => r.id)"
    cells = published.published_cells()
    assert page.evaluate(shown) == [cell["cell"] for cell in cells]
    page.select_option("select[name=paper]", "Yu2022")
    page.select_option("select[name=name]", label="Table 4")
    page.select_option("select[name=data]", "MNIST")
    wanted = [c["cell"] for c in cells if (c["paper"], c["table"], c["dataset"]) == ("Yu2022", "4", "MNIST")]
    assert page.evaluate(shown) == wanted and page.inner_text("output").startswith(f"{len(wanted)} of ")
    page.focus("input[name=text]")
    page.keyboard.type("ours pgd-40")
    assert page.evaluate(shown) == [key for key in wanted if "ours" in key and "pgd-40" in key]
    address = page.url
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button that clears
    page.wait_for_function("document.querySelector('output').textContent.indexOf(' of ') < 0")
    assert len(page.evaluate(shown)) == 566 and "?" not in page.url
    page.goto(address)  # a filtered view can be passed on
    assert len(page.evaluate(shown)) == 1
    page.goto(visit.base + "page.html")
    page.select_option("select[name=verdict]", "not run")
    assert page.evaluate(shown) == [key for key in board().cells if board().state(key) == "not run"]
    unnamed = page.evaluate("[...document.querySelectorAll('#rb-filters select, #rb-filters input')].filter(e => !e.labels.length).length")
    assert unnamed == 0 and not [error for error in visit.errors if "favicon" not in error and "404" not in error]


@needs_browser
def test_without_the_script_everything_is_shown(visit: Visit) -> None:
    page = visit.page.context.browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844}).new_page()
    page.goto(visit.base + "page.html")
    assert page.locator("table.rb:not(.rb-loose) tbody tr:visible").count() == 566
    assert page.locator("select").count() == 0
