"""Recommended models, as data with its source and date, and what becomes of a fleet's file when they are applied."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from actors.models.fleet import SLOTS, Fleet, Slot
from runtime.errors import Misconfigured

FILE = Path(__file__).with_name("recommendations.yaml")

Strategy = Literal["best", "budget", "local"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Recommendations(Struct, frozen=True, forbid_unknown_fields=True):
    """Slot → strategy → model, who says so, and when."""

    source: str
    date: datetime.date
    names: str
    slots: dict[Slot, dict[Strategy, str]]


@cache
def recommendations() -> Recommendations:
    """Those that are built in."""
    return msgspec.yaml.decode(FILE.read_bytes(), type=Recommendations)


def apply(path: Path, strategy: Strategy) -> dict[Slot, str]:
    """Writes the recommended models into a fleet's file, which is made when there is none; gives them by slot.

    Of a slot only what belongs to its model changes (where it is, and what is behind it): all else in the file is kept,
    in its order; comments are not. Raises Misconfigured for a file that is no fleet, or cannot be written.
    """
    document: dict[str, Any] = {}
    if path.exists():
        Fleet.load(path)
        document = msgspec.yaml.decode(path.read_bytes()) or {}
    models = {slot: by_strategy[strategy] for slot, by_strategy in recommendations().slots.items()}
    slots: dict[str, Any] = document.setdefault("fleet", {})
    for slot in SLOTS:
        settings = slots.setdefault(slot, {})
        if settings.get("model") != models[slot]:
            for name in ("api_base", "api_key_env", "options"):
                settings.pop(name, None)
            settings["model"] = models[slot]
    try:
        path.write_bytes(msgspec.yaml.encode(document))
    except OSError as error:
        raise Misconfigured(f"the fleet cannot be written: {error}") from error
    return models
