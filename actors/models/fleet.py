"""The fleet: which model does what. One YAML file, and what overrides it.

    fleet:
      classify:
        model: offline
      generate:
        model: anthropic/claude-sonnet-4-5
        fallbacks: [openai/gpt-4o-mini, offline]
        timeout_s: 60
        routing: {model: openai/gpt-4o-mini, up_to_tokens: 500}
      extract:
        model: openai/qwen2.5
        api_base: http://127.0.0.1:11434/v1
        api_key_env: OLLAMA_KEY
      embed:
        model: openai/text-embedding-3-small

A slot that is not named is served by `generate`, and where nothing is named by the model that is built in. What is said
for one application goes before the file, and what is said for one request before both: field by field. `embed`, which
makes vectors of texts, is no slot: where it is not named there are no vectors.

Routing by cost is a stated rule: a request without tools and with a prompt of at most `up_to_tokens` tokens goes to the
cheap model first, and to the slot's own when that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from actors.models.model import Target
from actors.models.wire import ModelRequest
from runtime.errors import Misconfigured

Slot = Literal["classify", "extract", "verify", "summarize", "generate", "tool_call"]
SLOTS: tuple[Slot, ...] = get_args(Slot)

EMBED = "embed"
"""Names, beside the slots, the model that makes vectors of texts. Without it there are none."""

OFFLINE = "offline"
"""The name of the model that is built in."""

CHARACTERS_A_TOKEN = 4
"""As a rule of thumb for Latin scripts: routing needs no more than the order of magnitude."""

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Routing(Struct, frozen=True, forbid_unknown_fields=True):
    """The cheap model, and up to how many tokens of prompt it is asked first."""

    model: str
    up_to_tokens: Annotated[int, msgspec.Meta(gt=0)] = 500


class SlotSettings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is said of a slot at one level; what is not said is left to the level below."""

    model: str | UnsetType = UNSET
    fallbacks: tuple[str, ...] | UnsetType = UNSET
    timeout_s: Seconds | UnsetType = UNSET
    api_base: str | UnsetType | None = UNSET
    api_key_env: str | UnsetType | None = UNSET
    routing: Routing | UnsetType | None = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class _File(Struct, forbid_unknown_fields=True):
    fleet: dict[str, SlotSettings] = {}


Overrides = Mapping[str, SlotSettings]
"""By slot."""


class Fleet:
    """The models of one application. `file` and `application` are levels of it, the latter before the former."""

    def __init__(self, file: Overrides | None = None, application: Overrides | None = None) -> None:
        given = {"fleet": file or {}, "the application's fleet": application or {}}
        self._levels = [_checked(_without_embed(level), what) for what, level in given.items()]
        self.embed = next((level[EMBED] for level in reversed(list(given.values())) if EMBED in level), None)
        """What is said of the model that makes vectors; None when there is none."""

    @classmethod
    def load(cls, path: Path, application: Overrides | None = None) -> Fleet:
        """The fleet of a YAML file. Raises Misconfigured, which names the file and the place in it."""
        try:
            file = msgspec.yaml.decode(path.read_bytes(), type=_File)
        except OSError as error:
            raise Misconfigured(f"the fleet cannot be read: {error}") from error
        except msgspec.MsgspecError as error:
            raise Misconfigured(f"{path}: {error}; its slots are {', '.join(SLOTS)}") from error
        try:
            return cls(file.fleet, application)
        except Misconfigured as error:
            raise Misconfigured(f"{path}: {error}") from error

    def settings(self, slot: Slot, request: SlotSettings | None = None) -> SlotSettings:
        """What holds for a slot, every field of it, over all levels; `request` is the last one."""
        said: dict[str, Any] = {
            "model": OFFLINE, "fallbacks": (), "timeout_s": 60.0, "api_base": None, "api_key_env": None,
            "routing": None, "options": {},
        }  # fmt: skip
        levels = [level[name] for level in self._levels if (name := self._serving(level, slot)) is not None]
        for settings in (*levels, *([request] if request is not None else ())):
            fields = {name: getattr(settings, name) for name in SlotSettings.__struct_fields__}
            given = {name: value for name, value in fields.items() if value is not UNSET}
            if "model" in given:
                # Where a model is, and what is behind it, is said together with it.
                said |= {"api_base": None, "api_key_env": None, "routing": None, "fallbacks": (), "options": {}}
            said |= given
        return SlotSettings(**said)

    def targets(self, slot: Slot, request: ModelRequest, override: SlotSettings | None = None) -> list[Target]:
        """Whom to ask for a request, in order."""
        said = self.settings(slot, override)
        assert said.model is not UNSET
        assert said.fallbacks is not UNSET
        names = [said.model, *said.fallbacks]
        routing = said.routing
        if isinstance(routing, Routing) and not request.tools and tokens_of(request) <= routing.up_to_tokens:
            names.insert(0, routing.model)
        return [self._target(name, said) for name in dict.fromkeys(names)]

    @staticmethod
    def _serving(level: Overrides, slot: Slot) -> str | None:
        return slot if slot in level else "generate" if "generate" in level else None

    @staticmethod
    def _target(name: str, said: SlotSettings) -> Target:
        assert said.timeout_s is not UNSET
        if name != said.model:  # the endpoint is the slot's own model's
            return Target(name, timeout_s=said.timeout_s)
        options = {} if said.options is UNSET else said.options
        base, key = said.api_base, said.api_key_env
        return Target(
            name, None if base is UNSET else base, None if key is UNSET else key, said.timeout_s, options
        )


def tokens_of(request: ModelRequest) -> int:
    """About how many tokens a request's prompt has."""
    return sum(len(message.content) for message in request.messages) // CHARACTERS_A_TOKEN


def _without_embed(level: Overrides) -> Overrides:
    return {slot: settings for slot, settings in level.items() if slot != EMBED}


def _checked(level: Overrides, what: str) -> Overrides:
    for slot, settings in level.items():
        if slot not in SLOTS:
            raise Misconfigured(f"{what} has no slot {slot!r}: its slots are {', '.join(SLOTS)}")
        for name in (settings.model, *(settings.fallbacks or ())):
            if name is not UNSET and not name:
                raise Misconfigured(f"slot {slot!r} of {what} names an empty model")
    return level
