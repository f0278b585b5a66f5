"""What each slot of a fleet resolves to, whether it answers, and what a thousand tokens of it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from actors.models.calling import Caller
from actors.models.current import Reach
from actors.models.fleet import OFFLINE, SLOTS, Fleet, Slot, SlotSettings
from actors.models.model import ModelError, Target
from actors.models.wire import Message, ModelRequest
from runtime.errors import Misconfigured

QUESTION = ModelRequest((Message("user", "Answer with the one word: yes"),), max_tokens=200)
COUNTED_TOKENS = 1000


class Checked(Struct, frozen=True):
    """One model of a slot.

    Attributes:
        place: `primary`, `fallback`, or `cheap` for that of the routing by cost.
        answers: whether it answered a question just now; None when it was not asked.
        problem: why it did not.
        prompt_usd, completion_usd: what a thousand tokens cost; None where nobody knows.
    """

    slot: Slot
    place: str
    model: str
    api_base: str | None
    answers: bool | None
    problem: str
    prompt_usd: float | None
    completion_usd: float | None


async def check(fleet: Fleet, reach: Reach, *, ask: bool = True, timeout_s: float = 60.0) -> list[Checked]:
    """Each model of each slot, in order; the same model at the same place is asked once."""
    rows = [(slot, place, target) for slot in SLOTS for place, target in _models(fleet, slot)]
    # Loading what reaches models takes seconds, which are not the models' own.
    costs = {_identity(target): _costs(reach, target) for _, _, target in rows}
    targets = list({_identity(target): target for _, _, target in rows}.values())
    problems: Sequence[str | None] = [None] * len(targets)
    if ask:
        problems = await asyncio.gather(*[_problem(reach, target, timeout_s) for target in targets])
    found = {_identity(target): problem for target, problem in zip(targets, problems, strict=True)}
    return [
        Checked(
            slot, place, target.model, target.api_base, found[_identity(target)] == "" if ask else None,
            found[_identity(target)] or "", *costs[_identity(target)],
        )
        for slot, place, target in rows
    ]  # fmt: skip


def _models(fleet: Fleet, slot: Slot) -> list[tuple[str, Target]]:
    settings = fleet.settings(slot)
    listed = fleet.targets(slot, QUESTION)
    cheap = getattr(settings.routing, "model", None)
    return [
        ("primary" if one.model == settings.model else "cheap" if one.model == cheap else "fallback", one)
        for one in listed
    ]


def _identity(target: Target) -> tuple[str, str | None, str | None]:
    return target.model, target.api_base, target.api_key_env


async def _problem(reach: Reach, target: Target, timeout_s: float) -> str:
    """Why the model does not answer; nothing when it does."""
    alone = Fleet(
        {
            "generate": SlotSettings(
                model=target.model, timeout_s=min(target.timeout_s, timeout_s), api_base=target.api_base,
                api_key_env=target.api_key_env, options=dict(target.options),
            )
        }
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            await Caller(alone, reach).complete("generate", QUESTION)
    except TimeoutError:
        return f"did not answer within {timeout_s:g} s"
    except (ModelError, Misconfigured) as error:
        failures = getattr(error, "failures", None)
        return str(failures[-1] if failures else error)
    return ""


def _costs(reach: Reach, target: Target) -> tuple[float | None, float | None]:
    if target.model == OFFLINE:
        return 0.0, 0.0
    try:
        priced = reach.others()
    except Misconfigured:
        return None, None
    return priced.cost_usd(target.model, COUNTED_TOKENS, 0), priced.cost_usd(target.model, 0, COUNTED_TOKENS)
