"""``aether demo``: starts everything on a throw-away folder and tells the story of one webhook."""

import asyncio
import errno
import importlib
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from aether.config import Settings
from aether.demo import chapters, page, versions
from aether.demo.chapters import Stage
from aether.demo.doors import Doors
from aether.demo.github_payloads import signed_delivery
from aether.demo.parts import PartFailedError, Parts
from aether.demo.scenario import REPOSITORY, demo_github, demo_model
from aether.demo.serving import HOST, serving
from aether.demo.story import Story, seconds
from aether.embedded.services import embedded_services, with_running_services
from aether.embedded.signals import StopSignals
from aether.errors import AetherError, UnavailableError

USUAL_PORT: Final = 8000
PING: Final = {"zen": "Design for failure.", "repository": {"id": 1, "full_name": REPOSITORY}}
"""What GitHub sends when a hook is made; here it also proves whose web process answers."""

TAKEN: Final = os.strerror(errno.EADDRINUSE).lower()
INTERRUPTED: Final = 130
KEPT_ALIVE_SECONDS: Final = 1.0
INHERITED: Final = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
)
"""What the parts get of the environment, with PYTHON… and LC_…: no setting, no key, no proxy."""

WARM_WORKER: Final = (sys.executable, "-P", "-m", "aether.demo.warm")
NEXT: Final = {
    "aether demo --keep": "the same, left running to look around in",
    "aether up --seed": "Aether for real; set GITHUB_TOKEN, GITHUB_WEBHOOK_SECRET and LLM_MODEL "
    "(with its provider's key) first",
    "README.md": "how to connect a repository, and everything else",
}
TO_TRY: Final = (
    "curl -s {web}/api/task-executions/1",
    "curl -s '{web}/api/tool-executions?execution_id=1'",
    "curl -s {web}/api/agents/pm_sarah/audit",
    "curl -s {web}/api/deliveries",
)


def run(*, keep: bool = False) -> int:
    """Tell the story; 0 when everything was as promised, 1 when not, 130 after Ctrl-C.

    With ``keep`` everything stays up afterwards until Ctrl-C. Nothing is left behind in any
    case: no process, no folder. Main thread only.
    """
    story = Story()
    story.title()
    with StopSignals() as signals:
        try:
            return _demo(story, signals, keep=keep)
        except KeyboardInterrupt:
            story.line("stopped; nothing is left behind")
            return INTERRUPTED
        except PartFailedError as error:
            story.failure(str(error), log_name=error.part, log_tail=error.log_tail)
        except AetherError as error:
            story.failure(str(error))
    return 1


def _demo(story: Story, signals: StopSignals, *, keep: bool) -> int:
    began = time.monotonic()
    with _staged(story, signals) as stage:
        _tell(stage)
        promises = stage.promises
        if promises.broken:
            story.differences(promises.broken)
            return 1
        took = seconds(time.monotonic() - began)
        _close(stage, f"{promises.kept} checks held, {took} from start to end", keep=keep)
        if keep:
            _keep(stage, signals)
    return 0


@contextmanager
def _staged(story: Story, signals: StopSignals) -> Iterator[Stage]:
    """Everything started, and ended with the block."""
    story.chapter("Everything starts")
    token, secret, key = (f"demo-{secrets.token_hex(16)}" for _ in range(3))
    github, model = demo_github(token), demo_model(key)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aether-demo-")))
        home = folder / "home"
        told = {"AETHER_HOME": str(home), "POSTGRES_BIN": os.environ.get("POSTGRES_BIN", "")}
        settings = Settings.from_environment(told)
        with story.doing("the stand-ins") as step:
            github_url = stack.enter_context(serving(page.with_page(github)))
            model_url = stack.enter_context(serving(model.app))
            step.say(f"stand-ins: GitHub at {github_url}, the model at {model_url}/v1")
        environment = _inherited() | {
            "AETHER_HOME": str(home),
            "HOST": HOST,
            "WATCHDOG_ENABLED": "true",
            "GITHUB_API_URL": github_url,
            "GITHUB_TOKEN": token,
            "GITHUB_WEBHOOK_SECRET": secret,
            "LLM_BASE_URL": f"{model_url}/v1",
            "LLM_API_KEY": key,
            "LLM_MODEL": model.models[0],
            "MODEL_PRICES": json.dumps({model.models[0]: {"prompt": 0, "completion": 0}}),
        }
        parts = Parts(environment, folder, is_stopping=lambda: signals.requests > 0)
        stack.enter_context(parts)
        parts.start("worker", WARM_WORKER)  # first: it loads the longest
        with story.doing("PostgreSQL and the queue") as step:
            _serve(stack, settings)
            step.say(versions.services(settings.postgres_bin), note="new and empty")
        parts.check()
        with story.doing("the database's schema") as step:
            _migrate(settings)
            step.say("the database's schema", note="as aether migrate makes it")
        doors = stack.enter_context(_started(story, parts, secret))
        yield Stage(story, parts, doors, github, github_url, model, secret)


def _serve(stack: ExitStack, settings: Settings) -> None:
    """PostgreSQL and the queue, for as long as the stack; the parts find them by AETHER_HOME."""
    # PostgreSQL takes a second to make its files: time enough to load what migrates
    with ThreadPoolExecutor(1) as loader:
        loading = loader.submit(importlib.import_module, "aether.db")
        services = embedded_services(settings, holder="aether demo", durable=False)
        stack.enter_context(services)
        loading.result()


def _migrate(settings: Settings) -> None:
    """Make the tables; in this process, since a child would load for a second first.

    Raises:
        UnavailableError: the database failed.
    """
    from aether import db

    database_url = with_running_services(settings).database_url
    if database_url is None:
        raise UnavailableError("the database has ended")
    try:
        asyncio.run(db.migrate(database_url))
    except db.UNAVAILABLE as error:
        raise UnavailableError(f"the migrations failed: {error}") from error


def _started(story: Story, parts: Parts, secret: str) -> Doors:
    """Web process, worker and scheduler; the usual port, or a free one where it is taken."""
    with story.doing("web process, worker and scheduler") as step:
        try:
            doors = _web(parts, secret, _port())
        except PartFailedError as error:  # another process may have taken the port in between
            if error.part != "web" or TAKEN not in error.log_tail:
                raise
            parts.drop("web")
            doors = _web(parts, secret, _free_port())
        is_usual = doors.base_url.endswith(f":{USUAL_PORT}")
        note = "" if is_usual else f"port {USUAL_PORT} is taken"
        parts.start("scheduler")  # last: nothing waits for it, and it would slow the two others
        step.say(f"web process at {doors.base_url}, worker, scheduler", note=note)
    return doors


def _web(parts: Parts, secret: str, port: int) -> Doors:
    parts.start("web", PORT=str(port))
    doors = Doors(f"http://{HOST}:{port}", parts)
    try:
        doors.wait_until_ready(signed_delivery("ping", PING, secret))
    except BaseException:
        doors.close()
        raise
    return doors


def _tell(stage: Stage) -> None:
    """The chapters, in their order."""
    story = stage.story
    chapters.seeds(stage)
    story.chapter("Somebody opens an issue (GitHub is a stand-in)")
    chapters.issue(stage)
    story.chapter("GitHub sends a signed delivery")
    chapters.delivery(stage)
    story.chapter("Two agents work on it (their model is a scripted stand-in)")
    chapters.work(stage)
    story.chapter("What the model saw")
    chapters.prompt(stage)
    story.chapter("What was posted")
    chapters.comments(stage)
    story.chapter("What was written down")
    chapters.audit(stage)
    story.chapter("GitHub tells Aether of Aether's own writes: no loop")
    chapters.own_doing(stage)
    story.chapter("The same delivery again: nothing happens twice")
    chapters.again(stage)


def _close(stage: Stage, verdict: str, *, keep: bool) -> None:
    web = stage.doors.base_url
    if keep:
        facts = {
            "GraphiQL": f"{web}/graphql",
            "REST": f"{web}/api/agents",
            "OpenAPI": f"{web}/openapi.json",
            "webhook": f"{web}/webhook/github",
            "the issue": f"{stage.github_url}{page.PATH}",
        }
        tries = [f"  {one.format(web=web)}" for one in TO_TRY]
        more = ["", "To try:", *tries, "", "It keeps running. Ctrl-C ends it and removes it all."]
    else:
        facts, more = NEXT, []
    stage.story.closing(verdict, facts, more, title="Done")


def _keep(stage: Stage, signals: StopSignals) -> None:
    """Keep everything up until Ctrl-C.

    Raises:
        UnavailableError: a part keeps ending.
    """
    while not signals.requests:
        stage.parts.tend()
        signals.wait(KEPT_ALIVE_SECONDS)
    stage.story.line("stopping")


def _port() -> int:
    """The usual port, or a free one where somebody listens there."""
    try:
        socket.create_server((HOST, USUAL_PORT)).close()
    except OSError:
        return _free_port()
    return USUAL_PORT


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith(("PYTHON", "LC_"))
    }
