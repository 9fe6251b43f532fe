"""Commands a second and the time of a long script, beside shlex of the standard library on the same lines.

All commands of a node are known; the clock is moved by hand, so nothing is waited for. ``python bench/language.py``
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.echoes import EchoQueue
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS

ROUNDS = 5
LINES = 2000
PLAIN = ("get error 5", "incr 5", "wait 0", "print hello !name", "x = 5", "set greeting = hello")
Show = Callable[[str, str, str, float, str, bool], None]


def script(lines: int) -> str:
    """Assignments and conditions, half and half."""
    four = (
        "key{0} = value {0}",
        "if !key{0} == 'value {0}' and !number.int < 5000 then last = {0}",
        "do joined{0} = !key{0} + -suffix",
        "else never = {0}",
    )
    return "\n".join(line.format(number) for number in range(lines // 4) for line in four)


class Asked:
    """An interpreter of all commands, with no more of a node than these commands need."""

    def __init__(self) -> None:
        self.clock, dictionary = Clock(), Dictionary()
        dictionary.set("name", "north")
        dictionary.set("number", 7)
        logs = Logs(self.clock)
        node = SimpleNamespace(dictionary=dictionary, environ={}, clock=self.clock, echoes=EchoQueue(self.clock))
        self.interpreter = Interpreter(
            words=Words(ALL_COMMANDS),
            dictionary=dictionary,
            environ={},
            clock=self.clock,
            node=node,
            logs=logs,
            read_file=self._read,
        )
        node.process = self.interpreter.process
        self.context = Context(origin="console", who="bench")

    async def _read(self, name: str) -> tuple[str, str]:
        return name, script(LINES)

    def do(self, text: str) -> None:
        """Ask, and let time pass until it is done."""
        asked: Deferred[Result] = self.interpreter.execute(text, self.context)
        while not asked.called:
            self.clock.advance(0)
        outcome: list[object] = []
        asked.addBoth(outcome.append)
        assert isinstance(outcome[0], Result), outcome


def seconds(work: Callable[[], None]) -> float:
    """The processor's time of the best of some rounds: others use this machine, too."""
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def split(lines: Sequence[str]) -> None:
    for line in lines:
        shlex.split(line)


def language(show: Show) -> None:
    """Plain commands a second, each of another kind; and a script of 2,000 lines."""
    asked = Asked()
    commands = PLAIN * 500

    def plain() -> None:
        for text in commands:
            asked.do(text)

    rate = len(commands) / seconds(plain)
    yard = len(commands) / seconds(lambda: split(commands))
    show("plain commands, read and done", f"{rate:,.0f}/s", f"{yard:,.0f} splits/s", rate / yard, ">= 20,000/s",
         rate >= 20_000)  # fmt: skip
    took = seconds(lambda: asked.do("process bench.al"))
    lines = script(LINES).splitlines()
    yard = seconds(lambda: split(lines))
    show(f"a script of {LINES:,} lines", f"{1000 * took:,.0f} ms", f"{1000 * yard:,.0f} ms to split", took / yard,
         "<= 300 ms", took <= 0.3)  # fmt: skip


if __name__ == "__main__":
    from run import show as shown

    sys.exit(language(shown))
