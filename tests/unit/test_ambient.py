"""What handlers have around them: written and counted once, read once and for all, and secrets that go nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime import CallFailed, KeyValue, Rejected, Retry, Turn, Workflow, entity, function, keyvalue, testing, workflow
from runtime.ambient import metrics, secrets
from runtime.ambient.configuration import ConfigFile
from runtime.ambient.metrics import Registry
from runtime.errors import BadResult
from runtime.failure import text_of
from runtime.policy import RetryPolicy
from runtime.telemetry.logs import JsonFormatter, TextFormatter
from schemas.runs import decode_run_id
from tests.support.configured import Settings, configured

TEXT = 'sk "live" 4711'


class Added(msgspec.Struct, frozen=True):
    amount: int


@pytest.fixture
def settings() -> Iterator[Settings]:
    with configured() as found:
        yield found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(metrics, "registry", registry)
    return registry


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_SECRET_STRIPE", TEXT)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    secrets.guard.__init__()  # type: ignore[misc]  # what one test reveals is no secret of the others


def half(number: int) -> int:
    return number // 2


@workflow
async def chatty(ctx: Workflow, number: int) -> list[Any]:
    ctx.log.info("begun with %d", number)
    ctx.metrics.count("begun", kind="a")
    number = await ctx.step(half, number)
    ctx.metrics.record("halves", number)
    limit = ctx.config.get("limit", 1, type=int)
    ctx.log.info("half is %d", number, extra={"half": number})
    number = await ctx.step(half, number)
    ctx.metrics.count("ended", 2)
    return [number, limit, ctx.config.get("limit"), ctx.attempt > 0, ctx.method, ctx.kind]


def test_given_a_run_that_always_replays_then_each_line_is_written_and_each_number_counted_once(
    caplog: pytest.LogCaptureFixture, counted: Registry, settings: Settings
) -> None:
    settings.values = {"limit": 7}
    caplog.set_level(logging.INFO, "troupe.handlers")
    world = testing.World(chatty)
    assert world.ask(chatty, "c", "run", {"number": 9}) == [2, 7, 7, True, "run", "chatty"]
    assert [record.getMessage() for record in caplog.records] == ["begun with 9", "half is 4"]
    [_, second] = caplog.records
    assert (vars(second)["kind"], vars(second)["key"], vars(second)["half"]) == ("chatty", "c", 4)
    assert [(name, labels, total) for name, labels, total, _ in counted.all()] == [
        ("begun", (("kind", "a"),), 1.0), ("ended", (), 2.0), ("halves", (), 4.0)
    ]  # fmt: skip


def test_given_configuration_that_changes_when_a_run_reads_it_again_then_it_is_what_it_was(settings: Settings) -> None:
    def change() -> None:
        settings.values = {"limit": 2}

    @workflow
    async def reading(ctx: Workflow) -> list[Any]:
        before = ctx.config.get("limit")
        await ctx.step(change)
        return [before, ctx.config.get("limit"), ctx.config.get("other", "none")]

    attempts: list[Any] = []

    @function(retry=RetryPolicy(max_attempts=2, first_delay_s=0))
    async def trying(ctx: Turn) -> list[Any]:
        attempts.append(ctx.config.get("limit"))
        await ctx.step("change", change)
        if ctx.attempt == 1:
            raise Retry("once more")
        return attempts

    settings.values = {"limit": 1}
    world = testing.World(reading, trying)
    assert world.ask(reading, "r", "run") == [1, 1, "none"]
    settings.values = {"limit": 1}
    assert world.ask(trying, "t", "run") == [1, 1]


def test_given_configuration_that_a_steps_thread_reads_then_it_is_recorded_all_the_same(settings: Settings) -> None:
    @workflow
    async def reading(ctx: Workflow) -> list[int]:
        return [await ctx.step("read", lambda: ctx.config["limit"] + ctx.attempt), ctx.config["limit"]]

    @function
    async def looking(ctx: Turn) -> list[int]:
        return [await ctx.step("read", lambda: ctx.config["limit"] + ctx.attempt), ctx.config["limit"]]

    settings.values = {"limit": 7}
    world = testing.World(reading, looking)
    for kind in (reading, looking):
        assert world.ask(kind, "k", "run") == [8, 7]
    entries = [msgspec.json.decode(event.payload) for event in world.log if event.type == "troupe.step"]
    assert [(one["attempt"], one["result"]) for one in entries if one["step"] == "$config limit"] == [(1, 7)] * 2


def test_given_flags_and_variants_then_keys_are_shared_out_and_tenants_have_their_own(settings: Settings) -> None:
    settings.values = {
        "flags": {"on": True, "some": 25},
        "variants": {"button": {"red": 1, "blue": 3}},
        "tenants": {"acme": {"flags": {"on": False}, "limit": 9}},
        "limit": 3,
    }

    @function
    async def seen(ctx: Turn) -> list[Any]:
        config = ctx.config
        return [config.flag("on"), config.flag("some"), config.variant("button"), config["limit"], config.flag("none")]

    world = testing.World(seen)
    answers = [world.ask(seen, f"k{number}", "run") for number in range(400)]
    assert all(one[0] is True and one[3] == 3 and one[4] is False for one in answers)
    assert 60 < sum(one[1] for one in answers) < 140
    assert 60 < sum(one[2] == "red" for one in answers) < 140
    assert {one[2] for one in answers} == {"red", "blue"}
    assert world.ask(seen, "k0", "run", tenant="acme")[::3] == [False, 9]


def test_given_a_file_of_configuration_when_it_is_wrong_then_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.toml"
    path.write_text("limit = 3\n[flags]\nnew = true\n")
    monkeypatch.setenv("RUNTIME_CONFIG", str(path))
    assert ConfigFile().read() == {"limit": 3, "flags": {"new": True}}
    path.write_text("limit =")
    with pytest.raises(Exception, match="app.toml' cannot be read"):
        ConfigFile().read()


def test_given_handlers_of_each_kind_then_they_know_their_run_and_their_step() -> None:
    def step_of(ctx: Workflow) -> str | None:
        return ctx.step_id

    @workflow
    async def stepping(ctx: Workflow) -> list[Any]:
        return [ctx.run_id, ctx.step_id, await ctx.step("which", step_of, ctx)]

    world = testing.World(stepping)
    run, outside, inside = world.ask(stepping, "s", "run", id="the-id")
    assert decode_run_id(run)[:3] == ("stepping", "s", "the-id")
    assert outside is None
    assert inside.endswith("/the-id/which/0")


@pytest.mark.usefixtures("_secret")
def test_given_a_secret_then_it_is_revealed_in_steps_alone_and_a_replay_does_not_depend_on_it() -> None:
    seen: list[str] = []

    def pay(key: secrets.Secret) -> str:
        seen.append(key.reveal())
        return repr(key)

    @workflow
    async def paying(ctx: Workflow) -> str:
        return str(await ctx.step(pay, ctx.secrets["stripe"]))

    @workflow
    async def careless(ctx: Workflow) -> None:
        ctx.secrets["stripe"].reveal()

    world = testing.World(paying, careless)
    assert world.ask(paying, "p", "run") == "Secret('stripe')"
    assert seen == [TEXT]
    with pytest.raises(CallFailed, match="may not reveal the secret 'stripe'.*pass it to a step"):
        world.ask(careless, "c", "run")


@pytest.mark.usefixtures("_secret")
def test_given_a_secret_that_a_handler_gives_away_then_it_is_refused_and_no_event_holds_it(counted: Registry) -> None:
    box = keyvalue("box")

    @box.write
    async def keep(ctx: KeyValue) -> None:
        ctx.set("key", {"deep": ctx.secrets["stripe"].reveal()})

    @box.write
    async def answer(ctx: KeyValue) -> str:
        return "it is " + ctx.secrets["stripe"].reveal()

    @box.write
    async def send(ctx: KeyValue) -> None:
        ctx.tell(box, "other", "keep", {"text": ctx.secrets["stripe"].reveal()})

    @box.write
    async def name_value(ctx: KeyValue) -> None:
        ctx.set(ctx.secrets["stripe"].reveal(), 1)

    @box.write
    async def name_step(ctx: KeyValue) -> None:
        await ctx.turn.step("call " + ctx.secrets["stripe"].reveal(), print)

    @box.write
    async def name_actor(ctx: KeyValue) -> None:
        ctx.tell(box, ctx.secrets["stripe"].reveal(), "keep")

    @box.write
    async def ask_actor(ctx: KeyValue) -> None:
        await ctx.turn.ask(box, ctx.secrets["stripe"].reveal(), "keep")

    @box.write
    async def record(ctx: KeyValue) -> None:
        await ctx.turn.step("look", lambda: [ctx.secrets["stripe"].reveal()])

    @box.write
    async def fail(ctx: KeyValue) -> None:
        raise ValueError(f"401 for {ctx.secrets['stripe'].reveal()}")

    @box.write
    async def count(ctx: KeyValue) -> None:
        ctx.metrics.count("used", key=ctx.secrets["stripe"].reveal())

    @box.write
    async def refuse(ctx: KeyValue) -> None:
        key = ctx.secrets["stripe"].reveal()
        raise Rejected(f"not with {key}", {"key": key})

    world = testing.World(box)
    for method, told in (
        ("keep", "the value set for 'key' holds the secret 'stripe'"),
        ("answer", "answer returned holds the secret 'stripe'"),
        ("send", "a message to box.keep holds the secret"),
        ("record", "the result of step 'look' holds the secret"),
        ("name_value", "the name of a value holds the secret"),
        ("name_step", "a step's name holds the secret"),
        ("name_actor", "an actor's key holds the secret"),
        ("ask_actor", "an actor's key holds the secret"),
        ("fail", r"ValueError: 401 for \[secret stripe\]"),
    ):
        with pytest.raises(CallFailed, match=told):
            world.ask(box, "b", method)
    with pytest.raises(Rejected, match=r"not with \[secret stripe\] \(its details hold a secret\)"):
        world.ask(box, "b", "refuse")
    world.ask(box, "b", "count")
    assert [labels for _, labels, _, _ in counted.all()] == [(("key", "[secret stripe]"),)]
    stored = msgspec.json.encode([world.log, [(letter.error, letter.code) for letter in world.dead]]).decode()
    assert TEXT not in stored
    assert json.dumps(TEXT)[1:-1] not in stored


def test_given_log_lines_then_secrets_are_shown_by_name() -> None:
    secrets.guard.learn("stripe", TEXT)
    try:
        raise ValueError(f"no {TEXT}")
    except ValueError as error:
        about = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("a", logging.INFO, "f", 1, "key %s", (TEXT,), about)
        assert text_of(error) == "ValueError: no [secret stripe]"
    for formatter in (TextFormatter("%(message)s"), JsonFormatter()):
        line = formatter.format(record)
        assert "4711" not in line
        assert line.count("[secret stripe]") >= 2
    assert json.loads(JsonFormatter().format(record))["message"] == "key [secret stripe]"


def test_given_a_secret_of_several_lines_that_is_shown_within_something_else_then_it_is_known_all_the_same() -> None:
    key = "-----BEGIN KEY-----\n47\"11ü'\n-----END KEY-----\n"
    secrets.guard.learn("pem", key)
    for shown in (key, repr(key), ascii(key), repr(key.encode()), json.dumps(key), msgspec.json.encode(key).decode()):
        for formatter in (TextFormatter("%(message)s"), JsonFormatter()):
            line = formatter.format(logging.LogRecord("a", logging.INFO, "f", 1, "given %s", (shown,), None))
            assert "BEGIN" not in line, (shown, formatter)
        with pytest.raises(BadResult, match="holds the secret 'pem'"):
            secrets.guard.checked(msgspec.json.encode({"deep": shown}), "it")


def test_given_secrets_of_the_environment_then_a_tenants_own_go_first_and_missing_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_SECRETS_DIR", str(tmp_path))
    (tmp_path / "mail.key").write_text("of everybody\n")
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mail.key").write_text("of acme alone\n")
    monkeypatch.setenv("RUNTIME_SECRET_SHORT", "1234567")
    assert secrets.Secrets("acme")["mail.key"].reveal() == "of acme alone"
    assert secrets.Secrets("globex")["mail.key"].reveal() == "of everybody"
    with pytest.raises(secrets.MissingSecret, match="set RUNTIME_SECRET_OTHER_KEY, or put"):
        secrets.Secrets("acme")["other-key"].reveal()
    with pytest.raises(secrets.MissingSecret, match="fewer than 8"):
        secrets.Secrets("acme")["short"].reveal()
    for name in ("", "../etc/passwd", "a b"):
        with pytest.raises(BadResult, match="a secret's name"):
            secrets.Secrets("acme")[name]


def test_given_a_decision_then_it_has_metrics_and_configuration_and_no_secrets(
    counted: Registry, settings: Settings
) -> None:
    tally = entity("tally", initial=0, apply=lambda state, event: state + event.amount, events=[Added])

    @tally.command
    def add(state: int, amount: int, ctx: Turn) -> Added:
        ctx.metrics.count("added", amount)
        if amount > ctx.config.get("most", 100):
            raise Rejected("too much")
        return Added(amount)

    @tally.command
    def peek(state: int, ctx: Turn) -> None:
        ctx.secrets["stripe"].reveal()

    settings.values = {"most": 5}
    world = testing.World(tally)
    world.ask(tally, "t", "add", {"amount": 3})
    with pytest.raises(Rejected):
        world.ask(tally, "t", "add", {"amount": 6})
    with pytest.raises(CallFailed, match="is pure, and has no secrets"):
        world.ask(tally, "t", "peek")
    assert [total for _, _, total, _ in counted.all()] == [3.0]
