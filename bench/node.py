"""A real node in a process of its own, for benches and for tests that kill."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from forked import Forked


def free_port(taken: Container[int] = ()) -> int:
    """A port below the ephemeral range that nobody listens on, and that is not `taken`."""
    for port in range(20000 + os.getpid() * 97 % 8000, 32000):
        if port in taken:
            continue
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no free port")


class NodeProcess:
    """One `anylog run` with a home of its own."""

    forked = False  # begun as a copy of a process that has imported all, unless an interpreter must begin otherwise

    def __init__(self, home: Path | None = None, *, port: int = 0, commands: tuple[str, ...] = (), dbms: str = "town"):
        self.home = home or Path(tempfile.mkdtemp(prefix="anylog-"))
        self.port = port or free_port()
        self.dbms = dbms
        self.commands = commands
        self.within: tuple[str, ...] = ()  # words before the command, such as those that enter a network namespace
        self.environ: dict[str, str] = {}  # of each of its lives
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.log = self.home.parent / f"{self.home.name}.log"

    @property
    def root(self) -> Path:
        """Where its work directories lie."""
        return self.home / "AnyLog-Network"

    def folder(self, name: str) -> Path:
        """One of watch, distr, archive, bkup, error, dbms."""
        return self.root / "data" / name

    @property
    def watch(self) -> Path:
        """Where files are dropped."""
        return self.folder("watch")

    def database(self, name: str) -> Path:
        """The file of a database."""
        return self.folder("dbms") / f"{name}.dbms"

    def asked(self, name: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a question to a database file itself, beside the node; none while file or table are missing."""
        path = self.database(name)
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as fault:
            if "no such" in str(fault):
                return []
            raise
        finally:
            connection.close()

    def start(self, environ: dict[str, str] | None = None, wait: float = 120.0) -> float:
        """Start it and wait until it answers; gives the seconds that took."""
        commands = [
            "create work directories",
            *([f"connect dbms {self.dbms} where type = sqlite"] if self.dbms else []),
            "run streamer",
            *self.commands,
            f"run rest server where internal_ip = 127.0.0.1 and internal_port = {self.port} and bind = true",
        ]
        words = [word for command in commands for word in ("and", command)][1:]
        begin = time.perf_counter()
        self.process = self._begun(["run", "--home", str(self.home), *words], {**self.environ, **(environ or {})})
        while time.perf_counter() - begin < wait:
            if self.process.poll() is not None:
                raise RuntimeError(f"the node ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            try:
                if self.get("/health")[0] == 200:
                    return time.perf_counter() - begin
            except OSError:
                pass
            time.sleep(0.005)
        raise RuntimeError(f"the node does not answer:\n{self.log.read_text()[-3000:]}")

    def _begun(self, words: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes] | Forked:
        """Its process. A copy has what reads the environment at once, libraries among them, behind it already."""
        whole = {**os.environ, **environ}
        if self.forked and not self.within and all(name.startswith("ANYLOG_") for name in environ):
            return Forked(words, self.log, whole)
        with self.log.open("ab") as log:
            command = [*self.within, sys.executable, "-m", "anylog.cli", *words]
            return subprocess.Popen(command, stdout=log, stderr=log, env=whole)

    def kill(self) -> None:
        """SIGKILL, as if the plug was pulled for this process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, wait: float = 60.0) -> int:
        """SIGTERM, and its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait)

    def remove(self) -> None:
        """Kill it if it runs, and delete its home."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def memory(self) -> int:
        """Resident bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def processor(self) -> float:
        """Seconds of processor time that it has used."""
        assert self.process is not None
        used = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")

    def connection(self, seconds: float = 60.0) -> http.client.HTTPConnection:
        """One that dials its REST server when it is used; each wait on it ends after so many seconds."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def request(self, method: str, path: str = "/", body: Any = None, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        connection = self.connection()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str = "/", **headers: str) -> tuple[int, bytes]:
        """GET."""
        return self.request("GET", path, None, **headers)

    def command(self, text: str, method: str = "GET") -> bytes:
        """The answer to a command; raises RuntimeError if it is refused."""
        status, body = self.request(method, "/", None, **{"User-Agent": "AnyLog/1.23", "command": text})
        if status != 200:
            raise RuntimeError(f"{text}: {status} {body!r}")
        return body

    def count(self, table: str) -> int:
        """Rows of a table, 0 if there is no such table yet."""
        import json

        text = f'sql {self.dbms} format = json and stat = false "select count(*) as n from {table}"'
        status, body = self.get(**{"User-Agent": "AnyLog/1.23", "command": text})
        return int(json.loads(body)["Query"][0]["n"]) if status == 200 else 0
