"""Agents: a model, what it is told, and the tools that it may use.

    billing = Agent("billing", instructions="You are kind and exact.", tools=[refund, lookup])

An agent is a kind of actor: a run of it is a workflow's run, which answers one message of a session (or one sentence
without any). Each model call and each tool call is a step of it, so none of them is paid for or done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from actors.agents.carrying import Locked
from actors.agents.hooks import Hook, Hooks
from actors.agents.hosted import Hosted
from actors.agents.output import Output
from actors.agents.plugins import installed
from actors.agents.run import AgentRun
from actors.agents.tools import Tool, Toolset
from actors.memory import KINDS as MEMORY
from actors.memory.recalling import Remembers
from actors.memory.tools import MemoryTool, memory_tools
from actors.models.fleet import SLOTS, Slot, SlotSettings
from actors.models.offline import HAND_OFF
from actors.models.wire import ToolSpec
from actors.prompts.slots import Middleware, PromptSlot
from actors.router.router import router
from actors.sessions.session import Answer, Task, session
from runtime import BadDefinition, Workflow
from runtime.kind import Behaviour
from runtime.workflow import WorkflowKind
from schemas.wire import Skill


class Limits(Struct, frozen=True):
    """What one run may take. None is no limit.

    Attributes:
        tokens, cost_usd: of all its model calls, when it wants to go on after one.
        seconds: from its beginning, waits for people and pods included.
        bad_calls: tool calls whose arguments do not fit, or of tools that are not there, in a row.
        repairs: answers that do not fit the shape they are to have, and that the model may mend.
    """

    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    bad_calls: int = 3
    repairs: int = 2


UNLIMITED = Limits()


class Agent(WorkflowKind):
    """A kind of actor whose runs answer messages.

    Args:
        name: the kind's.
        model: a slot of the fleet, or a model by its name.
        instructions: what it is told first.
        description: what it is for. An agent that has one, or examples, is a capability: the router may pick it.
        examples: what people say to it.
        tools: what it may call; agents are called as children, and answer as a tool.
        hands_off_to: agents that it may give the conversation to; they go on with all of it.
        output: what it answers with: a msgspec Struct, a pydantic model …; see Answer.output.
        max_iterations: model calls of one run.
        fast_path: it has one tool, and what that gives is the answer: one model call in place of two.
        hooks: what is called around its work; see actors.agents.hooks.
        memory: whose memory it is told, and learns into; see actors.memory.recalling.
        slots: further parts of the system message, behind the instructions.
        middleware: what may change the slots of a prompt before they are fitted into it, in order.
        context_tokens: of a prompt, about; the oldest messages are left out.
        run_timeout_s: of one run; one that takes longer is ended from outside, without its hooks.

    Raises BadDefinition when the definition cannot work.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str = "generate",
        instructions: str = "",
        description: str = "",
        examples: Sequence[str] = (),
        tools: Sequence[Tool | Hosted | Toolset | Agent] = (),
        hands_off_to: Sequence[Agent] = (),
        output: Any = None,
        max_iterations: int = 10,
        fast_path: bool = False,
        limits: Limits = UNLIMITED,
        hooks: Sequence[Hook] = (),
        memory: Remembers | None = None,
        slots: Sequence[PromptSlot] = (),
        middleware: Sequence[Middleware] = (),
        context_tokens: int = 16_000,
        run_timeout_s: float | None = 600.0,
    ) -> None:
        super().__init__(name, self._answer, "join", None, Behaviour(), run_timeout_s)
        if max_iterations < 1:
            raise BadDefinition(f"agent {name!r}: max_iterations is at least 1")
        self.description = description or instructions
        if description or examples:
            self.skill = Skill(self.description, tuple(examples))
        self.instructions = instructions
        self.max_iterations = max_iterations
        self.limits = limits
        self.context_tokens = context_tokens
        self.slot: Slot = model if model in SLOTS else "generate"
        self.override = None if model in SLOTS else SlotSettings(model=model)
        self.output = None if output is None else Output(name, output)
        self.toolsets = [one for one in tools if isinstance(one, Toolset)]
        own = [one for one in tools if not isinstance(one, Toolset)]
        by_memory = () if memory is None else memory_tools(memory)
        self.tools: dict[str, Tool | Hosted | Agent | MemoryTool] = {one.name: one for one in (*own, *by_memory)}
        self.hands_off_to = {HAND_OFF + one.name: one for one in hands_off_to}
        if len(self.tools) < len(own) + len(by_memory) or self.tools.keys() & self.hands_off_to.keys():
            raise BadDefinition(f"agent {name!r} has two tools of one name")
        self.fast_path = fast_path
        if fast_path and (len(own), len(self.toolsets), len(hands_off_to)) != (1, 0, 0):
            raise BadDefinition(f"agent {name!r}: the fast path is for an agent with one tool, and nothing else")
        if fast_path and output is not None:
            raise BadDefinition(f"agent {name!r}: on the fast path the answer is what the tool gives, of no shape")
        self._specs = [_spec(one) for one in self.tools.values()] + [_hand_off(one) for one in hands_off_to]
        self._hooks = Hooks(hooks)
        self.memory = memory
        self.slots = tuple(slots)
        self.middleware = tuple(middleware)
        locked = [self._locked(one) for one in own if isinstance(one, Tool) and one.lock]
        self.companions = (*locked, session, router, *(() if memory is None else MEMORY))

    @property
    def hooks(self) -> Hooks:
        """Those of the installed plugins, and its own behind them."""
        return self._hooks.after(installed(self.name))

    async def specs(self) -> list[ToolSpec]:
        """What its model is told of its tools. Raises what the listing of a tool set fails with."""
        found = list(self._specs)
        for one in self.toolsets:
            found += await one.specs()
        return found

    def tool(self, name: str) -> Tool | Hosted | Agent | MemoryTool | None:
        """What it may call under that name."""
        known = self.tools.get(name)
        return known or next((found for one in self.toolsets if (found := one.find(name)) is not None), None)

    def _locked(self, tool: Tool) -> Locked:
        tool.locked = tool.locked or Locked(tool)
        tool.locked.of(self.name, lambda: self.hooks)
        return tool.locked

    async def _answer(self, ctx: Workflow, task: Task) -> Answer:
        """Answers a message."""
        return await AgentRun(self, ctx, task).through()


def _spec(one: Tool | Hosted | Agent | MemoryTool) -> ToolSpec:
    if not isinstance(one, Agent):
        return one.spec
    parameters = {"type": "object", "properties": {"request": {"type": "string"}}, "required": ["request"]}
    return ToolSpec(one.name, f"Asks the agent {one.name}: {one.instructions}", parameters)


def _hand_off(agent: Agent) -> ToolSpec:
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    text = f"Hands the conversation over to {agent.name}: {agent.instructions}"
    return ToolSpec(HAND_OFF + agent.name, text, nothing)
