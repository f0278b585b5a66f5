"""What a sample counts."""

from __future__ import annotations

import socket
import subprocess
import sys

import psutil

from tests.soak.sample import held

CALLER = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("open", flush=True)
sys.stdin.readline()
connection.close()
print("closed", flush=True)
sys.stdin.readline()
"""


def test_given_a_connection_when_its_caller_has_closed_it_then_it_is_not_the_callers_any_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", CALLER, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
            assert caller.stdin is not None
            assert caller.stdout is not None
            served, _ = server.accept()
            with served:
                ends = psutil.Process(), [psutil.Process(caller.pid)]
                assert caller.stdout.readline() == "open\n"
                assert held(*ends) == 1
                print(file=caller.stdin, flush=True)
                assert caller.stdout.readline() == "closed\n"
                assert held(*ends) == 0, "what is left is the server's own"
            print(file=caller.stdin, flush=True)
