"""The version of this code, in one place."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("troupe")
except PackageNotFoundError:  # run from a checkout that was not installed
    VERSION = "0.0.0"
