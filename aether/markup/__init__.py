"""Markdown and what the platforms write instead of it, by way of one tree; pure, no I/O.

Outward: ``parse`` a text, then ``to_adf`` (Jira Cloud), ``to_wiki`` (Jira Server) or ``to_html``
(Plane); ``fit`` does both within a platform's limit. Inward: ``from_adf``, ``from_wiki`` and
``from_html`` give a tree, and ``write`` its Markdown. ``neutralise`` takes out of generated
Markdown what would act on a tracker; it comes before any of them.

Nothing here raises on what a stranger wrote: odd shapes are left out or shown as text, nesting
beyond a bound is flattened, and the time is proportional to the text.
"""

from aether.markup.adf import to_adf
from aether.markup.adf_read import from_adf
from aether.markup.fit import fit
from aether.markup.html import to_html
from aether.markup.html_read import from_html
from aether.markup.markdown import write
from aether.markup.neutral import neutralise, neutralise_line
from aether.markup.tree import Node, parse
from aether.markup.wiki import to_wiki
from aether.markup.wiki_read import from_wiki

__all__ = [
    "Node",
    "fit",
    "from_adf",
    "from_html",
    "from_wiki",
    "neutralise",
    "neutralise_line",
    "parse",
    "to_adf",
    "to_html",
    "to_wiki",
    "write",
]
