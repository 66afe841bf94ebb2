"""Which works an object rests on: the references of its docstring and of its parts, as BibTeX and as readable text.

The docstrings cite by authors and year ("Zhu, Zhang and Evans (2020), Theorem 3.4"). `references.bib` beside this
module holds one complete entry for each work; `citations_in` finds the one from the other, for the site and tests too.
"""
from __future__ import annotations

import html
import inspect
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module, resources
from types import FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["Citation", "Entry", "References", "bibliography", "citations_in", "cite", "readable"]

_NAME = r"(?:(?:van|von|de|den|der|la|le)\s+)*[A-ZÀ-ÖØ-Þ][\w’'-]*[a-zß-ÿ][\w’'-]*"
_LIST = rf"{_NAME}(?:\s+et\s+al\.|\s+and\s+others|(?:,\s+{_NAME})*,?\s+(?:and|&)\s+{_NAME})?"
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},?$", re.MULTILINE)
_SECTION = re.compile(r"^References\n-{3,}\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)
_DATA = {"digits": "Alpaydin and Kaynak (1998)", "mnist": "LeCun et al. (1998)", "fashion_mnist": "Xiao et al. (2017)",
         "svhn": "Netzer et al. (2011)", "cifar10": "Krizhevsky (2009)", "cifar100": "Krizhevsky (2009)"}
_BOUNDS = {"dv": "Donsker and Varadhan (1983)", "nwj": "Nguyen et al. (2010)", "js": "Hjelm et al. (2019)",
           "nce": "van den Oord et al. (2018)"}
_NAMED = {"estimator": _BOUNDS, "dataset": _DATA, "name": _DATA}  # what an object holds by its short name only


# --- the entries ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Entry:
    """One work of the bibliography.

    Attributes
    ----------
    key : str
        Name of the entry: surname of the first author and year, with a letter from the second such work on.
    source : str
        The entry in BibTeX.
    fields : mapping
        Its fields by name, as they stand in BibTeX.

    Examples
    --------
    >>> entry = bibliography()["zhu2020"]
    >>> entry.label, entry.link
    ('Zhu, Zhang and Evans (2020)', 'https://arxiv.org/abs/2002.11798')
    """

    key: str
    source: str
    fields: Mapping[str, str] = field(repr=False)

    @property
    def surnames(self) -> tuple[str, ...]:
        """Family names of the authors, in order."""
        return tuple(readable(name.split(",")[0]) for name in self.fields["author"].split(" and "))

    @property
    def label(self) -> str:
        """The work as the text cites it."""
        who = _joined(self.surnames) if len(self.surnames) < 5 else f"{self.surnames[0]} et al."
        letter = re.fullmatch(r"\D+\d+(\D?)", self.key)
        return f"{who} ({self.fields['year']}{letter[1]})" if letter else who

    @property
    def link(self) -> str:
        """Where the work is found: by DOI, on arXiv or at its own address; empty for what is only in print."""
        known = {"doi": "https://doi.org/", "eprint": "https://arxiv.org/abs/", "url": ""}
        return next((prefix + self.fields[name] for name, prefix in known.items() if name in self.fields), "")

    @property
    def venue(self) -> str:
        """Where the work appeared, with volume and pages."""
        get = self.fields.get
        where = ("journal", "booktitle", "institution", "howpublished", "publisher", "eprint")
        name = next((name for name in where if get(name)), "")
        place = f"arXiv:{get(name)}" if name == "eprint" else get(name, "")
        volume = f"{get('volume', '')}({get('number')})" if get("number") else get("volume", "")
        edition = f"{get('edition')} edition" if get("edition") else ""
        before = ", ".join(filter(None, (place, edition, get("series"))))
        return readable(", ".join(filter(None, (f"{before} {volume}".strip(), get("pages")))))

    def markdown(self) -> str:
        """The work in one line of Markdown, linked.

        Returns
        -------
        str
            Authors, year, title, venue, link.

        Examples
        --------
        >>> bibliography()["shannon1948"].markdown()[:56]
        'Claude E. Shannon (1948). *A Mathematical Theory of Comm'
        """
        return self._line(lambda title: f"*{title}*", lambda text, link: f"[{text}]({link})")

    def html(self) -> str:
        """The work in one line of HTML, linked.

        Returns
        -------
        str
            Authors, year, title, venue, link; everything escaped.

        Examples
        --------
        >>> "<em>Wide Residual Networks</em>" in bibliography()["zagoruyko2016"].html()
        True
        """
        def anchor(text: str, link: str) -> str:
            """A link, escaped."""
            return f'<a href="{html.escape(link)}">{html.escape(text)}</a>'

        return self._line(lambda title: f"<em>{title}</em>", anchor, html.escape)

    def _line(self, title: Callable[[str], str], link: Callable[[str, str], str],
              escape: Callable[[str], str] = str) -> str:
        """The parts of a reference in order, each dressed by the caller."""
        people = [" ".join(reversed(name.split(", ", 1))) for name in self.fields["author"].split(" and ")]
        year = f" ({self.fields['year']})" if "year" in self.fields else ""
        shown = self.link.replace("https://doi.org/", "doi:").replace("https://arxiv.org/abs/", "arXiv:")
        text = f"{escape(readable(_joined(people)))}{year}. {title(escape(readable(self.fields['title'])))}."
        return " ".join(filter(None, (text, f"{escape(self.venue)}.", self.link and link(shown, self.link))))


@dataclass(frozen=True)
class References:
    """Works, shown as BibTeX by ``print`` and as linked text in a notebook.

    Attributes
    ----------
    entries : tuple of Entry
        robinfo first, then the others in the order of their keys.

    Examples
    --------
    >>> works = cite(bibliography)
    >>> len(works), works.keys
    (1, ('robinfo',))
    >>> print(works)
    @misc{robinfo,
      author = {{the robinfo authors}},
      ...
    """

    entries: tuple[Entry, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the entries."""
        return tuple(entry.key for entry in self.entries)

    def __len__(self) -> int:
        """How many works."""
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        """The works in order."""
        return iter(self.entries)

    def __str__(self) -> str:
        """BibTeX, one entry after the other."""
        return "\n\n".join(entry.source for entry in self.entries)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        """A list of references in Markdown."""
        return "\n".join(f"- {entry.markdown()}" for entry in self.entries)

    def _repr_html_(self) -> str:
        """A list of references in HTML."""
        return "<ul>" + "".join(f"<li>{entry.html()}</li>" for entry in self.entries) + "</ul>"


@cache
def bibliography() -> dict[str, Entry]:
    """Every work that the package cites, by key.

    Returns
    -------
    dict of str to Entry
        From `references.bib`; in the order of the keys.

    Examples
    --------
    >>> bibliography()["fano1961"].label
    'Fano (1961)'
    """
    text = resources.files("robinfo").joinpath("references.bib").read_text(encoding="utf-8")
    found = re.findall(r"^(@\w+\{(\w+),\n.*?^\})$", text, re.MULTILINE | re.DOTALL)
    return {key: Entry(key, source, dict(_FIELD.findall(source))) for source, key in found}


def _joined(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def readable(text: str) -> str:
    """Text without the braces, dashes and formulas of BibTeX.

    Parameters
    ----------
    text : str
        A field of an entry.

    Returns
    -------
    str
        For readers.

    Examples
    --------
    >>> readable("$l_1$-{APGD}, 1--2")
    'ℓ₁-APGD, 1–2'
    """
    symbols = {r"\varepsilon": "ε", "l_1": "ℓ₁"}
    text = re.sub(r"\$(.+?)\$", lambda match: symbols.get(match[1], match[1]), text)
    text = text.replace("``", "“").replace("''", "”")
    return text.replace("---", "—").replace("--", "–").replace("{", "").replace("}", "")


# --- citations in text ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Citation:
    """A place where a text names a work.

    Attributes
    ----------
    text : str
        The words.
    start, end : int
        Where they stand.
    entry : Entry or None
        The work; None where none or several of the bibliography fit.
    """

    text: str
    start: int
    end: int
    entry: Entry | None


def citations_in(text: str) -> list[Citation]:
    """Every place of a text that cites by authors and year.

    Recognised are "Names (year)", "Names, year" and "Names year", where the names are all family names, "First et al.",
    "First and others", or a short title of the bibliography. Without brackets only what resolves counts.

    Parameters
    ----------
    text : str
        Prose.

    Returns
    -------
    list of Citation
        In order. A year may be that of the publication or, if no publication fits, that of its preprint.

    Examples
    --------
    >>> [c.entry.key for c in citations_in("Zhu, Zhang and Evans (2020), Theorem 3.4; Croce and Hein (2020b).")]
    ['zhu2020', 'croce2020b']
    >>> [c.entry for c in citations_in("However, Nobody and Others (1999) said so, with seed 2020.")]
    [None]
    """
    found = []
    for match in _pattern().finditer(text):
        names, bracket = match["names"], match["open"].lstrip(", \n") == "("
        entry, start = None, match.start()
        for skip in (m.end() for m in re.finditer(r"^|,\s+", names)):  # "However, Zhu and Evans (2020)": no name first
            if entry := _resolve(names[skip:], match["year"], match["letter"]):
                start += skip
                break
        if entry or bracket:
            end = match.end("close") if bracket else match.end("letter")
            found.append(Citation(text[start:end], start, end, entry))
    return found


@cache
def _pattern() -> re.Pattern[str]:
    """What a citation looks like."""
    works = [e.fields for e in bibliography().values() if "shorttitle" in e.fields and "keywords" not in e.fields]
    names = "|".join([*(re.escape(fields["shorttitle"]) for fields in works), _LIST])
    year = r"(?P<year>(?:1[89]|20)\d\d)(?P<letter>[a-z]?)\b(?P<close>\)?)"
    return re.compile(rf"(?<![\w-])(?P<names>{names})(?P<open>,?\s+\(|,?\s+){year}")


def _resolve(names: str, year: str, letter: str = "") -> Entry | None:
    """The one entry with these authors and this year, if there is just one."""
    for years in (_published, _preprint):
        fits = [e for e in bibliography().values() if years(e) == year and _same_people(names, e)]
        fits = [e for e in fits if e.key.endswith(year + letter)] if letter or len(fits) > 1 else fits
        if fits:
            return fits[0] if len(fits) == 1 else None
    return None


def _published(entry: Entry) -> str:
    """Year of publication."""
    return entry.fields.get("year", "")


def _preprint(entry: Entry) -> str:
    """Year of the preprint on arXiv."""
    number = re.match(r"(\d\d)\d\d\.", entry.fields.get("eprint", ""))
    return f"20{number[1]}" if number else ""


def _same_people(names: str, entry: Entry) -> bool:
    """Whether names as a text gives them are the authors of an entry, or its short title."""
    authors = [_folded(name) for name in entry.surnames]
    all_named = re.sub(r"\s+(et\s+al\.|and\s+others)$", "", names)
    given = [_folded(name) for name in re.split(r",\s+(?:and\s+)?|\s+(?:and|&)\s+", all_named)]
    if _folded(names) == _folded(entry.fields.get("shorttitle", "-")):
        return True
    return given == authors if len(given) > 1 else given[0] == authors[0]


def _folded(name: str) -> str:
    """A name without case, accents and double spaces."""
    letters = unicodedata.normalize("NFKD", " ".join(name.split()))
    return "".join(c for c in letters if not unicodedata.combining(c)).casefold()


# --- what an object rests on ------------------------------------------------------------------------------------------
def cite(*objects: Any) -> References:
    """The works to cite for something of this package: those that its docstring and the docstrings of its parts name.

    Parameters
    ----------
    *objects : object
        Functions, classes, modules, or instances: attacks, objectives, models, estimates, results of an experiment,
        rows. Of an instance also the parts count that it holds, for example the attack inside an objective.

    Returns
    -------
    References
        robinfo and the works; ``print`` shows BibTeX, a notebook shows linked text.

    Raises
    ------
    TypeError
        For an object in which nothing of robinfo is found.

    Examples
    --------
    >>> from robinfo.theory.fano import hamming_rate_distortion
    >>> cite(hamming_rate_distortion).keys
    ('robinfo', 'erokhin1958')
    >>> cite("AutoAttack")
    Traceback (most recent call last):
    TypeError: cite takes functions, classes, modules and instances of robinfo, got 'AutoAttack' (str); pass the ...
    """
    keys: set[str] = set()
    for value in objects:
        texts = list(_texts(value, set()))
        if not texts:
            came = f"{' '.join(repr(value).split()):.40} ({type(value).__name__})"
            raise TypeError(f"cite takes functions, classes, modules and instances of robinfo, got {came}; pass the "
                            "object itself, or for a network of another library the function that made it: "
                            "robinfo.cite(robinfo.classifier)")
        keys.update(key for text in texts for key in _keys(text))
    return References((bibliography()["robinfo"], *(e for e in bibliography().values() if e.key in keys - {"robinfo"})))


def _keys(text: str) -> Iterator[str]:
    """Entries that a text names: by authors and year, or a library by its name."""
    yield from (c.entry.key for c in citations_in(text) if c.entry)
    for entry in bibliography().values():
        if "keywords" in entry.fields and re.search(rf"\b{re.escape(entry.fields['shorttitle'])}\b", text):
            yield entry.key


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    """The reference sections of everything of this package in an object; an empty text for a part without one."""
    if id(value) in seen or isinstance(value, (str, bytes, int, float)):
        return
    seen.add(id(value))
    if isinstance(value, ModuleType):
        yield from _of_module(value, seen) if _is_ours(value.__name__) else ()
    elif isinstance(value, type):
        yield from _of_class(value) if _is_ours(value.__module__) else ()
    elif isinstance(value, MethodType):
        yield from (*_texts(value.__func__, seen), *_texts(value.__self__, seen))
    elif isinstance(value, partial):
        yield from _texts((value.func, value.args, value.keywords), seen)
    elif callable(value) and isinstance(inspect.unwrap(value), FunctionType):
        yield from [_section(value)] if _is_ours(value.__module__) else ()
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        yield from _of_several(value, seen)
    else:
        yield from _of_instance(value, seen)


def _is_ours(module: str | None) -> bool:
    """Whether a module belongs to this package."""
    return (module or "").split(".")[0] == __package__


def _section(value: Any) -> str:
    """The section References of a docstring, or nothing."""
    found = _SECTION.search(inspect.getdoc(value) or "")
    return found[1] if found else ""


def _of_module(module: ModuleType, seen: set[int]) -> Iterator[str]:
    """The public functions and classes of a module, or of a package."""
    yield ""
    for name in getattr(module, "__all__", ()):
        yield from _texts(getattr(module, name), seen)


def _of_class(kind: type, makers: bool = True) -> Iterator[str]:
    """A class and those it is made from; if it cites nothing itself, the functions of its module that return it."""
    yield from (_section(base) for base in kind.__mro__ if _is_ours(base.__module__))
    if makers and not _section(kind):
        members = vars(sys.modules.get(kind.__module__) or import_module(kind.__module__)).values()
        made = (kind, kind.__name__)
        functions = [member for member in members if isinstance(member, FunctionType)]
        yield from (_section(f) for f in functions if f.__annotations__.get("return") in made)


def _of_several(values: Any, seen: set[int]) -> Iterator[str]:
    """The members of a container."""
    for value in values.values() if isinstance(values, Mapping) else values:
        yield from _texts(value, seen)


def _of_instance(value: Any, seen: set[int]) -> Iterator[str]:
    """An object: its class, what it holds, what it names, and the paper of the published cell beside it."""
    held = getattr(value, "__dict__", {})
    if not _is_ours(type(value).__module__):
        modules = held.get("_modules")  # a network of another library may have parts of this one
        yield from _texts(modules, seen) if isinstance(modules, dict) else ()
        return
    names = {name: held[name] for name in _NAMED if isinstance(held.get(name), str)}
    named = [_NAMED[name][short] for name, short in names.items() if short in _NAMED[name]]
    yield from (*_of_class(type(value), makers=not named), *named)
    yield from _of_several(held, seen)
    paper = held.get("paper")
    paper = paper.get("paper", "") if isinstance(paper, Mapping) else paper
    if isinstance(paper, str) and paper:
        yield re.sub(r"(?<=[a-z])(?=[A-Z\d])", " ", paper)  # "GuessFirst2019" -> "Guess First 2019"
