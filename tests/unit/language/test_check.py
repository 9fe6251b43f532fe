"""Scripts are read and not run: each thing that may be wrong is found at its place, and nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from anylog.checker import Checker, as_json, shown
from anylog.cli import check_words, main
from anylog.language.check import HINTS
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS

ETC = Path(__file__).parents[3] / "etc"
WORDS = Words(ALL_COMMANDS)


def found(tmp_path: Path, text: str, **others: str) -> list[str]:
    """Line, column and kind of each finding."""
    for name, other in others.items():
        (tmp_path / f"{name}.al").write_text(other)
    path = tmp_path / "script.al"
    path.write_text(text)
    findings = Checker(WORDS, lambda command: command.later).check([str(path)])
    return [f"{each.line}:{each.column} {each.kind}" for each in findings if each.path == str(path)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("get status", []),
        ("get stauts", ["1:1 unknown-command"]),
        ("x = get stauts", []),  # an assignment of two words
        ("  get stauts", ["1:3 unknown-command"]),
        ("x = 1\nif !x == 1 then get stauts", ["2:17 unknown-command"]),
        ("if !x then\ndo get stauts\nelse get status", ["2:4 unknown-command"]),
        ("do get status", ["1:1 if"]),
        ("else get status", ["1:1 if"]),
        ("if !x then\nelse", ["2:1 if"]),
        ("if !x == then get status", ["1:1 condition"]),
        ("if !x goto end\n:end:", ["1:1 condition"]),
        ("if not !x and (!y == 2 or !z == 3) then x = 2", []),
        ("connect dbms town where type = sqlite and memory = maybe", ["1:43 type"]),
        ("connect dbms town where type = sqlite and memroy = true", ["1:43 unknown-option"]),
        ("connect dbms town where", ["1:19 structure"]),
        ("connect dbms town where memory = true", ["1:1 missing-option"]),
        ("connect dbms sqlite !db_user !db_port town memory", ["1:21 never-set", "1:30 never-set"]),
        ("connect dbms town where type = sqlite and type = sqlite", ["1:43 structure"]),
        ("<connect dbms town where type = sqlite and  # a comment with memory = 3\n   memory =   3>", ["2:4 type"]),
        ("<connect dbms town where\ntype = sqlite\n", ["1:1 structure"]),
        ('print "unclosed', ["1:1 structure"]),
        ("set node name", ["1:1 structure"]),
        ("get node name now", ["1:15 structure"]),
        ("goto nowhere\n:here:", ["1:6 label"]),
        ("on error goto nowhere", ["1:15 label"]),
        ("on error call fine\nend script\n:fine:\nreturn", []),
        (":twice:\n:twice:", ["2:1 label"]),
        (":odd;", ["1:1 label"]),
        ("print !nobody", ["1:7 never-set"]),
        ("print !somebody\nsomebody = 1", []),
        ("set debug off\nprint !ip !watch_dir $HOME '!not this' \"!nor this\"", []),
        ("if !perhaps then print !perhaps", []),
        ('p = {"operator" : {"ip" : !nobody}}', []),  # resolved when it is used
        ("variables (a, b)\nprint !a !b", []),
        ("set policy p [a] = {} and [a][b] = 3\nprint !p", []),
        ("run blobs archiver where dbms = true", ["1:1 not-in-build"]),
        ("connect dbms town where type = psql and user = u and ip = 1.2.3.4 and port = 1", ["1:25 not-in-build"]),
        ("connect dbms psql u@1.2.3.4:p 5432 town", ["1:14 not-in-build"]),
        ("run rest server where internal_ip = 1.2.3.4 and internal_port = 1 and ssl = True", ["1:71 not-in-build"]),
        ("set authentication on", ["1:20 not-in-build"]),
        ("set authentication off", []),
        ("run blockchain sync where source = blockchain and time = 9 seconds", ["1:27 not-in-build"]),
        ("schedule time = 1 day task gett status", ["1:28 unknown-command"]),
        ("schedule time = 1 day", ["1:10 structure"]),
        ("schedule time = 1 day task", ["1:23 structure"]),
        ("schedule time = 1 day task print !later", []),
        ("run client (10.0.0.1:32048) get status", []),
        ("run client (10.0.0.1:32048) gett status", ["1:29 unknown-command"]),
        ("run client () sql town select 1", []),
        ("run client (!d) get status where include = !!there", ["1:12 never-set"]),
        ("process nothing.al", ["1:9 script"]),
        ("process !which", ["1:9 never-set"]),
        ("process other.al", []),
        ("for loop start where list = !names\nprint !names[+]\nnames = 1", ["1:1 loop"]),
        ("for loop end", ["1:1 loop"]),
        ("x = test", []),  # a word that is a command's, too
        ("$HOME = 3\nset x = get stauts", []),
        ("x[a][b] = 3\nprint !x", []),
        ("get status & get stauts", ["1:14 unknown-command"]),
        ("\ufeffget stauts\r\n", ["1:1 unknown-command"]),
        ("{", ["1:1 structure"]),
    ],
)
def test_found(tmp_path: Path, text: str, wrong: list[str]) -> None:
    """At the word that is wrong."""
    assert found(tmp_path, text, other="x = 1") == wrong


def test_calls_are_followed(tmp_path: Path) -> None:
    """Those in other directories by their names, each once, circles too; what one sets the other has."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "main.al").write_text("process !local_scripts/deploy/one.al\nprint !made !gone\nprocess two.json\n")
    (tmp_path / "deploy" / "one.al").write_text("made = 1\nprocess !anylog_path/main.al\ngett status\n")
    sections = {"config": [{"setting": {"a": 1}, "commands": ["print !a !b", "gett it"]}]}
    (tmp_path / "two.json").write_text(json.dumps(sections))
    checker = Checker(WORDS, lambda command: command.later)
    findings = checker.check([str(tmp_path / "main.al")])
    assert len(checker.reports) == 3
    told = {f"{Path(each.path).name}:{each.line} {each.kind}" for each in findings}
    assert told == {"main.al:2 never-set", "one.al:3 unknown-command", "two.json:1 unknown-command",
                    "two.json:1 never-set"}  # fmt: skip
    text = shown(findings, checker.reports)
    assert "3 scripts: 2 errors, 2 warnings" in text
    data = json.loads(as_json(findings, checker.reports))
    assert (data["errors"], data["warnings"], len(data["findings"]), len(data["scripts"])) == (2, 2, 4, 3)
    assert {"file", "line", "column", "severity", "kind", "text"} == set(data["findings"][0])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x7fELF\0\0\0", "file"), (b"print caf\xe9", "file"), (b"x" * ((4 << 20) + 1), "file"),
        (b"[" * 100_000, "structure"), (b"if " * 10_000, "condition"), (b"do " * 10_000, "if"),
    ],
)  # fmt: skip
def test_no_script(tmp_path: Path, content: bytes, kind: str) -> None:
    """Binary, other encodings, huge, and what is nested without end: an error, not a crash."""
    path = tmp_path / "odd.al"
    path.write_bytes(content)
    findings = Checker(WORDS, lambda command: "").check([str(path)])
    assert [each.kind for each in findings][:1] == [kind]


def test_own_scripts() -> None:
    """All that come with the project are without fault."""
    checker = Checker(WORDS, lambda command: command.later)
    assert [str(each) for each in checker.check([str(ETC)]) if each.severity == "error"] == []
    assert {path.name for path in checker.reports} >= {"operator.al", "main.al", "config_policy.al"}


def test_examples_of_help() -> None:
    """What the manual shows would pass."""
    text = "\n".join(example for command in ALL_COMMANDS if not command.later for example in command.examples)
    from anylog.language.check import check_script

    report = check_script("examples", text, WORDS, lambda command: command.later)
    odd = [each for each in report.findings if each.kind not in ("label", "loop", "if", "never-set")]
    assert [str(each) for each in odd] == []


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0 without errors, 1 with, 2 for wrong usage."""
    fine, wrong = tmp_path / "fine.al", tmp_path / "wrong.al"
    fine.write_text("print !nobody\n")
    wrong.write_text("gett status\n")
    for words, status, text in [
        (["check", str(fine)], 0, "1 script: 0 errors, 1 warning"),
        (["check", str(tmp_path)], 1, "2 scripts: 1 error,"),
        (["check", "--format=json", str(wrong)], 1, '"errors": 1'), (["check"], 2, "is missing"),
        (["check", str(tmp_path / "none.al")], 2, "No such file"), (["check", "--format", "xml", str(fine)], 2, "xml"),
        (["check", "--odd", str(fine)], 2, "--odd"),
    ]:  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(words)
        told = capsys.readouterr()
        assert (ended.value.code, text in told.out + told.err) == (status, True), told
    assert check_words(["--format", "json", "a", "b"]) == ("json", ["a", "b"])


def test_odd_places(tmp_path: Path) -> None:
    """What is no regular file is not read, whoever names it; a name that no file can have is one that is not there."""
    os.mkfifo(tmp_path / "pipe.al")
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "large.al").open("wb") as file:
        file.truncate(1 << 40)
    script = f"process pipe.al\nprocess {'a' * 5000}.al\nprocess !here/pipe.al\nprocess /dev/zero\n"
    (tmp_path / "script.al").write_text(script)
    checker = Checker(WORDS, lambda command: command.later)
    findings = checker.check([str(tmp_path), str(tmp_path / "pipe.al"), "/dev/zero"])
    told = [f"{Path(each.path).name} {each.line} {each.kind}" for each in findings]
    assert told == [
        "zero 1 file",
        "large.al 1 file",
        "pipe.al 1 file",
        "script.al 1 script",
        "script.al 2 script",
        "script.al 3 never-set",
        "script.al 3 script",
        "script.al 4 script",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "if !x then " * 2000 + "print a",
        "schedule time = 1 second task " * 2000 + "print a",
    ],
)
def test_within_each_other(tmp_path: Path, line: str) -> None:
    """As many as a node runs."""
    assert found(tmp_path, line) == [found(tmp_path, line)[0]]
    assert found(tmp_path, line)[0].endswith("structure")


def test_deep_json(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    (finding,) = Checker(WORDS, lambda command: command.later).check([str(path)])
    assert finding.kind == "structure"


def test_many_unknown(tmp_path: Path) -> None:
    """Of many words that are unknown the first are told with the nearest that is known: to look for it takes time."""
    path = tmp_path / "script.al"
    path.write_text("".join(f"gat stotus {at}\n" for at in range(HINTS + 50)) + "goto nowhere\n" * 50 + ":now:\n")
    findings = Checker(WORDS, lambda command: command.later).check([str(path)])
    assert len(findings) == HINTS + 100
    assert sum("did you mean" in each.text for each in findings) == HINTS


def test_too_many_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That some were not looked at is said."""
    monkeypatch.setattr("anylog.checker.MOST", 5)
    for at in range(7):
        (tmp_path / f"{at}.al").write_text("x = 1\n")
    findings = Checker(WORDS, lambda command: command.later).check([str(tmp_path)])
    assert [each.text for each in findings] == ["more than 5 scripts: the others are not looked at"]
