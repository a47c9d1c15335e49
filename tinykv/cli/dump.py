"""
C{tinykv dump}: what a stopped store holds, in readable form. The log's tail is replayed in memory; nothing is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import click

from tinykv.cli.dump_forms import FORMS, Element, Form
from tinykv.cli.problems import problems_of
from tinykv.cli.screen import progress, stdout_is_terminal
from tinykv.cli.stopped import StoppedStore, hold, pending
from tinykv.errors import Fault
from tinykv.keys import DATABASES, RAW_PREFIX, RAW_RANGE
from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyspace import Keyspace, Live
from tinykv.redis.list_value import List
from tinykv.redis.raw import FAMILIES
from tinykv.redis.set_value import Set
from tinykv.redis.table import commands_of
from tinykv.redis.value import row_expires, string_body
from tinykv.redis.zset_value import SortedSet
from tinykv.region.descriptor import DESCRIPTORS, Descriptor
from tinykv.storage.rowstore import RowStore
from tinykv.store.recovery import begun_regions, recover_regions
from tinykv.tap.beginning import STORE_ID

#: Memory for values that are read, in bytes; beside it stands what the log's tail holds.
_BUDGET = 64 << 20
#: Elements after which the cache is asked to keep its budget.
_STEP = 1000


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(FORMS)),
    default="text",
    show_default=True,
    help="text: for people. json: one object a line. resp: commands, to be piped into redis-cli --pipe.",
)
def dump(folder: Path, form: str) -> None:
    """
    Write the contents of a stopped store, or of a copy, to standard output.

    All databases with key, type, time to live and value, then the raw entries. Keys whose time is over are left out.
    With `--format resp` collections are replaced where they exist: DEL comes before the first element.
    """
    with problems_of(str(folder)), hold(folder) as held, StoppedStore(held) as store:
        write_dump(store, FORMS[form](sys.stdout.buffer), int(time.time() * 1000), quiet=stdout_is_terminal())


def write_dump(store: StoppedStore, form: Form, now_ms: int, *, quiet: bool = True) -> None:
    """
    Write everything that a store holds.

    @param form: How it's written.
    @param now_ms: Keys that have expired by then are left out; in ms since 1970.
    @param quiet: Show no progress.
    @raise Fault: The files can't be read.
    """
    rows = RowStore(store.reader())
    table = commands_of(MODULES)
    firsts = Descriptor.initial_regions(store.regions, [STORE_ID])
    begun = begun_regions(rows.scan("region", *DESCRIPTORS), firsts)
    with progress(quiet=quiet) as bars:
        starts = [(first.region, store.recover(first.region)) for first in begun]
        waiting = [
            pending(store.raft, region, found.applied[0]) if found.last[0] > found.applied[0] else 0
            for region, found in starts
        ]
        bar = bars.add_task("log entries", total=sum(waiting))

        def execution_of(first: Descriptor) -> Execution:
            budget = _BUDGET // len(begun)
            keyspace = Keyspace(rows, VALUE_TYPES, budget=budget, region=first.region, slots=first.slots)
            return Execution(keyspace, table, start_id=0, random=Random(0), defect=lambda *_: None)

        found = recover_regions(store, begun, execution_of, STORE_ID, lambda _: bars.advance(bar))
        keyspaces = [execution.keyspace for execution, _ in found]
        for keyspace in keyspaces:
            keyspace.writing = False
            # By this clock nothing has expired, so that the walk over the keys decides alone.
            keyspace.now = 0
        bar = bars.add_task("keys", total=sum(db.keys for keyspace in keyspaces for db in keyspace.physical))
        for index in range(DATABASES):
            for keyspace in keyspaces:
                _write_database(keyspace, index, form, now_ms, lambda: bars.advance(bar))
        _write_raw(rows, form)


def _write_database(keyspace: Keyspace, index: int, form: Form, now_ms: int, done: Callable[[], None]) -> None:
    """Write what a region has of a database."""
    db = keyspace.databases[index]
    if db.keys:
        for _, _, key, _ in db.rows_from(0, 0):
            done()
            value = db.get(key)
            if value is None:
                raise Fault(f"key {key!r} of database {index} is in the order of keys, but can't be found")
            expires = row_expires(value) if isinstance(value, bytes) else value.expires
            if not expires or expires > now_ms:
                form.key(index, key, _type_of(value), expires, now_ms, _turning(keyspace, elements_of(value)))
            keyspace.turn()


def _type_of(value: Live) -> str:
    return "string" if isinstance(value, bytes) else value.NAME.decode()


def elements_of(value: Live) -> Iterator[Element]:
    """Give a value's elements: byte strings, or pairs (field, value) of a hash, (member, score) of a sorted set."""
    if isinstance(value, bytes):
        return iter((string_body(value),))
    if isinstance(value, Set):
        return value.members()
    assert isinstance(value, List | Hash | SortedSet)
    return iter(value.items())


def _turning(keyspace: Keyspace, elements: Iterator[Element]) -> Iterator[Element]:
    """Pass elements on, and let the cache keep its budget meanwhile: a large value's nodes all go through it."""
    while some := list(islice(elements, _STEP)):
        yield from some
        keyspace.turn()


def _write_raw(rows: RowStore, form: Form) -> None:
    for family in FAMILIES:
        for row_key, value in rows.scan(family, *RAW_RANGE):
            assert isinstance(value, bytes)
            form.raw(family, row_key[len(RAW_PREFIX) :], value)
