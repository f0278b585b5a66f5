"""Nobody is elected: locks last for a transaction or a job, and what must run once belongs to a lane's owner."""

from __future__ import annotations

import re

from tests.support.system import ROOT

LOCKS = re.compile(r"pg_(?:try_)?advisory_\w+|flock\(|create_key_value")
MAY = {
    "runtime/postgres/migrate.py",
    "runtime/postgres/registration.py",
    "runtime/postgres/groups.py",
    "runtime/postgres/archive.sql",
}
"""Where a migration, a registration or a promotion keeps others out while its transaction lasts; and where an archiving
spares others the same work, which the transaction that deletes the rows, and no lock, keeps from being done twice."""


def test_given_the_product_then_its_only_locks_are_those_of_transactions_and_of_files() -> None:
    found = {}
    for room in ("runtime", "actors", "gateway", "schemas"):
        for path in [path for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".sql")]:
            if locks := set(LOCKS.findall(path.read_text(encoding="utf-8"))):
                found[str(path.relative_to(ROOT))] = locks
    files = {path: locks for path, locks in found.items() if path.startswith("runtime/infra/")}
    assert all(locks == {"flock("} for locks in files.values()), files
    assert found.keys() - files.keys() == MAY
    assert {lock for path in MAY for lock in found[path]} <= {
        "pg_advisory_xact_lock", "pg_advisory_lock", "pg_try_advisory_lock", "pg_advisory_unlock",
    }  # fmt: skip
