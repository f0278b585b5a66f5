"""Workers: the six things that capabilities have models do, each by its slot of the fleet.

Each call is a step of the run: after a crash what was answered is not paid for again. What is to have a shape is asked
for by its schema, and an answer that does not fit goes back to the model with what is wrong, TRIES times in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from actors.agents.output import DoesNotFit, Output, mend
from actors.agents.run import MODEL_TRIES, AgentRun
from actors.capabilities import offline
from actors.models.current import models
from actors.models.fleet import OFFLINE, Slot
from actors.models.wire import Message, ModelRequest, Usage
from actors.router.choosing import Choice, choose
from actors.router.lexical import Profile
from actors.sessions.session import Answer, Task
from runtime import Rejected, Workflow
from runtime.arguments import encode_json, json_decoder
from runtime.errors import BadResult

if TYPE_CHECKING:
    from actors.capabilities.capability import Capability

T = TypeVar("T")

TRIES = 3


class Verdict(Struct, frozen=True):
    """Whether a claim holds by what is known, and what speaks against it."""

    holds: bool
    problems: tuple[str, ...] = ()


class _Worked(Struct, frozen=True, omit_defaults=True):
    """What a worker's step results in."""

    value: Any = None
    model: str = OFFLINE
    problem: str = ""
    usage: Usage = Usage()


class Workers:
    """The workers of one run. `ctx` is the run itself, for all else that it does."""

    def __init__(self, capability: Capability, ctx: Workflow, task: Task) -> None:
        self.ctx = ctx
        self.task = task
        self.messages: list[Message] = []
        """What the run adds to the conversation, beside its answer: tool calls and their results."""
        self._capability = capability
        self._calls = 0
        self._called_tools = False

    async def classify(self, text: str, labels: Sequence[str] | Mapping[str, str]) -> Choice:
        """Which of these labels a text is about, with how sure that is; labels may have descriptions."""
        told = labels if isinstance(labels, Mapping) else dict.fromkeys(labels, "")
        profiles = [Profile(name, description) for name, description in told.items()]

        async def choosing(_: int) -> Choice:
            return await choose(profiles, text)

        self._needs("classify")
        found: Choice = await self.ctx.step("classify", choosing, self._number(), returns=Choice, retry=MODEL_TRIES)
        return found

    async def extract(self, text: str, type: type[T], *, instructions: str = "") -> T:
        """What a text says, in the shape `type`: a msgspec Struct, a dataclass, a pydantic model."""
        wanted = f"Extract what the text says, and nothing that it does not say. {instructions}".strip()
        return await self._shaped("extract", wanted, text, type)

    async def verify(self, claim: Any, against: str) -> Verdict:
        """Whether a claim (a text, or anything with a JSON form) holds by what `against` says."""
        said = claim if isinstance(claim, str) else encode_json(claim).decode()
        wanted = "Say whether the claim holds by the text alone; name all in it that the text contradicts or lacks."

        def rule() -> Verdict:
            wrong = offline.missing(claim if isinstance(claim, str) else msgspec.json.decode(said), against)
            return Verdict(not wrong, tuple(f"{one} is not in the text" for one in wrong))

        return await self._shaped("verify", wanted, f"Claim: {said}\n\nText: {against}", Verdict, rule)

    async def summarize(self, text: str, *, words: int = 100) -> str:
        """A text in at most so many words, about."""
        wanted = f"Summarise the text in at most {words} words."
        return await self._text("summarize", wanted, text, lambda: offline.summary(text, words))

    async def generate(self, text: str, *, instructions: str = "") -> str:
        """What a model writes when it is told this."""
        return await self._text("generate", instructions, text)

    async def tool_call(self, text: str | None = None) -> Answer:
        """What comes of a model that works with the capability's tools; by default on the message itself."""
        self._needs("tool_call")
        task = self.task if text is None else Task("", 0, text)
        if self._called_tools:  # its steps and idempotency keys are told apart by their place in one loop
            raise BadResult(f"capability {self._capability.name!r}: tool_call is for once in a run; it loops by itself")
        self._called_tools = True
        answer = await AgentRun(self._capability.caller, self.ctx, task).through()
        self.messages += answer.messages[:-1]
        return answer

    async def _shaped(
        self, slot: Slot, wanted: str, text: str, type: type[T], rule: Callable[[], T] | None = None
    ) -> T:
        shape = Output(self._capability.name, type)

        async def ask(_: int) -> _Worked:
            if rule is not None and self._is_offline(slot):
                return _Worked(msgspec.json.decode(encode_json(rule())))
            request = self._request(wanted, text, shape.schema)
            usage, problem, model = Usage(), "", OFFLINE
            for _ in range(TRIES):
                answer = await models().complete(slot, request)
                usage, model = usage + answer.usage, answer.model
                try:
                    return _Worked(shape.read(answer.message.content), model, "", usage)
                except DoesNotFit as error:
                    problem = str(error)
                    more = (*request.messages, answer.message, mend(error))
                    request = msgspec.structs.replace(request, messages=more)
            return _Worked(model=model, problem=problem, usage=usage)

        found = await self._worked(slot, ask)
        if found.problem:
            raise Rejected(
                f"worker {slot} of capability {self._capability.name!r}: model {found.model!r} gave no answer that "
                f"fits in {TRIES} tries: {found.problem}"
            )
        value: T = json_decoder(type).decode(encode_json(found.value))
        return value

    async def _text(self, slot: Slot, wanted: str, text: str, rule: Callable[[], str] | None = None) -> str:
        async def ask(_: int) -> _Worked:
            if rule is not None and self._is_offline(slot):
                return _Worked(rule())
            answer = await models().complete(slot, self._request(wanted, text))
            return _Worked(answer.message.content, answer.model, "", answer.usage)

        return str((await self._worked(slot, ask)).value)

    async def _worked(self, slot: Slot, ask: Callable[[int], Any]) -> _Worked:
        self._needs(slot)
        found: _Worked = await self.ctx.step(slot, ask, self._number(), returns=_Worked, retry=MODEL_TRIES)
        return found

    def _request(self, wanted: str, text: str, schema: dict[str, Any] | None = None) -> ModelRequest:
        system = "\n\n".join(part for part in (self._capability.instructions, wanted) if part)
        said = Message("user", text)
        return ModelRequest((Message("system", system), said) if system else (said,), json_schema=schema)

    def _needs(self, slot: Slot) -> None:
        if slot not in self._capability.workers:
            known = ", ".join(self._capability.workers)
            raise BadResult(f"capability {self._capability.name!r} has no worker {slot!r}: add it; it has {known}")

    def _number(self) -> int:
        """What tells a call from others of the run."""
        self._calls += 1
        return self._calls

    @staticmethod
    def _is_offline(slot: Slot) -> bool:
        return models().fleet.settings(slot).model == OFFLINE
