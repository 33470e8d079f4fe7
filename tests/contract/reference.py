"""The reference's endpoints and examples, read from its text; ``reference.txt`` is our copy.

The copy holds what is promised (method, path, curl, answer) and none of the prose between.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

COPY: Final = Path(__file__).with_name("reference.txt")
ORIGINAL: Final = Path(__file__).parents[3] / "shared" / "spec" / "rest-api.txt"

HEADING: Final = re.compile(r"(GET|POST|PUT|DELETE) (/\S+)")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One heading of the reference, with what stands under it."""

    method: str
    path: str  # with ``:id``
    curl: str | None = None
    answer: Any = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def pattern(self) -> str:
        """The path in Starlette's form, its parameters without names."""
        return re.sub(r":\w+", "{}", self.path)


def endpoints(text: str) -> list[Endpoint]:
    """Every endpoint of the reference's text, or of a copy, in its order."""
    lines = text.splitlines()
    starts = [place for place, line in enumerate(lines) if HEADING.fullmatch(line)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        heading = HEADING.fullmatch(lines[start])
        assert heading is not None
        under = lines[start + 1 : end]
        found.append(
            Endpoint(method=heading[1], path=heading[2], curl=_curl(under), answer=_answer(under))
        )
    return found


def _curl(lines: list[str]) -> str | None:
    """The command, over as many lines as its quotes and backslashes take."""
    for start, line in enumerate(lines):
        if line.startswith("curl "):
            for end in range(start + 1, len(lines) + 1):
                command = "\n".join(lines[start:end])
                if not command.endswith("\\") and command.count("'") % 2 == 0:
                    return command
    return None


def _answer(lines: list[str]) -> Any:
    """What stands under ``json``."""
    for place, line in enumerate(lines):
        if line == "json":
            return json.JSONDecoder().raw_decode("\n".join(lines[place + 1 :]).lstrip())[0]
        inline = re.fullmatch(r"json\s+(\S.*)", line)
        if inline:
            return json.loads(inline[1])
    return None


def copied(text: str) -> Iterator[str]:
    """The lines of a copy of the reference's text."""
    for one in endpoints(text):
        yield f"{one.method} {one.path}"
        if one.curl is not None:
            yield one.curl
        if one.answer is not None:
            yield "json"
            yield json.dumps(one.answer, indent=2)
        yield ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What curl would send."""

    method: str
    target: str  # path and query
    headers: dict[str, str]
    body: bytes | None


def called(curl: str) -> Call:
    """A command of the reference as the request that it makes.

    Only the options that the reference uses are known; another one is a failure.
    """
    words = iter(shlex.split(curl.replace("\\\n", " "))[1:])
    method, address, headers, body = None, None, {}, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name.lower()] = value.strip()
        elif word == "-d":
            body = next(words).encode()
        else:
            assert not word.startswith("-"), f"curl {word}"
            address = urlsplit(word)
    assert address is not None
    assert address.netloc == "localhost:8000"
    target = address.path + (f"?{address.query}" if address.query else "")
    usual = "GET" if body is None else "POST"
    return Call(method=method or usual, target=target, headers=headers, body=body)
