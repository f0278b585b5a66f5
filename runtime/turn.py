"""What a handler may see and ask for while it handles one message.

A decision stays pure: what it asks for (messages to other actors, timers) is only written down here, and takes effect
in the transaction that commits its events. Nothing is sent if nothing is committed.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from runtime import heartbeats, showing
from runtime.ambient.handler import Ambient
from runtime.ambient.metrics import Metrics
from runtime.ambient.secrets import guard
from runtime.ambient.step import in_step
from runtime.arguments import encode_json, json_decoder
from runtime.errors import BadResult, CallFailed
from runtime.human import Human
from runtime.sent import (
    MAX_DUE_AT,
    MAX_SENT_BYTES,
    Asker,
    Caller,
    CancelTimer,
    Message,
    Question,
    SetTimer,
    check_timer_name,
    method_and_payload,
    question_id,
)
from runtime.tokens import NO_SECRET, Tokens
from schemas import control
from schemas.address import Address, actor_id, check_name, encode_token
from schemas.headers import MAX_ID_LENGTH, is_id

if TYPE_CHECKING:
    from runtime.kind import Kind
    from runtime.mail import Mail, Request
    from runtime.reading import Reading
    from runtime.recorder import Recorder
    from runtime.yields import Yields

T = TypeVar("T")


class Turn(Ambient):
    """The context of one turn, for handlers that take a parameter `ctx`. See also runtime.ambient.handler.

    Attributes:
        address: tenant, kind and key of the actor.
        command_id: the id of the command; the same on every attempt.
        seq: the actor's sequence number before this turn.
        method: the method that was called.
        now: Unix seconds at which the turn was begun; the same for the whole turn.
        attempt: 1 for the first try.
        principal: who asks, when that was proved; else None.
        roles: the principal's, proved as it is.
        sender: the actor of this tenant that sent the command, or whose run did, when that was proved; else None.
        session: the session whose stream shows what comes of this, or None.
        correlation_id: the id shared by everything that follows from one request.
        headers: the trace context and other headers that travelled with the command.
        counts: what the handler has counted and is not committed, if it has; for who runs it.
        expires_at: Unix seconds by which the handler's attempt is over; inf for no time.
        secret: what its tokens are proved by.
        gated: whether limits hold for it: in pods they do, in a World they do not.
    """

    __slots__ = (
        "_asked",
        "_asker",
        "_human",
        "_mail",
        "_random",
        "_reading",
        "_reply",
        "_steps",
        "_tokens",
        "_yields",
        "address",
        "attempt",
        "command_id",
        "correlation_id",
        "counts",
        "expires_at",
        "gated",
        "headers",
        "messages",
        "method",
        "now",
        "principal",
        "roles",
        "secret",
        "sender",
        "seq",
        "session",
        "timers",
    )

    def __init__(
        self,
        address: Address,
        command_id: str,
        seq: int,
        now: float,
        *,
        attempt: int = 1,
        principal: str | None = None,
        roles: tuple[str, ...] = (),
        sender: Address | None = None,
        session: str | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "",
    ) -> None:
        self.method = method
        self.address = address
        self.command_id = command_id
        self.seq = seq
        self.now = now
        self.attempt = attempt
        self.principal = principal
        self.roles = roles
        self.sender = sender
        self.session = session
        self.correlation_id = correlation_id
        self.headers = headers or {}
        self.messages: list[Message] = []
        self.timers: list[SetTimer | CancelTimer] = []
        self._asker: Asker | None = None
        self.counts: Metrics | None = None
        self._human: Human | None = None
        self._asked: Counter[tuple[Address, str]] | None = None
        self._steps: Recorder | None = None
        self._tokens: Tokens | None = None
        self.secret = NO_SECRET
        self._mail: Mail | None = None
        self._yields: Yields | None = None
        self.gated = False
        self.expires_at = inf
        self._reply: Any = None
        self._random: random.Random | None = None
        self._reading: Reading | None = None

    @property
    def turn(self) -> Turn:  # type: ignore[override]  # it is the turn itself
        """Itself, as contexts of other shapes have it."""
        return self

    @property
    def key(self) -> str:
        """The actor's key."""
        return self.address.key

    @property
    def executes(self) -> bool:
        """Whether the handler is an execution, and may do more than decide."""
        return self._steps is not None

    @property
    def replaying(self) -> bool:
        """Whether the handler does again what a former attempt did."""
        return self._steps is not None and not in_step.get() and self._steps.replaying

    @property
    def counted(self) -> Metrics:
        """What the handler counts; see runtime.ambient.metrics."""
        if self.counts is None:
            self.counts = Metrics(self)
            if self._steps is not None:
                self._steps.committed = self.counts.commit
        return self.counts

    def showing(self, value: bytes | None) -> None:
        """Shows a value as JSON, or with None takes back what was shown; see `show` and `unshow`."""
        if self._steps is None:
            raise BadResult("a decision or a query is pure, and shows nothing: use an async handler or a function")
        if (one := showing.current.get()) is None and not in_step.get():
            one = self._steps.showing()
        if one is not None:
            one.take(value)

    def recall(self, name: str, find: Callable[[], Any]) -> Any:
        """What the configuration has under a name: for an execution recorded, and from then on the same."""
        return find() if self._steps is None else self._steps.recall(name, find)

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same on every attempt of this command (seeded by its id)."""
        if self._random is None:
            self._random = random.Random(f"{self.address}/{self.command_id}")
        return self._random

    def uuid(self) -> str:
        """A UUID (version 4 in form) that is the same on every attempt of this command."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    @property
    def human(self) -> Human:
        """The people that an `async` handler asks: `await ctx.human.approval(…)`."""
        if self._human is None:
            self._human = Human(self)
        return self._human

    @property
    def reading(self) -> Reading:
        """What an async query reads beside the state. Raises BadResult elsewhere."""
        if self._reading is None:
            raise BadResult("only an async query reads logs and indexes (in a test, one that a World answers)")
        return self._reading

    def reads_through(self, reading: Reading) -> None:
        """Gives an async query what it reads; for who runs it."""
        self._reading = reading

    def reply(self, value: Any) -> None:
        """What the caller gets as the command's result, once committed. Any value that has a JSON form."""
        self._reply = value

    @property
    def reply_value(self) -> Any:
        """What `reply` was given, or None."""
        return self._reply

    def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        then: str | None = None,
        caller: Caller | None = None,
    ) -> None:
        """Sends a command to another actor of this tenant, once and after the commit, without waiting for an answer.

        `command` is a command object of an entity, or a method's name with `args` beside it. `id` is the command's id,
        if it is not to follow from this turn: the other actor does a second one of that id only once. `then` names a
        method of this actor's own, which gets an `Ended` (schemas.control) as a command once the other one is done,
        refused or parked. `caller` is for whom it is, if not for this turn's caller: somebody whose command this actor
        has kept, with the principal and the roles that it came with.
        """
        name, method, payload = method_and_payload(kind, command, args)
        encode_token(key)
        guard.checked(key.encode(), "an actor's key")
        body = guard.checked(encode_json(payload), f"a message to {name}.{method}")
        if len(body) > MAX_SENT_BYTES:
            # Once it is committed nobody could be told that the broker refuses it.
            raise BadResult(
                f"a message of {len(body)} bytes to {name}.{method}: {MAX_SENT_BYTES} is the limit; keep the value "
                "in an actor, or elsewhere, and send where it is"
            )
        if id is not None and not is_id(id):
            raise ValueError(f"{id[:80]!r} cannot be an id: use 1 to {MAX_ID_LENGTH} printable ASCII characters")
        if then is not None:
            check_name(then, "method")
        self.messages.append(Message(Address(self.address.tenant, name, key), method, body, id, then, caller))

    def cancel_run(self, kind: Kind | str, key: str, run: str, reason: str = "") -> None:
        """Cancels a command of another actor of this tenant, by its id, after the commit; see `Run.cancel`.

        One that has ended by then stays as it is.
        """
        self._say_to_run(kind, key, control.CANCEL, control.Cancel(run, reason))

    def signal_run(self, kind: Kind | str, key: str, run: str, name: str, value: Any = None) -> None:
        """Sends a signal to a run of another actor of this tenant, after the commit; see `Run.signal`.

        One that has ended by then does not hear it. `value` is anything that has a JSON form.
        """
        self._say_to_run(kind, key, control.SIGNAL, control.Signal(run, name, value))

    def _say_to_run(self, kind: Kind | str, key: str, method: str, body: Any) -> None:
        name = check_name(kind if isinstance(kind, str) else kind.name, "kind")
        encode_token(key)
        encoded = guard.checked(encode_json(body), f"a message to a run of {name}")
        self.messages.append(Message(Address(self.address.tenant, name, key), method, encoded))

    def ask(
        self, kind: Kind | str, key: str, command: Any, args: Any = None, *, type: Any = Any, timeout_s: float = 30.0
    ) -> Awaitable[Any]:
        """Sends a command to another actor of this tenant at once, and waits for its result, read as `type`.

        For `async` handlers, which are executions: one that starts anew after a crash or a failure asks with the same
        ids, and gets the answers that were recorded. The id follows from this command's id, the actor and method asked,
        and how many times they were asked before: so the same questions must be asked again, each with the same
        arguments. `command` is as in `tell`; `timeout_s` is how long to wait, in seconds.

        Raises Rejected when the actor refuses; CallFailed otherwise: `timeout` when no answer came (it may still be
        processed), `call_cycle` when the actor is held by this very chain of calls; NotConnected without a broker.
        """
        if self._asker is None:
            raise BadResult(
                "only an async handler may ask another actor and wait: use ctx.tell, or make it an async handler (in a "
                "test, one that a World runs)"
            )
        name, method, payload = method_and_payload(kind, command, args)
        guard.checked(key.encode("utf-8", "surrogatepass"), "an actor's key")
        address = Address(self.address.tenant, name, key)
        tenant, own_kind, own_key = self.address
        if self._asked is None:
            self._asked = Counter()
        occurrence = self._asked[address, method]
        self._asked[address, method] += 1
        asked = f"{name}/{encode_token(key)}/{method}/{occurrence}"
        id = question_id(actor_id(tenant, own_kind, encode_token(own_key)), self.command_id, asked)
        body = b"" if payload is None else guard.checked(encode_json(payload), f"a question to {name}.{method}")
        return _answer(self._asker(Question(address, method, body, id, timeout_s, asked)), type)

    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        returns: Any = Any,
        heartbeat_timeout_s: float | None = None,
        **kwargs: Any,
    ) -> Awaitable[Any]:
        """Runs `fn(*args, **kwargs)` once, and gives its result: an execution that starts anew does not run it again.

        For `async` handlers. `fn` is `async`, or a plain function, which runs in a thread. The result is recorded in
        the log as JSON before it is given, read as `returns` (plain values by default): live as replayed. A Rejected
        that `fn` raises is recorded too and raised again; after any other error the step counts as not taken, and the
        handler must let it out, to be tried again by its policy.

        A step that was cut off before it was recorded does run again. So hand to the outside what tells a repeat: a
        parameter of `fn` named `idempotency_key` gets one, the same on every attempt.

        A handler must take the same steps in the same order again. Steps side by side (asyncio.gather) may complete in
        any order; they are told apart by their names, and by how many of that name were taken before. One that says no
        heartbeat (runtime.heartbeats) for `heartbeat_timeout_s` seconds has failed.

        Raises BadResult when the result has no JSON form, and when the handler leaves its journal.
        """
        if self._steps is None:
            raise BadResult("only an async handler may take steps: make it one (in a test, one that a World runs)")
        return self._steps.step(name, fn, args, kwargs, returns, heartbeat_timeout_s)

    def external(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        returns: Any = Any,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> Awaitable[Any]:
        """Takes a step that something outside completes: `fn(*args, token=…)` hands out a token, and whoever has it
        says what came of it, by HTTP, NATS, the command line or a client (`Client.complete`, `Client.fail`).

        Gives the value, read as `returns`. Raises StepFailed when it was failed, TimeoutError when nobody said anything
        within `timeout_s` seconds. The token is the same on every attempt, and is used once.
        """
        if self._tokens is None:
            self._tokens = Tokens(self.address, self.command_id, self.secret)
        return self._tokens.external(self.step, self._waits(), name, fn, args, kwargs, returns, timeout_s)

    def heartbeat(self, detail: Any = None) -> None:
        """Says that a function, or the step in which this is called, goes on; see runtime.heartbeats."""
        heartbeats.heartbeat(detail)

    def heartbeat_detail(self, type: Any = Any) -> Any:
        """What the attempt before this one said last, read as `type`; None when that was nothing."""
        return heartbeats.heartbeat_detail(type)

    def beating(self, job: Awaitable[T], timeout_s: float | None) -> Awaitable[T]:
        """Runs an attempt that may say heartbeats, and must within `timeout_s` seconds; for who runs a function."""
        return job if self._steps is None else self._steps.beats().through(job, timeout_s)

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Waits. For `async` handlers: one that starts anew waits for what is left of the time, on whatever pod."""
        return self._waits().sleep(seconds)

    def signal(self, name: str, *, returns: Any = Any, timeout_s: float | None = None) -> Awaitable[Any]:
        """Waits for the next signal of that name to this run, and gives its value, read as `returns`.

        For `async` handlers. Signals are kept in the order of their arrival, also before anybody waits for them; each
        is given once. An execution that starts anew gets the same ones. Raises TimeoutError when none came within
        `timeout_s` seconds, counted from the first attempt's wait.
        """
        return self._waits().signal(name, returns, timeout_s)

    def update(self, name: str, *, returns: Any = Any, timeout_s: float | None = None) -> Awaitable[Request]:
        """Like `signal`, for the next update of that name: its sender waits until `answer` or `reject` is called.

        Updates that are not answered when the handler ends fail with `not_running`.
        """
        return self._waits().update(name, returns, timeout_s)

    def yielded(self) -> int:
        """How many values former attempts of this generator have yielded; from here on it goes on behind them.

        A generator that does not ask begins anew, and as many of its values are dropped.
        """
        return self.yields.resume()

    def time(self) -> float:
        """Unix seconds at this moment, other on each attempt; for who runs an execution."""
        return self.now if self._mail is None else self._mail.now()

    @property
    def yields(self) -> Yields:
        """What a generator yields; for who runs it."""
        if self._yields is None:
            raise BadResult("only a generator that a pod or a World runs may yield: see runtime.function")
        return self._yields

    def yields_through(self, yields: Yields) -> None:
        """Lets the handler yield; for who runs an execution."""
        self._yields = yields

    def _waits(self) -> Mail:
        if self._mail is None:
            raise BadResult("only an async handler may wait: make it one (in a test, one that a World runs)")
        return self._mail

    def waits_through(self) -> tuple[Recorder, Mail, Asker]:
        """What `ctx.step`, `ctx.signal` and `ctx.ask` go through, for a context of another shape."""
        if self._steps is None or self._mail is None or self._asker is None:
            raise BadResult("a workflow is run by a pod, or by a World in a test")
        return self._steps, self._mail, self._asker

    def steps_through(self, steps: Recorder, mail: Mail) -> None:
        """Lets the handler take steps, and wait for messages; for who runs an execution."""
        self._steps = steps
        self._mail = mail

    def release(self) -> None:
        """The handler has ended: it asks nobody any more."""
        if self._asker is not None:
            self._asker = _ask_nobody

    def asks_through(self, asker: Asker) -> None:
        """Lets the handler ask; for who runs an execution."""
        self._asker = asker

    def schedule(
        self, name: str, command: Any, args: Any = None, *, after_s: float | None = None, at: float | None = None
    ) -> None:
        """Sends this actor a command later: `after_s` seconds from `now`, or `at` a Unix time.

        `command` is a method's name, with `args` beside it. A timer set again under its name is replaced; a timer fires
        at most once, and not at all once it is cancelled.
        """
        if (after_s is None) == (at is None):
            raise ValueError("schedule() takes either after_s or at")
        check_timer_name(name)
        due_at = at if at is not None else self.now + (after_s or 0.0)
        if not 0 <= due_at <= MAX_DUE_AT:
            raise ValueError(f"a timer is due between the years 1970 and 9999, in Unix seconds, not at {due_at}")
        body = guard.checked(encode_json(args), f"the arguments of timer {name!r}")
        self.timers.append(SetTimer(name, due_at, check_name(str(command), "method"), body))

    def cancel(self, name: str) -> None:
        """Takes back the timer of that name; nothing happens when there is none."""
        check_timer_name(name)
        self.timers.append(CancelTimer(name))


async def _ask_nobody(question: Question) -> bytes:
    raise asyncio.CancelledError(f"{question.address} is not asked any more: the handler has ended")


async def _answer(asking: Awaitable[bytes], type: Any) -> Any:
    result = await asking
    try:
        return json_decoder(type).decode(result)
    except ValueError as error:  # msgspec's and pydantic's errors are ValueErrors
        raise CallFailed("bad_result", f"the answer is not of the type that was asked for: {error}") from error
