"""One row per sentence of the language: a script, and what it prints or the number of the error that ends it.

The rows follow sections 2 to 10 of language.md; what is not there stands in the tests beside this one.
"""

from __future__ import annotations

import pytest
from language_node import LanguageCase

from anylog.errors import AnyLogError

ROWS: list[tuple[str, list[str] | int]] = [
    ("\n  \t\nprint a", ["a"]),
    ("print a#b abc# # no", ["a#b abc#"]),
    ("<print a # no\n b>", ["a b"]),
    ("<do print a>", 2),
    ("if 1 == 1 then\n<do print\n a>\n<else print b>", ["a"]),
    ("<x = a\n b>\n!x", ["a b"]),
    ('x = {"a" : 1,\n "b" : [1,\n2]}\njson !x [b][1]', ["2"]),
    ("print a & print b", ["a", "b"]),
    ('print "a & b"', ["a & b"]),
    ("print a\r\nprint b\r\n", ["a", "b"]),
    ('print\ta\t\tb "c\td"', ["a b c\td"]),
    ("print 'a b' `c d`", ["a b c d"]),
    ('x = \\"!node\\"\nnode = 5\ny = \\"!node\\"\n!y', ['"5"']),
    (
        "test fold name where name=my-cluster and size=5",
        ['[["name"], {"name": "my-cluster", "size": 5, "deep": false}]'],
    ),
    ("loc = 0.0, 0.0\n!loc", ["0.0, 0.0"]),
    ('c="My Company"\nprint !c', ["My Company"]),
    ("what = get\n!what node name", ["roof@10.0.0.1:32149"]),
    ("GET Node NAME", ["roof@10.0.0.1:32149"]),
    ("x[key with space] = 7\n!x[key with space]", ["7"]),
    ('x = 5\nx = ""\nif not !x then print gone', ["gone"]),
    ("x = 5\nset x = ''\nif not !x then print gone", ["gone"]),
    ("$HOME", ["/home/a"]),
    ("x = !!nope\n!x", ["!nope"]),
    ("k = 5\nx = !!k\n!x", ["!k"]),
    ("k = 7\nx = !k.int\nif !x < 10 then print less", ["less"]),
    ("k = abc\nx = !k.int\nif not !x then print none", ["none"]),
    ("k = FALSE\nif !k.bool then print y\nelse print n", ["n"]),
    ("if !nope.bool then print y\nelse print n", ["n"]),
    ("k = My Company\nprint !k.name", ["my_company"]),
    ("k = abcd\nprint !k.len", ["4"]),
    ("k = [1,2,3]\nprint !k.len", ["3"]),
    ("print !nope.len", ["0"]),
    ("k = abcdef\nprint !k[1:3] !k[:2] !k[4:]", ["bc ab ef"]),
    ('k = [{"a":1},{"a":2}]\nprint !k.a[1]', ["2"]),
    ("d = /a\nf = b\nprint !d/sub/!f.al", ["/a/sub/b.al"]),
    ("d = /a\nprint !d/sub/!f.al", [""]),
    ("$DOMAIN = com\nhost = h\nprint !host.$DOMAIN", ["h.com"]),
    ("print !k[+]", 2),
    ("test fold where name = !nope", 2),
    ("x = !nope\nif not !x then print u", ["u"]),
    ("print a !nope b", ["a  b"]),
    ("x = a + !nope + b\n!x", ["ab"]),
    ("x = python !nope + 1", 34),
    ('<p = {"o" : {"ip" : !ip1, "port" : !port1.int}}>\n!p', ['{"o" : {"ip" : !ip1, "port" : !port1.int}}']),
    (
        'ip1 = 1.2.3.4\nport1 = 5\n<p = {"o" : {"ip" : !ip1, "port" : !port1.int}}>\njson !p',
        ['{"o": {"ip": "1.2.3.4", "port": 5}}'],
    ),
    ("p = {'s' : ['process !x'], 'b' : True, 'n' : None,}\njson !p", ['{"s": ["process !x"], "b": true, "n": null}']),
    ('p = {"a" : !nope}\njson !p', 6),
    ('a = 1\nb = 2\nc = !a + ":" + !b\n!c', ["1:2"]),
    ("a = 1\nb = 2\n!a + !b", ["12"]),
    ("a = 1\nb = 2\nc = !a.int + !b.int\n!c", ["12"]),
    ("t = x\nx = !t.name + - + !t.name + -configs\n!x", ["x-x-configs"]),
    ("a = 1\nx = !a +", 302),
    ("a = 1\nx = !a + b c", 302),
    ("$N = 3\nd = - + $N + d\n!d", ["-3d"]),
    ("t = 30 seconds\n!t", ["30 seconds"]),
    ("set x = test\n!x", ["test"]),
    ("set x = a b", 2),
    ("x = test fail 5", 5),
    ("x = 5\non error ignore\nx = test fail 5\nif not !x then print gone", ["gone"]),
    ("a = 5\nx = if !a == 5\n!x", ["True"]),
    ("!x = 5\n!x", ["5"]),
    ("x[a] = {}\nx[a][b] = 5\nprint !x[a][b]", ["5"]),
    ("x[a][b] = 5", 2),
    ("x[l] = []\njson !x", ['{"l": []}']),
    ("x = 5\nx = incr !x\n!x", ["6"]),
    ("x = 5\nx = get !x\n!x", ["5"]),
    ("x = 5\nx = !x + t\n!x", ["5t"]),
    ("x = test\n!x", ["test"]),
    ("status = get node name\n!status", ["roof@10.0.0.1:32149"]),
    ("file = blockchain\n!file", ["blockchain"]),
    ("x = next\n!x", ["next"]),
    ("mode = continue\n!mode", ["continue"]),
    ("x = stop\n!x", ["stop"]),
    ("x = event\n!x", ["event"]),
    ("x = thread\n!x", ["thread"]),
    ("x = python\n!x", ["python"]),
    ("x = system\n!x", ["system"]),
    ("x = from\n!x", ["from"]),
    ("x = wait\n!x", ["wait"]),
    ("x = echo hello\n!x", ["hello"]),
    ("if 1 == 1 goto x\n:x:", 181),
    ("if 1 == 1 then do print a", ["a"]),
    ("process nothere.al", 112),
    ("variables (a, b)", 55),
    ("for loop start where list = !l\nprint x\nfor loop end", 2),
    ("l = []\nfor loop start where list = !l\nprint x\nfor loop end\nprint end", ["end"]),
    ("l = [5,6]\nfor loop start where list = !l\nprint !l[+]\nfor loop end\nprint end", ["5", "6", "end"]),
    ('l = [{"a":{"b":1}},{"a":2}]\nfor loop start where list = !l\nprint !l.a[+]\nfor loop end', ['{"b": 1}', "2"]),
    ('l = ["5","6"]\nfor loop start where list = !l\nx = !l[+].int\nif !x > 5 then print !x\nfor loop end', ["6"]),
    ("for loop end", 2),
    ("l = [1]\nfor loop start where list = !l\nprint a", 2),
    ("wait 0\nprint a", ["a"]),
    ("x = wait 0 for !y\n!x", ["False"]),
    ('print "Path": !x', ["Path: "]),
    ('x = 4\nprint "Path": !x', ["Path: 4"]),
    ('x = 4\nprint "n = " + !x', ["n = 4"]),
    ("b = incr x", 40),
    ("a = 4\nb = incr !a 3\nprint !b", ["7"]),
    ("a = 12\nb = 45\nx = python !a.str + !b.str\n!x", ["1245"]),
    ("a = 12\nb = 45\nx = python !a.int + !b.float\n!x", ["57.0"]),
    ("json !nope", []),
    ("x = abc\njson !x", []),
    ("x = abc\njson !x test", ["false"]),
    ("set policy p [t][attr]", 2),
    (
        "t = operator\nset policy p [!t] = {} and [!t][name] = abc and [!t][p] = '!x'\njson !p",
        ['{"operator": {"name": "abc", "p": "!x"}}'],
    ),
    ("exit scripts\nprint no", []),
    (":a:\n:a:", 2),
    ("return", []),
    ("on error goto nolabel\nnonsense", 2),
    ("!flag == false then print x", 2),
    ('print "unclosed', 2),
    ("x = [1,2,3]\nprint !x[0] !x[-1]", ["1 3"]),
    ("x{} = get node name\njson !x", ['{"10.0.0.1:32149": "roof@10.0.0.1:32149"}']),
    (
        "x[] = get node name\njson !x\nprint !x.len !x.replies !x.diff",
        ['[["10.0.0.1:32149", "roof@10.0.0.1:32149"]]', "1 1 0"],
    ),
    ("<set policy p [a] = {} and\n [a][b] = 2>\njson !p", ['{"a": {"b": "2"}}']),
    ("$V = !!k\nk = 7\nprint $V", ["7"]),
    (
        "l = [1,2]\nm = [3,4]\nfor loop start where list = !l\nfor loop start where list = !m\n"
        "print !m[+]\nfor loop end\nprint !l[+]\nfor loop end",
        ["3", "4", "1", "3", "4", "2"],
    ),
    (
        "l = [1,2,3]\nfor loop start where list = !l\nif !l[+].int == 2 then goto out\nprint !l[+]\n"
        "for loop end\n:out:\nprint out\nprint !l[+]",
        2,
    ),
    (
        "l = [1,2]\nfor loop start where list = !l\ncall sub\nfor loop end\nend script\n:sub:\nprint !l[+]\nreturn",
        ["1", "2"],
    ),
    ("l = [1,2]\nfor loop start where list = !l\non error ignore\nnonsense\nprint !l[+]\nfor loop end", ["1", "2"]),
    ("l = abc\nfor loop start where list = !l\nfor loop end", 6),
    ('l = {"a" : 1}\nfor loop start where list = !l\nfor loop end', 6),
    ("for loop start where list = [7, 8]\nprint once\nfor loop end", ["once", "once"]),
    ("l = [1,2]\nif 1 == 1 then for loop start where list = !l\nprint !l[+]\nfor loop end", ["1", "2"]),
    (
        "l = [1,2]\nn = 0\n:again:\nfor loop start where list = !l\n"
        "n = incr !n\nif !n < 5 then goto again\nfor loop end\nprint !n",
        ["6"],
    ),
    ("a = x\n!a", ["x"]),
    ('k = 5\nprint \\"!k\\" \\"!no\\"', ['"5" ""']),
    ('k = 5\nx = a \\"!k\\"\n!x', ['a "5"']),
    ('x = \\"!no\\"\nif not !x then print u', ["u"]),
    ('a = [1, {"b" : "c"}]\njson !a [1][b]', ["c"]),
    ("a = [1]\njson !a [5]", []),
    ('policy = {"a" : 1}\nset policy = abc\n!policy', ["abc"]),
]


class Sentences(LanguageCase):
    def runTest(self) -> None:
        """Never run by itself."""

    def outcome(self, text: str) -> list[str] | int:
        """What a script prints, or the number of the error that ends it."""
        self.disk.files["/s/row.al"] = text
        asked = self.interpreter.execute("process /s/row.al", self.context)
        for _ in range(1000):
            if asked.called:
                break
            self.clock.advance(0)
        outcome: list[object] = []
        asked.addBoth(outcome.append)
        error = getattr(outcome[0], "value", None)
        if error is None:
            return self.told
        assert isinstance(error, AnyLogError), error
        return error.number


@pytest.mark.parametrize(("text", "expected"), ROWS, ids=[text for text, _ in ROWS])
def test_sentence(text: str, expected: list[str] | int) -> None:
    """What is written does what the specification says."""
    node = Sentences()
    node.setUp()
    assert node.outcome(text) == expected
