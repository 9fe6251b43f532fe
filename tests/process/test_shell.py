"""A real `anylog run` on loopback: how it starts, speaks, is asked, and ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import free_port

ANYLOG = (sys.executable, "-m", "anylog.cli")
ROOT = Path(__file__).resolve().parents[2]
READING = '{"timestamp": "2026-11-21 09:00:00", "station": "roof", "celsius": 7.5}'
ASK = 'sql town format = table "select station, celsius from weather"'


class Run:
    """One node in a process of its own, its output in a file."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.port = folder, free_port()
        self.said = folder / "said"
        self._file = self.said.open("a")
        filled = [word.replace("PORT", str(self.port)) for word in words]
        self.process = subprocess.Popen(
            [*ANYLOG, "run", "--home", str(folder / "home"), *filled],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def ready(self, seconds: float = 60) -> Run:
        """Wait until it says that it is."""
        until = time.monotonic() + seconds
        while "is ready" not in self.said.read_text():
            assert self.process.poll() is None and time.monotonic() < until, self.said.read_text()
            time.sleep(0.02)
        return self

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        """What `anylog exec` makes of it."""
        words = [*ANYLOG, "exec", "--timeout", "60", f"127.0.0.1:{self.port}", command]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
        )

    def ended(self, seconds: float = 60) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Run]]:
    """Starts nodes with homes below the test's folder; kills what is left of them."""
    runs: list[Run] = []

    def begin(*words: str) -> Run:
        runs.append(Run(tmp_path, *words))
        return runs[-1]

    yield begin  # type: ignore[misc]
    for run in runs:
        run.close()


SERVE = (
    "connect dbms town where type = sqlite",
    "and",
    "run streamer",
    "and",
    "run rest server where internal_ip = 127.0.0.1 and internal_port = PORT and bind = true",
)


def test_from_start_to_exit(start: type[Run]) -> None:
    """It says what listens, answers `anylog exec`, and `exit node` ends the process with status 0."""
    run = start(*SERVE).ready()  # type: ignore[arg-type]
    assert str(run.port) in run.said.read_text()
    assert "Authentication is not configured" in run.said.read_text()
    answer = run.ask("get status")
    assert (answer.returncode, "running" in answer.stdout, answer.stderr) == (0, True, "")
    wrong = run.ask("get statsu")
    assert (wrong.returncode, wrong.stdout) == (1, "") and "(error " in wrong.stderr
    assert run.ask("exit node").returncode == 0
    assert run.ended() == 0
    assert run.ask("get status").returncode == 3


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signals(start: type[Run], stop: signal.Signals) -> None:
    """Both end it cleanly; twistd lets the signal itself be the last word, as init systems expect."""
    run = start(*SERVE).ready()  # type: ignore[arg-type]
    run.process.send_signal(stop)
    assert run.ended() == -stop, run.said.read_text()
    assert f"Port {run.port} Closed" in run.said.read_text()
    assert "Traceback" not in run.said.read_text()


def test_script_with_an_error(start: type[Run], tmp_path: Path) -> None:
    """File and line are named, and the status is 1."""
    (tmp_path / "bad.al").write_text("create work directories\n\n# a comment\nrun straemer\n")
    run = start("process", "bad.al")  # type: ignore[arg-type]
    assert run.ended() == 1
    assert re.search(r"cannot start: .*bad\.al.*4", run.said.read_text()), run.said.read_text()


def test_missing_script(start: type[Run]) -> None:
    """A script that is not there is named."""
    run = start("process", "nosuch.al")  # type: ignore[arg-type]
    assert run.ended() == 1
    assert "nosuch.al" in run.said.read_text()


def test_one_node_a_home(start: type[Run]) -> None:
    """The second node on a home is refused and the first goes on."""
    first = start(*SERVE).ready()  # type: ignore[arg-type]
    second = Run(first.folder, "get status")
    assert second.ended() == 1
    assert "another node uses" in second.said.read_text()
    second.close()
    assert first.ask("get status").returncode == 0


def test_port_in_use(start: type[Run]) -> None:
    """A place that is taken is named, and the node does not go on without its door."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = start(f"run rest server where internal_ip = 127.0.0.1 and internal_port = {port} and bind = true")  # type: ignore[arg-type]
        assert run.ended() == 1
        assert str(port) in run.said.read_text()


def test_the_printed_commands_work(start: type[Run], tmp_path: Path) -> None:
    """What the default node prints for a stranger to paste is pasted: a reading in, the reading out."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("0.0.0.0", 32149))
        except OSError:
            pytest.skip("port 32149 is in use on this machine")
    run = start().ready()  # type: ignore[arg-type]
    text = run.said.read_text()
    put, ask = re.findall(r"^    (curl .*(?:\n        .*)*)$", text, re.MULTILINE)
    for pasted, expected in [(put, '"AnyLog.status"'), (ask, "roof")]:
        until = time.monotonic() + 20
        while True:
            ran = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, timeout=30, check=False)
            if expected in ran.stdout or time.monotonic() > until:
                break
            time.sleep(0.05)
        assert expected in ran.stdout, (pasted, ran.stdout, ran.stderr)


def test_the_sample_home(start: type[Run]) -> None:
    """etc/single.al starts the very node that is started without commands."""
    from anylog.tap import DEFAULT_COMMANDS

    lines = (ROOT / "etc" / "single.al").read_text().splitlines()
    assert tuple(line for line in lines if line and not line.startswith("#")) == DEFAULT_COMMANDS
