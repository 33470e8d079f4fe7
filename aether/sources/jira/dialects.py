"""The seam to the converters between Markdown and Jira's two languages of text."""

from collections.abc import Mapping
from typing import Any

from aether.sources.reading import mapping, sequence, text


def markdown_to_adf(markdown: str) -> dict[str, Any]:
    """A document of one paragraph for each block of text."""
    blocks = [block.strip("\n") for block in markdown.split("\n\n")]
    content = [
        {"type": "paragraph", "content": [{"type": "text", "text": block}]}
        for block in blocks
        if block.strip()
    ]
    return {"type": "doc", "version": 1, "content": content}


def adf_to_markdown(document: Mapping[str, Any]) -> str:
    """The text of a document, its blocks apart."""
    return "\n\n".join(
        found for block in sequence(document.get("content")) if (found := _text(mapping(block)))
    )


def markdown_to_wiki(markdown: str) -> str:
    """The text as it is."""
    return markdown


def wiki_to_markdown(wiki: str) -> str:
    """The text as it is, its lines ended as everywhere else."""
    return wiki.replace("\r\n", "\n")


def _text(node: Mapping[str, Any]) -> str:
    inner = "".join(_text(mapping(one)) for one in sequence(node.get("content")))
    return text(node.get("text")) + inner
