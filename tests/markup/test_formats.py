"""Jira's and Plane's formats: faithful there and back, harmless, and no shape too odd to read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.markup import (
    fit,
    from_adf,
    from_html,
    from_wiki,
    parse,
    to_adf,
    to_html,
    to_wiki,
    write,
)
from aether.markup.tree import Node
from aether.markup.wiki import LANGUAGES
from tests.markup.samples import FEW, HARD, TEXTS, WHOLE, leaves, outline

Through = Callable[[Node], Node]
FORMATS: dict[str, Through] = {
    "adf": lambda tree: from_adf(json.loads(json.dumps(to_adf(tree)))),
    "wiki": lambda tree: from_wiki(to_wiki(tree)),
    "html": lambda tree: from_html(to_html(tree)),
}
through = pytest.mark.parametrize("through", FORMATS.values(), ids=FORMATS.keys())


@through
def test_a_text_comes_back_with_its_headings_lists_tables_code_and_links(through: Through) -> None:
    tree = parse(WHOLE)

    assert outline(parse(write(through(tree)))) == outline(tree)


@through
@pytest.mark.parametrize("text", HARD)
def test_what_was_text_is_no_markup_over_there(through: Through, text: str) -> None:
    there = through(parse(text))

    assert "".join(leaves(there).split()) == "".join(leaves(parse(text)).split())


@through
@FEW
@given(text=TEXTS)
def test_any_text_goes_there_and_back(through: Through, text: str) -> None:
    assert isinstance(write(through(parse(text))), str)


def test_code_survives_character_for_character() -> None:
    code = 'List<String> a;\n\tif (a && b) { [~x] *y* } // {code} "&amp;"'
    tree = parse(f"```\n{code}\n```")

    assert to_adf(tree)["content"][0]["content"][0]["text"] == code
    for there in FORMATS.values():
        assert there(tree).children[0].text == code
    assert to_wiki(tree) == f"{{noformat}}\n{code}\n{{noformat}}"


def test_an_answer_in_jiras_document_tree() -> None:
    text = "# Found\n\n**It** is `x`:\n\n- a\n  - b\n\n```java\nList<String>\n```\n\n[no](javascript:x)"

    assert to_adf(parse(text)) == {
        "type": "doc",
        "version": 1,
        "content": [
            {
                "type": "heading",
                "attrs": {"level": 1},
                "content": [{"type": "text", "text": "Found"}],
            },
            {
                "type": "paragraph",
                "content": [
                    {"type": "text", "text": "It", "marks": [{"type": "strong"}]},
                    {"type": "text", "text": " is "},
                    {"type": "text", "text": "x", "marks": [{"type": "code"}]},
                    {"type": "text", "text": ":"},
                ],
            },
            {
                "type": "bulletList",
                "content": [
                    {
                        "type": "listItem",
                        "content": [
                            {"type": "paragraph", "content": [{"type": "text", "text": "a"}]},
                            {
                                "type": "bulletList",
                                "content": [
                                    {
                                        "type": "listItem",
                                        "content": [
                                            {
                                                "type": "paragraph",
                                                "content": [{"type": "text", "text": "b"}],
                                            }
                                        ],
                                    }
                                ],
                            },
                        ],
                    }
                ],
            },
            {
                "type": "codeBlock",
                "attrs": {"language": "java"},
                "content": [{"type": "text", "text": "List<String>"}],
            },
            {"type": "paragraph", "content": [{"type": "text", "text": "no"}]},
        ],
    }


def test_an_answer_in_jiras_wiki_markup() -> None:
    text = (
        "## Found [~bob] {color}\n\nIt is **bold**, un*believ*able, `a*b`; see [x|y](https://e.com).\n\n"
        "1. a\n   - b\n\n```py\nx = 1\n```\n\n```weird\ny\n```\n\n| a |\n|---|\n| |\n\n(x) :) C:\\new"
    )

    assert to_wiki(parse(text)) == "\n\n".join([
        r"h2. Found \[\~bob\] \{color\}",
        r"It is *bold*, un{_}believ{_}able, {{a\*b}}; see [x\|y|https://e.com].",
        "# a\n#* b",
        "{code:python}\nx = 1\n{code}",
        "{noformat}\ny\n{noformat}",
        "||a||\n| |",
        r"\(x) \:) C:\new",
    ])  # fmt: skip


def test_an_answer_in_planes_html_has_no_tag_that_the_text_did_not_mean() -> None:
    text = '<script>x</script> **a** <img src=x onerror=y> ![i](http://evil/x?d=1) [l](https://e.com/"q)'

    told = to_html(parse(text))

    assert told == (
        "<p>&lt;script&gt;x&lt;/script&gt; <strong>a</strong> &lt;img src=x onerror=y&gt; "
        '<a target="_blank" rel="noopener noreferrer nofollow" href="http://evil/x?d=1">i</a> '
        '<a target="_blank" rel="noopener noreferrer nofollow" href="https://e.com/%22q">l</a></p>'
    )


def test_every_language_of_the_code_macro_is_kept() -> None:
    for name in LANGUAGES:
        assert to_wiki(parse(f"```{name}\nx\n```")) == f"{{code:{name}}}\nx\n{{code}}"


def test_a_comment_of_jiras_document_tree_is_read_as_two_sentences() -> None:
    document = {
        "type": "doc", "version": 1, "content": [
            {"type": "heading", "attrs": {"level": 2}, "content": [{"type": "text", "text": "Hi"}]},
            {"type": "paragraph", "content": [
                {"type": "mention", "attrs": {"id": "5b10", "text": "@Ann"}},
                {"type": "text", "text": " look: "},
                {"type": "text", "text": "now", "marks": [{"type": "strong"}, {"type": "sparkle"}]},
                {"type": "text", "text": "!", "marks": [{"type": "strong"}]},
                {"type": "hologram", "attrs": {"x": 1}},
                {"type": "emoji", "attrs": {"shortName": ":tada:", "text": "\U0001f389"}},
                {"type": "date", "attrs": {"timestamp": "1771408800000"}},
                {"type": "inlineCard", "attrs": {"url": "https://e.com/x"}},
                {"type": "text", "text": "bad", "marks": [
                    {"type": "link", "attrs": {"href": "javascript:x"}}]},
            ]},
            {"type": "mystery", "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": "kept"}]}]},
            {"type": "panel", "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": "note"}]}]},
            {"type": "expand", "attrs": {"title": "More"}, "content": [
                {"type": "codeBlock", "attrs": {"language": "sql"}, "content": [
                    {"type": "text", "text": "select 1"}]}]},
            {"type": "mediaSingle", "content": [
                {"type": "media", "attrs": {"type": "file", "id": "1", "alt": "shot.png"}}]},
        ],
    }  # fmt: skip

    assert write(from_adf(document)) == (
        "## Hi\n\n@Ann look: **now!**\U0001f3892026-02-18[https://e.com/x](https://e.com/x)bad\n\n"
        "kept\n\n> note\n\n**More**\n\n```sql\nselect 1\n```\n\n\\[attachment: shot.png\\]"
    )


def test_wiki_markup_of_people_is_read() -> None:
    markup = (
        "h2. Steps\r\n# open *it*\r\n## click {{Save}}\r\n{code:title=x.py|language=python}\r\nprint(1)\r\n"
        "{code}\r\n# done\r\n\r\n{quote}\nSaid [~ann]: -no- _yes_\n{quote}\n||a||b||\n|1|[l|https://e.com]|\n"
        "----\n{color:red}red{color} a-b-c snake_case_x 2*3*4 \\*no\\* !shot.png|thumbnail! a\\\\b"
    )

    assert write(from_wiki(markup)) == (
        "## Steps\n\n1. open **it**\n   1. click `Save`\n\n      ```python\n      print(1)\n      ```\n"
        "2. done\n\n> Said @ann: ~~no~~ *yes*\n\n| a | b |\n| --- | --- |\n"
        "| 1 | [l](https://e.com) |\n\n---\n\n"
        "red a-b-c snake_case_x 2\\*3\\*4 \\*no\\* \\[attachment: shot.png\\] a\\\nb"
    )


def test_planes_html_is_read() -> None:
    page = (
        '<h2 class="x">Steps</h2><p>Do <b>it</b> <mention-component entity_name="user_mention" '
        'label="ann"></mention-component> &amp; <a href="javascript:x">bad</a>'
        '<script>alert("x")</script></p><ul data-type="taskList"><li data-checked="true" '
        'data-type="taskItem"><label><input type="checkbox" checked></label><div><p>one</p></div></li>'
        "</ul><ol start=3><li>a<ul><li>b</ul><li>c</ol>"
        '<pre><code class="language-js">a &lt; b\n  c</code></pre>'
        "<table><tbody><tr><th><p>h</p></th></tr><tr><td><p>1</p><p>2</p></td></tr></tbody></table>"
        '<image-component src="7f3c"></image-component><!-- gone --><p></p><p>unclosed <em>em'
    )

    assert write(from_html(page)) == (
        "## Steps\n\nDo **it** @ann & bad\n\n- [x] one\n\n<!-- -->\n\n3. a\n   - b\n4. c\n\n"
        "```js\na < b\n  c\n```\n\n| h |\n| --- |\n| 1<br>2 |\n\n\\[attachment\\]\n\nunclosed *em*"
    )


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["text", "paragraph", "table", "taskList", "mention", "link", "codeBlock"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["type", "content", "attrs", "text", "marks", "level", "url", "order",
                         "timestamp", "href", "data"]),
        inner, max_size=6,
    ),
    max_leaves=40,
)  # fmt: skip


@FEW
@given(ODD)
def test_no_document_is_too_odd_to_be_read(document: Any) -> None:
    assert isinstance(write(from_adf(document)), str)


@FEW
@given(TEXTS)
def test_no_wiki_markup_or_page_is_too_odd_to_be_read(text: str) -> None:
    assert isinstance(write(from_wiki(text)), str)
    assert isinstance(write(from_html(text)), str)


def test_deep_nesting_is_read_flat() -> None:
    document: Any = {"type": "paragraph", "content": [{"type": "text", "text": "deep"}]}
    for _ in range(100_000):
        document = {"type": "blockquote", "content": [document]}
    pages = [
        "<blockquote>" * 20_000 + "deep",
        "<ul><li>" * 20_000 + "deep",
        "<b>" * 20_000 + "deep",
    ]

    assert "deep" in write(from_adf({"type": "doc", "content": [document]}))
    for page in pages:
        assert "deep" in write(from_html(page))
    assert "deep" in write(from_wiki("*" * 20_000 + " deep"))
    assert "deep" in write(from_wiki("{quote}" * 5_000 + "deep"))


@pytest.mark.parametrize("convert", [to_wiki, to_html], ids=["wiki", "html"])
@pytest.mark.parametrize("part", ["word & <word> *x* ", "```\n<&>&<>\n```\n\n", "| a | b |\n"])
def test_a_long_text_is_shortened_so_that_its_conversion_fits(
    convert: Callable[[Node], str], part: str
) -> None:
    text = part * 4_000

    made = fit(text, 32_767, convert)

    assert 20_000 < len(made) <= 32_767
    assert "more characters are kept in Aether" in made


def test_a_document_is_measured_as_the_caller_says() -> None:
    def measure(document: Any) -> int:
        return len(json.dumps(document))

    made = fit("word **word** " * 5_000, 32_767, to_adf, measure=measure)

    assert 20_000 < measure(made) <= 32_767
    assert fit("short", 100, to_wiki) == "short"
