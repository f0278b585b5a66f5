"""Databases for peers on the benchmark's Postgres, and what they hold afterwards."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg

from runtime.infra import Endpoints


def fresh(endpoints: Endpoints, name: str) -> str:
    """The URL of an empty database."""
    with psycopg.connect(endpoints.postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlunsplit(urlsplit(endpoints.postgres_url)._replace(path=f"/{name}"))


def execute(url: str, statement: str) -> None:
    """Runs a statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def one_value(url: str, statement: str) -> int:
    """The one number that a statement gives."""
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])
