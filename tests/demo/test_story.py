"""The demo's drawing: the same content at any width, untrusted text as it is, no control codes."""

import io
from collections.abc import Callable

import pytest

from aether.demo import story as drawing
from aether.demo.story import Story, excerpt, one_line, prompt, reflowed, seconds, shown

HOSTILE = "[bold]not bold[/bold] \x1b[31mred\x1b[0m\x07 \u202eturned"
HARMLESS = "[bold]not bold[/bold] [31mred[0m turned"


@pytest.fixture
def told() -> Callable[..., str]:
    """What a story prints where output is no terminal."""

    def tell(draw: Callable[[Story], None], width: int = 80) -> str:
        file = io.StringIO()
        draw(Story(file, width=width))
        return file.getvalue()

    return tell


@pytest.mark.parametrize(
    "draw",
    [
        lambda story: story.line(HOSTILE),
        lambda story: story.event("Sarah", 0.1, "tool", HOSTILE),
        lambda story: story.table(("what",), [(HOSTILE,)]),
        lambda story: story.panel(prompt([{"role": "user", "content": HOSTILE}]), title="t"),
        lambda story: story.panel(drawing.answer(200, {"a": HOSTILE}), title="t"),
        lambda story: story.failure("it ended", log_name="web", log_tail=HOSTILE),
        lambda story: story.differences([("what", HOSTILE, "b")]),
    ],
)
def test_untrusted_text_is_drawn_as_it_is_and_steers_nothing(
    told: Callable[..., str], draw: Callable[[Story], None]
) -> None:
    text = told(draw)

    assert "[bold]not bold[/bold]" in text
    assert "\x1b" not in text.replace("\\u001b", "")
    assert "\x07" not in text
    assert "\u202e" not in text


def test_control_characters_go_and_lines_stay() -> None:
    assert shown(HOSTILE) == HARMLESS
    assert shown("a\n\tb\r\x00") == "a\n\tb"


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_or_than_100_columns(
    told: Callable[..., str], width: int
) -> None:
    def draw(story: Story) -> None:
        story.title()
        story.chapter("A chapter")
        story.event("Leo", 12.3, "tool", "recall(query=" + "word " * 60 + ")", "12 ms")
        story.table(("time", "about"), [("02:00:00", "x" * 120)])
        story.closing("fine", {"REST": "http://127.0.0.1:8000/api/agents"}, ["more"], title="Done")

    text = told(draw, width)

    assert max(len(line) for line in text.splitlines()) <= min(width, 100)
    assert text.count("x") >= 120
    assert all(line == line.rstrip() for line in text.splitlines())


def test_chapters_are_numbered_and_a_step_is_ticked_with_its_time(
    told: Callable[..., str],
) -> None:
    def draw(story: Story) -> None:
        story.chapter("One")
        story.chapter("Two")
        with story.doing("starting") as step:
            step.say("started", note="new")

    lines = told(draw).splitlines()

    assert [line.strip() for line in lines if line.strip()][:2] == ["1 One", "2 Two"]
    assert lines[-1].startswith("  ✓ started  new")
    assert lines[-1].endswith(" ms")


def test_a_step_that_fails_is_crossed_and_the_error_comes_through(
    told: Callable[..., str],
) -> None:
    def draw(story: Story) -> None:
        with pytest.raises(ValueError, match="no"), story.doing("starting"):
            raise ValueError("no")

    assert told(draw).startswith("  ✗ starting")


def test_a_prompt_is_shortened_with_a_note_of_how_much_is_left_out(
    told: Callable[..., str],
) -> None:
    content = "\n".join(f"line {number}" for number in range(100))
    messages = [{"role": "user", "content": content}]

    text = told(lambda story: story.panel(prompt(messages, head=2, tail=1), title="t"))

    assert "user message, 789 characters" in text
    assert "line 1 " in text
    assert "line 2 " not in text
    assert "[… 769 characters left out …]" in text
    assert "line 99" in text


def test_an_excerpt_counts_what_lies_between_and_leaves_short_texts_whole() -> None:
    assert excerpt("a\nb\nc", head=1, tail=1) == ("a\nb\nc", 0, "")
    assert excerpt("aa\nbbbb\ncccc\ndd", head=1, tail=1) == ("aa", 11, "dd")


def test_only_hard_wrapped_paragraphs_are_joined() -> None:
    long = "word " * 17 + "end"
    text = f"{long}\n  goes on\n- a point\nshort\nstays\n{long}\n- another point\n{long}\n\nnew"

    assert reflowed(text) == (
        f"{long} goes on\n- a point\nshort\nstays\n{long}\n- another point\n{long}\n\nnew"
    )


def test_markers_in_comments_are_not_shown(told: Callable[..., str]) -> None:
    body = drawing.markdown("Text\n\n<!-- aether:abc -->")

    text = told(lambda story: story.panel(body, title="t"))

    assert "Text" in text
    assert "aether" not in text


@pytest.mark.parametrize(
    ("value", "words"), [(0.0034, "3 ms"), (0.0994, "99 ms"), (0.1, "0.1 s"), (12.34, "12.3 s")]
)
def test_durations_in_words(value: float, words: str) -> None:
    assert seconds(value) == words


def test_one_line_is_one_and_not_longer_than_its_limit() -> None:
    assert one_line("a\n b\t c") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
