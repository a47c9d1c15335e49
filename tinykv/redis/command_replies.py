"""
The replies of COMMAND and its subcommands, in the shapes of Redis 7.0.15.

They describe the commands that a server has, not the whole catalogue. Order within sets and maps is by name,
where Redis has the order of its hash table. Prose of Redis's own (complexity, history, notes on key specs) is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.catalogue import Argument, CommandFacts, KeySpec, keys_and_flags_of
from tinykv.resp.replies import array, bulk, bulks, integer, map_, nil, set_, simple

HELP = (
    b"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"(no subcommand)",
    b"    Describe every command.",
    b"COUNT",
    b"    Count the commands.",
    b"LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    b"    Name the commands, or those that fit a filter.",
    b"INFO [<command-name> ...]",
    b"    Describe the named commands for a client library, or all of them.",
    b"DOCS [<command-name> ...]",
    b"    Describe the named commands for a reader, or all of them.",
    b"GETKEYS <full-command>",
    b"    Pick the keys out of a whole command.",
    b"GETKEYSANDFLAGS <full-command>",
    b"    Pick the keys out of a whole command, with what it does to each.",
    b"HELP",
    b"    Show these lines.",
)


def select(catalogue: Mapping[str, CommandFacts], names: Collection[str]) -> Mapping[str, CommandFacts]:
    """Take the facts of the named commands out of a catalogue, sorted; a name it lacks is a KeyError."""
    return MappingProxyType({name: catalogue[name] for name in sorted(names)})


class CommandReplies:
    """
    Answers COMMAND for one set of commands.

    Every method takes the arguments behind its subcommand's name and answers with an encoded reply; C{proto}
    is the session's protocol version, 2 or 3.
    """

    def __init__(self, facts: Mapping[str, CommandFacts], matches: Callable[[bytes, bytes], bool]) -> None:
        """
        @param facts: The commands and subcommands that are there, by full name in lower case.
        @param matches: The glob matcher that LIST FILTERBY PATTERN goes by: (pattern, name), both in lower
            case.
        """
        self._facts = facts
        self._matches = matches
        self._top = tuple(one for one in facts.values() if not one.container)
        self._below: dict[str, list[CommandFacts]] = {}
        self._every: dict[int, bytes] = {}
        self._documents: dict[tuple[str, int], bytes] = {}
        for one in facts.values():
            if one.container:
                self._below.setdefault(one.container, []).append(one)

    def every(self, proto: int) -> bytes:
        """Answer COMMAND: what INFO says of every command."""
        reply = self._every.get(proto)
        if reply is None:
            reply = self._every[proto] = array([self._info(facts, proto) for facts in self._top])
        return reply

    def info(self, names: Sequence[bytes], proto: int) -> bytes:
        """Answer COMMAND INFO; a name that isn't there gets a null."""
        if not names:
            return self.every(proto)
        found = [self._named(name) for name in names]
        return array([nil(proto) if facts is None else self._info(facts, proto) for facts in found])

    def docs(self, names: Sequence[bytes], proto: int) -> bytes:
        """Answer COMMAND DOCS; a name that isn't there is left out."""
        found: Iterable[CommandFacts | None] = map(self._named, names) if names else self._top
        pairs: list[bytes] = []
        for facts in found:
            if facts is not None:
                pairs += (_text(facts.name), self.documented(facts.name, proto))
        return map_(pairs, proto)

    def documented(self, name: str, proto: int) -> bytes:
        """Give what DOCS says of a command, made once: a pipeline of DOCS would stop all other clients for long."""
        reply = self._documents.get((name, proto))
        if reply is None:
            reply = self._documents[name, proto] = self._docs(self._facts[name], proto)
        return reply

    def count(self) -> bytes:
        """Answer COMMAND COUNT; subcommands don't count."""
        return integer(len(self._top))

    def list_names(self, options: Sequence[bytes]) -> bytes:
        """
        Answer COMMAND LIST with the names of commands and subcommands.

        @raise SyntaxProblem: for options other than FILTERBY with MODULE, ACLCAT or PATTERN and its operand.
        """
        if not options:
            return bulks([name.encode() for name in self._facts])
        if len(options) != 3 or options[0].upper() != b"FILTERBY":
            raise SyntaxProblem
        kind, operand = options[1].upper(), options[2].lower()
        if kind == b"ACLCAT":
            category = "@" + operand.decode("latin-1")
            chosen = [name for name, facts in self._facts.items() if category in facts.acl_categories]
        elif kind == b"PATTERN":
            chosen = [name for name in self._facts if self._matches(operand, name.encode())]
        elif kind == b"MODULE":
            chosen = [name for name, facts in self._facts.items() if facts.module.encode() == operand]
        else:
            raise SyntaxProblem
        return bulks([name.encode() for name in chosen])

    def getkeys(self, call: Sequence[bytes]) -> bytes:
        """
        Answer COMMAND GETKEYS.

        @raise CommandError: if the call names no command, or one without keys, or has the wrong arguments.
        """
        return bulks([call[position] for position, _ in self._keys(call)])

    def getkeysandflags(self, call: Sequence[bytes], proto: int) -> bytes:
        """Answer COMMAND GETKEYSANDFLAGS; it refuses what L{getkeys} refuses."""
        return array(
            [array([bulk(call[position]), _names(flags, proto)]) for position, flags in self._keys(call)]
        )

    def help(self) -> bytes:
        """Answer COMMAND HELP."""
        return array([simple(line) for line in HELP])

    def _keys(self, call: Sequence[bytes]) -> list[tuple[int, tuple[str, ...]]]:
        """Find a call's keys or say why it has none, in Redis's order of checks."""
        facts = self._named(call[0])
        if facts is not None and facts.name in self._below and len(call) > 1:
            facts = self._named(call[0] + b"|" + call[1])
        if facts is None or facts.container and b"|" in call[0]:
            raise CommandError(b"ERR Invalid command specified")
        if not facts.has_keys:
            raise CommandError(b"ERR The command has no key arguments")
        if not facts.takes(len(call)):
            raise CommandError(b"ERR Invalid number of arguments specified for command")
        found = keys_and_flags_of(facts, call)
        if not found and "no_mandatory_keys" not in facts.flags:
            raise CommandError(b"ERR Invalid arguments specified for command")
        return found

    def _named(self, name: bytes) -> CommandFacts | None:
        """Look a command up by its full name in any case."""
        return self._facts.get(name.lower().decode("latin-1"))

    def _info(self, facts: CommandFacts, proto: int) -> bytes:
        """Build what COMMAND INFO says of one command: an array of ten."""
        return array(
            [
                _text(facts.name),
                integer(facts.arity),
                _names(facts.flags, proto),
                integer(facts.first),
                integer(facts.last),
                integer(facts.step),
                _names(facts.acl_categories, proto),
                set_([_text(tip) for tip in facts.tips], proto),
                set_([_key_spec(spec, proto) for spec in facts.key_specs], proto),
                # A container answers with an array here and every other command with an empty set, as in
                # Redis.
                array([self._info(one, proto) for one in self._below[facts.name]])
                if facts.name in self._below
                else set_([], proto),
            ]
        )

    def _docs(self, facts: CommandFacts, proto: int) -> bytes:
        """Build what COMMAND DOCS says of one command: a map without the fields that are empty."""
        pairs: list[bytes] = []
        if facts.summary:
            pairs += (_text("summary"), _text(facts.summary))
        if facts.since:
            pairs += (_text("since"), _text(facts.since))
        pairs += (_text("group"), _text(facts.group))
        if facts.module:
            pairs += (_text("module"), _text(facts.module))
        if facts.doc_flags:
            pairs += (_text("doc_flags"), _names(facts.doc_flags, proto))
        if facts.deprecated_since:
            pairs += (_text("deprecated_since"), _text(facts.deprecated_since))
        if facts.replaced_by:
            pairs += (_text("replaced_by"), _text(facts.replaced_by))
        if facts.arguments:
            pairs += (_text("arguments"), array([_argument(one, proto) for one in facts.arguments]))
        below = self._below.get(facts.name)
        if below:
            inner: list[bytes] = []
            for one in below:
                inner += (_text(one.name), self._docs(one, proto))
            pairs += (_text("subcommands"), map_(inner, proto))
        return map_(pairs, proto)


def _text(text: str) -> bytes:
    """Encode a name or sentence as a bulk string."""
    return bulk(text.encode())


def _names(names: Iterable[str], proto: int) -> bytes:
    """Encode flags or categories: a set of simple strings."""
    return set_([simple(name.encode()) for name in names], proto)


def _numbers(pairs: Mapping[str, int], proto: int) -> bytes:
    """Encode a map from names to numbers."""
    flat: list[bytes] = []
    for name, number in pairs.items():
        flat += (_text(name), integer(number))
    return map_(flat, proto)


def _key_spec(spec: KeySpec, proto: int) -> bytes:
    """Build a key spec: flags, where the search begins, and how keys follow."""
    begin: list[bytes] = []
    if spec.begin == "index":
        begin = [_text("index"), integer(spec.position)]
    elif spec.begin == "keyword":
        begin = [_text("keyword"), _text(spec.keyword), _text("startfrom"), integer(spec.position)]
    words = ("keynumidx", "firstkey", "keystep") if spec.find == "keynum" else ("lastkey", "keystep", "limit")
    find = dict(zip(words, spec.numbers, strict=False))  # an unknown one has no numbers
    return map_(
        [
            _text("flags"),
            _names(spec.flags, proto),
            _text("begin_search"),
            map_([_text("type"), _text(spec.begin), _text("spec"), map_(begin, proto)], proto),
            _text("find_keys"),
            map_([_text("type"), _text(spec.find), _text("spec"), _numbers(find, proto)], proto),
        ],
        proto,
    )


def _argument(argument: Argument, proto: int) -> bytes:
    """Build one argument of COMMAND DOCS with all below it."""
    pairs = [_text("name"), _text(argument.name), _text("type"), _text(argument.kind)]
    if argument.key_spec_index >= 0:
        pairs += (_text("key_spec_index"), integer(argument.key_spec_index))
    if argument.token is not None:
        pairs += (_text("token"), _text(argument.token))
    if argument.since:
        pairs += (_text("since"), _text(argument.since))
    if argument.deprecated_since:
        pairs += (_text("deprecated_since"), _text(argument.deprecated_since))
    if argument.flags:
        pairs += (_text("flags"), _names(argument.flags, proto))
    if argument.arguments:
        pairs += (_text("arguments"), array([_argument(one, proto) for one in argument.arguments]))
    return map_(pairs, proto)
