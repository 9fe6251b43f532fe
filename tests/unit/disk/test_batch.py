"""Many steps together, on the real disk and on the one in memory (interfaces.Disk.batch)."""

from __future__ import annotations

import errno
import gzip
import os
import signal
from pathlib import Path

import pytest

from anylog.disk import batch, durable
from anylog.disk.archive import days_in, folder_of, gunzip, highest_id, ids_in, read_archived
from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.interfaces import Forget, Move, Publish, Read
from anylog.testing.disk import MemoryDisk

LARGE = 1 << 20


@pytest.fixture(params=["here", "worker", "memory"])
def disk(request, monkeypatch):
    if request.param == "memory":
        yield MemoryDisk()
        return
    monkeypatch.setattr(durable, "FEW", 10_000 if request.param == "here" else 0)
    disk = RealDisk()
    yield disk
    disk.stop()


def only(disk, step):
    (outcome,) = disk.batch([step])
    return outcome


def test_what_is_published_is_there_whole(disk, tmp_path):
    path = tmp_path / "26" / "11" / "21" / "a.json"
    assert only(disk, Publish(path, b"one\n")) == "new"
    assert only(disk, Publish(path, b"one\n")) == "same"
    assert only(disk, Publish(path, b"two\n")) == "other"
    assert disk.read(path) == b"one\n"
    assert disk.names(path.parent) == ["a.json"]


def test_packed_files_are_equal_if_their_contents_are(disk, tmp_path):
    for size in (0, 100, 5_000, 3_000_000):
        path, data = tmp_path / f"{size}.json.gz", os.urandom(size // 2) + b"x" * (size // 2)
        assert only(disk, Publish(path, data, True)) == "new"
        assert gzip.decompress(disk.read(path)) == data
        assert only(disk, Publish(path, data, True)) == "same"
        assert only(disk, Publish(path, data + b"!", True)) == "other"


def test_many_files_at_once(disk, tmp_path):
    paths = [tmp_path / str(number % 3) / f"{number}.json" for number in range(600)]
    assert disk.batch([Publish(path, path.name.encode()) for path in paths]) == ["new"] * 600
    assert [data for data, _, _ in disk.batch([Read(path, 100) for path in paths])] == [p.name.encode() for p in paths]
    assert disk.batch([Forget(path) for path in paths]) == [None] * 600
    assert disk.names(tmp_path / "0") == []


def test_one_name_twice_in_a_batch(disk, tmp_path):
    path = tmp_path / "a.json"
    outcomes = disk.batch(
        [Publish(path, b"1"), Publish(path, b"1"), Publish(path, b"2"), Forget(path), Publish(path, b"3")]
    )
    assert outcomes == ["new", "same", "other", None, "new"]
    assert disk.read(path) == b"3"


def test_one_name_in_two_batches_at_once(tmp_path, monkeypatch):
    """A file comes from two members: neither batch empties the draft that the other is about to rename."""
    final, other, lock, met = str(tmp_path / "a.json"), str(tmp_path / "b.json"), batch.fcntl.flock, []
    first = batch.Batch([("publish", final, b"one\n", False)], True, False)
    first.publish(0, final, b"one\n", False)

    def locked(descriptor, how):
        try:
            lock(descriptor, how)
        except BlockingIOError:
            met.append(descriptor)
            first.settle()  # as if it went on in its own thread
            raise

    monkeypatch.setattr(batch.fcntl, "flock", locked)
    second = batch.Batch([("publish", other, b"two\n", False), ("publish", final, b"one\n", False)], True, False)
    assert second.run() == ["new", "same"]
    assert len(met) == 1
    assert first.outcomes == [None]  # no fault
    assert (tmp_path / "a.json").read_bytes() == b"one\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_draft_of_somebody_who_ended(tmp_path):
    """What it holds is not what is published."""
    final = str(tmp_path / "a.json")
    left = batch.Batch([], True, False)
    left.publish(0, final, b"a long text that was cut\n", False)
    os.close(left.drafts[0][3])
    assert batch.Batch([("publish", final, b"one\n", False)], True, False).run() == ["new"]
    assert (tmp_path / "a.json").read_bytes() == b"one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_step_that_fails_does_not_stop_the_others(disk, tmp_path):
    disk.batch([Publish(tmp_path / "there", b"x" * 10)])
    outcomes = disk.batch(
        [
            Read(tmp_path / "gone", 10),
            Read(tmp_path / "there", 9),
            Move(tmp_path / "gone", tmp_path / "else"),
            Publish(tmp_path / "new", b"n"),
            Move(tmp_path / "new", tmp_path / "there"),
            Forget(tmp_path / "gone"),
            Read(tmp_path / "there", 10),
        ]
    )
    assert [outcome.errno for outcome in outcomes[:3]] == [errno.ENOENT, errno.EFBIG, errno.ENOENT]
    assert outcomes[3] == "new"
    assert outcomes[4].errno == errno.EEXIST
    assert (outcomes[5], outcomes[6][0]) == (None, b"x" * 10)


def test_what_was_changed_meanwhile_is_not_removed(disk, tmp_path):
    path = tmp_path / "a.json"
    disk.batch([Publish(path, b"one\n")])
    (seen,) = disk.batch([Read(path, 100)])
    disk.batch([Forget(path), Publish(path, b"one\ntwo\n")])
    assert only(disk, Forget(path, seen[1:])).errno == errno.ESTALE
    assert disk.read(path) == b"one\ntwo\n"
    (seen,) = disk.batch([Read(path, 100)])
    assert disk.batch([Forget(path, seen[1:]), Forget(path, seen[1:])]) == [None, None]


def test_what_lies_there_the_oldest_first(disk, tmp_path):
    names = [f"{number}.json" for number in range(20)]
    for number, name in enumerate(names):
        disk.batch([Publish(tmp_path / name, b"x" * number)])
        if isinstance(disk, RealDisk):
            os.utime(tmp_path / name, ns=(0, 10**15 - number))
    found = disk.entries(tmp_path, 5)
    oldest = [*reversed(names)] if isinstance(disk, RealDisk) else names
    assert [entry.name for entry in found] == oldest[:5]
    assert {entry.kind for entry in found} == {"file"}
    assert disk.stat(tmp_path / "7.json")[0] == 7


@pytest.fixture(params=["here", "worker"])
def real(request, monkeypatch):
    monkeypatch.setattr(durable, "FEW", 10_000 if request.param == "here" else 0)
    disk = RealDisk()
    yield disk
    disk.stop()


def test_links_pipes_and_folders_are_no_files(real, tmp_path):
    (tmp_path / "target").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    outcomes = real.batch([Read(tmp_path / name, 100) for name in ("link", "pipe", "folder", "target")])
    assert [outcome.errno for outcome in outcomes[:3]] == [errno.ELOOP, errno.EINVAL, errno.EINVAL]
    assert outcomes[3][0] == b"secret"
    assert {entry.name: entry.kind for entry in real.entries(tmp_path, 9)} == {
        "link": "link", "pipe": "other", "folder": "folder", "target": "file",
    }  # fmt: skip
    assert only(real, Publish(tmp_path / "link", b"secret")) == "other"


def test_a_place_that_is_no_folder(real, tmp_path):
    (tmp_path / "file").write_text("x")
    assert only(real, Publish(tmp_path / "file" / "a.json", b"1")).errno == errno.ENOTDIR
    with pytest.raises(FileNotFoundError):
        real.entries(tmp_path / "none", 5)


def test_a_folder_that_cannot_be_written_leaves_nothing(real, tmp_path):
    if os.getuid() == 0:
        pytest.skip("root writes everywhere")
    tmp_path.chmod(0o500)
    try:
        assert only(real, Publish(tmp_path / "a.json", b"1")).errno == errno.EACCES
    finally:
        tmp_path.chmod(0o700)
    assert not any(tmp_path.iterdir())


def test_a_worker_that_is_killed_is_replaced(tmp_path):
    disk = RealDisk()
    steps = [Publish(tmp_path / str(number), b"x") for number in range(20)]
    assert disk.batch(steps) == ["new"] * 20
    (worker,) = disk._workers._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait(10)
    assert disk.batch(steps) == ["same"] * 20
    assert disk._workers._idle[0] is not worker
    disk.stop()
    assert disk._workers._idle == []


def test_a_move_that_was_done_before_the_worker_ended_counts(tmp_path, monkeypatch):
    disk = RealDisk()
    disk.batch([Publish(tmp_path / "a", b"1")])
    asked = []

    def ended(*what):
        asked.append(what)
        if len(asked) == 1:
            (tmp_path / "a").rename(tmp_path / "b")  # done, and then it ended
        return None

    monkeypatch.setattr(durable, "FEW", 0)
    monkeypatch.setattr(RealDisk, "_ask", lambda self, *what: ended(*what))
    assert disk.batch([Move(tmp_path / "a", tmp_path / "b")]) == [None]
    assert len(asked) == 2


def test_a_worker_ends_with_its_node(tmp_path):
    disk = RealDisk()
    disk.batch([Publish(tmp_path / str(number), b"x" * LARGE) for number in range(9)])
    process = disk._workers._idle[0]._process
    os.kill(process.pid, signal.SIGTERM)  # as a console or systemd may send to all: the node says when it ends
    os.kill(process.pid, signal.SIGINT)
    assert [size for _, size, _ in disk.batch([Read(tmp_path / str(n), LARGE) for n in range(9)])] == [LARGE] * 9
    disk.stop()
    assert process.poll() == 0


# ---------------------------------------------------------------------- the archive


def test_files_of_the_archive_are_found_by_member_and_id(disk, tmp_path):
    folder = folder_of(tmp_path, "261121101500")
    assert folder == tmp_path / "26" / "11" / "21"
    packed, plain = "d.t.s.0.0.1.7.261121101500.json.gz", "d.t.s.0.0.1.77.261121101500.json"
    disk.batch([Publish(folder / packed, b"seven\n", True), Publish(folder / plain, b"more\n")])
    assert ids_in(disk, folder, 1) == {7: packed, 77: plain}
    assert ids_in(disk, folder, "2") == {}
    assert ids_in(disk, tmp_path / "none", 1) == {}
    assert (highest_id(disk, tmp_path, 1), highest_id(disk, tmp_path, 2)) == (77, 0)
    assert highest_id(disk, tmp_path / "none", 1) == 0
    # Newer days hold files of others alone, or one that may be called anything.
    strange, absurd = "d.t.s.0.0.2.9.991231101500.json", f"d.t.s.0.0.1.{(1 << 63) - 1}.270101101500.json"
    for name in (strange, absurd):
        disk.batch([Publish(folder_of(tmp_path, name.split(".")[7]) / name, b"more\n")])
    assert highest_id(disk, tmp_path, 1, "270101", 1 << 62) == 77
    # A day of the future is looked at, and those before it, too.
    wrong = "d.t.s.0.0.1.5.991231101500.json"
    disk.batch([Publish(folder_of(tmp_path, "991231101500") / wrong, b"more\n")])
    assert highest_id(disk, tmp_path, 1, "270101", 1 << 62) == 77
    assert list(days_in(disk, tmp_path)) == ["991231", "270101", "261121"]
    assert read_archived(disk, folder / packed) == b"seven\n"
    assert read_archived(disk, folder / plain) == b"more\n"
    with pytest.raises(FileNotFoundError):
        read_archived(disk, folder / "none")


def test_gzip_is_unpacked_as_far_as_allowed():
    assert gunzip(gzip.compress(b"a") + gzip.compress(b"b") + bytes(512), 10) == b"ab"
    assert gunzip(b"", 10) == b""
    bomb = gzip.compress(bytes(100_000_000))
    for most, data, number in (
        (LARGE, bomb, 501),
        (10, gzip.compress(b"x" * 11), 501),
        (10, gzip.compress(b"x" * 10)[:-3], 6),
        (10, b"no gzip at all", 6),
        (10, gzip.compress(b"x")[:-8] + bytes(8), 6),
    ):
        with pytest.raises(AnyLogError) as caught:
            gunzip(data, most)
        assert caught.value.number == number
    assert gunzip(gzip.compress(b"x" * 10), 10) == b"x" * 10


def test_paths_are_plain_text_for_the_worker(tmp_path):
    disk = RealDisk()
    odd = [Path(os.fsdecode(bytes(tmp_path) + b"/\xff" + str(number).encode())) for number in range(9)]
    assert disk.batch([Publish(path, b"x") for path in odd]) == ["new"] * 9
    assert len(disk.entries(tmp_path, 100)) == 9
    disk.stop()


def test_what_took_the_place_of_a_file_is_left_alone(disk, tmp_path):
    path, target = tmp_path / "a.json", tmp_path / "b.json"
    only(disk, Publish(path, b"one\n"))
    _, size, changed = only(disk, Read(path, 100))
    only(disk, Forget(path, (size, changed)))
    only(disk, Publish(path, b"another\n"))
    assert only(disk, Move(path, target, (size, changed))).errno == errno.ESTALE
    assert only(disk, Forget(path, (size, changed))).errno == errno.ESTALE
    assert disk.read(path) == b"another\n"
    _, size, changed = only(disk, Read(path, 100))
    assert only(disk, Move(path, target, (size, changed))) is None
    assert only(disk, Forget(path, (size, changed))) is None
    assert disk.read(target) == b"another\n"


def test_some_before_all_others(disk, tmp_path):
    """However old and many those are."""
    for name in ("a.txt", "b.txt", "c.json", "d.json.gz", "e.txt", "f.json"):
        disk.batch([Publish(tmp_path / name, b"x")])
    ends = (".json", ".json.gz")
    found = [entry.name for entry in disk.entries(tmp_path, 5, ends)]
    assert found == ["c.json", "d.json.gz", "f.json", "a.txt", "b.txt"]
    assert [entry.name for entry in disk.entries(tmp_path, 2, ends)] == ["c.json", "d.json.gz"]
