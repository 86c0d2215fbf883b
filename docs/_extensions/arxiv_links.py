"""Papers named by their arXiv number, such as ``arXiv:2401.10874`` or ``hep-lat/0107019``, become links to the archive."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

PAPER = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})|\b(hep-(?:lat|th|ph)/\d{7})")
NOT_IN = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference, nodes.title)


def _link(app: Sphinx, document: nodes.document) -> None:
    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, NOT_IN) or not PAPER.search(text):
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match in PAPER.finditer(text):
            parts.append(nodes.Text(text[end : match.start()]))
            address = f"https://arxiv.org/abs/{match[1] or match[2]}"
            parts.append(nodes.reference("", match[0], refuri=address))
            end = match.end()
        text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to a build."""
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
