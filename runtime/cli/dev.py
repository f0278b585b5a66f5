"""`runtime dev`: servers, a pod and the gateway in one terminal, with new code at each change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.gateway import Host, Port
from runtime.cli.options import AsJson, DataDir, examples
from runtime.errors import Misconfigured

if TYPE_CHECKING:
    from runtime.cli.formation import Formation


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("runtime dev bank", "runtime dev bank --no-gateway --data ./data"))(dev)


def dev(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE", help="Modules that define kinds of actors.")],
    gateway: Annotated[bool, typer.Option("--gateway/--no-gateway", help="Whether to run the HTTP front.")] = True,
    playground: Annotated[
        bool, typer.Option("--playground/--no-playground", help="Whether the front has a page to try things in.")
    ] = True,
    intake: Annotated[bool, typer.Option("--intake/--no-intake", help="Whether to take intents from NATS.")] = False,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="New code at each change of a .py file.")] = True,
    host: Host = None,
    port: Port = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run servers, a pod and the gateway, until Ctrl-C. Its URL, in a browser, is a page to try things in.

    When a Python file in this directory changes, the pod hands over and starts again with the new code; commands wait
    in the broker meanwhile. Code that cannot be loaded is reported, and tried again at the next change.
    """
    from runtime.cli.formation import Formation

    formation = Formation(data, as_json=as_json)
    formation.add_pod("pod", modules, patient=reload)
    if gateway:
        formation.add_gateway(host, port, playground=playground)
    if intake:
        formation.add_intake()
    formation.run(_reloader(formation, Path.cwd()) if reload else None)


def _reloader(formation: Formation, directory: Path) -> Callable[[threading.Event], None]:
    try:
        import watchfiles
    except ModuleNotFoundError as error:
        raise Misconfigured("watching files needs pip install 'troupe[embedded]'; or add --no-reload") from error

    def watch(ended: threading.Event) -> None:
        changes = watchfiles.watch(
            directory, watch_filter=watchfiles.PythonFilter(), stop_event=ended, raise_interrupt=False
        )
        for changed in changes:
            names = ", ".join(sorted({Path(path).name for _, path in changed}))
            formation.say("dev", f"{names} changed: the pod starts again")
            formation.restart_pods()

    return watch
