"""The command line of a node: which commands the words make, and which are refused."""

from __future__ import annotations

from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from anylog.environment import read_variables
from anylog.errors import AnyLogError
from anylog.tap import Options, commands_of, makeService, telnet_command


class CommandsOfTests(SynchronousTestCase):
    """The word `and` separates quoted commands; one command may be spread over words."""

    def test_words_become_commands(self) -> None:
        """Each row is what a shell hands over, and the commands that are meant."""
        for words, expected in [
            ([], []),
            (["get status"], ["get status"]),
            (["process", "my.al"], ["process my.al"]),
            (["process", "my scripts/a.al"], ['process "my scripts/a.al"']),
            (["process my.al", "and", "get connections"], ["process my.al", "get connections"]),
            (["a b", "and", "c d", "and", "e f"], ["a b", "c d", "e f"]),
            (["run", "streamer", "and", "get", "status"], ["run streamer", "get status"]),
            (
                ["run", "rest", "server", "where", "internal_port", "=", "1", "and", "bind", "=", "false"],
                ["run rest server where internal_port = 1 and bind = false"],
            ),
            (
                ["run", "streamer", "where", "a", "=", "1", "and", "b", "=", "2", "and", "get status"],
                ["run streamer where a = 1 and b = 2", "get status"],
            ),
            (["run x where a = 1 and b = 2", "and", "help"], ["run x where a = 1 and b = 2", "help"]),
            (["print", "hello world"], ['print "hello world"']),
        ]:
            self.assertEqual(commands_of(words), expected, words)

    def test_refusals(self) -> None:
        """Quoted commands with nothing between them, and an `and` that nothing follows, are named."""
        for words, culprit in [
            (["get status", "get processes"], "'get status' and 'get processes'"),
            (["get status", "and"], "after the last 'and'"),
        ]:
            refused = self.assertRaises(UsageError, commands_of, words)
            self.assertIn(culprit, str(refused), words)


class OptionsTests(SynchronousTestCase):
    """What stands after `twistd anylog`."""

    def test_defaults(self) -> None:
        """Without arguments: the default home, no name, no commands."""
        options = Options()
        options.parseOptions([])
        self.assertEqual((options["home"], options["name"], options.commands), ("anylog-data", "", []))

    def test_options_stand_before_commands(self) -> None:
        """What follows the first command word belongs to the commands, even if it looks like an option."""
        options = Options()
        options.parseOptions(["--home", "h", "--name", "north", "get", "--name", "and", "help"])
        self.assertEqual((options["home"], options["name"]), ("h", "north"))
        self.assertEqual(options.commands, ["get --name", "help"])

    def test_refused(self) -> None:
        """An option that makes no sense is refused before anything starts."""
        for words in (["--home", ""], ["--telnet", "70000"], ["--telnet", "tcp:x"], ["--nosuch"]):
            self.assertRaises(UsageError, Options().parseOptions, words)

    def test_telnet(self) -> None:
        """A bare port listens on loopback; an endpoint names its interface."""
        for place, expected in [
            ("7852", "run telnet server where internal_ip = 127.0.0.1 and internal_port = 7852"),
            ("tcp:7852", "run telnet server where internal_ip = 127.0.0.1 and internal_port = 7852"),
            (
                "tcp:7852:interface=127.0.0.2",
                "run telnet server where internal_ip = 127.0.0.2 and internal_port = 7852",
            ),
        ]:
            self.assertEqual(telnet_command(place), expected)

    def test_home_is_made_absolute_at_once(self) -> None:
        """twistd may change the directory before the node starts, so the home is resolved when it is read."""
        options = Options()
        options.parseOptions(["--home", "somewhere"])
        self.assertEqual(makeService(options).home, Path.cwd() / "somewhere")


class EnvironmentFileTests(SynchronousTestCase):
    """What `--env` reads."""

    def test_lines(self) -> None:
        """As files of containers and services are written; nothing in a value is replaced."""
        for text, expected in [
            ("", {}),
            (
                "\ufeff# a comment\n\nA=1\r\n  B = two words \nexport C='x # y'\n",
                {"A": "1", "B": "two words", "C": "x # y"},
            ),
            ('A=\nB=""\nC= # nothing', {"A": "", "B": "", "C": ""}),
            ("A=a#b # c\nB=$HOME\\n\nA=2", {"A": "2", "B": "$HOME\\n"}),
            ('A="say \\"x\\" \\\\ \\n" # c\nB=it\'s', {"A": 'say "x" \\ \\n', "B": "it's"}),
            ("A=b=c", {"A": "b=c"}),
        ]:
            self.assertEqual(read_variables(text, "a.env"), expected, text)

    def test_refused(self) -> None:
        """File and line are named, the value, which may be a secret, is not."""
        for text, culprit in [
            ("A=1\nsecret words", "a.env line 2: this is not NAME=value"),
            ("1A=secret", "a.env line 1: this is not NAME=value"),
            ('A="secret', 'a.env line 1: A: the value is not one text in " quotes'),
            ("A='secret' more", "a.env line 1: A: the value is not one text in ' quotes"),
            ("A=secret\0", "a.env line 1: A: a character"),
        ]:
            refused = self.assertRaises(AnyLogError, read_variables, text, "a.env")
            self.assertIn(culprit, str(refused))
            self.assertNotIn("secret", str(refused))

    def test_option(self) -> None:
        """The file is read at once; one that cannot be is a wrong command line."""
        path = Path(self.mktemp())
        path.write_text("NODE_TYPE=master\n")
        options = Options()
        options.parseOptions(["--env", str(path), "get status"])
        self.assertEqual(options.environ, {"NODE_TYPE": "master"})
        latin = Path(self.mktemp())
        latin.write_bytes(b"A=caf\xe9")
        for name in (latin, path / "none", path.parent):
            refused = self.assertRaises(UsageError, Options().parseOptions, ["--env", str(name)])
            self.assertIn(str(name), str(refused))
