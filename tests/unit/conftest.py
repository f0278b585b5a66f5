"""Unit tests: real objects, no server. Domains are small, so that every off-by-one is met."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=100)
settings.load_profile("unit")
