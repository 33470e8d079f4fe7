from pathlib import Path

import pytest

from aether.demo.model import ScriptedModel
from aether.demo.serving import serving
from tests.aside.processes import has_litellm, web

KEY = "sk-of-the-embeddings-0001"


@pytest.mark.slow
def test_a_web_process_with_an_embedding_model_never_loads_litellm(
    database_url: str, tmp_path: Path
) -> None:
    model = ScriptedModel(key=KEY)
    with (
        serving(model.app) as url,
        web(
            database_url,
            tmp_path,
            LLM_BASE_URL=url,
            LLM_API_KEY=KEY,
            EMBEDDING_MODEL="scripted-embedding",
        ) as process,
    ):
        for key, content in (("a", "red apples"), ("b", "green pears")):
            body = {"key": key, "content": content, "scope": "organizational"}
            assert process.client.post("/api/memory", json=body).status_code == 201
        found = process.client.post(
            "/api/memory/search", json={"query": "green pears", "mode": "semantic"}
        ).json()
        aside = process.aside

        assert [one["key"] for one in found] == ["b", "a"]
        assert found[0]["similarity"] > 0.5 > found[1]["similarity"]
        assert not has_litellm(process.process)
        assert aside is not None
        assert has_litellm(aside)
        assert process.process.memory_info().rss < 150 * 2**20
    assert {call.path for call in model.calls} == {"/v1/embeddings"}
    assert not aside.is_running()
    assert KEY not in process.log.read_text()


@pytest.mark.slow
def test_a_model_that_fails_is_told_as_if_it_had_been_asked_here(
    database_url: str, tmp_path: Path
) -> None:
    model = ScriptedModel(key=KEY)
    with (
        serving(model.app) as url,
        web(
            database_url,
            tmp_path,
            LLM_BASE_URL=url,
            LLM_API_KEY=KEY,
            EMBEDDING_MODEL="nonesuch",
        ) as process,
    ):
        body = {"key": "a", "content": "red apples", "scope": "organizational"}
        assert process.client.post("/api/memory", json=body).status_code == 201
        answer = process.client.post(
            "/api/memory/search", json={"query": "apples", "mode": "semantic"}
        )
        by_words = process.client.post("/api/memory/search", json={"query": "apples"})

        assert answer.status_code == 502
        assert "the model 'nonesuch' refused the request (404)" in answer.json()["error"]
        assert [one["key"] for one in by_words.json()] == ["a"]


def test_without_a_model_elsewhere_there_is_no_aside(database_url: str, tmp_path: Path) -> None:
    with web(database_url, tmp_path) as process:
        process.client.post("/api/memory/search", json={"query": "apples"}).raise_for_status()

        assert process.aside is None
