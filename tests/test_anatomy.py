"""The anatomy of the notebooks: what a theorem notebook and a method notebook must contain, found by structure.

A part is found by a heading or by the bold words that open a paragraph ("**Smallest case.** ..."), by a kind of block (a
quoted theorem, a table, a display formula), or by what a cell left behind (a picture, a table `lhs | rhs | slack`).
Notebooks without an objective (checks, data, networks, an interface) need only some parts: `EXEMPT` says which not, and why.
"""
from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from robinfo.citations import citations_in
from robinfo.theory.claims import Claim, check_claim

ROOT = Path(__file__).resolve().parents[1]
THEOREMS = ("01_information", "02_divergences", "03_transport", "03b_vulnerability", "04_gaussian_mixture", "05_fano", "05b_robust_risk",
            "06_features", "07_shared_information", "08_fisher", "10_confidence", "11_certificates")
ABOUT_CLAIMS = ("00_claims", "09_errata")  # what a trial shows, and all trials: they state no theorem of information
METHODS = tuple(sorted(p.stem for p in (ROOT / "nbs" / "methods").glob("*.ipynb")))
EVERY = (*(("theory", name) for name in THEOREMS + ABOUT_CLAIMS), *(("methods", name) for name in METHODS))
NO_OBJECTIVE = "infrastructure: it has no objective"
EXEMPT = {
    "checks": {"equation": NO_OBJECTIVE, "algorithm": NO_OBJECTIVE, "demo": "each error is shown where it is defined"},
    "data": {"equation": NO_OBJECTIVE, "algorithm": NO_OBJECTIVE, "demo": "the pictures of the digits are the demo"},
    "threats": {"algorithm": "each operation of a ball is one formula", "demo": "the balls are drawn instead"},
    "models": {"algorithm": "networks are tables of layers", "demo": "every objective trains them"},
    "objectives_base": {"check": "an interface has no terms", "algorithm": "the engine of the notebook on training runs it",
                        "demo": "two methods in a few lines are the demo"},
    "parallel": {"algorithm": "each collective call is one operation", "demo": "a training on several processes is the demo",
                 "exercises": "infrastructure"},
    "kernel_information": {"algorithm": "critic, attack and estimate have a section each",
                           "demo": "one attack for all kernels, compared with one for each, is the demo"},
    "saliency": {"algorithm": "a map is one backward pass: its equation is the algorithm"},
}
PARTS = {  # words of a heading or of the opening of a paragraph
    "intuition": ("intuition",), "proof": ("proof", "proofs"), "smallest case": ("smallest case", "smallest cases"),
    "negative check": ("negative check", "negative checks", "drop a hypothesis", "hypothesis dropped"), "limits": ("limits",),
    "exercises": ("exercises",), "cost": ("cost", "costs"),
    "check": ("check", "checks", "checked", "closed form", "closed forms", "autograd", "against the blackboard", "seen"),
    "algorithm": ("algorithm", "procedure"), "demo": ("demo", "short run", "trained", "side by side", "masked", "pictures")}

UNSEEN = r"\\(?:big|Big|bigg|left|right|mathrm|mathcal|mathbb|operatorname|text|tfrac|frac|lVert|rVert)\b"  # in a formula


# --- reading a notebook -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cell:
    """One cell: its kind and text, whether it left a picture, what it printed."""

    kind: str
    text: str
    picture: bool = False
    printed: str = ""

    @property
    def exported(self) -> bool:
        """Whether the cell is part of the package."""
        return self.kind == "code" and self.text.startswith("#| export")

    @property
    def lines(self) -> list[str]:
        """The lines of a Markdown cell that are not inside a fence of code."""
        parts = re.split(r"^```.*$", self.text, flags=re.MULTILINE)[::2] if self.kind == "markdown" else []
        return [line for part in parts for line in part.split("\n")]

    @property
    def titles(self) -> list[tuple[int, str]]:
        """Headings with their level, and the openings of paragraphs in bold with level 9."""
        headings = [(len(m[1]), m[2]) for line in self.lines if (m := re.fullmatch(r"(#+) (.+)", line))]
        return headings + [(9, m[1]) for line in self.lines if (m := re.match(r"\*\*(.+?)\*\*", line))]

    @property
    def caption(self) -> str:
        """The words in italics with which the cell begins."""
        found = re.match(r"\*(?!\*)(.+?)(?<!\s)\*(?!\w)", self.text.split("\n\n")[0], re.DOTALL)
        return found[1] if found else ""

    @property
    def controls(self) -> int:
        """Live controls that the cell makes."""
        if self.kind != "code" or self.text.startswith("%"):
            return 0
        names = [ast.unparse(n.func) for n in ast.walk(ast.parse(self.text)) if isinstance(n, ast.Call)]
        return sum(name.split(".")[-1] in ("interact", "interactive", "interactive_output") for name in names)


@cache
def notebook(folder: str, name: str) -> tuple[Cell, ...]:
    """The cells of a notebook."""
    found = []
    for cell in json.loads((ROOT / "nbs" / folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        outputs = cell.get("outputs", [])
        picture = any({"image/png", "image/svg+xml"} & set(output.get("data", {})) for output in outputs)
        texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
        found.append(Cell(cell["cell_type"], "".join(cell["source"]), picture, "".join("".join(text) for text in texts)))
    return tuple(found)


def words_of(title: str) -> str:
    """A title in small letters without signs, so that whole words can be looked for."""
    return f" {' '.join(re.sub(r'[^a-z ]', ' ', title.lower()).split())} "


def places(cells: tuple[Cell, ...], part: str) -> list[int]:
    """The cells with a title that names a part."""
    return [i for i, cell in enumerate(cells) for _, title in cell.titles
            if any(f" {word} " in words_of(title) for word in PARTS[part])]


def section(cells: tuple[Cell, ...], part: str) -> tuple[Cell, ...]:
    """The cells from the first that names a part to the next with a heading of level 2 (the later half of a cell counts too)."""
    start = places(cells, part)[0]
    after = [i for i, cell in enumerate(cells) if i > start and any(level <= 2 for level, _ in cell.titles)]
    return cells[start:after[0] + 1 if after else None]


def prose(cells: tuple[Cell, ...]) -> str:
    """All Markdown."""
    return "\n\n".join(cell.text for cell in cells if cell.kind == "markdown")


def tables(text: str) -> Iterator[tuple[list[str], int]]:
    """The heading cells of every Markdown table with its number of rows."""
    for block in re.findall(r"(?:^\|.*\|[ ]*\n?)+", text, re.MULTILINE):
        rows = [[cell.strip().lower() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in block.strip().split("\n")]
        if len(rows) > 2 and set("".join(rows[1])) <= set("-: "):
            yield rows[0], len(rows) - 2


def width(line: str) -> int:
    """Signs of a line of a formula: a command is one, spaces and what stands below a brace are none, letters of words a half."""
    line = re.sub(r"_\{\\text\{[^}]*\}\}", "", line) if "brace" in line else line
    line = re.sub(r"\\text\{([^}]*)\}", lambda match: match[1][::2], line)
    line = re.sub(r"\\(?:begin|end)\{\w+\}|\\tag\{\w+\}|\\[,;!]|" + UNSEEN, "", line)
    return len(re.sub(r"[{}_^&\s]", "", re.sub(r"\\[a-zA-Z]+", "x", line)))


def numbered(text: str) -> int:
    """How many items the longest list has that counts 1, 2, 3 …"""
    longest = run = 0
    for number in (int(m[1]) for m in re.finditer(r"^ {0,3}(\d+)\. ", text, re.MULTILINE)):
        run = run + 1 if number == run + 1 else int(number == 1)
        longest = max(longest, run)
    return longest


# --- theorems ---------------------------------------------------------------------------------------------------------
@pytest.fixture(params=THEOREMS)
def theorem(request: pytest.FixtureRequest) -> tuple[Cell, ...]:
    """A theorem notebook."""
    return notebook("theory", request.param)


def test_lists_of_notebooks_are_complete() -> None:
    """Every theory notebook is a theorem notebook or about the claims; every exemption is of a notebook that exists."""
    assert sorted(THEOREMS + ABOUT_CLAIMS) == sorted(p.stem for p in (ROOT / "nbs" / "theory").glob("*.ipynb"))
    parts = set(PARTS) | {"equation"}
    assert all(set(given) <= parts and all(given.values()) for given in EXEMPT.values())
    assert set(EXEMPT) - {"parallel", "saliency", "kernel_information"} <= set(METHODS)


def test_theorem_is_stated_and_its_source_named(theorem: tuple[Cell, ...]) -> None:
    """A quoted block names the theorem; the notebook cites a work, to the theorem or equation or as new."""
    assert re.findall(r"^> \*\*Theorem \(.+\)\*\*$", prose(theorem), re.MULTILINE)
    assert any(citation.entry for citation in citations_in(prose(theorem)))


def test_intuition_comes_before_the_proof(theorem: tuple[Cell, ...]) -> None:
    """A section with a picture, a table or a formula to look at, before the first proof."""
    assert places(theorem, "intuition"), "no section Intuition"
    shown = section(theorem, "intuition")
    assert any(cell.picture for cell in shown) or list(tables(prose(shown))) or "$$" in prose(shown)
    steps = [i for i, cell in enumerate(theorem) if re.search(r"\*Step 1 |### Step 1\b|\*\*Step 1[ .]", cell.text)]
    assert places(theorem, "intuition")[0] <= steps[0]


def test_proofs_have_numbered_steps_with_names(theorem: tuple[Cell, ...]) -> None:
    """Steps count up by one, begin with 1, and each has a name or says what it uses."""
    assert places(theorem, "proof"), "no proof"
    steps = re.findall(r"(\*{1,2}|^### )Step (\d+)( \(|\.)", prose(theorem), re.MULTILINE)
    numbers = [int(number) for _, number, _ in steps]
    assert len(numbers) >= 4 and numbers[0] == 1
    assert all(b in (a + 1, 1) for a, b in pairwise(numbers)), numbers
    nameless = [number for mark, number, sign in steps if sign == "." and "#" not in mark]  # "### Step 2. The name" has one
    assert not nameless, f"steps without a name: {nameless}; write **Step 2 (the name).**"


@pytest.mark.parametrize("name", THEOREMS)
def test_repairs_are_visible(name: str) -> None:
    """Where the printed form of a claim fails, the notebook says what is printed, why that fails and what is proved."""
    exports = next(c.text.split()[-1] for c in notebook("theory", name) if c.text.startswith("#| default_exp"))
    claims: tuple[Claim, ...] = getattr(import_module(f"robinfo.{exports}"), "CLAIMS", ())
    text = prose(notebook("theory", name)).lower()
    if any(check_claim(claim, 40).printed_failures for claim in claims if claim.asserted):
        assert "as printed" in text or "what the papers print" in text or "what the paper prints" in text
        assert re.search(r"why (it|that) fails|as proved|repair", text)


def test_smallest_case_and_numerical_check(theorem: tuple[Cell, ...]) -> None:
    """The smallest case in closed form, compared by code; then a table `lhs | rhs | slack`."""
    assert places(theorem, "smallest case"), "no smallest case"
    after = theorem[places(theorem, "smallest case")[0]:]
    assert any(cell.kind == "code" and "assert" in cell.text for cell in after)
    assert any(all(word in cell.printed for word in ("lhs", "rhs", "slack")) for cell in theorem), "no table lhs | rhs | slack"


def test_a_hypothesis_is_dropped(theorem: tuple[Cell, ...]) -> None:
    """A negative check with code that shows the failure."""
    assert places(theorem, "negative check"), "no negative check"
    assert any(cell.kind == "code" and cell.printed + "x" * cell.picture for cell in theorem[places(theorem, "negative check")[0]:][:4])


@pytest.mark.parametrize("name", THEOREMS + ABOUT_CLAIMS)
def test_one_live_control_and_its_picture(name: str) -> None:
    """Exactly one control; the next cell draws the same without it, and a caption follows."""
    cells = notebook("theory", name)
    places_of_controls = [i for i, cell in enumerate(cells) for _ in range(cell.controls)]
    assert len(places_of_controls) == 1
    still, caption = cells[places_of_controls[0] + 1], cells[places_of_controls[0] + 2]
    assert still.picture and not still.controls, "the static picture must follow the control"
    assert caption.caption, "a caption in italics must follow the picture"


@pytest.mark.parametrize("name", THEOREMS)
def test_functions_stand_where_the_proof_needs_them(name: str) -> None:
    """Exported functions, some of them before the numerical check and not in one heap at the end."""
    cells = notebook("theory", name)
    exported = [i for i, cell in enumerate(cells) if cell.exported and "\ndef " in f"\n{cell.text}"]
    checked = next(i for i, cell in enumerate(cells) if "slack" in cell.printed)
    assert len(exported) >= 2
    assert any(i < checked for i in exported)
    assert any(cells[i].kind == "markdown" for i in range(exported[0], exported[-1])), "prose between the functions"


@pytest.mark.parametrize("name", THEOREMS + ABOUT_CLAIMS)
def test_limits_and_exercises(name: str) -> None:
    """Where the bound is vacuous, and at least three exercises in a numbered list."""
    cells = notebook("theory", name)
    assert places(cells, "limits") and places(cells, "exercises")
    assert numbered(cells[places(cells, "exercises")[-1]].text) >= 3


# --- methods ----------------------------------------------------------------------------------------------------------
def has(name: str, part: str) -> bool:
    """Whether a method notebook has a part."""
    cells = notebook("methods", name)
    return "$$" in prose(cells) if part == "equation" else bool(places(cells, part))


@pytest.mark.parametrize("part", ["equation", "check", "algorithm", "demo", "cost", "exercises"])
@pytest.mark.parametrize("name", METHODS)
def test_method_has_its_parts(name: str, part: str) -> None:
    """Each part, or an exemption with its reason."""
    exempt = EXEMPT.get(name, {}).get(part)
    assert exempt or has(name, part), f"{name}: no {part}; title it with one of {PARTS.get(part, ('$$',))}"


@pytest.mark.parametrize("name", [name for name in METHODS if "equation" not in EXEMPT.get(name, {})])
def test_equation_becomes_code(name: str) -> None:
    """After a display formula comes an exported function, before the cost is counted."""
    cells = notebook("methods", name)
    equation = next(i for i, cell in enumerate(cells) if cell.kind == "markdown" and "$$" in cell.text)
    cost = places(cells, "cost")[-1]
    assert any(cell.exported and "def " in cell.text for cell in cells[equation:cost])


@pytest.mark.parametrize("name", [name for name in METHODS if "check" not in EXEMPT.get(name, {})])
def test_terms_are_compared_by_code(name: str) -> None:
    """Some cell that is no part of the package compares: by an assertion, or by printing that a comparison holds."""
    cells = notebook("methods", name)
    assert any(cell.kind == "code" and not cell.exported and re.search(r"\bassert\b|allclose|largest \|ours", cell.text) for cell in cells)


@pytest.mark.parametrize("name", METHODS)
def test_symptom_cause_remedy(name: str) -> None:
    """One table with these three headings and at least three rows."""
    found = [rows for head, rows in tables(prose(notebook("methods", name))) if head == ["symptom", "cause", "remedy"]]
    assert len(found) == 1 and found[0] >= 3


@pytest.mark.parametrize("name", METHODS)
def test_algorithms_are_steps(name: str) -> None:
    """The part on the algorithm is a numbered list, a loop in code, or a paragraph with what one step does."""
    cells = notebook("methods", name)
    for place in places(cells, "algorithm")[:1]:
        here = section(cells, "algorithm")
        assert numbered(prose(here)) >= 3 or any("for " in c.text for c in here if c.kind == "code") or "step" in cells[place].text.lower()


# --- figures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("folder", "name"), EVERY)
def test_every_picture_has_a_caption(folder: str, name: str) -> None:
    """The next text below a picture begins with a caption in italics of at least five words."""
    cells = notebook(folder, name)
    for i, cell in enumerate(cells):
        if cell.kind == "code" and cell.picture:
            below = next((c for c in cells[i + 1:] if c.kind == "markdown"), Cell("markdown", ""))
            assert len(below.caption.split()) >= 5, f"cell {i}: no caption below the picture, but {below.text[:60]!r}"


@pytest.mark.parametrize(("folder", "name"), EVERY)
def test_formulas_fit_the_page(folder: str, name: str) -> None:
    """A line of a display formula has at most 68 signs: more is wider than the text."""
    for formula in re.findall(r"\$\$(.+?)\$\$", prose(notebook(folder, name)), re.DOTALL):
        assert max(map(width, formula.split(r"\\"))) <= 68, f"split this formula over lines: {formula.strip()[:90]}"
