"""Sphinx configuration. Build: python -m sphinx -W --keep-going -j auto -c docs nbs docs/_build/html."""
from __future__ import annotations

import inspect
import json
import pkgutil
import re
import shutil
import sys
from configparser import ConfigParser
from importlib import import_module, util
from pathlib import Path

from docutils import nodes
from sphinx_proof.domain import ProofDomain

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]
import nbdev_reader
import passages

_ini = ConfigParser(delimiters=["="])
_ini.read(ROOT / "settings.ini", encoding="utf-8")
_cfg = _ini["DEFAULT"]

project, author, release = _cfg["title"], _cfg["author"], _cfg["version"]
copyright = _cfg["copyright"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_proof",
    "measured_runs",
    "reliability",
    "passages",
    "references",
    "short_names",
]
root_doc = "index"
exclude_patterns = ["**.ipynb_checkpoints", "**.part"]
templates_path = [str(HERE / "_templates")]  # autosummary resolves relative paths from srcdir, HTML from confdir

# --- notebooks: stored outputs, never executed here
nb_execution_mode = "off"
nb_custom_formats = {".ipynb": ["nbdev_reader.read", {"package": _cfg["lib_path"]}, False]}
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/markdown", 0)]  # tables in the style of the site
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# --- API reference
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("ArrayLike", "NDArray", "FloatArray")}  # shown by name, not spelt out
add_module_names = False
maximum_signature_line_length = 88
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", rf"(?!{_cfg['lib_path']}\b).*"), (r"py:.*", r".*\._\w+")]  # check our own public names only
autodoc_default_options = {"members": True, "member-order": "bysource"}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# --- HTML
html_theme = "sphinx_book_theme"
html_title = project
html_context = {"default_mode": "auto"}
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["robinfo.css"]
html_theme_options = {
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "secondary_sidebar_items": {"**": ["page-toc.html"], "index": [], "scoreboard": [], "claims": []},
    "use_download_button": True,
    "use_fullscreen_button": False,
    "use_issues_button": False,
    "use_repository_button": False,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "navbar_start": [], "navbar_center": [], "navbar_end": [], "navbar_persistent": [],
}
html_show_sourcelink = False

# --- maths without network: one self-contained file (SVG glyphs, no web fonts)
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

_MARKUP = re.compile(r"""
    ``.+?``                                     # an RST literal, left as it is
  | :[\w:]+:`[^`]+`                             # a role, left as it is
  | (?<![\\$])\$\$(?P<display>[^$]+)\$\$
  | (?<![\\$])\$(?P<inline>[^$]+?)\$
  | `(?P<code>[^`<>\n]+)`(?![`_])
""", re.VERBOSE | re.DOTALL)
_TITLES = {"scoreboard": "Paper versus measured <scoreboard>", "costs": "Costs <costs>"}
_PAGES = ["guides/index", "theory/index", "methods/index", "experiments/index", "claims", "scoreboard", "reliability", "costs", "glossary", "api/index", "references",
          "changelog"]


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _kind(value: object) -> str:
    """The directive that documents an object."""
    return "exception" if _is_error(value) else "class" if inspect.isclass(value) else "function"


def _public(name: str) -> dict[str, list[tuple[str, str]]]:
    """The public names of a module in its own order: those it defines, with their directive, and those it passes on."""
    try:
        module = import_module(name)
        names = vars(module) | {n: getattr(module, n) for n in getattr(module, "__all__", ())}  # some load on demand
    except ImportError:  # autosummary says which, as a warning
        return {"own": [], "passed_on": []}
    listed = names.get("__all__", ())
    home = {n: getattr(v, "__module__", "") for n, v in names.items() if callable(v) and not n.startswith("_")}
    inner = {n: m.removeprefix(f"{name}.") for n, m in home.items() if n in listed and m.startswith(f"{name}.")}
    return {"own": [(_kind(names[n]), n) for n, m in home.items() if m == name],
            "passed_on": [(_kind(names[n]), f"{m}.{n}") for n, m in inner.items()]}


def _modules(package: str) -> list[str]:
    """Every public module of the package."""
    found = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    return [package] + [m.name for m in found if not any(part.startswith("_") for part in m.name.split("."))]


autosummary_context = {"public": {name: _public(name) for name in _modules(_cfg["lib_path"])}}
ProofDomain.merge_domaindata = lambda *_: None  # sphinx-proof keeps its data elsewhere and forgets to say so


def _introduce(name: str, lines: list[str]) -> None:
    """Say what a module is by the title of its notebook where it does not say so itself, and link to the notebook."""
    if (notebook := passages.notebooks().get(name)) is None:
        return
    if not any(line.strip() for line in lines):
        cells = json.loads((ROOT / "nbs" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
        title = next(("".join(c["source"]).lstrip("# ").split("\n")[0] for c in cells if c["cell_type"] == "markdown"), "")
        lines[:] = [title if title.endswith(("?", "!", ".")) else f"{title}."]
    lines += ["", passages.above_module(name), ""]


_PROPERTIES: dict[str, list[str]] = {}


def _properties(app, what, name, obj, options, lines):
    """Undo what napoleon makes of a property, whose first colon it takes for the end of a type."""
    if name in _PROPERTIES:
        lines[:] = _PROPERTIES[name]


def _docstrings(app, what, name, obj, options, lines):
    """Docstrings may write ``$x$`` for maths and `` `name` `` for code: turn both into RST, names into links."""
    if what == "module":
        _introduce(name, lines)
    table = nbdev_reader.symbols(_cfg["lib_path"])

    def rst(match: re.Match[str]) -> str:
        maths = match["display"] or match["inline"]
        if maths:
            return f":math:`{maths.strip()}`"
        if not match["code"]:
            return match[0]
        full = table.get(match["code"].removesuffix("()"))
        return f":py:obj:`{match['code']} <{full}>`" if full else f"``{match['code']}``"

    lines[:] = _MARKUP.sub(rst, "\n".join(lines)).split("\n")
    if what == "property" and not any(re.fullmatch(r"\s*-{3,}", line) for line in lines):
        _PROPERTIES[name] = list(lines)


def _table_of_contents(app, docname, source):
    """Give the landing page, a notebook, the table of contents that Jupyter would show as a block of code."""
    if docname != root_doc:
        return
    notebook = json.loads(source[0])
    pages = [_TITLES.get(page, page) for page in _PAGES if page in app.env.found_docs]
    text = "```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```"
    notebook["cells"].append({"cell_type": "markdown", "id": "contents", "metadata": {}, "source": text})
    source[0] = json.dumps(notebook)


def _tagged_maths(app, doctree):
    r"""Keep Sphinx from wrapping a tagged formula of several lines in ``split``, where ``\tag`` is not allowed."""
    for node in doctree.findall(nodes.math_block):
        text = node.astext()
        if r"\tag" in text and not text.lstrip().startswith(r"\["):
            node["no-wrap"] = node["nowrap"] = True
            node.children = [nodes.Text(rf"\[{text}\]")]


def _scripts(app, error):
    """Put the one MathJax file beside the pages, and empty the 1.5 MB script of icons, which the style sheet draws from its font."""
    if error or app.builder.format != "html":
        return
    package = util.find_spec("sphinx-mathjax-offline")
    target = Path(app.outdir) / "_static" / "mathjax" / "tex-svg.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js", target)
    (Path(app.outdir) / "_static" / "scripts" / "fontawesome.js").write_text("// icons come from the web font\n", encoding="utf-8")


def setup(app):
    """Connect the hooks above."""
    app.connect("autodoc-process-docstring", _docstrings, priority=400)  # before napoleon writes roles of its own
    app.connect("autodoc-process-docstring", _properties, priority=600)
    app.connect("source-read", _table_of_contents)
    app.connect("doctree-read", _tagged_maths)
    app.connect("build-finished", _scripts)
