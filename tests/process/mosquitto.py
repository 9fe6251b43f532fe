"""A real broker of others: Mosquitto in a process of its own, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import free_port

os.environ["PATH"] += ":/usr/sbin:/sbin"
NEEDED = {"mosquitto": "mosquitto", "mosquitto_pub": "mosquitto-clients", "openssl": "openssl"}
MISSING = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
needs_mosquitto = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
UNLIMITED = ("max_inflight_messages 0", "max_queued_messages 0")  # by default it drops what waits


async def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the reactor run until it is so; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]


class Mosquitto:
    """One broker; what it stores survives a restart."""

    def __init__(self, folder: Path, *listener: str, anonymous: bool = True, port: int = 0) -> None:
        """`listener` are lines of its configuration for its one listener."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        store = folder / "store"
        store.mkdir(exist_ok=True)
        (folder / "conf").write_text(
            "\n".join(
                [
                    "user root",
                    *UNLIMITED,
                    "persistence true",
                    f"persistence_location {store}/",
                    f"allow_anonymous {'true' if anonymous else 'false'}",
                    f"listener {self.port} 127.0.0.1",
                    *listener,
                    "",
                ]
            )
        )

    def start(self) -> None:
        """It listens when this returns."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["mosquitto", "-c", str(self.folder / "conf")], stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            assert self.process.poll() is None and time.monotonic() < end, (self.folder / "log").read_text()

    def stop(self) -> None:
        """SIGTERM: it writes down what it has."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self.process = None

    def sending(
        self, topic: str, payloads: Iterable[object], qos: int = 0, more: Iterable[str] = ()
    ) -> subprocess.Popen[bytes]:
        """A client of theirs that publishes all of them, one a line, and ends."""
        lines = self.folder / f"lines-{topic.replace('/', '-')}-{qos}"
        lines.write_text("".join(f"{payload}\n" for payload in payloads))
        with lines.open("rb") as given:
            return subprocess.Popen(
                ["mosquitto_pub", "-p", str(self.port), "-t", topic, "-q", str(qos), "-l", *more], stdin=given
            )

    def send(self, topic: str, payloads: Iterable[object], qos: int = 0, more: Iterable[str] = ()) -> None:
        """The same, and wait for its end."""
        assert self.sending(topic, payloads, qos, more).wait(120) == 0


def certificates(folder: Path) -> None:
    """ca.pem, and signed by it server.pem and client.pem, each with its .key; other.pem is another authority."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj",
                f"/CN=Test {name}")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", "-new", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
