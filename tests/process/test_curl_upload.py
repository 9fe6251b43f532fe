"""Large files to a real node, by curl: in pieces, within limits, and nothing is left of what did not come whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

SIZE = 200 << 20
GROWTH = 40 << 20  # bytes of memory that uploads may cost, whatever their size
HEAD = "POST / HTTP/1.1\r\nUser-Agent: curl/8\r\ncommand: file to !prep_dir/x\r\n"
OTHERS = 3  # answers that others have at least meanwhile: it would be one if they waited for the end


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path_factory.mktemp("uploads") / "home", dbms="")
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    process.remove()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file and its hash."""
    path, digest = tmp_path_factory.mktemp("large") / "large.bin", hashlib.md5()
    piece = Random(7).randbytes((1 << 20) - 7)
    with path.open("wb") as file:
        for number in range(SIZE >> 20):
            for data in (number.to_bytes(7, "big"), piece):
                file.write(data)
                digest.update(data)
    return path, digest.hexdigest()


def folder(node: NodeProcess, name: str) -> Path:
    return node.home / "AnyLog-Network" / "data" / name


def uploads(node: NodeProcess) -> list[Path]:
    """Drafts that lie there now."""
    return list(folder(node, "tmp").glob(".*"))


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def words(node: NodeProcess, command: str, *more: str) -> list[str]:
    url = f"http://127.0.0.1:{node.port}"
    return ["curl", "-s", "-S", "-w", "\n%{http_code}", url, "-X", "POST", "-H", f"command: {command}", *more]


def curl(node: NodeProcess, command: str, *more: str) -> tuple[int, bytes]:
    """Status and body of a call by curl."""
    done = subprocess.run(words(node, command, *more), capture_output=True, check=True, timeout=120)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


@contextlib.contextmanager
def watched(node: NodeProcess) -> Iterator[None]:
    """Others are answered meanwhile, and the memory stays small."""
    curl(node, "print x")
    before, peak, waits, over = node.memory(), 0, [], threading.Event()

    def others() -> None:
        nonlocal peak
        while not over.is_set():
            begin = time.perf_counter()
            assert node.command("get status").endswith(b"running")
            waits.append(time.perf_counter() - begin)
            peak = max(peak, node.memory())
            time.sleep(0.01)

    asking = threading.Thread(target=others)
    asking.start()
    try:
        yield
    finally:
        answered = len(waits)
        over.set()
        asking.join()
    print(f"slowest of {answered} other answers {max(waits):.3f} s, memory {before >> 20} to {peak >> 20} MB")
    assert answered >= OTHERS
    assert peak - before < GROWTH


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("form.bin", ("-F", "file=@{}")),
        ("whole.bin", ("-T", "{}")),
        ("asked.bin", ("-T", "{}", "-H", "Expect: 100-continue")),
        ("chunks.bin", ("-T", "{}", "-H", "Transfer-Encoding: chunked")),
        ("old.bin", ("-T", "{}", "--http1.0")),
    ],
)
def test_large(node: NodeProcess, large: tuple[Path, str], name: str, how: tuple[str, ...]) -> None:
    """200 MB arrive byte for byte in every way curl has, in memory that does not grow with them."""
    path, digest = large
    with watched(node):
        begin = time.perf_counter()
        answer = curl(node, f"file to !prep_dir/{name}", *(word.format(path) for word in how))
        print(f"{name}: {SIZE / (time.perf_counter() - begin) / 1e6:.0f} MB/s")
    assert answer == (200, b"")
    stored = folder(node, "prep") / name
    with stored.open("rb") as file:
        assert hashlib.file_digest(file, "md5").hexdigest() == digest
    stored.unlink()
    until(lambda: not uploads(node))


def test_several_at_once(node: NodeProcess, large: tuple[Path, str]) -> None:
    """Four to one target at once: one of them is it, whole."""
    path, digest = large
    with watched(node):
        asked = words(node, "file to !prep_dir/one.bin", "-F", f"file=@{path}")
        calls = [subprocess.Popen(asked, stdout=subprocess.PIPE) for _ in range(4)]
        assert [call.communicate(timeout=120)[0] for call in calls] == [b"\n200"] * 4
    with (folder(node, "prep") / "one.bin").open("rb") as file:
        assert hashlib.file_digest(file, "md5").hexdigest() == digest
    until(lambda: not uploads(node))


def test_cut(node: NodeProcess, large: tuple[Path, str]) -> None:
    """A curl that is killed in the middle leaves neither a target nor a draft."""
    path, _ = large
    call = subprocess.Popen(words(node, "file to !prep_dir/cut.bin", "-T", str(path), "--limit-rate", "20M"))
    until(lambda: any(draft.stat().st_size > 1 << 20 for draft in uploads(node)))
    call.send_signal(signal.SIGKILL)
    call.wait()
    until(lambda: not uploads(node))
    assert not (folder(node, "prep") / "cut.bin").exists()


def test_refused_before_it_comes(node: NodeProcess) -> None:
    """A length over the limit is answered though not a byte was sent; who asks first need not send any."""
    for more in ("", "Expect: 100-continue\r\n"):
        with socket.create_connection(("127.0.0.1", node.port), timeout=20) as line:
            line.sendall(f"{HEAD}{more}Content-Length: {1 << 60}\r\n\r\n".encode())
            seen = b"".join(iter(lambda: line.recv(65536), b""))
        first, _, body = seen.partition(b"\r\n\r\n")
        assert (int(first.split()[1]), json.loads(body)["err_code"]) == (413, 501)
    assert uploads(node) == []


def test_a_kill(node: NodeProcess) -> None:
    """What was under way when the node was killed is removed when its server starts again."""
    with socket.create_connection(("127.0.0.1", node.port)) as line:
        line.sendall(f"{HEAD}Content-Length: 9\r\n\r\nx".encode())
        until(lambda: uploads(node))
        node.kill()
    assert len(uploads(node)) == 1
    node.start()
    assert uploads(node) == []
    assert not (folder(node, "prep") / "x").exists()
