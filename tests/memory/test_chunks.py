import pytest

from aether.memory.chunks import chunks


def test_a_short_text_is_one_piece() -> None:
    assert chunks("  The team uses JWT.\n") == ["The team uses JWT."]


@pytest.mark.parametrize("text", ["", " \n\n "])
def test_blank_text_has_no_pieces(text: str) -> None:
    assert chunks(text) == []


def test_pieces_end_at_paragraphs_and_overlap_by_a_sentence() -> None:
    first = "One sentence here. Another one there."
    second = "The second paragraph is about tokens."
    third = "The third is about soup."

    pieces = chunks(f"{first}\n\n{second}\n\n{third}", size=50, overlap=25)

    assert pieces == [
        "One sentence here. Another one there.",
        "Another one there.\n\nThe second paragraph is about",
        "paragraph is about tokens.",
        "is about tokens.\n\nThe third is about soup.",
    ]


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "说" * 9_000, "word " * 5_000, "A sentence. " * 900, "line\n" * 3_000]
)
def test_every_character_is_in_a_piece_and_no_piece_is_too_long(text: str) -> None:
    pieces = chunks(text)

    assert max(map(len, pieces)) <= 900
    assert min(map(len, pieces)) > 0
    assert sum(map(len, pieces)) >= len(text.strip()) * 0.97  # blanks at the cuts may go
    assert pieces[-1][-20:] == text.strip()[-20:]


def test_chinese_is_cut_after_a_full_stop() -> None:
    pieces = chunks("这是一个句子。" * 400)

    assert {piece[-1] for piece in pieces} == {"。"}


def test_the_last_line_of_a_long_text_is_in_the_last_piece() -> None:
    text = "\n\n".join(["Some filler about other things. " * 20] * 300) + "\n\nThe code is 4711."

    assert "The code is 4711." in chunks(text)[-1]
