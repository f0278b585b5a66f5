"""Which servers the tests run on, and what they ask of Docker."""

from __future__ import annotations

import pytest

from tests.support.servers import choice, containers

NATS = {"RUNTIME_NATS_URL": "nats://127.0.0.1:4222"}
POSTGRES = {"RUNTIME_POSTGRES_URL": "postgresql://127.0.0.1/troupe"}
CASES: list[tuple[dict[str, str], bool, str]] = [
    ({}, False, "embedded"),
    ({}, True, "containers"),
    (NATS | POSTGRES, False, "given"),
    (NATS | POSTGRES, True, "given"),
    (NATS | POSTGRES | {"RUNTIME_TEST_SERVERS": "embedded"}, True, "embedded"),
    (NATS | POSTGRES | {"RUNTIME_TEST_SERVERS": "containers"}, False, "containers"),
    ({"RUNTIME_TEST_SERVERS": "containers"}, False, "containers"),
    ({"RUNTIME_TEST_SERVERS": "embedded"}, True, "embedded"),
]


@pytest.mark.parametrize(("environment", "docker", "chosen"), CASES)
def test_given_what_is_set_and_whether_docker_answers_when_servers_are_chosen_then_urls_come_first_then_containers(
    environment: dict[str, str], docker: bool, chosen: str
) -> None:
    assert choice(environment, lambda: docker) == chosen


@pytest.mark.parametrize(
    "environment", [NATS, POSTGRES, NATS | {"RUNTIME_TEST_SERVERS": "given"}, {"RUNTIME_TEST_SERVERS": "given"}]
)
def test_given_one_url_without_the_other_when_servers_are_chosen_then_it_is_an_error(
    environment: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match="both URLs"):
        choice(environment, lambda: True)


def test_given_an_unknown_word_when_servers_are_chosen_then_the_error_names_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="given, containers or embedded"):
        choice({"RUNTIME_TEST_SERVERS": "docker"}, lambda: True)


def test_given_urls_when_servers_are_chosen_then_docker_is_not_asked() -> None:
    def asked() -> bool:
        raise AssertionError("a Docker engine that hangs would hold up a run that needs none")

    assert choice(NATS | POSTGRES, asked) == "given"


def test_given_containers_when_they_are_made_then_jetstream_is_on_and_postgres_has_vectors() -> None:
    """testcontainers' own objects, which ask Docker for nothing before they are started."""
    broker, database = containers(version="1.41")  # else the client asks Docker for its version
    assert broker.image.startswith("nats:2.")
    assert broker._command == "-js"
    assert 4222 in {int(str(port).partition("/")[0]) for port in broker.ports}
    name, _, version = database.image.rpartition(":pg")
    assert name.endswith("pgvector/pgvector")
    assert int(version) >= 17, "transaction_timeout came with 17"
    database._configure()
    assert {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"} <= database.env.keys()
    assert database.driver == "", "a plain postgresql:// URL"
