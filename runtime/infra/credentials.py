"""The random passwords of one data directory, made once and kept beside the data they open."""

import os
import secrets
from pathlib import Path

import msgspec

USER = "troupe"
SUPERUSER = "postgres"


class Credentials(msgspec.Struct, frozen=True):
    """Passwords of 32 hexadecimal digits: nothing in them needs quoting in a URL, in SQL or in NATS's configuration.

    Both servers know the user `troupe`. Postgres also has its superuser `postgres`, for a person with psql.
    """

    nats_password: str
    postgres_password: str
    postgres_superuser_password: str

    @classmethod
    def load_or_create(cls, path: Path) -> "Credentials":
        """Read the file, or write it with new passwords, readable by its owner only. Callers exclude each other."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            created = cls(secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(16))
            write_private(path, msgspec.json.format(msgspec.json.encode(created)))
            return created


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as one step, on disk when this returns, readable by its owner only."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
