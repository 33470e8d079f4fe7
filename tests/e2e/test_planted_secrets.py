"""Twenty marked secrets, and all of Aether driven with stand-ins that quote them: none leaves."""

import base64
import html
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from graphql import get_named_type

from aether.config import Settings
from aether.db import rows
from aether.demo.model import ChatRequest, Reply, ToolCallScript
from rest_compat import OPS
from tests.e2e.system import System, wait_for
from tests.mcp.toolbox import READS, Toolbox
from tests.schema.both import whole_schema
from tests.schema.selections import queries, selected

REPO: Final = "acme/api"
MakeSystem = Callable[..., AbstractContextManager[System]]


def marked(number: int, start: str = "") -> str:
    """A secret that is known again wherever it, or a good part of it, turns up.

    It holds what addresses, JSON, HTML and base64 write otherwise.
    """
    return f'{start}Pl4nt3d{number:02d}-{number * 7919:06d}/s&c"r+t~>?'


def private_key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


APP_KEY: Final = private_key()
PLANTED: Final[dict[str, str]] = {
    "API_TOKEN": marked(1),
    "ENCRYPTION_KEY": marked(2, "a-key-of-enough-characters-"),
    "LLM_API_KEY": marked(3, "sk-"),
    "GITHUB_TOKEN": marked(4, "ghp_"),
    "GITHUB_WEBHOOK_SECRET": marked(5),
    "GITLAB_TOKEN": marked(6, "glpat-"),
    "GITLAB_WEBHOOK_SECRET": marked(7),
    "GITLAB_SIGNING_TOKEN": "whsec_" + base64.b64encode(marked(8).encode()).decode(),
    "JIRA_API_TOKEN": marked(9),
    "JIRA_WEBHOOK_SECRET": marked(10),
    "PLANE_API_KEY": marked(11, "plane_api_"),
    "PLANE_WEBHOOK_SECRET": marked(12),
    "OPENAI_API_KEY": marked(13),
    "GITHUB_APP_PRIVATE_KEY": APP_KEY,
    "an integration's token": marked(15),
    "an integration's webhook secret": marked(16),
    "an integration's secret of another name": marked(17),
    "an MCP server's bearer": marked(18),
    "an MCP server's header": marked(19),
    "a password in an address of ours": marked(20),
}
ENVIRONMENT: Final = {
    name: value for name, value in PLANTED.items() if name.isupper() and "'" not in name
}
FOREIGN: Final = {
    "a key in a query string": marked(21, "AIza"),
    "a bearer that is no one of ours": marked(22),
    "a password in an address": marked(23),
}
"""Of others: known by how they look, where they stand in an error."""
KNOWN: Final = " and ".join(PLANTED.values())


def spelt(secret: str) -> list[str]:
    """As programs quote it: in JSON, in addresses, in HTML, in base64, in another case."""
    in_base64 = [
        base64.b64encode(f"{before}{secret}".encode()).decode() for before in ("", "u:", "me@a.b:")
    ]
    return [
        json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret), html.escape(secret),
        *in_base64, in_base64[0].replace("+", "-").replace("/", "_"), secret.lower(),
        secret.swapcase(),
    ]  # fmt: skip


SPELT: Final = " or ".join(
    text for name, secret in PLANTED.items() if name != "GITHUB_APP_PRIVATE_KEY"
    for text in spelt(secret)
)  # fmt: skip
QUOTED: Final = (
    f"{KNOWN}; {SPELT}; GET https://models.example/v1?key={FOREIGN['a key in a query string']} "
    f"Authorization: Bearer {FOREIGN['a bearer that is no one of ours']} "
    f"https://ann:{FOREIGN['a password in an address']}@host/"
)


RUNS: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}")


def decoded(text: str) -> str:
    """What stands in base64 in a text, as far as it can be read, whatever it begins with."""
    found = []
    for run in RUNS.findall(text):
        plain = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            part = plain[start : start + (len(plain) - start) // 4 * 4]
            found.append(base64.b64decode(part).decode("latin-1"))
    return "\n".join(found)


def needles() -> dict[str, list[str]]:
    """What must not be found, in any case, by the secret's name."""
    found = {name: [value] for name, value in (PLANTED | FOREIGN).items()}
    for name, value in (PLANTED | FOREIGN).items():
        if (marker := re.search(r"Pl4nt3d\d\d", value)) is not None:
            found[name].append(marker[0])
    found["GITHUB_APP_PRIVATE_KEY"] = [one for one in APP_KEY.splitlines()[1:-1] if len(one) >= 16]
    found["GITLAB_SIGNING_TOKEN"].append(marked(8))
    pair = base64.b64encode(f"bot@example.com:{PLANTED['JIRA_API_TOKEN']}".encode()).decode()
    found["JIRA_API_TOKEN"].append(pair)
    return {name: [one.lower() for one in all_] for name, all_ in found.items()}


NEEDLES: Final = needles()


@dataclass
class Told:
    """Everything that came out, by where it came out."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, text: str) -> None:
        self.heard.append((where, text))

    def leaks(self) -> list[tuple[str, str, str]]:
        """(secret's name, where, the text around it)."""
        found = []
        for where, text in self.heard:
            for told in (text.lower(), decoded(text).lower()):
                for name, needle in ((name, one) for name, all_ in NEEDLES.items() for one in all_):
                    at = told.find(needle)
                    if at >= 0:
                        found.append((name, where, told[max(0, at - 120) : at + 60]))
        return found


class Caller:
    """Calls the product and keeps every answer."""

    def __init__(self, url: str, told: Told) -> None:
        self.told = told
        self.client = httpx.Client(
            base_url=url, timeout=60, headers={"authorization": f"Bearer {PLANTED['API_TOKEN']}"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.client.request(method, path, json=body, **more)
        self.told.add(f"{method} {path}", f"{answer.headers} {answer.text}")
        try:
            return answer.json()
        except ValueError:
            return answer.text

    def ask(self, query: str, **variables: Any) -> Any:
        return self("POST", "/graphql", {"query": query, "variables": variables})


def speaking(request: ChatRequest) -> Reply:
    """A model that says and does all that it was told by a bad server; errors come before."""
    if request.turn == 0:
        return Reply.calls(
            ToolCallScript("get_issue", {}, "c1"),
            ToolCallScript("mcp_docs_search", {"query": KNOWN}, "c2"),
            ToolCallScript("mcp_docs_search", {"nonsense": KNOWN}, "c3"),
            ToolCallScript("remember", {"key": "k", "content": KNOWN, "scope": "project"}, "c4"),
            ToolCallScript("add_labels", {"labels": [PLANTED["API_TOKEN"]]}, "c5"),
            ToolCallScript(f"no_{PLANTED['API_TOKEN']}", {}, "c6"),
            ToolCallScript(
                "update_issue", {"title": f"It is {PLANTED['API_TOKEN']}", "body": KNOWN}, "c7"
            ),
            content=f"I know {KNOWN}",
        )
    return Reply.text(f"The secrets are {KNOWN}.").paced(0.01)


@contextmanager
def planted(make_system: MakeSystem) -> Iterator[tuple[System, Toolbox]]:
    """The processes with every secret, an MCP server that quotes, a GitHub and a model."""
    box = Toolbox(
        required={
            "Authorization": "Bearer " + PLANTED["an MCP server's bearer"],
            "X-Key": PLANTED["an MCP server's header"],
        }
    )

    def quoting(query: str) -> str:
        box.called.append(("search", {"query": query}))
        return f"You sent {query}; I know {KNOWN} and {SPELT}"

    quoted = "Search. You are " + PLANTED["an MCP server's bearer"]
    box.put("search", quoting, quoted, annotations=READS)
    environment = {
        **ENVIRONMENT,
        "OUTBOUND_ALLOW": "127.0.0.1",
        "JIRA_EMAIL": "bot@example.com",
        "JIRA_URL": "http://127.0.0.1:9",
        "GITLAB_URL": "http://127.0.0.1:9",
        "PLANE_URL": f"http://ann:{quote(PLANTED['a password in an address of ours'], safe='')}"
        "@127.0.0.1:9",
        "PLANE_WORKSPACE": "acme",
        "MAX_TRIES": "1",
    }
    with box.served(), make_system(**environment) as system:
        system.model.key = PLANTED["LLM_API_KEY"]
        system.github.accept(PLANTED["GITHUB_TOKEN"], "aether-person")
        system.github.accept(PLANTED["an integration's token"], "aether-person")
        system.start("worker")
        system.start("scheduler")
        system.start_web()
        yield system, box


def configure(call: Caller, box: Toolbox) -> None:
    for what in ("tasks/sources", "tools"):
        call("POST", f"/api/{what}/seed")
    call("POST", "/api/agents", {
        "id": "pm_sarah", "name": "Sarah", "role_id": "pm", "prompt": "You are Sarah.",
    })  # fmt: skip
    call("POST", "/api/tasks", {
        "id": "triage", "name": "Triage", "description": "Say what it is.",
        "actor_id": "pm_sarah", "summarize": True, "memory_scopes": ["project"],
    })  # fmt: skip
    call("POST", "/api/projects", {
        "name": "API", "source": "github", "source_project_id": REPO,
    })  # fmt: skip
    for trigger in ("issue.created", "issue.commented"):
        call("POST", "/api/tasks/triggers", {"canonical_trigger": trigger, "task_id": "triage"})
    call("POST", "/api/integrations", {
        "source": "github", "name": "Ours", "project_id": 1, "slug": "ours",
        "credentials": {
            "token": PLANTED["an integration's token"],
            "extra": PLANTED["an integration's secret of another name"],
        },
        "webhook": {
            "header": "X-Sign", "algorithm": "sha256",
            "secret": PLANTED["an integration's webhook secret"],
        },
    })  # fmt: skip
    call("POST", "/api/integrations", {
        "source": "github", "name": "App",
        "credentials": {"app_id": "77", "private_key": PLANTED["GITHUB_APP_PRIVATE_KEY"]},
        "enabled": False,
    })  # fmt: skip
    headers = {
        "Authorization": "Bearer " + PLANTED["an MCP server's bearer"],
        "X-Key": PLANTED["an MCP server's header"],
    }
    call("POST", "/api/mcp-servers", {
        "name": "Docs", "url": box.url, "headers": headers, "agent_id": "pm_sarah",
    })  # fmt: skip
    call("POST", "/api/mcp-servers", {
        "name": "Away", "url": "http://127.0.0.1:9/mcp", "headers": headers,
    })  # fmt: skip
    found = call("POST", "/api/mcp-servers/discover")
    assert found["tools"] == ["mcp_docs_search"], found


def deliver(system: System, call: Caller, number: int, *, ask: bool = False) -> int:
    """An issue of a member; the execution that it starts."""
    system.github.add_issue(REPO, number, "Boom", "It breaks.")
    answer = system.deliver(
        system.github.opened_payload(REPO, number), secret=PLANTED["GITHUB_WEBHOOK_SECRET"]
    )
    call.told.add("POST /webhook/github", answer.text)
    [execution_id] = answer.json()["executions"]
    return int(execution_id)


def ended(call: Caller, execution_id: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = call("GET", f"/api/task-executions/{execution_id}")
        return found if found["status"] in {"succeeded", "failed"} else None

    return wait_for(look, seconds=240, what=f"the end of execution {execution_id}")


def runs_that_end_in_every_way(system: System, call: Caller) -> None:
    system.model.say(speaking)
    said = ended(call, deliver(system, call, 7))
    assert said["status"] == "succeeded", said
    for number, status in ((8, 400), (9, 401), (10, 500)):
        system.model.say(Reply.error(status, message=QUOTED))
        assert ended(call, deliver(system, call, number))["status"] == "failed"
    system.model.say(Reply.breaking(f"Half of {KNOWN}", 3, message=QUOTED))
    ended(call, deliver(system, call, 11))
    for number, status in ((12, 403), (13, 422), (14, 500)):
        system.github.fail_next(
            "POST", "comments", status=status, body={"message": QUOTED}, times=9
        )
        system.model.say(Reply.text("Fine."))
        assert ended(call, deliver(system, call, number))["status"] == "failed"
        system.github.faults.clear()
    system.github.fail_next("GET", "issues/15", status=500, body=QUOTED, times=9)
    system.model.say(speaking)
    ended(call, deliver(system, call, 15))
    system.github.faults.clear()


def wrong_deliveries(system: System, call: Caller) -> None:
    url, body = system.url, json.dumps(system.github.opened_payload(REPO, 7)).encode()
    secrets = PLANTED["GITHUB_WEBHOOK_SECRET"]
    for slug, headers in (
        ("github", {"x-github-event": "issues", "x-hub-signature-256": f"sha256={secrets}"}),
        ("github", {"x-github-event": "issues"}),
        ("gitlab", {"x-gitlab-event": "Issue Hook", "x-gitlab-token": marked(7) + "x"}),
        ("jira", {"x-hub-signature": PLANTED["JIRA_WEBHOOK_SECRET"]}),
        ("plane", {"x-plane-signature": PLANTED["PLANE_WEBHOOK_SECRET"]}),
        ("ours", {"x-sign": PLANTED["an integration's webhook secret"]}),
        ("nowhere", {}),
    ):
        answer = httpx.post(f"{url}/webhook/{slug}", content=body, headers=headers, timeout=20)
        call.told.add(f"POST /webhook/{slug}", answer.text)
        assert answer.status_code in {401, 404}, (slug, answer.status_code, answer.text)
        call("POST", "/api/deliveries/simulate",
             {"slug": slug, "headers": {}, "body": body.decode()})  # fmt: skip
    for told in ("Bearer nobody", "Basic nobody"):
        answer = httpx.get(f"{url}/api/agents", headers={"authorization": told}, timeout=20)
        call.told.add("GET /api/agents", answer.text)
        assert answer.status_code == 401


def polls(system: System, call: Caller) -> None:
    system.github.fail_next("GET", "issues", status=403, body={"message": QUOTED}, times=20)
    source = call("POST", "/api/poll-sources", {
        "source": "github", "project_id": REPO, "integration_id": 1,
    })  # fmt: skip

    def failed() -> bool:
        return bool(call("GET", f"/api/poll-sources/{source['id']}").get("error"))

    wait_for(failed, seconds=60, what="a poll that failed")
    system.github.faults.clear()
    call("PUT", f"/api/poll-sources/{source['id']}", {"enabled": False})


def chats(system: System, call: Caller) -> None:
    body = {"agent_id": "pm_sarah", "messages": [{"role": "user", "content": "Tell me."}]}
    pieces = [{"content": KNOWN[at : at + 5]} for at in range(0, len(KNOWN), 5)]
    for reply in (
        Reply.text(f"All: {KNOWN} and {SPELT}"),
        Reply.streaming(*pieces),
        Reply.error(400, message=QUOTED),
        Reply.breaking(f"Half of {KNOWN}", 3, message=QUOTED),
    ):
        system.model.say(reply)
        call("POST", "/api/llm/chat", body)
        call("POST", "/api/llm/chat", {**body, "stream": True})
        call.ask('mutation { llmChat(input: {messages: [{role: USER, content: "x"}]}) '
                 "{ content } }")  # fmt: skip


def wrong_calls(call: Caller) -> None:
    """Secrets where they do not belong: what refuses them does not say them."""
    token = PLANTED["an integration's token"]
    call("POST", "/api/integrations", {"source": "github", "name": "x", "credentials": token})
    call("POST", "/api/integrations", {"source": "github", "name": "x", "token": token})
    call("POST", "/api/integrations", {"source": token, "name": "x", "credentials": {}})
    call("PUT", "/api/integrations/1", {"base_url": "http://127.0.0.1:9"})
    call("PUT", "/api/integrations/1", {"webhook": {"header": "X", "secret": 7}})
    call("POST", "/api/mcp-servers",
         {"name": "x", "url": f"http://a:{marked(18)}@127.0.0.1/", "headers": {}})  # fmt: skip
    call("POST", "/api/mcp-servers",
         {"name": "y", "url": f"http://127.0.0.1/mcp?api_key={marked(18)}"})  # fmt: skip
    call("POST", "/api/mcp-servers",
         {"name": "z", "url": "http://127.0.0.1/", "headers": {"X": f"{token}\n"}})  # fmt: skip
    call("PUT", "/api/mcp-servers/1", {"url": "http://127.0.0.1:9/mcp"})
    create = "mutation ($input: IntegrationInput!) { integrationCreate(input: $input) { id } }"
    call.ask(create, input={"source": "GITHUB", "name": "x", "credentials": token})
    call.ask(create, input={"source": token, "name": "x", "credentials": {"token": token}})
    call.ask(create, input={"source": "GITHUB", "name": "x", "credentials": {"t": {"t": token}}})
    call.ask(f'mutation {{ integrationCreate(input: {{source: "{token}"}}) {{ id }} }}')
    call("GET", f"/api/agents?key={token}")
    for source in ("github", "gitlab", "jira", "plane"):
        call("GET", f"/api/integrations/{source}/test")


def read_everything(call: Caller) -> None:
    for one in OPS:
        if one.method == "GET" and "stream" not in one.path:
            for value in ("1", "2", "pm_sarah"):
                call("GET", one.path.replace(":path", "").format(
                    id=value, key="k", source="github", capability_id=1))  # fmt: skip
    for path in ("/", "/docs", "/graphql", "/openapi.json"):
        call("GET", path)
    call("POST", "/api/memory/search", {"query": "secrets"})
    given = Counter(
        name
        for name, query in queries(whole_schema()._schema)
        if (call.ask(query).get("data") or {}).get(name)
    )
    empty = {"webhookMapping", "approval", "approvals", "simulateDelivery", "integrationTest"}
    asked = {name for name, _ in queries(whole_schema()._schema)}
    assert asked - given.keys() <= empty | {"webhookMappings", "memory"}, asked - given.keys()
    call("GET", "/api/watchdog?limit=500")
    call("GET", "/api/audit?limit=500")


def followed(call: Caller, url: str, stack: ExitStack) -> None:
    """Every subscription, heard as it comes, over server-sent events; they end with ``stack``."""
    schema = whole_schema()._schema
    assert schema.subscription_type is not None
    for name, told in schema.subscription_type.fields.items():
        if name == "llmChatStream":
            continue  # REST's stream is heard
        arguments = '(id: "1")' if name == "taskExecutionStream" else ""
        query = (
            f"subscription {{ {name}{arguments} {selected(schema, get_named_type(told.type))} }}"
        )
        client = stack.enter_context(httpx.Client(timeout=900, headers=call.client.headers))
        threading.Thread(target=_follow, args=(call, client, url, name, query), daemon=True).start()


def _follow(call: Caller, client: httpx.Client, url: str, name: str, query: str) -> None:
    accept = {"accept": "text/event-stream"}
    with (
        suppress(httpx.HTTPError, RuntimeError, OSError),  # the test has ended
        client.stream("POST", f"{url}/graphql", json={"query": query}, headers=accept) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream"), name
        for line in answer.iter_lines():
            call.told.add(f"live {name}", line)


async def dump(url: str, told: Told) -> None:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        for [table] in tables:
            for [line] in await connection.fetch(f'SELECT to_jsonb(t)::text FROM "{table}" AS t'):  # noqa: S608
                told.add(f"table {table}", line)
    finally:
        await connection.close()


def received(system: System, box: Toolbox, told: Told) -> None:
    """What the stand-ins were sent, but for the header that each is to be sent."""
    for request in system.model.requests:
        told.add("the model was sent", json.dumps(request, ensure_ascii=False))
    for call in system.github.calls:
        told.add("GitHub was sent", f"{call.path} {call.query} {call.headers} {call.json}")
    for name, arguments in box.called:
        told.add("the MCP server was sent", f"{name} {arguments}")
    for _, path, headers in box.asked:
        proper = {"authorization", "x-key"}
        left: Mapping[str, str] = {k: v for k, v in headers.items() if k not in proper}
        told.add("the MCP server was sent", f"{path} {left}")
    for number in range(7, 16):
        for one in system.github.comments(REPO, number):
            told.add("a comment", one.body)
        told.add("an issue", str(vars(system.github.issue(REPO, number))))


@pytest.mark.slow
async def test_none_of_twenty_planted_secrets_leaves_by_any_way(
    make_system: MakeSystem, own_database_url: str
) -> None:
    told = Told()
    with planted(make_system) as (system, box), ExitStack() as callers:
        call = callers.enter_context(Caller(system.url, told))
        configure(call, box)
        followed(call, system.url, callers)
        runs_that_end_in_every_way(system, call)
        wrong_deliveries(system, call)
        polls(system, call)
        chats(system, call)
        wrong_calls(call)
        call("POST", "/api/mcp-servers/discover")

        def is_summarized() -> bool:
            memories = call("GET", "/api/memory")
            return any(one["key"].startswith("summary-") for one in memories)

        system.model.say(Reply.text(f"In short: {KNOWN}"))
        ended(call, deliver(system, call, 16))
        wait_for(is_summarized, seconds=60, what="a summary")
        read_everything(call)
        received(system, box, told)
        system.stop_all()
        await dump(own_database_url, told)
        told.add("the logs", system.log.read_text())
        log = system.log

    assert len(told.heard) > 500
    heard_live = Counter(where for where, text in told.heard if where.startswith("live ") and text)
    assert {"live taskExecutionStream", "live watchdogEntry"} <= heard_live.keys(), heard_live
    assert box.called, "the MCP server was never asked"
    assert any("***" in text for _, text in told.heard)
    assert log.stat().st_size > 0
    leaks = told.leaks()
    assert Counter((name, where) for name, where, _ in leaks) == {}, leaks[:20]


async def test_every_secret_that_there_can_be_is_planted(database: str) -> None:
    """A new setting or column that holds a secret has to be planted above, too."""
    settings = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    addresses = {"DATABASE_URL", "BROKER_URL"}  # the tests' own have no password
    sealed = await rows(
        """SELECT table_name || '.' || column_name AS name FROM information_schema.columns
           WHERE table_schema = 'public' AND column_name LIKE '%encrypted%' ORDER BY 1"""
    )

    assert len(PLANTED) == 20
    assert settings - addresses == ENVIRONMENT.keys() - {"OPENAI_API_KEY"}
    assert [one["name"] for one in sealed] == [
        "integration.credentials_encrypted", "integration.webhook_secret_encrypted",
        "mcp_server.headers_encrypted",
    ]  # fmt: skip
