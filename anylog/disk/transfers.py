"""What the file commands do to files, in slices for a lane (operator-ha.md 13).

A target appears whole, by rename, or not at all. Memory holds a slice or two, whatever the size of a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

from attrs import define, frozen

from anylog.disk.confined import Confines, Use, naming
from anylog.disk.forms import SLICE, plain
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile
from anylog.language.context import Upload

ROOM = 64 << 20  # bytes of disk that must stay free: readings come before copies

Transform = Callable[[Iterator[bytes], int], Iterator[bytes]]
R = TypeVar("R")
Work = Generator[None, None, R]


# ---------------------------------------------------------------------- reading


@define(eq=False)
class Source:
    """A regular file that is open for reading."""

    path: Path
    descriptor: int
    size: int

    @classmethod
    def open(cls, path: Path, confines: Confines, named: str = "") -> Source:
        """Open what lies at `path` (already resolved). AnyLogError 12, 40 for what is no regular file, 63, 212."""
        if not os.path.lexists(path) and os.path.lexists(f"{path}.gz"):  # the archive is listed without that
            raise AnyLogError(12, f"{named or path}: only {path.name}.gz is there")
        with naming(named or path):
            found = os.lstat(path)  # before it is opened: opening a device may do something
            _regular(found.st_mode, named or path)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            with naming(named or path):
                found = os.fstat(descriptor)
                _regular(found.st_mode, named or path)
            _still_there(descriptor, path, confines, named)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, found.st_size)

    def chunks(self) -> Iterator[bytes]:
        """What it held when it was opened. AnyLogError 63 if it has become shorter."""
        left = self.size
        while left > 0:
            with naming(self.path):
                data = os.read(self.descriptor, min(SLICE, left))
            if not data:
                raise AnyLogError(63, f"{self.path} has become shorter while it was read")
            left -= len(data)
            yield data

    def close(self) -> None:
        """Let it go."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


def _regular(mode: int, named: Path | str) -> None:
    if stat.S_ISREG(mode):
        return
    what = {
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }.get(stat.S_IFMT(mode), "something else")
    raise AnyLogError(40, f"'{named}' is {what}, not a file")


def _still_there(descriptor: int, path: Path, confines: Confines, named: str) -> None:
    """Somebody may have put a link in the place of a directory since the path was resolved: what was opened counts."""
    try:
        opened = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return  # no such place on this system
    confines.check(opened, named or str(path), Use.LOOK)


# ---------------------------------------------------------------------- writing


@define(eq=False)
class Draft:
    """A target in the making, under a hidden name beside it."""

    disk: Disk
    target: Path
    path: Path
    _file: DiskFile
    _size: int = 0

    @classmethod
    def begin(cls, disk: Disk, target: Path, token: str, expected: int) -> Draft:
        """AnyLogError 12 if the directory is missing, 503 if there is no room for `expected` bytes, 14."""
        with naming(target, 14):
            is_place(target)
            room(disk, target, expected)
            path = target.with_name(f".{token}.draft")
            return cls(disk, target, path, disk.create(path, 0))

    @classmethod
    def adopt(cls, disk: Disk, target: Path, path: Path) -> Draft:
        """A file that is there already, to become the target. AnyLogError 12, 14 or 40."""
        with naming(target, 14):
            is_place(target)
            return cls(disk, target, path, disk.open(path))

    def write(self, data: bytes) -> None:
        """Some more."""
        with naming(self.target, 14):
            room(self.disk, self.target, len(data))
            self._file.write(self._size, data)
        self._size += len(data)

    def finish(self, *, replace: bool) -> Work[bool]:
        """Make it appear; False if it was there already, with equal content, and is not to be replaced.

        AnyLogError 86 if another is there.
        """
        with naming(self.target, 14):
            self._file.sync()
            self._file.close()
            if replace:
                self.disk.move(self.path, self.target)
                return True
        for _ in range(10):
            if place_new(self.disk, self.path, self.target):
                return True
            same = yield from equal(self.path, self.target)
            if same is not None:
                if same:
                    return False
                raise AnyLogError(86, f"another file is in {self.target.parent} as {self.target.name}")
        raise AnyLogError(86, f"{self.target} comes and goes")

    def close(self) -> None:
        """Let go of it, as it is."""
        self._file.close()

    def abandon(self) -> None:
        """Leave nothing behind; also after it has appeared."""
        self.close()
        with naming(self.path, 14):
            self.disk.forget(self.path)


def is_place(target: Path) -> None:
    """Raise AnyLogError 12 or 40 if no file can be there. A rename would replace /dev/null, too."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISLNK(mode):
            _regular(mode, target)
    if not target.parent.is_dir():
        raise AnyLogError(12, f"the directory {target.parent} does not exist")


def elsewhere(error: AnyLogError) -> bool:
    """Whether a rename failed because the target is on another file system."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EXDEV


def place_new(disk: Disk, path: Path, target: Path) -> bool:
    """Rename where nothing is replaced; False if something is there. AnyLogError 14."""
    with naming(target, 14):
        try:
            os.link(path, target, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as fault:
            if fault.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            if os.path.lexists(target):  # a file system without links: nothing better than to look first
                return False
            disk.move(path, target)
        else:
            disk.forget(path)
        return True


def equal(one: Path, other: Path) -> Work[bool | None]:
    """Whether two files hold the same; None if one has gone meanwhile."""
    files = []
    try:
        for path in (one, other):
            with naming(path):
                files.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        with naming(other):
            if os.fstat(files[0]).st_size != os.fstat(files[1]).st_size:
                return False
            while True:
                mine, theirs = (os.read(descriptor, SLICE) for descriptor in files)
                if mine != theirs:
                    return False
                if not mine:
                    return True
                yield
    except AnyLogError as gone:
        if gone.number == 12:
            return None
        raise
    finally:
        for descriptor in files:
            os.close(descriptor)


def room(disk: Disk, target: Path, size: int) -> None:
    """Raise AnyLogError 503 if the disk has no room for so much; blocking."""
    free = disk.free(target.parent)
    if free - size < ROOM:
        raise AnyLogError(503, f"{target}: {free:,} bytes of disk are free, {size + ROOM:,} are needed")


# ---------------------------------------------------------------------- one file, or all that match


@frozen(kw_only=True)
class Job:
    """What a command is to do, as plain values."""

    disk: Disk
    confines: Confines
    source: str
    target: str = ""  # empty: beside the source
    transform: Transform = plain
    suffix: Callable[[str], str] = str  # the name of a target that was not named
    skip: Callable[[str], bool] = lambda name: False  # what a pattern leaves out
    grows: bool = True  # the target needs about as much room as the source, or more
    token: str = ""  # of this command alone: names its drafts


@define
class Told:
    """What came of it."""

    done: int = 0
    there: int = 0  # were there already
    pattern: bool = False
    last: str = ""

    def text(self, verb: str) -> str | None:
        """For whoever asked: nothing where one file was named and it was done."""
        if not self.pattern:
            return f"{self.last} is there already" if self.there else None
        more = f", {self.there} were there already" if self.there else ""
        return f"{self.done} file{'' if self.done == 1 else 's'} {verb}{more}"


def converted(job: Job) -> Work[Told]:
    """Copy, compress, decompress, encode or decode."""
    return (yield from _each(job, _convert))


def moved(job: Job) -> Work[Told]:
    """Move files to a directory, or one to a new name."""
    return (yield from _each(job, _move))


def deleted(job: Job) -> Work[Told]:
    """Delete files."""
    return (yield from _each(job, _delete))


def received(job: Job, upload: Upload) -> Work[Told]:
    """Put what came with a REST call in its place; a directory as the target needs the name of the sender's file."""
    confines, name = job.confines.real(), last_of(upload.name.replace("\\", "/"))
    if "*" in name or not name.isprintable():  # nobody could name it in a command
        raise AnyLogError(119, f"a file that is called {name[:100]!r} is not taken into '{job.target}'")
    target = target_of(confines, job.target, name)
    try:
        draft = Draft.adopt(job.disk, target, upload.path)
        try:
            new = yield from draft.finish(replace=not confines.is_watched(target))
        finally:
            draft.close()
    except AnyLogError as error:
        if not elsewhere(error):
            raise
        source = Source.open(Path(os.path.realpath(upload.path)), confines, upload.name)
        new = yield from written(job, confines, source, target, job.token)
    return Told(done=int(new), there=int(not new), last=str(target))


def hashed(confines: Confines, text: str) -> Work[str]:
    """The md5 of the content: what names files in this network, nothing that is to be trusted."""
    confines = confines.real()
    source, digest = Source.open(confines.existing(text, Use.LOOK), confines, text), hashlib.md5(usedforsecurity=False)
    try:
        for data in source.chunks():
            digest.update(data)
            yield
    finally:
        source.close()
    return digest.hexdigest()


def pages(confines: Confines, text: str) -> Generator[bytes, None, None]:
    """The content, slice by slice."""
    confines = confines.real()
    source = Source.open(confines.existing(text, Use.READ), confines, text)
    try:
        yield from source.chunks()
    finally:
        source.close()


def exists(confines: Confines, text: str) -> bool:
    """Whether a file is there; blocking. AnyLogError 119, 212."""
    try:
        return stat.S_ISREG(os.lstat(confines.real().existing(text, Use.LOOK)).st_mode)
    except OSError:
        return False


def _each(job: Job, do: Callable[[Job, Confines, str, str], Work[bool]]) -> Work[Told]:
    confines, told = job.confines.real(), Told()
    if "*" not in job.source:
        new = yield from do(job, confines, job.source, job.token)
        if new:
            return Told(done=1)
        there = target_of(confines, job.target, job.suffix(last_of(job.source)), beside=job.source)
        return Told(there=1, last=there.name)
    folder, _, pattern = job.source.rpartition("/")
    told.pattern = True
    if job.target and not job.target.endswith("/"):
        place = confines.existing(job.target, Use.CHANGE)
        with naming(job.target, 14):
            if not place.is_dir():
                raise AnyLogError(40, f"'{job.target}' is no directory, and '{job.source}' may be several files")
    names = yield from matching(confines, folder or ("/" if job.source[0] == "/" else "."), pattern)
    for number, name in enumerate(names):
        if job.skip(name):
            continue
        try:
            new = yield from do(job, confines, f"{folder}/{name}" if folder else name, f"{job.token}{number}")
        except AnyLogError as error:
            if error.number == 12 and not os.path.lexists(confines.existing(folder or ".", Use.LOOK) / name):
                continue  # it has gone since it was listed
            done = f"; {told.done} were done before" if told.done else ""
            raise AnyLogError(error.number, f"{name}: {error}{done}") from error
        told.done += new
        told.there += not new
        yield
    if not told.done and not told.there:
        raise AnyLogError(152, f"no file is like '{job.source}'")
    return told


def matching(confines: Confines, folder: str, pattern: str) -> Work[list[str]]:
    """Names of regular files like `pre*.typ*`, sorted. Hidden ones only if the pattern begins with a dot."""
    if "*" in folder:
        raise AnyLogError(40, f"'{folder}': a '*' may stand in the name of a file alone")
    fits, names = matcher(pattern), []
    place = confines.existing(folder, Use.LOOK)
    with naming(folder), os.scandir(place) as entries:
        for number, entry in enumerate(entries):
            if fits(entry.name) and entry.is_file(follow_symlinks=False):
                names.append(entry.name)
            if number % 1000 == 999:
                yield
    return sorted(names)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name is like a pattern; `*` is any text. With a dot in it, name and type are matched by themselves."""
    name, dot, kind = pattern.rpartition(".")

    def matches(text: str) -> bool:
        if text.startswith(".") and not pattern.startswith("."):
            return False
        if not (dot and name):
            return like(text, pattern)
        first, found, last = text.rpartition(".")
        return bool(found) and like(first, name) and like(last, kind)

    return matches


def like(text: str, pattern: str) -> bool:
    """`*` in the pattern is any text; without a regular expression, which may take for ever over some of them."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for part in others[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(others[-1]) and len(text) - len(others[-1]) >= at


def _convert(job: Job, confines: Confines, named: str, token: str) -> Work[bool]:
    path = confines.existing(named, Use.READ)
    target = target_of(confines, job.target, job.suffix(last_of(named)), beside=named)
    if target == path:
        raise AnyLogError(40, f"'{named}' cannot be its own target")
    return (yield from written(job, confines, Source.open(path, confines, named), target, token))


def written(job: Job, confines: Confines, source: Source, target: Path, token: str) -> Work[bool]:
    try:
        draft = Draft.begin(job.disk, target, token, source.size if job.grows else 0)
        try:
            for data in job.transform(source.chunks(), source.size):
                draft.write(data)
                yield
            return (yield from draft.finish(replace=not confines.is_watched(target)))
        finally:
            draft.abandon()
    finally:
        source.close()


def _move(job: Job, confines: Confines, named: str, token: str) -> Work[bool]:
    path = confines.name(named)
    target = target_of(confines, job.target, last_of(named))
    if target == path:
        return False
    with naming(named):
        _regular(os.lstat(path).st_mode, named)
    with naming(target, 14):
        is_place(target)
    try:
        if not confines.is_watched(target):
            with naming(f"{path} to {target}", 14):
                job.disk.move(path, target)
            return True
        if place_new(job.disk, path, target):
            return True
        same = yield from equal(path, target)
        if same is False:
            raise AnyLogError(86, f"another file is in {target.parent} as {target.name}")
    except AnyLogError as error:
        if not elsewhere(error):
            raise
    new = yield from _convert(job, confines, named, token)  # another file system, or there already
    with naming(path, 14):
        job.disk.forget(path)
    return new


def _delete(job: Job, confines: Confines, named: str, token: str) -> Work[bool]:
    path = confines.name(named)
    with naming(named):
        _regular(os.lstat(path).st_mode, named)
    with naming(named, 14):
        job.disk.forget(path)
    return True
    yield  # pragma: no cover - a generator like the others


def target_of(confines: Confines, target: str, name: str, *, beside: str = "") -> Path:
    """Where a file of that name is to go: a directory that was named, a new name, or beside the source."""
    if "*" in target:
        raise AnyLogError(40, f"'{target}': a '*' may stand in the name of a source alone")
    if target and not target.endswith("/"):
        final = confines.name(target)
        with naming(target, 14):
            if not final.is_dir():
                return final
    elif not target:
        return confines.name(f"{Path(beside).parent}/{name}")
    if not name:
        raise AnyLogError(119, f"'{target}' is a directory, and the file has no name")
    return confines.name(f"{target}/{name}")


def last_of(named: str) -> str:
    return named.rpartition("/")[2]
