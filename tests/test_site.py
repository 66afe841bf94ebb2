"""The site as a visitor meets it: a headless browser without network; maths typeset, search answers, figures there."""
from __future__ import annotations

import functools
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import Visit, browsing, needs_browser

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "docs" / "_build" / "html"
LOADED = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)\s*=\s*["']((?:https?:)?//[^"']+)""", re.IGNORECASE)


def newest(*folders: str) -> float:
    """When the youngest source below some folders was written; generated files do not count."""
    generated = ("_build", "_runs", "generated", "__pycache__", ".ipynb_checkpoints")
    files = (f for folder in folders for f in (ROOT / folder).rglob("*") if f.is_file() and f.name != "scoreboard.md")
    return max(f.stat().st_mtime for f in files if not set(generated) & set(f.parts))


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site; built here unless the one in docs/_build is younger than all of its sources."""
    index = BUILT / "index.html"
    if not index.exists() or index.stat().st_mtime < newest("docs", "nbs", "robinfo", "results"):
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-c", "docs", "nbs", str(BUILT)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        index.touch()
    return BUILT


def pages(site: Path, folder: str = "") -> list[str]:
    """The pages of one folder of the site, as paths below it."""
    return sorted(p.relative_to(site).as_posix() for p in (site / folder).glob("*.html"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def visit(site: Path) -> Iterator[Visit]:
    """The site in a headless browser, served on this machine, every other host blocked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with browsing(f"http://127.0.0.1:{server.server_port}/") as seen:
        yield seen
    server.shutdown()


def test_no_page_names_a_resource_of_another_host(site: Path) -> None:
    """No script, style sheet, font or image comes from elsewhere (links to follow may)."""
    allowed = re.compile(r"rel=[\"'](?:canonical|license)")
    bad = [f"{page.relative_to(site)}: {m[1]}" for page in sorted(site.rglob("*.html"))
           for m in LOADED.finditer(page.read_text(encoding="utf-8")) if not allowed.search(m[0])]
    assert not bad
    sheets = [p for p in site.rglob("*.css") if re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", p.read_text(encoding="utf-8"))]
    assert not sheets


def test_every_notebook_and_module_has_its_page(site: Path) -> None:
    """Nothing that a reader could look for is left out."""
    notebooks = [p.relative_to(ROOT / "nbs") for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    assert [n.as_posix() for n in notebooks if not (site / n.with_suffix(".html")).exists()] == []
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "robinfo").rglob("*.py")
               if not p.name.startswith("_")]
    assert [m for m in modules if not (site / "api" / "generated" / f"{m}.html").exists()] == []


def test_figures_have_a_text_alternative(site: Path) -> None:
    """Every image of every notebook says what it shows."""
    missing = [page for page in ["index.html", *pages(site, "theory"), *pages(site, "methods")]
               for image in re.findall(r"<img\b[^>]*>", (site / page).read_text(encoding="utf-8"))
               if not re.search(r'alt="[^"]*[A-Za-z]{3}', image) or re.search(r'alt="\.\./_images|alt="_images', image)]
    assert not missing


@needs_browser
def test_maths_is_typeset(visit: Visit, site: Path) -> None:
    """Every theory page shows its formulas as formulas, without an error and without source left standing."""
    for path in [p for p in pages(site, "theory") if not p.endswith("/index.html")]:
        page = visit.open(path)
        assert page.locator("mjx-container").count() > 3, path
        assert page.locator("article .math:not(:has(mjx-container))").count() == 0, path
        assert page.locator("mjx-merror, merror, [data-mjx-error], [data-mml-node='merror']").count() == 0, path
        prose = page.evaluate("""() => { const article = document.querySelector('article').cloneNode(true);
            article.querySelectorAll('pre, code, mjx-container, script').forEach(e => e.remove()); return article.textContent }""")
        left = re.search(r".{0,40}(?:\\tag\b|\\frac\b|\\begin\{|\$\$|:::\{).{0,40}", prose)
        assert left is None, f"{path}: {left and left[0]}"


@needs_browser
def test_search_answers(visit: Visit) -> None:
    """Searching for Fano lists the notebook on Fano's inequality."""
    page = visit.open("search.html?q=Fano")
    page.wait_for_selector("#search-results li a", timeout=15_000)
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.getAttribute('href'))")
    assert any("theory/05_fano" in link for link in found), found


@needs_browser
@pytest.mark.parametrize("folder", ["", "theory", "methods", "experiments", "experiments/_runs"])
def test_figures_load(visit: Visit, site: Path, folder: str) -> None:
    """Every image arrives."""
    for path in pages(site, folder):
        page = visit.open(path)
        images = page.evaluate("""async () => { const images = [...document.querySelectorAll('article img')];
            await Promise.all(images.map(i => { i.loading = 'eager'; return i.decode().catch(() => 0) }));
            return images.filter(i => i.naturalWidth === 0).map(i => i.src) }""")
        assert images == [], path


def test_links_inside_the_site_lead_somewhere(site: Path) -> None:
    """Each relative link of each page has its file."""
    broken = []
    for page in site.rglob("*.html"):
        for link in set(re.findall(r'<a\b[^>]*?\bhref="([^"#?]+)', page.read_text(encoding="utf-8"))):
            if not urlsplit(link).scheme and not link.startswith("//") and not (page.parent / unquote(link)).exists():
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


@needs_browser
def test_dark_mode_is_dark_and_readable(visit: Visit) -> None:
    """The dark theme gives light text on a dark page."""
    visit.page.emulate_media(color_scheme="dark")
    page = visit.open("theory/05_fano.html")
    colour = "e => getComputedStyle(document.querySelector(e[0]))[e[1]].match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3"
    background = page.evaluate(colour, ["body", "backgroundColor"])
    text = page.evaluate(colour, ["article p", "color"])
    visit.page.emulate_media(color_scheme="light")
    assert background < 60 and text > 160


@needs_browser
def test_nothing_was_asked_of_another_host_and_nothing_failed(visit: Visit, site: Path) -> None:
    """One page of each kind: no request left this machine and the console has no error."""
    for path in ("index.html", "theory/05_fano.html", "glossary.html", "api/index.html",
                 "api/generated/robinfo.theory.fano.html", "search.html?q=entropy"):
        visit.open(path).wait_for_timeout(300)
    assert visit.foreign == []
    assert visit.errors == []
