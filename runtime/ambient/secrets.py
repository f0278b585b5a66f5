"""Secrets: where they come from, and that they reach no log, journal, dead letter, trace or answer.

    key = ctx.secrets["stripe"]                  # a handle, which can be passed to a step
    provider = Provider(key.reveal())            # the text, within a step, a function or an async handler

By default a secret is the environment variable RUNTIME_SECRET_STRIPE, or the file `stripe` in RUNTIME_SECRETS_DIR (as
orchestrators mount them); a tenant's own is RUNTIME_SECRET_ACME__STRIPE, or the file `acme/stripe`, and goes first.
`use` sets another source.

What was revealed is known from then on: what a handler returns, records, publishes or sends is refused if it holds the
text, and in errors, log lines and spans it is replaced. A text that was changed (encoded, cut) is not recognised.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NoReturn, Protocol

from runtime import pace
from runtime.errors import BadResult, TroupeError

SHORTEST = 8
"""Characters; a shorter text cannot be told from other texts, so it is no secret."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")


class MissingSecret(TroupeError):
    """There is no such secret, or it is none. Tried again by the handler's policy: it may be put there meanwhile."""


class SecretSource(Protocol):
    """Where secrets come from."""

    def get(self, tenant: str, name: str) -> str | None:
        """The secret of that name for a tenant; None when there is none. May be called from any thread."""


class Environment:
    """Variables and mounted files of this process; see the module."""

    def get(self, tenant: str, name: str) -> str | None:
        """See SecretSource."""
        directory = os.environ.get("RUNTIME_SECRETS_DIR")
        for variable, path in ((f"{tenant}__{name}", (tenant, name)), (name, (name,))):
            value = os.environ.get(f"RUNTIME_SECRET_{re.sub('[^A-Za-z0-9]', '_', variable).upper()}")
            if value is not None:
                return value
            if directory:
                try:
                    return Path(directory, *path).read_text().rstrip("\r\n")
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    continue
        return None


_source: SecretSource = Environment()


def use(source: SecretSource) -> None:
    """Takes secrets from elsewhere from now on, in this process."""
    global _source
    _source = source


class Secret:
    """A secret that is not revealed yet; shown, compared in a journal and refused in JSON by its name alone."""

    __slots__ = ("_tenant", "name")

    def __init__(self, tenant: str, name: str) -> None:
        self._tenant = tenant
        self.name = name

    def reveal(self) -> str:
        """The text. Raises MissingSecret, and in a workflow's own code NotDurable: reveal it in a step."""
        pace.forbid(f"reveal the secret {self.name!r}", "pass it to a step, and reveal it there")
        value = _source.get(self._tenant, self.name)
        if value is None:
            variable = re.sub("[^A-Za-z0-9]", "_", self.name).upper()
            raise MissingSecret(
                f"there is no secret {self.name!r} for tenant {self._tenant!r}: set RUNTIME_SECRET_{variable}, or put "
                "a file of that name into RUNTIME_SECRETS_DIR"
            )
        if len(value) < SHORTEST:
            raise MissingSecret(
                f"secret {self.name!r} has fewer than {SHORTEST} characters: it could not be told from other texts"
            )
        guard.learn(self.name, value)
        return value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise BadResult(f"secret {self.name!r} stays in its process: pass its name")


class Secrets:
    """Those of one tenant."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def __getitem__(self, name: str) -> Secret:
        """The secret of that name. Raises BadResult for what cannot name one."""
        if not _NAME.match(name):
            raise BadResult(f"a secret's name is 1 to 100 letters, digits and _ . -, which {name[:80]!r} is not")
        return Secret(self._tenant, name)


class Guard:
    """The secrets that were revealed in this process, and looking for them in what goes out."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._bytes: dict[bytes, str] = {}
        self.knows = False
        """Whether there is anything to look for."""

    def learn(self, name: str, value: str) -> None:
        """From now on `value` is the secret `name`."""
        if value in self._texts:
            return
        forms = _forms(value)
        self._bytes = {**self._bytes, **{form.encode("utf-8", "surrogatepass"): name for form in forms}}
        # The longest first: one may be a part of another.
        texts = {**self._texts, **dict.fromkeys(forms, name)}
        self.knows = True
        self._texts = dict(sorted(texts.items(), key=lambda item: -len(item[0])))

    def checked(self, encoded: bytes, what: str) -> bytes:
        """What a handler gives away, as JSON. Raises BadResult when it holds a secret."""
        for secret, name in self._bytes.items():
            if secret in encoded:
                raise BadResult(f"{what} holds the secret {name!r}: it must not be recorded, sent or answered")
        return encoded

    def redacted(self, text: str) -> str:
        """`text` with the names of secrets in place of them."""
        for secret, name in self._texts.items():
            if secret in text:
                text = text.replace(secret, f"[secret {name}]")
        return text


def _forms(value: str) -> list[str]:
    """How a text is shown, as it is or within a literal of Python's or JSON, and how that is shown within JSON.

    They differ for what has line breaks (a key in PEM), quotes or accents.
    """
    in_bytes = repr(value.encode("utf-8", "surrogatepass"))[2:-1]
    shown = {value, repr(value)[1:-1], ascii(value)[1:-1], in_bytes, json.dumps(value)[1:-1], _in_json(value)}
    return sorted(shown | {_in_json(form) for form in shown})


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


guard = Guard()
