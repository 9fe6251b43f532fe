"""Words about schedulers and their tasks (scheduler-alerts.md 1 to 4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.logs import masked
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table
from anylog.language.tokens import Token, tokens_of
from anylog.language.where import read_where
from anylog.processes.schedule import HIGHEST, SYSTEM, USER, Task, read_period, read_start, repeat_text

if TYPE_CHECKING:
    from anylog.node import Node

_NUMBER = f"a whole number from 0 up to {HIGHEST}"


def _number(command: Command, operands: Sequence[str], default: int | None) -> int | None:
    """The id of a scheduler that stands behind the words. Raises AnyLogError 2, 175."""
    if not operands:
        return default
    text = operands[0]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise AnyLogError(175, f"{command.words}: '{text}' is not the id of a scheduler: {_NUMBER}")
    if int(text) > HIGHEST:
        raise AnyLogError(2, f"Scheduler ID is above limit: {text}, the highest is {HIGHEST}")
    return int(text)


class RunScheduler(Command):
    """Start a scheduler: it runs the tasks that are declared for it, one after the other, when they are due.

    Without an id it is scheduler 1. Scheduler 0 is the node's own and starts with the first of the others. Several
    schedulers work side by side, so that a task that takes long does not make those of others wait.
    """

    words = "run scheduler"
    operands = "[id]"
    most = 1
    examples = ("run scheduler", "run scheduler 2")
    index = ("background processes", "scheduler")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an id that is too high, 136 if it runs."""
        number = _number(self, operands, USER)
        assert number is not None
        if number != SYSTEM or not node.schedulers.runs(SYSTEM):
            if node.processes.find("scheduler") is None:
                await node.processes.start(node.schedulers)
                if number == SYSTEM:
                    return None
            node.schedulers.begin(number)
            return None
        raise AnyLogError(136, "Scheduler already running: use 'exit scheduler 0' first")


class ExitScheduler(Command):
    """Stop a scheduler, or all. Their tasks stay declared and go on when it is started again."""

    words = "exit scheduler"
    operands = "[id]"
    most = 1
    examples = ("exit scheduler", "exit scheduler 2")
    index = ("background processes", "scheduler")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an id that is too high."""
        number = None if operands == ["all"] else _number(self, operands, None)
        if number is None:
            ended = await node.processes.exit("scheduler")
        else:
            ended = await node.schedulers.end(number)
            if node.schedulers.alone:
                await node.processes.exit("scheduler")
        return None if ended else Result(text=f"'{' '.join(('scheduler', *operands))}' is not running")


class _Declared(Command):
    """The options of `schedule`; they stand before its `task`."""

    words = "schedule"
    where = {
        "time": Text(required=True, help="how often"),
        "name": Text(help="of the task, unique in its scheduler"),
        "start": Text(help="when first"),
        "scheduler": Whole(default=USER, least=0, most=HIGHEST, help="which scheduler"),
    }


class Schedule(Command):
    """Declare a task: a command that a scheduler runs again and again.

    What stands behind `task` is kept as it is written: keys are replaced, and times reckoned, at each run. A task
    begins now or at its `start`, and then comes every `time`; a run that is late is left out. Those of one scheduler
    run one after the other, in the order of their ids. A task that fails is told in the error log and in
    `get scheduler`, and comes again.

    In a query `TIME(CURRENT)` is the time of this run, `TIME(PREVIOUS)` that of the run before it that succeeded.
    """

    words = "schedule"
    usage = (
        "schedule [time = number and unit] [and name = text] [and start = date, +2h or start of day]"
        " [and scheduler = id] task [command]"
    )
    operands = "time = ... task [command]"
    raw = literal = True
    examples = (
        "schedule time = 15 seconds and name = cpu task cpu_percent = get cpu usage",
        'schedule time = 1 day and name = "archive" and start = start of day task delete archive where days = 30',
        "schedule name = watch and time = 5 minutes and scheduler = 2 task process !local_scripts/watch.al",
    )
    index = ("scheduler", "monitor")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a wrong structure or a name that is taken, 3 for too many tasks, 175."""
        text = operands[0] if operands else ""
        tokens = tokens_of(text)
        if len(tokens) > 1 and tokens[0].is_word("task") and tokens[1].is_word(*OPERATIONS):
            return await Steer().run(node, context, [text[tokens[1].start :]])  # as older manuals write it
        place = next((at for at, token in enumerate(tokens) if token.is_word("task") and not _value(tokens, at)), None)
        if place is None:
            raise AnyLogError(2, f"Missing 'task' in schedule statement; usage: {self.usage}")
        command = text[tokens[place].end :].strip()
        if not command:
            raise AnyLogError(2, "Missing scheduled command to execute")
        first = 1 if tokens[0].is_word("where") else 0
        given = _Declared.read((), read_where(tokens[first:place], _Declared.where, scope_of(node, context)))
        period = read_period(given["time"])
        now = unix(node.clock)
        start = now if given["start"] is None else read_start(given["start"], now)
        tasks = node.schedulers.of(given["scheduler"])
        tasks.add(
            lambda number: Task(
                id=number, name=given["name"] or "", text=command, period=period, start=start, due=node.clock.seconds()
            )
        )
        node.schedulers.changed(tasks.number)
        return None


def _value(tokens: Sequence[Token], place: int) -> bool:
    """Whether the word at that place is the value of a key: `name = task`."""
    return place > 0 and tokens[place - 1].is_operator("=")


OPERATIONS = ("stop", "resume", "remove", "run", "init")


class _Named(Command):
    """The options of `task`."""

    words = "task"
    where = {
        "scheduler": Whole(default=USER, least=0, most=HIGHEST, help="which scheduler"),
        "name": Text(help="of the task"),
        "id": Whole(least=1, help="of the task"),
        "start": Text(help="with init: when it begins anew"),
    }


class Steer(Command):
    """Stop a task, let it go on, remove it, run it once now, or give it a new start.

    `run` gives what the command of the task gives, whatever its mode, and leaves alone when it is due. `init` lets it
    rest until `start`, as an alert does that shall be silent for a day.
    """

    words = "task"
    usage = (
        "task [stop/resume/remove/run/init] where [scheduler = id and] name = [text] or id = [number]"
        " [and start = date]"
    )
    operands = "stop/resume/remove/run/init where ..."
    raw = literal = True
    examples = (
        "task stop where scheduler = 1 and name = cpu",
        'task init where name = "disk watch" and start = +1d',
        "task run where id = 2",
        "task remove where name = cpu",
    )
    index = ("scheduler", "monitor")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a wrong structure, 162 for a task that is not there, 175."""
        text = operands[0] if operands else ""
        tokens = tokens_of(text)
        if not tokens or not tokens[0].is_word(*OPERATIONS):
            raise AnyLogError(2, f"task: '{tokens[0].text if tokens else ''}' is none of {', '.join(OPERATIONS)}")
        what = tokens[0].text.lower()
        if len(tokens) < 2 or not tokens[1].is_word("where"):
            raise AnyLogError(2, f"task {what}: 'where' is missing; usage: {self.usage}")
        tokens = tokens_of(re.sub(r"(?i)\bstart\s+(?=[+\d])", "start = ", text))
        given = _Named.read((), read_where(tokens[2:], _Named.where, scope_of(node, context)))
        tasks = node.schedulers.of(given["scheduler"])
        task = tasks.find(given["name"], given["id"])
        if given["start"] is not None and what != "init":
            raise AnyLogError(2, f"task {what}: 'start' belongs to 'task init'")
        match what:
            case "run":
                return await node.schedulers.run_now(task)
            case "stop":
                task.stopped = True
            case "resume":
                if task.stopped:
                    task.stopped, task.begun, task.due = False, False, node.clock.seconds()
            case "remove":
                del tasks.known[task.id]
            case "init":
                if given["start"] is None:
                    raise AnyLogError(2, "Missing start date and time for scheduled task")
                task.start = read_start(given["start"], unix(node.clock))
                task.stopped, task.begun, task.due = False, False, node.clock.seconds()
        node.schedulers.changed(tasks.number)
        return None


class GetScheduler(Command):
    """Show the schedulers, whether they run, and their tasks: how often each ran, and what came of it last."""

    words = "get scheduler"
    operands = "[id]"
    most = 1
    where = {"format": Format}
    examples = ("get scheduler", "get scheduler 1", "get scheduler where format = json")
    index = ("background processes", "scheduler", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an id that is too high."""
        number, schedulers = _number(self, operands, None), node.schedulers
        known = sorted({SYSTEM, USER, *schedulers.declared} & {*schedulers.declared})
        if number is not None and number not in known:
            return Result(text=f"Scheduler {number} not declared", data={})
        shown = known if number is None else [number]
        data, text = {}, ""
        for each in shown:
            tasks, status = schedulers.of(each), "Running" if schedulers.runs(each) else "Not Running"
            data[str(each)] = {"status": status, "tasks": [self._values(node, task) for task in tasks.known.values()]}
            text += f"\r\n\r\nScheduler ID:     {each}\r\nScheduler Status: {status}\r\nScheduled Tasks\r\n"
            text += bar_table(_TITLES, [_row(task) for task in tasks.known.values()]) + "\r\n"
        return Result(text=text or "Scheduler not declared", data=data, format=options["format"] or "table")

    def _values(self, node: Node, task: Task) -> dict[str, Any]:
        """As JSON; times in UTC."""
        following = None
        if not task.stopped:
            ahead = max(0.0, task.due - node.clock.seconds())
            following = _utc(max(unix(node.clock) + ahead, 0.0 if task.begun else task.start))
        return {
            "id": task.id,
            "mode": task.mode,
            "name": task.name,
            "counter": task.runs,
            "run_status": masked(task.status),
            "start_time": _utc(task.start),
            "repeat_seconds": task.period,
            "last_run": None if task.last is None else _utc(task.last),
            "next_run": following,
            "task": masked(task.text),
        }


_TITLES = ("ID", "Mode", "Name", "Counter", "Run Status", "Start-Time", "Repeat-Time", "Task")


def _row(task: Task) -> tuple[Any, ...]:
    """As a table; the start in the time of this machine."""
    start = f"{datetime.fromtimestamp(task.start):%Y-%m-%d %H:%M:%S.%f}"
    return (task.id, task.mode, task.name, task.runs, masked(task.status), start, repeat_text(task.period),
            masked(task.text))  # fmt: skip


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


COMMANDS: tuple[type[Command], ...] = (RunScheduler, ExitScheduler, Schedule, Steer, GetScheduler)
