"""How the demo looks: titles, ticked steps, panels and tables; plain text where nobody colours.

Texts come from a platform, a model or a tool and are drawn as they are: no markup is read in
them, no control character passes.
"""

import contextlib
import io
import json
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

WIDEST: Final = 100
INDENT: Final = 3
AGENT_COLOURS: Final = ("cyan", "magenta", "yellow", "blue")
ONE_LINE: Final = 300
HARD_WRAPPED: Final = 80  # characters from which on a line of a prompt's file was cut by its editor

_HTML_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_NEW_LINE: Final = re.compile(r"\s*(?:[-*#>|`]|\d+[.)]|$)")


def shown(text: str) -> str:
    """``text`` without what could steer a terminal; line ends and tabs stay."""
    return "".join(
        one for one in text if one in "\n\t" or unicodedata.category(one) not in {"Cc", "Cf", "Cs"}
    )


def one_line(text: str, limit: int = ONE_LINE) -> str:
    """``text`` in one line of at most ``limit`` characters."""
    line = " ".join(shown(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def seconds(value: float) -> str:
    """A duration as a person says it: ``14 ms``, ``1.2 s``."""
    return f"{value * 1000:.0f} ms" if value < 0.0995 else f"{value:.1f} s"


def excerpt(text: str, *, head: int, tail: int) -> tuple[str, int, str]:
    """The first and last lines of ``text``, and how many characters lie between them."""
    lines = text.splitlines()
    if len(lines) <= head + tail + 1:
        return text, 0, ""
    first, last = "\n".join(lines[:head]), "\n".join(lines[len(lines) - tail :])
    return first, len(text) - len(first) - len(last), last


def reflowed(text: str) -> str:
    """``text`` with its hard-wrapped paragraphs as one line each; lists and headings stay."""
    lines: list[str] = []
    was_long = False
    for line in text.splitlines():
        if was_long and not _NEW_LINE.match(line):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line)
        was_long = len(line) >= HARD_WRAPPED
    return "\n".join(lines)


@dataclass
class Doing:
    """A step that is under way: what to print once it is done."""

    said: Text
    note: str = ""
    began: float = field(default_factory=time.monotonic)

    def say(self, *parts: str | Text, note: str = "") -> None:
        """Replace what is printed; ``note`` follows, dimmed."""
        self.said = Text.assemble(*(one if isinstance(one, Text) else shown(one) for one in parts))
        self.note = note


class Story:
    """Prints the demo, one thing after another."""

    def __init__(self, file: TextIO | None = None, *, width: int | None = None) -> None:
        """``file``: standard output when absent; ``width``: the terminal's, 100 columns at most."""
        if file is None and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a tick gets a "?"
        self.console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
        self.console.width = min(self.console.width, WIDEST)
        self._has_ticks = self.console.encoding.startswith("utf")
        self._chapters = 0
        self._agents: dict[str, str] = {}

    def title(self) -> None:
        """What this is, and what is not real in it."""
        self._print(
            Panel(
                Group(
                    Text(
                        "One webhook's whole way, from the signed delivery to the posted comment."
                    ),
                    Text(),
                    Text.assemble(
                        ("GitHub and the language model are stand-ins: ", "bold yellow"),
                        "two small servers of this program on 127.0.0.1. No account, no key, no "
                        "network is used; nothing leaves this machine.",
                    ),
                    Text.assemble(
                        ("The rest is what you would run: ", "bold"),
                        "PostgreSQL with pgvector, the queue, the web process, the worker and the "
                        "scheduler, on a data folder that is thrown away at the end. Settings of "
                        "your environment are not read.",
                    ),
                ),
                title=Text("Aether · demo", style="bold"),
                box=ROUNDED,
                border_style="cyan",
                padding=(1, 2),
            )
        )

    def chapter(self, title: str) -> None:
        """A numbered heading."""
        self._chapters += 1
        self._print(Text())
        self._print(Text.assemble((f"{self._chapters:>2} ", "bold cyan"), (title, "bold")))

    @contextlib.contextmanager
    def doing(self, text: str) -> Iterator[Doing]:
        """A step: turning while it runs (on a terminal), then ticked, with the time it took."""
        step = Doing(Text(shown(text)))
        try:
            with self.waiting(text):
                yield step
        except Exception:
            self._step("✗" if self._has_ticks else "x", "bold red", step)
            raise
        self._step("✓" if self._has_ticks else "*", "bold green", step)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Something turning beside ``text``; nothing where output is no terminal."""
        with self.console.status(Text(shown(text), style="dim"), spinner="dots"):
            yield

    def _step(self, mark: str, style: str, step: Doing) -> None:
        took = seconds(time.monotonic() - step.began)
        said = Text.assemble(step.said, (f"  {shown(step.note)}" if step.note else "", "dim"))
        self._print(row(Text(mark, style=style), said, Text(took, style="dim")))

    def line(self, *parts: str | Text | tuple[str, str]) -> None:
        """One line of the story, indented."""
        told = Text.assemble(
            *(one if isinstance(one, Text) else _styled(one) for one in parts), overflow="fold"
        )
        self._print(Padding(told, (0, 0, 0, INDENT)))

    def event(self, agent: str, at: float, what: str, text: str, took: str = "") -> None:
        """One line of an agent's work, ``at`` seconds after the delivery."""
        colour = self._colour(agent)
        told = Text.assemble((f"{what}  ", "bold"), shown(text), overflow="fold")
        left = Text.assemble((f"{at:5.1f} s  ", "dim"), (f"{shown(agent)}", f"bold {colour}"))
        self._print(event_row(left, told, Text(took, style="dim"), self.console.width))

    def panel(
        self,
        body: RenderableType,
        *,
        title: str,
        subtitle: str = "",
        style: str = "blue",
    ) -> None:
        """Something to look at, in a frame."""
        self._print(
            Padding(
                Panel(
                    body,
                    title=Text(one_line(title), style="bold"),
                    title_align="left",
                    subtitle=Text(one_line(subtitle), style="dim") if subtitle else None,
                    subtitle_align="right",
                    border_style=style,
                    box=ROUNDED,
                    padding=(0, 1),
                ),
                (0, 0, 0, INDENT),
            )
        )

    def closing(
        self, verdict: str, facts: Mapping[str, str], more: Sequence[str], *, title: str
    ) -> None:
        """The last panel, as wide as the first: the verdict, named facts, lines below them."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in facts.items():
            grid.add_row(Text(name, style="bold"), Text(fact))
        body = Group(
            Text.assemble(("✓ " if self._has_ticks else "* ", "bold green"), (verdict, "bold")),
            Text(),
            grid,
            *(Text(one, overflow="fold") for one in more),
        )
        self._print(Text())
        self._print(
            Panel(
                body,
                title=Text(title, style="bold"),
                box=ROUNDED,
                border_style="cyan",
                padding=(1, 2),
            )
        )

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table; the last column takes what room there is."""
        drawn = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
        for number, heading in enumerate(headings):
            is_last = number == len(headings) - 1
            drawn.add_column(Text(heading), overflow="fold", no_wrap=not is_last)
        for one in rows:
            drawn.add_row(*(Text(shown(cell)) for cell in one))
        self._print(Padding(drawn, (0, 0, 0, INDENT)))

    def failure(self, text: str, *, log_name: str = "", log_tail: str = "") -> None:
        """Why it stopped, and the end of the log of the part that failed."""
        self._print(Text())
        self.panel(Text(shown(text)), title="It stopped here", style="red")
        if log_name:
            told = Text(shown(log_tail) if log_tail.strip() else "(empty)")
            self.panel(told, title=f"The end of the log of {log_name}", style="red")

    def differences(self, told: Sequence[tuple[str, str, str]]) -> None:
        """What was not as promised: what, what was expected, what there was."""
        lines: list[RenderableType] = []
        for what, expected, actual in told:
            lines.append(Text(shown(what), style="bold"))
            lines.append(Text(f"  expected: {shown(expected)}", overflow="fold"))
            lines.append(Text(f"  there was: {shown(actual)}", overflow="fold"))
        self._print(Text())
        self.panel(Group(*lines), title="Not as promised", style="red")

    def _colour(self, agent: str) -> str:
        return self._agents.setdefault(agent, AGENT_COLOURS[len(self._agents) % len(AGENT_COLOURS)])

    def _print(self, what: RenderableType) -> None:
        if self.console.is_terminal:
            self.console.print(what)
            return
        with self.console.capture() as captured:
            self.console.print(what)
        lines = captured.get().splitlines()
        self.console.file.write("".join(f"{line.rstrip()}\n" for line in lines))
        self.console.file.flush()


def row(mark: Text, said: Text, took: Text) -> Table:
    """A tick, what was done, and at the right how long it took."""
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(width=INDENT, justify="right")
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(mark, said, took)
    return grid


def event_row(left: Text, told: Text, took: Text, width: int) -> Table:
    """When and who, what, and at the right what it took."""
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(width=18, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, told, took)
    grid.width = width
    return grid


def markdown(text: str) -> Markdown:
    """What a tracker would make of ``text``; HTML comments, such as our markers, do not show."""
    seen = _HTML_COMMENT.sub("", shown(text)).strip()
    return Markdown(seen, code_theme="ansi_dark", hyperlinks=False)


def answer(status: int, body: Mapping[str, Any]) -> Text:
    """An HTTP answer in one line."""
    return Text.assemble(
        (f"{status} ", "bold green" if status < 400 else "bold red"),
        shown(json.dumps(body, ensure_ascii=False)),
    )


def prompt(messages: Sequence[Mapping[str, Any]], *, head: int = 12, tail: int = 8) -> Group:
    """The opening of a conversation as the model got it, the middles left out with a note.

    The system prompt's hard line ends are joined, to be read at any width.
    """
    parts: list[RenderableType] = []
    for message in messages:
        role, text = str(message.get("role", "")), str(message.get("content", ""))
        drawn = reflowed(text) if role == "system" else text
        first, left_out, last = excerpt(drawn, head=head, tail=tail)
        if parts:
            parts.append(Text())
        parts.append(Text(f"{role} message, {len(text):,} characters", style="bold cyan"))
        parts.append(Text(shown(first), overflow="fold"))
        if left_out:
            parts.append(Text(f"[… {left_out:,} characters left out …]", style="italic yellow"))
            parts.append(Text(shown(last), overflow="fold"))
    return Group(*parts)


def _styled(part: str | tuple[str, str]) -> tuple[str, str]:
    text, style = (part, "") if isinstance(part, str) else part
    return shown(text), style
