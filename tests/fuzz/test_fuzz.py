"""Codec and mapping keep their laws for every input that once broke them, and for those a fuzzer comes to."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run_fuzz import CORPUS, HERE, TARGETS

RUNS = {"codec": 6000, "mapping": 4000}  # of the sample: about ten seconds of work each


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_finds(target: str) -> None:
    """Where the fuzzer begins, and what it found: each file of the corpus was a fault."""
    law = import_module(f"{target}_law")
    for place, data in enumerate(law.seeds()):
        try:
            law.law(data)
        except Exception as broken:
            raise AssertionError(f"seed {place}: {data[:200]!r}") from broken
    for path in sorted((CORPUS / target).glob("*")):
        try:
            law.law(path.read_bytes())
        except Exception as broken:
            raise AssertionError(path.name) from broken


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed (pip install .[fuzz])"
)
@pytest.mark.parametrize("target", TARGETS)
def test_sample(target: str, tmp_path: Path) -> None:
    """So many runs of the fuzzer, the same ones each time."""
    command = [sys.executable, str(HERE / "run_fuzz.py"), target, str(tmp_path), f"-runs={RUNS[target]}", "-seed=1"]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, env=environ, timeout=1200, cwd=tmp_path)
    told = (done.stdout + done.stderr).decode(errors="replace")
    finds = {path.name: base64.b64encode(path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()}
    assert done.returncode == 0 and not finds, f"{finds}\n{told[-5000:]}"
    ran = re.search(r"Done (\d+) runs", told)
    assert ran and int(ran[1]) >= RUNS[target], told[-5000:]
