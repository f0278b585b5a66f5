"""Methods of other actors as tools: commands of their own, done once, whatever dies meanwhile."""

from __future__ import annotations

import inspect

from actors.agents.describing import described, plain
from actors.models.wire import ToolSpec
from runtime.errors import BadDefinition
from runtime.kind import Kind


class Hosted:
    """A method of another actor as a tool. Its arguments are the method's, and `key` which actor, unless that is given.

    Made by `hosted`. `reads` for a query, which is answered from what is committed.
    """

    def __init__(self, kind: Kind | str, method: str, spec: ToolSpec, key: str | None, *, reads: bool = False) -> None:
        self.kind = kind
        self.method = method
        self.spec = spec
        self.key = key
        self.name = spec.name
        self.reads = reads


def hosted(
    kind: Kind, method: str, *, key: str | None = None, name: str | None = None, description: str | None = None
) -> Hosted:
    """Another actor's method as a tool.

    A command is that actor's own, done once, whatever dies meanwhile; a query is a step of the agent's run.
    """
    known = kind.methods.get(method)
    if known is None:
        raise BadDefinition(f"kind {kind.name!r} has no method {method!r} to be a tool")
    schema = plain(known.arguments.schema())
    if key is None:
        properties = {"key": {"type": "string", "description": f"which {kind.name}"}, **schema.get("properties", {})}
        schema = schema | {"properties": properties, "required": ["key", *schema.get("required", ())]}
    about, _ = described(inspect.getdoc(known.handler) or "")
    spec = ToolSpec(name or f"{kind.name}_{method}", description if description is not None else about, schema)
    return Hosted(kind, method, spec, key, reads=known.flavor == "query")
