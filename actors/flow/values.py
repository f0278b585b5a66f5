"""What a task is called with: JSON in which texts that begin with "$" stand for values of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class NoSuchValue(LookupError):
    """A reference names a place that is not there."""


def references(template: Any) -> Iterator[str]:
    """Every reference in a template, in order."""
    if isinstance(template, str):
        if template.startswith("$") and not template.startswith("$$"):
            yield template
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from references(value)
    elif isinstance(template, (list, tuple)):
        for value in template:
            yield from references(value)


def filled(template: Any, input: Any, results: Mapping[str, Any]) -> Any:
    """The template with its references' values. Raises NoSuchValue naming the reference."""
    if isinstance(template, str):
        if template.startswith("$$"):
            return template[1:]
        return _value(template, input, results) if template.startswith("$") else template
    if isinstance(template, Mapping):
        return {name: filled(value, input, results) for name, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [filled(value, input, results) for value in template]
    return template


def _value(reference: str, input: Any, results: Mapping[str, Any]) -> Any:
    root, _, rest = reference.partition(".")
    if root == "$input":
        return _within(input, rest, reference)
    # A step's name may hold dots: the longest that fits is meant.
    for name in sorted(results, key=len, reverse=True):
        if rest == name or rest.startswith(f"{name}."):
            return _within(results[name], rest[len(name) + 1 :], reference)
    raise NoSuchValue(f"{reference}: there is no result of that name; there are {', '.join(sorted(results)) or 'none'}")


def _within(value: Any, path: str, reference: str) -> Any:
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise NoSuchValue(f"{reference}: there is no {part!r} in a {type(value).__name__}")
    return value
