"""Which events somebody has had, exactly, though ids become visible in another order.

An id is given when a row is written and is seen when its transaction commits, so "everything
beyond the last id" loses what committed late. PostgreSQL's snapshots say which transactions had
committed at a moment (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT),
and of two snapshots of one server the later sees all that the earlier saw. So new is what a later
snapshot sees and the earlier one does not, and the place within such a batch is its last row.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

LARGEST: Final = 2**64 - 1
LONGEST_CURSOR: Final = 200_000  # characters; some 9,000 transactions under way at once
FORM: Final = "1"

_SNAPSHOT: Final = re.compile(r"(\d{1,20}):(\d{1,20}):((?:\d{1,20}(?:,\d{1,20})*)?)", re.ASCII)
_PARTS: Final = re.compile(
    r"1\.([0-9a-f]{12})\.([\d:,]+)\.([\d:,]*)\.(\d{1,20})\.(\d{1,19})", re.ASCII
)


@dataclass(frozen=True)
class Snapshot:
    """What had committed at a moment: all below ``xmin``, none from ``xmax``, and between the two
    all but ``running``."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def read(cls, text: str) -> Self:
        """PostgreSQL's own form, ``xmin:xmax:xip,xip``.

        Raises:
            ValueError: it is not that.
        """
        found = _SNAPSHOT.fullmatch(text)
        if found is None:
            raise ValueError("no snapshot")
        xmin, xmax = int(found[1]), int(found[2])
        running = [int(one) for one in found[3].split(",") if one]
        in_order = all(a < b for a, b in pairwise(running))
        between = all(xmin <= one < xmax for one in running)
        if not (0 < xmin <= xmax <= LARGEST and in_order and between):
            raise ValueError("no snapshot")
        return cls(xmin, xmax, frozenset(running))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    def sees(self, tx: int) -> bool:
        """Whether transaction ``tx``, which has committed since, had committed then."""
        return tx < self.xmin or (tx < self.xmax and tx not in self.running)


@dataclass(frozen=True)
class Position:
    """All that ``before`` sees, and of what else ``batch`` sees all up to the row (``tx``, ``id``).

    Within a batch events stand in the order of (tx, id).
    """

    before: Snapshot
    batch: Snapshot
    tx: int = 0
    id: int = 0

    @classmethod
    def at(cls, snapshot: Snapshot) -> Self:
        """All that ``snapshot`` sees, and nothing else."""
        return cls(snapshot, snapshot)

    @property
    def is_within(self) -> bool:
        """Whether something of the batch may be left."""
        return self.before != self.batch

    def encode(self, epoch: str) -> str:
        """As a client keeps it: opaque, safe in any text."""
        batch = "" if self.batch == self.before else str(self.batch)
        text = f"{FORM}.{epoch}.{self.before}.{batch}.{self.tx}.{self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[str, Position]:
    """The epoch and the position of a cursor.

    Raises:
        ValueError: it is none of ours.
    """
    if len(cursor) > LONGEST_CURSOR or not cursor.isascii():
        raise ValueError("no cursor")
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("no cursor") from None
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError("no cursor")
    before = Snapshot.read(found[2])
    batch = Snapshot.read(found[3]) if found[3] else before
    tx, row_id = int(found[4]), int(found[5])
    if batch.xmax < before.xmax or tx > LARGEST or row_id >= 2**63:
        raise ValueError("no cursor")
    return found[1], Position(before, batch, tx, row_id)
