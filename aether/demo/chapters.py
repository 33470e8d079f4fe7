"""The demo's chapters: what is done, told and held against the promise, in the story's order."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aether.demo import story as drawing
from aether.demo.doors import SEEDS, Doors
from aether.demo.follow import Progress, is_over
from aether.demo.github import GitHubStandIn, SentWebhook
from aether.demo.github_payloads import signed_delivery
from aether.demo.github_shapes import Addresses
from aether.demo.model import ScriptedModel
from aether.demo.page import PATH
from aether.demo.parts import Parts
from aether.demo.promises import Promises
from aether.demo.scenario import (
    ANALYSIS,
    BOT,
    ISSUE_NUMBER,
    LABELS,
    REPOSITORY,
    TRIAGE,
    opening_delivery,
)
from aether.demo.story import Story

Json = dict[str, Any]

LOOK_SECONDS: Final = 0.1
WORK_SECONDS: Final = 90.0
WEBHOOK_SECONDS: Final = 15.0
TRIGGER: Final = "issue.created"
COMMENTS: Final = f"/repos/{REPOSITORY}/issues/{ISSUE_NUMBER}/comments"
EXECUTIONS: Final = "{ taskExecutions(limit: 500) { id } }"
OWN_WRITES: Final = ["issue_comment/created"] * 2 + ["issues/labeled"] * len(LABELS)
"""What GitHub tells about the two agents' writes: one webhook a comment, one a label."""


@dataclass
class Stage:
    """Everything the chapters work with."""

    story: Story
    parts: Parts
    doors: Doors
    github: GitHubStandIn
    github_url: str
    model: ScriptedModel
    secret: str = field(repr=False)
    promises: Promises = field(default_factory=Promises)
    agents: dict[str, str] = field(default_factory=dict)  # id to name
    body: bytes = b""
    delivery_id: str = ""
    receipt: Json = field(default_factory=dict)
    sent_at: float = 0.0
    executions: list[Json] = field(default_factory=list)

    def agent_of(self, execution: Json) -> str:
        """The name of the agent that has a task, or would have it."""
        return self.agents.get(str(execution["agent_id"]), str(execution["agent_id"]))


def seeds(stage: Stage) -> None:
    """Load the seeds and make the project's row, over REST as a user does."""
    with stage.story.doing("the seeds are loaded: agents, tasks, mappings, tools") as step:
        counts = {name: stage.doors.call("POST", path)["created"] for name, path in SEEDS.items()}
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        step.say(told, note="POST /api/…/seed")
    stage.promises.hold("agents and tasks created", (5, 9), (counts["agents"], counts["tasks"]))
    new = {"name": "Checkout service", "source": "github", "source_project_id": REPOSITORY}
    with stage.story.doing("the project") as step:
        project = stage.doors.call("POST", "/api/projects", json=new)
        step.say(f"project {project['id']} is {REPOSITORY}", note="POST /api/projects")
    stage.agents = {one["id"]: one["name"] for one in stage.doors.get("/api/agents")}


def issue(stage: Stage) -> None:
    """Show the issue as it stands at GitHub."""
    held = stage.github.issue(REPOSITORY, ISSUE_NUMBER)
    stage.story.panel(
        drawing.markdown(held.body or ""),
        title=f"#{held.number} {held.title}",
        subtitle=f"{REPOSITORY}, opened by {held.author.login}, no labels, no comments",
        style="green",
    )


def delivery(stage: Stage) -> None:
    """Send the signed delivery; show what it is, what it was answered and where it leads."""
    addresses = Addresses(stage.github_url, stage.github_url)
    stage.delivery_id = str(uuid.uuid4())
    headers, stage.body = opening_delivery(
        stage.github, stage.secret, delivery_id=stage.delivery_id, addresses=addresses
    )
    # from here on GitHub tells Aether of Aether's own writes, too, as the real one would
    stage.github.hook(f"{stage.doors.base_url}/webhook/github", stage.secret)
    stage.sent_at = time.monotonic()
    stage.receipt = _deliver(stage, headers, stage.body)
    stage.promises.hold("the webhook's status", "accepted", stage.receipt.get("status"))
    stage.promises.hold("its trigger", TRIGGER, stage.receipt.get("canonical_trigger"))
    ids = stage.receipt.get("executions", [])
    stage.promises.hold("how many executions it started", 2, len(ids))
    stage.executions = [stage.doors.get(f"/api/task-executions/{one}") for one in ids]
    actors = {one["id"]: one["actor_id"] for one in stage.doors.get("/api/tasks")}
    for one in stage.executions:
        one["agent_id"] = one["agent_id"] or actors.get(one["task_id"])
    told = ", ".join(f"{one['task_id']} ({stage.agent_of(one)})" for one in stage.executions)
    stage.story.line(("routing  ", "bold"), f"issues/opened → {TRIGGER} → {told}")


def _deliver(stage: Stage, headers: dict[str, str], body: bytes) -> Json:
    """Send one webhook and print it with its answer."""
    digest = headers["X-Hub-Signature-256"]
    stage.story.line(
        ("POST /webhook/github", "bold"),
        f"  {headers['X-GitHub-Event']}, {len(body):,} bytes",
    )
    stage.story.line(("X-GitHub-Delivery    ", "dim"), headers["X-GitHub-Delivery"])
    stage.story.line(("X-Hub-Signature-256  ", "dim"), f"{digest[:23]}…")
    status, told, took = stage.doors.deliver(headers, body)
    stage.story.line(drawing.answer(status, told), (f"  in {drawing.seconds(took)}", "dim"))
    return told


def work(stage: Stage) -> None:
    """Follow the executions until both have ended, line by line.

    Raises:
        PartFailedError: a part ended, or an execution did not end in time.
    """
    progress = {one["id"]: Progress() for one in stage.executions}
    open_ids = list(progress)
    deadline = time.monotonic() + WORK_SECONDS
    ended: dict[int, Json] = {}
    stage.story.line(("the worker begins once it has loaded the model's library", "dim"))
    with stage.story.waiting("at work"):
        while open_ids:
            for one in list(open_ids):
                execution = _told_news(stage, one, progress[one])
                if is_over(execution):
                    ended[one] = execution
                    open_ids.remove(one)
            stage.parts.check()
            if open_ids and time.monotonic() > deadline:
                raise stage.parts.failed(
                    "worker", f"executions {open_ids} did not end within {WORK_SECONDS:.0f} s"
                )
            if open_ids:
                time.sleep(LOOK_SECONDS)
    stage.executions = [ended[one["id"]] for one in stage.executions]
    stage.promises.hold(
        "how the executions ended",
        ["succeeded", "succeeded"],
        [one["status"] for one in stage.executions],
    )
    stage.promises.hold("what the model refused", [], stage.model.problems)


def _told_news(stage: Stage, id: int, progress: Progress) -> Json:
    execution: Json = stage.doors.get(f"/api/task-executions/{id}")
    calls = stage.doors.get("/api/tool-executions", execution_id=id)
    known = next(one for one in stage.executions if one["id"] == id)
    agent = stage.agent_of(known).split(" ")[0]
    for news in progress.news(execution, calls):
        at = time.monotonic() - stage.sent_at
        stage.story.event(agent, at, news.what, news.text, news.took)
    return execution


def prompt(stage: Stage) -> None:
    """Show what the model got for the first execution; the record must say the same."""
    first = stage.executions[0]
    recorded = _opening([one["message"] for one in first["messages"]])
    request = next(
        (one for one in stage.model.requests if _opening(one["messages"]) == recorded), {}
    )
    opening = _opening(request.get("messages", []))
    stage.promises.hold("the prompt that the model got, by the record", recorded, opening)
    stage.story.panel(
        drawing.prompt(opening),
        title=f"The prompt of {stage.agent_of(first)}, as the model received it",
        subtitle=f"whole: GET /api/task-executions/{first['id']} (aether demo --keep)",
        style="yellow",
    )
    tools = [str(one["function"]["name"]) for one in request.get("tools", [])]
    stage.story.line(("tools on offer  ", "bold"), ", ".join(tools))


def _opening(messages: list[Json]) -> list[Json]:
    """The messages before the model's first reply."""
    opening = []
    for one in messages:
        if one["role"] not in {"system", "user"}:
            break
        opening.append({"role": one["role"], "content": one["content"]})
    return opening


def comments(stage: Stage) -> None:
    """Show what stands at GitHub now."""
    posted = stage.github.comments(REPOSITORY, ISSUE_NUMBER)
    url = f"{stage.github_url}{PATH}"
    for one in posted:
        address = f"{url}#issuecomment-{one.id}"
        by = [stage.agent_of(run) for run in stage.executions if run["answer_url"] == address]
        stage.promises.hold("whose answer each comment is", 1, len(by))
        title = f"{one.author.login} commented, for {' and '.join(by)}"
        stage.story.panel(drawing.markdown(one.body), title=title, style="green")
        stage.story.line((address, "dim"))
    labels = stage.github.issue(REPOSITORY, ISSUE_NUMBER).labels
    stage.story.line(("labels  ", "bold"), ", ".join(labels))
    stage.promises.hold("labels", sorted(LABELS), sorted(labels))
    stage.promises.hold("who commented", [BOT.login] * 2, [one.author.login for one in posted])
    for name, text in (("Sarah's triage", TRIAGE), ("Leo's analysis", ANALYSIS)):
        count = sum(one.body.startswith(text.rstrip()) for one in posted)
        stage.promises.hold(f"comments that are {name}", 1, count)


def audit(stage: Stage) -> None:
    """The audit trail of both agents, oldest first."""
    entries = [
        one
        for agent in dict.fromkeys(one["agent_id"] for one in stage.executions)
        for one in stage.doors.get(f"/api/agents/{agent}/audit")
    ]
    entries.sort(key=lambda one: int(one["id"]))
    stage.story.table(
        ("time", "agent", "action", "about"),
        [
            (
                str(one["created_at"])[11:19],
                stage.agent_of(one),
                str(one["action"]),
                _about(one["detail"]).replace(f"{stage.github_url}{PATH}", f"#{ISSUE_NUMBER} "),
            )
            for one in entries
        ],
    )
    done = [one["action"] for one in entries].count("task.completed")
    stage.promises.hold("audit entries task.completed", 2, done)
    posted = [one["action"] for one in entries].count("comment.posted")
    stage.promises.hold("audit entries comment.posted", 2, posted)


def _about(detail: Json) -> str:
    """What an audit entry is about, in a few words."""
    wanted = ("tool", "task_id", "url", "kind", "labels", "key")
    return next((drawing.one_line(str(detail[one]), 90) for one in wanted if detail.get(one)), "")


def own_doing(stage: Stage) -> None:
    """GitHub told us of our own writes: each is taken in and starts nothing."""
    sent = _own_webhooks(stage)
    stage.promises.hold("webhooks about our own writes", OWN_WRITES, sorted(kinds_of(sent)))
    answers = [_json_of(one) for one in sent]
    ignored = [one.get("status") for one in answers]
    stage.promises.hold("what they were answered", ["ignored"] * len(OWN_WRITES), ignored)
    reasons = [_reason(stage, told) for told in answers]
    stage.promises.hold(
        "their reasons", {"our own doing"}, {one.partition(":")[0] for one in reasons}
    )
    told = Counter(zip(kinds_of(sent), ignored, reasons, strict=True))
    stage.story.table(
        ("webhooks", "event", "answered", "because"),
        [(str(count), *(str(part) for part in parts)) for parts, count in told.items()],
    )


def kinds_of(sent: Sequence[SentWebhook]) -> list[str]:
    """Event and action of each."""
    return [f"{one.event}/{one.action}" for one in sent]


def _reason(stage: Stage, told: Json) -> str:
    delivery_id = told.get("delivery_id")
    if delivery_id is None:
        return "not taken in"
    return str(stage.doors.get(f"/api/deliveries/{delivery_id}")["reason"])


def _own_webhooks(stage: Stage) -> list[SentWebhook]:
    """What the hook sent, once all of it is answered or the time is over."""
    deadline = time.monotonic() + WEBHOOK_SECONDS
    while time.monotonic() < deadline:
        sent = stage.github.webhooks
        if len(sent) >= len(OWN_WRITES) and all(one.done for one in sent):
            break
        stage.parts.check()
        time.sleep(LOOK_SECONDS)
    return stage.github.webhooks


def _json_of(sent: SentWebhook) -> Json:
    try:
        told = json.loads(sent.answer)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"status": f"{sent.status} {sent.error}".strip()}


def again(stage: Stage) -> None:
    """Send the same again, twice; nothing may happen twice."""
    before = _counts(stage)
    event = json.loads(stage.body)  # as it was: the issue has labels and comments by now
    redelivered = signed_delivery("issues", event, stage.secret, stage.delivery_id)
    from_second_hook = signed_delivery("issues", event, stage.secret)
    for title, (headers, body) in (
        ("Redelivered, as GitHub's button does it", redelivered),
        ("Under a fresh delivery id, as a second hook would send it", from_second_hook),
    ):
        stage.story.line((title, "bold"))
        stage.promises.hold("the repeated body", stage.body, body)
        told = _deliver(stage, headers, body)
        expected = {**stage.receipt, "status": "duplicate"}
        stage.promises.hold("the answer to a repetition", expected, told)
    after = _counts(stage)
    stage.promises.hold("counts after the repetitions", before, after)
    wanted = {"deliveries of the opened issue": 1, "task executions, by REST": 2}
    wanted |= {"task executions, by GraphQL": 2, "comments": 2, "requests to post one": 2}
    stage.promises.hold("counts", wanted, {name: after[name] for name in wanted})
    rows = [(name, str(before[name]), str(after[name])) for name in before]
    stage.story.table(("what there is", "before", "after"), rows)


def _counts(stage: Stage) -> dict[str, int]:
    deliveries = stage.doors.get("/api/deliveries", limit=500)
    opened = [
        one for one in deliveries if (one["event_name"], one["action"]) == ("issues", "opened")
    ]
    calls = stage.github.calls
    return {
        "deliveries of the opened issue": len(opened),
        "task executions, by REST": len(stage.doors.get("/api/task-executions", limit=500)),
        "task executions, by GraphQL": len(stage.doors.query(EXECUTIONS)["taskExecutions"]),
        "requests to the model": len(stage.model.requests),
        "comments": len(stage.github.comments(REPOSITORY, ISSUE_NUMBER)),
        "requests to post one": sum((one.method, one.path) == ("POST", COMMENTS) for one in calls),
    }
