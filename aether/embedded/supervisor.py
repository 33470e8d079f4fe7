"""``aether up``: the services and the parts, started, kept up, and ended together."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from aether.config import Settings
from aether.embedded.children import Backoff, Child, all_stopped
from aether.embedded.postgres import Postgres
from aether.embedded.processes import end_remembered, remember, spawn
from aether.embedded.services import EmbeddedServices
from aether.embedded.signals import StopSignals
from aether.embedded.valkey import Valkey
from aether.errors import AetherError, UnavailableError

log = logging.getLogger(__name__)

PARTS: Final = ("web", "worker", "scheduler")
# -P: a folder named aether in the working directory is not us.
COMMAND: Final = (sys.executable, "-P", "-m", "aether")

CHILDREN_LIMIT_SECONDS: Final = 6.0
WHOLE_LIMIT_SECONDS: Final = 9.5
HURRIED_LIMIT_SECONDS: Final = 0.3
SERVICES_MARGIN_SECONDS: Final = 2.0  # the queue's second, and PostgreSQL's after SIGQUIT
LEFTOVER_LIMIT_SECONDS: Final = 8.0
LOOK_AROUND_SECONDS: Final = 60.0
LISTEN_POLL_SECONDS: Final = 0.05


def run_up(settings: Settings, *, seed: bool = False, command: Sequence[str] = COMMAND) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; the exit code.

    0 after a request to stop, 1 when a part cannot be kept up. All is ended within 10 s of the
    request; a second request hurries. Main thread only. The migrations and seeds run in a child,
    so that this process never loads the ORM and stays small.

    Args:
        settings: Checked for exposure before anything starts.
        seed: Load the seeds after the migrations.
        command: What runs a part when its name is appended; for tests.

    Raises:
        NotConfiguredError: a setting stands in the way; the text names it.
        ConflictError: another holder has AETHER_HOME.
        UnavailableError: a service or the migrations failed at the start.
    """
    settings.check_exposure()
    with StopSignals() as signals:
        return Supervisor(settings, command, signals).run(seed=seed)


class Supervisor:
    """The state of one ``aether up``."""

    def __init__(self, settings: Settings, command: Sequence[str], signals: StopSignals) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._signals = signals
        self._services = EmbeddedServices(settings, holder="aether up")
        self._service_backoffs = {
            name: Backoff(name) for name, service in self._embedded() if service is not None
        }
        self._service_due: dict[str, float] = {}
        self._service_started = dict.fromkeys(self._service_backoffs, 0.0)
        self._children: list[Child] = []
        self._children_path = self._services.home / "children.json"
        self._announced = False

    def run(self, *, seed: bool) -> int:
        """Start, keep up, stop; the exit code."""
        code = 0
        try:
            with self._signals.interrupting():
                self._start(seed=seed)
            self._keep_up()
        except KeyboardInterrupt:
            log.debug("asked to stop while starting")
        except UnavailableError as error:
            if not self._children:
                raise
            say(f"aether: {error}")
            code = 1
        finally:
            self._stop()
        return code

    def _start(self, *, seed: bool) -> None:
        began = time.monotonic()
        self._services.lock()
        end_remembered(self._children_path, patience_seconds=LEFTOVER_LIMIT_SECONDS)
        _check_port_is_free(self._settings.host, self._settings.port)
        self._services.start()
        for name, service in self._embedded():
            say(f"{name}: {'as its URL says' if service is None else service.data}")
        environment = self._environment()
        self._run_once("migrate", environment)
        if seed:
            self._run_once("seed", environment)
        say(f"services and schema ready in {time.monotonic() - began:.1f} s")
        self._children = [Child(part, (*self._command, part), environment) for part in PARTS]

    def _run_once(self, part: str, environment: dict[str, str]) -> None:
        """Run a command that ends by itself.

        Raises:
            UnavailableError: it failed; its own words are on stderr.
        """
        process = spawn(
            (*self._command, part),
            death_signal=signal.SIGTERM,
            environment=environment,
            folder=None,
        )
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if code != 0:
            raise UnavailableError(f"`aether {part}` failed with exit code {code}")

    def _environment(self) -> dict[str, str]:
        """What the parts get; libpq's own variables do not redirect them from an embedded one."""
        environment = dict(os.environ)
        if self._services.postgres is not None:
            environment = {k: v for k, v in environment.items() if not k.startswith("PG")}
        return environment | {
            "DATABASE_URL": self._services.database_url,
            "BROKER_URL": self._services.broker_url,
            "AETHER_HOME": str(self._services.home),
        }

    def _keep_up(self) -> None:
        look_around_at = time.monotonic() + LOOK_AROUND_SECONDS
        while not self._signals.requests:
            now = time.monotonic()
            for name, service in self._embedded():
                if service is not None:
                    self._tend_service(name, service, now)
            if any([child.tend(now) for child in self._children]):  # noqa: C419 - each is tended
                remember(self._children_path, [c.pid for c in self._children if c.pid])
            if not self._announced:
                self._announce()
            if now >= look_around_at:
                self._services.trim_logs()
                look_around_at = now + LOOK_AROUND_SECONDS
            self._signals.wait(self._next_due(look_around_at) - time.monotonic())

    def _next_due(self, look_around_at: float) -> float:
        due = [look_around_at, *self._service_due.values()]
        due += [child.due_at for child in self._children if child.due_at is not None]
        if not self._announced:
            due.append(time.monotonic() + LISTEN_POLL_SECONDS)
        return min(due)

    def _tend_service(self, name: str, service: Postgres | Valkey, now: float) -> None:
        """Start a service again that died; its clients come back by themselves."""
        due_at = self._service_due.get(name)
        if due_at is None:
            process = service.process
            if process is None or process.poll() is None:
                return
            log.warning("%s ended (exit code %d); starting it again", name, process.returncode)
            lived_seconds = now - self._service_started[name]
            due_at = self._service_backoffs[name].died(now, lived_seconds=lived_seconds)
            self._service_due[name] = due_at
        if now < due_at:
            return
        try:
            with self._signals.interrupting():
                service.restart()
        except AetherError as error:
            log.warning("%s cannot be started again: %s", name, error)
            later = time.monotonic()
            self._service_due[name] = self._service_backoffs[name].died(later, lived_seconds=0.0)
        else:
            del self._service_due[name]
            self._service_started[name] = time.monotonic()

    def _announce(self) -> None:
        """Say the address once the web part listens there."""
        host, port = self._settings.host, self._settings.port
        if port == 0:
            self._announced = True
            return
        try:
            socket.create_connection((_dialled(host), port), timeout=0.2).close()
        except OSError:
            return
        self._announced = True
        shown = f"[{host}]" if ":" in host else host
        say(
            f"ready: http://{shown}:{port}  (Ctrl-C stops it; /graphql is a page to look around in)"
        )

    def _stop(self) -> None:
        """End all: the parts together, then the services."""
        began = time.monotonic()
        hurry_at = max(self._signals.requests, 1) + 1
        if self._children:
            say("stopping")
        for child in self._children:
            child.ask_to_stop()
        while not all_stopped(self._children) and self._signals.requests < hurry_at:
            if time.monotonic() - began > CHILDREN_LIMIT_SECONDS:
                break
            self._signals.wait(0.1)
        for child in self._children:
            if not child.is_stopped():
                log.warning("%s does not stop; ending it", child.name)
            child.kill()
        if self._services.is_locked:
            self._children_path.unlink(missing_ok=True)
        left_seconds = WHOLE_LIMIT_SECONDS - (time.monotonic() - began) - SERVICES_MARGIN_SECONDS
        hurried = self._signals.requests >= hurry_at
        self._services.stop(limit_seconds=HURRIED_LIMIT_SECONDS if hurried else left_seconds)

    def _embedded(self) -> tuple[tuple[str, Postgres | Valkey | None], ...]:
        return (("PostgreSQL", self._services.postgres), ("queue", self._services.valkey))


def say(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _check_port_is_free(host: str, port: int) -> None:
    """Fail before anything starts, rather than after five tries of the web part."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on HOST {host}, PORT {port}: {error.strerror}"
        ) from error


def _dialled(host: str) -> str:
    """Where we reach a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
