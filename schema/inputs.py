"""GraphQL inputs from the pydantic models of the use cases: one definition for both doors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import strawberry
import strawberry.pydantic
from pydantic import BaseModel, ValidationError
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from aether.errors import InvalidInputError
from resolvers.fields import invalid_input, read_id
from schema.scalars import DIGITS, BigInt

Model = TypeVar("Model", bound=BaseModel)


def input_from_model(*, description: str) -> Callable[[type[Model]], type[Model]]:
    """Make a subclass of a use case's pydantic model a GraphQL input.

    Names are the model's own in camel case, not its aliases, which are REST's. Validation is the
    model's, in the words that REST uses, naming GraphQL's field. Beyond what Strawberry does:

    - A default of None is not told to GraphQL, which would fill it in: what the client left out
      is not in ``model_fields_set``, and null is.
    - An integer that may be beyond 32 bits is a BigInt.
    - A field named ``id`` or ``..._id`` is an ID, text or number: Int ends at 32 bits.
    """

    def decorate(model: type[Model]) -> type[Model]:
        # What Strawberry builds an input with.
        model.model_validate = _with_our_errors(model)  # type: ignore[method-assign]
        strawberry.pydantic.input(description=description)(model)
        definition: StrawberryObjectDefinition = vars(model)["__strawberry_definition__"]
        numbers = []
        for one in definition.fields:
            if one.default is None:
                one.default = one.default_value = MISSING
            if _is_id(one, model, {int, str}):
                _make(one, strawberry.ID)
            if _is_id(one, model, {int}):
                numbers.append(one)
            elif _is_long(model.model_fields[one.python_name].annotation):
                _make(one, BigInt)
        if numbers:
            definition.from_input = _with_numbers(definition.from_input, numbers)
        return model

    return decorate


def _with_our_errors(model: type[Model]) -> Callable[..., Model]:
    validate = model.model_validate

    def model_validate(obj: Any, **options: Any) -> Model:
        try:
            return validate(obj, **options)
        except ValidationError as error:
            told = invalid_input(error)
            problem = str(told).removeprefix(f"{told.field}: ")
            names = _graphql_names(model, error.errors(include_input=False)[0]["loc"])
            raise InvalidInputError(".".join(names) or told.field, problem) from None

    return model_validate


def _graphql_names(model: Any, location: Sequence[str | int]) -> Iterator[str]:
    for part in location:
        if part == "[key]":  # of an object's key that is itself not valid
            continue
        fields = getattr(model, "model_fields", {})
        found = next(
            ((name, one) for name, one in fields.items() if part in (name, one.alias)), None
        )
        if found is None:
            yield str(part)
        else:
            yield to_camel_case(found[0])
            model = next((one for one in _inside(found[1].annotation) if _is_model(one)), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _inside(annotation: Any) -> Iterator[Any]:
    """The plain types in an annotation: ``int`` and ``NoneType`` of ``RowId | None``."""
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        parts = parts[:1]
    if not parts:
        yield annotation
    for part in parts:
        yield from _inside(part)


def _is_id(one: StrawberryField, model: type[BaseModel], kinds: set[type]) -> bool:
    name = one.python_name
    if name != "id" and not name.endswith("_id"):
        return False
    annotation = model.model_fields[name].annotation
    found = set(_inside(annotation)) - {NoneType}
    return get_origin(annotation) not in (list, dict) and len(found) == 1 and found <= kinds


def _is_long(annotation: Any) -> bool:
    """Whether it is an integer that may be beyond GraphQL's Int, by its upper bound."""
    if get_origin(annotation) is not Annotated:
        return any(_is_long(part) for part in get_args(annotation))
    kind, *told = get_args(annotation)
    rules = [rule for one in told for rule in getattr(one, "metadata", ())]
    bounds = [getattr(rule, "le", None) for rule in rules]
    return kind is int and any(isinstance(bound, int) and bound >= 2**31 for bound in bounds)


def _make(one: StrawberryField, kind: Any) -> None:
    assert one.type_annotation is not None  # noqa: S101 - Strawberry read it from the model
    nullable = NoneType in _inside(one.type_annotation.raw_annotation)
    one.type_annotation = StrawberryAnnotation(kind | None if nullable else kind)


def _with_numbers(build: Any, numbers: list[StrawberryField]) -> Any:
    """``build`` for a model whose numeric ids came as ID, which is text."""

    def build_with_numbers(
        model: type[BaseModel], value: Mapping[str, Any], context: InputContext
    ) -> BaseModel:
        read = dict(value)
        for one in numbers:
            name = context.config.name_converter.from_field(one)
            if read.get(name) is not None:
                place = ".".join(map(str, (*context.path[1:], name)))
                read[name] = _number(read[name], place)
        built: BaseModel = build(model, read, context)
        return built

    return build_with_numbers


def _number(text: str, place: str) -> int:
    if not DIGITS.fullmatch(text):
        raise InvalidInputError(place, "must be a whole number")
    return int(text)


def row_id(noun: str, id: strawberry.ID) -> int:
    """The integer id of a row that a field or mutation selects.

    Raises:
        NotFoundError: it is no such number, so nothing has it.
    """
    return read_id(noun, str(id))
