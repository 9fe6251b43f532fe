"""What members tell each other of their tables of files: whether they hold the same is seen by one number."""

from __future__ import annotations

from test_tsd import FilesCase, want

from anylog.databases.tsd import Wanted
from anylog.databases.tsd_ranges import part, totals

A, B, C = ("0123456789abcdef" * 2, "fedcba9876543210" * 2, "77777777" * 4)


class SumTests(FilesCase):
    def held(self, *files: tuple[int, str]) -> tuple[int, int]:
        """Files and sum of a table with these (id, hash) alone, which is emptied again; a part tells the same."""
        wanted: list[Wanted] = [want(hash, into="tsd_7", id=id) for id, hash in files]
        self.register(*wanted)
        for id, _ in files:
            self.finish("tsd_7", id, 3)
        found = self.get(totals(self.tsd, "", ""))["tsd_7"]
        whole = self.get(part(self.tsd, "tsd_7", "", "", max(id for id, _ in files)))
        self.assertEqual((found.files, found.sum, 0), whole)
        self.get(self.tsd.remove([("tsd_7", id) for id, _ in files]))
        return found.files, found.sum

    def test_equal_and_different(self) -> None:
        """The same files have one sum in any order; with another id or hash, or hashes that changed places, another."""
        files = self.held((5, A), (6, B))
        self.assertEqual(self.held((6, B), (5, A)), files)
        for other in (((5, A), (7, B)), ((5, A), (6, C)), ((5, B), (6, A))):
            count, sum = self.held(*other)
            self.assertEqual(count, files[0])
            self.assertNotEqual(sum, files[1], other)

    def test_large_ids_and_short_hashes(self) -> None:
        """Ids made of times do not overflow, and a hash too short to be one counts as none."""
        files = [(1_790_000_000_000_000 + number, f"h{number}") for number in range(300)]
        self.assertGreater(self.held(*files)[1], 0)
        last = 2**62
        self.assertGreater(self.held((last, A), (last - 1, B))[1], 0)
