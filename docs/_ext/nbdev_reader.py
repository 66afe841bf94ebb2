"""Read nbdev notebooks for MyST-NB: directives are interpreted, never shown.

* ``#| hide`` / ``#| default_exp`` cells and magic-only cells are dropped;
* other ``#|`` lines are stripped; ``echo: false`` / ``output: false`` / ``code-fold: true``
  become MyST-NB tags;
* YAML front matter in a raw cell is dropped (its ``title`` becomes the page title if there is no H1);
* docstrings of exported code end before their sections, which the API page shows;
* cells that only prepare (imports, checks of the input) are folded;
* ipywidgets views are dropped (they would need JavaScript from a CDN), figures beside them stay;
* figures get a text alternative: ``#| fig-alt: …`` of their cell, else the title printed on them, else the heading above;
* `` `name` `` and `` `name(arguments)` `` in Markdown link to the API page of an exported symbol;
* a quoted block that begins with ``> **Theorem (title)**`` (or Remark, Lemma, …), which every viewer of notebooks shows as a quotation,
  becomes a numbered box.
"""
from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path

import nbformat
import yaml

_DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(?P<key>[\w-]+)\s*:?\s*(?P<arg>.*?)\s*$")
_MAGIC = re.compile(r"^\s*%")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*\Z", re.DOTALL)
_TICKS = re.compile(r"(?<![`{}\w])`([A-Za-z_][\w.]*)(?:\(\)|(\([^`<>\n]+\)))?`(?!`)")
_HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)
_BOX = re.compile(r"^> \*\*(Theorem|Lemma|Corollary|Proposition|Definition|Remark)(?: \((.+)\))?\*\*\n((?:>.*(?:\n|\Z))*)", re.MULTILINE)
_SVG_TEXT = re.compile(r"<!-- (.*?) -->")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
_EXPORTED = {"export", "exporti", "exports"}
_DROP = {"hide", "default_exp", "default_cls_lvl"}
_TAGS = {("echo", "false"): "remove-input", ("output", "false"): "remove-output", ("code-fold", "true"): "hide-input"}


def split_directives(source: str) -> tuple[dict[str, str], str]:
    """Split the leading ``#|`` lines of a code cell from its code."""
    lines, found = source.splitlines(), {}
    while lines and (match := _DIRECTIVE.match(lines[0])):
        found[match["key"]] = match["arg"] if match["key"] == "fig-alt" else match["arg"].lower()
        lines.pop(0)
    code = "\n".join(line for line in lines if not _MAGIC.match(line))
    return found, code.strip("\n")


def definitions(path: Path, module: str) -> Iterator[str]:
    """Full names of the public functions, classes and methods that a file defines."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{module}.{node.name}"
            if isinstance(node, ast.ClassDef):
                inner = (m.name for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_"))
                yield from (f"{module}.{node.name}.{name}" for name in inner)


@cache
def symbols(package: str) -> dict[str, str]:
    """Every tail of the full name of a public symbol, of a method from its class on; a tail that two symbols share means neither."""
    owners: dict[str, set[str]] = {}
    root = Path(__file__).resolve().parents[2]
    for path in (root / package).rglob("[!_]*.py"):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        for full in definitions(path, module):
            parts = full.split(".")
            for i in range(module.count(".") + 2):  # `Class.method`, never a bare `method`: such words are also names of arguments
                owners.setdefault(".".join(parts[i:]), set()).add(full)
    return {tail: next(iter(full)) for tail, full in owners.items() if len(full) == 1}


def link(text: str, table: dict[str, str]) -> str:
    """Turn `` `name` `` into a link to the API page, outside code blocks."""
    def replace(match: re.Match[str]) -> str:
        full = table.get(match[1])
        return f"{{py:obj}}`{match[1]}{match[2] or ''} <{full}>`" if full else match[0]

    lines, fenced = [], False
    for line in text.split("\n"):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        lines.append(line if fenced or line.startswith("#") else _TICKS.sub(replace, line))
    return "\n".join(lines)


def boxes(text: str) -> str:
    """Turn quoted statements into the numbered boxes of the site."""
    def replace(match: re.Match[str]) -> str:
        kind, title, body = match[1].lower(), match[2] or "", re.sub(r"^> ?", "", match[3], flags=re.MULTILINE).strip("\n")
        label = re.sub(r"[^a-z0-9]+", "-", f"{kind} {title}".lower()).strip("-") + f"-{zlib.crc32(body.encode()):08x}"
        return f":::{{prf:{kind}}} {title}".rstrip() + f"\n:label: {label}\n\n{body}\n:::\n"

    return _BOX.sub(replace, text)


def same_figure(one: dict, other: dict) -> bool:
    """Whether two outputs of a cell show the same figure, as they do when it is returned and also left open."""
    first, second = one.get("data", {}), other.get("data", {})
    return any(kind in first and first[kind] == second.get(kind) for kind in _IMAGES)


def outputs_for_site(outputs: list) -> list:
    """The outputs without widget views and repeated figures, with successive prints joined."""
    kept: list = []
    for output in outputs:
        if _WIDGET in output.get("data", {}) or any(same_figure(output, other) for other in kept):
            continue
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1]["text"] += output.text  # ipykernel 7 stores one stream output per print()
            continue
        kept.append(output)
    return kept


def text_alternative(output: dict, heading: str) -> str:
    """What a figure says, for those who cannot see it: the words Matplotlib noted in the SVG, else the heading."""
    svg = output.get("data", {}).get("image/svg+xml", "")
    words = [unescape(w.strip()) for w in _SVG_TEXT.findall(svg)]
    phrases = [w for w in words if w.count(" ") >= 2]
    title = max(phrases, key=len) if phrases else heading
    return re.sub(r"[`$\\{}]", "", f"Figure: {title}")


def shorten_docstrings(code: str) -> tuple[str, list[str]]:
    """Exported code with its docstrings cut before the first section, and the public names whose docstrings were cut."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code, []
    lines, names, cuts = code.split("\n"), [], []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node, clean=False):
            text = node.body[0]
            body = lines[text.lineno - 1:text.end_lineno]
            first = next((i for i, line in enumerate(body) if re.match(r"\s*-{3,}$", line)), None)
            if first is not None and first > 1:
                cuts.append((text.lineno - 1 + first - 1, text.end_lineno))
                names += [node.name] if node in tree.body and not node.name.startswith("_") else []
    for start, end in sorted(cuts, reverse=True):
        while not lines[start - 1].strip():
            start -= 1
        quotes = lines[end - 1].strip()[-3:]
        lines[start - 1:end] = [lines[start - 1] + quotes]
    return "\n".join(lines), names


def groundwork(code: str) -> bool:
    """Whether a cell only prepares: imports, private constants, checks of the input."""
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return False

    def prepares(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.FunctionDef):
            return statement.name.startswith("_check")
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            stored = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            return all(n.id.startswith("_") for n in stored)
        return isinstance(statement, (ast.Import, ast.ImportFrom, ast.If))

    return bool(body) and all(map(prepares, body))


def code_cell(cell: nbformat.NotebookNode, heading: str, table: dict[str, str]) -> list[nbformat.NotebookNode]:
    """A code cell as the site shows it, with a line that links to the documentation cut from it; nothing if hidden."""
    found, code = split_directives(cell.source)
    if _DROP & found.keys() or not code:
        return []
    cell.source, cut = shorten_docstrings(code) if _EXPORTED & found.keys() else (code, [])
    tags = cell.metadata.setdefault("tags", [])
    tags += [tag for (key, value), tag in _TAGS.items() if found.get(key) == value]
    if groundwork(code) and "parameters" not in tags:
        tags.append("hide-input")
    cell.outputs = outputs_for_site(cell.outputs)
    figures = [o for o in cell.outputs if any(kind in o.get("data", {}) for kind in _IMAGES)]
    if figures:
        alternative = found.get("fig-alt") or text_alternative(figures[0], heading)
        cell.metadata["mystnb"] = {"image": {"alt": alternative}}
    links = ", ".join(f"`{name}`" for name in cut if name in table)
    more = [nbformat.v4.new_markdown_cell(link(f"Documented in full: {links}.", table))] if links else []
    return [cell, *more]


def read(text: str, package: str = "") -> nbformat.NotebookNode:
    """Reader for ``nb_custom_formats``."""
    notebook = nbformat.reads(text, as_version=4)
    table = symbols(package) if package else {}
    cells, front, heading = [], {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "raw":
            match = _FRONT.match(cell.source.strip())
            front.update((yaml.safe_load(match[1]) or {}) if match else {})
        elif cell.cell_type == "markdown":
            heading = (_HEADING.findall(cell.source) or [heading])[-1]
            cell.source = link(boxes(cell.source), table)
            cells.append(cell)
        else:
            cells += code_cell(cell, heading, table)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # nbdev_clean drops it
    notebook.cells = cells
    first = next((c for c in cells if c.cell_type == "markdown"), None)
    if "title" in front and not (first and first.source.lstrip().startswith("# ")):
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {front['title']}"))
    return notebook
