"""A token names one step of one run, and only who knows the secret makes one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.address import Address
from schemas.tokens import BadToken, is_token, new_token, parse_token

SECRET = b"s" * 64
RIDE = Address("acme", "ride", "order 17/ä")


def test_given_a_token_when_anything_of_it_is_changed_then_no_pod_made_it() -> None:
    token = new_token(SECRET, RIDE, "run-1", "0a")
    assert parse_token(str(token)) == token
    assert is_token(SECRET, token)
    assert not is_token(b"t" * 64, token)
    changes = {"tenant": "globex", "kind": "taxi", "key": "18", "run": "run-2", "label": "0b", "proof": "0" * 32}
    for field, value in changes.items():
        changed = token._replace(**{field: value})
        assert not is_token(SECRET, changed)
        assert parse_token(str(changed)) == changed, "it has the form of one: the pod says that it is none"
    assert len({str(new_token(SECRET, RIDE, "run-1", label)) for label in ("0a", "0b")}) == 2


@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda raw: raw.hex())))
def test_given_any_text_then_it_is_a_token_or_refused(text: str) -> None:
    try:
        assert str(parse_token(text)) == text
    except BadToken as error:
        assert "use the one that the step was given" in str(error)
