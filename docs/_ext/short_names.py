"""Short names in types lead to the class that the module in question means.

A docstring writes ``study : Study``; three modules have a class of that name. Sphinx would warn and take the first. The name is
looked up in the module of the docstring instead, as Python does; names of sizes such as ``n`` are no references at all.
"""
from __future__ import annotations

import sys

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform


class ShortNames(SphinxPostTransform):
    """Completes or removes references before Sphinx resolves them."""

    default_priority = 5  # references are resolved at 10

    def run(self, **kwargs: object) -> None:
        """Visit every Python reference of a page."""
        page = self.env.docname.rpartition("/")[2]  # pages of the API are named after their module
        for node in list(self.document.findall(addnodes.pending_xref)):
            target = node.get("reftarget", "")
            if node.get("refdomain") != "py" or "." in target:
                continue
            found = getattr(sys.modules.get(node.get("py:module") or page), target, None)
            home = getattr(found, "__module__", None)
            if isinstance(found, type) and str(home).startswith("robinfo"):
                node["reftarget"], node["refspecific"] = f"{home}.{found.__qualname__}", False
            elif len(target) <= 2 and target.islower():
                node.replace_self([nodes.Text(node.astext())])


def setup(app):
    """Register the transform."""
    app.add_post_transform(ShortNames)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
