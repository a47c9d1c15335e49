"""
The catalogue: well-formed, and equal to what a real redis-server says of its commands.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.option_examples import SocketConnection
from tests.real_redis import REDIS_SERVER, RealRedis
from tinykv.redis.catalogue import Argument, CommandFacts, KeySpec, everything, load, parse

CATALOGUE = load()
SERVED = {"string", "hash", "list", "set", "sorted-set", "generic", "connection", "transactions"}


class ShapeTests(SynchronousTestCase):
    """What must hold of every entry."""

    def test_names_are_sorted_and_lower_case(self) -> None:
        self.assertEqual(list(CATALOGUE), sorted(CATALOGUE))
        self.assertEqual([name for name in CATALOGUE if name != name.lower()], [])

    def test_subcommands_follow_their_container(self) -> None:
        for name, facts in CATALOGUE.items():
            self.assertEqual(facts.container, name.partition("|")[0] if "|" in name else "")
            if facts.container:
                self.assertIn(facts.container, CATALOGUE)

    def test_commands_of_the_served_families_have_a_summary(self) -> None:
        bare = [name for name, facts in CATALOGUE.items() if facts.group in SERVED and not facts.summary]
        self.assertEqual(bare, [])
        summaries = [facts.summary for facts in CATALOGUE.values() if facts.summary]
        self.assertEqual([summary for summary in summaries if not summary.endswith(".")], [])

    def test_summaries_are_short_and_differ(self) -> None:
        summaries = [facts.summary for facts in CATALOGUE.values() if facts.summary]
        self.assertEqual(len(summaries), len(set(summaries)))
        self.assertLess(max(map(len, summaries)), 100)

    def test_an_argument_refers_to_a_key_spec_that_is_there(self) -> None:
        for name, facts in CATALOGUE.items():
            for argument in _flat(facts.arguments):
                self.assertLess(argument.key_spec_index, len(facts.key_specs), name)

    def test_a_choice_has_arguments_and_nothing_else_has(self) -> None:
        for name, facts in CATALOGUE.items():
            for argument in _flat(facts.arguments):
                self.assertEqual(bool(argument.arguments), argument.kind in ("oneof", "block"), name)

    def test_our_own(self) -> None:
        """What Redis doesn't have is described in the same form, as a module's."""
        own = {name: facts for name, facts in everything().items() if name not in CATALOGUE}
        self.assertEqual(list(own), sorted(own))
        for name, facts in own.items():
            self.assertEqual((facts.group, name), ("module", f"{facts.module}.{name.partition('.')[2]}"))
            self.assertEqual(facts.flags[-1], "module")
            self.assertEqual(bool(facts.first), facts.has_keys, name)
            self.assertTrue(facts.summary.endswith("."), name)
            for argument in _flat(facts.arguments):
                self.assertLess(argument.key_spec_index, max(len(facts.key_specs), 1), name)

    def test_takes(self) -> None:
        self.assertEqual([CATALOGUE["get"].takes(count) for count in (1, 2, 3)], [False, True, False])
        self.assertEqual([CATALOGUE["set"].takes(count) for count in (2, 3, 9)], [False, True, True])

    def test_what_7_2_adds(self) -> None:
        added = [name for name, facts in CATALOGUE.items() if facts.added_in_7_2]
        self.assertEqual(added, ["client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"])
        self.assertEqual((CATALOGUE["zrank"].arity, CATALOGUE["zrank"].arity_in_7_0), (-3, 3))
        tokens = [one.token for one in _flat(CATALOGUE["zrank"].arguments) if one.added_in_7_2]
        self.assertEqual(tokens, ["WITHSCORE"])

    def test_the_key_of_most_commands_is_known_without_a_search(self) -> None:
        self.assertEqual(CATALOGUE["get"].single_key, 1)
        self.assertEqual(CATALOGUE["object|encoding"].single_key, 2)
        for name in ("mget", "ping", "spublish", "sort", "eval"):
            self.assertEqual(CATALOGUE[name].single_key, 0, name)

    def test_parse_takes_the_least_that_an_entry_has(self) -> None:
        text = (
            '[{"name":"x","group":"generic","since":"1.0.0","arity":1,"flags":[],'
            '"first":0,"last":0,"step":0,"acl":[]}]'
        )
        self.assertEqual(dict(parse(text)), {"x": CommandFacts("x", "generic", "1.0.0", 1)})


class RealServerTests(SynchronousTestCase):
    """Every fact against COMMAND and COMMAND DOCS of redis-server 7.0.15."""

    def setUp(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")
        server = RealRedis()
        self.addCleanup(server.close)
        self.connection = SocketConnection(server.path)
        self.addCleanup(self.connection.close)
        info = self.connection.call([b"INFO", b"server"])
        assert isinstance(info, bytes)
        if b"redis_version:7.0.15" not in info:
            raise SkipTest("the installed redis-server isn't 7.0.15")
        self.connection.call([b"HELLO", b"3"])

    def test_facts(self) -> None:
        reply = self.connection.call([b"COMMAND"])
        assert isinstance(reply, list)
        real = {}
        for entry in reply:
            real[entry[0].decode()] = entry
            real.update({below[0].decode(): below for below in entry[9]})
        ours = {name: facts for name, facts in CATALOGUE.items() if not facts.added_in_7_2}
        self.assertEqual(ours.keys(), real.keys())
        for name, facts in ours.items():
            self.assertEqual(_info(facts), _real_info(real[name]), name)

    def test_docs(self) -> None:
        reply = self.connection.call([b"COMMAND", b"DOCS"])
        assert isinstance(reply, dict)
        real = {}
        for name, docs in reply.items():
            real[name.decode()] = docs
            real.update({below.decode(): one for below, one in docs.get(b"subcommands", {}).items()})
        for name, facts in CATALOGUE.items():
            if not facts.added_in_7_2:
                self.assertEqual(_docs(facts), _real_docs(real[name]), name)


def _flat(arguments: tuple[Argument, ...]) -> list[Argument]:
    """All arguments of a tree."""
    return [each for one in arguments for each in (one, *_flat(one.arguments))]


def _texts(items: Any) -> tuple[str, ...]:
    """The strings of a decoded reply."""
    return tuple(item.decode() for item in items)


def _info(facts: CommandFacts) -> tuple[Any, ...]:
    """What COMMAND of 7.0.15 is to say, in a form of our own."""
    return (
        facts.arity_in_7_0 or facts.arity,
        facts.flags,
        (facts.first, facts.last, facts.step),
        facts.acl_categories,
        facts.tips,
        facts.key_specs,
    )


def _real_info(entry: list[Any]) -> tuple[Any, ...]:
    """What COMMAND says, in the form of L{_info}."""
    specs = tuple(_real_spec(spec) for spec in entry[8])
    return entry[1], _texts(entry[2]), tuple(entry[3:6]), _texts(entry[6]), _texts(entry[7]), specs


def _real_spec(spec: dict[bytes, Any]) -> KeySpec:
    """Read a key spec from COMMAND's reply."""
    begin, find = spec[b"begin_search"], spec[b"find_keys"]
    start = begin[b"spec"]
    return KeySpec(
        _texts(spec[b"flags"]),
        begin[b"type"].decode(),
        start.get(b"index", start.get(b"startfrom", 0)),
        start.get(b"keyword", b"").decode(),
        find[b"type"].decode(),
        tuple(find[b"spec"].values()),
    )


def _docs(facts: CommandFacts) -> tuple[Any, ...]:
    """What COMMAND DOCS of 7.0.15 is to say, in a form of our own."""
    arguments = [_argument(one) for one in facts.arguments if not one.added_in_7_2]
    return facts.group, facts.since, facts.doc_flags, facts.deprecated_since, arguments


def _argument(argument: Argument) -> tuple[Any, ...]:
    """An argument as 7.0.15 has it."""
    below = [_argument(one) for one in argument.arguments if not one.added_in_7_2]
    since = argument.since, argument.deprecated_since
    kind = argument.kind_in_7_0 or argument.kind
    return argument.name, kind, argument.token, argument.key_spec_index, since, argument.flags, below


def _real_docs(docs: dict[bytes, Any]) -> tuple[Any, ...]:
    """What COMMAND DOCS says, in the form of L{_docs}."""
    return (
        docs[b"group"].decode(),
        docs[b"since"].decode(),
        _texts(docs.get(b"doc_flags", ())),
        docs.get(b"deprecated_since", b"").decode(),
        [_real_argument(one) for one in docs.get(b"arguments", ())],
    )


def _real_argument(entry: dict[bytes, Any]) -> tuple[Any, ...]:
    """An argument of COMMAND DOCS, in the form of L{_argument}."""
    return (
        entry[b"name"].decode(),
        entry[b"type"].decode(),
        entry[b"token"].decode() if b"token" in entry else None,
        entry.get(b"key_spec_index", -1),
        (entry.get(b"since", b"").decode(), entry.get(b"deprecated_since", b"").decode()),
        _texts(entry.get(b"flags", ())),
        [_real_argument(one) for one in entry.get(b"arguments", ())],
    )
