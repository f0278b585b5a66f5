"""The fold: stored events of today, of older versions, and of code that is not here."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from runtime import BadDefinition, Entity, UnreadableEvent, entity
from runtime.kind import StoredEvent
from tests.unit.small_bank import Account, Deposited, Withdrawn, account, apply


class Named(Struct, frozen=True):
    """Version 1 had `name`; version 2 splits it; version 3 counts letters."""

    first: str
    last: str
    letters: int


def remember(state: str, event: Named) -> str:
    return f"{state}{event.first}/{event.last}/{event.letters};"


def person() -> Entity[str]:
    kind = entity("person", initial="", apply=remember)

    @kind.upcast(Named, from_version=1)
    def split(fields: dict[str, Any]) -> dict[str, Any]:
        first, _, last = fields["name"].partition(" ")
        return {"first": first, "last": last}

    @kind.upcast(Named, from_version=2)
    def count(fields: dict[str, Any]) -> dict[str, Any]:
        return fields | {"letters": len(fields["first"] + fields["last"])}

    return kind


def deposited(seq: int, amount: int = 1, version: int = 1) -> StoredEvent:
    return StoredEvent(seq, "Deposited", version, f'{{"amount":{amount}}}')


@given(
    st.lists(st.tuples(st.sampled_from(["Deposited", "Withdrawn"]), st.integers(0, 3)), max_size=6), st.integers(0, 6)
)
def test_given_any_log_when_folded_from_a_snapshot_anywhere_then_the_state_is_the_same(
    log: list[tuple[str, int]], cut: int
) -> None:
    events = [StoredEvent(seq, name, 1, f'{{"amount":{amount}}}') for seq, (name, amount) in enumerate(log, 1)]
    whole = account.fold(account.initial(), events)
    snapshot = account.encode_state(account.fold(account.initial(), events[:cut]))
    assert account.fold(account.decode_state(snapshot), events[cut:]) == whole
    assert whole.balance == sum(amount if name == "Deposited" else -amount for name, amount in log)


def test_given_events_of_three_versions_when_folded_then_each_is_read_as_todays() -> None:
    state = person().fold(
        "",
        [
            StoredEvent(1, "Named", 1, '{"name":"Ada Lovelace"}'),
            StoredEvent(2, "Named", 2, '{"first":"Alan","last":"Turing"}'),
            StoredEvent(3, "Named", 3, '{"first":"Eva","last":"Lu","letters":5}'),
        ],
    )
    assert state == "Ada/Lovelace/11;Alan/Turing/10;Eva/Lu/5;"


def test_given_an_entity_with_upcasts_when_it_decides_then_new_events_have_the_newest_version() -> None:
    kind = person()
    events, _ = kind.settle("", Named("a", "b", 2), remember)
    assert [event.version for event in events] == [3]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (StoredEvent(7, "Named", 4, "{}"), "event 7, 'Named' version 4.*newer than this code, which knows 3"),
        (StoredEvent(7, "Named", 0, "{}"), "event 7, 'Named' version 0.*versions count from 1"),
        (StoredEvent(7, "Named", 1, "{}"), "event 7, 'Named' version 1.*KeyError: 'name'"),
        (StoredEvent(7, "Named", 1, '{"name":3}'), "event 7, 'Named' version 1.*AttributeError"),
        (StoredEvent(7, "Named", 2, "[]"), "event 7, 'Named' version 2.*TypeError"),
        (StoredEvent(7, "Named", 3, '{"first":"a"}'), "event 7, 'Named' version 3.*missing required field `last`"),
        (StoredEvent(7, "Named", 3, "{"), "event 7, 'Named' version 3.*truncated"),
        (StoredEvent(7, "Renamed", 1, "{}"), "event 7 is of type 'Renamed'; this code knows Named"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_given_an_event_that_cannot_be_read_when_folded_then_the_error_names_it(event: StoredEvent, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        person().fold("", [event])
    with pytest.raises(UnreadableEvent, match=why):
        person().read(event)


def test_given_an_apply_that_fails_on_the_log_when_folded_then_the_actor_stops_with_the_event_named() -> None:
    def never_negative(state: int, event: Deposited | Withdrawn) -> int:
        return state + event.amount if isinstance(event, Deposited) else state // 0

    kind = entity("bank", initial=0, apply=never_negative)
    with pytest.raises(UnreadableEvent, match="event 2, 'Withdrawn' version 1.*ZeroDivisionError"):
        kind.fold(0, [deposited(1), StoredEvent(2, "Withdrawn", 1, '{"amount":1}')])


def test_given_an_apply_whose_error_cannot_be_sent_when_folded_then_the_error_can() -> None:
    def broken(state: int, event: Deposited) -> int:
        raise ValueError("a\ud800\0")

    with pytest.raises(UnreadableEvent) as caught:
        entity("bank", initial=0, apply=broken).fold(0, [deposited(1)])
    assert str(caught.value).endswith("ValueError: a\\ud800\\0")


def test_given_an_apply_that_forgets_a_case_when_folded_then_the_actor_stops_with_the_event_named() -> None:
    def forgetful(state: Account, event: Deposited) -> Account:
        return None  # type: ignore[return-value]

    kind = entity("bank", initial=Account(), apply=forgetful)
    with pytest.raises(UnreadableEvent, match="event 1 cannot be folded.*gave None for Deposited"):
        kind.fold(Account(), [deposited(1)])


def test_given_events_of_the_engines_own_when_folded_then_they_are_passed_over() -> None:
    log = [deposited(1), StoredEvent(2, "troupe.parked", 1, '{"code":"handler_failed"}'), deposited(3)]
    assert account.fold(Account(), log) == Account(2)


@pytest.mark.parametrize("from_version", [0, 2, -1])
def test_given_upcasts_out_of_order_when_registered_then_the_error_says_which_is_next(from_version: int) -> None:
    kind = entity("person", initial="", apply=remember)
    with pytest.raises(BadDefinition, match="the next is from_version=1"):
        kind.upcast(Named, from_version=from_version)


def test_given_an_upcast_twice_when_registered_then_the_second_is_refused() -> None:
    kind = person()
    with pytest.raises(BadDefinition, match="the next is from_version=3"):
        kind.upcast(Named, from_version=1)


def test_given_an_upcast_of_a_foreign_event_when_registered_then_it_is_refused() -> None:
    with pytest.raises(BadDefinition, match="Withdrawn is not an event of entity 'person'"):
        person().upcast(Withdrawn, from_version=1)


# -- the digest of the fold --------------------------------------------------------------------------------------------

PROGRAM = """
    from typing import Literal
    from msgspec import Struct
    from runtime import entity

    class Moved(Struct, frozen=True):
        to: str

    class Board(Struct, frozen=True):
        places: frozenset[str] = frozenset()
        side: Literal["north", "south", "east", "west"] = "north"

    def apply(state: Board, event: Moved) -> Board:
        if event.to in {"north", "south", "east", "west"}:
            return Board(state.places | {event.to})
        return Board(frozenset(place for place in state.places if place not in {"a", "b", "c"}))

    print(entity("board", initial=Board(), apply=apply).fold_version)
"""


def test_given_two_processes_with_other_hash_seeds_when_asked_for_the_fold_version_then_it_is_the_same() -> None:
    versions = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert versions[0] == versions[1]
    assert len(versions[0].strip()) == 16


def plus(state: Account, event: Deposited | Withdrawn) -> Account:
    return Account(state.balance + event.amount)


def twice(state: Account, event: Deposited | Withdrawn) -> Account:
    return Account(state.balance + 2 * event.amount)


def thrice(state: Account, event: Deposited | Withdrawn) -> Account:
    return Account(state.balance + 3 * event.amount)


def within(state: Account, event: Deposited | Withdrawn) -> Account:
    return Account(sum(amount for amount in (state.balance, event.amount) if amount in {1, 2}))


def within_other(state: Account, event: Deposited | Withdrawn) -> Account:
    return Account(sum(amount for amount in (state.balance, event.amount) if amount in {1, 3}))


class Wider(Struct, frozen=True):
    balance: int = 0
    owner: str = ""


def widen(state: Wider, event: Deposited | Withdrawn) -> Wider:
    return Wider(state.balance + event.amount)


def test_given_folds_that_differ_when_asked_for_their_versions_then_no_two_are_the_same() -> None:
    kinds: list[Entity[Any]] = [
        *(entity("bank", initial=Account(), apply=fold) for fold in (apply, plus, twice, thrice, within, within_other)),
        entity("bank", initial=Wider(), apply=widen),
        entity("bank", initial=Account(), apply=plus, events=[Deposited]),
    ]
    upcast = entity("bank", initial=Account(), apply=plus)
    before = upcast.fold_version
    upcast.upcast(Deposited, from_version=1)(lambda fields: fields)
    assert upcast.fold_version != before
    versions = [kind.fold_version for kind in kinds]
    assert len({*versions, upcast.fold_version}) == len(kinds) + 1


def unannotated(state, event):  # type: ignore[no-untyped-def]
    return state


def test_given_one_apply_over_states_of_another_shape_when_asked_for_versions_then_they_differ() -> None:
    kinds: list[Entity[Any]] = [
        entity("bank", initial=initial, apply=unannotated, events=[Deposited]) for initial in (Account(), Wider(), 0)
    ]
    assert len({kind.fold_version for kind in kinds}) == 3


def test_given_the_same_fold_when_defined_again_then_the_version_is_the_same() -> None:
    first, second = (entity(name, initial=Account(), apply=plus) for name in ("one", "two"))
    assert first.fold_version == second.fold_version


def test_given_a_version_when_defined_then_it_stands_for_the_fold() -> None:
    kind = entity("bank", initial=Account(), apply=plus, version="2024-01")
    kind.upcast(Deposited, from_version=1)(lambda fields: fields)
    assert kind.fold_version == "2024-01"


def test_given_an_apply_without_python_code_when_defined_then_a_version_is_asked_for() -> None:
    with pytest.raises(BadDefinition, match="pass version="):
        entity("bank", initial=0, apply=max, events=[Deposited])
    assert entity("bank", initial=0, apply=max, events=[Deposited], version="1").fold_version == "1"
