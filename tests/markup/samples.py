"""Texts that the formats are tried with, and what a text holds for its reader."""

from collections.abc import Iterator
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from aether.markup.tree import Node, plain

WHOLE: Final = """# Title with `code` and *em*

Some **bold**, ***both***, ~~gone~~ and [a *link*](https://example.com/a?x=1&y=2).

- one
- two
  - nested `List<String>`
    - deeper

1. first
2. second

   ```python
   def f(a, b):
       return "`" + a * b
   ```

7. seven

- [x] done
- [ ] open **b**
  - [ ] child

> quoted
>
> ```
> {code} [~bob] *a* _b_ @all
> ```

| Left | Right |
| :-- | --: |
| a \\| b | **x** |
| `c` |  |

---

```java
List<String> a = new ArrayList<>();  // {noformat}
```

Last\\
line
"""
"""A heading, emphasis, a link, lists in lists, tasks, a quote, a table, a rule, code, a break."""

HARD: Final = (
    "**bold**text, a*b*c, 2*3*4, snake_case_name, __init__, `` a`b ``, ~ and ~~, (x) :) a_ _b",
    "C:\\path\\new * not em * <b>bold</b> &amp; &lt; &copy; a & b < c > d # no heading",
    "1986\\. A great year\n\n\\- no list\n\n\\# no heading\n\n\\> no quote",
    "| not | a | table |\n\nh1. no heading\n\nbq. no quote\n\n{code} {{x}} [~bob] !image.png! ----",
    "a -b- c, +d+, ^e^, ??f??, (y) (!) ;) -- and ---, x - y, {*}z{*}, \\\\ , [a|b]",
    "line one\nline two  \nline three<br>line four",
    "- a\n\n  second paragraph\n\n- b\n\n  > quoted in an item\n",
    "<details><summary>More</summary>\n\ninside\n\n</details>",
    "emoji \U0001f469\u200d\U0001f469\u200d\U0001f467, \u65e5\u672c\u8a9e, \u0644\u0644\u0639, \x07 bell",
)

TEXTS: Final = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from([
            "*", "**", "_", "`", "```", "~~~", "[", "]", "(", ")", "<", ">", "!", "#", "- ", "1. ",
            "> ", "|", "|-|-|\n", "\n", "\n\n", "    ", "\\", "{code}", "{quote}", "{{", "}}", "h1. ",
            "||", "[~", "<p>", "</p>", "<a href='", "<!--", "-->", "&amp;", "@bob", "fixes #1", "a", " ",
            "<table><tr><td>", "<li>", "javascript:", "http://x", "~~", "[x] ", "---\n", "\u200b", "\t",
        ]),
        max_size=60,
    ).map("".join),
)  # fmt: skip
FEW: Final = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def outline(tree: Node) -> list[tuple[Any, ...]]:
    """What a reader sees of each block, in order: its kind, what marks it, its text."""
    return list(_outline(tree, 0))


def _outline(one: Node, depth: int) -> Iterator[tuple[Any, ...]]:
    match one.kind:
        case "paragraph" | "heading":
            yield (depth, one.kind, one.level, _words(one))
        case "code":
            yield (depth, "code", one.language, one.text)
        case "rule":
            yield (depth, "rule")
        case "table":
            yield (
                depth,
                "table",
                *([_words(cell) for cell in row.children] for row in one.children),
            )
        case _:
            if one.kind in {"list", "item", "quote"}:
                yield (depth, one.kind, one.ordered, one.checked)
            for child in one.children:
                yield from _outline(child, depth + 1)


def _words(one: Node) -> list[tuple[str, str]]:
    """Each piece of text with its marks, inner ones last; what looks alike is alike."""
    found: list[tuple[str, str]] = []
    for marks, text in _pieces(one.children, ""):
        told = " ".join(text.split()) if marks != "code" else text
        if found and found[-1][0] == marks:
            found[-1] = (marks, f"{found[-1][1]}{text}")
        elif told or text:
            found.append((marks, text))
    return [(marks, " ".join(text.split())) for marks, text in found if text.strip()]


def _pieces(nodes: list[Node], marks: str) -> Iterator[tuple[str, str]]:
    for one in nodes:
        match one.kind:
            case "text":
                yield marks, one.text
            case "code_span":
                yield f"{marks} code".strip(), one.text
            case "break":
                yield f"{marks} break".strip(), "\u21b5"
            case "image":
                yield f"{marks} link {one.href}".strip(), one.text or one.href
            case "link":
                yield from _pieces(one.children, f"{marks} link {one.href}".strip())
            case _:
                yield from _pieces(one.children, f"{marks} {one.kind}".strip())


def leaves(tree: Node) -> str:
    return plain([tree])
