"""
Completeness is counted: every command and option of the catalogue is probed, or listed as not yet there.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.completeness import excused, exercised, missing, options_of, stale, table
from tests.option_examples import (
    ErrorReply,
    Reply,
    SocketConnection,
    ask_real,
    examples,
    failures,
    load_examples,
    malformed,
    plain,
    probe,
    recorded,
    wanted,
)
from tests.real_redis import REDIS_SERVER, RealRedis
from tinykv.redis.catalogue import load

CATALOGUE = load()
SERVED = {one.command for one in missing(())}
"""Every command and subcommand that docs/compatibility.md doesn't list as not yet there."""


class Scripted:
    """A connection with its answers written down; it remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[list[bytes]] = []

    def call(self, args: list[bytes]) -> Reply:
        self.asked.append(args)
        return self.replies.pop(0)

    def send(self, args: list[bytes]) -> None:
        self.asked.append(args)


class OptionNamesTests(SynchronousTestCase):
    """How options are named."""

    def test_names(self) -> None:
        cases = {
            "get": [],
            "set": ["NX", "XX", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL"],
            "lpop": ["[count]"],
            "del": ["key ..."],
            "hrandfield": ["[count]", "WITHVALUES"],
            "linsert": ["BEFORE", "AFTER"],
            "lmove": ["wherefrom LEFT", "wherefrom RIGHT", "whereto LEFT", "whereto RIGHT"],
            "command|list": ["FILTERBY", "FILTERBY MODULE", "FILTERBY ACLCAT", "FILTERBY PATTERN"],
            "sort_ro": ["BY", "LIMIT", "GET", "GET ...", "ASC", "DESC", "ALPHA"],
        }
        for name, options in cases.items():
            self.assertEqual(options_of(CATALOGUE[name]), options)

    def test_an_option_has_one_name(self) -> None:
        for facts in CATALOGUE.values():
            options = options_of(facts)
            self.assertEqual(len(options), len(set(options)), facts.name)


class ExamplesTests(SynchronousTestCase):
    """The tables of example calls."""

    def test_a_line(self) -> None:
        (example,) = examples('[set]\n# a comment\nNX, GET : SET k "a b" ; SELECT 1 > ~ SET k v NX ; GET k\n')
        self.assertEqual((example.command, example.options, example.first), ("set", ("NX", "GET"), 2))
        self.assertEqual([step.args for step in example.steps][0], ("SET", "k", "a b"))
        self.assertEqual([step.mark for step in example.steps], ["", "", "~", ""])

    def test_a_line_of_7_2(self) -> None:
        (example,) = examples('[zrank]\n7.2 WITHSCORE : > ZRANK z a WITHSCORE => [[0, "1"]]\n')
        self.assertEqual(example.expected, ([0, "1"],))
        self.assertEqual(wanted(example, {}), [[0, "1"]])

    def test_probe_keeps_the_answers_from_the_call_on(self) -> None:
        (example,) = examples("[x]\n- : DUMP a > RESTORE b @last @-1 @hex:00ff ; ? TIME ; ~ KEYS ; - QUIET\n")
        connection = Scripted(b"\xff", b"OK", [b"1"], [b"b", b"a"])
        self.assertEqual(probe(example, connection), ["OK", {"kind": "list"}, ["a", "b"]])
        self.assertEqual(connection.asked[1], [b"RESTORE", b"b", b"\xff", b"\xff", b"\x00\xff"])
        self.assertEqual(connection.asked[-1], [b"QUIET"])

    def test_a_setup_must_succeed(self) -> None:
        (example,) = examples("[x]\n- : SET > GET k\n")
        self.assertRaises(AssertionError, probe, example, Scripted(ErrorReply(b"ERR no")))

    def test_an_error_isnt_hidden_by_a_mark(self) -> None:
        self.assertEqual(plain(ErrorReply(b"ERR no"), "?"), {"error": "ERR no"})

    def test_failures_show_both_answers(self) -> None:
        (example,) = (one for one in load_examples() if one.command == "echo")
        self.assertEqual(failures([example], lambda: Scripted(b"hello"), list), [])
        (problem,) = failures([example], lambda: Scripted(ErrorReply(b"ERR syntax error")), list)
        self.assertIn('expected ["hello"]', problem)
        self.assertIn("ERR syntax error", problem)

    def test_every_line_has_its_own_name(self) -> None:
        twice = [key for key, count in Counter(one.id for one in load_examples()).items() if count > 1]
        self.assertEqual(twice, [])

    def test_an_example_calls_its_command(self) -> None:
        for example in load_examples():
            names = {"|".join(step.args[:2]).lower() for step in example.steps}
            names |= {step.args[0].lower() for step in example.steps}
            self.assertIn(example.command, names, example.id)

    def test_options_are_those_of_the_catalogue(self) -> None:
        for name, options in exercised().items():
            self.assertEqual(options - set(options_of(CATALOGUE[name])), set(), name)

    def test_an_option_of_a_line_is_in_its_calls(self) -> None:
        """A line claims no token that it doesn't send."""
        for example in load_examples():
            sent = {word.upper() for step in example.steps[example.first :] for word in step.args}
            for option in example.options:
                token = option.removesuffix(" ...").split(" ")[-1]
                self.assertTrue(token.upper() != token or token.startswith("[") or token in sent, example.id)

    def test_every_line_is_recorded_and_well_formed(self) -> None:
        answers = recorded()
        lines = {one.id for one in load_examples() if one.expected is None and not one.ends_server}
        self.assertEqual(lines, answers.keys())
        self.assertEqual([key for key, value in answers.items() if malformed(value[:1])], [])


class CountTests(SynchronousTestCase):
    """The count against the catalogue."""

    def test_all_that_isnt_excused_is_probed(self) -> None:
        """Every command and option of the families we serve has an example call."""
        self.assertEqual([str(one) for one in missing(SERVED)], [])

    def test_a_lacking_command_is_missing(self) -> None:
        found = missing(SERVED - {"getex", "client|kill"})
        self.assertEqual([str(one) for one in found], ["CLIENT KILL", "GETEX"])

    def test_a_container_is_there_with_its_subcommands(self) -> None:
        self.assertEqual(missing(SERVED - {"config"}), [])

    def test_an_option_without_an_example_is_missing(self) -> None:
        have = SERVED | {"slowlog|get"}
        self.assertEqual(missing(have), [])
        others = [pattern for pattern in excused() if pattern != "SLOWLOG"]
        found = [str(one) for one in missing(have, others)]
        self.assertIn("SLOWLOG GET -", found)
        self.assertIn("SLOWLOG GET [count]", found)
        self.assertIn("SLOWLOG LEN", found)

    def test_an_excuse_that_nothing_needs_is_stale(self) -> None:
        self.assertEqual(stale(SERVED), [])
        self.assertEqual(stale(SERVED | {"migrate"}), [])  # its options have no examples yet
        self.assertEqual(stale(SERVED | {"wait"}), ["WAIT"])

    def test_the_page_shows_every_command(self) -> None:
        page = table(SERVED)
        self.assertIn("| `GETEX` | yes | `EX` `PX` `EXAT` `PXAT` `PERSIST` |", page)
        self.assertIn("| `XADD` | not yet |  |", page)
        self.assertIn("| `CLIENT SETINFO` (7.2) | yes | `LIB-NAME` `LIB-VER` |", page)
        self.assertEqual(page.count("\n| `"), len(CATALOGUE))


class RealServerTests(SynchronousTestCase):
    """The examples against the server they were recorded from."""

    def setUp(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")

    def test_the_recorded_answers_are_the_real_ones(self) -> None:
        with RealRedis() as server:
            self.assertEqual(ask_real(server.path), recorded())

    def test_examples_that_end_the_server_do(self) -> None:
        for example in load_examples():
            if example.ends_server:
                with RealRedis() as server:
                    connection = SocketConnection(server.path)
                    self.addCleanup(connection.close)
                    self.assertEqual(probe(example, connection), [], example.id)
                    self.assertEqual(server.process.wait(10), 0, example.id)
