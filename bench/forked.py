"""Processes that begin as copies of one that has imported a node's modules: they are most of what a start takes.

What is copied has run nothing of a node yet. A copy has an id, an environment and open files of its own, and dies by
itself; only the seed by which Python mixes hashes of texts is that of all copies of one parent.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

# Not __main__: whatever runs the tests is nothing to a node.
MODULES = ["anylog.cli", "anylog.node", "anylog.tap", "twisted.plugins.anylog_plugin", "twisted.scripts.twistd"]
_ONE_AT_A_TIME = threading.Lock()  # starting a process looks after all others, as do their own threads


class Forked:
    """`anylog WORD ...` in a process of its own; like a `subprocess.Popen`, as far as tests need it."""

    def __init__(self, words: Sequence[str], log: Path, environ: Mapping[str, str]) -> None:
        self.args = list(words)
        context = get_context("forkserver")
        context.set_forkserver_preload(MODULES)
        self._process = context.Process(target=_live, args=(self.args, log, dict(environ)), daemon=True)
        with _ONE_AT_A_TIME:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the signal that ended it below zero; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """The same."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, as soon as it has one. Raises subprocess.TimeoutExpired."""
        if not wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """To it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


def _live(words: Sequence[str], log: Path, environ: Mapping[str, str]) -> None:
    """The whole life of a copy."""
    from anylog.cli import main
    from twisted import internet

    os.environ.clear()
    os.environ.update(environ)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # Klein asks for the reactor when it is imported. That one is the parent's, and its epoll would be shared by all.
    if sys.modules.pop("twisted.internet.reactor", None) is not None:
        del internet.reactor
    try:
        main(words)
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out
