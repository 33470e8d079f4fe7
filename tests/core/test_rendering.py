"""What is posted: whole where it fits, else shortened so that a reader notices nothing broken."""

import pytest

from aether.markup import neutralise
from aether.rendering import clean, fitting, is_blank, render

MARKER = "<!-- aether:m -->"
LIMIT = 65_536


def test_a_text_that_fits_is_posted_whole() -> None:
    assert render("Hello\n", marker=MARKER, limit=LIMIT) == f"Hello\n\n{MARKER}"


@pytest.mark.parametrize("length", [65_536, 65_537, 300_000])
def test_a_long_text_is_shortened_to_the_limit_with_a_notice(length: int) -> None:
    text = ("word " * (length // 5 + 1))[:length]

    body = render(text, marker=MARKER, limit=LIMIT)

    assert len(body) <= LIMIT
    assert len(body) > LIMIT - 1_000
    assert body.endswith(f"kept in Aether's record of this run.]*\n\n{MARKER}")
    kept = body.split("\n\n*[Shortened: ")[0]
    assert f"[Shortened: {len(text.rstrip()) - len(kept)} more characters" in body


@pytest.mark.parametrize("fence", ["```", "~~~~", "`````"])
def test_a_cut_inside_a_code_block_closes_it(fence: str) -> None:
    text = f"Look:\n{fence}python\n" + "x = 1\n" * 30_000 + fence

    body = render(text, marker=MARKER, limit=LIMIT)

    assert len(body) <= LIMIT
    assert f"x = 1\n{fence}\n\n*[Shortened" in body
    assert body.count(fence) == 2


def test_a_cut_never_falls_inside_a_character_as_a_reader_sees_it() -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    text = family * 20_000

    for limit in range(1_000, 1_010):
        kept = render(text, marker=MARKER, limit=limit).split("\n\n*[")[0]
        assert kept
        assert kept.replace(family, "") == ""


def test_what_cannot_be_stored_is_taken_out() -> None:
    assert clean("a\x00b\ud800c") == "ab\ufffdc"
    assert clean("😀 \\u0000 stays") == "😀 \\u0000 stays"


@pytest.mark.parametrize("text", [None, "", "\n ", "\u200b", "\u2060\ufeff\t"])
def test_a_text_without_anything_to_see_is_blank(text: str | None) -> None:
    assert is_blank(text)


def test_a_text_with_one_visible_character_is_not_blank() -> None:
    assert not is_blank("\u200b.")


def test_the_limit_counts_what_is_sent_and_the_marker_stays_as_it_is() -> None:
    text = "@bob " * 13_000

    body = render(text, marker=MARKER, limit=LIMIT, harmless=neutralise)

    assert LIMIT - 4_000 < len(body) <= LIMIT
    assert "@bob" not in body
    assert body.endswith(f"this run.]*\n\n{MARKER}")


@pytest.mark.parametrize("code", ["`{}`", "`` {} ``", "```\n{}\n```", "> ```\n> {}\n> ```"])
def test_a_cut_through_code_brings_nothing_to_life(code: str) -> None:
    text = code.format("x @bob fixes #1 " * 300)

    for limit in range(400, 480, 7):
        body = fitting(text, limit, harmless=neutralise)
        assert len(body) <= limit
        assert neutralise(body) == body


@pytest.mark.parametrize(
    "text", ["<a" * 60_000, "<a " * 60_000, "<b>" * 22_000, "@a <i>x</i> " * 9_000]
)
@pytest.mark.parametrize("limit", [1_000, 32_767, 65_536])
def test_what_grows_by_being_made_harmless_is_within_the_limit_and_not_cut_to_nothing(
    text: str, limit: int
) -> None:
    body = fitting(text, limit, harmless=neutralise)

    assert limit // 2 < len(body) <= limit
