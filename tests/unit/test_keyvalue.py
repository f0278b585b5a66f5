"""Key-value entities: values that share nothing with the log, changes that are events."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import BadDefinition, KeyValue, KeyValueEntity, UnreadableEvent, keyvalue
from runtime.arguments import MAX_KEPT_NESTING
from runtime.errors import BadResult
from runtime.keyvalue import MAX_NAME_LENGTH, State
from runtime.kind import Decided, Decision, Execution, NewEvent, Read, StoredEvent
from runtime.sent import Message
from runtime.turn import Turn
from schemas.address import Address
from tests.unit.small_bank import add, cart, remove


def turn() -> Turn:
    return Turn(Address("default", "box", "k"), "id-1", 0, 0.0)


def context(state: dict[str, Any] | None = None, *, writable: bool = True) -> KeyValue:
    stored = {name: msgspec.json.encode(value) for name, value in (state or {}).items()}
    return KeyValue(turn(), stored, writable=writable)


def decide(kind: KeyValueEntity, method: str, state: State, body: bytes = b"") -> Decided:
    decision = kind.methods[method]
    assert isinstance(decision, Decision)
    return decision.decide(state, decision.arguments.decode(body), turn())


# -- get, set, delete --------------------------------------------------------------------------------------------------

names = st.sampled_from("ab")
operations = st.lists(
    st.one_of(st.tuples(st.just("set"), names, st.integers(0, 1)), st.tuples(st.just("delete"), names, st.none())),
    max_size=5,
)


@given(st.dictionaries(names, st.integers(0, 1)), operations)
def test_given_any_values_when_set_and_deleted_then_reads_and_the_fold_of_the_events_agree_with_a_dict(
    before: dict[str, int], changes: list[tuple[str, str, int | None]]
) -> None:
    ctx, model = context(before), dict(before)
    for what, name, value in changes:
        if what == "set":
            ctx.set(name, value)
            model[name] = value  # type: ignore[assignment]
        else:
            ctx.delete(name)
            model.pop(name, None)
        assert {name: ctx.get(name, "none") for name in "ab"} == {name: model.get(name, "none") for name in "ab"}
        assert ctx.names() == sorted(model)
    stored = {name: msgspec.json.encode(value) for name, value in before.items()}
    events = ctx.events()
    folded = cart.fold(stored, [StoredEvent(seq, *event) for seq, event in enumerate(events, 1)])
    assert {name: msgspec.json.decode(value) for name, value in folded.items()} == model
    assert stored == {name: msgspec.json.encode(value) for name, value in before.items()}
    changed = {name for name in "ab" if before.get(name) != model.get(name)}
    assert len(events) == len(changed)


def test_given_a_value_that_was_got_when_the_handler_changes_it_then_nothing_else_changes() -> None:
    ctx = context({"list": [1]})
    ctx.get("list").append(2)
    assert ctx.get("list") == [1]
    assert ctx.events() == []


def test_given_a_value_that_was_set_when_the_handler_changes_it_afterwards_then_the_set_value_stays() -> None:
    ctx, value = context(), [1]
    ctx.set("list", value)
    value.append(2)
    ctx.get("list").append(3)
    assert ctx.get("list") == [1]
    assert ctx.events() == [NewEvent("ValueSet", 1, '{"name":"list","value":[1]}')]


class Line(msgspec.Struct):
    item: str


class Model(pydantic.BaseModel):
    item: str


@pytest.mark.parametrize("kind", [Line, Model])
def test_given_a_typed_value_when_got_as_its_type_then_it_is_checked_and_converted(kind: Any) -> None:
    ctx = context()
    ctx.set("line", kind(item="tea"))
    assert ctx.get("line") == {"item": "tea"}
    assert ctx.get("line", type=kind) == kind(item="tea")
    assert ctx.get("none", type=kind) is None
    assert ctx.get("none", 3, type=kind) == 3
    ctx.set("line", {"item": 1})
    with pytest.raises(msgspec.ValidationError):
        ctx.get("line", type=kind)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_given_an_empty_value_when_set_then_it_is_a_value_and_not_the_default(value: Any) -> None:
    ctx = context()
    ctx.set("x", value)
    assert ctx.get("x", "default") == value
    assert ctx.names() == ["x"]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [object(), "a\ud800", {(1, 2): 3}, 1j, deep(100_000), deep(MAX_KEPT_NESTING + 1)],
    ids=["o", "s", "d", "c", "r", "n"],
)
def test_given_a_value_without_json_form_when_set_then_it_is_a_bad_result_and_nothing_is_set(value: Any) -> None:
    ctx = context()
    with pytest.raises(BadResult, match="the value set for 'x'"):
        ctx.set("x", value)
    assert ctx.names() == []


def test_given_nan_when_set_then_it_is_null_as_in_json() -> None:
    ctx = context()
    ctx.set("x", math.nan)
    assert ctx.get("x") is None


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_LENGTH + 1), "a\ud800", 3, None])
@pytest.mark.parametrize("change", [lambda ctx, name: ctx.set(name, 1), lambda ctx, name: ctx.delete(name)])
def test_given_a_name_that_is_no_name_when_changed_then_it_is_a_bad_result(
    change: Callable[[KeyValue, Any], None], name: Any
) -> None:
    with pytest.raises(BadResult, match="a value's name is a text of 1 to 200 characters"):
        change(context(), name)


@pytest.mark.parametrize("name", ["x" * MAX_NAME_LENGTH, "é.*> \0", "troupe."])
def test_given_an_unusual_name_when_set_then_the_log_gives_it_back(name: str) -> None:
    ctx = context()
    ctx.set(name, 1)
    assert cart.fold({}, [StoredEvent(1, *event) for event in ctx.events()]) == {name: b"1"}


@pytest.mark.parametrize(
    "change",
    [
        lambda ctx: ctx.set("x", 1),
        lambda ctx: ctx.delete("x"),
        lambda ctx: ctx.tell("cart", "k", "add", {"item": "x"}),
        lambda ctx: ctx.schedule("t", "add", after_s=1),
        lambda ctx: ctx.cancel("t"),
    ],
)
def test_given_a_shared_handler_when_it_changes_or_sends_something_then_it_is_a_bad_result(
    change: Callable[[KeyValue], None],
) -> None:
    ctx = context({"x": 0}, writable=False)
    with pytest.raises(BadResult, match="a shared handler may not"):
        change(ctx)
    assert ctx.get("x") == 0
    assert (ctx.turn.messages, ctx.turn.timers) == ([], [])


def test_given_a_context_when_asked_who_it_is_then_it_is_the_turns_actor() -> None:
    ctx = context()
    ctx.tell(cart, "other", "add", {"item": "tea"})
    assert (ctx.key, ctx.address) == ("k", Address("default", "box", "k"))
    assert ctx.turn.messages == [Message(Address("default", "cart", "other"), "add", b'{"item":"tea"}')]


# -- methods -----------------------------------------------------------------------------------------------------------


def test_given_a_write_when_decided_then_only_real_changes_are_events() -> None:
    first = decide(cart, "add", {}, b'{"item": "tea", "quantity": 2}')
    assert first == Decided([NewEvent("ValueSet", 1, '{"name":"tea","value":2}')], {"tea": b"2"}, b"2")
    assert decide(cart, "add", first.state, b'{"item": "tea", "quantity": 0}') == Decided([], {"tea": b"2"}, b"2")
    gone = decide(cart, "remove", first.state, b'{"item": "tea"}')
    assert gone == Decided([NewEvent("ValueDeleted", 1, '{"name":"tea"}')], {}, b"null")
    assert decide(cart, "remove", {}, b'{"item": "tea"}').events == []


def test_given_a_shared_plain_handler_when_read_then_it_sees_the_values() -> None:
    method = cart.methods["items"]
    assert isinstance(method, Read)
    assert method.read({"tea": b"2"}, method.arguments.decode(b""), turn()) == b'["tea"]'


def test_given_an_async_write_when_run_then_its_changes_and_messages_come_together_at_the_end() -> None:
    method = cart.methods["check_out"]
    assert isinstance(method, Execution)
    assert method.exclusive
    asked = turn()
    decided = asyncio.run(_run(method, {"tea": b"2", "jam": b"1"}, b'{"payer": "alice"}', asked))
    assert (decided.state, decided.result) == ({}, b"3")
    assert [event.type for event in decided.events] == ["ValueDeleted", "ValueDeleted"]
    assert [message.method for message in asked.messages] == ["withdraw"]


async def _run(method: Execution, state: State, body: bytes, asked: Turn) -> Decided:
    return await method.run(state, method.arguments.decode(body), asked)


def test_given_an_async_shared_handler_when_defined_then_it_runs_beside_others() -> None:
    method = cart.methods["count"]
    assert isinstance(method, Execution)
    assert not method.exclusive
    assert asyncio.run(_run(method, {"tea": b"2"}, b"", turn())) == Decided([], {"tea": b"2"}, b"1")


def test_given_an_async_shared_handler_when_it_changes_something_then_it_is_a_bad_result() -> None:
    box = keyvalue("box")

    @box.shared
    async def meddle(ctx: KeyValue) -> None:
        ctx.set("x", 1)

    method = box.methods["meddle"]
    assert isinstance(method, Execution)
    with pytest.raises(BadResult, match="a shared handler may not change values: declare it with @write"):
        asyncio.run(_run(method, {}, b"", turn()))


def test_given_an_async_handler_with_a_time_limit_when_it_takes_longer_then_it_times_out() -> None:
    box = keyvalue("box")

    @box.write(timeout_s=0.01)
    async def wait(ctx: KeyValue) -> None:
        ctx.set("x", 1)
        await asyncio.Event().wait()

    method = box.methods["wait"]
    assert isinstance(method, Execution)
    with pytest.raises(TimeoutError):
        asyncio.run(_run(method, {}, b"", turn()))


def test_given_a_handler_that_returns_another_type_when_decided_then_it_is_a_bad_result() -> None:
    box = keyvalue("box")

    @box.write
    def go(ctx: KeyValue) -> int:
        return "much"  # type: ignore[return-value]

    with pytest.raises(BadResult, match="go returned str, which does not fit int"):
        decide(box, "go", {})


def test_given_handlers_when_registered_then_they_are_still_plain_functions_and_may_be_renamed() -> None:
    box = keyvalue("box")
    box.write(name="put")(add)
    box.shared(name="see")(remove)
    assert set(box.methods) == {"put", "see"}
    ctx = context()
    assert add(ctx, "tea", 3) == 3


async def generates_async(ctx: KeyValue) -> Any:
    yield 1


def generates(ctx: KeyValue) -> Any:
    yield 1


def takes_nothing() -> None: ...


@pytest.mark.parametrize("handler", [generates, generates_async, takes_nothing, lambda ctx: 1])
@pytest.mark.parametrize("flavor", ["write", "shared"])
def test_given_a_handler_that_cannot_work_when_registered_then_it_is_refused(
    flavor: str, handler: Callable[..., Any]
) -> None:
    box = keyvalue("box")
    with pytest.raises(BadDefinition):
        getattr(box, flavor)(handler)
    assert not box.methods


def test_given_two_handlers_of_one_name_when_registered_then_the_second_is_refused() -> None:
    box = keyvalue("box")
    box.write(name="go")(add)
    with pytest.raises(BadDefinition, match="two methods named 'go'"):
        box.shared(name="go")(remove)


def test_given_a_command_object_when_its_method_is_looked_up_then_its_type_decides_unless_two_take_it() -> None:
    box = keyvalue("box")

    def put(ctx: KeyValue, line: Line) -> None:
        ctx.set("line", line)

    box.write(put)
    assert box.method_for(Line("tea")) == "put"
    box.write(name="put_again")(put)
    with pytest.raises(TypeError, match="put and put_again of key-value entity 'box' both take this"):
        box.method_for(Line("tea"))
    with pytest.raises(TypeError, match="no method that takes int"):
        box.method_for(3)


# -- the fold ----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 1) | st.none() | st.text(max_size=1), max_size=3))
def test_given_any_values_when_snapshot_then_they_come_back_byte_for_byte(values: dict[str, Any]) -> None:
    state = {name: msgspec.json.encode(value) for name, value in values.items()}
    assert cart.decode_state(cart.encode_state(state)) == state


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (StoredEvent(3, "Renamed", 1, "{}"), "event 3 is of type 'Renamed'"),
        (StoredEvent(3, "ValueSet", 1, '{"name":"x"}'), "event 3, 'ValueSet', cannot be decoded"),
        (StoredEvent(3, "ValueDeleted", 1, "{"), "event 3, 'ValueDeleted', cannot be decoded"),
    ],
)
def test_given_an_event_that_cannot_be_read_when_folded_then_the_error_names_it(event: StoredEvent, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        cart.fold({}, [event])


def test_given_events_of_the_engines_own_when_folded_then_they_are_passed_over() -> None:
    assert cart.fold({"x": b"1"}, [StoredEvent(1, "troupe.parked", 1, "{}")]) == {"x": b"1"}
