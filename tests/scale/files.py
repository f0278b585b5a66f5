"""How many files, and so connections, a process may have open."""

from __future__ import annotations

import resource


class TooFewFiles(Exception):
    """The machine lets a process have fewer open files than a measurement takes."""


def allow(files: int) -> None:
    """Lets this process and those that it starts have so many open files. Raises TooFewFiles."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= files:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
    except (ValueError, OSError) as error:
        raise TooFewFiles(
            f"{files} open files are needed and {hard} are allowed: run it as root, or raise `ulimit -n`"
        ) from error
