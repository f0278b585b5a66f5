"""Arguments: from a body to what a handler takes, with the failing place in the error."""

import dataclasses
import datetime
import inspect
import json
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.arguments import MAX_NESTING, Arguments, InvalidArguments, hints_of, nests_too_deep
from runtime.errors import BadDefinition
from schemas.codec import MSGPACK


class Line(msgspec.Struct):
    item: str
    quantity: Annotated[int, msgspec.Meta(ge=1)] = 1


class AsStruct(msgspec.Struct):
    name: str
    lines: list[Line] = []


@dataclasses.dataclass
class AsDataclass:
    name: str
    lines: list[Line] = dataclasses.field(default_factory=list)


class AsTypedDict(TypedDict):
    name: str
    lines: list[Line]


class PydanticLine(pydantic.BaseModel):
    item: str
    quantity: int = pydantic.Field(default=1, ge=1)


class AsPydantic(pydantic.BaseModel):
    name: str
    lines: list[PydanticLine] = []


class Aliased(pydantic.BaseModel):
    amount: int = pydantic.Field(alias="amountCents")


def arguments_of(handler: Callable[..., Any]) -> Arguments:
    return Arguments(handler, list(inspect.signature(handler).parameters.values()), hints_of(handler))


def of_struct(order: AsStruct) -> None: ...
def of_dataclass(order: AsDataclass) -> None: ...
def of_typed_dict(order: AsTypedDict) -> None: ...
def of_pydantic(order: AsPydantic) -> None: ...
def of_names(name: str, lines: list[Line] = []) -> None: ...  # noqa: B006
def of_nothing() -> None: ...
def of_anything(value: Any) -> None: ...
def of_unannotated(value) -> None: ...  # type: ignore[no-untyped-def]
def of_union(command: AsStruct | None, mode: Literal["a", "b"] = "a") -> None: ...
def of_mixed(order: AsPydantic, lines: list[PydanticLine], when: datetime.datetime | None = None) -> None: ...


EVERY_SHAPE = [of_struct, of_dataclass, of_typed_dict, of_pydantic, of_names]
EVERY_HANDLER = [*EVERY_SHAPE, of_nothing, of_anything, of_unannotated, of_union, of_mixed]
every_shape = pytest.mark.parametrize("handler", EVERY_SHAPE)
GOOD = {"name": "ann", "lines": [{"item": "tea", "quantity": 2}]}


def plain(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    return msgspec.to_builtins(value)


# -- every shape -------------------------------------------------------------------------------------------------------


@every_shape
def test_given_a_fitting_body_when_decoded_then_the_handler_gets_typed_values(handler: Callable[..., Any]) -> None:
    arguments = arguments_of(handler)
    spread = arguments.spread(arguments.decode(json.dumps(GOOD).encode()))
    inspect.signature(handler).bind(*spread)
    values = plain(spread[0]) if arguments.single else {"name": spread[0], "lines": plain(spread[1])}
    assert values == GOOD


@every_shape
def test_given_a_fitting_body_in_messagepack_when_decoded_then_it_is_the_same(handler: Callable[..., Any]) -> None:
    arguments = arguments_of(handler)
    packed = arguments.decode(msgspec.msgpack.encode(GOOD), MSGPACK)
    assert packed == arguments.decode(json.dumps(GOOD).encode())


@every_shape
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": 1, "lines": []}, "$.name"),
        ({"name": "ann", "lines": "none"}, "$.lines"),
        ({"name": "ann", "lines": [{"item": "tea", "quantity": 0}]}, "$.lines[0].quantity"),
        ({"name": "ann", "lines": [{"item": "a"}, {"item": None}]}, "$.lines[1].item"),
    ],
)
def test_given_a_mistyped_field_when_decoded_then_the_error_has_its_path(
    handler: Callable[..., Any], body: Any, path: str
) -> None:
    for encoded, content_type in ((json.dumps(body).encode(), None), (msgspec.msgpack.encode(body), MSGPACK)):
        with pytest.raises(InvalidArguments) as caught:
            arguments_of(handler).decode(encoded, content_type)
        assert caught.value.path == path


@every_shape
@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"lines": []}'])
def test_given_a_missing_field_when_decoded_then_the_error_names_it(handler: Callable[..., Any], body: bytes) -> None:
    with pytest.raises(InvalidArguments) as caught:
        arguments_of(handler).decode(body)
    assert "name" in f"{caught.value} {caught.value.path}"


@every_shape
@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"true", b"[1]"])
def test_given_a_body_that_is_no_object_when_decoded_then_it_is_refused(
    handler: Callable[..., Any], body: bytes
) -> None:
    with pytest.raises(InvalidArguments):
        arguments_of(handler).decode(body)


UNREADABLE = [
    b"{",
    b"{]",
    b"{'name': 'ann'}",
    b'{"name": "ann"} x',
    b'{"name": "\xff"}',
    b'{"name": "\\ud800"}',
    b'{"name": "\\ud800x"}',
    b'{"name": "a\nb"}',
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b'{"lines": 01}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"name": ' + b"[" * 300 + b"]" * 300 + b"}",
]


@pytest.mark.parametrize("handler", EVERY_HANDLER)
@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:20]))
def test_given_a_body_that_is_not_json_when_decoded_then_it_is_refused(
    handler: Callable[..., Any], body: bytes
) -> None:
    with pytest.raises(InvalidArguments):
        arguments_of(handler).decode(body)


@pytest.mark.parametrize("handler", EVERY_HANDLER)
@pytest.mark.parametrize(
    "body",
    [b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x81", b"\x81\x80\x01", b"\x80\x80", b"\x91" * 100_000, b"\xd9\x01\xff"],
    ids=repr,
)
def test_given_a_body_that_is_not_messagepack_when_decoded_then_it_is_refused(
    handler: Callable[..., Any], body: bytes
) -> None:
    with pytest.raises(InvalidArguments):
        arguments_of(handler).decode(body, MSGPACK)


@pytest.mark.parametrize("handler", EVERY_HANDLER)
def test_given_an_unknown_content_type_when_decoded_then_the_error_says_what_to_send(
    handler: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidArguments, match="text/plain.*send application/json or application/msgpack"):
        arguments_of(handler).decode(b"{}", "text/plain")


@given(
    st.sampled_from(EVERY_HANDLER),
    st.one_of(
        st.binary(max_size=12),
        st.text('{}[]",:\\ue0nl1 -.', max_size=12).map(str.encode),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), st.lists, max_leaves=3).map(
            lambda value: json.dumps({"name": value, "lines": value, "value": value}).encode()
        ),
    ),
    st.sampled_from([None, "application/json; charset=utf-8", MSGPACK]),
)
@example(of_anything, b"\x81\xa5value\x81\x90\x01", MSGPACK)
@example(of_pydantic, b"\x81\xa4name\xc4\x01\xff", MSGPACK)
def test_given_any_body_when_decoded_then_it_fits_or_is_refused_and_nothing_else(
    handler: Callable[..., Any], body: bytes, content_type: str | None
) -> None:
    arguments = arguments_of(handler)
    try:
        payload = arguments.decode(body, content_type)
    except InvalidArguments as error:
        assert str(error)
        assert error.path is None or error.path.startswith("$")
    else:
        inspect.signature(handler).bind(*arguments.spread(payload))


# -- parameters by name ------------------------------------------------------------------------------------------------


def test_given_named_parameters_when_one_with_a_default_is_missing_then_the_default_stands() -> None:
    arguments = arguments_of(of_names)
    assert arguments.spread(arguments.decode(b'{"name": "ann"}')) == ("ann", [])


def test_given_a_mutable_default_when_a_handler_changes_it_then_the_next_call_gets_a_fresh_one() -> None:
    arguments = arguments_of(of_names)
    arguments.spread(arguments.decode(b'{"name": "ann"}'))[1].append(Line("tea"))
    assert arguments.spread(arguments.decode(b'{"name": "ann"}'))[1] == []


def test_given_named_parameters_when_the_body_has_another_name_then_it_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="unknown field `nme`"):
        arguments_of(of_union).decode(b'{"command": null, "nme": 1}')


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
def test_given_a_handler_without_parameters_when_the_body_is_empty_or_null_then_it_is_called(body: bytes) -> None:
    arguments = arguments_of(of_nothing)
    assert arguments.spread(arguments.decode(body)) == ()


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x80"])
def test_given_a_handler_without_parameters_when_the_packed_body_is_empty_or_nil_then_it_is_called(
    body: bytes,
) -> None:
    assert arguments_of(of_nothing).spread(arguments_of(of_nothing).decode(body, MSGPACK)) == ()


def test_given_a_union_and_a_literal_when_decoded_then_each_is_checked() -> None:
    arguments = arguments_of(of_union)
    assert arguments.spread(arguments.decode(b'{"command": {"name": "x"}, "mode": "b"}')) == (AsStruct("x"), "b")
    with pytest.raises(InvalidArguments) as caught:
        arguments.decode(b'{"command": null, "mode": "c - at `$.x`"}')
    assert caught.value.path == "$.mode"


def test_given_pydantic_models_among_the_parameters_when_decoded_then_they_are_validated_with_the_whole_path() -> None:
    arguments = arguments_of(of_mixed)
    order, lines, when = arguments.spread(
        arguments.decode(b'{"order": {"name": "a"}, "lines": [{"item": "b"}], "when": "2024-01-02T03:04:05Z"}')
    )
    assert (order, lines) == (AsPydantic(name="a"), [PydanticLine(item="b")])
    assert when == datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    with pytest.raises(InvalidArguments, match="valid string") as caught:
        arguments.decode(b'{"order": {"name": "a", "lines": [{"item": 1}]}, "lines": []}')
    assert caught.value.path == "$.order.lines[0].item"


def test_given_a_pydantic_alias_when_decoded_then_the_alias_is_the_field() -> None:
    def pay(command: Aliased) -> None: ...

    assert arguments_of(pay).decode(b'{"amountCents": 3}').amount == 3


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["\0", "a\0b", "\U0001f600", "é" * 1000, "\u2028", '"\\'])
def test_given_unusual_text_when_decoded_then_it_is_kept_as_it_is(value: str) -> None:
    arguments = arguments_of(of_anything)
    assert arguments.spread(arguments.decode(json.dumps({"value": value}).encode())) == (value,)


@pytest.mark.parametrize("digits", [20, 400, 4000])
def test_given_a_huge_integer_when_decoded_then_it_is_exact(digits: int) -> None:
    arguments = arguments_of(of_anything)
    assert arguments.spread(arguments.decode(b'{"value": 1%s}' % (b"0" * digits))) == (10**digits,)


def test_given_an_integer_that_python_refuses_to_read_when_decoded_then_it_is_refused() -> None:
    with pytest.raises(InvalidArguments):
        arguments_of(of_anything).decode(b'{"value": 1%s}' % (b"0" * 100_000))


def test_given_a_number_too_large_for_a_float_when_decoded_then_it_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidArguments, match="out of range"):
        arguments_of(of_anything).decode(b'{"value": 1e999}')


def test_given_nan_in_messagepack_when_decoded_then_it_arrives_as_nan() -> None:
    (value,) = arguments_of(of_anything).spread(
        arguments_of(of_anything).decode(msgspec.msgpack.encode({"value": math.nan}), MSGPACK)
    )
    assert math.isnan(value)


@given(st.integers(0, 3), st.lists(st.sampled_from("[{"), min_size=1, max_size=3))
def test_given_nesting_around_the_limit_when_measured_then_the_limit_itself_is_allowed(
    extra: int, pattern: list[str]
) -> None:
    depth = MAX_NESTING - 1 + extra
    levels = (pattern * depth)[:depth]
    text = "1"
    for level in levels:
        text = f"[{text}, []]" if level == "[" else f'{{"a\\"]": {text}, "b": {{}}}}'
    depth += 1  # the innermost level has a neighbour that is one level itself
    assert nests_too_deep(text) == nests_too_deep(text.encode()) == (depth > MAX_NESTING)


@pytest.mark.parametrize(
    "text", ["[" * 1000, "]" * 1000, '"' + "[" * 1000 + '"', "[]," * 1000, '"[\\"' * 500, "é[" * 999]
)
def test_given_many_brackets_that_do_not_nest_when_measured_then_they_are_left_to_the_decoder(text: str) -> None:
    assert not nests_too_deep(text)


def of_amounts(amounts: dict[Literal["a", "b"], int]) -> None: ...


def test_given_a_key_that_does_not_fit_when_decoded_then_the_path_is_that_of_its_object() -> None:
    for body, content_type in ((b'{"amounts": {"c": 1}}', None), (b"\x81\xa7amounts\x81\x01\x01", MSGPACK)):
        with pytest.raises(InvalidArguments) as caught:
            arguments_of(of_amounts).decode(body, content_type)
        assert caught.value.path == "$.amounts"


# -- definitions -------------------------------------------------------------------------------------------------------


class NotData:
    pass


class MutableDefault(msgspec.Struct):
    values: list[int]


def takes_args(*values: int) -> None: ...
def takes_kwargs(**values: int) -> None: ...
def takes_keyword_only(*, value: int) -> None: ...
def takes_positional_only(value: int, /) -> None: ...
def takes_an_object(value: NotData) -> None: ...
def takes_objects(values: list[NotData]) -> None: ...
def takes_a_mutable_default(value: MutableDefault = MutableDefault([1]), other: int = 1) -> None: ...  # noqa: B008


@pytest.mark.parametrize(
    "handler",
    [
        takes_args,
        takes_kwargs,
        takes_keyword_only,
        takes_positional_only,
        takes_an_object,
        takes_objects,
        takes_a_mutable_default,
    ],
)
def test_given_parameters_that_no_body_can_fill_when_defined_then_the_error_names_the_handler(
    handler: Callable[..., Any],
) -> None:
    with pytest.raises(BadDefinition, match=handler.__name__):
        arguments_of(handler)


def test_given_an_annotation_that_cannot_be_resolved_when_defined_then_the_error_names_it() -> None:
    def pay(command: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(BadDefinition, match=r"pay cannot be resolved.*Nowhere"):
        arguments_of(pay)


@every_shape
def test_given_a_method_when_described_then_its_json_schema_names_the_fields(handler: Callable[..., Any]) -> None:
    schema = json.dumps(arguments_of(handler).schema())
    assert '"name"' in schema
    assert '"lines"' in schema
    assert '"quantity"' in schema


def test_given_nested_pydantic_models_when_described_then_every_reference_has_a_definition() -> None:
    schema = arguments_of(of_mixed).schema()
    text = json.dumps(schema)
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert referred
    assert referred <= set(schema["$defs"])
