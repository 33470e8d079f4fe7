"""Which PostgreSQL, pgvector and queue the demo runs on, in words."""

import re
import subprocess
from pathlib import Path

from aether.embedded.binaries import postgres_binaries, valkey_binary


def services(named: Path | None) -> str:
    """``PostgreSQL 18.6 with pgvector 0.8.1, Valkey 9.1.2``.

    Args:
        named: POSTGRES_BIN, where it is set.

    Raises:
        NotConfiguredError: there are no binaries.
    """
    binaries = postgres_binaries(named, None)
    postgres = _number(_told(binaries / "postgres"))
    queue = valkey_binary(None)
    kind = "Redis" if queue.name.startswith("redis") else "Valkey"
    vector = f"PostgreSQL {postgres} with pgvector {_vector(binaries)}".rstrip()
    return f"{vector}, {kind} {_number(_told(queue))}"


def _told(program: Path) -> str:
    """What a program says of its version."""
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=10, check=False
    ).stdout


def _number(told: str) -> str:
    found = re.search(r"\d+(?:\.\d+)+", told)
    return found.group() if found else "(version unknown)"


def _vector(binaries: Path) -> str:
    """pgvector's version by its control file beside the binaries; empty when it is elsewhere."""
    for control in binaries.parent.glob("share/**/extension/vector.control"):
        found = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    return ""
