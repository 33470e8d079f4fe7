"""Plane's language of text, which is HTML, and how our marker stands in it.

Plane cleans what it is sent (comments and unknown attributes go), so that the marker stands in
the address of a link without width: it is invisible to a reader, survives editing, and comes with
webhooks and lists alike. A comment or item that we make carries it in ``external_id`` too.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from aether.markers import marker_comment, split_marker
from aether.markup import fit, from_html, to_html, write
from aether.sources.plane.shapes import words
from aether.sources.reading import text

LONGEST: Final = 200_000
"""Characters of Markdown. Plane names no limit; its content check refuses 10 MB of HTML:
https://github.com/makeplane/plane/blob/preview/apps/api/plane/utils/content_validator.py"""

EXTERNAL_SOURCE: Final = "aether"

_LONGEST_HTML: Final = 2_000_000
_MARKER: Final = r"[A-Za-z0-9_-]{32,64}"
_ADDRESS: Final = "https://aether.invalid/#aether:"  # RFC 6761: nobody can ever own it
_WIDTHLESS: Final = "\u200b"
_LINK: Final = re.compile(
    rf"<a\s[^<>]*href=[\"']{re.escape(_ADDRESS)}(?P<marker>{_MARKER})[\"'][^<>]*>[^<>]*</a>",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r"<blockquote\b.*?(?:</blockquote>|\Z)", re.IGNORECASE | re.DOTALL)


def read(html: object) -> str:
    """A text as Markdown, without our marker."""
    told = words(html)
    return write(from_html(_LINK.sub("", told))).strip() if told else ""


def body_of(item: Mapping[str, Any]) -> str:
    """An item's description as Markdown; from its plain form where only that is told."""
    return read(item.get("description_html")) or words(item.get("description_stripped"))


def comment_of(comment: Mapping[str, Any]) -> str:
    """A comment's text as Markdown; from its plain form where only that is told."""
    return read(comment.get("comment_html")) or words(comment.get("comment_stripped"))


def markers_of(thing: Mapping[str, Any]) -> list[str]:
    """The markers that a comment or an item of REST or of a webhook carries.

    A marker inside a quotation is somebody's copy and is left out.
    """
    found: list[str] = []
    if thing.get("external_source") == EXTERNAL_SOURCE:
        found += re.findall(rf"\A{_MARKER}\Z", text(thing.get("external_id")))
    for name in ("comment_html", "description_html"):
        html = text(thing.get(name))
        if _ADDRESS in html:
            found += [one["marker"] for one in _LINK.finditer(_QUOTED.sub("", html))]
    return list(dict.fromkeys(found))


def marked(markdown: str, thing: Mapping[str, Any]) -> str:
    """``markdown`` with the markers of ``thing`` at its end."""
    markers = markers_of(thing)
    if not markers:
        return markdown
    parts = [markdown.rstrip(), *map(marker_comment, markers)]
    return "\n\n".join(part for part in parts if part)


def to_wire(markdown: str) -> tuple[str, str | None]:
    """HTML, and the marker that stood at the end of ``markdown``; the HTML holds it as a link."""
    body, marker = split_marker(markdown)
    html = fit(body, _LONGEST_HTML, to_html) or "<p></p>"
    if marker is None:
        return html, None
    link = f'<a href="{_ADDRESS}{marker}">{_WIDTHLESS}</a>'
    if html.endswith("</p>"):
        return f"{html.removesuffix('</p>')}{link}</p>", marker
    return f"{html}<p>{link}</p>", marker


def external(marker: str | None) -> dict[str, str]:
    """What makes a creation idempotent: asked twice, Plane answers 409."""
    return {"external_source": EXTERNAL_SOURCE, "external_id": marker} if marker else {}
