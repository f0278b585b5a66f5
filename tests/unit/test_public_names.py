"""What `from runtime import …` promises, and how little importing it loads."""

import importlib.metadata
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import runtime
from runtime.errors import TroupeError

ROOT = Path(__file__).parents[2]
PUBLIC = {
    "BadDefinition",
    "CallFailed",
    "Client",
    "Entity",
    "Function",
    "KeyValue",
    "KeyValueEntity",
    "Limits",
    "Misconfigured",
    "NotConnected",
    "Rejected",
    "Retention",
    "Retry",
    "RetryPolicy",
    "Run",
    "RunView",
    "StepFailed",
    "TroupeError",
    "Turn",
    "UnreadableEvent",
    "Workflow",
    "WorkflowKind",
    "World",
    "__version__",
    "entity",
    "function",
    "heartbeat",
    "heartbeat_detail",
    "keyvalue",
    "workflow",
}
HEAVY = [
    "fastapi",
    "faststream",
    "litellm",
    "litestar",
    "nats",
    "opentelemetry",
    "psycopg",
    "pydantic",
    "typer",
    "uvloop",
]


def test_given_the_package_when_its_names_are_listed_then_they_are_these_and_no_others() -> None:
    assert set(runtime.__all__) == PUBLIC
    assert set(dir(runtime)) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_given_a_public_name_when_imported_then_it_is_there_and_documented(name: str) -> None:
    value = getattr(runtime, name)
    assert inspect.getdoc(value)


def test_given_the_public_errors_when_caught_then_all_are_troupe_errors() -> None:
    errors = [
        value for name in PUBLIC if inspect.isclass(value := getattr(runtime, name)) and issubclass(value, Exception)
    ]
    assert len(errors) == 9
    assert all(issubclass(error, TroupeError) for error in errors)


def test_given_a_name_that_is_not_public_when_imported_then_it_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'runtime' has no attribute 'Actor'"):
        _ = runtime.Actor


def test_given_the_version_when_asked_for_then_it_is_the_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    try:
        importlib.metadata.distribution("troupe")
    except importlib.metadata.PackageNotFoundError:
        assert runtime.__version__ == "0.0.0"
    else:
        assert runtime.__version__ == project["version"]


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after this statement."""
    program = (
        f"import sys, json; {statement}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement", ["import runtime", "from runtime import entity, keyvalue, function, Turn, Rejected"]
)
def test_given_a_fresh_interpreter_when_runtime_is_imported_then_nothing_heavy_is_loaded(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


def test_given_a_fresh_interpreter_when_the_world_is_imported_then_no_broker_or_database_is_loaded() -> None:
    assert not loaded_by("from runtime import World") & set(HEAVY)


def test_given_a_fresh_interpreter_when_the_client_is_imported_then_only_the_broker_client_is_loaded() -> None:
    assert loaded_by("from runtime import Client, Run") & set(HEAVY) == {"nats"}


def test_given_a_fresh_interpreter_when_a_websocket_is_used_then_what_it_needs_is_imported() -> None:
    module = "import runtime.client, nats.aio.transport as transport"
    assert "aiohttp" not in loaded_by(module)
    assert "aiohttp" in loaded_by(f"{module}; transport.aiohttp.ClientSession")
