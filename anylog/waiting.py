"""The little we add to Deferred."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList

from anylog.errors import AnyLogError
from anylog.interfaces import Clock

P = ParamSpec("P")
T = TypeVar("T")


def deferring(function: Callable[P, Coroutine[Deferred[Any], Any, T]]) -> Callable[P, Deferred[T]]:
    """An `async def` that starts when called and gives a Deferred, as frameworks expect."""

    @wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return start


def deadline(clock: Clock, seconds: float | None, waited: Deferred[T], doing: str) -> Deferred[T]:
    """Give `waited`, or cancel it after `seconds` and fail with error 26 that names what was being done.

    `seconds` of None or 0 waits for ever.
    """
    if not seconds:
        return waited
    late = clock.callLater(seconds, waited.cancel)
    expired = False

    def ended(result: Any) -> Any:
        nonlocal expired
        if late.active():
            late.cancel()
        else:
            expired = True
        if expired and getattr(result, "check", None) and result.check(CancelledError):
            raise AnyLogError(26, f"{doing}: no result after {seconds:g} seconds")
        return result

    return waited.addBoth(ended)


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """A Deferred that fires after `seconds` of `clock`; cancelling it is clean."""
    waited: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, waited.callback, None)
    return waited


async def gather(waits: Iterable[Awaitable[Any] | Deferred[Any]]) -> list[Any]:
    """All results in order; waits for every one, then raises the first failure if there was any."""
    started = [
        wait if isinstance(wait, Deferred) else Deferred.fromCoroutine(wait)  # type: ignore[arg-type]
        for wait in waits
    ]
    outcome = await DeferredList(started, consumeErrors=True)
    for fine, value in outcome:
        if not fine:
            value.raiseException()
    return [value for _, value in outcome]
