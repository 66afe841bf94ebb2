"""Citations: one bibliography, every name with a year in it, and what `robinfo.cite` finds in an object."""
from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import robinfo
from robinfo.citations import References, bibliography, citations_in, readable

ROOT = Path(__file__).resolve().parents[1]
BIB = ROOT / "robinfo" / "references.bib"
REQUIRED = {"article": {"journal", "volume"}, "inproceedings": {"booktitle"}, "book": {"publisher"}, "techreport": {"institution"},
            "misc": set()}
SECTION = re.compile(r"^References\n-{3,}\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)


@cache
def docstrings() -> tuple[tuple[str, str], ...]:
    """Every docstring of the package with its place; this module's own examples cite works that do not exist."""
    found = []
    for path in sorted((ROOT / "robinfo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and path.name != "citations.py":
                found.append((f"{path.name}:{getattr(node, 'name', 'module')}", ast.get_docstring(node) or ""))
    return tuple(found)


def notebooks() -> list[Path]:
    """Every notebook of the site."""
    return [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if not {"_runs", ".ipynb_checkpoints"} & set(p.parts)]


@cache
def prose() -> tuple[tuple[str, str], ...]:
    """The text of every notebook and page, cell by cell."""
    cells = [(f"{path.name}, cell {i}", "".join(cell["source"])) for path in notebooks()
             for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]) if cell["cell_type"] == "markdown"]
    pages = [p for p in sorted((ROOT / "nbs").rglob("*.md")) if "generated" not in p.parts]
    return (*cells, *((p.name, p.read_text(encoding="utf-8")) for p in [*pages, ROOT / "README.md"]))


def unresolved(texts: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    """Citations of texts that are not exactly one work of the bibliography."""
    return [f"{place}: {citation.text}" for place, text in texts for citation in citations_in(text) if citation.entry is None]


# --- the bibliography -------------------------------------------------------------------------------------------------
def test_file_is_sorted_and_complete() -> None:
    """Keys are unique and in order, named after author and year; every entry has what its kind needs, and an address."""
    keys = re.findall(r"^@\w+\{(\w+),$", BIB.read_text(encoding="utf-8"), re.MULTILINE)
    assert keys == sorted(set(keys)) == list(bibliography())
    for key, entry in bibliography().items():
        kind = re.match(r"@(\w+)", entry.source)[1]
        assert {"author", "title"} | REQUIRED[kind] <= set(entry.fields), key
        assert entry.fields["title"].count("{") == entry.fields["title"].count("}"), key
        if "keywords" not in entry.fields:
            surname = re.sub(r"\W", "", entry.fields["author"].split(",")[0].split()[-1]).lower()
            plain = surname.translate(str.maketrans("áè", "ae"))
            assert re.fullmatch(rf"{plain}{entry.fields['year']}[b-z]?", key), key
        for name, form in {"doi": r"10\.\d{4,}/\S+", "eprint": r"(\d{4}\.\d{4,5}|\w+/\d{7})", "year": r"\d{4}", "pages": r"[\d.,\s-]+",
                           "url": r"https://\S+"}.items():
            assert re.fullmatch(form, entry.fields.get(name, "")) or name not in entry.fields, f"{key}: {name}"
        assert ("eprint" in entry.fields) == ("archiveprefix" in entry.fields), key
    addressed = [e for e in bibliography().values() if e.link]
    assert len(addressed) >= 0.9 * len(bibliography())


def test_no_work_stands_there_twice() -> None:
    """No title, DOI or number of arXiv occurs in two entries."""
    for field in ("title", "doi", "eprint"):
        values = [e.fields[field].lower() for e in bibliography().values() if field in e.fields]
        assert len(values) == len(set(values)), field


def test_another_parser_reads_the_same() -> None:
    """Pybtex, which sets the page of references, finds the same entries, people and fields."""
    database = pytest.importorskip("pybtex.database")
    parsed = database.parse_file(str(BIB)).entries
    assert list(parsed) == list(bibliography())
    for key, entry in bibliography().items():
        people = tuple(readable(" ".join([*p.prelast_names, *p.last_names])) for p in parsed[key].persons["author"])
        assert people == entry.surnames, key
        assert dict(parsed[key].fields) == {k: v for k, v in entry.fields.items() if k != "author"}, key


def test_robinfo_is_what_citation_cff_says() -> None:
    """Title, authors, version and license of the package's own entry."""
    yaml = pytest.importorskip("yaml")
    said, own = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), bibliography()["robinfo"].fields
    assert readable(own["title"]) == said["title"]
    assert readable(own["author"]) == " and ".join(a["name"] for a in said["authors"])
    assert own["howpublished"].endswith(f"version {said['version']}") and said["version"] == robinfo.__version__
    assert own["note"] == said["license"]


def test_bibliography_is_in_the_distributions() -> None:
    """The wheel and the source archive hold the file."""
    assert '"*.bib"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "robinfo *.bib" in (ROOT / "MANIFEST.in").read_text(encoding="utf-8")


# --- citations in text ------------------------------------------------------------------------------------------------
def test_every_citation_of_a_docstring_is_one_work() -> None:
    """In all docstrings, and so in every section References."""
    assert len([1 for _, text in docstrings() for _ in citations_in(text)]) > 100
    assert not (found := unresolved(docstrings())), "\n".join(found)


def test_every_reference_section_names_its_source() -> None:
    """A section References cites a work, a notebook, a library, or says where else the form comes from."""
    sections = [(place, match[1]) for place, text in docstrings() if (match := SECTION.search(text))]
    assert len(sections) > 150
    known = re.compile(r"notebook|foolbox|pyautoattack|TRADES|Keys: uint8", re.IGNORECASE)
    assert not (found := [place for place, text in sections if not (citations_in(text) or known.search(text))]), "\n".join(found)


def test_every_citation_of_a_notebook_is_one_work() -> None:
    """In the Markdown cells of every notebook and in every page."""
    assert len([1 for _, text in prose() for _ in citations_in(text)]) > 30
    assert not (found := unresolved(prose())), "\n".join(found)


def test_every_entry_is_cited() -> None:
    """Somewhere in a docstring, a notebook or a page; libraries by their name."""
    texts = [text for _, text in (*docstrings(), *prose())]
    cited = {c.entry.key for text in texts for c in citations_in(text) if c.entry}
    named = {k for k, e in bibliography().items() if "keywords" in e.fields and any(e.fields["shorttitle"] in t for t in texts)}
    assert not (found := set(bibliography()) - cited - named), sorted(found)


@pytest.mark.parametrize(("text", "keys"), [
    ("Zhu, Zhang and Evans (2020), Theorem 3.4.", ["zhu2020"]),
    ("Zhu et al. (2020)", ["zhu2020"]),
    ("Zhu, An and Niu (2019); Guess First (2019), equation 1", ["zhu2019", "zhu2019"]),
    ("Guess First 2019, Lemma D.1", ["zhu2019"]),
    ("Athalye and others (2018); Athalye, Engstrom, Ilyas and Kwok (2018)", ["athalye2018", "athalye2018b"]),
    ("Croce and Hein (2020); Croce and Hein (2020b); Croce and Hein (2021)", ["croce2020", "croce2020b", "croce2021"]),
    ("(Stam 1959; Dembo, Cover and Thomas 1991)", ["stam1959", "dembo1991"]),
    ("(after McAllester and Stratos, 2020)", ["mcallester2020"]),
    ("van den Oord, Li and Vinyals (2018)", ["oord2018"]),
    ("Hjelm et al. (2018), as first put on arXiv, and Hjelm et al. (2019)", ["hjelm2019", "hjelm2019"]),
    ("Huber\nand Strassen (1973)", ["huber1973"]),
    ("With 95 % of 2000 draws, seed 2020, ICML 2020, in Figure 2019 of June 1998", []),
])
def test_forms_of_a_citation(text: str, keys: list[str]) -> None:
    """Lists, "et al.", "and others", letters, brackets or none, line breaks; and years that are no citation."""
    assert [c.entry.key for c in citations_in(text)] == keys
    assert all(text[c.start:c.end] == c.text for c in citations_in(text))


@pytest.mark.parametrize("text", ["Zhu and Evans (2020)", "Evans, Zhang and Zhu (2020)", "Zhu et al. (1999)", "Nobody (2001)", "Fano (1962)",
                                  "Croce and Hein (2020c)"])
def test_what_is_no_work_is_found_out(text: str) -> None:
    """Wrong people, wrong order, wrong year: seen as a citation, resolved to none."""
    assert [c.entry for c in citations_in(text)] == [None]


# --- what an object rests on ------------------------------------------------------------------------------------------
def cited(*objects: object) -> set[str]:
    """The keys, robinfo aside, which is always the first."""
    keys = robinfo.cite(*objects).keys
    assert keys[0] == "robinfo" and len(keys) == len(set(keys))
    return set(keys[1:])


def test_functions_classes_and_modules() -> None:
    """By their sections References; a module by those of its members; several objects at once."""
    from robinfo.theory import confidence, fano
    assert cited(fano.fano_function) == {"fano1961", "cover2006"}
    assert cited(robinfo.FGSM) == {"goodfellow2015"}
    assert cited(fano.fano_function, robinfo.FGSM) == {"fano1961", "cover2006", "goodfellow2015"}
    assert {"wilson1927", "clopper1934", "student1908", "reeb2015"} <= cited(confidence)
    assert "zhu2020" in cited(robinfo.Linf), "from the class it is made from"
    assert cited(robinfo.Linf(0.1).project) >= cited(robinfo.Linf(0.1)), "a method, with what it is bound to"
    assert cited(bibliography) == set()


def test_attacks_with_their_members_and_libraries() -> None:
    """The ensemble cites its members; an attack of a library cites the library."""
    threat = robinfo.Linf(0.1)
    assert {"croce2020", "croce2020b", "andriushchenko2020", "pyautoattack"} <= cited(robinfo.AutoAttack(threat))
    assert {"carlini2017", "rauber2020"} <= cited(robinfo.CarliniWagner(robinfo.L2(1.0)))
    assert {"rony2019", "rauber2020"} <= cited(robinfo.DDN(robinfo.L2(1.0)))


def test_parts_of_objectives_and_models() -> None:
    """An attack inside an objective, an estimator by its short name, a network of parts, also of another library."""
    from torch import nn
    threat = robinfo.Linf(0.1)
    inside = cited(robinfo.AdversarialTraining(robinfo.PGD(threat, steps=2)))
    assert {"madry2018", "croce2021"} <= inside
    nets = robinfo.Encoder(1, 28, width=0.25), robinfo.Critic
    assert {"zhu2020"} <= cited(nn.Sequential(nets[0], nn.ReLU()))
    assert "hjelm2019" in cited({"critic": nets[1]})
    assert "alemi2017" in cited(robinfo.vib_network(width=0.1)), "from the function that makes it"


def test_short_names_of_estimators_and_data() -> None:
    """Settings that say "nwj" rest on that bound, a data set on the work that describes it, and on no other."""
    from robinfo.citations import _BOUNDS, _DATA
    from robinfo.data import dataset_names
    from robinfo.experiments.study import Setup
    from robinfo.objectives.infomax import ESTIMATORS
    assert {"nguyen2010", "alpaydin1998"} <= cited(Setup(dataset="digits", estimator="nwj"))
    assert {"oord2018", "krizhevsky2009"} <= cited(Setup(dataset="cifar10", estimator="nce"))
    assert cited(robinfo.load("digits")) == {"alpaydin1998"}
    assert set(_DATA) == set(dataset_names()) and set(_BOUNDS) == set(ESTIMATORS)
    assert all(citations_in(text)[0].entry for text in (*_DATA.values(), *_BOUNDS.values()))


def test_results_rows_and_claims() -> None:
    """A result cites the function that makes it, a row its data and the paper of the cell beside it, a claim its paper."""
    from robinfo.experiments.record import Row, paper_row
    from robinfo.theory.shared_information import CLAIMS
    from robinfo.vulnerability import VulnerabilityEstimate
    assert "zhu2020" in cited(VulnerabilityEstimate)
    cell = paper_row("Zhu2020", "1", method="Ours / h=Robust", metric="natural_accuracy", head="MLP")
    row = Row(dataset="cifar10", model="m", metric="natural_accuracy", value=80.0, unit="%", n=100, method="ours", paper=cell)
    assert cited(row) == {"zhu2020", "krizhevsky2009"}
    assert cited(CLAIMS[0]) in ({"yu2022"}, {"zhu2019"})
    assert cited(CLAIMS) == {"yu2022", "zhu2019"}


@pytest.mark.parametrize("value", ["AutoAttack", 3, None, [], dict, json, re.compile("x")])
def test_what_is_not_ours_is_refused(value: object) -> None:
    """The error says what is expected, what came and the cure."""
    with pytest.raises(TypeError, match=r"cite takes .*, got .*; pass the object itself"):
        robinfo.cite(value)


def test_how_references_show() -> None:
    """BibTeX for print and repr, linked text for notebooks, escaped in HTML, and BibTeX that parses."""
    works = robinfo.cite(robinfo.AutoAttack)
    assert isinstance(works, References) and str(works) == repr(works) and len(works) == len(list(works)) >= 4
    assert str(works).startswith("@misc{robinfo,\n") and str(works).count("\n@") == len(works) - 1
    assert "](https://arxiv.org/abs/2003.01690)" in works._repr_markdown_()
    page = works._repr_html_()
    assert page.count("<li>") == len(works) and '<a href="https://arxiv.org/abs/2003.01690">arXiv:2003.01690</a>' in page
    every = References(tuple(bibliography().values()))
    shown = every._repr_html_() + every._repr_markdown_()
    assert not re.search(r"[{}$]|--", re.sub(r'href="[^"]*"|\]\([^)]*\)', "", shown))


def test_import_needs_the_standard_library_only() -> None:
    """The module loads without the packages of the project."""
    tree = ast.parse((ROOT / "robinfo" / "citations.py").read_text(encoding="utf-8"))
    names = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not names & {"numpy", "torch", "pybtex"} and all(find_spec(n.split(".")[0]) for n in names)
