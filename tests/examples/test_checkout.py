"""The example checkout: its own tests, and the same workflow in a real pod."""

from __future__ import annotations

import subprocess
import sys

from examples.checkout import Order, Receipt, checkout, stock
from tests.support.system import ROOT, System, run, until

PUBLISHED = "SELECT payload->>'result' FROM log WHERE payload->>'step' = '$publish status' ORDER BY seq"


def test_given_the_examples_own_tests_then_they_pass() -> None:
    files = ["examples/checkout_test.py", "examples/workflows_test.py", "examples/agents_test.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_given_the_checkout_in_a_pod_then_it_waits_for_the_packer_and_gives_a_receipt(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(checkout, stock), system.client() as client:
            order = Order("book", 12, "4242")
            begun = await client.submit(checkout, "order-17", "run", order)

            await until(lambda: system.sql(PUBLISHED) == [("reserved",), ("paid",)])
            assert await client.query(checkout, "order-17", "status") == "paid"
            await (await client.workflow(checkout, "order-17")).signal("packed", True)
            receipt = await begun.result(Receipt, timeout_s=60)
            assert receipt.parcel == "parcel-order-17-book"
            assert await client.query(checkout, "order-17", "status") == "completed"

    run(scenario())
