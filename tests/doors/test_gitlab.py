"""GitLab at the doors: which settings prove a delivery, and what is wrong with a credential."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from aether.config import Settings
from aether.credentials import Credentials
from aether.demo.serving import serving
from aether.models import Delivery, TaskExecution
from tests.core.fakes import FakeTime, Platform
from tests.doors.calls import PM_SARAH, Door
from tests.sources.gitlab.hooks import delivery
from tests.sources.gitlab.stand_in import GitLabStandIn

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
TOKEN: Final = "glpat-0123456789abcdef1234"
SECRET: Final = "a secret of the hook"
SIGNING: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
Configure = Callable[..., None]


@pytest.fixture
async def configure(door: Door) -> AsyncIterator[Configure]:
    async with FakeTime().clients() as clients:

        def configured(**told: str) -> None:
            settings = Settings.from_environment({"ENCRYPTION_KEY": KEY, **told})
            door.runtime.settings = settings
            door.runtime.credentials = Credentials(settings, clients)

        yield configured


@pytest.fixture
def opened() -> tuple[str, Any]:
    gitlab = GitLabStandIn()
    return gitlab.told("acme/api", gitlab.add_issue("acme/api", "It breaks"), "open")


async def send(door: Door, told: tuple[str, Any], *, slug: str = "gitlab", **more: Any) -> Any:
    headers, body = delivery(*told, **more)
    return await door.client.post(f"/webhook/{slug}", content=body, headers=headers)


SETTINGS: Final[list[tuple[dict[str, str], dict[str, str], bool]]] = [
    ({"GITLAB_WEBHOOK_SECRET": SECRET}, {"token": SECRET}, True),
    ({"GITLAB_WEBHOOK_SECRET": f"new,{SECRET}"}, {"token": SECRET}, True),
    ({"GITLAB_WEBHOOK_SECRET": SECRET}, {"token": "other"}, False),
    ({"GITLAB_WEBHOOK_SECRET": SECRET}, {}, False),
    ({"GITLAB_WEBHOOK_SECRET": SECRET}, {"token": SECRET, "signing_token": SIGNING}, False),
    ({"GITLAB_SIGNING_TOKEN": SIGNING}, {"signing_token": SIGNING}, True),
    ({"GITLAB_SIGNING_TOKEN": SIGNING[6:]}, {"signing_token": SIGNING}, True),
    ({"GITLAB_SIGNING_TOKEN": SIGNING}, {"token": SIGNING}, False),
    ({"GITLAB_SIGNING_TOKEN": SIGNING, "GITLAB_WEBHOOK_SECRET": SECRET}, {"token": SECRET}, True),
    ({"GITLAB_TOKEN": TOKEN}, {"token": TOKEN}, True),
    ({"GITLAB_TOKEN": TOKEN, "GITLAB_WEBHOOK_SECRET": SECRET}, {"token": TOKEN}, False),
    ({"GITLAB_TOKEN": TOKEN, "GITLAB_SIGNING_TOKEN": SIGNING}, {"token": TOKEN}, False),
    ({}, {"token": ""}, False),
]


@pytest.mark.parametrize(("settings", "sent", "is_taken"), SETTINGS)
async def test_the_settings_decide_what_proves_a_delivery(
    door: Door,
    configure: Configure,
    opened: tuple[str, Any],
    settings: dict[str, str],
    sent: dict[str, str],
    is_taken: bool,
) -> None:
    configure(**settings)

    answer = await send(door, opened, **sent)

    assert answer.status_code == (200 if is_taken else 401)
    assert [one.is_verified for one in await Delivery.all()] == [True] * is_taken
    if not is_taken:
        assert "GITLAB_" in answer.json()["error"]


async def test_a_slug_of_its_own_names_its_own_secret(
    door: Door, configure: Configure, opened: tuple[str, Any]
) -> None:
    configure(GITLAB_WEBHOOK_SECRET="of the environment")
    await door.post("/api/integrations", {
        "source": "gitlab", "name": "Ours", "credentials": {}, "slug": "ours",
        "webhook": {"secret": SIGNING},
    })  # fmt: skip

    taken = await send(door, opened, slug="ours", signing_token=SIGNING)
    refused = await send(door, opened, slug="ours", token="of the environment")

    assert taken.status_code == 200
    assert refused.status_code == 401
    assert "GITLAB_" not in refused.json()["error"]
    assert "webhook.secret of integration 'Ours'" in refused.json()["error"]


async def test_the_same_delivery_twenty_times_and_by_another_hook_is_one_run(
    door: Door, configure: Configure, opened: tuple[str, Any]
) -> None:
    configure(GITLAB_WEBHOOK_SECRET=SECRET)
    await door.post("/api/agents", PM_SARAH)
    await door.post("/api/tasks", {
        "id": "triage", "name": "Triage", "description": "Look.", "actor_id": "pm_sarah",
    })  # fmt: skip
    await door.post(
        "/api/tasks/triggers", {"canonical_trigger": "issue.created", "task_id": "triage"}
    )
    await door.post("/api/tasks/sources/seed", status=200)

    wrong = await send(door, opened, token="other", delivery_id="d-1")
    statuses = [
        (await send(door, opened, token=SECRET, delivery_id="d-1")).json()["status"]
        for _ in range(20)
    ]
    by_group = await send(door, opened, token=SECRET, delivery_id="d-2")

    assert wrong.status_code == 401
    assert statuses == ["accepted"] + ["duplicate"] * 19
    assert by_group.json()["status"] == "duplicate"
    assert await TaskExecution.all().count() == 1


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("Feature Flag Hook", {"object_kind": "feature_flag", "object_attributes": {"id": 6}}),
        ("System Hook", {"event_name": "user_create", "username": "ann"}),
        ("Something New Hook", {}),
        ("Issue Hook", {"object_kind": "issue", "object_attributes": None, "project": []}),
    ],
)
async def test_what_is_authentic_and_of_no_use_is_answered_200(
    door: Door, configure: Configure, event: str, payload: Any
) -> None:
    configure(GITLAB_WEBHOOK_SECRET=SECRET)

    answer = await send(door, (event, payload), token=SECRET)

    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")


@pytest.mark.parametrize(
    ("headers", "body", "field"),
    [
        ({}, b"{}", "X-Gitlab-Event"),
        ({"X-Gitlab-Event": "Issue Hook"}, b"[]", "body"),
        ({"X-Gitlab-Event": "Issue Hook"}, b"", "body"),
        ({"X-Gitlab-Event": "Issue Hook"}, b"\xff", "body"),
    ],
)
async def test_what_is_authentic_and_unreadable_is_a_400_that_names_the_field(
    door: Door, configure: Configure, headers: dict[str, str], body: bytes, field: str
) -> None:
    configure(GITLAB_WEBHOOK_SECRET=SECRET)

    answer = await door.client.post(
        "/webhook/gitlab", content=body, headers={"X-Gitlab-Token": SECRET, **headers}
    )

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{field}: ")
    assert await Delivery.all().count() == 0


@pytest.mark.parametrize(
    ("scopes", "text"),
    [
        (("api",), None),
        (("read_api",), "GITLAB_TOKEN: it lacks the scope api, without which nothing can be "
                        "written on gitlab"),
        (("read_user",), "GITLAB_TOKEN: it lacks the scope api, without which nothing can be "
                         "written on gitlab"),
    ],
)  # fmt: skip
async def test_a_token_is_asked_for_its_scopes(
    door: Door, configure: Configure, scopes: tuple[str, ...], text: str | None
) -> None:
    gitlab = GitLabStandIn(prefix="/git")
    gitlab.accept(TOKEN, "aether", scopes=scopes)
    with serving(gitlab.app) as url:
        configure(GITLAB_URL=f"{url}/git/api/v4/", GITLAB_TOKEN=TOKEN)
        if text is None:
            told = await door.get("/api/integrations/gitlab/test")
        else:
            told = await door.refused("GET", "/api/integrations/gitlab/test", None, 502)

    assert told == (text or {"status": "ok", "source": "gitlab"})
    assert [call.path for call in gitlab.calls] == [
        "/git/api/v4/user", "/git/api/v4/personal_access_tokens/self",
    ]  # fmt: skip


async def test_a_token_that_is_refused_a_host_that_is_none_and_a_page_are_each_said_so(
    door: Door, configure: Configure
) -> None:
    async def page(_: Request) -> Response:
        return HTMLResponse("<h1>Sign in</h1>")

    async def asked(url: str) -> str:
        configure(GITLAB_URL=url, GITLAB_TOKEN=TOKEN)
        told = await door.refused("GET", "/api/integrations/gitlab/test", None, 502)
        assert TOKEN not in json.dumps(told)
        return str(told)

    with serving(GitLabStandIn().app) as url, Platform({"/api/v4/user": page}).served() as other:
        refused = await asked(url)
        no_gitlab = await asked(other.url)
    nobody = await asked("http://127.0.0.1:9")

    assert refused.startswith("GITLAB_TOKEN: gitlab refuses it: GET /api/v4/user: answered 401")
    assert no_gitlab.startswith("GITLAB_URL: is it gitlab's own address? GET /api/v4/user: its an")
    assert nobody.startswith("127.0.0.1:9 cannot be reached: ")
