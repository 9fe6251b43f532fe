"""Rows of very many columns, and a file that somebody took away."""

from __future__ import annotations

from town import TownCase, load


class WideTests(TownCase):
    def test_values(self) -> None:
        """Rows of many columns are loaded as those of few are."""
        values = ["text", None, 1, 1.5, True, 2**63 - 1, -(2**63), "", "\u00e9\n", False]
        kinds = ["VARCHAR", "INT", "INT", "FLOAT", "BOOLEAN", "BIGINT", "BIGINT", "VARCHAR", "VARCHAR", "BOOLEAN"]
        for times in (1, 40, 150):
            columns = [f"c{place}" for place in range(10 * times)]
            row = dict(zip(columns, values * times, strict=True))
            create = dict(zip(columns, kinds * times, strict=True))
            self.assertEqual(self.load(load(f"t{times}", [row, row], buffer=f"b{times}", create=create)), [None])
            found = self.ask(f"select * from t{times}")
            self.assertEqual([list(each[4:]) for each in found], [values * times] * 2)


class GoneTests(TownCase):
    def test_removed_or_replaced(self) -> None:
        """Nothing is loaded into a file that was removed: it would be lost with it. A new connection heals it."""
        self.assertEqual(self.load(load("t", [{"a": 1}], create={"a": "INT"})), [None])
        moved = self.path.rename(self.folder / "moved.dbms")
        for replaced in (False, True):
            if replaced:
                self.path.write_bytes(moved.read_bytes())
            error = self.refused(self.town.load([load("t", [{"a": 2}], 2)]))
            self.assertEqual(error.number, 16)
            self.assertIn("was removed or replaced", str(error))
        self.path.unlink()
        self.reopen()
        self.assertEqual(self.load(load("t", [{"a": 2}], 2, create={"a": "INT"})), [None])
        self.assertEqual([tuple(row) for row in self.ask("select a from t")], [(2,)])
