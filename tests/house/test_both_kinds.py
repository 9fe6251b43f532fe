"""trial's TestCase and bare `async def` tests pass side by side, whichever runner plays them."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase


class WaitingTests(TestCase):
    """A TestCase that waits for the real reactor, as the process tests do."""

    async def test_waits(self) -> None:
        """What is waited for has happened when the test ends."""
        self.assertEqual(await deferLater(reactor, 0.01, lambda: "done"), "done")
