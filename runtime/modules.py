"""Finding the kinds that a user's modules define."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from runtime.errors import Misconfigured
from runtime.kind import Kind

OWN_PACKAGES = ("runtime", "actors", "gateway", "schemas")


def load_kinds(modules: Sequence[str], directory: Path | None = None) -> list[Kind]:
    """The kinds in these modules, in order, each once.

    Raises Misconfigured as `load_modules` does, and for a module that defines nothing.
    """
    kinds: list[Kind] = []
    for name, module in zip(modules, load_modules(modules, directory), strict=True):
        found = [value for value in vars(module).values() if isinstance(value, Kind)]
        if not found:
            raise Misconfigured(f"module {name!r} defines no entity, key-value entity or function: nothing to run")
        kinds += [kind for kind in found if kind not in kinds]
    return kinds


def load_modules(modules: Sequence[str], directory: Path | None = None) -> list[ModuleType]:
    """These modules (`shop.orders`, or a path `shop/orders.py`), imported.

    `directory` (the current one by default) is where modules are looked for first. Raises Misconfigured when a module
    is missing, cannot be imported, or has the name of one of Troupe's own packages.
    """
    base = (directory or Path.cwd()).resolve()
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    return [_import(_dotted(name), base) for name in modules]


def _dotted(name: str) -> str:
    path = name.removesuffix(".py")
    return path.replace("/", ".").strip(".") if name.endswith(".py") or "/" in name else name


def _import(name: str, base: Path) -> ModuleType:
    root = name.partition(".")[0]
    if root in OWN_PACKAGES and ((base / f"{root}.py").exists() or _is_users(base / root)):
        raise Misconfigured(
            f"module {name!r} in {base} has the name of Troupe's own package {root!r}, so Python would find one and "
            f"hide the other: rename yours, for example to 'my_{root}'"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name or name.startswith(f"{error.name}."):
            raise Misconfigured(f"there is no module {name!r} in {base} nor among the installed packages") from error
        raise Misconfigured(f"module {name!r} cannot be imported: {error}") from error
    except Exception as error:
        raise Misconfigured(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _is_users(directory: Path) -> bool:
    """Whether this directory is a package of the user's, and not Troupe's own source tree."""
    # Where Python would find the package says nothing: before the first import it finds the user's.
    own = Path(__file__).resolve().parents[1] / directory.name
    return directory.is_dir() and any(directory.glob("*.py")) and directory != own
