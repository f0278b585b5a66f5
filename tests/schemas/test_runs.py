"""Run ids name a command exactly, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.runs import BadRunId, RunKey, decode_run_id, encode_run_id

names = st.text("abZ09_-", min_size=1, max_size=8)
keys = st.text(min_size=1, max_size=8).filter(
    lambda key: not any(ord(c) == 0 or 0xD800 <= ord(c) < 0xE000 for c in key)
)
ids = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=12)


@given(names, keys, ids)
def test_a_run_id_fits_a_url_and_gives_back_what_it_was_made_of(kind: str, key: str, command_id: str) -> None:
    run_id = encode_run_id(kind, key, command_id)
    assert run_id.replace("-", "").replace("_", "").isalnum()
    assert decode_run_id(run_id) == RunKey(kind, key, command_id)


@given(st.text(max_size=20))
def test_no_other_text_is_taken_for_a_run_id(text: str) -> None:
    try:
        key = decode_run_id(text)
    except BadRunId:
        return
    assert encode_run_id(*key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "é",
        encode_run_id("account", "alice", "1") + "=",
        encode_run_id("account", "alice", "1")[:-1],
        encode_run_id("no dots.allowed", "alice", "1"),
        encode_run_id("account", "", "1"),
        encode_run_id("account", "alice", "two words"),
    ],
)
def test_what_is_not_a_run_id_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(BadRunId, match="use the one that the submission answered with"):
        decode_run_id(text)
