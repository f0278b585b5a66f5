"""The example bank: its own tests, and the same actors in a real pod."""

from __future__ import annotations

import subprocess
import sys

import pytest

from examples.bank import Deposit, Hold, Transfer, Withdraw, account, customer, interest
from runtime import Rejected
from tests.support.system import ROOT, System, run, until


def test_given_the_banks_own_tests_then_they_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/bank_test.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_given_the_bank_in_a_pod_then_money_moves_is_held_and_comes_free_again(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(account, customer, interest), system.client() as client:
            await client.ask(account, "alice", Deposit(1000))
            await client.ask(account, "alice", Transfer("bob", 400))

            async def balance_of_bob() -> int:
                found: int = await client.query(account, "bob", "balance", type=int)
                return found

            assert await until(balance_of_bob) == 400
            await client.ask(account, "alice", Hold("settled", 100))
            await client.ask(account, "alice", "settle", {"payment": "settled"})
            await client.ask(account, "alice", Hold("forgotten", 500, seconds=0.2))
            with pytest.raises(Rejected) as refused:
                await client.ask(account, "bob", Withdraw(500))
            assert refused.value.details == {"available": 400}

            async def free() -> bool:
                found: int = await client.query(account, "alice", "available", type=int)
                return found == 500

            await until(free)
            assert await client.ask(customer, "ann", "open_account", {"name": "alice"}) == ["alice"]
            assert await client.query(customer, "ann", "profile") == {"accounts": ["alice"]}
            assert await client.ask(interest, "any", "run", {"balance": 10_000, "percent": 2.0, "days": 365}) == 200

    run(scenario())
    events = system.sql("SELECT type FROM log WHERE kind = 'account' AND key = 'alice' ORDER BY seq")
    happened = ["Deposited", "Withdrawn", "Held", "Released", "Withdrawn", "Held", "Released"]
    assert [name for (name,) in events] == happened
