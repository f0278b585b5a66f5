"""Entities: what a handler returns becomes events, and nothing else gets into the log."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from msgspec import Struct

from runtime import BadDefinition, Entity, Rejected, Turn, entity
from runtime.arguments import MAX_KEPT_NESTING, InvalidArguments
from runtime.errors import BadResult
from runtime.kind import Decided, Decision, NewEvent, Read
from schemas.address import Address
from schemas.errors import CODES
from tests.unit.small_bank import Account, Deposit, Deposited, Withdraw, Withdrawn, account, apply


def turn(seq: int = 0) -> Turn:
    return Turn(Address("default", "test", "k"), "id-1", seq, 0.0)


def decide(kind: Entity[Any], method: str, state: Any, body: bytes, context: Turn | None = None) -> Decided:
    decision = kind.methods[method]
    assert isinstance(decision, Decision)
    return decision.decide(state, decision.arguments.decode(body), context or turn())


def read(kind: Entity[Any], method: str, state: Any, body: bytes = b"") -> bytes:
    query = kind.methods[method]
    assert isinstance(query, Read)
    return query.read(state, query.arguments.decode(body), turn())


# -- deciding ----------------------------------------------------------------------------------------------------------


def test_given_a_state_when_a_command_is_decided_then_events_state_and_result_follow() -> None:
    decided = decide(account, "deposit", Account(1), b'{"amount": 2}')
    assert decided == Decided([NewEvent("Deposited", 1, '{"amount":2}')], Account(3), b"3")


def test_given_a_handler_that_refuses_when_decided_then_the_reason_and_details_are_raised() -> None:
    with pytest.raises(Rejected, match="insufficient funds") as caught:
        decide(account, "withdraw", Account(1), b'{"amount": 2}')
    assert caught.value.details == {"balance": 1}


def test_given_a_handler_that_returns_none_when_decided_then_nothing_changes() -> None:
    assert decide(account, "stop_saving", Account(1), b"") == Decided([], Account(1), b"null")


def test_given_a_query_when_read_then_it_answers_from_the_state_and_takes_arguments() -> None:
    assert read(account, "balance", Account(2)) == b"2"
    assert [read(account, "can_pay", Account(2), b'{"amount": %d}' % amount) for amount in (1, 2, 3)] == [
        b"true",
        b"true",
        b"false",
    ]


def test_given_a_mistyped_command_when_decoded_then_the_path_is_in_the_error() -> None:
    with pytest.raises(InvalidArguments) as caught:
        decide(account, "withdraw", Account(), b'{"amount": "all"}')
    assert caught.value.path == "$.amount"


class Anything(Struct, frozen=True):
    value: Any


class Ratio(Struct, frozen=True):
    value: float


class Pair(NamedTuple):
    left: int
    right: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    value: int


class SubDeposited(Deposited, frozen=True):
    pass


def gather(state: tuple[Any, ...], event: Anything | Ratio | Pair | Model) -> tuple[Any, ...]:
    return (*state, event)


def deciding(handler: Callable[..., Any]) -> Callable[[], Decided]:
    box = entity("box", initial=(), apply=gather)
    box.command(name="go")(handler)
    return lambda: decide(box, "go", (), b"")


@pytest.mark.parametrize(
    ("produced", "events"),
    [
        (Anything(1), ["Anything"]),
        ([Anything(1), Ratio(0.5)], ["Anything", "Ratio"]),
        ((Anything(1), Anything(2)), ["Anything", "Anything"]),
        (Pair(1, 2), ["Pair"]),
        ([Pair(1, 2), Pair(3, 4)], ["Pair", "Pair"]),
        (Model(value=1), ["Model"]),
        ([], []),
        ((), []),
        (None, []),
    ],
)
def test_given_one_event_several_or_none_when_decided_then_each_is_kept_in_order(
    produced: Any, events: list[str]
) -> None:
    decided = deciding(lambda state: produced)()
    assert [event.type for event in decided.events] == events
    assert len(decided.state) == len(events)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("produced", "why"),
    [
        (Deposited(1), "Deposited, which is not an event of entity 'box'"),
        ([Anything(1), 3], "int, which is not an event"),
        ("Anything", "str, which is not an event"),
        ({"value": 1}, "dict, which is not an event"),
        (iter([Anything(1)]), "list_iterator, which is not an event"),
        (True, "bool, which is not an event"),
        (Anything, "StructMeta, which is not an event"),
        (Anything(object()), "cannot be kept"),
        (Anything("\ud800"), "cannot be kept"),
        (Anything({(1, 2): 3}), "cannot be kept"),
        (Anything(deep(100_000)), "cannot be kept"),
        (Anything(deep(MAX_KEPT_NESTING)), "nests deeper than"),
        (Ratio(math.nan), "cannot be kept"),
        (Ratio(math.inf), "cannot be kept"),
        (Ratio("1"), "cannot be kept"),  # type: ignore[arg-type]
    ],
)
def test_given_a_handler_that_returns_what_cannot_be_an_event_when_decided_then_it_is_a_bad_result(
    produced: Any, why: str
) -> None:
    with pytest.raises(BadResult, match=why):
        deciding(lambda state: produced)()


def test_given_an_event_exactly_as_deep_as_allowed_when_decided_then_it_is_kept() -> None:
    assert deciding(lambda state: Anything(deep(MAX_KEPT_NESTING - 1)))().events


def test_given_a_subclass_of_an_event_when_decided_then_it_is_refused_since_the_log_would_not_know_it() -> None:
    bank = entity("bank", initial=Account(), apply=apply)
    bank.command(name="go")(lambda state: SubDeposited(1))
    with pytest.raises(BadResult, match="SubDeposited, which is not an event"):
        decide(bank, "go", Account(), b"")


def test_given_a_float_that_json_carries_exactly_when_decided_then_the_folded_event_is_the_stored_one() -> None:
    decided = deciding(lambda state: Anything((1, 2)))()
    assert decided.state == (Anything([1, 2]),)  # as the log gives it back: a list


def test_given_a_handler_that_replies_when_decided_then_the_reply_is_the_result() -> None:
    def go(state: Any, ctx: Turn) -> None:
        ctx.reply({"seq": ctx.seq})

    box = entity("box", initial=(), apply=gather)
    box.command(go)
    assert decide(box, "go", (), b"", turn(seq=4)).result == b'{"seq":4}'


def test_given_a_reply_without_json_form_when_decided_then_it_is_a_bad_result() -> None:
    def go(state: Any, ctx: Turn) -> None:
        ctx.reply(object())

    box = entity("box", initial=(), apply=gather)
    box.command(go)
    with pytest.raises(BadResult, match="go returned object"):
        decide(box, "go", (), b"")


def test_given_an_apply_that_fails_on_a_new_event_when_decided_then_it_is_a_bad_result_that_names_apply() -> None:
    def broken(state: int, event: Deposited) -> int:
        raise KeyError("x")

    bank = entity("bank", initial=0, apply=broken)
    bank.command(name="go")(lambda state: Deposited(1))
    with pytest.raises(BadResult, match=r"broken failed on Deposited: KeyError\('x'\)"):
        decide(bank, "go", 0, b"")


def test_given_an_apply_that_forgets_a_case_when_decided_then_the_error_says_so() -> None:
    def forgetful(state: Account, event: Deposited | Withdrawn) -> Account:  # type: ignore[return]
        match event:
            case Deposited():
                return Account(state.balance + event.amount)

    bank = entity("bank", initial=Account(), apply=forgetful)
    bank.command(name="go")(lambda state: Withdrawn(1))
    with pytest.raises(BadResult, match="forgetful gave None for Withdrawn: return the next state for every event"):
        decide(bank, "go", Account(), b"")


def test_given_a_state_that_may_be_none_when_apply_gives_none_then_that_is_a_state() -> None:
    def toggle(state: Account | None, event: Deposited | Withdrawn) -> Account | None:
        return None if isinstance(event, Withdrawn) else Account(event.amount)

    bank = entity("bank", initial=None, apply=toggle)
    bank.command(name="close")(lambda state: Withdrawn(1))
    assert decide(bank, "close", Account(1), b"").state is None
    assert bank.decode_state(bank.encode_state(Account(1))) == Account(1)


def test_given_a_query_that_sends_messages_when_read_then_it_is_a_bad_result() -> None:
    def ask_around(state: Account, ctx: Turn) -> int:
        ctx.tell("account", "bob", "deposit", {"amount": 1})
        return 1

    bank = entity("bank", initial=Account(), apply=apply)
    bank.query(ask_around)
    with pytest.raises(BadResult, match="ask_around is a query, so it may not send messages"):
        read(bank, "ask_around", Account())


def test_given_a_query_that_answers_another_type_when_read_then_it_is_a_bad_result() -> None:
    def worth(state: Account) -> int:
        return "much"  # type: ignore[return-value]

    bank = entity("bank", initial=Account(), apply=apply)
    bank.query(worth)
    with pytest.raises(BadResult, match="worth returned str, which does not fit int"):
        read(bank, "worth", Account())
    assert CODES[BadResult.code].status == 500


# -- naming commands ---------------------------------------------------------------------------------------------------


def test_given_a_command_object_when_its_method_is_looked_up_then_its_type_decides() -> None:
    assert account.method_for(Withdraw(1)) == "withdraw"
    assert account.method_for(Deposit(1)) == "deposit"


def test_given_an_object_that_no_method_takes_when_looked_up_then_it_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no method that takes Deposited"):
        account.method_for(Deposited(1))


def test_given_two_methods_of_one_payload_when_looked_up_then_the_caller_must_name_one() -> None:
    def more(state: Account, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    bank = entity("bank", initial=Account(), apply=apply)
    bank.command(name="one")(more)
    bank.command(name="two")(more)
    with pytest.raises(TypeError, match="one and two of entity 'bank' both take this: name the method"):
        bank.method_for(Deposit(1))


def test_given_a_decorated_handler_when_called_then_it_is_still_the_plain_function() -> None:
    def double(state: Account) -> int:
        return state.balance * 2

    bank = entity("bank", initial=Account(), apply=apply)
    assert bank.query(double) is double
    assert bank.query(name="twice")(double) is double
    assert set(bank.methods) == {"double", "twice"}


# -- definitions -------------------------------------------------------------------------------------------------------


async def waits(state: Account) -> None: ...
def generates(state: Account) -> Any:
    yield Deposited(1)


async def generates_async(state: Account) -> Any:
    yield Deposited(1)


def takes_nothing() -> None: ...
def takes_rest(state: Account, *rest: int) -> None: ...


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (generates, "generates must be a plain function"),
        (generates_async, "generates_async must be a plain function"),
        (takes_nothing, "takes the state as its first parameter"),
        (takes_rest, "takes 'rest' as variadic positional"),
        (lambda state: None, "method '<lambda>' is not a name.*pass name="),
    ],
)
@pytest.mark.parametrize("flavor", ["command", "query"])
def test_given_a_handler_that_cannot_work_when_registered_then_it_is_refused_at_once(
    flavor: str, handler: Callable[..., Any], why: str
) -> None:
    bank = entity("bank", initial=Account(), apply=apply)
    with pytest.raises(BadDefinition, match=why):
        getattr(bank, flavor)(handler)
    assert not bank.methods


def test_given_a_handler_that_waits_when_registered_then_a_query_may_and_a_command_may_not() -> None:
    bank = entity("bank", initial=Account(), apply=apply)
    with pytest.raises(BadDefinition, match="waits must be a plain function"):
        bank.command(waits)
    bank.query(waits)
    assert list(bank.methods) == ["waits"]


def test_given_two_handlers_of_one_name_when_registered_then_the_second_is_refused() -> None:
    bank = entity("bank", initial=Account(), apply=apply)
    bank.command(name="go")(lambda state: None)
    with pytest.raises(BadDefinition, match="two methods named 'go'"):
        bank.query(name="go")(lambda state: 1)


def unannotated(state, event):  # type: ignore[no-untyped-def]
    return state


def any_event(state: Account, event: Any) -> Account:
    return state


def one_parameter(state: Account) -> Account:
    return state


def generic_event(state: Account, event: list[int]) -> Account:
    return state


def unresolvable(state: Account, event: "Missing") -> Account:  # type: ignore[name-defined]  # noqa: F821
    return state


@pytest.mark.parametrize(
    ("fold", "why"),
    [
        (unannotated, "annotate the event"),
        (any_event, "annotate the event"),
        (one_parameter, "must take the state and an event"),
        (generic_event, "is not a class"),
        (unresolvable, "cannot be resolved"),
    ],
)
def test_given_an_apply_that_names_no_events_when_defined_then_the_error_says_what_to_do(
    fold: Callable[..., Account], why: str
) -> None:
    with pytest.raises(BadDefinition, match=why):
        entity("bank", initial=Account(), apply=fold)


def test_given_events_beside_an_apply_without_annotations_when_defined_then_they_are_taken() -> None:
    bank = entity("bank", initial=Account(), apply=unannotated, events=[Deposited])
    bank.command(name="go")(lambda state: Deposited(1))
    assert len(decide(bank, "go", Account(), b"").events) == 1


def another_deposited() -> type:
    class Deposited(Struct, frozen=True):
        amount: int

    return Deposited


class Unkeepable(Struct, frozen=True):
    value: object


def test_given_two_events_of_one_name_when_defined_then_it_is_refused() -> None:
    with pytest.raises(BadDefinition, match="two events named 'Deposited'"):
        entity("bank", initial=Account(), apply=apply, events=[Deposited, another_deposited()])


def test_given_an_event_whose_fields_have_no_json_form_when_defined_then_it_is_refused() -> None:
    with pytest.raises(BadDefinition, match="event Unkeepable has a field of an unsupported type"):
        entity("bank", initial=Account(), apply=apply, events=[Unkeepable])


@pytest.mark.parametrize("initial", [object(), frozenset({object()}), Unkeepable(object()), "\ud800"], ids=type)
def test_given_a_state_without_json_form_when_defined_then_it_is_refused(initial: Any) -> None:
    with pytest.raises(BadDefinition, match="state of entity 'bank' has no JSON form"):
        entity("bank", initial=initial, apply=unannotated, events=[Deposited])


class Loose(Struct):
    balance: int = 0


@dataclasses.dataclass
class LooseData:
    balance: int = 0


class LooseModel(pydantic.BaseModel):
    balance: int = 0


@pytest.mark.parametrize("initial", [Loose(), LooseData(), LooseModel(), [], set(), bytearray()], ids=repr)
def test_given_a_state_that_can_be_changed_in_place_when_defined_then_it_is_refused(initial: Any) -> None:
    with pytest.raises(BadDefinition, match=f"of type {type(initial).__name__}, which can be changed in place"):
        entity("bank", initial=initial, apply=unannotated, events=[Deposited])


def test_given_a_union_with_a_state_that_can_be_changed_in_place_when_defined_then_it_is_refused() -> None:
    def switch_loose(state: Loose | None, event: Deposited) -> Loose | None:
        return state

    with pytest.raises(BadDefinition, match="of type Loose, which can be changed in place"):
        entity("bank", initial=None, apply=switch_loose)


@pytest.mark.parametrize("initial", [Account(), Model(value=1), (), frozenset(), {}, 0, "", None], ids=repr)
def test_given_a_state_that_is_immutable_or_a_dict_when_defined_then_each_actor_begins_with_it(initial: Any) -> None:
    kind: Entity[Any] = entity("bank", initial=initial, apply=unannotated, events=[Deposited])
    assert kind.initial() == initial
    assert kind.decode_state(kind.encode_state(kind.initial())) == initial


class Holder(Struct, frozen=True):
    values: list[int] = []


def test_given_a_state_with_something_mutable_inside_when_two_actors_begin_then_they_share_nothing() -> None:
    kind: Entity[Any] = entity("bank", initial=Holder(), apply=unannotated, events=[Deposited])
    kind.initial().values.append(1)
    assert kind.initial().values == []


class Open(Struct, frozen=True, tag=True):
    balance: int


class Closed(Struct, frozen=True, tag=True):
    pass


def switch(state: Open | Closed, event: Deposited | Withdrawn) -> Open | Closed:
    return Closed() if isinstance(event, Withdrawn) else Open(event.amount)


SHUT: Open | Closed = Closed()


def test_given_a_state_of_several_types_when_snapshot_then_each_is_read_back() -> None:
    door = entity("door", initial=SHUT, apply=switch)
    for state in (Closed(), Open(3)):
        assert door.decode_state(door.encode_state(state)) == state


def test_given_a_state_that_does_not_fit_its_annotation_when_defined_then_it_is_refused() -> None:
    with pytest.raises(BadDefinition, match="state of entity 'door' has no JSON form"):
        entity("door", initial=Account(), apply=switch)  # type: ignore[arg-type]


def test_given_a_collection_of_structs_as_state_when_snapshot_then_the_structs_come_back() -> None:
    def collect(state: tuple[Deposited, ...], event: Deposited) -> tuple[Deposited, ...]:
        return (*state, event)

    nothing: tuple[Deposited, ...] = ()
    jar = entity("jar", initial=nothing, apply=collect)
    assert jar.decode_state(jar.encode_state((Deposited(1), Deposited(2)))) == (Deposited(1), Deposited(2))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "é", "x" * 65])
def test_given_a_kind_that_is_no_name_when_defined_then_it_is_refused(name: str) -> None:
    with pytest.raises(BadDefinition, match="^kind .* is not a name"):
        entity(name, initial=Account(), apply=apply)


def test_given_a_method_when_described_then_capabilities_show_its_flavor_schemas_and_docstring() -> None:
    described = {name: method.describe() for name, method in account.methods.items()}
    assert described["withdraw"].flavor == "command"
    assert described["balance"].flavor == "query"
    assert described["balance"].result == {"type": "integer"}
    assert described["transfer"].description.startswith("Money on its way")
    assert described["withdraw"].arguments["$defs"]["Withdraw"]["required"] == ["amount"]
    assert msgspec.json.encode(described["save_up"].arguments)
