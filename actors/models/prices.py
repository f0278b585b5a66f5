"""What models cost, by the list that litellm brings along; reading it does not import litellm."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

LIST = "model_prices_and_context_window_backup.json"


class Price(Struct):
    """US dollars a token."""

    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None


@cache
def price_of(model: str) -> Price | None:
    """The price of a model by its name, with its provider or without; None when it is not in the list."""
    found = find_spec("litellm")
    for directory in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(directory) / LIST
        if path.exists():
            # Not kept: it has some four thousand entries, and a fleet asks for few.
            prices = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
            entry = prices.get(model) or prices.get(model.partition("/")[2])
            return None if entry is None else msgspec.json.decode(entry, type=Price)
    return None


def cost_usd(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
    """What so many tokens cost; None for a model of which no price is known."""
    price = price_of(model)
    if price is None or price.input_cost_per_token is None or price.output_cost_per_token is None:
        return None
    return prompt_tokens * price.input_cost_per_token + completion_tokens * price.output_cost_per_token
