"""Programs of the operating system that a node starts, within limits of time and of output (language.md 9.5).

A node is handed `Programs`; nobody else starts a process. Each program has a process group of its own, and is ended
with everything that it has begun itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import DelayedCall

OUTPUT = 1 << 20  # bytes of output and errors together that are kept; more ends the program
AT_ONCE = 20  # programs that somebody waits for
DETACHED = 100  # that nobody waits for
SHELL = "/bin/sh"
# Where there is no `setsid` program: the same, said in Python.
_OWN_GROUP = (sys.executable, "-I", "-S", "-c", "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])")


class Programs:
    """What one node has started."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._running: set[_Heard] = set()
        self._detached: set[_Unheard] = set()
        found = shutil.which("setsid")
        self._begin: Sequence[str] = (found,) if found else _OWN_GROUP

    def run(self, line: str, environ: Mapping[str, str], seconds: float) -> Deferred[str]:
        """What a shell line writes. Cancelling it ends the program.

        Fails with AnyLogError 61 for what it writes to its errors, for more than `OUTPUT`, and if it cannot be started;
        with 26 after so many seconds; with 108 if too many run.
        """
        if len(self._running) >= AT_ONCE:
            raise AnyLogError(108, f"system: {AT_ONCE} programs run already")
        heard = _Heard(line, seconds, self._reactor, self._running.discard)
        self._running.add(heard)
        self._spawn(heard, (SHELL, "-c", line), environ, {0: "w", 1: "r", 2: "r"})
        return heard.ended

    def start(self, words: Sequence[str], environ: Mapping[str, str]) -> int:
        """Begin a program that nobody hears and nobody waits for; gives its process id. AnyLogError 61 or 108."""
        if len(self._detached) >= DETACHED:
            raise AnyLogError(108, f"subprocess: {DETACHED} programs run already")
        if shutil.which(words[0]) is None:
            raise AnyLogError(61, f"subprocess: '{words[0]}' is no program that can be run")
        unheard = _Unheard(self._detached.discard)
        self._detached.add(unheard)
        with Path(os.devnull).open("r+b") as nothing:
            place = nothing.fileno()
            self._spawn(unheard, words, environ, {0: place, 1: place, 2: place})
        return unheard.pid

    def stop(self) -> None:
        """End those that somebody waits for; the others are on their own."""
        for heard in list(self._running):
            heard.end(AnyLogError(506, "the node stops"))

    def stacks(self) -> dict[str, list[str]]:
        """Where each thread of this process is at the moment: lines `file:number function`, the innermost last."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        found = {}
        for ident, frame in sys._current_frames().items():
            lines = traceback.extract_stack(frame)
            found[names.get(ident, str(ident))] = [
                f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in lines
            ]
        return found

    def _spawn(
        self, protocol: ProcessProtocol, words: Sequence[str], environ: Mapping[str, str], files: Mapping[int, Any]
    ) -> Any:
        words = [*self._begin, *words]
        try:
            return self._reactor.spawnProcess(
                protocol, words[0], [os.fsencode(word) for word in words], env=dict(environ), childFDs=dict(files)
            )
        except (OSError, ValueError) as why:
            protocol.processEnded(Failure(why))
            raise AnyLogError(61, f"'{words[-1][:80]}' cannot be started: {why}") from None


class _Heard(ProcessProtocol):
    """A program whose output is gathered."""

    def __init__(self, line: str, seconds: float, reactor: Any, left: Any) -> None:
        self.ended: Deferred[str] = Deferred(lambda _: self.end(None))
        self._line, self._seconds, self._left = line, seconds, left
        self._parts: dict[int, list[bytes]] = {1: [], 2: []}
        self._size = 0
        self._group = 0
        self._reason: AnyLogError | None = None
        self._late: DelayedCall = reactor.callLater(seconds, self._expire)

    def connectionMade(self) -> None:
        """Called by Twisted: it runs."""
        transport: Any = self.transport
        self._group = transport.pid
        transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Called by Twisted."""
        self._size += len(data)
        if self._size <= OUTPUT:
            self._parts[childFD].append(data)
        else:
            self.end(AnyLogError(61, f"system: more than {OUTPUT >> 20} MB of output: {self._line[:200]}"))

    def _expire(self) -> None:
        self.end(AnyLogError(26, f"system: not done after {self._seconds:g} seconds: {self._line[:200]}"))

    def end(self, reason: AnyLogError | None) -> None:
        """End it with all that it has begun; who waits hears of it when it is gone."""
        self._reason = self._reason or reason
        if self._group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
            transport: Any = self.transport
            if transport is not None and transport.pid is not None:
                # Not yet the leader of a group of its own.
                with suppress(Exception):
                    transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        """Called by Twisted: it is gone, and nobody holds its output any more."""
        self._left(self)
        if self._late.active():
            self._late.cancel()
        if self.ended.called:
            return
        said, wrong = (b"".join(self._parts[place]).decode("utf-8", "replace") for place in (1, 2))
        if self._reason is not None:
            self.ended.errback(self._reason)
        elif wrong.strip():
            self.ended.errback(AnyLogError(61, f"system: {wrong.strip()[:500]}"))
        else:
            self.ended.callback(said)


class _Unheard(ProcessProtocol):
    """A program that is on its own."""

    def __init__(self, left: Any) -> None:
        self._left = left
        self.pid = 0

    def connectionMade(self) -> None:
        """Called by Twisted: it runs. A moment later it may be gone, and then nobody knows what its id was."""
        transport: Any = self.transport
        self.pid = int(transport.pid)

    def processEnded(self, reason: Failure) -> None:
        """Called by Twisted."""
        self._left(self)
