"""The agents under load; sessions are spoken to, and these answer. Their model is in rote.py.

    porter    marks lines outside, has counters add, and hands over to the keeper when it is told to
    keeper    does the same, and hands over to nobody
"""

from __future__ import annotations

import asyncio

from actors.agents import Agent, hosted, tool
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.sessions.session import Answer, Task, session
from runtime import Workflow
from tests.chaos.kinds import counter
from tests.chaos.outside import note
from tests.chaos.rote import ADD, MARK, Rote, model_step

__all__ = ["keeper", "porter", "session"]

TOOL_S = 0.05

_rote = Rote()
_models = using(Caller(Fleet(), lambda _: _rote))
_models.__enter__()  # for as long as the pod is there


class Watched(Agent):
    """An agent that leaves a line when it has its model's last answer."""

    async def _answer(self, ctx: Workflow, task: Task) -> Answer:
        answer = await super()._answer(ctx, task)
        asked = sum(message.role == "assistant" for message in answer.messages)
        note("had", f"{ctx.address.tenant}/{ctx.command_id}", model_step(asked))
        return answer


@tool(name=MARK)
async def mark(command: str, step: str) -> str:
    """Leaves a line outside."""
    note("had", command, model_step(int(step.partition("-")[2].partition(".")[0])))
    note("ran", command, step)
    await asyncio.sleep(TOOL_S)
    return f"marked {step}"


add = hosted(counter, "add", name=ADD)
keeper = Watched("keeper", instructions="You keep.", tools=[mark, add])
porter = Watched("porter", instructions="You carry.", tools=[mark, add], hands_off_to=[keeper])
