"""The site as a visitor meets it: a headless browser without network; maths typeset, search answers, figures there."""
from __future__ import annotations

import functools
import html
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browser import Visit, browsing, needs_browser

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import passages

BUILT = ROOT / "docs" / "_build" / "html"
GENERATED = ("scoreboard.md", "claims.md", "reliability.md", "costs.md")  # pages that the build writes
LOADED = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)\s*=\s*["']((?:https?:)?//[^"']+)""", re.IGNORECASE)


def newest(*folders: str) -> float:
    """When the youngest source below some folders was written; generated files do not count."""
    generated = ("_build", "_runs", "generated", "__pycache__", ".ipynb_checkpoints")
    files = (f for folder in folders for f in (ROOT / folder).rglob("*") if f.is_file() and f.name not in GENERATED)
    return max(f.stat().st_mtime for f in files if not set(generated) & set(f.parts))


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site: that of $ROBINFO_SITE as it is, else docs/_build, built here unless it is younger than all of its sources."""
    if given := os.environ.get("ROBINFO_SITE"):
        return Path(given)
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


def written(site: Path) -> list[Path]:
    """The pages that hold text or figures: not those with the source of a module."""
    return [page for page in sorted(site.rglob("*.html")) if "_modules" not in page.parts and "_static" not in page.parts]


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
    """Every image of every page says what it shows, those of recorded runs too."""
    missing = [f"{page.relative_to(site)}: {image[:90]}" for page in written(site)
               for image in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8"))
               if "toggler" not in image and (not re.search(r'alt="[^"]*[A-Za-z]{3}', image) or re.search(r'alt="[./]*_images', image))]
    assert not missing, "\n".join(missing)


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
    """Each relative link of each page has its file, and the file the place that the link names."""
    places = functools.cache(lambda page: set(re.findall(r"""\b(?:id|name)="([^"]+)""", page.read_text(encoding="utf-8"))))
    broken = []
    for page in site.rglob("*.html"):
        for link in set(re.findall(r"""<a\b[^>]*?\bhref="([^"]+)""", page.read_text(encoding="utf-8"))):
            parts = urlsplit(html.unescape(link))
            if parts.scheme or link.startswith("//"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            source = "_modules" in {*page.parts, *target.parts}  # Sphinx renews their places only in a build from nothing
            fragment = "" if source else unquote(parts.fragment)
            if not target.exists() or (fragment and target.suffix == ".html" and fragment not in places(target)):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_notebooks_and_api_lead_to_one_another(site: Path) -> None:
    """Every exported name is linked from its notebook to its entry in the API, and the entry's page leads to the notebook."""
    missing = []
    for module, notebook in passages.notebooks().items():
        entry = site / "api" / "generated" / f"{module}.html"
        here, there = entry.read_text(encoding="utf-8"), (site / f"{notebook}.html").read_text(encoding="utf-8")
        missing += [] if f'href="../../{notebook}.html"' in here else [f"{entry.name}: no link to {notebook}"]
        missing += [f"{notebook}: no link to {name}" for name in passages.names(module) if f"{entry.name}#{name}" not in there]
    assert len(passages.notebooks()) > 30
    assert not missing, "\n".join(missing)


# --- as a reader meets it: widths, colours, keys, paths -----------------------------------------------------------------
KINDS = ("index", "guides/index", "guides/measure_your_model", "guides/choose_an_attack", "theory/index", "theory/04_gaussian_mixture",
         "methods/vib", "experiments/worst_case_mi_bounds", "experiments/_runs/index", "scoreboard", "claims", "glossary", "references",
         "changelog", "api/index", "api/generated/robinfo.theory.gaussian_mixture", "api/generated/robinfo.evaluation", "genindex")
CONTRAST = """() => {
  const rgba = text => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return [r, g, b, a] };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = e => { const layers = [];
    for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break }
    return layers.reduceRight((under, top) => over(top, under), [255, 255, 255, 1]) };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const seen = new Map();
  for (const e of document.querySelectorAll('article *, .bd-sidebar-primary *, .bd-sidebar-secondary *')) {
    if (e.closest('svg, mjx-container, img, [hidden], [aria-hidden=true]') || !e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim().length > 1)) continue;
    const style = getComputedStyle(e), under = ground(e), ink = over(rgba(style.color), under);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
    const enough = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < enough) seen.set(`${e.tagName}.${e.className} ${style.color} on ${under.slice(0, 3).map(Math.round)}: ${ratio.toFixed(2)} "${e.textContent.trim().slice(0, 30)}"`.replace(/ "/, ' "'), 1) }
  return [...seen.keys()].slice(0, 12) }"""
WIDE = """() => { const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth; if (wide <= 1) return [];
  const boxed = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
    if (/auto|scroll|hidden|clip/.test(getComputedStyle(p).overflowX)) return true; return false };
  return [`${wide} px`].concat([...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !boxed(e))
    .slice(0, 5).map(e => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 40)}`)) }"""


def kinds(site: Path) -> list[str]:
    """One page of each kind that the site has, and the widest of the recorded runs."""
    runs = sorted((site / "experiments" / "_runs").glob("*-*.html"), key=lambda p: p.stat().st_size)
    return [f"{name}.html" for name in KINDS if (site / f"{name}.html").exists()] + [p.relative_to(site).as_posix() for p in runs[-1:]]


@needs_browser
def test_every_kind_of_page_fits_and_is_readable(visit: Visit, site: Path) -> None:
    """On a desktop and on a phone nothing sticks out; in light and in dark all text has the contrast that WCAG AA asks for."""
    problems, before = [], len(visit.errors)
    for path in kinds(site):
        page = visit.open(path)
        for width, height in ((1300, 900), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            problems += [f"{path} at {width}: {found}" for found in page.evaluate(WIDE)]
        page.set_viewport_size({"width": 1300, "height": 900})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
            page.evaluate("() => document.getAnimations().forEach(a => a.finish())")
            problems += [f"{path} {scheme}: {found}" for found in page.evaluate(CONTRAST)]
    assert not problems, "\n".join(problems)
    assert visit.errors[before:] == []


@needs_browser
def test_the_first_page_is_light(visit: Visit) -> None:
    """All that a new visitor's browser fetches for the landing page is below 1 MB; no engine for formulas is among it."""
    fresh = visit.page.context.browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
    responses: list[Any] = []
    fresh.on("response", lambda response: responses.append(response))
    fresh.goto(visit.base + "index.html", wait_until="networkidle")
    sizes = {r.url: len(r.body()) for r in responses if r.ok}
    fresh.context.close()
    assert not [url for url in sizes if "mathjax" in url]
    assert 50_000 < sum(sizes.values()) < 1_000_000, sizes


@needs_browser
def test_from_the_first_page_to_a_proof_its_code_its_experiment_and_back(visit: Visit) -> None:
    """By links alone: landing page, proof of theorem 3.2, its API, the experiment that asks the same of networks, the proof, the landing page."""
    page = visit.open("index.html")

    def follow(target: str) -> None:
        """Click the first visible link of the text that leads to a page."""
        page.locator(f"article a[href*='{target}']:visible").first.click()
        page.wait_for_url(f"**/{target}*")

    follow("theory/04_gaussian_mixture.html")
    assert page.locator("h2#proof, section#proof, section[id*='proof']").count() and "3.2" in page.locator("article").inner_text()
    follow("robinfo.theory.gaussian_mixture.html")
    assert page.locator("dt[id='robinfo.theory.gaussian_mixture.GaussianMixture']").count() == 1
    follow("worst_case_mi_bounds.html")
    follow("04_gaussian_mixture.html")
    page.locator(".bd-sidebar-primary a[href$='index.html']:visible").first.click()
    page.wait_for_url("**/index.html*")


@needs_browser
@pytest.mark.parametrize("width", [1300, 390])
def test_all_can_be_reached_by_keyboard(visit: Visit, width: int) -> None:
    """Tab leads to the skip link, the search, the navigation (on a desktop) and the links of the text, each with a visible focus."""
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("theory/index.html")
    reached: list[dict[str, str]] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("""() => { const e = document.activeElement, s = getComputedStyle(e), box = e.getBoundingClientRect();
            return {what: `${e.tagName}.${e.className} ${e.getAttribute('aria-label') || e.title || e.textContent.trim().slice(0, 30)}`,
                    where: e.closest('article') ? 'text' : e.closest('.bd-sidebar-primary') ? 'navigation' : 'bar',
                    seen: box.width > 0 && (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== 'none') ? 'yes' : 'no'} }"""))
    visit.page.set_viewport_size({"width": 1300, "height": 900})
    assert "kip to main content" in reached[0]["what"]
    assert any("earch" in r["what"] for r in reached)
    assert {"text", "navigation"} <= {r["where"] for r in reached} if width == 1300 else "text" in {r["where"] for r in reached}
    assert not [r["what"] for r in reached if r["seen"] == "no" and not r["what"].startswith("BODY")]  # after the last link


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
