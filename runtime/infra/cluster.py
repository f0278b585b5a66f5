"""A new Postgres cluster: initdb, its roles and its database; all of it appears at once, or not at all."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runtime.infra.account import Account, is_known
from runtime.infra.credentials import SUPERUSER, USER, Credentials
from runtime.infra.errors import URLS, NotPermitted, ServerFailed
from runtime.infra.filelock import FileLock
from runtime.infra.packages import PostgresInstall

DATABASE = "troupe"
_TIMEOUT_S = 120.0
_INITDB = (
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=trust",  # of the file it writes, which is replaced before the server first listens
    "--no-instructions",
    "--no-sync",  # everything is synced once, at the end
)
# In the stand-alone server, where no password is needed yet, one statement a line. The extension goes into template1,
# because only a superuser may create it: so it is in our database and in all that are created later.
_SETUP = """\
CREATE EXTENSION vector;
ALTER ROLE {superuser} PASSWORD '{superuser_password}';
CREATE ROLE {user} LOGIN CREATEDB CREATEROLE PASSWORD '{password}';
GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO {user};
CREATE DATABASE {database} OWNER {user};
"""


def create(
    cluster: Path, install: PostgresInstall, account: Account | None, credentials: Credentials, lock: FileLock
) -> None:
    """Make a cluster at `cluster`, whose parent exists. Raises NotPermitted, and ServerFailed with the programs' words.

    It is made beside its place and renamed, so that a cluster that was left half made is never taken for one.
    """
    uid = account.uid if account else os.geteuid()
    if not is_known(uid):
        raise NotPermitted(
            f"user {uid} has no entry in the system's user database (/etc/passwd), and initdb insists on one. "
            f"Add it, run as another user, or set {URLS} to servers of your own."
        )
    scratch = cluster.with_name(f"{cluster.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    if account:
        os.chown(scratch, account.uid, account.gid)
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        where = directory_argument(scratch, handle, account)
        run = _Runner(account, (handle, lock.fd))
        run([str(install.initdb), "-D", where, *_INITDB])
        setup = _SETUP.format(
            superuser=SUPERUSER,
            superuser_password=credentials.postgres_superuser_password,
            user=USER,
            password=credentials.postgres_password,
            database=DATABASE,
        )
        run([str(install.postgres), "--single", "-F", "-D", where, "template1"], setup)
        run([str(install.initdb), "-D", where, "--sync-only"])
    finally:
        os.close(handle)
    scratch.rename(cluster)
    _sync_directory(cluster.parent)


def directory_argument(directory: Path, handle: int, account: Account | None) -> str:
    """How to name the cluster to Postgres: through the open `handle`, if another user is to reach it (see account)."""
    return f"/proc/self/fd/{handle}" if account else str(directory.absolute())


class _Runner:
    def __init__(self, account: Account | None, fds: Sequence[int]) -> None:
        self._account = account
        self._fds = fds

    def __call__(self, argv: list[str], stdin: str = "") -> None:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            pass_fds=self._fds,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=() if self._account else None,
            timeout=_TIMEOUT_S,
            check=False,
        )
        # The stand-alone server goes on after a failed statement, and ends with status 0.
        if done.returncode != 0 or "ERROR:" in done.stdout:
            said = "\n".join(f"  {line}" for line in done.stdout.splitlines() if "PASSWORD" not in line)
            raise ServerFailed(
                f"{Path(argv[0]).name} could not create the database (status {done.returncode}):\n{said}"
            )


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
