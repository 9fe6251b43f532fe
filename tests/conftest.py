"""What all tests share: trial's TestCase works beside pytest-twisted, and long tests wait to be asked for."""

from __future__ import annotations

import gc
import signal
from typing import Any

import pytest
from twisted.logger import globalLogBeginner
from twisted.trial._asynctest import TestCase

from anylog.tap import GARBAGE


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; run by 'make kill' and 'make storm' only")
    if config.pluginmanager.hasplugin("twisted"):
        _wait_in_greenlet()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # What a shell puts into the background ignores it, and so would every node that a test starts and interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Until logging begins the last 65536 events are kept for whoever begins it, with the nodes that they tell of.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


def pytest_collection_finish() -> None:
    """What was imported stays, and the collector need not look at it again and again: as a node has it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def _wait_in_greenlet() -> None:
    """Under pytest-twisted the reactor runs already, in a greenlet: a trial TestCase waits in it."""
    import pytest_twisted

    alone = TestCase._wait

    def wait(self: TestCase, waited: Any, *args: Any, **kwargs: Any) -> None:
        if pytest_twisted._instances.gr_twisted is None:
            alone(self, waited, *args, **kwargs)
        else:
            pytest_twisted.blockon(waited)

    TestCase._wait = wait  # type: ignore[method-assign]
