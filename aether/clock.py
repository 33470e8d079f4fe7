"""The one place that asks for the time."""

from datetime import UTC, datetime


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)


def to_wire(moment: datetime) -> str:
    """``2026-02-18T10:00:00Z``: UTC, ISO 8601, whole seconds, as both wires show times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
