"""litellm, imported by what forks the pods of a test that asks models: it takes seconds in each of them."""

from actors.models.reached import load

load()
