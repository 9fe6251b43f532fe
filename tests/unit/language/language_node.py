"""A node with nothing but the language: what the tests of this room ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import anylog.commands
import anylog.language.commands
from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Text, Whole
from anylog.language.context import Call, Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.echoes import EchoQueue
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.network.reply_to import Ways
from anylog.process import Processes


class Files:
    """Scripts by their paths."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    async def read(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        for path in (name, f"{folder}/{name}", f"/home/n/local_scripts/{name}"):
            if path in self.files:
                return path, self.files[path]
        raise AnyLogError(112, f"no such script: {name}")


class Fold(Command):
    """Show what was read: operands and options."""

    words = "test fold"
    operands = "[any]"
    most = None
    where = {
        "name": Text(),
        "size": Whole(default=1),
        "topic": Text(many=True),
        "deep": Flag(default=False),
        "late": Text(late=True),
        "rest ip": Text(),
    }
    examples = ("test fold a where name = b",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        return Result(data=[list(operands), {key: value for key, value in options.items() if value not in (None, [])}])


class Rest(Command):
    """Show the rest of the line."""

    words = "test raw"
    raw = True
    examples = ("test raw select 1",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        return Result(text=operands[0] if operands else None)


class Fails(Command):
    """Fail with an error number."""

    words = "test fail"
    operands = "[number]"
    least = most = 1
    examples = ("test fail 5",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        raise AnyLogError(int(operands[0]), "on purpose")


class Json(Command):
    """Answer with values."""

    words = "test json"
    examples = ("test json",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        return Result(data={"a": [1, 2]}, format="json")


class Paged:
    """An answer in two pages."""

    media = "text/plain; charset=utf-8"

    def __init__(self) -> None:
        self.left, self.closed = [b"page 1,", b"page 2"], False

    def next(self) -> Deferred[bytes | None]:
        return succeed(self.left.pop(0) if self.left else None)

    def close(self) -> None:
        self.closed = True


class Pages(Command):
    """Answer in pages."""

    words = "test pages"
    examples = ("test pages",)

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        return Result(pages=Paged())


class LanguageCase(SynchronousTestCase):
    """Asks one node; `told` holds what was printed."""

    def setUp(self) -> None:
        self.clock, self.told = Clock(), list[str]()
        self.words = Words(
            (*anylog.language.commands.COMMANDS, *anylog.commands.COMMANDS, Fold, Rest, Fails, Json, Pages)
        )
        self.dictionary, self.logs = Dictionary(), Logs(self.clock)
        self.environ = {"HOME": "/home/a"}
        self.disk = Files()
        self.ended: list[str] = []
        self.node = SimpleNamespace(
            membership=SimpleNamespace(synchronizer=None),
            peers=SimpleNamespace(ways=Ways()),
            name="roof",
            address="10.0.0.1:32149",
            words=self.words,
            dictionary=self.dictionary,
            environ=self.environ,
            clock=self.clock,
            logs=self.logs,
            processes=Processes(self.clock),
            exit=lambda: self.ended.append("exit node"),
        )
        self.interpreter = Interpreter(
            words=self.words,
            dictionary=self.dictionary,
            environ=self.environ,
            clock=self.clock,
            node=self.node,
            logs=self.logs,
            read_file=self.disk.read,
        )
        self.node.meaning, self.node.process = self.interpreter.meaning, self.interpreter.process
        self.node.execute = self.interpreter.execute
        self.node.process_lines, self.node.thread = self.interpreter.process_lines, self.interpreter.thread
        self.node.runs, self.node.echoes = self.interpreter.runs, EchoQueue(self.clock)
        self.context = Context(origin="console", who="tester", write=self.told.append)

    def ask(self, asked: str | Call, context: Context | None = None) -> Result:
        """The result of what takes no time."""
        return self.successResultOf(self.interpreter.execute(asked, context or self.context))

    def text(self, asked: str) -> str | None:
        return self.ask(asked).text

    def refused(self, asked: str | Call, context: Context | None = None) -> AnyLogError:
        """The error of what takes no time."""
        error: AnyLogError = self.failureResultOf(
            self.interpreter.execute(asked, context or self.context), AnyLogError
        ).value
        return error

    def run_script(self, text: str, name: str = "/s/test.al") -> list[str]:
        """What a script prints."""
        self.disk.files[name] = text
        self.told.clear()
        self.ask(f"process {name}")
        return list(self.told)
