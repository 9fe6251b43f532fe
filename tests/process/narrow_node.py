"""A node with little room and a database that may be slow: `narrow_node.py <python> -m anylog.cli run ...`.

While the file ANYLOG_TEST_SLOW exists its databases write that many bytes of readings a second, as the file says.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anylog.network.broker
import anylog.node
import anylog.processes.intake
from anylog.databases.library import STANDARD, Library

TANK, HELD, SEGMENT, JOURNAL = 1 << 20, 2 << 20, 1 << 20, 8 << 20  # bytes


class Slow:
    """A connection that takes its time."""

    def __init__(self, inner: Any, slow: Path) -> None:
        self.inner, self.slow = inner, slow

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Do it, in as many seconds as its bytes need."""
        size = sum(len(each) for each in parameters if isinstance(each, str | bytes)) if parameters else 0
        if size > 1000 and "insert into" in statement:
            begin = time.monotonic()
            while (rate := self.rate()) and time.monotonic() - begin < size / rate:
                time.sleep(0.01)
        return self.inner.execute(statement, parameters)

    def rate(self) -> float:
        """Bytes a second; 0 once nothing is slow any more, which may be at any moment."""
        try:
            return float(self.slow.read_text() or "1")
        except FileNotFoundError:
            return 0.0

    def interrupt(self) -> None:
        """Pass it on."""
        self.inner.interrupt()

    def close(self) -> None:
        """Pass it on."""
        self.inner.close()


def narrow() -> None:
    """Before anything of it is made."""
    slow = Path(os.environ["ANYLOG_TEST_SLOW"])
    engine = Library(lambda path, readonly: Slow(STANDARD.connect(path, readonly), slow), STANDARD.faults)
    given: dict[str, Any] = anylog.node.Node.__init__.__kwdefaults__
    given.update(engine=engine, segment_size=SEGMENT, journal_size=JOURNAL)
    anylog.network.broker.Broker.__init__.__kwdefaults__["held"] = HELD
    anylog.processes.intake.IN_MEMORY = TANK


if __name__ == "__main__":
    narrow()
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
