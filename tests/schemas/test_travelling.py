"""Which headers go on to all that a command leads to."""

from __future__ import annotations

import pytest

from schemas import headers


def test_given_headers_of_a_command_then_those_of_w3c_and_with_the_prefix_travel_and_no_others() -> None:
    given = {
        "traceparent": "00-a-b-01", "tracestate": "x=1", "baggage": "user=ann, shop=3", "ctx-tier": "gold",
        headers.ID: "1", headers.PRINCIPAL: "ann", headers.REPLY: "_INBOX.acme.1", "Ctx-Other": "x",
    }  # fmt: skip
    assert list(headers.travelling(given)) == ["traceparent", "tracestate", "baggage", "ctx-tier"]


def test_given_headers_that_are_too_long_or_too_many_then_they_do_not_travel_and_a_caller_is_told() -> None:
    given = {f"ctx-{number}": "x" for number in range(20)} | {"ctx-long": "x" * 1025, "ctx-odd": "a\tb"}
    assert list(headers.travelling(given)) == [f"ctx-{number}" for number in range(16)]
    for name, text in (("ctx-long", "'ctx-long' is not 1 to 1024"), ("ctx-odd", "'ctx-odd' is not")):
        with pytest.raises(ValueError, match=text):
            headers.check_travelling({name: given[name]})
    with pytest.raises(ValueError, match="there are 20 headers that travel on, and 16 is the most"):
        headers.check_travelling({name: value for name, value in given.items() if value == "x"})
