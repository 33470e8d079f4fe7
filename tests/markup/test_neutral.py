"""Generated text looks as it was written, and does nothing at a tracker."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.markup import neutralise, neutralise_line
from aether.markup.neutral import ZERO_WIDTH_SPACE as ZW
from aether.vocabulary import OutputAct
from tests.markup.samples import FEW, HARD, TEXTS, WHOLE


def shown(text: str) -> str:
    return text.replace(ZW, "\u00a6")


def test_the_answer_that_would_act_in_every_way_acts_in_none() -> None:
    text = "fixes #12 @acme/all <img src=http://evil/x?d=1> ![x](http://evil/y)\n/close"

    assert shown(neutralise(text)) == (
        "fixes\u00a6 #12 @\u00a6acme/all &lt;img src=http://evil/x?d=1> [x](http://evil/y)\n\u00a6/close"
    )


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("@bob", "@\u00a6bob"),
        ("cc @acme/team, (@ann) and **@eve**", "cc @\u00a6acme/team, (@\u00a6ann) and **@\u00a6eve**"),
        ("_@bob_ `x`@bob [@bob](https://e.com)", "_@\u00a6bob_ `x`@\u00a6bob [@\u00a6bob](https://e.com)"),
        ("\\@bob &#64;bob &#x40;bob &commat;bob", "\\@\u00a6bob &#64;\u00a6bob &#x40;\u00a6bob &commat;\u00a6bob"),
        ("@&#98;ob é@bob", "@\u00a6&#98;ob é@\u00a6bob"),
        ("> @all\n\n- @all\n\n# @all", "> @\u00a6all\n\n- @\u00a6all\n\n# @\u00a6all"),
        ("| @a | ` @b | ` |\n|---|---|---|\n| @c |", "| @\u00a6a | ` @\u00a6b | ` |\n|---|---|---|\n| @\u00a6c |"),
        ("[[a](x)](@bob)", "[[a](x)](@\u00a6bob)"),
        ("[a](https://medium.com/@bob)", "[a](https://medium.com/%40bob)"),
        ("https://x/*@bob*", "https://x/*@\u00a6bob*"),
        ("[^1]: @bob", "[^1]: @\u00a6bob"),
        ("<div>\n`@bob`\n</div>", "&lt;div>\n`@\u00a6bob`\n&lt;/div>"),
        ("<!--\n```\n-->\n```\n@bob\n```", None),
    ],
)  # fmt: skip
def test_a_mention_notifies_nobody_however_it_is_written(text: str, harmless: str | None) -> None:
    made = neutralise(text)

    if harmless is not None:
        assert shown(made) == harmless
    assert neutralise(made) == made
    assert made.replace(ZW, "").replace("&lt;", "<").replace("%40", "@") == text


@pytest.mark.parametrize(
    "text",
    ["a@b.com", "x @ y", "git@github.com:a/b", "https://medium.com/@bob", "<https://e.com/@bob>",
     "<a@b.co>", "[mail](mailto:a@b.co)", "@", "npm i @", "`@bob`", "``@bob ` fixes #1``",
     "```\n@bob fixes #1 <b>\n/close\n![x](http://y)\n```", "    @bob <b>\n", "~~~ts\n@Input() x;\n~~~",
     "- item\n\n      @bob\n", "> ```\n> @bob\n> ```", "a < b and c > d, 3<4", "R&D &amp; &lt;b>",
     "see #12 and acme/api#3", "the fix for #12", "prefixes #1", "closed door", "/etc/passwd is",
     "and/or", "a /close", "![own](/uploads/1/x.png)", "![own](https://github.com/user-attachments/assets/1)",
     "<details><summary>More</summary>\n\n- x\n\n</details>", "a<br>b<sub>2</sub>", "[a](#b) [c](d/e)", "Wow![1]",
     "[x][r] [r]\n\n[r]: https://e.com/@bob \"t\""],
)  # fmt: skip
def test_what_does_nothing_is_left_byte_for_byte(text: str) -> None:
    assert neutralise(text) == text


@pytest.mark.parametrize("text", [WHOLE.replace("@all", "x").replace("~bob", "x"), *HARD[3:]])
def test_an_ordinary_answer_is_left_as_it_is(text: str) -> None:
    assert neutralise(text) == text


@pytest.mark.parametrize("word", [
    "close", "closes", "closed", "closing", "fix", "fixes", "fixed", "fixing", "resolve", "resolves",
    "resolved", "resolving", "implement", "implements", "implemented", "implementing", "Duplicate of",
    "FIXES", "Closes",
])  # fmt: skip
@pytest.mark.parametrize("reference", [
    " #12", ": #12", " acme/api#3", " group/sub/project#3", " GH-12", " !7", " PROJ-12", " issue #12",
    " issues #12 and #13", " https://github.com/a/b/issues/3", " https://gl.test/a/b/-/work_items/3",
    " https://j.test/browse/A-1", " &#35;12", "** #12", " [#12](https://e.com)", "\n#12",
])  # fmt: skip
def test_no_closing_word_closes(word: str, reference: str) -> None:
    made = neutralise(f"This {word}{reference}")

    assert made == f"This {word}{ZW}{reference}"


@pytest.mark.parametrize(
    "line", ["/close", "/label ~bug", "/assign @x", "> /close", "- /merge", "  /lgtm", "1. /hold x"]
)
def test_no_line_is_a_command(line: str) -> None:
    made = neutralise(f"text\n\n{line}\nmore")

    assert f"{ZW}/" in made
    assert re.search(r"(?m)^[\s>\-.0-9]*/[a-z]", made) is None


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("![shot](http://evil/x.png)", "[shot](http://evil/x.png)"),
        ("![](http://evil/x.png)", "[image](http://evil/x.png)"),
        ("[![b](http://evil/b.svg)](https://e.com)", "[b](https://e.com)"),
        ("![a][r]\n\n[r]: http://evil/x", "[a][r]\n\n[r]: http://evil/x"),
        ("![r]\n\n[r]: http://evil/x", "[r]\n\n[r]: http://evil/x"),
        ("![a](//evil/x)", "[a](//evil/x)"),
        ("![a](https://github.com.evil/x)", "[a](https://github.com.evil/x)"),
        ("![a](data:image/png;base64,x)", "![a]\\(data:image/png;base64,x)"),
        ("<img src=x><picture><video src=y>", "&lt;img src=x>&lt;picture>&lt;video src=y>"),
    ],
)  # fmt: skip
def test_no_picture_is_loaded(text: str, harmless: str) -> None:
    assert neutralise(text) == harmless


@pytest.mark.parametrize("address", [
    "javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
    "&#106;avascript:x", "javascript&colon;x",
])  # fmt: skip
def test_a_link_of_an_unsafe_scheme_is_shown_as_written(address: str) -> None:
    assert neutralise(f"[click]({address})") == f"[click]\\({address})"
    assert neutralise(f"[r]: {address}\n") == f"\\[r]: {address}\n"


def test_html_is_shown_and_hides_nothing() -> None:
    text = "<script>x</script> <b onclick=x>y</b> <!-- aether:forged --> List<String> <details open> <kbd>k</kbd>"

    assert neutralise(text) == (
        "&lt;script>x&lt;/script> &lt;b onclick=x>y&lt;/b> &lt;!-- aether:forged --> List&lt;String> "
        "<details open> <kbd>k</kbd>"
    )


def test_the_operator_may_let_each_thing_act() -> None:
    text = "fixes #1 @bob ![x](http://y)\n/close"

    for act, kept in {
        OutputAct.MENTIONS: "@bob", OutputAct.CLOSING_WORDS: "fixes #1", OutputAct.QUICK_ACTIONS: "\n/close",
        OutputAct.IMAGES: "![x](http://y)",
    }.items():  # fmt: skip
        assert kept in neutralise(text, let=frozenset({act}))
        assert kept not in neutralise(text)
    assert neutralise(text, let=frozenset(OutputAct)) == text
    assert "<img" not in neutralise("<img src=x>", let=frozenset(OutputAct))


def test_a_title_is_harmless_too() -> None:
    assert shown(neutralise_line("Fixes #12 for @bob")) == "Fixes\u00a6 #12 for @\u00a6bob"
    assert neutralise_line("# <b> is kept") == "# <b> is kept"


HOSTILE = st.one_of(
    TEXTS,
    st.lists(
        st.sampled_from([
            "@bob", "fixes #1", "/close", "`", "``", "```\n", "```", "\n", "\n\n", "<!--", "-->", "<div>",
            "</div>", "<pre>", "<details>", "    ", "> ", "- ", "![", "[", "]", "(", ")", "](", "http://x/",
            "[r]: ", "[r]", "\\", "|", "|-|-|\n", "~~~\n", " ", "&#64;", "<a title=\"`\">", "*", "_", "$", "\t",
        ]),
        max_size=40,
    ).map("".join),
)  # fmt: skip


@FEW
@given(HOSTILE)
def test_made_harmless_twice_is_made_harmless_once(text: str) -> None:
    made = neutralise(text)

    assert neutralise(made) == made


@FEW
@given(HOSTILE)
def test_outside_of_code_no_mention_is_left(text: str) -> None:
    rendered = as_html(neutralise(text))

    assert re.search(r"(?<![A-Za-z0-9])@[A-Za-z0-9]", rendered) is None, rendered
    assert re.search(r"(?i)\bfixes #1", rendered) is None, rendered
    assert "<img" not in rendered


def as_html(markdown: str) -> str:
    """What another reading of it shows as text: code, links' addresses and all tags taken out."""
    from markdown_it import MarkdownIt

    page = (
        MarkdownIt("commonmark", {"html": True, "maxNesting": 100})
        .enable(["table"])
        .render(markdown)
    )
    page = re.sub(r"(?s)<pre>.*?</pre>|<code>.*?</code>|<a href=.*?</a>", "\u2588", page)
    page = re.sub(r"https?://[A-Za-z0-9][^\s<>*]*", "\u2588", page)
    return re.sub(r"</?(?!img)[a-z][^>]*>", "", page)


@pytest.mark.parametrize("part", [
    "[", "![", "]", "[a](", "`", "`` ` ", "<", "<!--", "> ", "- ", "@a", "fixes #", "*a_", "![[]()", "\\", "&#64;",
    "(", "[a]: b\n", "| a ", "@", "https://a/", "/close\n", "<a ", "[a](b \"", "fixes ", "\n```\n", "a/",
])  # fmt: skip
def test_the_time_grows_with_the_text_and_no_faster(part: str) -> None:
    """Each would take hours if the time grew with the square; the suite's own limit is the bound."""
    assert neutralise(part * (120_000 // len(part)))


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("<br>\n&#64bob", "<br>\n&amp;#64bob"),
        ("<br>\n&#x40octo", "<br>\n&amp;#x40octo"),
        ("<br>\n&#000000000064;bob", "<br>\n&amp;#000000000064;bob"),
        ("<br>\n&nbsp@bob &nbspfixes #1", "<br>\n&amp;nbsp@bob &amp;nbspfixes #1"),
        ("http://e.com/a&#32;@bob", "http://e.com/a&#32;@\u00a6bob"),
        ("http://e.com/a&lt;@bob", "http://e.com/a&lt;@\u00a6bob"),
        ("x[^1]\n\n[^1]: a\n\n    @bob", "x[^1]\n\n[^1]: a\n\n    @\u00a6bob"),
        ("> [^n]: a\n>\n>     @bob fixes #1", "> [^n]: a\n>\n>     @\u00a6bob fixes\u00a6 #1"),
        ("clo&#115;es #1", "closes\u00a6 #1"),
        ("&#x66;ixes #1", "fixes\u00a6 #1"),
        ("closes&nbsp;#1", "closes\u00a6&nbsp;#1"),
        ("closes [that](https://github.com/a/b/issues/1)",
         "closes\u00a6 [that](https://github.com/a/b/issues/1)"),
        ("&#47;close", "\u00a6/close"),
        ("&sol;close", "\u00a6/close"),
        ("a\u2028/close", "a\u2028\u00a6/close"),
        ("\u00a0/close", "\u00a0\u00a6/close"),
        ("\ufeff/close", "\ufeff\u00a6/close"),
        ("a\x0c/close", "a\x0c\u00a6/close"),
    ],
)  # fmt: skip
def test_what_html_or_another_reader_takes_for_it_acts_no_more_than_what_is_plain(
    text: str, harmless: str
) -> None:
    made = neutralise(text)

    assert shown(made) == harmless
    assert neutralise(made) == made


@pytest.mark.parametrize("inside", [
    'http://e/x "a\\"b"', "http://e/x 'a\\'b'", "http://e/x (a\\)b)", "http://e/(a(b)c)",
    f"{' ' * 25}http://e/x", "<http://e/\\>x>", f"http://e/{'p' * 5_000}",
    f'http://e/x "{"t" * 1_500}"', "http://e/x\u00a0", "\x0bhttp://e/x",
])  # fmt: skip
def test_no_picture_is_loaded_however_its_address_and_its_title_are_written(inside: str) -> None:
    assert neutralise(f"![a]({inside})") == f"[a]({inside})"


def test_what_only_some_read_as_a_picture_is_shown_as_written() -> None:
    assert neutralise("![a](http://e/x y.png)") == "![a]\\(http://e/x y.png)"
    assert neutralise("[a]()![b]()") == "[a]()![b]()"


@pytest.mark.parametrize("text", [
    "[a](javascript:f(g(h())))", "[a]\n\n[a]:\njavascript:f()", "[b][a]\n\n[a]:\n  javascript:f()",
])  # fmt: skip
def test_no_link_of_an_unsafe_scheme_is_left_however_it_is_written(text: str) -> None:
    made = neutralise(text)

    assert made != text
    assert made.replace("\\", "") == text
    assert neutralise(made) == made


@pytest.mark.parametrize("text", [
    "R&D, AT&T and a&#233;b", "&#97;bc", "http://e.com/?a=1&b=@c", "x[^1]\n\n[^1]: a\n\n    code",
    "a\u2028b/c", "[a]( )", '[a](<> "t")',
])  # fmt: skip
def test_entities_and_footnotes_that_do_nothing_are_left_as_they_are(text: str) -> None:
    assert neutralise(text) == text
