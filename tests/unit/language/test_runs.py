"""Scripts that run: threads, stopping, following line by line, the echo queue (language.md 9, 9.2, 9.9)."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from language_node import LanguageCase
from twisted.internet.defer import CancelledError, Deferred

import anylog.language.runs
from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result

EVER = ":a:\nn = incr !n\nwait 1\ngoto a"


class Broken(Command):
    """Fail as nobody expects."""

    words = "break it"
    examples = ("break it",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        return Result(data=1 // 0)


class Runs(LanguageCase):
    def setUp(self) -> None:
        super().setUp()
        self.words.register(Broken)
        self.dictionary.set("n", "0")

    def begin(self, text: str, script: str, context: Context | None = None) -> Deferred[Any]:
        """Ask something of a script of that text; the clock stands still."""
        self.disk.files["/s/a.al"] = script
        return self.interpreter.execute(text, context or self.context)

    def table(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("get threads").data
        return rows

    def test_thread(self) -> None:
        """It runs beside all else with registers of its own, and its end is told."""
        result = self.successResultOf(self.begin("thread /s/a.al north 5", "variables (who, count)\n" + EVER))
        self.assertEqual(result.text, "Thread 1")
        for _ in range(3):
            self.clock.advance(1)
        self.assertEqual(self.text("!n"), "4")
        self.assertEqual(self.text("!who"), "north")
        (row,) = self.table()
        self.assertEqual((row["id"], row["kind"], row["script"], row["status"]), (1, "thread", "/s/a.al", "Running"))
        self.assertEqual((row["at"], row["seconds"], row["who"]), ("/s/a.al line 4", 3.0, "tester"))
        self.ask("stop 1")
        self.clock.advance(5)
        self.assertEqual(self.text("!n"), "4")
        self.assertEqual(self.table()[0]["status"], "Stopped")
        self.assertIn("/s/a.al was stopped", self.logs.error.rows()[-1]["Text"])

    def test_registers(self) -> None:
        """A thread knows nothing of the `if` of who began it, and its controls end nothing but itself."""
        self.disk.files["/s/b.al"] = "thread /s/a.al\nprint after"
        self.disk.files["/s/a.al"] = "on error ignore\ndo print no\nprint in\nexit scripts"
        self.ask("if 1 == 1 then process /s/b.al")
        self.assertEqual(self.told, ["in", "Thread 2", "after"])

    def test_errors_of_a_thread(self) -> None:
        """They are told where it was begun, and logged; a file that is missing is an error of the command."""
        self.successResultOf(self.begin("thread /s/a.al", "print a\nnonsense"))
        self.assertEqual(self.told[0], "a")
        self.assertIn("Thread 1 failed: /s/a.al line 2: nonsense", self.told[1])
        self.assertIn("Failed: /s/a.al line 2", self.table()[0]["status"])
        self.assertEqual(self.refused("thread nothere").number, 112)

    def test_faults_of_a_thread(self) -> None:
        """A fault of ours is an error with a number, too."""
        self.successResultOf(self.begin("thread /s/a.al", "break it"))
        self.assertIn("internal error", self.told[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop_of_what_is_waited_for(self) -> None:
        """Whoever waits for it is told; no `on error` takes it; the scripts that called it end, too."""
        self.disk.files["/s/b.al"] = "on error ignore\nprocess /s/a.al\nprint no"
        waiting = self.begin("process /s/b.al", "on error ignore\n" + EVER)
        self.assertEqual((self.table()[0]["kind"], self.table()[0]["at"]), ("process", "/s/a.al line 4"))
        self.ask("stop all")
        error = self.failureResultOf(waiting, AnyLogError).value
        self.assertEqual((error.number, str(error)), (3, "/s/b.al was stopped"))
        self.assertEqual(self.told, [])

    def test_stop_of_itself(self) -> None:
        """`stop all` in a script ends the others, and it itself before its next line."""
        self.successResultOf(self.begin("thread /s/a.al", EVER))
        self.disk.files["/s/b.al"] = "print a\nstop all\nprint no"
        self.assertIn("was stopped", str(self.refused("process /s/b.al")))
        self.assertEqual(self.told, ["a", "2 stopped"])
        self.assertEqual([row["status"] for row in self.table()], ["Stopped", "Stopped"])

    def test_exit_scripts_outside_of_a_script(self) -> None:
        """It ends all that run; in a script it ends that one and those that called it."""
        self.assertEqual(self.text("exit scripts"), "0 stopped")
        self.successResultOf(self.begin("thread /s/a.al", EVER))
        self.assertEqual(self.text("exit scripts"), "1 stopped")
        self.assertEqual(self.table()[0]["status"], "Stopped")

    def test_who_asked_leaves(self) -> None:
        """A script whose asker has gone ends, and that is no stop."""
        waiting = self.begin("process /s/a.al", EVER)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([row["status"] for row in self.table()], ["Stopped"])

    def test_a_loop_without_a_wait(self) -> None:
        """Others get their turn, so it can be stopped."""
        waiting = self.begin("process /s/a.al", ":a:\nx = 1\ngoto a")
        self.assertNoResult(waiting)
        self.ask("stop 1")
        self.failureResultOf(waiting, AnyLogError)

    def test_limits(self) -> None:
        """So many at once; scripts that are called count for none; numbers that are none are refused."""
        self.patch(anylog.language.runs, "MOST", 2)
        for _ in range(2):
            self.successResultOf(self.begin("thread /s/a.al", EVER))
        self.assertEqual(self.refused("thread /s/a.al").number, 108)
        self.assertEqual(self.refused("process /s/a.al").number, 108)
        for text, number in [("stop 7", 162), ("stop x", 2), ("stop", 2), ("next 7", 162)]:
            self.assertEqual(self.refused(text).number, number, text)
        self.ask("stop 1")
        self.disk.files["/s/b.al"] = "process /s/c.al"
        self.disk.files["/s/c.al"] = "print c"
        self.ask("process /s/b.al")
        self.assertEqual(self.told[-1], "c")

    def test_circles(self) -> None:
        """A script that runs itself is refused at a depth, and the node goes on."""
        error = self.failureResultOf(self.begin("process /s/a.al", "process /s/a.al"), AnyLogError).value
        self.assertIn("scripts call scripts more than 30 deep", str(error))
        self.assertEqual([row["id"] for row in self.table()], [1])

    # ------------------------------------------------------------------ debug

    def test_debug(self) -> None:
        """Each line and what came of it; in a script for that run alone, with what it calls; secrets are masked."""
        self.disk.files["/s/b.al"] = "test fail 5"
        self.successResultOf(
            self.begin(
                "process /s/a.al",
                "print a\nset debug on\npassword = abc\non error ignore\nprocess /s/b.al\nset debug off\nprint b",
            )
        )
        self.assertEqual(
            self.told,
            [
                "a",
                "[a.al] [0002] set debug on --> Success",
                "[a.al] [0003] password = **** --> Success",
                "[a.al] [0004] on error ignore --> Success",
                "[b.al] [0001] test fail 5 --> Wrong DBMS Name or DBMS not connected",
                "[a.al] [0005] process /s/b.al --> Wrong DBMS Name or DBMS not connected",
                "b",
            ],
        )
        self.told.clear()
        self.ask("set debug on")
        self.assertEqual(self.run_script("print a"), ["a", "[test.al] [0001] print a --> Success"])
        self.ask("set debug off")
        self.assertEqual(self.run_script("print a"), ["a"])
        self.assertEqual(self.refused("set debug maybe").number, 2)

    def test_interactive(self) -> None:
        """A thread waits before each line for `next`, until `continue`."""
        self.successResultOf(self.begin("thread /s/a.al", "set debug interactive\nprint a\nprint b\nprint c"))
        self.assertEqual(self.told[-1], "[a.al] [0002] print a --> waits for 'next'")
        self.assertEqual(self.table()[0]["status"], "Waits for 'next'")
        self.ask("next")
        self.assertEqual(self.told[-3:-1], ["a", "[a.al] [0002] print a --> Success"])
        self.ask("next 1")
        self.assertEqual(self.told[-1], "[a.al] [0004] print c --> waits for 'next'")
        self.ask("continue")
        self.assertEqual(self.told[-2:], ["c", "[a.al] [0004] print c --> Success"])
        self.assertEqual(self.refused("next").number, 2)

    def test_interactive_waits_and_is_stopped(self) -> None:
        """One that waits can be stopped; of several one is named."""
        self.ask("set debug interactive")
        for _ in range(2):
            self.successResultOf(self.begin("thread /s/a.al", "print a"))
        self.assertIn("several scripts wait, say which: 1, 2", str(self.refused("next")))
        self.ask("stop 1")
        self.ask("next")
        self.assertEqual(self.told[-2:], ["a", "[a.al] [0001] print a --> Success"])

    def test_interactive_is_for_threads(self) -> None:
        """In a script that somebody waits for it is refused; given before, its lines are told without waiting."""
        self.assertIn(
            "'thread'", str(self.failureResultOf(self.begin("process /s/a.al", "set debug interactive")).value)
        )
        self.ask("set debug interactive")
        self.assertEqual(self.run_script("print a"), ["a", "[test.al] [0001] print a --> Success"])

    # ------------------------------------------------------------------ the echo queue

    def test_echo_queue(self) -> None:
        """Off: echo writes. On: it keeps the last ones, with their numbers; print never goes there."""
        self.ask("echo one")
        self.assertEqual(self.told, ["one"])
        self.assertEqual(self.text("get echo queue"), "The echo queue is off")
        self.assertEqual(self.refused("reset echo queue").number, 3)
        self.ask("set echo queue on")
        self.assertEqual(self.text("get echo queue"), "No messages in the echo queue")
        self.ask("reset echo queue where size = 2")
        for word in ("two", "three", "password = abc"):
            self.ask(f"echo {word}")
        self.ask("echo four", evolve(self.context, origin="peer", who="10.0.0.9:1", local=False, frame=None))
        self.ask("print five")
        self.assertEqual(self.told, ["one", "five"])
        rows = self.ask("get echo queue").data
        self.assertEqual(
            [(row["counter"], row["message"]) for row in rows],
            [(3, "password = ****"), (4, "[From Node 10.0.0.9:1] four")],
        )
        self.assertIn("Message Queue:\r\nCounter Time", self.text("get echo queue") or "")
        self.assertEqual(len(self.ask("get echo queue").data), 2)  # they are kept
        self.ask("set echo queue on")
        self.assertEqual(len(self.ask("get echo queue").data), 2)
        self.ask("reset echo queue")
        self.ask("echo six")
        self.assertEqual([row["counter"] for row in self.ask("get echo queue").data], [5])
        self.ask("set echo queue off")
        self.assertEqual(self.ask("get echo queue").data, [])
        for text in ("set echo queue maybe", "reset echo queue where size = 101", "reset echo queue where size = 0"):
            self.assertIn(self.refused(text).number, (2, 175), text)

    def test_output_of_threads_of_rest(self) -> None:
        """Nobody reads the reply of a call that is over: what a thread prints goes to the queue."""
        self.ask("set echo queue on")
        rest = Context(origin="rest", who="127.0.0.1:5", write=self.told.append)
        self.successResultOf(self.begin("thread /s/a.al", "wait 1\nprint late\nthread /s/b.al", rest))
        self.disk.files["/s/b.al"] = "print later"
        self.clock.advance(1)
        self.assertEqual(self.told, [])
        messages = [row["message"] for row in self.ask("get echo queue").data]
        self.assertEqual(messages, ["late", "later", "Thread 2"])
