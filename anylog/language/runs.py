"""The scripts that run: numbered, listed, stopped, followed line by line (language.md 9 and 9.9)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock

if TYPE_CHECKING:
    from anylog.language.script import Frame

MOST = 100  # scripts at once, those that others call not counted
ENDED = 20  # that are remembered


class Debug(Enum):
    """What is told of each line of a script."""

    OFF = "off"
    ON = "on"
    INTERACTIVE = "interactive"  # told, and each line waits for `next`


@define(eq=False, kw_only=True)
class Run:
    """One script with all that it calls; a thread if nobody waits for it."""

    number: int
    script: str
    who: str
    thread: bool
    started: float  # seconds of the node's clock
    write: Callable[[str], None]  # where its lines are told
    debug: Debug = Debug.OFF
    frame: Frame | None = None  # of the script that is at work
    lines: int = 0  # run so far
    ended: float | None = None
    outcome: str = ""
    stopped: bool = False
    _work: Deferred[Any] | None = None
    _step: Deferred[None] | None = None  # a line that waits for `next`

    def follow(self, work: Deferred[Any]) -> None:
        """This is what it does."""
        self._work = work

    def stop(self, inside: bool) -> None:
        """End it before its next line; what that line waits for is given up. `inside`: it is itself who asks."""
        self.stopped = True
        if not inside and self._work is not None:
            self._work.cancel()

    def forget(self) -> None:
        """It has ended: nothing of it is needed but what is told."""
        self._work, self.write = None, _nowhere

    @property
    def waits(self) -> bool:
        """Whether it waits for `next`."""
        return self._step is not None

    def step(self) -> Deferred[None]:
        """Fires when somebody says `next`."""
        self._step = Deferred(lambda _: setattr(self, "_step", None))
        return self._step

    def next(self) -> None:
        """Let the line that waits be run."""
        step, self._step = self._step, None
        if step is not None:
            step.callback(None)

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.ended is not None:
            return self.outcome
        return "Waits for 'next'" if self.waits else "Stopping" if self.stopped else "Running"


class Runs:
    """All scripts of one node that run, and the last that ended."""

    log = Logger()

    def __init__(self, clock: Clock) -> None:
        self.debug = Debug.OFF  # of scripts that begin from now on
        self._clock = clock
        self._number = 0
        self._running: dict[int, Run] = {}
        self._ended: list[Run] = []

    def open(self, script: str, who: str, write: Callable[[str], None], *, thread: bool) -> Run:
        """A new one. Raises AnyLogError 108 if there are too many."""
        if len(self._running) >= MOST:
            raise AnyLogError(108, f"{MOST} scripts run already; 'get threads' shows them, 'stop' ends one")
        self._number += 1
        debug = self.debug if thread or self.debug is not Debug.INTERACTIVE else Debug.ON
        run = Run(
            number=self._number,
            script=script,
            who=who,
            thread=thread,
            started=self._clock.seconds(),
            write=write,
            debug=debug,
        )
        self._running[run.number] = run
        return run

    async def follow(self, run: Run, work: Coroutine[Deferred[Any], Any, Any]) -> Any:
        """Do its work. Raises what that raises, and AnyLogError 3 if it was stopped."""
        begun = Deferred.fromCoroutine(work)
        run.follow(begun)
        try:
            result = await begun
        except CancelledError:
            run.outcome = "Stopped"
            if not run.stopped:
                raise  # who asked has left
            raise AnyLogError(3, f"{run.script} was stopped", http=400) from None
        except AnyLogError as error:
            run.outcome = f"Failed: {error}"[:500]
            raise
        except BaseException:
            run.outcome = "Failed"
            raise
        else:
            run.outcome = "Ended"
            return result
        finally:
            run.ended, run.frame = self._clock.seconds(), None
            run.forget()
            del self._running[run.number]
            self._ended = [*self._ended[1 - ENDED :], run]

    def find(self, number: int) -> Run:
        """The one of that number, if it runs. Raises AnyLogError 162."""
        if number not in self._running:
            raise AnyLogError(162, f"no script with the number {number} runs; 'get threads' shows those that do")
        return self._running[number]

    def waiting(self) -> list[Run]:
        """Those that wait for `next`."""
        return [run for run in self._running.values() if run.waits]

    def __iter__(self) -> Iterator[Run]:
        """The last that ended, then those that run."""
        return iter([*self._ended, *self._running.values()])

    def stop(self, run: Run | None = None, asker: Run | None = None) -> int:
        """Stop one, or all; gives how many. `asker` is the one in which that was asked."""
        stopped = [run] if run is not None else list(self._running.values())
        for each in stopped:
            each.stop(inside=each is asker)
        return len(stopped)


def _nowhere(text: str) -> None:
    """Nobody is there to read it."""
