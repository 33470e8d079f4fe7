"""Jira's two languages of text, and how our marker stands in each.

Cloud's REST v3 speaks the Atlassian Document Format, a tree; Server, Data Center and every
webhook speak wiki markup. Neither has comments that nobody sees, so the marker stands in the
address of a link without width (the tree) or in the name of an anchor (wiki markup): both are
invisible to a reader, survive editing, and come with webhooks and lists alike. On Cloud a comment
carries it in a property too, which survives its text.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aether.markers import marker_comment, split_marker
from aether.markup import fit, from_adf, from_wiki, to_adf, to_wiki, write
from aether.sources.reading import mapping, sequence, text

LONGEST: Final = 32_767
"""Characters of a comment or description: https://confluence.atlassian.com/jirakb ("The entered
text is too long"); an administrator may set less on Server."""

PROPERTY: Final = "aether"

_ADDRESS: Final = "https://aether.invalid/#aether:"  # RFC 6761: nobody can ever own it
_MARKER: Final = r"[A-Za-z0-9_-]{32,64}"
_WIDTHLESS: Final = "\u200b"
_HREF: Final = re.compile(rf"{re.escape(_ADDRESS)}({_MARKER})")
_IN_WIKI: Final = re.compile(
    rf"\{{anchor:aether-(?P<anchor>{_MARKER})\}}"
    rf"|\[[^\[\]\n]*{re.escape(_ADDRESS)}(?P<link>{_MARKER})[^\[\]\n]*\]"
)
_QUOTED: Final = re.compile(r"\{quote\}[\s\S]*?(?:\{quote\}|\Z)|^[ \t]*bq\.[^\n]*", re.MULTILINE)


def read(value: object) -> str:
    """A text of either language as Markdown, with our marker at its end if it carries one.

    A marker inside a quotation is somebody's copy and is left out.
    """
    if isinstance(value, dict):
        try:
            document, markers = _unmarked(value)
        except RecursionError:  # an answer of REST may be nested as deep as it likes
            return ""
        return _marked(write(from_adf(document)), markers)
    told = text(value)
    if "aether" not in told:
        return _of_wiki(told)
    markers = [found["anchor"] or found["link"] for found in _IN_WIKI.finditer(_unquoted(told))]
    return _marked(_of_wiki(_IN_WIKI.sub("", told)), markers)


def in_wiki(markdown: str, *, limit: int = LONGEST) -> str:
    """Wiki markup of at most ``limit`` characters; the marker at the end becomes an anchor."""
    body, marker = split_marker(markdown)
    if marker is None:
        return fit(body, limit, to_wiki)
    anchor = f"{{anchor:aether-{marker}}}"
    told = fit(body, limit - len(anchor) - 2, to_wiki)
    return f"{told.rstrip()}\n\n{anchor}" if told.strip() else anchor


def in_document(markdown: str, *, limit: int = LONGEST) -> dict[str, Any]:
    """A document of at most ``limit`` characters; the marker at the end becomes a link.

    The link has no width and is part of the last paragraph where there is one.
    """
    body, marker = split_marker(markdown)
    document = fit(body, limit - len(_WIDTHLESS), to_adf, measure=length)
    if marker is None:
        return document
    link = {"type": "link", "attrs": {"href": f"{_ADDRESS}{marker}"}}
    node = {"type": "text", "text": _WIDTHLESS, "marks": [link]}
    blocks = list(sequence(document.get("content"))) if body.strip() else []
    if blocks and mapping(blocks[-1]).get("type") == "paragraph":
        last = dict(blocks.pop())
        blocks.append(last | {"content": [*sequence(last.get("content")), node]})
    else:
        blocks.append({"type": "paragraph", "content": [node]})
    return document | {"content": blocks}


def length(document: Mapping[str, Any]) -> int:
    """The characters of a document that count against the limit, its line ends among them."""
    return sum(len(text(node.get("text"))) or 1 for node in _nodes(document))


def properties(markdown: str) -> list[dict[str, Any]]:
    """The properties of a comment on Cloud that hold its marker."""
    _, marker = split_marker(markdown)
    return [{"key": PROPERTY, "value": {"marker": marker}}] if marker else []


def marker_of(comment: Mapping[str, Any]) -> str | None:
    """The marker in the properties of a comment, where they are told."""
    for one in map(mapping, sequence(comment.get("properties"))):
        marker = text(mapping(one.get("value")).get("marker"))
        if one.get("key") == PROPERTY and re.fullmatch(_MARKER, marker):
            return marker
    return None


def read_comment(comment: Mapping[str, Any]) -> str:
    """A comment's text as Markdown, its marker known by the text or by its properties."""
    body, marker = read(comment.get("body")), marker_of(comment)
    if marker is None or marker_comment(marker) in body:
        return body
    return _marked(body, [marker])


def _marked(markdown: str, markers: list[str]) -> str:
    parts = [markdown.rstrip(), *map(marker_comment, dict.fromkeys(markers))] if markers else []
    return "\n\n".join(part for part in parts if part) if markers else markdown


def _of_wiki(wiki: str) -> str:
    return write(from_wiki(wiki))


def _unquoted(wiki: str) -> str:
    return _QUOTED.sub("", wiki)


def _unmarked(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy of a document without our links, and the markers that its own paragraphs had."""
    markers = [
        marker
        for block in map(mapping, sequence(document.get("content")))
        if block.get("type") == "paragraph"
        for node in map(mapping, sequence(block.get("content")))
        if (marker := _marker_of_node(node))
    ]
    return _without_links(document), markers


def _without_links(node: Mapping[str, Any]) -> dict[str, Any]:
    content = node.get("content")
    if not isinstance(content, list):
        return dict(node)
    kept = [
        _without_links(one) if isinstance(one, dict) else one
        for one in content
        if _marker_of_node(mapping(one)) is None
    ]
    return {**node, "content": kept}


def _marker_of_node(node: Mapping[str, Any]) -> str | None:
    for mark in map(mapping, sequence(node.get("marks"))):
        found = _HREF.fullmatch(text(mapping(mark.get("attrs")).get("href")))
        if found:
            return found[1]
    return None


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(map(mapping, sequence(one.get("content"))))
