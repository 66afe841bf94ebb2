"""The page of references, and a link to it from every place that cites by authors and year.

`sphinxcontrib.bibtex` sets the page from `robinfo/references.bib`. Docstrings and notebooks stay readable text:
"Erokhin (1958)" becomes a link here, found by the function that `robinfo.cite` uses.
"""
from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform

from robinfo.citations import citations_in, readable

PAGE = "references"
CLOSED = (nodes.reference, nodes.literal, nodes.FixedTextElement, nodes.math, nodes.title, nodes.raw, nodes.citation,
          nodes.Invisible, addnodes.desc_signature)  # no link inside these


class LinkCitations(SphinxPostTransform):
    """Turns the words of a citation into a link to its entry."""

    default_priority = 400
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Visit the prose of a page."""
        page = self.env.docname
        if page == PAGE:
            for text in [text for text in self.document.findall(nodes.Text) if "$" in text]:
                text.parent.replace(text, nodes.Text(readable(text.astext())))
        if page == PAGE or PAGE not in self.env.found_docs:
            return
        target = self.app.builder.get_relative_uri(page, PAGE)
        for text in list(self.document.findall(nodes.Text)):
            if not any(isinstance(above, CLOSED) for above in _above(text)):
                _link(text, target)


def _above(node: nodes.Node) -> list[nodes.Node]:
    """The elements that a node stands in."""
    found: list[nodes.Node] = []
    while (node := node.parent) is not None:
        found.append(node)
    return found


def _link(text: nodes.Text, target: str) -> None:
    """Replace the citations of a text by links."""
    words, parts, end = text.astext(), [], 0
    for citation in citations_in(words):
        if citation.entry:
            link = nodes.reference("", citation.text, internal=True, refuri=f"{target}#{citation.entry.key}")
            parts += [nodes.Text(words[end:citation.start]), link]
            end = citation.end
    if parts:
        text.parent.replace(text, [*parts, nodes.Text(words[end:])])


def _configure(app: Sphinx, config: Config) -> None:
    """One file of references; anchors are the keys."""
    config.bibtex_bibfiles = ["../robinfo/references.bib"]
    config.bibtex_cite_id = "{key}"
    config.bibtex_default_style = "plain"


def setup(app: Sphinx) -> dict[str, object]:
    """Register the page and the transform."""
    app.setup_extension("sphinxcontrib.bibtex")
    app.connect("config-inited", _configure)
    app.add_post_transform(LinkCitations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
