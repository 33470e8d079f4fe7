"""Texts in Jira's two languages, and our marker in each."""

from typing import Any, Final

import pytest

from aether.markers import marker_comment, markers_in
from aether.sources.jira import texts
from tests.sources.jira import site_rules

MARKER: Final = marker_comment("m" * 32)
ANSWER: Final = """# Late

It is **on** and *off*:

- one
  - two

| a | b |
| --- | --- |
| 1 | 2 |

```java
List<String> x = {"{a}", "*b*", "[c|d]"};
```

[here](https://example.com/a_b) and [there](javascript:x)"""
CODE: Final = 'List<String> x = {"{a}", "*b*", "[c|d]"};'


def nodes(document: Any) -> list[dict[str, Any]]:
    found, waiting = [], [document]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += one.get("content", [])
    return found


def test_an_answer_becomes_a_document_that_cloud_takes() -> None:
    document = texts.in_document(f"{ANSWER}\n\n{MARKER}")

    site_rules.check_text(document, is_cloud=True, field="comment")
    kinds = [one["type"] for one in nodes(document)]
    assert {"heading", "bulletList", "table", "codeBlock"} <= set(kinds)
    [code] = [one for one in nodes(document) if one["type"] == "codeBlock"]
    assert code["content"][0]["text"] == CODE
    links = [
        mark["attrs"]["href"]
        for one in nodes(document)
        for mark in one.get("marks", [])
        if mark["type"] == "link"
    ]
    assert sorted(links) == [
        f"https://aether.invalid/#aether:{'m' * 32}",
        "https://example.com/a_b",
    ]


def test_an_answer_becomes_wiki_markup_that_server_takes() -> None:
    wiki = texts.in_wiki(f"{ANSWER}\n\n{MARKER}")

    assert wiki.startswith("h1. Late\n")
    assert CODE in wiki
    assert "|a|b|" in wiki.replace(" ", "").replace("||", "|")
    assert "[here|https://example.com/a_b]" in wiki
    assert "javascript:" not in wiki.replace("(javascript:x)", "")
    assert wiki.endswith(f"\n\n{{anchor:aether-{'m' * 32}}}")


@pytest.mark.parametrize("written", [texts.in_document, texts.in_wiki])
def test_what_was_written_is_read_with_its_marker(written: Any) -> None:
    for body in ("Late.", "- one\n- two", "```\ncode\n```", "> quoted", "# Late"):
        read = texts.read(written(f"{body}\n\n{MARKER}"))

        assert markers_in(read) == ["m" * 32]
        assert texts.read(written(body)) == read.removesuffix(MARKER).rstrip()
    assert texts.read(written(MARKER)).strip() == MARKER


@pytest.mark.parametrize(
    "value",
    [None, 7, True, [], {}, "", {"type": "doc"}, {"content": [None, 7, {"content": "x"}]},
     {"type": "doc", "content": [{"type": "paragraph", "content": [{"marks": [7], "text": 7}]}]}],
)  # fmt: skip
def test_a_text_of_any_shape_is_read(value: Any) -> None:
    assert texts.read(value).strip() == ""


def test_a_document_nested_beyond_reason_is_no_text() -> None:
    deep: dict[str, Any] = {"type": "paragraph"}
    for _ in range(5_000):
        deep = {"type": "blockquote", "content": [deep]}

    assert texts.read({"type": "doc", "content": [deep]}) == ""


def test_a_document_is_plain_markdown_for_the_model() -> None:
    mention = {"type": "mention", "attrs": {"id": "5f1", "text": "@Bo"}}
    strong = {"type": "text", "text": "now", "marks": [{"type": "strong"}]}
    document = {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "heading", "attrs": {"level": 2}, "content": [{"type": "text", "text": "A"}]},
            {"type": "paragraph", "content": [mention, {"type": "text", "text": " "}, strong]},
            {"type": "hologram", "attrs": {"depth": 3}},
        ],
    }

    assert texts.read(document) == "## A\n\n@Bo **now**"


@pytest.mark.parametrize(
    "wiki",
    [
        f"bq. Late. {{anchor:aether-{'m' * 32}}}",
        f"{{quote}}\nLate.\n\n{{anchor:aether-{'m' * 32}}}\n{{quote}}\n\nIs it?",
        f"{{quote}}Late. [\u200b|https://aether.invalid/#aether:{'m' * 32}]{{quote}}",
        "{anchor:aether-short} {anchor:other}",
    ],
)
def test_a_quoted_or_broken_marker_is_none(wiki: str) -> None:
    assert markers_in(texts.read(wiki)) == []


@pytest.mark.parametrize("size", [32_000, 32_767, 32_768, 300_000])
@pytest.mark.parametrize("written", [texts.in_document, texts.in_wiki])
def test_a_text_of_any_length_is_within_the_limit_and_keeps_its_marker(
    written: Any, size: int
) -> None:
    body = ("*word* {x} 👩‍👩‍👧 " * (size // 8))[:size]

    wire = written(f"{body}\n\n{MARKER}")

    assert (len(wire) if isinstance(wire, str) else texts.length(wire)) <= 32_767
    assert markers_in(texts.read(wire)) == ["m" * 32]
