"""Streams split by kind, and Postgres servers by partition: two of each, really there (docs/adr/0014)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.client import Client
from runtime.errors import CallFailed, Misconfigured
from runtime.host.places import Place, places_of, server_of
from runtime.host.pods import Pods
from runtime.host.settings import PodSettings
from runtime.postgres.several import whole_log
from schemas.address import encode_token, partition_of
from schemas.wire import LogEvent
from tests.host.placed import account, vault
from tests.support.places import SplitSystem, TwoServers, two_servers
from tests.support.system import PARTITIONS, run, until

MODULE = "tests.host.placed"
KINDS = ("account", "vault")
KEYS = [f"k{n}" for n in range(12)]
ACTORS = [(kind, key) for kind in KINDS for key in KEYS]


@pytest.fixture(scope="module")
def servers_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoServers]:
    with two_servers(tmp_path_factory.mktemp("two")) as servers:
        yield servers


@pytest.fixture
def split(servers_of_two: TwoServers) -> Iterator[SplitSystem]:
    """An empty system on both servers and with both streams; its pods end with the test."""
    for server in servers_of_two.postgres:
        server.start()
    system = SplitSystem(servers_of_two, "troupe_test_split")
    yield system
    system.stop_pods()


def partition(kind: str, key: str) -> int:
    return partition_of("default", kind, encode_token(key), PARTITIONS)


def on_server(number: int) -> list[tuple[str, str]]:
    return [(kind, key) for kind, key in ACTORS if server_of(partition(kind, key), 2) == number]


async def values(client: Client) -> dict[tuple[str, str], int]:
    found = await asyncio.gather(*[client.query(kind, key, "value", timeout_s=30) for kind, key in ACTORS])
    return dict(zip(ACTORS, found, strict=True))


async def read_all(client: Client, page: int) -> list[LogEvent]:
    """The whole log by position vector."""
    events: list[LogEvent] = []
    position: dict[str, int] = {}
    while True:
        found = await client.service("log", {"after": position, "limit": page})
        events += [LogEvent(**event) for event in found["events"]]
        position = found["position"]
        if not found["more"]:
            return events


def test_given_two_streams_and_two_servers_when_all_kinds_are_used_then_each_thing_is_where_the_map_says(
    split: SplitSystem,
) -> None:
    split.start_pod(MODULE)

    async def scenario() -> None:
        async with split.client() as client:
            await asyncio.gather(*[client.ask(*actor, "add", {"amount": 100}, timeout_s=30) for actor in ACTORS])
            # From each actor to the next three: within a place, and across streams and servers.
            sent = []
            for n, (kind, key) in enumerate(ACTORS):
                for step in (1, 2, 13):
                    to_kind, to = ACTORS[(n + step) % len(ACTORS)]
                    order = {"kind": to_kind, "to": to, "amount": step}
                    sent.append(client.ask(kind, key, "send", order, timeout_s=30))
            await asyncio.gather(*sent)
            await asyncio.gather(
                *[client.ask(*actor, "add_later", {"amount": 1000, "after_s": 0.1}, timeout_s=30) for actor in ACTORS]
            )

            async def settled() -> bool:
                return set((await values(client)).values()) == {1100}

            await until(settled, 40)
            events = await read_all(client, 7)
            places = {(one.lane, one.position) for one in events}
            assert len(places) == len(events) == len(ACTORS) * (1 + 3 + 3 + 1)
            by_time = (await client.service("log", {"limit": 1000}))["events"]
            assert {(one["lane"], one["position"]) for one in by_time} == places
            assert [one["at"] for one in by_time] == sorted(one["at"] for one in by_time)
            listed = (await client.service("actors", {"limit": 1000}))["actors"]
            assert [(one["kind"], one["key"]) for one in listed] == sorted(ACTORS)
            ready = await client.service("ready")
            assert ready["partitions"] == ready["partitions_owned"] == 2 * PARTITIONS
            assert ready["warnings"] == []
            groups = {one["group"]: one for one in (await client.service("groups"))["groups"]}
            assert {name: (one["stream"], one["lanes"]) for name, one in groups.items()} == {
                "default": ("CMD", PARTITIONS), "default-VAULTS": ("VAULTS", PARTITIONS),
            }  # fmt: skip
            for stream, kind in (("CMD", "account"), ("VAULTS", "vault")):
                info = await client.connection.jetstream().stream_info(stream)
                assert info.config.subjects == [f"cmd.*.{kind}.*.*"]
                assert info.state.messages > 0

    run(scenario())
    for number, log in enumerate(split.logs):
        assert {(kind, key) for kind, key in log.sql("SELECT kind, key FROM actors")} == set(on_server(number))
        assert {p % 2 for (p,) in log.sql("SELECT DISTINCT partition FROM partitions")} == {number}
        assert log.sql("SELECT count(*) FROM snapshots WHERE actor NOT IN (SELECT actor FROM actors)") == [(0,)]


def test_given_dead_letters_on_both_servers_when_listed_and_dropped_then_each_id_names_one(split: SplitSystem) -> None:
    split.start_pod(MODULE)
    (first, *_), (second, *_) = on_server(0), on_server(1)

    async def scenario() -> None:
        async with split.client() as client:
            for actor in (first, second, first, second):
                with pytest.raises(CallFailed) as caught:
                    await client.ask(*actor, "fail", timeout_s=30)
                assert caught.value.code == "handler_failed"
            letters = (await client.service("dead", {"limit": 3}))["letters"]
            letters += (await client.service("dead", {"after_id": letters[-1]["id"]}))["letters"]
            assert sorted((one["kind"], one["key"]) for one in letters) == sorted([first, second] * 2)
            assert len({one["id"] for one in letters}) == 4
            for one in letters:
                shown = (await client.service("dead", {"id": one["id"]}))["letter"]
                assert (shown["kind"], shown["key"]) == (one["kind"], one["key"])
                order = {"what": "drop", "dead_letter": one["id"], "by": "me"}
                await client.query(one["kind"], one["key"], "$order", order)
            assert {one["status"] for one in (await client.service("dead"))["letters"]} == {"dropped"}

    run(scenario())


@pytest.mark.parametrize("number", [0, 1])
def test_given_one_server_killed_when_commands_go_on_then_the_others_keys_are_served_and_its_own_resume(
    servers_of_two: TwoServers, split: SplitSystem, number: int
) -> None:
    pod = split.start_pod(MODULE)
    away, other = on_server(number), on_server(1 - number)
    server = servers_of_two.postgres[number]

    async def scenario() -> None:
        async with split.client() as client:
            found = await asyncio.gather(*[client.ask(*one, "add", {"amount": 50}, timeout_s=30) for one in ACTORS])
            assert set(found) == {50}
            await asyncio.to_thread(server.kill)
            waiting = [asyncio.ensure_future(client.ask(*one, "add", {"amount": 1}, timeout_s=120)) for one in away]
            for n in range(1, 6):
                found = await asyncio.gather(*[client.ask(*one, "add", {"amount": 1}, timeout_s=60) for one in other])
                assert set(found) == {50 + n}
            # What goes from here to there waits in the stream.
            for one, to in zip(other, away, strict=False):
                await client.ask(*one, "send", {"kind": to[0], "to": to[1], "amount": 5}, timeout_s=60)
            assert await client.query(*other[-1], "value", timeout_s=60) in (50, 55)
            assert not any(one.done() for one in waiting)
            warnings = (await client.service("ready", timeout_s=30))["warnings"]
            assert any(f"server {number + 1} of 2 does not answer" in warning for warning in warnings)
            await asyncio.to_thread(server.start)
            await asyncio.gather(*waiting)

            async def settled() -> bool:
                return sum((await values(client)).values()) == 50 * len(ACTORS) + len(away) + 5 * len(other)

            await until(settled, 60)

    run(scenario())
    assert pod.process.poll() is None, "the pod should have lived through it"
    counted = split.sql("SELECT count(*) FROM events WHERE type = 'Moved'")
    moved = min(len(away), len(other))
    assert sum(count for (count,) in counted) == len(ACTORS) + len(away) + 5 * len(other) + 2 * moved


def test_given_a_server_that_is_away_when_a_pod_starts_then_it_serves_what_is_on_the_other(
    servers_of_two: TwoServers, split: SplitSystem
) -> None:
    split.start_pod(MODULE).terminate()
    servers_of_two.postgres[0].kill()

    async def scenario() -> None:
        starting = asyncio.ensure_future(asyncio.to_thread(split.start_pod, MODULE))
        async with split.client() as client:
            found = [await client.ask(*one, "add", {"amount": 1}, timeout_s=60) for one in on_server(1)]
            assert set(found) == {1}
            assert not starting.done()
            await asyncio.to_thread(servers_of_two.postgres[0].start)
            await starting
            found = [await client.ask(*one, "add", {"amount": 1}, timeout_s=60) for one in on_server(0)]
            assert set(found) == {1}

    run(scenario())


def test_given_two_pods_when_one_is_killed_then_the_other_takes_over_at_both_servers(split: SplitSystem) -> None:
    pods = [split.start_pod(MODULE), split.start_pod(MODULE)]
    shares = """SELECT count(DISTINCT p.owner), count(*) FILTER (WHERE d.expires_at > clock_timestamp())
                FROM partitions p JOIN pods d ON d.id = p.owner"""

    async def scenario() -> None:
        await until(lambda: split.sql(shares) == [(4, PARTITIONS)] * 2, 60)
        async with split.client() as client:
            answers: dict[tuple[str, str], list[int]] = {actor: [] for actor in ACTORS}
            stop = asyncio.Event()

            async def add(actor: tuple[str, str]) -> None:
                while not stop.is_set():
                    answers[actor].append(await client.ask(*actor, "add", {"amount": 1}, timeout_s=60))

            work = asyncio.gather(*[add(actor) for actor in ACTORS])
            await until(lambda: all(len(found) > 2 for found in answers.values()), 60)
            pods[0].kill()
            await until(lambda: split.sql(shares) == [(2, PARTITIONS)] * 2, 60)
            seen = {actor: len(found) for actor, found in answers.items()}
            await until(lambda: all(len(found) > seen[actor] + 2 for actor, found in answers.items()), 60)
            stop.set()
            await work
            assert all(found == list(range(1, len(found) + 1)) for found in answers.values())
            assert await values(client) == {actor: len(found) for actor, found in answers.items()}

    run(scenario())


def test_given_a_message_to_a_kind_that_nobody_serves_when_streams_are_split_then_it_holds_up_nothing_and_is_kept(
    split: SplitSystem,
) -> None:
    split.start_pod(MODULE, trim_lag_s=0.5)

    async def trimmed(client: Client) -> bool:
        streams = [await client.connection.jetstream().stream_info(name) for name in ("CMD", "VAULTS")]
        return all(stream.state.first_seq > 1 for stream in streams)

    async def scenario() -> None:
        async with split.client() as client:
            for key in "abc":
                await client.ask("vault", "a", "send", {"kind": "nobody", "to": key, "amount": 1}, timeout_s=30)
            await client.ask("vault", "a", "send", {"kind": "account", "to": "x", "amount": 1}, timeout_s=30)

            async def arrived() -> bool:
                return bool(await client.query("account", "x", "value", timeout_s=30) == 1)

            await until(arrived)
            await until(lambda: len(split.sql("SELECT id FROM dead_letters")) == 3, 60)
            await until(lambda: trimmed(client), 60)

    run(scenario())
    for number, log in enumerate(split.logs):
        rows = log.sql("SELECT key FROM dead_letters WHERE kind = 'nobody' AND code = 'unknown_kind'")
        assert {key for (key,) in rows} == {key for key in "abc" if server_of(partition("nobody", key), 2) == number}


def test_given_the_checkpoints_of_two_servers_when_a_stream_is_trimmed_then_the_lowest_of_all_counts(
    split: SplitSystem,
) -> None:
    split.start_pod(MODULE)

    async def scenario() -> None:
        async with split.client() as client:
            await asyncio.gather(*[client.ask(*actor, "add", {"amount": 1}, timeout_s=30) for actor in ACTORS])
        split.stop_pods()
        place = Place(tuple(log.postgres_url for log in split.logs), 0, "CMD", {"VAULTS": frozenset({"vault"})})
        keeping = whole_log(place, PARTITIONS).keeping
        split.sql("UPDATE partitions SET checkpoint = 70, checkpoint_at = 7")
        split.logs[1].sql("UPDATE partitions SET checkpoint = 60, checkpoint_at = 6 WHERE group_name = 'default'")
        split.logs[1].sql("UPDATE partitions SET checkpoint = 5 WHERE group_name = 'default-VAULTS'")
        assert (await keeping.needed())[0:3:2] == (60, 6)
        # A group registers at one server after the other: until then, nobody knows what it needs there.
        split.logs[0].sql("INSERT INTO kinds SELECT 'late', group_name, code_version, capability FROM kinds LIMIT 1")
        assert (await keeping.needed()).upto is None
        assert "late" in await keeping.known_kinds()
        # An answer is kept while a message of an actor of the other server may still repeat its command.
        split.sql("UPDATE inbox SET at = now() - interval '2 hours'")
        split.logs[1].sql(
            "INSERT INTO outbox (lane, ord, message_id, subject, headers, body, at)"
            " VALUES (1, 1, 'm', 'cmd.default.account.k0.add', '{}', '', now() - interval '3 hours')"
        )
        kept = split.logs[0].sql("SELECT count(*) FROM inbox")
        await keeping.trim_inbox(3600, None)
        assert split.logs[0].sql("SELECT count(*) FROM inbox") == kept != [(0,)]
        split.logs[1].sql("DELETE FROM outbox")
        await keeping.trim_inbox(3600, None)
        assert split.logs[0].sql("SELECT count(*) FROM inbox") == [(0,)]
        await keeping.close()

    run(scenario())


def test_given_a_version_on_two_servers_when_it_is_promoted_then_it_is_at_both(split: SplitSystem) -> None:
    split.start_pod(MODULE, group="v1")
    split.start_pod(MODULE, group="v2")

    async def scenario() -> None:
        async with split.client() as client:
            assert await client.ask(account, "a", "add", {"amount": 1}, timeout_s=30) == 1

            async def ready() -> bool:
                groups = {one["group"]: one for one in (await client.service("groups"))["groups"]}
                return bool(groups["v2"]["ready"] and groups["v2"]["standby"])

            await until(ready, 60)
            done = await client.service("promote", {"group": "v2"}, timeout_s=30)
            assert (done["promoted"], done["replaced"], done["kinds"]) == (True, "v1", ["account"])
            for n, key in enumerate(KEYS):
                assert await client.ask(account, key, "add", {"amount": n}, timeout_s=60) == n

    run(scenario())
    current = "SELECT group_name FROM kinds WHERE kind = 'account'"
    assert split.sql(current) == [("v2",)] * 2


CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"postgres_url": "{0}"}, "was made as server 1 of 2"),
    ({"postgres_url": "{1}"}, "was made as server 2 of 2"),
    ({"postgres_url": "{1} {0}"}, "was made as server"),
    ({"postgres_url": "{0} {0}"}, "was made as server 1 of 2"),
    ({"postgres_url": "{0} {1} {0}"}, "was made as server"),
    ({"cmd_streams": ""}, "'cmd.*.account.*.*'] and must be ['cmd.*.*.*.*']"),
    ({"cmd_streams": "VAULTS=vault,account"}, "another stream of this broker takes some of that"),
    ({"cmd_streams": "ACCOUNTS=account VAULTS=vault"}, "another stream of this broker takes some of that"),
    ({"cmd_streams": "VAULTS=other"}, "another stream of this broker takes some of that"),
]


def test_given_a_system_when_a_pod_wants_another_map_then_it_does_not_start_and_says_what_is_there(
    split: SplitSystem,
) -> None:
    async def start(**settings: Any) -> None:
        pods = Pods(split.settings(**settings), [account, vault])
        await pods.start(asyncio.Event())
        await pods.stop()

    async def scenario() -> None:
        await start()
        for changed, said in CHANGED:
            urls = [log.postgres_url for log in split.logs]
            given = {name: text.format(*urls) for name, text in changed.items()}
            with pytest.raises(Misconfigured) as caught:
                await start(**given)
            assert said in str(caught.value), changed
        # Whose kinds and streams were never used may be put where they are wanted.
        await start(cmd_streams="VAULTS=vault,attic CELLARS=cellar")
        with pytest.raises(Misconfigured, match="takes .*attic.* too, and RUNTIME_CMD_STREAMS does not say so"):
            await start()
        # The log knows as well, should the streams be made anew.
        await split.empty_broker()
        with pytest.raises(Misconfigured, match="is in stream (CMD|VAULTS), and RUNTIME_CMD_STREAMS puts it into"):
            await start(cmd_streams="VAULTS=account")

    run(scenario())


def test_given_a_server_of_another_log_when_a_pod_starts_then_it_is_not_taken_for_its_own(split: SplitSystem) -> None:
    async def scenario() -> None:
        pods = Pods(split.settings(), [account])
        await pods.start(asyncio.Event())
        await pods.stop()
        split.logs[1].sql("UPDATE settings SET value = 'another' WHERE name = 'log_id'")
        with pytest.raises(Misconfigured, match="holds log another, and the first server"):
            await Pods(split.settings(), [account]).start(asyncio.Event())

    run(scenario())


def test_given_a_log_on_one_server_when_a_second_is_named_then_its_partitions_stay(split: SplitSystem) -> None:
    first = split.logs[0]

    async def scenario() -> None:
        async with first.pod(account), first.client() as client:
            await client.ask(account, "a", "add", {"amount": 1}, timeout_s=30)
        with pytest.raises(Misconfigured, match="was made as server 1 of 1"):
            await Pods(split.settings(cmd_streams=""), [account]).start(asyncio.Event())

    run(scenario())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cmd_streams": "VAULTS"}, "is no map"),
        ({"cmd_streams": "CMD=account"}, "is no map"),
        ({"cmd_streams": "A=account B=account"}, "is no map"),
        ({"cmd_streams": "A=b.c"}, "is not a name"),
        ({"partitions": 1}, "names 2 servers for 1 partitions"),
    ],
)
def test_given_a_map_that_is_none_when_settings_are_made_then_the_error_says_so(
    settings: dict[str, Any], said: str
) -> None:
    urls = ("postgresql://one", "postgresql://other")
    given: dict[str, Any] = {"nats_url": "nats://there", "postgres_url": " ".join(urls), "partitions": 8}
    assert places_of(PodSettings(**given)).servers == urls
    with pytest.raises(Misconfigured, match=said):
        places_of(PodSettings(**given | settings))
