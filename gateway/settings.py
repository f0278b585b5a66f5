"""How a gateway is configured: by argument, else by environment, else by default."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import Misconfigured
from schemas.signature import check_secret

_VARIABLES = {
    "host": "RUNTIME_GATEWAY_HOST",
    "port": "RUNTIME_GATEWAY_PORT",
    "nats_url": "RUNTIME_NATS_URL",
    "keys_file": "RUNTIME_API_KEYS_FILE",
    "signing_key": "RUNTIME_SIGNING_KEY",
    "max_body_bytes": "RUNTIME_MAX_BODY_BYTES",
    "heartbeat_s": "RUNTIME_STREAM_HEARTBEAT_S",
    "stall_s": "RUNTIME_STREAM_STALL_S",
    "grace_s": "RUNTIME_GRACE_S",
    "playground": "RUNTIME_PLAYGROUND",
}


@dataclasses.dataclass(frozen=True, slots=True)
class GatewaySettings:
    """A gateway's settings.

    Attributes:
        host: the address to listen on (RUNTIME_GATEWAY_HOST); anything but loopback needs a keys file.
        port: the port (RUNTIME_GATEWAY_PORT); 0 takes a free one.
        nats_url: the broker (RUNTIME_NATS_URL).
        keys_file: the API keys (RUNTIME_API_KEYS_FILE), see gateway.keys; None lets everybody on this machine in.
        signing_key: proves principals to pods (RUNTIME_SIGNING_KEY), see schemas.signature.
        max_body_bytes: the largest request body (RUNTIME_MAX_BODY_BYTES).
        heartbeat_s: seconds between signs of life on a quiet stream (RUNTIME_STREAM_HEARTBEAT_S).
        stall_s: seconds after which a reader that takes nothing is dropped (RUNTIME_STREAM_STALL_S).
        grace_s: seconds for requests in flight after SIGTERM (RUNTIME_GRACE_S).
        playground: whether there is a page to try things in, at /playground (RUNTIME_PLAYGROUND: 0 or 1).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    nats_url: str = "nats://127.0.0.1:4222"
    keys_file: Path | None = None
    signing_key: bytes | None = None
    max_body_bytes: int = 8 * 1024 * 1024
    heartbeat_s: float = 15.0
    stall_s: float = 30.0
    grace_s: float = 10.0
    playground: bool = False

    def __post_init__(self) -> None:
        """Raises Misconfigured."""
        if self.keys_file is None and not is_loopback(self.host):
            raise Misconfigured(
                f"the gateway would let everybody who reaches {self.host} in: set RUNTIME_API_KEYS_FILE to a file of "
                "API keys, or listen on 127.0.0.1"
            )
        for name in ("max_body_bytes", "heartbeat_s", "stall_s", "grace_s"):
            if getattr(self, name) <= 0:
                raise Misconfigured(f"{_VARIABLES[name]} is {getattr(self, name)}: it must be above 0")
        if not 0 <= self.port < 65_536:
            raise Misconfigured(f"port {self.port} does not exist: use 0 (a free one) to 65535")


def from_environment(environment: Mapping[str, str] | None = None, **given: Any) -> GatewaySettings:
    """Settings from arguments (those that are not None), the environment and the defaults. Raises Misconfigured."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, variable in _VARIABLES.items():
        text = environment.get(variable)
        if name not in values and text:
            try:
                values[name] = _convert(name, text)
            except ValueError as error:
                raise Misconfigured(f"{variable}: {error}") from error
    return GatewaySettings(**values)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _convert(name: str, text: str) -> Any:
    if name == "keys_file":
        return Path(text)
    if name == "signing_key":
        return check_secret(text)
    if name == "playground":
        return _convert_switch(text)
    if name in ("port", "max_body_bytes"):
        return int(text)
    return float(text) if name.endswith("_s") else text


def _convert_switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{text!r} is neither 0 nor 1")
    return text == "1"
