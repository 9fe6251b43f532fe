"""Words about call stacks: in the error log, and of what runs at the moment (language.md 9.9, monitoring.md 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.language.command import Command, Format
from anylog.language.context import Context, Result
from anylog.language.script_commands import on_or_off

if TYPE_CHECKING:
    from anylog.node import Node


class SetErrorTraceback(Command):
    """Add to entries of the error log, or to those with a text, where in the code of the node they came from."""

    words = "set error traceback"
    operands = "on | off [text]"
    least, most = 1, None
    examples = ("set error traceback on", "set error traceback on timeout", "set error traceback off")
    index = ("debug", "log")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word."""
        node.logs.error_traceback = " ".join(operands[1:]).lower() if on_or_off(self.words, operands) else None
        return None


class SetExceptionTraceback(Command):
    """Add to entries of the error log about faults of the node itself where in its code they came from."""

    words = "set exception traceback"
    operands = "on | off"
    least = most = 1
    examples = ("set exception traceback on", "set exception traceback off")
    index = ("debug", "log")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word."""
        node.logs.exception_traceback = on_or_off(self.words, operands)
        return None


class SetTraceback(Command):
    """Add to all entries of the error log where in the code of the node they came from."""

    words = "set traceback"
    operands = "on | off"
    least = most = 1
    examples = ("set traceback on", "set traceback off")
    index = ("debug", "log")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word."""
        on = on_or_off(self.words, operands)
        node.logs.exception_traceback, node.logs.error_traceback = on, "" if on else None
        return None


class GetStackTrace(Command):
    """Show where each thread of this process is at the moment, and the line at which each script is."""

    words = "get stack trace"
    where = {"format": Format}
    examples = ("get stack trace", "get stack trace where format = json")
    index = ("debug", "monitor")
    http = ("GET",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        threads = node.programs.stacks()
        scripts = {
            f"{run.number}": f"{run.frame.script} line {run.frame.line}" for run in node.runs if run.frame is not None
        }
        lines = []
        for name, stack in threads.items():
            lines += [f"Thread {name}:", *(f"    {line}" for line in stack)]
        lines += [f"Script {number}: {place}" for number, place in scripts.items()]
        data = {"threads": threads, "scripts": scripts}
        return Result(text="\r\n".join(lines), data=data, format=options["format"] or "text")


COMMANDS: tuple[type[Command], ...] = (SetErrorTraceback, SetExceptionTraceback, SetTraceback, GetStackTrace)
