"""What a watch directory has in work: files, the batches in which they were taken, and their tables. Pure."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from attrs import define, field

from anylog.disk.names import FileName
from anylog.processes.lying import Lying
from anylog.processes.whole import WholeFile


@define(eq=False)
class Table:
    """One table of which files are in work."""

    window: int = 1  # how many may be on their way at a time: the first alone, it may have to make the table
    taken: int = 0  # files in work, from the moment they are to be read
    out: int = 0  # on their way
    stalled: int = 0
    waiting: deque[tuple[Job, WholeFile]] = field(factory=deque)
    sending: bool = False  # a file that comes back at once does not begin it within itself


@define(eq=False)
class Job:
    """A file in work."""

    lying: Lying
    path: Path
    name: FileName | None
    table: Table | None
    weight: int  # bytes that it takes in memory, as far as that is known
    made: int = 0  # bytes of its normal form
    batch: Batch | None = None
    file: WholeFile | None = None


@define(eq=False)
class Batch:
    """Files that were taken together."""

    since: float
    jobs: dict[str, Job]  # those that are not done
    stalled: bool = False
