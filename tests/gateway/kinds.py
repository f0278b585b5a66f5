"""What the gateway's tests need beside the common kinds: large arguments, and who asked."""

from __future__ import annotations

from runtime.keyvalue import KeyValue, keyvalue

note = keyvalue("note")


@note.write
def write(ctx: KeyValue, text: str) -> int:
    """Keeps a text's length, and gives it."""
    ctx.set("length", len(text))
    return len(text)


@note.write
def sign(ctx: KeyValue) -> str | None:
    """Gives who asked, as far as that was proved."""
    ctx.set("by", ctx.turn.principal)
    return ctx.turn.principal


@note.write
def roles(ctx: KeyValue) -> list[str]:
    """Gives the roles of who asked, as far as they were proved."""
    return list(ctx.turn.roles)
