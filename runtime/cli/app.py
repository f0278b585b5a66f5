"""All commands together. Errors end here: one line on stderr that says what to do, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache

import typer
from typer.main import get_command

from runtime.cli import (
    actors,
    approvals,
    ask,
    capabilities,
    db,
    dead,
    dev,
    fleet,
    gateway,
    groups,
    infra,
    init,
    intake,
    keys,
    log,
    partitions,
    replay,
    runs,
    schedules,
    sessions,
    tenants,
    version,
)
from runtime.cli.exits import ExitCode, exit_code_of, name_of
from runtime.errors import TroupeError

_HELP = """\
Troupe: keyed, event-sourced actors on NATS JetStream and Postgres.

\b
Begin:      runtime init my-project     make a small project
            runtime dev bank            servers, a pod and the gateway in one terminal
            runtime actors call account alice deposit amount=10

\b
Exit codes: 0 it worked · 1 it failed · 2 used or configured wrongly
            3 no such thing · 4 the actor rejected the command
            5 broker, pod or answer not there in time · 130 interrupted
"""

app = typer.Typer(
    name="runtime",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
NOUNS = (
    actors, runs, schedules, sessions, approvals, ask, capabilities, fleet, gateway, intake, log, replay, dead,
    partitions, tenants, groups, db, infra, keys, version, init, dev,
)  # fmt: skip
for noun in NOUNS:
    noun.register(app)


tree = cache(get_command)
"""All commands of an app, ready to run. Making them takes more time than most of them do: once a process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command with these arguments (default: the process's own) and gives its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = tree(app).main(args=words, prog_name="runtime", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except TroupeError as error:
        return _failed(error, as_json="--json" in words)
    except Exception as error:
        if os.environ.get("RUNTIME_DEBUG"):
            raise
        text = f"unexpected {type(error).__name__}: {error}; with RUNTIME_DEBUG=1 it is shown where"
        return _failed(TroupeError(text), as_json="--json" in words)
    return code if isinstance(code, int) else ExitCode.OK


def _misused(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "runtime"
    text = error.format_message()
    if "\n" in text or not text:  # a group without a command: its help is the answer
        sys.stdout.write(text + "\n")
    else:
        sys.stderr.write(f"error: {text.rstrip('.')}: see {path} --help\n")
    return ExitCode.USAGE


def _failed(error: TroupeError, *, as_json: bool) -> int:
    if as_json:
        from runtime.cli.output import as_text

        details = {name: found for name in ("path", "details") if (found := getattr(error, name, None)) is not None}
        message = str(error).removeprefix(f"{name_of(error)}: ")
        text = as_text({"error": {"code": name_of(error), "message": message} | details})
    else:
        path = getattr(error, "path", None)
        reason = "rejected: " if exit_code_of(error) is ExitCode.REJECTED else ""
        text = f"error: {reason}{error}" + (f" (at {path})" if path else "")
    sys.stderr.write(text + "\n")
    return exit_code_of(error)
