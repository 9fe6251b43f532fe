"""Schedulers: each runs its tasks one after the other, whenever they are due (scheduler-alerts.md 1)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall, unix
from anylog.language.context import Result
from anylog.language.logs import Logs, masked
from anylog.process import SOURCES, Process
from anylog.processes.schedule import HIGHEST, SUCCESS, SYSTEM, USER, Task, Tasks
from anylog.waiting import deferring

LOOK = 10.0  # seconds between two looks whether a start has come: the wall clock may be set
PING = "Metadata Ping"  # the task of scheduler 0
PATIENCE = 10.0  # seconds that stopping waits for the run at hand


async def drained(result: Result) -> None:
    """Take the whole answer: a query whose rows nobody reads would stand still."""
    if result.pages is not None:
        try:
            while await result.pages.next() is not None:
                pass
        finally:
            result.pages.close()


class Loop:
    """One scheduler that runs."""

    def __init__(self, tasks: Tasks, clock: Clock, run: Callable[[Task], Deferred[None]]) -> None:
        self._tasks, self._clock, self._run = tasks, clock, run
        self._next: DelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._going = True
        self.plan()

    def plan(self) -> None:
        """Wake when the next task is due; asked again whenever tasks change."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        if not self._going or self._working is not None:
            return
        now = self._clock.seconds()
        dues = [task.due for task in self._tasks.known.values() if not task.stopped]
        if dues:
            self._next = self._clock.callLater(min(LOOK, max(0.0, min(dues) - now)), self._wake)

    def _wake(self) -> None:
        self._next = None
        self._working = self._turn()
        self._working.addBoth(self._turned)

    def _turned(self, result: object) -> None:
        self._working = None
        self.plan()

    @deferring
    async def _turn(self) -> None:
        """Every task that is due, in the order of their ids."""
        for task in list(self._tasks.known.values()):
            if not self._going:
                return
            if task.stopped or self._tasks.known.get(task.id) is not task:
                continue
            now = self._clock.seconds()
            if task.due > now:
                continue
            if not task.begun and (ahead := task.start - unix(self._clock)) > 0:
                task.due = now + min(ahead, LOOK)
                continue
            task.begun = True
            await self._run(task)
            if not task.begun:
                continue  # it was given another start meanwhile, by itself it may be
            # What would have come meanwhile is left out, and the next keeps to the beat of those before.
            ended = self._clock.seconds()
            late = int((ended - task.due) / task.period) if task.due <= ended else -1
            task.due += (late + 1) * task.period

    def stop(self) -> Deferred[None]:
        """No more runs; the one at hand is finished, or cancelled if it takes too long."""
        self._going = False
        self.plan()
        ended: Deferred[None] = Deferred()
        if self._working is None:
            ended.callback(None)
        else:
            late = self._clock.callLater(PATIENCE, self._working.cancel)

            def done(result: object) -> None:
                if late.active():
                    late.cancel()
                ended.callback(None)

            self._working.addBoth(done)
        return ended


class Schedulers(Process):
    """All schedulers of a node, and their tasks, which stay declared while a scheduler does not run."""

    name, floor = "scheduler", SOURCES
    log = Logger()

    def __init__(self, *, clock: Clock, logs: Logs, execute: Callable[[str, str], Deferred[Result]]) -> None:
        """`execute` runs a command; the second text says for whom."""
        self._clock, self._logs, self._execute = clock, logs, execute
        self.declared: dict[int, Tasks] = {}
        self._loops: dict[int, Loop] = {}

    def of(self, number: int) -> Tasks:
        """The tasks of a scheduler. Raises AnyLogError 2 for a number that is too high."""
        if not 0 <= number <= HIGHEST:
            raise AnyLogError(2, f"Scheduler ID is above limit: {number}, the highest is {HIGHEST}")
        return self.declared.setdefault(number, Tasks(number, {}))

    def runs(self, number: int) -> bool:
        """Whether that scheduler runs."""
        return number in self._loops

    def begin(self, number: int) -> None:
        """Start a scheduler. Raises AnyLogError 136 if it runs."""
        tasks = self.of(number)
        if number in self._loops:
            raise AnyLogError(136, f"Scheduler already running: use 'exit scheduler {number}' first")
        now = self._clock.seconds()
        for task in tasks.known.values():
            if task.due < now:  # what was left out while it did not run is not made up for
                task.due = now
        self._loops[number] = Loop(tasks, self._clock, self._ran)

    async def end(self, number: int) -> bool:
        """Stop a scheduler; False if it does not run."""
        loop = self._loops.pop(number, None)
        if loop is None:
            return False
        await loop.stop()
        return True

    def start(self) -> None:
        """The scheduler of the node itself runs with the first of the others, and looks whether its peers are there."""
        own = self.of(SYSTEM)
        if not any(task.name == PING for task in own.known.values()):
            now = unix(self._clock)
            own.add(
                lambda number: Task(
                    id=number, name=PING, text="set servers ping", period=60, start=now, due=self._clock.seconds()
                )
            )
        if not self.runs(SYSTEM):
            self.begin(SYSTEM)

    @deferring
    async def stop(self) -> None:
        """Stop all; tasks stay declared."""
        for number in list(self._loops):
            await self.end(number)

    @property
    def alone(self) -> bool:
        """Nothing but the scheduler of the node itself runs."""
        return not set(self._loops) - {SYSTEM}

    def changed(self, number: int) -> None:
        """Tasks of that scheduler were added, removed, or are due at another time."""
        if number in self._loops:
            self._loops[number].plan()

    def describe(self) -> str:
        """As observed clients read it."""
        kinds = {SYSTEM: " (system)", USER: " (user)"}
        return "Schedulers IDs in use: " + " ".join(f"[{each}{kinds.get(each, '')}]" for each in sorted(self._loops))

    def run_now(self, task: Task) -> Deferred[Result]:
        """Run it once, whatever its mode, without a change of when it is due; gives what the command gives."""
        return self._once(task)

    @deferring
    async def _ran(self, task: Task) -> None:
        """One run of a scheduler: its error is noted, and the task goes on."""
        begin = self._clock.seconds()
        try:
            await drained(await self._once(task))
        except (AnyLogError, CancelledError) as error:
            text = str(error) or "cancelled"
            self._logs.error.add("Task", f"task '{task.name or task.id}': {masked(task.text)}: {text}", "scheduler")
        except Exception:  # nobody above us could do better than to go on with the next
            self.log.failure("task {name} failed", name=task.name or str(task.id))
        took = self._clock.seconds() - begin
        if took > task.period and not task.slow:
            task.slow = True
            self._logs.event.add(
                "Warning", f"task '{task.name or task.id}' takes {took:.1f} seconds, it is due every {task.period:g}: "
                "others of its scheduler wait for it", "scheduler",
            )  # fmt: skip

    @deferring
    async def _once(self, task: Task) -> Result:
        now = unix(self._clock)
        task.last, task.runs = now, task.runs + 1
        try:
            result = await self._execute(task.at(now), f"task {task.name or task.id}")
            task.status, task.previous = SUCCESS, now
            return result
        except AnyLogError as error:
            task.status = str(error)
            raise
        except CancelledError:
            task.status = "cancelled"
            raise
        except Exception as fault:
            task.status = f"internal error: {type(fault).__name__}"
            raise
