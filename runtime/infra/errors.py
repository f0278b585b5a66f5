"""What can go wrong with the servers, split by what the caller can do about it.

InfraError                        (a TroupeError)
├── IncompleteConfiguration       one of the two URLs is set: set both, or neither
├── PackageMissing                the embedded servers are not installed: install the extra, or set both URLs
├── ServerFailed                  a server did not start or did not end; the message quotes its log
├── AlreadyOwned                  another process holds the servers of this data directory: attach to it
├── NotRunning                    nobody holds the servers of this data directory
└── NotPermitted                  this user may not do what running Postgres needs
"""

from runtime.errors import TroupeError

URLS = "RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL"


class InfraError(TroupeError):
    """The servers of this process cannot be had."""


class IncompleteConfiguration(InfraError):
    """Only one of the two URLs is set."""


class PackageMissing(InfraError):
    """A package that carries an embedded server is not installed."""


class ServerFailed(InfraError):
    """A server did not start, or did not end, in time."""


class AlreadyOwned(InfraError):
    """Another live process owns the servers of this data directory."""


class NotPermitted(InfraError):
    """The operating system refused something that running Postgres needs."""
