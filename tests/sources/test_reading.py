"""JSON of strangers: what is read, what is refused, what can be stored afterwards."""

import json
from typing import Any

import orjson
import pytest

from aether.errors import InvalidInputError
from aether.sources import reading
from aether.sources.reading import MAX_DEPTH, decode_json


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "is empty"),
        (b"   ", "is not JSON (Expecting value at character 3)"),
        (b"{", "is not JSON (Expecting property name enclosed in double quotes at character 1)"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"7", "must be a JSON object"),
        (b"NaN", "holds a number out of range"),
        (b'{"a":Infinity}', "holds a number out of range"),
        (b'{"a":1e999}', "holds a number out of range"),
        (b'{"id":' + b"9" * 5_000 + b"}", "holds a number out of range"),
        (b'{"id":' + b"9" * 400 + b"}", "holds a number out of range"),
        (b'{"a":"\xff\xfe"}', "is not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "is not UTF-8"),
        (b'{"a":"\x00"}', "is not JSON (Invalid control character at at character 6)"),
        (b"[" * 20_000 + b"]" * 20_000, "is nested more than 100 levels deep"),
        (nested(MAX_DEPTH + 1), "is nested more than 100 levels deep"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_not_a_readable_object_is_refused_by_name(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_json(body)

    assert str(caught.value) == f"body: {problem}"


def test_the_refusal_names_the_field_it_was_told() -> None:
    with pytest.raises(InvalidInputError, match=r"^payload: is empty$"):
        decode_json(b"", field="payload")


def test_the_deepest_body_that_is_read_can_be_written_again() -> None:
    read = decode_json(nested(MAX_DEPTH))

    assert json.loads(json.dumps(read)) == read
    assert orjson.loads(orjson.dumps(read)) == read


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (rb'{"a\u0000b":"c\u0000d"}', {"ab": "cd"}),
        (rb'{"a":["\ud800x",{"b\udfff":"\udc00"}]}', {"a": ["\ufffdx", {"b\ufffd": "\ufffd"}]}),
        (rb'{"a":"\ud83d\ude00"}', {"a": "\U0001f600"}),
        (rb'{"a":"\\u0000 \\ud800"}', {"a": r"\u0000 \ud800"}),
        (rb'{"a":"caf\u00e9 \/ x"}', {"a": "café / x"}),
        ('{"a":"naïve 😀 日本\u202ex"}'.encode(), {"a": "naïve 😀 日本\u202ex"}),
        (b'{"a":9223372036854775807}', {"a": 9223372036854775807}),
        (b'{"a":-9223372036854775809}', {"a": -9223372036854775808.0}),
        (b'{"a":true,"b":null,"c":1.5}', {"a": True, "b": None, "c": 1.5}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_what_is_read_can_be_stored(body: bytes, read: dict[str, Any]) -> None:
    assert decode_json(body) == read
    assert orjson.loads(orjson.dumps(decode_json(body))) == read


def test_getters_take_any_shape() -> None:
    shapes: list[Any] = [None, True, 7, 1.5, "x", " ", [1], {"a": 1}]

    assert [reading.text(one) for one in shapes] == ["", "", "", "", "x", " ", "", ""]
    assert [dict(reading.mapping(one)) for one in shapes] == [{}] * 7 + [{"a": 1}]
    assert [reading.sequence(one) for one in shapes] == [[]] * 6 + [[1], []]
    assert [reading.key(one) for one in shapes] == [None, None, "7", None, "x", None, None, None]


def test_a_number_key_is_an_integer_or_its_digits() -> None:
    told: list[Any] = [7, "7", "007", " 7 ", -7, "\u0667", "7a", "9" * 5_000, True, 7.0, "", "../7"]

    assert [reading.number_key(one) for one in told] == ["7", "7", "7", "7", *[None] * 8]
