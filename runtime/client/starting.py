"""Starting a workflow's run with a signal, which goes to the one that goes on if there is one: one message, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from runtime.client.envelope import Envelope, Fields
from runtime.client.failures import decode_as, encode_body, error_of
from runtime.client.runs import Run
from schemas import control

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.kind import Kind


class Begun(msgspec.Struct):
    """The result of `$start`: the id of the run's command, and whether it began with this."""

    run: str
    started: bool


async def signal_with_start(
    client: Client,
    kind: Kind | str,
    key: str,
    name: str,
    value: Any = None,
    args: Any = None,
    *,
    id: str | None = None,
    timeout_s: float = 30.0,
    **envelope: Unpack[Fields],
) -> Run:
    """Sends a signal to the run of the workflow `kind` under `key`, which begins with `args` if none goes on.

    Gives that run once both are in the log. A run that has ended makes way to a new one, whatever came of it. Asking
    again with the same `id` gives the same run, and sends no second signal. What a run has not taken when it ends is
    lost with it, as any signal is: one that is to hear all takes what is there (`timeout_s=0`) before it returns.

    Raises Rejected when the workflow's `on_existing` is "reject" and the key has had a run, and CallFailed:
    `unknown_method` when the kind is no workflow, `invalid_arguments` when `args` do not fit.
    """
    kind_name = kind if isinstance(kind, str) else kind.name
    begun = await say(client, kind_name, key, control.Start(name, value, args), id, timeout_s, Envelope(**envelope))
    return Run(client, kind_name, key, begun.run)


async def say(
    client: Client, kind: str, key: str, start: control.Start, id: str | None, timeout_s: float, envelope: Envelope
) -> Begun:
    """The same, with what came of it."""
    reply = await client.call(
        kind, key, control.START, encode_body(start), timeout_s=timeout_s, id=id, envelope=envelope
    )
    if reply.error is not None:
        raise error_of(reply.error)
    begun: Begun = decode_as(reply.result, Begun)
    return begun
