import math
from collections.abc import AsyncIterator, Sequence

import pytest

from aether.demo.model import ScriptedModel
from aether.demo.serving import serving
from aether.errors import NotConfiguredError, UpstreamError
from aether.llm import chat, embed
from tests.llm.conftest import KEY, settings_of


def cosine(one: Sequence[float] | None, other: Sequence[float] | None) -> float:
    assert one is not None
    assert other is not None
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


async def test_the_embedded_encoder_brings_like_meanings_together() -> None:
    using = await embed.embedder(settings_of())

    texts = ["How do I reset my password?", "I forgot my login secret", "The soup was too salty"]
    first, second, other = await embed.embed_each(using, texts)

    assert (using.name, using.dimension) == ("use-multilingual-3:512", 512)
    assert first is not None
    assert len(first) == 512
    assert math.isclose(cosine(first, first), 1, abs_tol=1e-6)
    assert cosine(first, second) > 0.25 > cosine(first, other)


async def test_it_is_loaded_once() -> None:
    assert await embed.embedder(settings_of()) is await embed.embedder(settings_of(port=1))


async def test_odd_texts_are_embedded_too() -> None:
    using = await embed.embedder(settings_of())

    vectors = await embed.embed_each(using, ["", "\x00", "\ud800", "!!!", "x" * 5_000, "说" * 900])

    assert [len(one or ()) for one in vectors] == [512] * 6


@pytest.fixture
async def served() -> AsyncIterator[tuple[ScriptedModel, str]]:
    model = ScriptedModel(key=KEY, dimensions=32)
    with serving(model.app) as url:
        yield model, url
    await chat.close()


@pytest.mark.parametrize("suffix", ["", "/v1"])
async def test_an_embedding_model_is_asked_at_the_base_url(
    served: tuple[ScriptedModel, str], suffix: str
) -> None:
    model, url = served
    settings = settings_of(
        llm_base_url=url + suffix, llm_api_key=KEY, embedding_model="scripted-embedding"
    )

    using = await embed.embedder(settings)
    vectors = await embed.embed_each(using, ["login fails", "export"])

    assert (using.name, using.dimension) == ("scripted-embedding:32", 32)
    assert [math.isclose(cosine(one, one), 1) for one in vectors] == [True, True]
    assert [call.path for call in model.calls] == ["/v1/embeddings"] * 2


async def test_a_refused_text_does_not_spoil_the_others(
    served: tuple[ScriptedModel, str],
) -> None:
    model, url = served
    settings = settings_of(llm_base_url=url, llm_api_key=KEY, embedding_model="scripted-embedding")
    using = await embed.embedder(settings)

    vectors = await embed.embed_each(using, ["a", "", "b"])  # the server refuses empty ones

    assert [one is not None for one in vectors] == [True, False, True]
    # the batch, then each alone; after the refused one, whether the model embeds anything
    assert [call.status for call in model.calls] == [200, 400, 200, 400, 200, 200]


async def test_a_model_that_refuses_everything_is_no_fault_of_the_texts(
    served: tuple[ScriptedModel, str],
) -> None:
    model, url = served
    settings = settings_of(llm_base_url=url, llm_api_key=KEY, embedding_model="scripted-embedding")
    using = await embed.embedder(settings)
    model.embedding_models = []  # taken from the server

    with pytest.raises(UpstreamError, match="scripted-embedding") as raised:
        await embed.embed_each(using, ["a", "b", "c"])

    assert not raised.value.retryable
    assert [call.status for call in model.calls] == [200, 404, 404, 404]


async def test_another_model_behind_the_name_is_noticed_and_asked_for_its_dimension(
    served: tuple[ScriptedModel, str],
) -> None:
    model, url = served
    settings = settings_of(llm_base_url=url, llm_api_key=KEY, embedding_model="scripted-embedding")
    before = await embed.embedder(settings)
    model.dimensions = 48

    with pytest.raises(UpstreamError) as raised:
        await embed.embed_each(before, ["a", "b"])
    after = await embed.embedder(settings)

    assert str(raised.value) == (
        "the model of scripted-embedding:32 gives 48 numbers a text now: it is another"
    )
    assert raised.value.retryable
    assert (before.name, after.name) == ("scripted-embedding:32", "scripted-embedding:48")
    assert None not in await embed.embed_each(after, ["a", "b"])


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (429, True), (404, False)])
async def test_a_failing_embedding_model_is_asked_once(
    served: tuple[ScriptedModel, str], status: int, retryable: bool
) -> None:
    model, url = served
    settings = settings_of(llm_base_url=url, llm_api_key=KEY, embedding_model="scripted-embedding")
    model.faults.fail_next(status=status, times=9)

    with pytest.raises(UpstreamError) as raised:
        await embed.embedder(settings)

    assert raised.value.retryable is retryable
    assert len(model.calls) == 1


async def test_a_refused_key_is_named(served: tuple[ScriptedModel, str]) -> None:
    model, url = served
    settings = settings_of(
        llm_base_url=url, llm_api_key="sk-wrong-key", embedding_model="scripted-embedding"
    )

    with pytest.raises(NotConfiguredError, match=r"^LLM_API_KEY: ") as raised:
        await embed.embedder(settings)

    assert "sk-wrong-key" not in str(raised.value)
    assert len(model.calls) == 1


async def test_a_vector_that_cannot_be_compared_is_none() -> None:
    class Odd:
        name = "odd:2"
        dimension = 2

        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            return [[0.0, 0.0], [math.nan, 1.0], [1.0], [3.0, 4.0]]

    assert await embed.embed_each(Odd(), ["a", "b", "c", "d"]) == [None, None, None, [0.6, 0.8]]
