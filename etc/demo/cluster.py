"""A cluster on this machine, to try out what copies do: a master, three operators of one cluster, a query node.

    python etc/demo/cluster.py start             all of them, or those that are named: start two
    python etc/demo/cluster.py kill two          kill -9, as if the plug was pulled
    python etc/demo/cluster.py freeze two        it is there and says nothing; `thaw two` ends that
    python etc/demo/cluster.py wipe two          remove the home of one that does not run: its disk is lost
    python etc/demo/cluster.py show              who runs, and where
    python etc/demo/cluster.py stop              all of them, or those that are named; what they know stays
    python etc/demo/cluster.py ask one 'get cluster info'

Each node is a process of its own that runs a script of etc/. Their homes and logs are in ./anylog-cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from demo import DBMS, HOST, SCRIPTS, STOP_SECONDS, Failed, Node, free, say


def cast(shift: int) -> dict[str, Node]:
    """Who plays, the master first."""
    ledger = f"{HOST}:{32048 + shift}"
    nodes = [Node("master", "master.al", 32048 + shift)]
    for place, name in enumerate(("one", "two", "three")):
        tcp = 32148 + 10 * place + shift
        nodes.append(Node(name, "operator.al", tcp, ledger_conn=ledger, cluster_name="hall", default_dbms=DBMS))
    nodes.append(Node("query", "query.al", 32348 + shift, ledger_conn=ledger))
    return {node.name: node for node in nodes}


class Stage:
    """The nodes of one folder, found again by every call."""

    def __init__(self, folder: Path, shift: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, kept = folder, folder / "shift"
        if shift is None:
            shift = int(kept.read_text()) if kept.exists() else 0
        kept.write_text(str(shift))
        self.nodes = cast(shift)

    def pid(self, name: str) -> int:
        """Of the node that runs, 0 if it does not. A number that another program has by now is not one of ours."""
        path = self.folder / f"{name}.pid"
        try:
            number = int(path.read_text())
            line = Path(f"/proc/{number}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return number if str(self.folder / name).encode() in line.split(b"\0") else 0

    def start(self, names: list[str]) -> None:
        """Those that do not run; the master first. Raises Failed."""
        names = [name for name in names if not self.pid(name)]
        free([port for name in names for port in (self.nodes[name].tcp, self.nodes[name].rest)])
        for name in names:
            node = self.nodes[name]
            node.start(self.folder, SCRIPTS)
            assert node.process is not None
            (self.folder / f"{name}.pid").write_text(str(node.process.pid))
            node.wait()  # one after the other: the first operator makes the cluster
            say(f"{name} runs, REST on {HOST}:{node.rest}")

    def signal(self, names: list[str], number: signal.Signals) -> None:
        """Send it to those that run."""
        for name in names:
            if pid := self.pid(name):
                os.kill(pid, number)

    def ended(self, names: list[str]) -> None:
        """Wait until none of them runs. Raises Failed."""
        end = time.monotonic() + STOP_SECONDS
        while left := [name for name in names if self.pid(name)]:
            if time.monotonic() > end:
                raise Failed(f"still running: {', '.join(left)}")
            time.sleep(0.05)

    def wipe(self, names: list[str]) -> None:
        """Raises Failed for one that runs."""
        for name in names:
            if self.pid(name):
                raise Failed(f"{name} runs: kill or stop it first")
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def show(self) -> None:
        """A line a node."""
        for name, node in self.nodes.items():
            pid = self.pid(name)
            say(f"{name:<7} TCP {node.tcp}  REST {node.rest}  {f'runs as process {pid}' if pid else 'does not run'}")

    def feed(self, name: str, count: int) -> None:
        """Send numbered readings to one node, ten a second, until Ctrl-C or `count` of them were taken."""
        taken = 0
        headers = {"type": "json", "dbms": DBMS, "table": "weather", "mode": "streaming"}
        while taken < count:
            body = json.dumps({"timestamp": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), "number": taken + 1})
            connection = HTTPConnection(HOST, self.nodes[name].rest, timeout=10)
            try:
                connection.request("PUT", "/", body, headers)
                if connection.getresponse().status == 200:
                    taken += 1
            except (OSError, HTTPException):
                break
            finally:
                connection.close()
            time.sleep(0.1)
        say(f"{name} said yes to {taken} readings")


def main() -> int:
    """Exit status: 0 done, 1 not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "stop", "kill", "freeze", "thaw", "wipe", "show", "ask", "feed"))
    parser.add_argument("names", nargs="*", help="nodes: master, one, two, three, query; all if none is named")
    parser.add_argument("--home", type=Path, default=Path("anylog-cluster"), help="directory of homes and logs")
    parser.add_argument("--shift", type=int, metavar="N", help="add N to each port; kept until another is given")
    told = parser.parse_args()
    stage = Stage(told.home.resolve(), told.shift)
    words = told.names[1:] if told.what in ("ask", "feed") else []
    names = told.names[:1] if told.what in ("ask", "feed") else told.names or list(stage.nodes)
    if unknown := [name for name in names if name not in stage.nodes]:
        parser.error(f"no node is called {', '.join(unknown)}; there are {', '.join(stage.nodes)}")
    if told.what in ("kill", "freeze", "wipe", "ask", "feed") and not told.names:
        parser.error(f"{told.what}: which node?")
    signals = {"stop": signal.SIGTERM, "kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}
    try:
        if told.what == "start":
            stage.start(names)
        elif told.what in signals:
            stage.signal(names, signals[told.what])
            if told.what in ("stop", "kill"):
                stage.ended(names)
        elif told.what == "wipe":
            stage.wipe(names)
        elif told.what == "feed":
            stage.feed(names[0], int(words[0]) if words else 100)
        elif told.what == "ask":
            say(stage.nodes[names[0]].command(" ".join(words)).replace("\r\n", "\n").strip("\n"))
        else:
            stage.show()
    except Failed as why:
        say(str(why), sys.stderr)
        if why.node is not None and why.node.log.is_file():
            say(why.node.tail(), sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("")
    except BrokenPipeError:  # who reads has seen enough; what is left to be written at the end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
