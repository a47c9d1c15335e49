"""Raw KV: column families, scans, batches, compare-and-set."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.resp import replies
from tinykv.testing.embedded import TABLE, Embedded

_FAMILIES = st.sampled_from([b"default", b"lock", b"write"])
_KEYS = st.binary(max_size=2).map(lambda key: bytes(byte & 0x81 for byte in key))
_VALUES = st.sampled_from([b"", b"1", b"2"])


class RawTests(SynchronousTestCase):
    """The RAW commands."""

    def test_what_grows(self) -> None:
        """On a nearly full disk entries can still be deleted."""
        grow = {name for name, spec in TABLE.items() if name.startswith("raw.") and spec.grows}
        self.assertEqual(grow, {"raw.put", "raw.batchput", "raw.cas"})

    def setUp(self) -> None:
        self.embedded = Embedded()
        self.run_ = self.embedded.run

    def _fill(self, *keys: bytes) -> None:
        for key in keys:
            self.run_(b"raw.put", b"default", key, b"v" + key)

    def test_an_empty_value_is_a_value(self) -> None:
        self.assertEqual(self.run_(b"raw.get", b"default", b"a"), b"$-1\r\n")
        self.assertEqual(self.run_(b"raw.put", b"default", b"a", b""), b"+OK\r\n")
        self.assertEqual(self.run_(b"raw.get", b"default", b"a"), b"$0\r\n\r\n")
        self.assertEqual(self.run_(b"raw.get", b"default", b"b", proto=3), b"_\r\n")

    def test_families_are_namespaces(self) -> None:
        for family in (b"default", b"lock", b"write"):
            self.run_(b"raw.put", family, b"k", family)
        for family in (b"default", b"LOCK", b"Write"):
            self.assertEqual(self.run_(b"raw.get", family, b"k"), replies.bulk(family.lower()))
        self.assertEqual(self.run_(b"raw.delete", b"lock", b"k"), b":1\r\n")
        self.assertEqual(self.run_(b"raw.scan", b"lock", b"", b"10"), b"*0\r\n")
        self.assertEqual(self.run_(b"raw.scan", b"write", b"", b"10"), replies.bulks([b"k", b"write"]))

    def test_unknown_families(self) -> None:
        refusal = b"-ERR unknown column family 'data'; there are default, lock and write\r\n"
        for line in (
            b"raw.get data a",
            b"raw.put data a b",
            b"raw.delete data a",
            b"raw.scan data a 1",
            b"raw.batchget data a",
            b"raw.batchput data a b",
            b"raw.batchdelete data a",
            b"raw.cas data a ABSENT b",
        ):
            self.assertEqual(self.run_(*line.split()), refusal, line)

    def test_redis_keys_are_others(self) -> None:
        self.run_(b"set", b"a", b"redis")
        self._fill(b"a")
        self.run_(b"flushall")
        self.assertEqual(self.run_(b"raw.get", b"default", b"a"), b"$2\r\nva\r\n")
        self.assertEqual(self.run_(b"dbsize"), b":0\r\n")

    def test_scans(self) -> None:
        self._fill(b"a", b"b", b"b\x00", b"c", b"", b"\xff", b"\xff\xff")
        for line, keys in (
            ([b"", b"100"], [b"", b"a", b"b", b"b\x00", b"c", b"\xff", b"\xff\xff"]),
            ([b"b", b"2"], [b"b", b"b\x00"]),
            ([b"aa", b"2"], [b"b", b"b\x00"]),
            ([b"b", b"0"], []),
            ([b"b", b"10", b"END", b"c"], [b"b", b"b\x00"]),
            ([b"", b"10", b"end", b""], []),
            ([b"c", b"10", b"END", b"b"], []),
            ([b"\xff\xff\xff", b"10"], []),
            ([b"c", b"3", b"REVERSE"], [b"c", b"b\x00", b"b"]),
            ([b"bb", b"2", b"REVERSE"], [b"b\x00", b"b"]),
            ([b"", b"2", b"REVERSE"], [b"\xff\xff", b"\xff"]),
            ([b"c", b"10", b"REVERSE", b"END", b"b"], [b"c", b"b\x00"]),
            ([b"b", b"10", b"END", b"", b"REVERSE"], [b"b", b"a"]),
            ([b"a", b"10", b"REVERSE", b"END", b"b"], []),
        ):
            expected = [word for key in keys for word in (key, b"v" + key)]
            self.assertEqual(self.run_(b"raw.scan", b"default", *line), replies.bulks(expected), line)
            self.assertEqual(
                self.run_(b"raw.scan", b"default", *line, b"KEYSONLY"), replies.bulks(keys), line
            )

    def test_refused_scans(self) -> None:
        for line, refusal in (
            (b"raw.scan default a x", b"-ERR value is not an integer or out of range\r\n"),
            (b"raw.scan default a -1", b"-ERR value is out of range, must be positive\r\n"),
            (b"raw.scan default a 1 END", b"-ERR syntax error\r\n"),
            (b"raw.scan default a 1 bad", b"-ERR syntax error\r\n"),
            (b"raw.scan default a", b"-ERR wrong number of arguments for 'raw.scan' command\r\n"),
        ):
            self.assertEqual(self.run_(*line.split()), refusal)

    def test_batches(self) -> None:
        self.assertEqual(self.run_(b"raw.batchput", b"lock", b"a", b"1", b"b", b"", b"a", b"3"), b"+OK\r\n")
        self.assertEqual(
            self.run_(b"raw.batchget", b"lock", b"a", b"x", b"b"), b"*3\r\n$1\r\n3\r\n$-1\r\n$0\r\n\r\n"
        )
        self.assertEqual(self.run_(b"raw.batchdelete", b"lock", b"a", b"x", b"a"), b":1\r\n")
        odd = b"-ERR wrong number of arguments for 'raw.batchput' command\r\n"
        self.assertEqual(self.run_(b"raw.batchput", b"lock", b"a", b"1", b"b"), odd)

    def test_compare_and_set(self) -> None:
        cas = (b"raw.cas", b"write", b"k")
        self.assertEqual(self.run_(*cas, b"VALUE", b"", b"1"), b"*2\r\n:0\r\n$-1\r\n")
        self.assertEqual(self.run_(*cas, b"ABSENT", b""), b"*2\r\n:1\r\n$-1\r\n")
        self.assertEqual(self.run_(*cas, b"absent", b"2"), b"*2\r\n:0\r\n$0\r\n\r\n")
        self.assertEqual(self.run_(*cas, b"value", b"", b"2"), b"*2\r\n:1\r\n$0\r\n\r\n")
        self.assertEqual(self.run_(*cas, b"VALUE", b"1", b"3"), b"*2\r\n:0\r\n$1\r\n2\r\n")
        for tail in ([b"VALUE", b"1"], [b"ABSENT", b"1", b"2"], [b"bad", b"1", b"2"]):
            self.assertEqual(self.run_(*cas, *tail), b"-ERR syntax error\r\n")

    def test_a_rollback_restores_the_rows(self) -> None:
        self._fill(b"a", b"b")
        before = self.embedded.rows.image()
        for line in (
            b"raw.put default a x",
            b"raw.put default c x",
            b"raw.delete default a",
            b"raw.cas default a VALUE va x",
            b"raw.batchput default a x c y b z",
            b"raw.batchdelete default a b c",
        ):
            keyspace: Any = self.embedded.keyspace
            commit, keyspace.commit = keyspace.commit, keyspace.rollback
            self.run_(*line.split())
            keyspace.commit = commit
            self.assertEqual(self.embedded.rows.image(), before, line)

    @given(
        st.lists(st.tuples(_FAMILIES, _KEYS, st.none() | _VALUES), max_size=30),
        _FAMILIES,
        _KEYS,
        _KEYS,
        st.booleans(),
    )
    def test_scans_equal_a_sorted_dict(
        self,
        changes: list[tuple[bytes, bytes, bytes | None]],
        family: bytes,
        start: bytes,
        end: bytes,
        reverse: bool,
    ) -> None:
        embedded = Embedded()
        model: dict[bytes, bytes] = {}
        for name, key, value in changes:
            if value is None:
                embedded.run(b"raw.delete", name, key)
            else:
                embedded.run(b"raw.put", name, key, value)
            if name == family:
                model.pop(key, None)
                if value is not None:
                    model[key] = value
        if reverse:
            keys = sorted((key for key in model if end < key and (key <= start or not start)), reverse=True)
        else:
            keys = sorted(key for key in model if start <= key < end)
        for limit in (2, 100):
            options = [b"END", end, *([b"REVERSE"] if reverse else [])]
            reply = embedded.run(b"raw.scan", family, start, b"%d" % limit, *options)
            self.assertEqual(
                reply, replies.bulks([word for key in keys[:limit] for word in (key, model[key])])
            )
