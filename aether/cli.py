"""The ``aether`` command: reads the command line and calls one composition root."""

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from aether import __version__
from aether.config import Settings
from aether.errors import AetherError, NotConfiguredError, NotFoundError, UnavailableError
from aether.redact import redact

FAILED: Final = 1
WRONGLY_SET: Final = 2
SECRET_MASK: Final = "***"  # noqa: S105 - what is shown instead of one

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (2: a setting or an argument is wrong, 1: it failed)."""
    arguments = _parser().parse_args(argv)
    run: Command = arguments.run
    try:
        return run(arguments)
    except NotConfiguredError as error:
        sys.stderr.write(f"aether: {error}\n")
        return WRONGLY_SET
    except AetherError as error:
        sys.stderr.write(f"aether: {error}\n")
        return FAILED
    except BrokenPipeError:  # the reader of our output has gone, as in `aether sdl | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aether",
        description="AI agents that answer what happens in your issue trackers.",
        epilog="Settings are environment variables: see `aether settings`.",
    )
    parser.add_argument("--version", action="version", version=f"aether {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "Run everything: services, web, worker, scheduler.")
    up.add_argument("--seed", action="store_true", help="load the seeds first")
    command("web", _web, "Run the web part alone.")
    command("worker", _worker, "Run a worker alone.")
    command("scheduler", _scheduler, "Run the scheduler alone.")
    command("migrate", _migrate, "Bring the database's schema up to date.")
    seed = command("seed", _seed, "Load the seeds; what exists already is skipped.")
    seed.add_argument("names", nargs="*", metavar="NAME", help="which ones; all when none is named")
    demo = command("demo", _demo, "Show one webhook's way, from delivery to answer, offline.")
    demo.add_argument("--keep", action="store_true", help="keep it running afterwards")
    command("sdl", _sdl, "Print the GraphQL schema.")
    command("openapi", _openapi, "Print the REST interface as OpenAPI.")
    command("settings", _settings, "Print every setting, its value and its default.")
    return parser


def _up(arguments: argparse.Namespace) -> int:
    from aether.embedded.supervisor import run_up

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return run_up(Settings.from_environment(), seed=arguments.seed)


def _web(_: argparse.Namespace) -> int:
    settings = Settings.from_environment()
    settings.check_exposure()
    return _run_part("aether.main", settings)


def _worker(_: argparse.Namespace) -> int:
    return _run_part("aether.worker", Settings.from_environment())


def _scheduler(_: argparse.Namespace) -> int:
    return _run_part("aether.scheduler", Settings.from_environment())


def _run_part(module: str, settings: Settings) -> int:
    """Run a composition root until it is told to stop.

    Imported by name: a command loads its own part only.
    """
    settings, database_url = _connected(settings)
    asyncio.run(_check_database(database_url))
    code: int = importlib.import_module(module).run(settings)
    return code


async def _check_database(url: SecretStr) -> None:
    from aether import db

    await db.wait_until_ready(url)
    await db.require_migrations(url)


def _connected(settings: Settings) -> tuple[Settings, SecretStr]:
    """Settings with both URLs, from the environment or from an ``aether up`` that runs; the first.

    Raises:
        NotConfiguredError: neither names the database, or the queue.
    """
    from aether.embedded.services import with_running_services

    whole = with_running_services(settings)
    if whole.database_url is not None and whole.broker_url is not None:
        return whole, whole.database_url
    name = "DATABASE_URL" if whole.database_url is None else "BROKER_URL"
    raise NotConfiguredError(
        f"{name} is not set and no `aether up` runs on {whole.aether_home}; set it, or "
        "start `aether up`, which brings its own"
    )


@contextlib.contextmanager
def _with_database(settings: Settings) -> Iterator[tuple[Settings, SecretStr]]:
    """Settings and their database; the embedded services are started where nothing runs yet."""
    from aether.embedded.services import embedded_services, with_running_services

    whole = settings if settings.database_url is not None else with_running_services(settings)
    if whole.database_url is not None:
        yield whole, whole.database_url
        return
    with embedded_services(whole, holder="another aether command") as (database_url, broker_url):
        url = SecretStr(database_url)
        urls = {"database_url": url, "broker_url": SecretStr(broker_url)}
        yield whole.model_copy(update=urls), url


async def _bring_up_to_date(url: SecretStr) -> None:
    from aether import db

    try:
        await db.wait_until_ready(url)
        await db.migrate(url)
    except db.UNAVAILABLE as error:
        raise UnavailableError(f"DATABASE_URL: the database is out of reach: {error}") from error


def _migrate(_: argparse.Namespace) -> int:
    with _with_database(Settings.from_environment()) as (_whole, url):
        asyncio.run(_bring_up_to_date(url))
    return 0


def _seed(arguments: argparse.Namespace) -> int:
    from seeding import SEEDS

    for name in arguments.names:
        if name not in SEEDS:
            raise NotFoundError("seed", name)
    with _with_database(Settings.from_environment()) as (_whole, url):
        asyncio.run(_load_seeds(url, arguments.names or SEEDS))
    return 0


async def _load_seeds(url: SecretStr, names: Sequence[str]) -> None:
    from aether import audit, db
    from resolvers import seeding

    await _bring_up_to_date(url)
    async with db.pool(url, size=2):
        for name in names:
            with audit.coming_from("cli"):
                seeded = await seeding.seed(name)
            sys.stdout.write(f"{name}: {seeded.created} created, {seeded.skipped} skipped\n")


def _demo(arguments: argparse.Namespace) -> int:
    from aether.demo import main as demo

    code: int = demo.run(keep=arguments.keep)
    return code


def _sdl(_: argparse.Namespace) -> int:
    import schema

    sys.stdout.write(schema.print_sdl().rstrip("\n") + "\n")
    return 0


def _openapi(_: argparse.Namespace) -> int:
    from rest_compat import OPS, openapi

    sys.stdout.write(json.dumps(openapi.document(OPS), indent=2, ensure_ascii=False) + "\n")
    return 0


def _settings(_: argparse.Namespace) -> int:
    settings = Settings.from_environment()
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        sys.stdout.write(f"{name.upper()}\n")
        sys.stdout.write(f"    {field.description}\n")
        default = field.default
        if field.default is PydanticUndefined:
            default = field.default_factory() if callable(field.default_factory) else None  # type: ignore[call-arg]
        shown, usual = _shown(value), _shown(default)
        shown = redact(shown, settings)  # an address may hold a password
        note = f"default: {usual}" if shown == usual else f"value: {shown} (default: {usual})"
        sys.stdout.write(f"    {note}\n")
    return 0


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return SECRET_MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | frozenset):
        parts = value if isinstance(value, tuple) else sorted(value)
        return ",".join(parts) or "none"
    return str(value)
