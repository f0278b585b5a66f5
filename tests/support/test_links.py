"""The proxy does what it says to connections, in each of its manners."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.support.links import Links
from tests.support.tcp_proxy import Manner

PATIENCE_S = 60.0
SILENCE_S = 0.3


class Echo:
    """A server that says back what it hears; `heard` is all of it, `ended` how its connections ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard = b""
        self.arrived = threading.Condition()
        self.ended: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self._note(data)
                    connection.sendall(data)
                self._note(b"", "closed")
            except ConnectionError:
                self._note(b"", "reset")

    def _note(self, data: bytes, ended: str = "") -> None:
        with self.arrived:
            self.heard += data
            self.ended += [ended] if ended else []
            self.arrived.notify_all()

    def wait(self, heard: bytes = b"", ended: str = "") -> None:
        """Until it has heard this, or a connection ended so."""
        with self.arrived:
            assert self.arrived.wait_for(
                lambda: heard in self.heard and (not ended or ended in self.ended), PATIENCE_S
            ), (self.heard, self.ended)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def links() -> Iterator[Links]:
    with Links() as links:
        yield links


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        chunk = connection.recv(65_536)
        if not chunk:
            break
        got += chunk
    return got


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        return connection.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)


def test_given_a_link_that_passes_when_both_sides_speak_then_everything_arrives(echo: Echo, links: Links) -> None:
    with connect(links.open("a", echo.url)) as connection:
        assert exchange(connection, b"x" * 300_000) == b"x" * 300_000
        assert links.set("a", Manner()) == 1
    echo.wait(ended="closed")


def test_given_a_cut_when_it_is_made_then_both_ends_are_reset_and_new_connections_too(echo: Echo, links: Links) -> None:
    url = links.open("a", echo.url)
    with connect(url) as connection:
        assert exchange(connection, b"one") == b"one"
        assert links.set("a", Manner("cut")) == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        echo.wait(ended="reset")
    with pytest.raises(ConnectionResetError), connect(url) as later:
        later.recv(1)
    links.set("a", Manner())
    with connect(url) as later:
        assert exchange(later, b"two") == b"two"


@pytest.mark.parametrize("forget", [False, True], ids=["held-up", "reset"])
def test_given_a_hole_when_it_swallows_then_nobody_hears_anything_until_it_is_over(
    echo: Echo, links: Links, forget: bool
) -> None:
    url = links.open("a", echo.url)
    with connect(url) as connection:
        assert exchange(connection, b"one") == b"one"
        links.set("a", Manner("hole", forget=forget))
        connection.sendall(b"two")
        assert is_silent(connection)
        assert echo.heard == b"one"
        with connect(url) as later:  # accepted, and hears nothing
            later.sendall(b"three")
            assert is_silent(later)
            assert echo.heard == b"one"
            links.set("a", Manner())
            echo.wait(heard=b"three")
        if forget:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(3) == b"two"


@pytest.mark.parametrize("end", ["near", "far"])
def test_given_a_half_open_connection_when_one_end_is_reset_then_the_other_hears_nothing_of_it(
    echo: Echo, links: Links, end: str
) -> None:
    url = links.open("a", echo.url)
    with connect(url) as connection:
        assert exchange(connection, b"one") == b"one"
        links.set("a", Manner("half-open", end="near" if end == "near" else "far"))
        if end == "near":
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            echo.wait(ended="reset")
            connection.sendall(b"lost")
            assert is_silent(connection)
        assert b"lost" not in echo.heard
        assert echo.ended == (["reset"] if end == "far" else [])
        with connect(url) as later:
            assert exchange(later, b"two") == b"two"


def test_given_one_way_when_the_server_answers_then_only_its_answers_do_not_arrive(echo: Echo, links: Links) -> None:
    with connect(links.open("a", echo.url)) as connection:
        assert exchange(connection, b"one") == b"one"
        links.set("a", Manner("one-way"))
        connection.sendall(b"two")
        echo.wait(heard=b"two")
        assert is_silent(connection)
        links.set("a", Manner())
        assert connection.recv(3) == b"two"


def test_given_a_slow_link_when_it_carries_then_everything_arrives_later_in_order(echo: Echo, links: Links) -> None:
    with connect(links.open("a", echo.url)) as connection:
        links.set("a", Manner("slow", delay_s=SILENCE_S, bytes_per_s=1_000_000))
        connection.sendall(b"one")
        assert is_silent(connection)  # there and back are two delays
        assert connection.recv(3) == b"one"
        data = bytes(range(256)) * 800
        assert exchange(connection, data) == data


def test_given_two_links_when_one_is_broken_then_the_other_is_not(echo: Echo, links: Links) -> None:
    with connect(links.open("a", echo.url)) as first, connect(links.open("b", echo.url)) as second:
        exchange(first, b"one")
        links.set("a", Manner("hole"))
        first.sendall(b"two")
        assert is_silent(first)
        assert exchange(second, b"three") == b"three"


def test_given_a_link_that_was_closed_when_it_is_set_then_the_error_names_it(echo: Echo, links: Links) -> None:
    links.open("a", echo.url)
    links.close_link("a")
    with pytest.raises(LookupError, match="there is no link 'a'"):
        links.set("a", Manner())
