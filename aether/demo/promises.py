"""What the demo promises, held against what happened."""

from typing import Any, Final

SHORTENED: Final = 400


class Promises:
    """Collects what was not as told; the demo's exit code hangs on it."""

    def __init__(self) -> None:
        self.kept = 0
        self.broken: list[tuple[str, str, str]] = []

    def hold(self, what: str, expected: Any, actual: Any) -> bool:
        """Note whether ``actual`` is ``expected``."""
        if actual == expected:
            self.kept += 1
            return True
        self.broken.append((what, _short(expected), _short(actual)))
        return False


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHORTENED else f"{text[:SHORTENED]}… ({len(text):,} characters)"
