"""The named statements of the .sql files beside this one, read once. `{{name}}` in one stands for another's text."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString, cast

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_REFERENCE = re.compile(r"\{\{(\w+)\}\}")


def _load() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in ("queries.sql", "reading.sql", "groups.sql", "archive.sql", "runs.sql", "index.sql"):
        parts = _SECTION.split(files(__package__).joinpath(file).read_text())
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            assert name not in found, f"two statements are named {name}"
            # The files are part of the package, as trustworthy as literals in the code.
            found[name] = cast("LiteralString", body.strip())
    return found


_QUERIES = _load()


def query(name: str) -> LiteralString:
    """The statement of that name."""
    return _REFERENCE.sub(lambda found: query(found[1]), _QUERIES[name])  # as trustworthy as its parts
