"""`anylog cli` on a real terminal (a pty), with a real node."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 20, 90
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[^\[\]])")


class Person:
    """Somebody before a terminal: types keys, reads what is shown."""

    def __init__(self, home: Path, *words: str, environ: dict[str, str] | None = None) -> None:
        self.place, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        wanted = {"HOME": str(home), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, *words],
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            env={**os.environ, **wanted, **(environ or {})},
        )
        os.close(there)
        self.seen = ""
        self.read = 0

    def type(self, keys: str) -> None:
        os.write(self.place, keys.encode())

    def sees(self, wanted: str, seconds: float = 60) -> str:
        """Wait until it is shown, after what was seen last; gives what was shown up to there."""
        until = time.monotonic() + seconds
        while True:
            found = re.search(wanted, self.seen[self.read :])
            if found:
                shown = self.seen[self.read : self.read + found.end()]
                self.read += found.end()
                return shown
            left = until - time.monotonic()
            assert left > 0, f"waited for {wanted!r}, saw {self.seen[self.read :]!r}"
            if select.select([self.place], [], [], left)[0]:
                try:
                    told = os.read(self.place, 1 << 16)
                except OSError:  # the other side is closed
                    told = b""
                if not told:
                    until = 0.0
                self.seen += _ESCAPE.sub("", told.decode(errors="replace")).replace("\r", "")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.place)


# The terminal becomes the one that Ctrl-C comes from.
STARTER = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from anylog.cli import main
main(["cli", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    made = NodeProcess()
    made.start()
    yield made
    made.remove()


@pytest.fixture
def sit(node: NodeProcess, tmp_path: Path) -> Iterator[type[Person]]:
    people: list[Person] = []

    def down(*words: str, environ: dict[str, str] | None = None) -> Person:
        people.append(Person(tmp_path, *words, f"127.0.0.1:{node.port}", environ=environ))
        people[-1].sees("AL >")
        return people[-1]

    yield down  # type: ignore[misc]
    for person in people:
        person.close()


def test_a_visit(sit: type[Person], tmp_path: Path) -> None:
    """Greeting, completion, an answer, an error, a block, the name in the prompt, history, and goodbye."""
    person = sit()  # type: ignore[call-arg]
    person.type("get statu\t")
    person.sees("\x08s")  # the one letter that is missing
    person.type("\r")
    person.sees("running")
    person.sees("AL >")
    person.type("nosuch\r")
    person.sees(r"\|Unrecognized Command: 'nosuch'\|")
    person.sees("AL >")
    person.type("<print\r")
    person.type("hello\r")
    person.type("world>\r")
    person.sees("\n\nhello world\n")
    person.type("set node name north\r")
    person.sees("AL north >")
    person.type("set password = hush\r")
    person.sees("AL north >")
    person.type("\x1b[A")
    person.sees(r"set.?password.?=.?\*\*\*\*")
    person.type("\x03")
    person.sees("AL north >")
    person.type("\x1b[200~print pasted\ttab & print two\x1b[201~\r")
    person.sees("two\n")
    person.sees("AL north >")
    person.type('set node name ""\r')
    person.sees("AL >")
    person.type("\x04")
    assert person.process.wait(60) == 0
    kept = (tmp_path / ".anylog_history").read_text()
    assert "get status\n" in kept and "<print hello world>\n" in kept and "hush" not in kept
    again = sit()  # type: ignore[call-arg]
    again.type("\x1b[A")
    again.sees("set.?node.?name")
    again.type("\x03")


def test_interrupt(sit: type[Person], node: NodeProcess) -> None:
    """Ctrl-C gives a question up, and the prompt is back at once."""
    person = sit()  # type: ignore[call-arg]
    person.type("wait 60\r")
    person.sees("wait.?60")
    until = time.monotonic() + 20
    while b"[0, 0, 0, 1, 1]" not in node.command("get rest pool"):  # that question, and this one
        assert time.monotonic() < until
        time.sleep(0.05)
    person.type("\x03")
    person.sees("Interrupted", 20)
    person.sees("AL >", 20)
    person.type("print back\r")
    person.sees("\nback\n")


def test_paged(sit: type[Person], node: NodeProcess) -> None:
    """Longer than the screen: a pager, ours where there is no other; it takes what it is asked for and no more."""
    person = sit(environ={"PATH": "/nowhere"})  # type: ignore[call-arg]
    person.type("help\r")
    person.sees("-- more")
    person.type("q")
    person.sees("AL >")
    rows = [{"timestamp": f"2026-01-01 00:00:{n % 60:02}.{n:06}", "n": n, "filler": "x" * 500} for n in range(5000)]
    status, _ = node.request("PUT", "/", json.dumps(rows), type="json", dbms="town", table="big", mode="streaming")
    assert status == 200
    until = time.monotonic() + 60
    while node.count("big") < 5000 and time.monotonic() < until:
        time.sleep(0.05)
    asked = 'sql town "select n, filler from big"\r'
    person.type(asked)
    person.sees("-- more")
    person.type(" ")
    person.sees("-- more")
    person.type("q")
    person.sees("AL >")
    other = sit(environ={"PAGER": "head -3 | cut -c 1-40"})  # type: ignore[call-arg]
    other.type(asked)
    other.sees("filler")
    other.sees("AL >")
    plain = sit("--no-pager", environ={"PATH": "/nowhere"})  # type: ignore[call-arg]
    plain.type("help\r")
    plain.sees("wait .seconds.")
    plain.sees("AL >")
