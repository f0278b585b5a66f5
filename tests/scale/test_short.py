"""The instrument works: pieces of it run on real servers, its clients notice what is wrong, its laws are right."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.scale.laws import fit
from tests.scale.results import load
from tests.scale.watchers import SseClient
from tests.support.system import ROOT


@pytest.mark.slow
def test_given_small_pieces_when_they_are_measured_then_the_report_has_their_figures(tmp_path: Path) -> None:
    kept, docs = tmp_path / "kept", tmp_path / "docs"
    docs.mkdir()
    command = [sys.executable, "-m", "tests.scale", "--only", "watching,keys", "--sizes", "100", "--seconds", "0.4"]
    command += ["--results", str(kept), "--docs", str(docs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (watching,), (keys,) = load(kept, "watching"), load(kept, "keys")
    assert (watching.size, watching.figures["facts"]) == (100, 400)
    assert keys.figures["pod_us"] > 0
    report = (docs / "scale.md").read_text()
    assert "## Sessions that are watched, each by one client" in report
    assert "## Rows in the log" in report
    assert "**Rows.**" in report


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("constant", lambda size: 80.0 + math.sin(size)),
        ("logarithmic", lambda size: 20.0 + 30.0 * math.log10(size)),
        ("linear", lambda size: 5.0 + 0.25 * size),
    ],
)
def test_given_a_law_when_its_figures_are_fitted_then_it_is_found(name: str, value: object) -> None:
    figure = cast("type[float]", value)
    law = fit([(float(size), float(figure(size))) for size in (10, 100, 1000, 10_000)])
    assert law.form == name
    assert law.at(10**6) == pytest.approx(figure(10**6), rel=0.05)


EVENT = '{{"type":"event","command":"c{0}","seq":{0},"at":"2026-01-01T00:00:00.000+00:00"}}'
RESULT = '{{"type":"result","command":"c{0}","seq":{0},"at":"2026-01-01T00:00:00.000+00:00"}}'


def chunk(*facts: tuple[int, str]) -> bytes:
    """Facts (id, JSON) as a gateway sends them."""
    text = "".join(f"id: {id}\ndata: {fact}\n\n" for id, fact in facts).encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


WHOLE = [(1, EVENT.format(1)), (2, RESULT.format(1)), (5, EVENT.format(2)), (6, RESULT.format(2))]


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (WHOLE, (2, 2, 0, 0)),
        ([*WHOLE, WHOLE[-1]], (2, 3, 1, 0)),
        ([WHOLE[0], WHOLE[1], WHOLE[3]], (1, 2, 0, 1)),
        ([WHOLE[2], WHOLE[3]], (1, 1, 0, 1)),
        ([WHOLE[2], WHOLE[3], WHOLE[0], WHOLE[1]], (2, 2, 1, 2)),
    ],
)
@pytest.mark.parametrize("size", [7, 10_000])
def test_given_what_a_gateway_sends_then_a_client_counts_what_is_doubled_or_out_of_order(
    facts: list[tuple[int, str]], found: tuple[int, int, int, int], size: int
) -> None:
    async def read() -> SseClient:
        client = SseClient("localhost", "s", [])
        sent = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nc\r\n: watching\n\n\r\n" + chunk(*facts)
        for first in range(0, len(sent), size):
            client.data_received(sent[first : first + size])
        await client.opened
        return client

    client = asyncio.run(read())
    assert (client.events, client.results, client.doubled, client.disordered) == found
