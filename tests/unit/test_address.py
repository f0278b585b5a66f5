"""Addresses: one key, one spelling, one partition."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import subjects
from schemas.address import (
    MAX_TOKEN_BYTES,
    Address,
    BadAddress,
    actor_id,
    check_name,
    decode_token,
    encode_token,
    partition_of,
)

PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~"
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=16)
names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


@given(text)
@example("a.b*c>d e/f%g\x01h\r\ni")
@example(".")
@example("%41")
@example("~" * MAX_TOKEN_BYTES)
@example("é" * (MAX_TOKEN_BYTES // 6))
def test_given_any_text_as_key_when_encoded_then_it_comes_back(key: str) -> None:
    assert decode_token(encode_token(key)) == key


@given(text)
@example("a.b")
@example("* > \r\n")
def test_given_any_key_when_encoded_then_the_token_holds_nothing_that_subjects_or_headers_treat_specially(
    key: str,
) -> None:
    assert set(encode_token(key)) <= set(PLAIN + "%")


@given(text, text)
def test_given_two_keys_when_encoded_then_tokens_are_equal_exactly_when_keys_are(one: str, other: str) -> None:
    assert (encode_token(one) == encode_token(other)) == (one == other)


@given(st.text("aA%.012345678fF~é-", min_size=1, max_size=8))
@example("%61")
@example("%2e")
@example("%2E%")
@example("%C3%28")
def test_given_any_token_when_it_is_decoded_then_it_is_the_one_spelling_of_its_key_or_refused(token: str) -> None:
    try:
        key = decode_token(token)
    except BadAddress:
        return
    assert encode_token(key) == token


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("%61", "another spelling, 'a'"),
        ("%7E", "another spelling, '~'"),
        ("%2e", "not percent-encoded"),
        ("a.b", "not percent-encoded"),
        ("a b", "not percent-encoded"),
        ("*", "not percent-encoded"),
        (">", "not percent-encoded"),
        ("é", "not percent-encoded"),
        ("a%2", "not percent-encoded"),
        ("a\n", "not percent-encoded"),
        ("", "not percent-encoded"),
        ("%C3%28", "not UTF-8"),
        ("%C0%AF", "not UTF-8"),
        ("%ED%A0%80", "not UTF-8"),
        ("a%00b", "holds a NUL"),
        ("a" * (MAX_TOKEN_BYTES + 1), "201 bytes long"),
    ],
)
def test_given_another_spelling_of_a_key_when_decoded_then_it_is_refused_with_the_reason(token: str, why: str) -> None:
    with pytest.raises(BadAddress, match=why):
        decode_token(token)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("a\ud800b", "lone surrogate"),
        ("a\0b", "holds a NUL"),
        ("a" * (MAX_TOKEN_BYTES + 1), "201 characters long"),
        ("." * 67, "201 bytes long once encoded"),
        ("ü" * 512, "512 characters long"),
        ("x" * 10_000_000, "limit"),
    ],
)
def test_given_a_key_that_cannot_be_a_token_when_encoded_then_the_error_says_why(key: str, why: str) -> None:
    with pytest.raises(BadAddress, match=why):
        encode_token(key)


@pytest.mark.parametrize("key", ["a" * MAX_TOKEN_BYTES, "é" * 33 + "aa", "." * 66 + "aa"])
def test_given_a_key_exactly_at_the_limit_when_encoded_then_it_is_taken(key: str) -> None:
    assert len(encode_token(key)) == MAX_TOKEN_BYTES


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "é", "a\n", "a/b", "$info", "x" * 65, "a\0", "a\ud800"])
def test_given_a_text_that_is_no_name_when_checked_then_it_is_refused(name: str) -> None:
    with pytest.raises(BadAddress, match="^tenant .* is not a name"):
        check_name(name, "tenant")


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_given_a_name_when_checked_then_it_is_given_back(name: str) -> None:
    assert check_name(name, "kind") == name


def test_given_an_address_when_made_a_subject_then_each_part_is_one_token() -> None:
    address = Address("acme", "account", "a.b c")
    assert subjects.command(address, "withdraw") == "cmd.acme.account.a%2Eb%20c.withdraw"
    assert subjects.call(address, "withdraw") == "call.acme.account.a%2Eb%20c.withdraw"
    assert subjects.query(7, address, "balance") == "q.7.acme.account.a%2Eb%20c.balance"
    assert subjects.query(7, address, "$state") == "q.7.acme.account.a%2Eb%20c.$state"
    assert subjects.events("acme", "s.1") == "ev.acme.s%2E1"
    assert subjects.intent("acme", "s 1") == "intent.acme.s%201"
    assert subjects.inbox_prefix("acme") == "_INBOX.acme"


@pytest.mark.parametrize(
    "address", [Address("a.b", "k", "x"), Address("a", "k.>", "x"), Address("a", "k", ""), Address("*", "k", "x")]
)
def test_given_an_address_with_a_bad_part_when_made_a_subject_then_it_is_refused(address: Address) -> None:
    with pytest.raises(BadAddress):
        subjects.command(address, "go")


def test_given_a_method_with_a_dot_when_made_a_subject_then_it_is_refused() -> None:
    with pytest.raises(BadAddress, match="^method"):
        subjects.command(Address("a", "k", "x"), "go.away")


@given(names, names, text, st.integers(1, 5))
def test_given_an_address_when_asked_for_its_partition_then_it_is_in_range_and_always_the_same(
    tenant: str, kind: str, key: str, partitions: int
) -> None:
    token = encode_token(key)
    partition = partition_of(tenant, kind, token, partitions)
    assert 0 <= partition < partitions
    partition_of.cache_clear()
    assert partition_of(tenant, kind, token, partitions) == partition


def test_given_known_addresses_when_asked_for_partitions_then_they_are_those_of_the_broker() -> None:
    # Seen in nats-server 2.15 with {{partition(128,1,2,3)}}; tests/contracts/test_partition.py asks it anew.
    keys = ["alice", "bob", "a%2Eb"]
    assert [partition_of("default", "account", key, 128) for key in keys] == [27, 32, 28]


def test_given_many_keys_when_partitioned_then_no_partition_stays_empty() -> None:
    assert {partition_of("default", "account", f"k{n}", 16) for n in range(400)} == set(range(16))


def test_given_addresses_whose_parts_run_together_when_asked_for_ids_then_they_differ() -> None:
    ids = {actor_id("ab", "c", "d"), actor_id("a", "bc", "d"), actor_id("a", "b", "cd")}
    assert len(ids) == 3
    assert all(len(id) == 32 for id in ids)


def test_given_an_address_when_asked_for_its_id_then_it_is_the_one_that_logs_already_hold() -> None:
    assert actor_id("default", "account", "alice") == "9110331c1ff2cd944a8b89bccfd12bc8"
