"""What an MCP tool answered, as text for the model: its texts, and a note of what is none."""

import json
from collections.abc import Callable
from typing import Any, Final

from aether.rendering import clean
from aether.tools.mcp_definitions import quoted

MOST_BLOCKS: Final = 200
MOST_ASKED: Final = 5
LONGEST: Final = 200_000  # characters; the conversation cuts again, in the middle


def result_text(result: Any, masked: Callable[[str], str] = str) -> str:
    """The text of a ``CallToolResult``; structured content is told where the text does not.

    ``masked`` takes secrets out, before anything is cut: half a secret is not recognised.
    """
    blocks = list(result.content)
    parts = [_block(one) for one in blocks[:MOST_BLOCKS]]
    if len(blocks) > MOST_BLOCKS:
        parts.append(f"[{len(blocks) - MOST_BLOCKS} more blocks are left out]")
    structured = result.structured_content
    if structured is not None and not _is_told(structured, blocks):
        parts.append(json.dumps(structured, ensure_ascii=False))
    text = masked(clean("\n\n".join(part for part in parts if part)))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n[… cut …]"


def asked_text(result: Any) -> str:
    """What an ``InputRequiredResult`` asks for, which nobody here can give."""
    asked = []
    for one in list((result.input_requests or {}).values())[:MOST_ASKED]:
        message = getattr(one.params, "message", None)
        asked.append(f"{one.method} {quoted(message)}" if message else str(one.method))
    what = ", ".join(asked) or "another round"
    return f"the tool does nothing before it is given more, and nobody here can give it: {what}"


def _block(block: Any) -> str:
    kind = block.type
    if kind == "text":
        return str(block.text)
    if kind in {"image", "audio"}:
        size = len(block.data) * 3 // 4
        return f"[{kind}, {quoted(block.mime_type)}, {size:,} bytes: not shown]"
    if kind == "resource_link":
        return f"[link to the resource {quoted(block.name)} at {quoted(str(block.uri))}]"
    if kind == "resource":
        held = block.resource
        where = quoted(str(held.uri))
        if hasattr(held, "text"):
            return f"[resource {where}]\n{held.text}"
        return f"[resource {where}, {len(held.blob) * 3 // 4:,} bytes: not shown]"
    return f"[{quoted(str(kind))}: not shown]"


def _is_told(structured: Any, blocks: list[Any]) -> bool:
    """Whether the only text is the same, as servers do for those who read texts alone.

    https://modelcontextprotocol.io/specification/2025-11-25/server/tools#structured-content
    """
    texts = [one.text for one in blocks if one.type == "text"]
    if isinstance(structured, dict) and list(structured) == ["result"]:
        inner = structured["result"]
        told = [_read(one) for one in texts]
        if inner in (texts, told) or [inner] in (texts, told):
            return True
    return len(texts) == 1 and _read(texts[0]) == structured


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
