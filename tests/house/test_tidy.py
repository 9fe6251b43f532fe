"""Files stay small, tests stay quick and are really run, and the text speaks of the project alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from house import PACKAGE, ROOT, name_of, sources, tree_of

LARGEST = 600  # lines; what is longer wants to be two
# Longer ones, with the number of lines they have now. A number may only fall; nothing may be added.
LONG: dict[str, int] = {}

# Words that belong to a machine or to the way the text was made. Written apart, so that this file is not one of them.
PLACES = ("/" + "work/", "/" + "tmp/", "/" + "root/", "\\" + "Users\\")
HOSTS = ("pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "crates" + ".io")
FOREIGN = re.compile("|".join(re.escape(word) for word in (*PLACES, *HOSTS)))
SKIPPED = {".git", ".hypothesis", ".venv", "__pycache__", "build", "dist", "anylog-data", "anylog-cluster", "LICENSE"}
KINDS = {"", ".py", ".rst", ".cfg", ".toml", ".al", ".md", ".txt", ".in", ".service", ".yml", ".yaml"}


def texts() -> list[Path]:
    """All text files of the repository."""
    found: list[Path] = []
    for path in sorted(ROOT.iterdir()):
        inside = sorted(path.rglob("*")) if path.is_dir() and path.name not in SKIPPED else [path]
        found += [
            each
            for each in inside
            if each.is_file()
            and each.suffix in KINDS
            and not any(
                part in SKIPPED or part.endswith((".egg-info", "_cache")) for part in each.relative_to(ROOT).parts
            )
            and not each.name.startswith(".coverage")
        ]
    return found


def test_files_are_small() -> None:
    """No module grows past the limit, and the listed ones only shrink."""
    long = {}
    for path in [*sources(), *sources(ROOT / "tests")]:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > LONG.get(name_of(path), LARGEST):
            long[name_of(path)] = lines
    assert not long
    assert all((ROOT / name).exists() for name in LONG), "a listed file is gone: take it off the list"


def test_the_text_speaks_of_the_project_alone() -> None:
    """No path of one machine, no host of a registry."""
    found = []
    for path in texts():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number} {line.strip()}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)
        ]
    assert not found


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split(".")[-1] for base in node.bases}


@pytest.mark.parametrize("path", sources(ROOT / "tests"), ids=name_of)
def test_tests_are_run(path: Path) -> None:
    """A SynchronousTestCase awaits nothing: an `async def test_` in one would pass without having run."""
    classes = {node.name: node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)}
    synchronous = {"SynchronousTestCase"}
    for _ in classes:  # a base may itself stand in this file
        synchronous |= {name for name, node in classes.items() if bases(node) & synchronous}
    assert not [
        f"{name}.{method.name}"
        for name, node in classes.items()
        if name in synchronous
        for method in node.body
        if isinstance(method, ast.AsyncFunctionDef) and method.name.startswith("test")
    ]


def test_test_files_have_names_of_their_own() -> None:
    """Two test modules of one name could not be imported into one run."""
    seen: dict[str, Path] = {}
    for path in sources(ROOT / "tests"):
        if path.name not in ("conftest.py", "__init__.py"):
            assert path.name not in seen, f"{name_of(path)} and {name_of(seen[path.name])}"
            seen[path.name] = path


@pytest.mark.parametrize("path", [*sources(ROOT / "tests/unit"), *sources(ROOT / "tests/network")], ids=name_of)
def test_nobody_sleeps(path: Path) -> None:
    """Time is moved by hand."""
    assert not [
        node.lineno
        for node in ast.walk(tree_of(path))
        if "sleep" in (getattr(node, "attr", ""), getattr(node, "id", ""))
        and ast.unparse(node) in ("time.sleep", "sleep")
    ]


def test_every_module_says_what_it_is() -> None:
    """A docstring opens each module that holds something."""
    silent = [name_of(p) for p in sources(PACKAGE) if tree_of(p).body and not ast.get_docstring(tree_of(p))]
    assert not silent
