"""Functions: stateless, still callable, run in a thread of their own when they are plain."""

import asyncio
import threading
from typing import Any

import pytest

from runtime import BadDefinition, Function, Retry, RetryPolicy, Turn, function
from runtime.arguments import InvalidArguments
from runtime.errors import BadResult
from runtime.kind import Decided, Execution
from schemas.address import Address
from tests.unit.small_bank import charge


def run(kind: Function, body: bytes, *, attempt: int = 1) -> Decided:
    method = kind.methods["run"]
    assert isinstance(method, Execution)
    turn = Turn(Address("default", kind.name, "k"), "id-1", 0, 0.0, attempt=attempt)

    async def go() -> Decided:
        return await method.run(None, method.arguments.decode(body), turn)

    return asyncio.run(go())


def test_given_a_function_when_run_then_its_result_is_json_and_nothing_is_kept() -> None:
    assert run(charge, b'{"amount": 3}') == Decided([], None, b'{"charged":3,"attempt":1}')


def test_given_a_function_that_asks_for_another_attempt_when_run_again_then_it_knows_its_attempt() -> None:
    with pytest.raises(Retry, match="busy"):
        run(charge, b'{"amount": 3, "succeed_at": 2}', attempt=1)
    assert run(charge, b'{"amount": 3, "succeed_at": 2}', attempt=2).result == b'{"charged":3,"attempt":2}'


def test_given_a_plain_function_when_run_then_it_has_a_thread_of_its_own() -> None:
    @function
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert run(where, b"").result == b"false"


def test_given_a_function_when_called_as_one_then_it_is_one() -> None:
    @function(name="plus", retry=RetryPolicy(max_attempts=9), timeout_s=None)
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.name, add.description, add.behaviour.retry.max_attempts) == ("plus", "Adds.", 9)
    assert run(add, b'{"a": 1}').result == b"2"
    assert add.method_for({"a": 1}) == "run"


@pytest.mark.parametrize("body", [b'{"amount": "3"}', b"", b'{"amount": 1, "more": 2}'])
def test_given_arguments_that_do_not_fit_when_run_then_they_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidArguments):
        run(charge, body)


def test_given_a_function_that_takes_longer_than_its_limit_when_run_then_it_times_out() -> None:
    @function(timeout_s=0.01)
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run(wait, b"")


def test_given_a_function_that_returns_another_type_when_run_then_it_is_a_bad_result() -> None:
    @function
    async def count() -> int:
        return "many"  # type: ignore[return-value]

    with pytest.raises(BadResult, match="count returned str, which does not fit int"):
        run(count, b"")


def takes_rest(*rest: int) -> None: ...


@pytest.mark.parametrize("handler", [takes_rest, lambda: 1])
def test_given_a_function_that_cannot_work_when_defined_then_it_is_refused(handler: Any) -> None:
    with pytest.raises(BadDefinition):
        function(handler)


def test_given_a_function_when_folded_then_there_is_nothing_to_fold() -> None:
    assert charge.fold(None, []) is None
    assert charge.decode_state(charge.encode_state(None)) is None
