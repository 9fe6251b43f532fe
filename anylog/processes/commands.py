"""Words about the work in the background: the streamer and its buffers (ingest.md 8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Bytes, Command, Flag, Format, Seconds, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table
from anylog.mapping.names import normalise
from anylog.processes.probing import check_folder
from anylog.processes.streamer import Streamer

if TYPE_CHECKING:
    from anylog.node import Node


class RunStreamer(Command):
    """Cut buffers of streaming data when their time threshold is over.

    Buffers that reach their volume threshold are cut without it. Readings are safe and can be queried in any case.
    The directories are those of older scripts: they must be there, the node's own if they are not given. What is cut
    becomes a file where the operator or publisher that runs has its files, and the reply names a directory that it
    does not go to.
    """

    words = "run streamer"
    where = {
        "prep_dir": Text(help="directory for files that are being written"),
        "watch_dir": Text(help="directory for finished files"),
        "err_dir": Text(also=("error_dir",), help="directory for files that failed"),
    }
    examples = ("run streamer", "run streamer where prep_dir = !prep_dir and watch_dir = !watch_dir")
    index = ("streaming", "background processes")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 33 for a directory that is missing or cannot be written to, 136."""
        given = {key: Path(value).expanduser().absolute() for key, value in options.items() if value}

        def check() -> None:
            for key, path in given.items():
                check_folder(node.disk, self.words, key, path)

        await node.lanes.open("disk", 2).run(check)
        await node.processes.start(Streamer(clock=node.clock, intake=node.intake))
        others = [key for key, path in given.items() if str(path) != str(node.dictionary.get(key))]
        if not others:
            return None
        return Result(text=f"files of buffers lie where the operator or publisher has them, not in {', '.join(others)}")


class SetBufferThreshold(Command):
    """Set when a buffer of streaming data is due: by time, by volume; and whether rows are loaded at once.

    Without a table the limits hold for all tables of the database, without a database for the node. What is not given
    takes its default (60 seconds, 10KB, write_immediate true). Zero for both time and volume removes the entry.
    With `write_immediate = false` rows are loaded when their buffer is due; they are as safe as otherwise. A buffer is
    always due before its file would be too large for other members: 64 MiB, or a million objects and lists.
    """

    words = "set buffer threshold"
    where = {
        "dbms_name": Text(also=("dbms",), help="database, all if not given"),
        "table_name": Text(also=("table",), help="table, all if not given"),
        "time": Seconds(help="age of the first row"),
        "volume": Bytes(help="bytes of the rows"),
        "write_immediate": Flag(help="load rows as they come"),
    }
    examples = (
        "set buffer threshold where time = 60 seconds and volume = 10KB",
        "set buffer threshold where dbms_name = town and table_name = weather and time = 2 minutes and volume = 1MB",
    )
    index = ("streaming", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if options["write_immediate"] and node.processes.find("publisher") is not None:
            raise AnyLogError(2, f"{self.words}: 'write_immediate' has no meaning on a publisher, it has no tables")
        node.intake.thresholds.set(
            normalise(options["dbms_name"]) if options["dbms_name"] else "",
            normalise(options["table_name"]) if options["table_name"] else "",
            time=options["time"],
            volume=options["volume"],
            write_immediate=options["write_immediate"],
        )
        return None


class FlushBuffers(Command):
    """Cut all buffers now, whatever their thresholds, and wait until their rows are in the tables."""

    words = "flush buffers"
    examples = ("flush buffers",)
    index = ("streaming",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.intake.flush()
        waits = node.intake.waiting()
        if waits:
            raise AnyLogError(3, "; ".join(f"{dbms}: {why}" for dbms, why in sorted(waits.items())))
        return None


def _hms(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    """Counters with commas."""
    return tuple([f"{value:,}" if type(value) is int else value for value in row.values()])


class GetStreaming(Command):
    """Show the thresholds of streaming data, and for each table what came, what is buffered, and when.

    `config` shows the thresholds alone. Databases whose readings wait in the journal are named with the reason.
    """

    words = "get streaming"
    operands = "[config]"
    most = 1
    where = {"format": Format}
    examples = ("get streaming", "get streaming where format = json", "get streaming config")
    index = ("streaming", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if operands and operands[0] != "config":
            raise AnyLogError(2, f"get streaming: unexpected '{operands[0]}'; usage: {self.usage_text()}")
        intake = node.intake
        status = "Running" if node.processes.find("streamer") else "Not declared"
        default = intake.thresholds.default
        buffered = sum(buffer.rows for buffer in intake.open_buffers())
        total = sum(traffic.rows for traffic in intake.traffic.values())
        config = {
            "status": status,
            "Threshold_Time": default.time,
            "Threshold_Volume": default.volume,
            "Write_Immediate": default.write_immediate,
            "Buffered_Rows": buffered,
            "Flushed_Rows": total - buffered,
        }
        tables = self._tables(node)
        if operands:
            data: Any = config
        else:
            data = tables
        if options["format"] == "json":
            return Result(data=data, format="json")
        text = bar_table(
            ("Threshold", "Value", "Streamer"),
            [
                ("Default Time", f"{default.time:g} seconds", status),
                ("Default volume", f"{default.volume:,} bytes", ""),
                ("Default immediate", str(default.write_immediate).lower(), ""),
                ("Buffered Rows", f"{buffered:,}", ""),
                ("Flushed Rows", f"{total - buffered:,}", ""),
                *((f"Waiting: {dbms}", why, "") for dbms, why in sorted(intake.waiting().items())),
            ],
        )
        if tables and not operands:
            titles = (
                "\nDBMS-Table", "Put\nfiles", "Put\nRows", "Streaming\nCalls", "Streaming\nRows", "Cached\nRows",
                "Counter\nImmediate", "Threshold\nVolume(KB)", "Buffer\nFill(%)", "Threshold\nTime(sec)",
                "Time Left\n(Sec)", "Last Process\nHH:MM:SS",
            )  # fmt: skip
            text += "\r\n" + bar_table(titles, [_shown(row) for row in tables], heading="Statistics")
        return Result(text=text, data=data, format="table")

    def _tables(self, node: Node) -> list[dict[str, Any]]:
        intake, now = node.intake, node.clock.seconds()
        rows = []
        for (dbms, table), traffic in sorted(intake.traffic.items()):
            buffers = [each for each in intake.open_buffers() if (each.where.dbms, each.where.table) == (dbms, table)]
            threshold = buffers[0].threshold if buffers else intake.thresholds.of(dbms, table)
            volume = sum(buffer.volume for buffer in buffers)
            left = min((buffer.since + threshold.time - now for buffer in buffers), default=threshold.time)
            rows.append(
                {
                    "table": f"{dbms}.{table}",
                    "File Put": traffic.file_calls,
                    "File Rows": traffic.file_rows,
                    "Streaming Put": traffic.calls,
                    "Streaming Rows": traffic.rows,
                    "Streaming Cached": sum(buffer.rows for buffer in buffers),
                    "Immediate": traffic.immediate,
                    "Threshold Volume": threshold.volume // 1024,
                    "% Buffer Fill": round(100 * volume / threshold.volume, 2) if threshold.volume else 0,
                    "Threshold Time": int(threshold.time),
                    "Time Left": max(0, int(left)),
                    "Last Process": _hms(now - traffic.last) if traffic.last else "",
                }
            )
        return rows


COMMANDS: tuple[type[Command], ...] = (RunStreamer, SetBufferThreshold, FlushBuffers, GetStreaming)
