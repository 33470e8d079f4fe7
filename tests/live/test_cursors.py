"""Positions among transactions, and how a client keeps them."""

import base64

import pytest

from aether.errors import InvalidInputError
from aether.live.cursors import Position, Snapshot, decode
from aether.live.events import read_cursor

EPOCH = "0123456789ab"


@pytest.mark.parametrize(
    ("tx", "seen"), [(9, True), (10, False), (11, True), (12, False), (13, True), (14, False)]
)
def test_a_snapshot_sees_what_had_committed(tx: int, seen: bool) -> None:
    assert Snapshot.read("10:14:10,12").sees(tx) is seen


@pytest.mark.parametrize("text", ["7:7:", "7:9:7", "10:14:10,12", "1:18446744073709551615:"])
def test_a_snapshot_is_written_as_it_was_read(text: str) -> None:
    assert str(Snapshot.read(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "7", "0:1:", "9:7:", "7:9:6", "7:9:9", "7:9:8,7", "7:9:7,", "7:9", "\u0667:9:", "-1:2:"],
)
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        Snapshot.read(text)


def test_a_position_survives_the_client() -> None:
    within = Position(Snapshot.read("10:14:10,12"), Snapshot.read("12:20:12,15"), 13, 107)
    whole = Position.at(Snapshot.read("7:7:"))

    assert decode(within.encode(EPOCH)) == (EPOCH, within)
    assert decode(whole.encode(EPOCH)) == (EPOCH, whole)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "é",
        "AAAA",
        "A" * 300_000,
        base64.urlsafe_b64encode(b"1.0123456789ab.9:7:..0.0").decode(),
        base64.urlsafe_b64encode(b"1.0123456789ab.7:9:.7:8:.0.0").decode(),
        base64.urlsafe_b64encode(b"2.0123456789ab.7:9:..0.0").decode(),
        base64.urlsafe_b64encode(b"1.0123456789ab.7:9:..99999999999999999999.0").decode(),
    ],
)
def test_what_is_no_cursor_is_refused_by_the_name_of_its_argument(cursor: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^after: must be the cursor of an event"):
        read_cursor(cursor)
