"""Capabilities: what an application can do, as what used to be its routes.

    @capability(
        description="Reads invoices and checks them.",
        workers=["extract", "verify", "summarize"],
        persona="You are an accountant.",
        domain_context="Invoices of European companies.",
        constraints=["Never guess an amount."],
        examples=["what does this invoice say", "check invoice 7"],
    )
    async def invoices(work: Workers, task: Task) -> str:
        invoice = await work.extract(task.text, Invoice)
        verdict = await work.verify(invoice, task.text)
        return await work.summarize(task.text) if verdict.holds else "; ".join(verdict.problems)

A capability is a kind of actor whose runs answer messages, as an agent is: its function is a workflow, and each call of
a worker a step of it. One without a function has its workers work on the message in their order, each on what the one
before it gave.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from actors.agents.agent import Agent
from actors.agents.hosted import Hosted
from actors.agents.tools import Tool, Toolset
from actors.capabilities.workers import Workers
from actors.models.fleet import SLOTS, Slot
from actors.models.wire import Message
from actors.router.router import router
from actors.sessions.session import Answer, Task, session
from runtime import BadDefinition, Workflow
from runtime.arguments import encode_json
from runtime.kind import Behaviour
from runtime.workflow import WorkflowKind
from schemas.wire import Skill

Code = Callable[[Workers, Task], Awaitable["str | Answer"]]


class Capability(WorkflowKind):
    """A kind of actor whose runs answer the messages that the router picks it for.

    Args:
        name: the kind's.
        description: what it does: the router, and people, tell it from others by that.
        workers: slots of the fleet that it uses.
        persona: who its models are told to be.
        domain_context: what they are told of the domain.
        constraints: what they must keep to.
        tools: what worker `tool_call` may call.
        examples: what people say to it.
        code: what a run does; by default its workers work one after the other.
        max_iterations: model calls of `tool_call`.
        run_timeout_s: of one run.

    Raises BadDefinition when the definition cannot work.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str,
        workers: Sequence[Slot] = ("generate",),
        persona: str = "",
        domain_context: str = "",
        constraints: Sequence[str] = (),
        tools: Sequence[Tool | Hosted | Toolset | Agent] = (),
        examples: Sequence[str] = (),
        code: Code | None = None,
        max_iterations: int = 10,
        run_timeout_s: float | None = 600.0,
    ) -> None:
        super().__init__(name, self._answer, "join", None, Behaviour(), run_timeout_s)
        unknown = [one for one in workers if one not in SLOTS]
        if unknown or not workers:
            raise BadDefinition(f"capability {name!r}: its workers are some of {', '.join(SLOTS)}, and not {unknown}")
        if tools and "tool_call" not in workers:
            raise BadDefinition(f"capability {name!r} has tools, and no worker that calls them: add tool_call")
        if code is None and "classify" in workers:
            raise BadDefinition(f"capability {name!r}: what its worker classify chooses from is for code: add some")
        self.description = description
        self.skill = Skill(description, tuple(examples))
        self.workers: tuple[Slot, ...] = tuple(workers)
        kept = "\n".join(f"- {one}" for one in constraints)
        parts = (persona, domain_context, kept and f"Keep to this:\n{kept}")
        self.instructions = "\n\n".join(part for part in parts if part)
        self.caller = Agent(
            name, model="tool_call", instructions=self.instructions, tools=tools, max_iterations=max_iterations
        )
        self._code = code
        self.companions = tuple(dict.fromkeys((*self.caller.companions, session, router)))

    async def _answer(self, ctx: Workflow, task: Task) -> Answer:
        """Answers a message."""
        work = Workers(self, ctx, task)
        found = await (self._code(work, task) if self._code is not None else self._in_order(work, task))
        if isinstance(found, Answer):
            return found
        return Answer(found, (*work.messages, Message("assistant", found, name=self.name)), self.name)

    async def _in_order(self, work: Workers, task: Task) -> str:
        text = task.text
        for worker in self.workers:
            if worker == "extract":
                text = encode_json(await work.extract(text, dict[str, str])).decode()
            elif worker == "verify":
                verdict = await work.verify(text, task.text)
                text += "" if verdict.holds else f"\nNot confirmed: {'; '.join(verdict.problems)}"
            elif worker == "summarize":
                text = await work.summarize(text)
            elif worker == "tool_call":
                text = (await work.tool_call(None if text == task.text else text)).text
            else:
                text = await work.generate(text)
        return text


def capability(name: str | None = None, /, **options: Any) -> Callable[[Code], Capability]:
    """Makes a capability of an async function `(work: Workers, task: Task) -> str | Answer`.

    `name` is the kind's, by default the function's; `description` is by default its docstring. For the other options
    see Capability.
    """

    def made(code: Code) -> Capability:
        called = str(name or getattr(code, "__name__", ""))
        if not inspect.iscoroutinefunction(code):
            raise BadDefinition(f"capability {called!r} must be an async function: it waits for its workers")
        said = str(options.pop("description", "") or inspect.getdoc(code) or "")
        return Capability(called, description=said, code=code, **options)

    return made
