"""`runtime ask`: a sentence, and the answer of whoever can give one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from runtime.cli.options import AsJson, DataDir, Tenant, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_piece
from runtime.cli.reach import Reach
from schemas.conversation import ROUTER
from schemas.wire import Fact

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.client.ordered import OrderedReader


def register(app: typer.Typer) -> None:
    """Adds the command."""
    lines = ('runtime ask "where is my parcel?"', 'runtime ask "and the other one?" --session s1 --agent parcel')
    app.command(epilog=examples(*lines))(ask)


def ask(
    sentence: Annotated[str, typer.Argument(help="What is said.")],
    session: Annotated[str | None, typer.Option("--session", help="The conversation; a new one by default.")] = None,
    agent: Annotated[str, typer.Option("--agent", help="Who is to answer.")] = ROUTER,
    id: Annotated[str | None, typer.Option("--id", help="The message's id: saying it again is harmless.")] = None,
    stream: Annotated[bool, typer.Option("--stream/--whole", help="Print the answer as it comes, or at once.")] = True,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Say a sentence, and print the answer of the capability that it means.

    Ends with 3 when nobody serves the agent, and with 5 when no answer comes in time: the run goes on then, and asking
    again with the same --id and --session is safe.
    """

    async def job(client: Client) -> tuple[dict[str, Any], str]:
        from runtime.client.saying import answered, say

        name = session or f"cli-{client.new_id()}"
        reader = await client.read_session(name, "new") if stream and not as_json else None
        told = Telling()
        showing = None if reader is None else asyncio.ensure_future(_show(reader, told))
        try:
            run = await say(client, name, sentence, agent=agent, id=id, timeout_s=timeout_s)
            answer = answered(msgspec.json.encode(await run.result(timeout_s=timeout_s)))
        finally:
            if showing is not None and reader is not None:
                showing.cancel()
                await reader.close()
        found = {"session": name, "run": run.id, "agent": answer.agent, "text": answer.text, "output": answer.output}
        return found, told.text

    answer, told = Reach(data, tenant, timeout_s).run(job)
    if as_json:
        print_json(answer)
    elif told.strip() == answer["text"].strip():
        print_line("")  # it has been printed as it came
    else:
        if told:
            print_line("")
        for line in answer["text"].split("\n"):
            print_line(line)


class Telling:
    """The text that a session's runs show, as far as it came: of the latest step, in its latest attempt."""

    def __init__(self) -> None:
        self.text = ""
        self._of: tuple[str, str, int] | None = None
        self._attempt = 0

    def take(self, fact: Fact) -> tuple[str, bool]:
        """(a piece that is new, whether what came before it is void)."""
        of, void = (fact.command, fact.name, fact.occurrence), False
        if of != self._of or fact.attempt > self._attempt:
            void = bool(self.text)
            self._of, self._attempt, self.text = of, fact.attempt, ""
        elif fact.attempt < self._attempt:
            return "", False
        values = msgspec.json.decode(fact.data, type=list[Any])
        piece = "".join(str(value.get("text", "")) for value in values if isinstance(value, dict))
        self.text += piece
        return piece, void


async def _show(reader: OrderedReader, told: Telling) -> None:
    decode = msgspec.json.Decoder(Fact).decode
    while True:
        fact = decode((await reader.next()).body)
        if fact.type == "progress":
            piece, void = told.take(fact)
            print_piece(("\n" if void else "") + piece)
