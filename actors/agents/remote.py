"""What tools have in common that somebody else describes: their names, their arguments, the secrets they need."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import msgspec
from referencing import Registry
from referencing.exceptions import Unresolvable

from actors.agents.tools import BadCall
from runtime.ambient.secrets import Secrets
from runtime.errors import Rejected

MAX_NAME = 64
"""Characters of a tool's name that models take."""

MAX_TELL = 2000
"""Characters of somebody else's error that a model is told."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_SECRET = re.compile(r"\$\{([^}]*)\}")


class ToolFailed(Rejected):
    """What was called says that it failed: the model is told, and nothing is tried again."""


def exposed(server: str, name: str) -> str:
    """The name under which a model knows a tool of a server."""
    return f"{server}__{_NOT_IN_NAMES.sub('_', name)}"[:MAX_NAME]


def decoded(name: str, arguments: str) -> dict[str, Any]:
    """A model's arguments. Raises BadCall when they are no JSON object."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadCall(f"the arguments of {name} are no JSON object: {error}") from error


def check(name: str, schema: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises BadCall, which names the place, when arguments do not fit a JSON Schema. Nothing is fetched for it."""
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        error = jsonschema.exceptions.best_match(validator(schema, registry=Registry()).iter_errors(given))
    except (jsonschema.SchemaError, Unresolvable, RecursionError) as wrong:
        raise ToolFailed(f"the schema of {name} cannot be used: {wrong}") from wrong
    if error is not None:
        raise BadCall(f"the arguments of {name} do not fit: {error.message[:MAX_TELL]}, at {error.json_path}")


def expanded(text: str, tenant: str) -> str:
    """A text with `${name}` replaced by the secret of that name. Raises MissingSecret."""
    return _SECRET.sub(lambda found: Secrets(tenant)[found.group(1)].reveal(), text)
