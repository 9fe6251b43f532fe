"""The error directory: where files go that cannot be loaded, each under a name that says why (operator-ha.md 3.3)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from anylog.disk.names import FileName, error_name, original_name
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, ILane, Move, Publish, Read
from anylog.processes.files import LARGEST
from anylog.waiting import deferring

TOGETHER = 256  # files moved in one go
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to move a file that cannot be moved
MOST_HELD = 20_000  # files that cannot be moved, beyond which no more are taken


@frozen(kw_only=True, eq=False)
class Failed:
    """A file that failed, under the name that it has in the watch directory now."""

    name: str
    stamp: tuple[int, int]
    error: AnyLogError
    ended: Callable[[str], None]  # called once it was tried to move it: with where it is now, or why it stays
    alone: bool = False  # it may come again and again: copies of it that lie there already go
    noting: FileName | None = None  # of another member, and its entry does not say so yet


@define(eq=False)
class _Held:
    """A file that could not be moved."""

    failed: Failed
    why: str
    at: float
    pause: float = FIRST_PAUSE


@define(kw_only=True, eq=False)
class ErrorDirectory:
    """Moves failed files out of the watch directory. What cannot be moved stays, is not loaded, and is tried again."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _watched: Path
    folder: Path
    # Told which files of other members cannot be used, and why, before they are moved: nobody sends them for ever.
    _poison: Callable[[FileName, str], Awaitable[object]] | None = None
    held: dict[str, _Held] = field(factory=dict)
    _new: list[Failed] = field(factory=list)
    _moving: bool = False
    _taken: set[str] = field(factory=set)
    _second: int = 0
    log = Logger()

    def add(self, failed: Failed) -> None:
        """It is moved soon, together with others."""
        self._new.append(failed)
        if not self._moving:
            self._moving = True
            self._clock.callLater(0, self._move_all)

    def holds(self, name: str, stamp: tuple[int, int]) -> bool:
        """Whether this very file failed and could not be moved; another of that name is a new one."""
        held = self.held.get(name)
        if held is not None and held.failed.stamp != stamp:
            del self.held[name]
            return False
        return held is not None

    @property
    def full(self) -> bool:
        """Whether so many cannot be moved that no more may be taken."""
        return len(self.held) >= MOST_HELD

    @property
    def why(self) -> str:
        """Why files cannot be moved, of the first that waits."""
        return next((held.why for held in self.held.values()), "")

    def keep_only(self, names: set[str]) -> None:
        """Forget files that somebody took away."""
        for name in [name for name in self.held if name not in names]:
            del self.held[name]

    def again(self) -> None:
        """Try those again whose pause is over."""
        now = self._clock.seconds()
        due = [held for held in self.held.values() if held.at <= now][:TOGETHER]
        for held in due:
            held.at = now + held.pause  # not twice while it is on its way
            self.add(held.failed)

    @deferring
    async def _move_all(self) -> None:
        try:
            while self._new:
                part, self._new = self._new[:TOGETHER], self._new[TOGETHER:]
                await self._move(part)
        except Exception:  # nobody above us could do better; they stay in the watch directory and are found again
            self.log.failure("moving failed files")
        finally:
            self._moving = False

    async def _move(self, part: Sequence[Failed]) -> None:
        for failed in part:
            if failed.noting is not None and self._poison is not None and failed.name not in self.held:
                try:
                    await self._poison(failed.noting, str(failed.error))
                except AnyLogError as why:
                    self.log.warn("{name}: its entry cannot be made: {why}", name=failed.name, why=str(why))
        targets = [self._target(failed) for failed in part]
        steps = [
            Move(self._watched / failed.name, self.folder / target, failed.stamp)
            for failed, target in zip(part, targets, strict=True)
        ]
        try:
            outcomes = await self._lane.run(self._disk.batch, steps)
        except (OSError, AnyLogError) as why:
            outcomes = [why] * len(part)
        moved: dict[str, str] = {}
        for failed, target, outcome in zip(part, targets, outcomes, strict=True):
            number = getattr(outcome, "errno", None)
            if number == errno.EXDEV:
                outcome = await self._copy(self._watched / failed.name, self.folder / target, failed.stamp)
                number = getattr(outcome, "errno", None)
            if outcome is None:
                if failed.alone:
                    moved[original_name(target)] = target
                self.held.pop(failed.name, None)
                failed.ended(f"moved to {self.folder / target}")
            elif number == errno.ENOENT and await self._gone(failed.name):
                self.held.pop(failed.name, None)
                failed.ended("it was removed meanwhile")
            elif number == errno.ESTALE:
                self.held.pop(failed.name, None)
                failed.ended(
                    "another file of this name was put into the watch directory meanwhile: that one is looked at next"
                )
            elif number == errno.EEXIST:
                self._new.append(failed)  # that name is taken now
            else:
                self._hold(failed, outcome)

        if moved:
            await self._clear(moved)

    async def _clear(self, moved: Mapping[str, str]) -> None:
        """Remove older copies; `moved`: name of a file -> where it lies now."""
        try:
            names = await self._lane.run(self._disk.names, self.folder)
            old = [name for name in names if moved.get(original_name(name), name) != name]
            await self._lane.run(self._disk.batch, [Forget(self.folder / name) for name in old])
        except (OSError, AnyLogError) as why:
            self.log.warn("{folder}: older copies stay: {why}", folder=self.folder, why=str(why))

    def _target(self, failed: Failed) -> str:
        """A name that was not used in this second; one that lies there from before is met by the move."""
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, self._taken = second, set()
        target = error_name(failed.name, failed.error.number, second, self._taken)
        self._taken.add(target)
        return target

    async def _gone(self, name: str) -> bool:
        try:
            await self._lane.run(self._disk.stat, self._watched / name)
        except FileNotFoundError:
            return True
        except (OSError, AnyLogError):
            pass
        return False

    async def _copy(self, source: Path, target: Path, stamp: tuple[int, int]) -> Any:
        """To another file system, whole or not at all; None, or what went wrong."""
        try:
            return await self._lane.run(copy_away, self._disk, source, target, stamp)
        except (OSError, AnyLogError) as why:
            return why

    def _hold(self, failed: Failed, outcome: BaseException) -> None:
        why = f"{self.folder}: {getattr(outcome, 'strerror', None) or outcome}"
        held = self.held.get(failed.name)
        if held is None:
            held = self.held[failed.name] = _Held(failed, why, 0.0)
            failed.ended(f"it cannot be moved to {why}; it stays in the watch directory and is not loaded again")
        else:
            held.pause = min(held.pause * 2, LONGEST_PAUSE)
        held.why, held.at = why, self._clock.seconds() + held.pause


def copy_away(disk: Disk, source: Path, target: Path, stamp: tuple[int, int]) -> None:
    """In a lane: a move between file systems. Raises OSError."""
    ((data, _, _),) = _done(disk.batch([Read(source, LARGEST)]))
    if _done(disk.batch([Publish(target, bytes(data))])) == ["other"]:
        raise FileExistsError(errno.EEXIST, "there is such a file", str(target))
    try:
        _done(disk.batch([Forget(source, stamp)]))
    except OSError:
        disk.batch([Forget(target)])  # it is tried again under another name: the copies would be many
        raise


def _done(outcomes: list[Any]) -> list[Any]:
    for outcome in outcomes:
        if isinstance(outcome, OSError):
            raise outcome
    return outcomes
