"""Arrays of the commit path, as a real Postgres reads them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import pq

from runtime.postgres.arrays import FEW, bigints, ints, smallints, texts, uuids
from tests.support.system import System

COUNTS = (0, 1, FEW - 1, FEW, 1000)


def read(system: System, type: str, given: str | bytes) -> Any:
    """The array as Postgres writes it after it has read it."""
    with psycopg.connect(system.postgres_url) as connection:
        data = given if isinstance(given, bytes) else given.encode()
        asked = f"SELECT $1::{type}[]::text".encode()
        result = connection.pgconn.exec_params(asked, [data], param_formats=[isinstance(given, bytes)])
        assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
        value = result.get_value(0, 0)
        assert value is not None
        return value.decode()


def written(values: Sequence[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("type", "form", "bits"), [("smallint", smallints, 16), ("int", ints, 32), ("bigint", bigints, 64)]
)
def test_given_whole_numbers_when_they_are_sent_then_postgres_reads_the_same(
    system: System, type: str, form: partial[str | bytes], bits: int, count: int
) -> None:
    most = 2 ** (bits - 1) - 1
    values = tuple([0, -1, 258, most, -most - 1, *range(-300, 1000)][:count])
    assert isinstance(form(values), bytes) == (count >= FEW)
    assert read(system, type, form(values)) == written(values)


@pytest.mark.parametrize("count", COUNTS)
def test_given_ids_of_actors_when_they_are_sent_then_postgres_reads_the_same(system: System, count: int) -> None:
    ids = tuple(uuid.UUID(int=number**13 % 2**128) for number in range(count))
    assert read(system, "uuid", uuids([id.hex for id in ids])) == written(ids)


@pytest.mark.parametrize("wrong", ["", "ab", "0" * 31, "0" * 34, "g" * 32])
def test_given_what_is_no_uuid_when_it_is_sent_then_postgres_refuses_it(system: System, wrong: str) -> None:
    with pytest.raises(AssertionError, match="invalid input syntax for type uuid|malformed array"):
        read(system, "uuid", uuids([uuid.UUID(int=1).hex, wrong]))


def test_given_a_number_too_large_for_its_column_when_it_is_sent_then_postgres_refuses_it(system: System) -> None:
    """As any other value that the log does not take: the message it belongs to is parked, and no other."""
    with pytest.raises(AssertionError, match="out of range for type smallint"):
        read(system, "smallint", smallints([2**15] * FEW))


@pytest.mark.parametrize(
    "values",
    [[], [""], ["", ""], ["a", ""], ["a", None], [None, "", 'a "b" \\c'], ['"', "\\"], ["NULL", "{}", "a,b"], [" x "]],
)
def test_given_texts_and_missing_ones_when_they_are_sent_then_postgres_reads_the_same(
    system: System, values: list[str | None]
) -> None:
    with psycopg.connect(system.postgres_url) as connection:
        assert connection.execute("SELECT %s::text[]", [texts(values)]).fetchone() == (values,)


def test_given_a_column_of_nothing_but_missing_texts_when_it_is_sent_then_it_is_empty_and_filled_up() -> None:
    assert texts([None, None]) == "{}"
