"""A process that does batches of files for a node (see `disk.batch`). Blocking: called in lanes."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import subprocess
import sys
from threading import Lock
from typing import Any

from attrs import define, field

from anylog.disk import batch

_PIPE = 1 << 20  # bytes; F_SETPIPE_SZ of a system may allow less


class Gone(Exception):
    """The process ended before it answered."""


@define(eq=False)
class Worker:
    """One such process."""

    _process: subprocess.Popen[bytes]

    @classmethod
    def started(cls) -> Worker:
        """Raises OSError."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", batch.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C on a console is for the node, which then stops in order
        )
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
        return cls(process)

    def ask(self, asked: tuple[Any, ...]) -> Any:
        """What it answers. Raises Gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        frame = marshal.dumps(asked)
        try:
            # One write: each system call of a thread has to wait for the interpreter.
            batch.write(self._process.stdin.fileno(), batch.LENGTH.pack(len(frame)) + frame)
            answer = self._take(self._process.stdout.fileno())
        except OSError as why:
            raise Gone(str(why)) from None
        return marshal.loads(answer)

    def end(self) -> None:
        """Let it finish; it ends when nobody can ask any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @staticmethod
    def _take(descriptor: int) -> bytes:
        made = bytearray()
        size = -1
        while size < 0 or len(made) < size:
            part = os.read(descriptor, _PIPE)
            if not part:
                raise Gone("it ended")
            made += part
            if size < 0 and len(made) >= batch.LENGTH.size:
                (size,) = batch.LENGTH.unpack_from(made)
                del made[: batch.LENGTH.size]
        return bytes(made)


@define(eq=False)
class Workers:
    """As many as are asked at a time, which is as many as the lane has threads. Started when first needed."""

    _idle: list[Worker] = field(factory=list)
    _lock: Lock = field(factory=Lock)

    @property
    def started(self) -> bool:
        """Whether one waits for work."""
        return bool(self._idle)

    def ask(self, *asked: Any) -> Any:
        """Ask one. Raises Gone if it ended meanwhile: some of the work may be done; OSError if none can be started."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = Worker.started()
        try:
            answer = worker.ask(asked)
        except BaseException:
            worker.end()
            raise
        with self._lock:
            self._idle.append(worker)
        return answer

    def stop(self) -> None:
        """End all that are idle; called when nothing is asked any more."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()
