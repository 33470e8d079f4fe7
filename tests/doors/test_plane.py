"""Plane at the doors: what proves a delivery, what it is answered, what is wrong with a key."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.demo.serving import serving
from aether.models import Delivery, TaskExecution
from aether.vocabulary import SourceName
from tests.core.fakes import FakeTime
from tests.doors.calls import PM_SARAH, Door
from tests.sources.plane.hooks import SECRET, Age, Board, signed
from tests.sources.plane.stand_in import TOKEN, PlaneStandIn
from tests.sources.plane.state import BO, DONE, SLUG

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
TEST: Final = "/api/integrations/plane/test"
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
def plane() -> Iterator[PlaneStandIn]:
    made = PlaneStandIn(Age.V1)
    with serving(made.door) as url:
        made.url = url
        yield made


async def send(door: Door, told: tuple[Mapping[str, str], bytes], *, slug: str = "plane") -> Any:
    headers, body = told
    return await door.client.post(f"/webhook/{slug}", content=body, headers=dict(headers))


async def mapped(door: Door) -> None:
    await door.post("/api/agents", PM_SARAH)
    await door.post("/api/tasks", {
        "id": "triage", "name": "Triage", "description": "Look.", "actor_id": "pm_sarah",
    })  # fmt: skip
    for trigger in ("issue.created", "issue.closed", "issue.commented"):
        await door.post("/api/tasks/triggers", {"canonical_trigger": trigger, "task_id": "triage"})
    await door.post("/api/tasks/sources/seed", status=200)


SETTINGS: Final[list[tuple[dict[str, str], dict[str, str], bool]]] = [
    ({"PLANE_WEBHOOK_SECRET": SECRET}, {}, True),
    ({"PLANE_WEBHOOK_SECRET": f"new,{SECRET}"}, {}, True),
    ({"PLANE_WEBHOOK_SECRET": "other"}, {}, False),
    ({"PLANE_WEBHOOK_SECRET": "other", "PLANE_API_KEY": TOKEN}, {"x-api-key": TOKEN}, False),
    ({"PLANE_API_KEY": TOKEN}, {"x-api-key": TOKEN}, True),
    ({"PLANE_API_KEY": TOKEN}, {"x-api-key": "other"}, False),
    ({"PLANE_API_KEY": TOKEN}, {}, False),
    ({"PLANE_API_KEY": SECRET}, {}, False),
    ({}, {"x-api-key": ""}, False),
]


@pytest.mark.parametrize(("settings", "sent", "is_taken"), SETTINGS)
async def test_the_settings_decide_what_proves_a_delivery(
    door: Door,
    configure: Configure,
    settings: dict[str, str],
    sent: dict[str, str],
    is_taken: bool,
) -> None:
    configure(**settings)
    board = Board(Age.V1)
    board.open()
    headers, body = board.webhooks[0]

    answer = await send(door, (headers | sent, body))

    assert answer.status_code == (200 if is_taken else 401)
    assert [one.is_verified for one in await Delivery.all()] == [True] * is_taken
    if not is_taken:
        assert "PLANE_" in answer.json()["error"]


async def test_a_slug_of_its_own_names_its_own_secret(door: Door, configure: Configure) -> None:
    configure(PLANE_WEBHOOK_SECRET="of the environment")
    await door.post("/api/integrations", {
        "source": "plane", "name": "Ours", "credentials": {}, "slug": "ours",
        "webhook": {"secret": SECRET},
    })  # fmt: skip
    body = b'{"event": "issue", "action": "created", "data": {}}'

    taken = await send(door, signed(body, "issue"), slug="ours")
    refused = await send(door, signed(body, "issue", "of the environment"), slug="ours")

    assert taken.status_code == 200
    assert refused.status_code == 401
    assert "PLANE_" not in refused.json()["error"]
    assert "webhook.secret of integration 'Ours'" in refused.json()["error"]


@pytest.mark.parametrize("age", list(Age))
async def test_a_delivery_is_answered_at_once_and_each_retry_of_it_is_a_duplicate(
    door: Door, configure: Configure, age: Age
) -> None:
    configure(PLANE_WEBHOOK_SECRET=SECRET)
    await mapped(door)
    board = Board(age)
    board.open()
    headers, body = board.webhooks[-1]
    wrong = await send(door, (headers | {"x-plane-signature": "0" * 64}, body))

    answers = [await send(door, told) for told in (board.webhooks[-1], *[board.again()] * 5)]

    assert wrong.status_code == 401  # and reserves nothing
    assert [one.json()["status"] for one in answers] == ["accepted", *["duplicate"] * 5]
    first = answers[0].json()
    assert (first["canonical_trigger"], len(first["executions"])) == ("issue.created", 1)
    assert {tuple(one.json()["executions"]) for one in answers} == {tuple(first["executions"])}
    assert await TaskExecution.all().count() == 1


async def test_no_business_outcome_is_an_error(door: Door, configure: Configure) -> None:
    configure(PLANE_WEBHOOK_SECRET=SECRET)
    await mapped(door)
    board = Board(Age.V1)
    item = board.open()
    board.change(item, priority="high")  # no task is mapped to an update here
    board.move(item, DONE, BO)
    board.delete(item)
    odd = [
        {"event": "issue"}, {"event": "intake_issue", "action": 3, "data": 7}, {"event": "ping"},
        {"event": "brand.new", "data": []}, {"event": "issue", "action": {"a": 1}, "data": None},
    ]  # fmt: skip
    told = [*board.webhooks, *(signed(json.dumps(one).encode(), "") for one in odd)]

    answers = [await send(door, one) for one in told]

    assert [one.status_code for one in answers] == [200] * 9
    assert [one.json()["canonical_trigger"] for one in answers[:4]] == [
        "issue.created", "issue.updated", "issue.closed", None,
    ]  # fmt: skip
    assert [one.json()["status"] for one in answers] == [
        "accepted", "ignored", "accepted", *["ignored"] * 6,
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 20_000])
async def test_what_cannot_be_read_is_a_400_and_stored_nowhere(
    door: Door, configure: Configure, body: bytes
) -> None:
    configure(PLANE_WEBHOOK_SECRET=SECRET)

    answer = await send(door, signed(body, ""))

    assert answer.status_code == 400
    assert await Delivery.all().count() == 0


async def test_a_key_and_a_workspace_that_work_are_ok(
    door: Door, configure: Configure, plane: PlaneStandIn
) -> None:
    configure(**plane.environment())

    assert await door.get(TEST) == {"status": "ok", "source": "plane"}


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({"PLANE_API_KEY": "plane_api_wrong_0001"}, 502,
         "PLANE_API_KEY: plane refuses it: GET /api/v1/users/me/: answered 403, Given API token "
         "is not valid"),
        ({"PLANE_WORKSPACE": "elsewhere"}, 502,
         "PLANE_WORKSPACE: this key sees no workspace 'elsewhere': GET "
         "/api/v1/workspaces/elsewhere/projects/: answered 403, You do not have permission to "
         "perform this action."),
        ({"PLANE_WORKSPACE": ""}, 400,
         "PLANE_WORKSPACE: not set; it is the first part of your address at Plane: "
         "app.plane.so/<workspace>"),
        ({"PLANE_WORKSPACE": "a/../b"}, 400, "PLANE_WORKSPACE: 'a/../b' is no workspace"),
        ({"PLANE_URL": "http://127.0.0.1:9"}, 502, "127.0.0.1:9 cannot be reached: "),
        ({"PLANE_API_KEY": ""}, 400, "PLANE_API_KEY: not set"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_by_the_setting_to_look_at(
    door: Door,
    configure: Configure,
    plane: PlaneStandIn,
    changed: dict[str, str],
    status: int,
    text: str,
) -> None:
    configure(**plane.environment() | changed)

    refused = await door.refused("GET", TEST, None, status)

    assert refused.startswith(text)
    assert changed.get("PLANE_API_KEY") or TOKEN not in refused
    assert "plane_api_wrong" not in refused


async def test_a_host_that_is_no_plane_is_told_by_its_address(
    door: Door, configure: Configure, plane: PlaneStandIn
) -> None:
    configure(**plane.environment() | {"PLANE_URL": f"{plane.url}/board"})

    refused = await door.refused("GET", TEST, None, 502)

    assert refused.startswith("PLANE_URL: there is no API of plane at this address: ")


async def test_an_integration_brings_its_workspace_and_its_secret_is_hidden(
    door: Door, configure: Configure
) -> None:
    configure(PLANE_WORKSPACE=SLUG)
    made = await door.post("/api/integrations", {
        "source": "plane", "name": "Theirs",
        "credentials": {"api_key": TOKEN, "workspace": "theirs"},
    })  # fmt: skip

    client = await door.runtime.credentials.outbound(SourceName.PLANE)

    assert client.options["workspace"] == "theirs"
    assert TOKEN not in json.dumps(made)
