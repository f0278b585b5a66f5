"""Results: what a handler returns, as JSON, checked against its annotation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from runtime.arguments import Result, encode_json, hints_of, json_decoder
from runtime.errors import BadResult


class Receipt(msgspec.Struct):
    total: int


@dataclasses.dataclass
class DataReceipt:
    total: int


class DictReceipt(TypedDict):
    total: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    total: int = pydantic.Field(alias="totalCents")

    @pydantic.computed_field
    def euros(self) -> float:
        return self.total / 100


def gives_struct() -> Receipt: ...  # type: ignore[empty-body]
def gives_dataclass() -> DataReceipt: ...  # type: ignore[empty-body]
def gives_typed_dict() -> DictReceipt: ...  # type: ignore[empty-body]
def gives_model() -> Model: ...  # type: ignore[empty-body]
def gives_models() -> list[Model]: ...  # type: ignore[empty-body]
def gives_int() -> int: ...  # type: ignore[empty-body]
def gives_none() -> None: ...
def gives_something(): ...  # type: ignore[no-untyped-def]
def gives_optional() -> Receipt | None: ...


def result_of(handler: Callable[..., Any]) -> Result:
    return Result(handler, hints_of(handler).get("return", Any))


@pytest.mark.parametrize(
    ("handler", "value", "encoded"),
    [
        (gives_struct, Receipt(3), b'{"total":3}'),
        (gives_struct, {"total": 3}, b'{"total":3}'),
        (gives_dataclass, DataReceipt(3), b'{"total":3}'),
        (gives_typed_dict, {"total": 3}, b'{"total":3}'),
        (gives_model, Model(totalCents=300), b'{"totalCents":300,"euros":3.0}'),
        (gives_models, [Model(totalCents=300)], b'[{"totalCents":300,"euros":3.0}]'),
        (gives_int, 3, b"3"),
        (gives_none, None, b"null"),
        (gives_something, {"a": [1, None, "\0"]}, b'{"a":[1,null,"\\u0000"]}'),
        (gives_something, None, b"null"),
        (gives_optional, None, b"null"),
        (gives_optional, Receipt(0), b'{"total":0}'),
    ],
)
def test_given_a_fitting_value_when_encoded_then_it_is_json(
    handler: Callable[..., Any], value: Any, encoded: bytes
) -> None:
    assert result_of(handler).encode(value) == encoded


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("handler", "value"),
    [
        (gives_struct, None),
        (gives_struct, {"total": "3"}),
        (gives_struct, DataReceipt("3")),  # type: ignore[arg-type]
        (gives_dataclass, 3),
        (gives_typed_dict, {}),
        (gives_model, {"totalCents": 300}),
        (gives_model, None),
        (gives_models, Model(totalCents=1)),
        (gives_int, "3"),
        (gives_int, 3.5),
        (gives_int, math.nan),
        (gives_none, 0),
        (gives_something, object()),
        (gives_something, "a\ud800"),
        (gives_something, {(1, 2): 3}),
        (gives_something, 1j),
        (gives_something, deep(100_000)),
        (gives_something, (part for part in "ab")),
    ],
)
def test_given_another_value_when_encoded_then_the_error_names_the_handler(
    handler: Callable[..., Any], value: Any
) -> None:
    with pytest.raises(BadResult, match=f"{handler.__name__} returned"):
        result_of(handler).encode(value)


def test_given_a_value_of_a_pydantic_model_when_encoded_for_the_log_then_the_model_reads_it_back() -> None:
    model = Model(totalCents=300)
    assert encode_json(model) == b'{"totalCents":300}'
    assert json_decoder(Model).decode(encode_json(model)) == model


def test_given_a_type_without_a_json_form_when_a_decoder_is_asked_for_then_it_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        json_decoder(dict[str, object])
