"""Whom Postgres runs as. It refuses to run as root, so under root it becomes somebody else.

That user need not be able to walk to the data directory (/root is closed to it): the cluster is opened by root first
and named to Postgres as `/proc/self/fd/N`, which the kernel resolves without the parents' permissions. The programs
themselves must be reachable, since Postgres looks for its libraries by its real path: where they are not (a virtual
environment under /root), they are copied once to a place of the system.
"""

import hashlib
import os
import pwd
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.infra.errors import URLS, NotPermitted
from runtime.infra.packages import PostgresInstall

SYSTEM_DIR = Path("/var/lib/troupe")
_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system."""

    uid: int
    gid: int


def postgres_account(cluster: Path) -> Account | None:
    """Whom to run Postgres as: None for the present user, which is right unless that is root. Raises NotPermitted.

    Under root: the owner of the cluster, else of a directory above it if that is a user known here and not root, else
    `nobody`. (The owner of a directory mounted into a container is often unknown there; initdb insists on a name.)
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise NotPermitted(
            f"Postgres does not run as root. Use an ordinary user, or set {URLS} to servers of your own."
        )
    if (owner := _owner(cluster)) is not None:
        return owner
    above = [
        found for path in (cluster.parent, cluster.parent.parent) if (found := _owner(path)) and is_known(found.uid)
    ]
    return above[0] if above else _nobody()


def is_known(uid: int) -> bool:
    """Whether the system's user database has a name for a user."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def install_for(account: Account | None, install: PostgresInstall, system_dir: Path = SYSTEM_DIR) -> PostgresInstall:
    """The installation itself, or a copy in `system_dir` that the account can reach. Raises NotPermitted."""
    if account is None or _can_reach(account, install):
        return install
    program = install.postgres.stat()
    key = hashlib.sha256(f"{install.root}:{program.st_mtime_ns}:{program.st_size}".encode()).hexdigest()[:16]
    target = system_dir / f"postgres-{key}"
    copy = PostgresInstall(
        target / install.root.parent.name / install.root.name,
        target / install.libraries.name if install.libraries else None,
    )
    if not target.exists():
        try:
            _copy(install, target, copy)
        except OSError as error:
            raise NotPermitted(
                f"Postgres cannot run as root, user {account.uid} cannot reach {install.root}, and copying it "
                f"to {target} failed: {error}. Install troupe[embedded] where every user can read it, "
                f"run as an ordinary user, or set {URLS} to servers of your own."
            ) from error
    return copy


def _owner(path: Path) -> Account | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Account(status.st_uid, status.st_gid) if status.st_uid != 0 else None


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY, _NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def _can_reach(account: Account, install: PostgresInstall) -> bool:
    """By permission bits alone; an access list that says otherwise costs a needless copy, or an error in the log."""
    roots = [install.root / "bin", install.root / "lib", install.root / "share"]
    if install.libraries:
        roots.append(install.libraries)
    walked = {parent for root in roots for parent in (root, *root.parents)}
    return all(_may(account, path, stat.S_IXOTH) for path in walked) and _may(
        account, install.postgres, stat.S_IXOTH | stat.S_IROTH
    )


def _may(account: Account, path: Path, bits_for_others: int) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        wanted = bits_for_others << 6
    elif status.st_gid == account.gid:
        wanted = bits_for_others << 3
    else:
        wanted = bits_for_others
    return status.st_mode & wanted == wanted


def _copy(install: PostgresInstall, target: Path, copy: PostgresInstall) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as scratch:
        work = Path(scratch) / "copy"
        shutil.copytree(install.root, work / copy.root.relative_to(target), ignore=shutil.ignore_patterns("include"))
        if install.libraries and copy.libraries:
            shutil.copytree(install.libraries, work / copy.libraries.relative_to(target))
        for path in (work, *work.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
        try:
            work.rename(target)
        except OSError:
            if not target.exists():  # else another process was first, with the same copy
                raise
