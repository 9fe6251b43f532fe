"""A fresh virtualenv, `pip install`, and `anylog` is there from any directory (architecture.md 12)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from anylog import __version__

ROOT = Path(__file__).resolve().parents[2]


def said(directory: Path, *words: str | Path) -> str:
    """Output of a program run in `directory`; fails with all it said if it fails."""
    ran = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def copy_of_the_source(target: Path) -> None:
    """A build leaves its traces beside the source, so it is given its own."""
    for name in ("anylog", "twisted"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache*"))
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, target / name)


@pytest.mark.parametrize(
    "editable", [pytest.param(False, id="plain"), pytest.param(True, id="editable", marks=pytest.mark.long)]
)
def test_install(editable: bool, tmp_path: Path) -> None:
    """twistd knows the plugin, the console script runs, and what a node needs can be imported."""
    home, elsewhere, source = tmp_path / "venv", tmp_path / "elsewhere", tmp_path / "source"
    elsewhere.mkdir()
    copy_of_the_source(source)
    venv.create(home, with_pip=True, symlinks=True)
    python = home / "bin" / "python"
    how = ["--editable"] if editable else []
    said(elsewhere, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *how, source)
    assert "anylog " in said(elsewhere, home / "bin" / "twistd", "--help")
    assert "COMMAND and COMMAND" in said(elsewhere, home / "bin" / "twistd", "anylog", "--help")
    assert said(elsewhere, home / "bin" / "anylog", "--version") == f"anylog {__version__}\n"
    found = said(elsewhere, python, "-c", "import anylog.tap, anylog.node, anylog.disk.lanes; print(anylog.__file__)")
    assert found.startswith(str(source if editable else home)), found
    assert f"{sys.version_info[0]}." in said(elsewhere, python, "--version")
