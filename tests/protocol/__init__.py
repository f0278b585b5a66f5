"""The wire as others see it: callers with nothing but a NATS client, intents, and what must not be sent."""
