"""Programs of the system, really started: their output, their limits, and what is left of them (language.md 9.5)."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

import anylog.programs
from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.value_commands import Subprocess, System
from anylog.language.words import Words
from anylog.programs import Programs

REACTOR: Any = reactor
PATH = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


async def _until(holds: Any) -> None:
    """Wait until it holds, five seconds at most."""
    for _ in range(500):
        if holds():
            return
        await deferLater(REACTOR, 0.01, lambda: None)
    raise AssertionError("it does not come to hold")


def alive(pid: int) -> bool:
    """Whether a process of that number runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Started(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.programs = Programs(REACTOR)
        self.dictionary = Dictionary()
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        node = SimpleNamespace(programs=self.programs, environ=PATH, dictionary=self.dictionary)
        self.interpreter = Interpreter(
            words=Words((System, Subprocess)),
            dictionary=self.dictionary,
            environ=PATH,
            clock=REACTOR,
            node=node,
            logs=Logs(REACTOR),
            read_file=self.nothing,
        )

    async def nothing(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        raise AnyLogError(112, name)

    def ask(self, text: str, origin: str = "console", local: bool = True) -> Deferred[Result]:
        return self.interpreter.execute(text, Context(origin=origin, local=local))

    async def refused(self, text: str, origin: str = "console", local: bool = True) -> AnyLogError:
        try:
            await self.ask(text, origin, local)
        except AnyLogError as error:
            return error
        raise AssertionError(f"{text} is not refused")

    async def test_output(self) -> None:
        """Pipes, quotes for awk, references, and several words."""
        self.dictionary.set("dir", str(self.folder))
        (self.folder / "a.txt").write_text("one two\nthree four\n")
        for line, expected in [
            ("system echo hello", "hello"),
            ("system cat !dir/a.txt | awk '{print $2}' | tail -1", "four"),
            ('system printf "a b"', "a b"),
            ("system timeout = 20 printf x", "x"),
            ("system timeout = 2 seconds printf x", "x"),
            ("system grep nothing !dir/a.txt", ""),
            ("system cat", ""),  # there is nothing to read
        ]:
            self.assertEqual((await self.ask(line)).text, expected, line)
        await self.ask("x = system date +%Y")
        self.assertRegex(self.dictionary.get("x"), r"^20\d\d$")
        await self.ask("x = system true")
        self.assertIsNone(self.dictionary.get("x"))

    async def test_errors(self) -> None:
        """What a line writes to its errors, wrong times, nothing to run."""
        for text, number, told in [
            ("system ls /nothing/here", 61, "/nothing/here"),
            ("system nosuchprogram", 61, "nosuchprogram"),
            ("system", 2, "missing"),
            ("system timeout = 5", 2, "missing"),
            ("system timeout = soon date", 2, "'soon'"),
            ("system timeout = 0 date", 2, "'0'"),
            ("system timeout = 99999 date", 2, "'99999'"),
        ]:
            error = await self.refused(text)
            self.assertEqual(error.number, number, text)
            self.assertIn(told, str(error))

    async def test_time(self) -> None:
        """After its time a line is ended with all that it has begun, and the reactor was free all the time."""
        note = self.folder / "pid"
        error = await self.refused(f"system timeout = 0.5 sleep 60 | sh -c 'echo $$ > {note}; sleep 60'")
        self.assertEqual(error.number, 26)
        pid = int(note.read_text())
        await _until(lambda: not alive(pid))

    async def test_given_up(self) -> None:
        """Who asked has left: the program ends."""
        note = self.folder / "pid"
        asked = self.ask(f"system timeout = 60 sh -c 'echo $$ > {note}; exec sleep 60'")
        await _until(lambda: note.exists() and note.read_text().strip())
        asked.cancel()
        try:
            await asked
        except CancelledError:
            pass
        else:
            raise AssertionError("it was not cancelled")
        await _until(lambda: not alive(int(note.read_text())))
        await _until(lambda: not self.programs._running)

    async def test_much(self) -> None:
        """More output than is kept ends the program, to its errors, too."""
        self.patch(anylog.programs, "OUTPUT", 100_000)
        for line in ("yes", "yes 1>&2"):
            error = await self.refused(f"system timeout = 20 {line}")
            self.assertEqual(error.number, 61)
            self.assertIn("of output", str(error))

    async def test_many(self) -> None:
        """So many at once; the end of the node ends them."""
        self.patch(anylog.programs, "AT_ONCE", 2)
        asked = [self.ask("system timeout = 60 sleep 60") for _ in range(2)]
        self.assertEqual((await self.refused("system date")).number, 108)
        self.programs.stop()
        for each in asked:
            try:
                await each
            except AnyLogError as error:
                self.assertEqual(error.number, 506)
        self.assertEqual((await self.ask("system echo a")).text, "a")

    async def test_where_there_is_no_setsid(self) -> None:
        """The same with what stands in for it."""
        self.programs._begin = anylog.programs._OWN_GROUP
        self.assertEqual((await self.ask("system echo a")).text, "a")
        note = self.folder / "pid"
        error = await self.refused(f"system timeout = 1 sh -c 'echo $$ > {note}; sleep 60'; true")
        self.assertEqual(error.number, 26)
        await _until(lambda: not alive(int(note.read_text())))

    async def test_who_may(self) -> None:
        """Neither REST nor other nodes, unless REST of this machine was let in."""
        for origin, local in [("rest", True), ("rest", False), ("peer", False), ("peer", True)]:
            for text in ("system date", "subprocess /bin/true"):
                self.assertEqual((await self.refused(text, origin, local)).number, 212, (origin, local, text))
        self.dictionary.set("allow_remote_exec", "true")
        self.assertEqual((await self.ask("system echo a", "rest")).text, "a")
        for origin, local in [("rest", False), ("peer", False), ("peer", True)]:
            self.assertEqual((await self.refused("system date", origin, local)).number, 212, (origin, local))

    async def test_subprocess(self) -> None:
        """It goes on by itself; a program that is none is refused at once."""
        note = self.folder / "note"
        pid = (await self.ask(f"subprocess /bin/sh -c 'echo $PPID $0 $1 > {note}; sleep 60' a \"b c\"")).data
        await _until(lambda: note.exists() and note.read_text().strip())
        self.assertIn("a b c", note.read_text())
        self.assertTrue(alive(pid))
        self.programs.stop()
        self.assertTrue(alive(pid))
        os.kill(pid, 9)
        await _until(lambda: not self.programs._detached)
        for text, number in [("subprocess /nope/x", 61), ("subprocess", 2)]:
            self.assertEqual((await self.refused(text)).number, number)

    async def test_subprocess_that_ends_at_once(self) -> None:
        """Its id is told, though it was gone before whoever began it came back."""
        begun = anylog.programs._Unheard.makeConnection

        def gone(unheard: Any, transport: Any) -> None:
            begun(unheard, transport)
            os.waitid(os.P_PID, transport.pid, os.WEXITED | os.WNOWAIT)

        self.patch(anylog.programs._Unheard, "makeConnection", gone)
        pid = (await self.ask("subprocess /bin/true")).data
        self.assertFalse(alive(pid))
        self.assertGreater(pid, 0)
        self.assertFalse(self.programs._detached)

    def test_stacks(self) -> None:
        """Where this very thread is."""
        found = self.programs.stacks()
        self.assertTrue(any("test_programs.py" in line for lines in found.values() for line in lines), found)
