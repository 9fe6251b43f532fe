"""What `run data distributor` refuses, and how `get distributor` tells why nothing is done."""

from __future__ import annotations

import shutil
from typing import Any

from test_operator_commands import OperatorDesk
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.language.context import Context


class DistributorDesk(OperatorDesk):
    def why(self, command: str) -> str:
        """Why a command is refused."""
        waited: Deferred[Any] = self.node.execute(command, Context(origin="console", local=True))
        self.clock.advance(0)
        error: AnyLogError = self.failureResultOf(waited, AnyLogError).value
        return str(error)

    def status(self) -> str:
        found: str = self.data("get distributor where format = json")["Status"]
        return found


class RefusalTests(DistributorDesk):
    def test_directories(self) -> None:
        """Each that cannot be one is refused by name, and one that is missing is made."""
        home = self.node.places.home
        (home / "file").write_bytes(b"")
        for given, expected in [
            (f"distr_dir = {home}/file", f"distr_dir {home}/file: "),
            (f"archive_dir = {home}/file/below", f"archive_dir {home}/file/below: "),
            ("distr_dir = /proc/x", "distr_dir /proc/x: "),
            ("archive_dir = ../../../..", "archive_dir = ../../../..: a path without '..' is needed"),
            (f"distr_dir = {home}/same and archive_dir = {home}/same", "distr_dir and archive_dir are both"),
        ]:
            self.assertIn(expected, self.why(f"run data distributor where {given}"), given)
        self.assertIsNone(self.node.processes.find("distributor"))
        self.ask(f"run data distributor where distr_dir = {home}/new/one and archive_dir = {home}/new/two")
        self.assertTrue((home / "new" / "one").is_dir() and (home / "new" / "two").is_dir())

    def test_clusters(self) -> None:
        """One that the ledger does not have, and one that this node is not in."""
        self.assertIn("no cluster with the id 'nosuch'", self.why("run data distributor where cluster_id = nosuch"))
        self.run_operator()
        self.node.dictionary.set("p", '{"cluster": {"id": "c2", "name": "south", "company": "acme"}}')
        self.ask("blockchain insert where policy = !p and local = true")
        refused = self.why("run data distributor where cluster_id = c2")
        self.assertEqual(refused, "run data distributor: this node is in cluster c1, not in c2")
        self.ask("run data distributor where cluster_id = c1")
        self.assertEqual(self.status(), "Running")

    def test_other_directories_than_the_operator(self) -> None:
        """Its files would never be found: refused beside it, and told where it comes later."""
        other = self.node.places.home / "other"
        self.ask(f"run data distributor where distr_dir = {other}")
        self.assertEqual(self.status(), "waits for the operator, and its place in the ledger")
        self.run_operator()
        self.beat(6)
        expected = f"distr_dir is {other}, and the operator runs with {self.node.places.folder('distr_dir')}"
        self.assertEqual(self.status(), expected)
        self.assertIn(expected, self.ask("get distributor"))
        self.ask("exit distributor")
        self.beat()
        self.assertIn(expected, self.why(f"run data distributor where distr_dir = {other}"))

    def test_a_directory_that_goes_away(self) -> None:
        """It is told, until it is back."""
        self.run_operator()
        self.ask("run data distributor")
        self.beat(6)
        folder = self.node.places.folder("distr_dir")
        shutil.rmtree(folder)
        self.beat(6)
        self.assertIn(f"{folder} cannot be read", self.status())
        folder.mkdir()
        self.beat(6)
        self.assertEqual(self.status(), "Running")
