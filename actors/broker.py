"""FastStream over this project's own connection, which no subject and no outage can end."""

from __future__ import annotations

import logging
from typing import Any

from faststream.nats import NatsBroker

from runtime.client import Connection, connect


class SturdyBroker(NatsBroker):
    """A FastStream broker that stays connected (runtime.client.connect); it logs what it does at DEBUG."""

    def __init__(self, nats_url: str, name: str, logger: logging.Logger, **options: Any) -> None:
        super().__init__(nats_url.split(","), logger=logger, log_level=logging.DEBUG, **options)
        self._nats_url = nats_url
        self._name = name

    async def _connect(self) -> Connection:
        connection = await connect(self._nats_url, name=self._name)
        self.config.connect(connection)
        return connection
