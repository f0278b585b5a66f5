"""Runs a document as its reader would: commands in order, files written, output compared with what is printed there.

    ```python            the first line `# bank.py` names the file it is written to; `# bank.py, continued` adds to it
    ```bash              runs in a shell that goes on from block to block, as one terminal does
    ```bash background   runs in a terminal of its own, until `<!-- Ctrl-C -->`
    ```text              what the block above prints; `…` stands for anything in a line
    ```text background   lines that the other terminal shows since it was last looked at, in any order
    <!-- not run: why -->   leaves the next block out; one without a language is a drawing

Nothing else differs from what a reader does, except that port 8080 becomes a free one, and that the servers' data and
the files lie in a directory of the test's own.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.system import ROOT

TIMEOUT_S = 60.0
_FENCE = re.compile(r"^```(\w+)?(?: (background))?$")
_NOT_RUN = re.compile(r"^<!-- not run: .+ -->$")
_INTERRUPT = "<!-- Ctrl-C -->"
_FILE = re.compile(r"^# ([\w.]+\.py)(, continued)?$")


class Block(NamedTuple):
    """One block of a document, and the line on which it begins. `kind` is a language, or `interrupt`."""

    kind: str
    background: bool
    text: str
    line: int


class Mismatch(AssertionError):
    """What a document says is not what happens."""


def blocks_of(document: str) -> Iterator[Block]:
    """The blocks that are run, in order."""
    lines = enumerate(document.splitlines(), 1)
    left_out = False
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            if line == _INTERRUPT:
                yield Block("interrupt", False, "", number)
            left_out = left_out or _NOT_RUN.match(line) is not None
            continue
        body: list[str] = []
        for _, inner in lines:
            if inner == "```":
                break
            body.append(inner)
        if not left_out and fence[1] is not None:
            yield Block(fence[1], fence[2] is not None, "\n".join(body), number)
        left_out = False


class Terminal:
    """A shell that stops at the first command that fails."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._blocks = directory / ".blocks"
        self._blocks.mkdir()
        self._number = 0
        self._process = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.directory = directory

    def run(self, command: str) -> str:
        """What a block prints. Raises Mismatch when one of its commands fails, or does not end."""
        self._number += 1
        block = self._blocks / str(self._number)
        block.write_text(command + "\n")
        end = f"--- end of block {self._number} "
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # What a block prints last may lack its line break.
        command_line = f"source {shlex.quote(str(block))} </dev/null; printf '\\n%s%s\\n' {shlex.quote(end)} \"$PWD\"\n"
        self._process.stdin.write(command_line.encode())
        self._process.stdin.flush()
        printed: list[str] = []
        late = threading.Timer(TIMEOUT_S, self._kill)
        late.start()
        try:
            for raw in self._process.stdout:
                line = raw.decode().rstrip("\n")
                if line.startswith(end):
                    self.directory = Path(line.removeprefix(end))
                    return "\n".join(printed).rstrip("\n")
                printed.append(line)
        finally:
            late.cancel()
        raise Mismatch("it failed, or did not end:\n" + "\n".join([command, *printed]))

    def close(self) -> None:
        """Ends the shell and what runs in it."""
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Background:
    """A command in a terminal of its own."""

    def __init__(self, command: str, directory: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._seen = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def printed(self) -> str:
        """All that it has printed so far."""
        return "\n".join(self._lines)

    def await_lines(self, expected: str) -> None:
        """Waits until it has printed all these lines since the last look."""
        end = time.monotonic() + TIMEOUT_S
        wanted = [pattern_of(line) for line in expected.splitlines()]
        while True:
            # Its output ends later than the process: look once more when there is nothing left to read.
            over = not self._reader.is_alive() or time.monotonic() > end
            places = [self._place(pattern) for pattern in wanted]
            if None not in places:
                break
            if over:
                raise Mismatch(f"it should have printed\n{expected}\nand printed\n{self.printed}")
            time.sleep(0.05)
        self._seen = 1 + max(place for place in places if place is not None)

    def interrupt(self) -> None:
        """Ctrl-C. Raises Mismatch unless the command ends in order."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(TIMEOUT_S)
        self._reader.join()
        if code != 0:
            raise Mismatch(f"it ended with exit code {code} after Ctrl-C")

    def close(self) -> None:
        """Ends it, in whatever way is needed."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()

    def _place(self, pattern: re.Pattern[str]) -> int | None:
        new = range(self._seen, len(self._lines))
        return next((place for place in new if pattern.match(self._lines[place])), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for raw in stream:
                self._lines.append(raw.decode().rstrip("\n"))


def walk_through(document: Path, directory: Path, port: int) -> None:
    """Does what the document says. Raises Mismatch naming the line at which it does not come true."""
    environment = _environment(directory) | {"RUNTIME_GATEWAY_PORT": str(port)}
    text = document.read_text().replace("8080", str(port))
    work = directory / "work"
    work.mkdir()
    terminal, background = Terminal(work, environment), None
    printed = ""
    try:
        for block in blocks_of(text):
            with _placed(document, block, background):
                if block.kind == "python":
                    _write(block.text, terminal.directory)
                elif block.kind == "bash" and block.background:
                    background = Background(block.text, terminal.directory, environment)
                elif block.kind == "bash":
                    printed = terminal.run(block.text)
                elif block.kind == "text" and block.background:
                    assert background is not None, "no background command runs"
                    background.await_lines(block.text)
                elif block.kind == "text":
                    compare(block.text, printed)
                elif block.kind == "interrupt":
                    assert background is not None, "no background command runs"
                    background.interrupt()
                else:
                    raise Mismatch("a block is python, bash or text, or begins with <!-- not run: why -->")
    finally:
        terminal.close()
        if background is not None:
            background.close()


def compare(expected: str, printed: str) -> None:
    """Raises Mismatch unless these lines were printed."""
    wanted, found = expected.splitlines(), printed.splitlines()
    if len(wanted) != len(found) or not all(
        pattern_of(line).match(other) for line, other in zip(wanted, found, strict=True)
    ):
        raise Mismatch(f"it should print\n{expected}\nand prints\n{printed}")


def pattern_of(line: str) -> re.Pattern[str]:
    """The pattern of an expected line. White space at its ends and how much of it there is do not count."""
    words = [".*".join(map(re.escape, word.split("…"))) for word in line.split()]
    return re.compile(r"\s*" + r"\s+".join(words) + r"\s*\Z")


@contextmanager
def _placed(document: Path, block: Block, background: Background | None) -> Iterator[None]:
    try:
        yield
    except (Mismatch, AssertionError) as error:
        beside = "" if background is None else f"\nin the other terminal:\n{background.printed}"
        raise Mismatch(f"{document.name}, line {block.line}: {error}{beside}") from error


def _write(text: str, directory: Path) -> None:
    head, _, rest = text.partition("\n")
    named = _FILE.match(head)
    if named is None:
        raise Mismatch("the first line of a Python block names its file: `# bank.py`")
    with (directory / named[1]).open("a" if named[2] else "w") as file:
        file.write(f"{rest if named[2] else text}\n")


def _environment(directory: Path) -> dict[str, str]:
    """A reader's environment: this Python, this checkout's `runtime`, a home of its own, and no servers named."""
    programs = directory / "bin"
    programs.mkdir()
    for name, arguments in (("runtime", "-P -m runtime"), ("pytest", "-m pytest -p no:cacheprovider"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        program.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    return own | {
        "PATH": f"{programs}{os.pathsep}{own['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state"),
    }
