"""Run a fuzzer that follows the code: `run_fuzz.py codec|mapping FOLDER [options of libFuzzer]`; `make fuzz` does.

What it finds on its way is kept in the folder, so that the next run goes on there. An input that breaks a law is
written into it, too, as `crash-...` or `timeout-...`; mended, it goes into `corpus/`, where every `make test` tries it
again.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = ("codec", "mapping")
CORPUS = HERE / "corpus"
COMMON = ("-timeout=120", "-rss_limit_mb=4096", "-use_value_profile=1", "-len_control=20", "-print_final_stats=1")
MOST = {"codec": 1500, "mapping": 3000}  # bytes of an input


def main(target: str, folder: Path, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    with atheris.instrument_imports(
        include=["anylog.wire", "anylog.mapping", "anylog.language", "anylog.ledger.types"]
    ):
        law = import_module(f"{target}_law")
    found = folder / "found"
    found.mkdir(parents=True, exist_ok=True)
    for seed in law.seeds():
        path = found / hashlib.sha1(seed, usedforsecurity=False).hexdigest()
        if not path.exists():
            path.write_bytes(seed)
    words = HERE / f"{target}.dict"
    more = [f"-dict={words}"] if words.exists() else []
    prefix = f"-artifact_prefix={folder}/"
    folders = [str(found), *(str(each) for each in [CORPUS / target] if each.is_dir())]
    atheris.Setup(
        [sys.argv[0], *COMMON, f"-max_len={MOST[target]}", prefix, *more, *options, *folders],
        law.law,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"run_fuzz.py {'|'.join(TARGETS)} FOLDER [options of libFuzzer]")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
