"""A signature holds for exactly one message, one principal and a while."""

from __future__ import annotations

from typing import TypedDict

import pytest

from schemas.signature import BadSignature, check_secret, is_sender, join_roles, prove_sender, sign, verify

SECRET = b"s" * 32


class Parts(TypedDict, total=False):
    subject: str
    id: str
    body: bytes
    principal: str


MESSAGE: Parts = {
    "subject": "cmd.default.account.alice.deposit",
    "id": "1",
    "body": b'{"amount":3}',
    "principal": "ann@example",
}


def signed(expires_at: float, secret: bytes = SECRET) -> str:
    return sign(
        secret,
        subject=MESSAGE["subject"],
        id=MESSAGE["id"],
        body=MESSAGE["body"],
        principal=MESSAGE["principal"],
        expires_at=expires_at,
    )


def check(signature: str, changed: Parts | None = None, *, now: float = 1_000, secret: bytes = SECRET) -> None:
    parts: Parts = {**MESSAGE, **(changed or {})}
    verify(
        secret,
        signature,
        subject=parts["subject"],
        id=parts["id"],
        body=parts["body"],
        principal=parts["principal"],
        now=now,
    )


def test_given_a_signed_message_then_it_verifies_until_its_expiry() -> None:
    check(signed(1_000.9), now=1_000.0)
    with pytest.raises(BadSignature, match="was valid until Unix time 1000"):
        check(signed(1_000.9), now=1_000.1)


@pytest.mark.parametrize(
    "changed",
    [
        Parts(subject="cmd.other.account.alice.deposit"),
        Parts(id="2"),
        Parts(body=b'{"amount":4}'),
        Parts(principal="bob@example"),
        # What moves from one field into the next must not give the same signature.
        Parts(id="1\n", body=b""),
    ],
)
def test_given_any_part_is_changed_then_the_signature_does_not_fit(changed: Parts) -> None:
    with pytest.raises(BadSignature, match="does not fit"):
        check(signed(2_000), changed)


def test_given_another_secret_or_a_later_expiry_then_the_signature_does_not_fit() -> None:
    with pytest.raises(BadSignature, match="does not fit"):
        check(signed(2_000), secret=b"t" * 32)
    with pytest.raises(BadSignature, match="does not fit"):
        check(signed(2_000).replace("2000", "9000"))


@pytest.mark.parametrize("text", ["", "v1", "v1.x.y", "v2.2000.abc", "v1.²000.abc", "v1.2000.\udcff"])
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        check(text)


def test_a_short_secret_is_refused_with_a_way_to_make_a_good_one() -> None:
    with pytest.raises(ValueError, match="token_urlsafe"):
        check_secret("guessable")
    assert check_secret("k" * 32) == b"k" * 32


def test_given_roles_then_they_are_signed_with_the_message() -> None:
    roles = join_roles(["manager", "admin", "admin"])
    assert roles == "admin,manager"
    signature = sign(SECRET, **MESSAGE, roles=roles, expires_at=2_000)
    assert signature.startswith("v2.")
    verify(SECRET, signature, **MESSAGE, roles=roles, now=1_000)
    for claimed in ("", "admin", "admin,manager,root", "manager,admin", "admin,manager\n"):
        with pytest.raises(BadSignature):
            verify(SECRET, signature, **MESSAGE, roles=claimed, now=1_000)
    with pytest.raises(BadSignature):
        verify(SECRET, sign(SECRET, **MESSAGE, expires_at=2_000), **MESSAGE, roles="admin", now=1_000)


@pytest.mark.parametrize("role", ["", "a b", "a,b", "ü", "a\nb", "x" * 101])
def test_given_a_role_that_is_no_word_then_it_is_refused(role: str) -> None:
    with pytest.raises(ValueError, match="a role is"):
        join_roles([role])


def test_given_a_proof_of_a_sender_when_anything_is_changed_then_it_proves_nothing() -> None:
    message = {"subject": MESSAGE["subject"], "id": "1", "sender": "approval.a1"}
    proof = prove_sender(SECRET, body=b"{}", **message)
    assert is_sender(SECRET, proof, body=b"{}", **message)
    assert not is_sender(b"t" * 32, proof, body=b"{}", **message)
    assert not is_sender(SECRET, proof, body=b"[]", **message)
    assert not is_sender(SECRET, "\udcff" + proof[1:], body=b"{}", **message)
    for name in message:
        assert not is_sender(SECRET, proof, body=b"{}", **(message | {name: "other"}))
