"""Bodies that come in pages, read at once."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.pages import all_pages


@define
class Pages:
    """A body; a fault instead of a page is raised."""

    left: list[bytes | Exception]
    closed: int = field(default=0)

    def next(self) -> Deferred[bytes | None]:
        """The next."""
        page = self.left.pop(0) if self.left else None
        return fail(page) if isinstance(page, Exception) else succeed(page)

    def close(self) -> None:
        """Counted."""
        self.closed += 1


class AllPagesTest(SynchronousTestCase):
    """A body is read to its end, or up to its limit, and closed."""

    def test_pages_are_joined(self) -> None:
        """In their order; the limit itself is allowed."""
        body = Pages([b"ab", b"", b"c"])
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(all_pages(body, 3))), b"abc")
        self.assertEqual(body.closed, 1)

    def test_no_body_is_empty(self) -> None:
        """As a reply without one."""
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(all_pages(None, 3))), b"")

    def test_too_much_is_refused_at_once(self) -> None:
        """What is behind the limit is not read any more."""
        body = Pages([b"x" * (1 << 20), b"y", b"never read"])
        why = self.failureResultOf(Deferred.fromCoroutine(all_pages(body, 1 << 20, "a song")), AnyLogError).value
        self.assertEqual((why.number, str(why)), (77, "a song of more than 1 MB"))
        self.assertEqual((body.left, body.closed), ([b"never read"], 1))

    def test_a_fault_closes_too(self) -> None:
        """And goes on to the caller."""
        body = Pages([b"ab", AnyLogError(63, "gone")])
        self.failureResultOf(Deferred.fromCoroutine(all_pages(body, None)), AnyLogError)
        self.assertEqual(body.closed, 1)
