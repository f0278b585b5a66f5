"""A command's headers mean the same however they are read: as what a caller always sends, or line by line."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from runtime.host import command
from runtime.host.command import Command, from_stream

USUAL = b"NATS/1.0\r\nTroupe-Reply: _INBOX.default.once\r\nTroupe-Reply-Mode: batch\r\nTroupe-Id: "
REPLIES = ["_INBOX.default.a", "_INBOX.other.a", "_INBOX.default.*", "_INBOX.default.a b", "elsewhere", ""]
LINES = st.one_of(
    st.sampled_from(REPLIES).map("Troupe-Reply: {}".format),
    st.sampled_from(["batch", "one", ""]).map("Troupe-Reply-Mode: {}".format),
    st.sampled_from(["a-1", "b 2", " c", "d ", "", "é", "e" * 200, "f" * 201, "a: b"]).map("Troupe-Id: {}".format),
    st.sampled_from(["Troupe-Session: s", "Troupe-Session: *", "troupe-id: small", "Troupe-Id:tight", "x"]),
    st.sampled_from(["Troupe-Deadline: 12", "Troupe-Deadline: soon", "Content-Type: application/msgpack", ""]),
)
BLOCKS = st.builds(
    lambda first, lines, end: "\r\n".join([first, *lines]).encode() + end,
    st.sampled_from(["NATS/1.0", "NATS/1.0 503", "NATS/1.0 100 Idle"]),
    st.lists(LINES, max_size=4),
    st.sampled_from([b"\r\n\r\n", b"\r\n", b""]),
)


END = b"\r\n\r\n"


def read(block: bytes, tenant: str) -> dict[str, object]:
    found = from_stream(None, f"p.3.{tenant}.counter.k.add", 5, 6, block, b"{}")  # type: ignore[arg-type]  # no lane
    found.headers.pop("X-More", None)
    return {name: getattr(found, name) for name in Command.__slots__}


@given(BLOCKS, st.sampled_from(["default", "other"]))
@example(USUAL + b"a-1" + END, "default")
@example(USUAL + b"a-1" + END, "other")
def test_given_any_headers_when_read_as_a_callers_usual_ones_then_they_mean_what_their_lines_say(
    block: bytes, tenant: str
) -> None:
    longer = block.removesuffix(END) + b"\r\nX-More: one line behind the id" + END
    if block.endswith(END):
        assert read(block, tenant) == read(longer, tenant)
    else:
        assert command._plain_headers(block, tenant) is None


def test_given_what_our_client_sends_when_read_then_what_is_always_the_same_is_read_once() -> None:
    command._caller_headers.cache_clear()
    ids = [read(USUAL + id + END, "default")["id"] for id in (b"a-1", b"a-2", b"a-3")]
    assert ids == ["a-1", "a-2", "a-3"]
    assert command._caller_headers.cache_info()[:2] == (2, 1)  # hits, misses
