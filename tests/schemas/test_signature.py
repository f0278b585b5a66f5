"""A signature holds for exactly one message, one principal and a while."""

from __future__ import annotations

import pytest

from schemas.signature import BadSignature, check_secret, sign, verify

SECRET = b"s" * 32
MESSAGE = {"subject": "cmd.default.account.alice.deposit", "id": "1", "body": b'{"amount":3}', "principal": "ann@example"}


def test_given_a_signed_message_then_it_verifies_until_its_expiry() -> None:
    signature = sign(SECRET, **MESSAGE, expires_at=1_000.9)  # type: ignore[arg-type]  # the dict's values are mixed
    verify(SECRET, signature, **MESSAGE, now=1_000.0)  # type: ignore[arg-type]  # the dict's values are mixed
    with pytest.raises(BadSignature, match="was valid until Unix time 1000"):
        verify(SECRET, signature, **MESSAGE, now=1_000.1)  # type: ignore[arg-type]  # the dict's values are mixed


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "cmd.other.account.alice.deposit"},
        {"id": "2"},
        {"body": b'{"amount":4}'},
        {"principal": "bob@example"},
        # What moves from one field into the next must not give the same signature.
        {"id": "1\n", "body": b""},
    ],
)
def test_given_any_part_is_changed_then_the_signature_does_not_fit(changed: dict[str, object]) -> None:
    signature = sign(SECRET, **MESSAGE, expires_at=2_000)  # type: ignore[arg-type]  # the dict's values are mixed
    with pytest.raises(BadSignature, match="does not fit"):
        verify(SECRET, signature, **{**MESSAGE, **changed}, now=1_000)  # type: ignore[arg-type]  # as above


def test_given_another_secret_or_a_later_expiry_then_the_signature_does_not_fit() -> None:
    signature = sign(SECRET, **MESSAGE, expires_at=2_000)  # type: ignore[arg-type]  # the dict's values are mixed
    with pytest.raises(BadSignature, match="does not fit"):
        verify(b"t" * 32, signature, **MESSAGE, now=1_000)  # type: ignore[arg-type]  # the dict's values are mixed
    with pytest.raises(BadSignature, match="does not fit"):
        verify(SECRET, signature.replace("2000", "9000"), **MESSAGE, now=1_000)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("text", ["", "v1", "v1.x.y", "v2.2000.abc", "v1.²000.abc", "v1.2000.\udcff"])
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        verify(SECRET, text, **MESSAGE, now=1_000)  # type: ignore[arg-type]  # the dict's values are mixed


def test_a_short_secret_is_refused_with_a_way_to_make_a_good_one() -> None:
    with pytest.raises(ValueError, match="token_urlsafe"):
        check_secret("guessable")
    assert check_secret("k" * 32) == b"k" * 32
