"""Steps that are completed from outside: the step hands out a token, and whoever has it says what came of it.

    async def order_taxi(address: str, token: str) -> None:
        await dispatcher.post("/rides", {"to": address, "callback": f"https://…/tokens/{token}/complete"})

    ride = await ctx.external("taxi", order_taxi, "Elm 3", returns=Ride, timeout_s=3600)

Handing it out is a step, and what came of it a message in the log: both outlive every crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from schemas.address import Address
from schemas.tokens import SIGNAL_PREFIX, new_token

if TYPE_CHECKING:
    from runtime.mail import Mail

NO_SECRET = b"the secret of a world without servers"


class Tokens:
    """Those of one attempt at a run, which makes the same ones on every attempt.

    Args:
        run: the command's id; `generation` counts how often it has continued as new.
        secret: the log's own.
    """

    def __init__(self, address: Address, run: str, secret: bytes = NO_SECRET, generation: int = 0) -> None:
        self._address = address
        self._run = run
        self._secret = secret
        self._generation = generation
        self._made: Counter[str] = Counter()

    async def external(
        self,
        step: Callable[..., Awaitable[Any]],
        mail: Mail,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        timeout_s: float | None,
    ) -> Any:
        """Hands out a token by the step `name`, taken through `step`, and waits for what comes of it."""
        occurrence = self._made[name]
        self._made[name] += 1
        which = f"{self._run}/{self._generation}/{occurrence}/{name}"
        label = blake2b(which.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        token = str(new_token(self._secret, self._address, self._run, label))
        # Bound to it, and no argument: a fork of the run, whose tokens are others, compares arguments.
        await step(name, partial(fn, token=token), *args, **kwargs)
        return await mail.completion(SIGNAL_PREFIX + label, name, returns, timeout_s)
