"""A program that holds one service until its input ends: ``holding postgres|valkey FOLDER``."""

import json
import sys
from pathlib import Path

from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey


def main() -> None:
    """Start it, say its pid and address as JSON, wait for the end of the input, stop it."""
    kind, folder = sys.argv[1:]
    service = Postgres(Path(folder), durable=False) if kind == "postgres" else Valkey(Path(folder))
    with service:
        assert service.process is not None
        address = service.dsn("postgres") if isinstance(service, Postgres) else service.url
        sys.stdout.write(json.dumps({"pid": service.process.pid, "address": address}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
