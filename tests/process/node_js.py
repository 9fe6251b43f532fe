"""Clients of Node.js, with the package `mqtt`: one process of it, moved by lines of JSON (node_client/client.mjs)."""

from __future__ import annotations

import base64
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0  # that anything may take on a busy machine
SCRIPT = Path(__file__).resolve().parent / "node_client" / "client.mjs"
INSTALLED = Path(sys.prefix) / "node"  # where `make tools` puts the package
OLDEST = 16  # version of Node.js that the package runs on


def lacking() -> str:
    """What is missing, or nothing."""
    program = shutil.which("node") or shutil.which("nodejs")
    if program is None:
        return "Node.js is missing (Debian: nodejs)"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=SECONDS).stdout.strip()
    if not told.startswith("v") or int(told[1:].split(".")[0]) < OLDEST:
        return f"Node.js is {told}, the package mqtt needs {OLDEST} or newer"
    if not (INSTALLED / "node_modules" / "mqtt").is_dir():
        return "the npm package mqtt is not installed (make tools; Debian: npm)"
    return ""


LACKING = lacking()
needs_node_js = pytest.mark.skipif(bool(LACKING), reason=LACKING)


class Refused(Exception):
    """What the package gives as an error, with its code."""

    def __init__(self, text: str, code: Any) -> None:
        super().__init__(text)
        self.code = code


class NodeJs:
    """The process; its clients are known by name."""

    def __init__(self, log: Path) -> None:
        program = shutil.which("node") or shutil.which("nodejs")
        assert program
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [program, str(SCRIPT), str(INSTALLED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._numbers = count(1)
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._events: dict[tuple[str, str], queue.Queue[dict[str, Any]]] = defaultdict(queue.Queue)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def start(self, client: str, do: str, **how: Any) -> int:
        """Ask for something; gives the number under which the answer comes."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "client": client, "do": do, **how}, default=_packed)
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return number

    def answer(self, number: int) -> Any:
        """What came of it. Raises `Refused` if it is an error."""
        end = time.monotonic() + SECONDS
        with self._changed:
            while number not in self._answers:
                left = end - time.monotonic()
                assert left > 0 and self._process.poll() is None, f"no answer; {self.log.read_text()[-2000:]}"
                self._changed.wait(min(left, 1))
            told = self._answers.pop(number)
        if "failed" in told:
            raise Refused(told["failed"], told.get("code"))
        return told["done"]

    def do(self, client: str, do: str, **how: Any) -> Any:
        """Both."""
        return self.answer(self.start(client, do, **how))

    def event(self, client: str, kind: str) -> dict[str, Any]:
        """The next event of a client of that kind."""
        with self._changed:
            events = self._events[client, kind]
        return events.get(timeout=SECONDS)

    def messages(self, client: str, number: int) -> list[dict[str, Any]]:
        """So many messages."""
        return [self.event(client, "message") for _ in range(number)]

    def waiting(self, client: str) -> int:
        """Messages that came and were not asked for."""
        with self._changed:
            return self._events[client, "message"].qsize()

    def close(self) -> None:
        """End of input ends it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(SECONDS) == 0
        self._thread.join(SECONDS)
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line, object_hook=_unpacked)
            with self._changed:
                if "id" in told:
                    self._answers[told["id"]] = told
                else:
                    self._events[told["client"], told["event"]].put(told)
                self._changed.notify_all()


def _packed(what: object) -> dict[str, str]:
    assert isinstance(what, bytes), what
    return {"base64": base64.b64encode(what).decode()}


def _unpacked(what: dict[str, Any]) -> Any:
    return base64.b64decode(what["base64"]) if what.keys() == {"base64"} else what
