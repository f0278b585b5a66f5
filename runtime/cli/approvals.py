"""`runtime approvals`: what runs wait for a person to decide."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.moments import shown
from runtime.cli.options import AsJson, DataDir, Tenant, TimeoutS, examples
from runtime.cli.output import as_text, print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from schemas.approvals import Outcome

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval's id, as `runtime approvals list` shows it.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; kept in the log.")]
Principal = Annotated[
    str | None, typer.Option("--principal", help="Who decides; believed with RUNTIME_SIGNING_KEY, which pods share.")
]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role of who decides; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    approvals = typer.Typer(help="What waits for a person to decide.", no_args_is_help=True, rich_markup_mode=None)
    for command, *lines in (
        (up, "runtime approvals up"),
        (list_, "runtime approvals list", "runtime approvals list --role manager"),
        (show, "runtime approvals show 5d41402abc4b2a76"),
        (approve, "runtime approvals approve 5d41402abc4b2a76 --principal ann --role manager"),
        (reject, 'runtime approvals reject 5d41402abc4b2a76 --principal ann --comment "too much"'),
    ):
        approvals.command(command.__name__.rstrip("_"), epilog=examples(*lines))(command)
    app.add_typer(approvals, name="approvals")


def up(
    pods: Annotated[int, typer.Option("--pods", min=1, max=64, help="How many pods, each a process.")] = 1,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run pods that serve approvals, here, until Ctrl-C or SIGTERM, in a group of their own.

    Any pod serves them that is given the module actors.approvals: then this is not needed.
    """
    from runtime.cli.formation import Formation
    from schemas.approvals import MODULE

    formation = Formation(data, as_json=as_json)
    formation.add_pods(pods, "approvals", [MODULE], "approvals")
    formation.run()


def list_(
    role: Annotated[str | None, typer.Option("--role", help="Only those that this role may decide.")] = None,
    after: Annotated[str, typer.Option("--after", help="Begin behind this id.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = 100,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person."""
    page = Reach(data, tenant, timeout_s).run(
        lambda client: client.approvals.list(role=role, after=after, limit=limit, timeout_s=timeout_s)
    )
    if as_json:
        print_json(page)
        return
    rows = [
        (one.id, one.name, f"{one.kind}/{one.key}", ", ".join(one.roles) or "anybody", shown(one.requested_at),
         shown(one.expires_at))
        for one in page.approvals
    ]  # fmt: skip
    print_table(("ID", "WHAT", "RUN", "DECIDED BY", "SINCE", "UNTIL"), rows, empty="nothing waits for a person")
    if page.after is not None:
        print_line(f"there are more: --after {page.after}")


def show(
    id: Id, tenant: Tenant = None, data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show what is asked, who may decide, and what came of it."""
    found = Reach(data, tenant, timeout_s).run(lambda client: client.approvals.describe(id, timeout_s=timeout_s))
    if as_json:
        print_json(found)
        return
    run = found.spec.run
    print_line(f"{found.id}: {found.spec.name}, asked by {run.kind}/{run.key} at {shown(found.requested_at)}")
    print_line(f"decided by: {', '.join(found.roles) or 'anybody'}{' (escalated)' if found.escalated else ''}")
    print_line(f"until: {shown(found.expires_at)}")
    print_line(_told(found.outcome))
    print_line(as_text(found.spec.payload))


def approve(
    id: Id,
    comment: Comment = "",
    principal: Principal = None,
    role: Roles = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Approve. The same again is answered as the first time."""
    _decide(id, True, comment, principal, role, Reach(data, tenant, timeout_s), as_json)


def reject(
    id: Id,
    comment: Comment = "",
    principal: Principal = None,
    role: Roles = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Reject. The same again is answered as the first time."""
    _decide(id, False, comment, principal, role, Reach(data, tenant, timeout_s), as_json)


def _decide(
    id: str, approve: bool, comment: str, principal: str | None, roles: list[str] | None, reach: Reach, as_json: bool
) -> None:
    from runtime.errors import Misconfigured
    from schemas.signature import check_secret

    secret = os.environ.get("RUNTIME_SIGNING_KEY")
    if roles and principal is None:
        raise Misconfigured("--role says what somebody is: say who with --principal")
    if roles and not secret:
        raise Misconfigured("nobody believes --role without a signature: set RUNTIME_SIGNING_KEY, as the pods have it")
    try:
        key = check_secret(secret) if secret else None
    except ValueError as error:
        raise Misconfigured(f"RUNTIME_SIGNING_KEY: {error}") from error
    reach = reach._replace(signing_key=key)
    outcome = reach.run(
        lambda client: client.approvals.decide(
            id,
            approve=approve,
            comment=comment,
            principal=principal,
            roles=tuple(roles or ()),
            timeout_s=reach.timeout_s,
        )
    )
    if as_json:
        print_json(outcome)
    else:
        print_line(f"{id}: {_told(outcome)}")


def _told(outcome: Outcome) -> str:
    by = f" by {outcome.by}" if outcome.by else ""
    return f"{outcome.status}{by}{f': {outcome.comment}' if outcome.comment else ''}"

