"""The document cache: each query text is parsed and validated once.

Strawberry's own ParserCache raises syntax errors where its error handling does not reach
(no code over HTTP, an empty success over sockets, a broken stream over SSE), so we use this.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from graphql import DocumentNode
from strawberry.extensions import SchemaExtension

MAX_DOCUMENTS: Final = 256
MAX_CHARACTERS: Final = 64 * 1024  # of query text; a document takes 100 to 300 times as much
MAX_CHARACTERS_EACH: Final = 8 * 1024  # longer ones carry data in their text and do not recur


class Documents:
    """Valid documents by their text, least recently used first, bounded by number and size."""

    def __init__(
        self, max_documents: int = MAX_DOCUMENTS, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()
        self._max_documents = max_documents
        self._max_characters = max_characters
        self.characters = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, query: str) -> DocumentNode | None:
        """The document of this text, if it is kept."""
        document = self._kept.get(query)
        if document is not None:
            self._kept.move_to_end(query)
            self.hits += 1
        return document

    def put(self, query: str, document: DocumentNode) -> None:
        """Keep a valid document; the least recently used ones make room."""
        if len(query) > MAX_CHARACTERS_EACH or query in self._kept:
            return
        self._kept[query] = document
        self.characters += len(query)
        while len(self._kept) > self._max_documents or self.characters > self._max_characters:
            dropped, _ = self._kept.popitem(last=False)
            self.characters -= len(dropped)


class DocumentCache(SchemaExtension):
    """Serves parsing and validation from the schema's ``documents``; list it last.

    A text with errors is never kept: it takes Strawberry's own path, and its error, every time.
    """

    fresh = True

    def on_parse(self) -> Iterator[None]:
        operation = self.execution_context
        if operation.query and operation.graphql_document is None:
            document = operation.schema.documents.get(operation.query)  # type: ignore[attr-defined]
            if document is not None:
                self.fresh = False
                operation.graphql_document = document
                operation.pre_execution_errors = []  # not None, so that validation is skipped
        yield

    def on_validate(self) -> Iterator[None]:
        yield
        operation = self.execution_context
        document = operation.graphql_document
        if self.fresh and document and operation.query and not operation.pre_execution_errors:
            operation.schema.documents.put(operation.query, document)  # type: ignore[attr-defined]
