"""The checker accepts what a single copy could have done, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import assume, given, target
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.histories import Row, history, linearizable_by_force, linearizable_plainly
from tinykv.testing.explanation import explain
from tinykv.testing.history import History, Operation
from tinykv.testing.linearizability import Verdict, check, check_part, parts
from tinykv.testing.redis_commands import Between, InAnyOrder
from tinykv.testing.redis_model import Exec, RedisModel, Watch
from tinykv.testing.redis_space import Failed, State

MODEL = RedisModel()


class KnownHistories(SynchronousTestCase):
    """Histories whose verdict is known; small ones are judged by the twin as well."""

    def verdict(self, rows: tuple[Row, ...], model: RedisModel) -> Verdict:
        operations = history(*rows)
        found = check(operations, model).verdict
        if len(operations) <= 7:
            self.assertEqual(found is Verdict.LINEARIZABLE, linearizable_by_force(operations, model))
        return found

    def accept(self, *rows: Row, model: RedisModel = MODEL) -> None:
        self.assertIs(self.verdict(rows, model), Verdict.LINEARIZABLE)

    def reject(self, *rows: Row, model: RedisModel = MODEL) -> None:
        self.assertIs(self.verdict(rows, model), Verdict.VIOLATED)


class ModelTests(KnownHistories):
    """Commands without a clock."""

    def test_nothing_happened(self) -> None:
        self.accept()

    def test_one_after_another(self) -> None:
        self.accept(
            (1, 0, 1, "SET a 1", "OK"), (2, 2, 3, "GET a", "1"), (1, 4, 5, "DEL a", 1), (2, 6, 7, "GET a", None)
        )

    def test_a_stale_read(self) -> None:
        self.reject((1, 0, 1, "SET a 1", "OK"), (1, 2, 3, "SET a 2", "OK"), (2, 4, 5, "GET a", "1"))

    def test_overlapping_reads_may_see_either(self) -> None:
        for seen in ("1", "2"):
            self.accept((1, 0, 1, "SET a 1", "OK"), (1, 2, 9, "SET a 2", "OK"), (2, 4, 5, "GET a", seen))

    def test_two_reads_in_a_row_see_it_come_and_go(self) -> None:
        write: Row = (1, 2, 9, "SET a 2", "OK")
        self.accept((1, 0, 1, "SET a 1", "OK"), write, (2, 3, 4, "GET a", "1"), (3, 5, 6, "GET a", "2"))
        self.reject((1, 0, 1, "SET a 1", "OK"), write, (2, 3, 4, "GET a", "2"), (3, 5, 6, "GET a", "1"))

    def test_touching_times_overlap(self) -> None:
        self.accept((1, 0, 2, "SET a 1", "OK"), (2, 2, 3, "GET a", None))
        self.reject((1, 0, 2, "SET a 1", "OK"), (2, 2.001, 3, "GET a", None))

    def test_a_lost_update(self) -> None:
        self.accept((1, 0, 5, "INCR a", 1), (2, 0, 5, "INCR a", 2))
        self.reject((1, 0, 5, "INCR a", 1), (2, 0, 5, "INCR a", 1))
        self.reject((1, 0, 1, "INCR a", 1), (2, 2, 3, "INCR a", 2), (3, 4, 5, "GET a", "1"))

    def test_an_operation_done_twice(self) -> None:
        self.reject((1, 0, 1, "APPEND a x", 1), (2, 2, 3, "GET a", "xx"))
        self.reject((1, 0, None, "INCR a", None), (2, 2, 3, "GET a", "2"))

    def test_a_write_that_comes_back(self) -> None:
        self.reject(
            (1, 0, 1, "SET a 1", "OK"), (2, 2, 3, "DEL a", 1), (3, 4, 5, "GET a", None), (3, 6, 7, "GET a", "1")
        )

    def test_an_unknown_outcome(self) -> None:
        write: Row = (1, 0, None, "SET a 1", None)
        self.accept(write, (2, 5, 6, "GET a", None))
        self.accept(write, (2, 5, 6, "GET a", "1"))
        # Late: long after others have looked.
        self.accept(write, (2, 5, 6, "GET a", None), (2, 7, 8, "GET a", None), (2, 9, 10, "GET a", "1"))
        self.reject(write, (2, 5, 6, "GET a", "1"), (2, 7, 8, "GET a", None))
        self.reject((2, 0, 1, "GET a", "1"), (1, 2, None, "SET a 1", None))

    def test_unknown_outcomes_in_the_way_of_each_other(self) -> None:
        unknown: tuple[Row, ...] = ((1, 0, None, "SET a 1", None), (2, 0, None, "SET a 2", None))
        self.accept(*unknown, (3, 5, 6, "GET a", "1"), (3, 7, 8, "GET a", "2"))
        self.reject(*unknown, (3, 5, 6, "GET a", "1"), (3, 7, 8, "GET a", "2"), (3, 9, 10, "GET a", "1"))

    def test_a_transaction_in_pieces(self) -> None:
        both: Row = (1, 2, 9, "MULTI; SET a 1; SET b 1", ["OK", "OK"])
        self.accept(both, (2, 3, 4, "MGET a b", ["1", "1"]))
        self.accept(both, (2, 3, 4, "MGET a b", [None, None]))
        self.reject(both, (2, 3, 4, "MGET a b", ["1", None]))
        self.reject((1, 0, 9, "MSET a 1 b 1", "OK"), (2, 3, 4, "GET a", "1"), (3, 5, 6, "GET b", None))

    def test_a_command_that_fails_in_a_transaction(self) -> None:
        self.accept((1, 0, 1, "MULTI; SET a x; INCR a; APPEND a y", ["OK", "-ERR", 2]), (1, 2, 3, "GET a", "xy"))
        self.reject((1, 0, 1, "MULTI; SET a x; INCR a", ["OK", 1]))

    def test_a_watch_that_misses_a_change(self) -> None:
        begin: tuple[Row, ...] = ((9, 0, 1, "SET a 1", "OK"), (1, 2, 3, "WATCH a", "OK"), (2, 4, 5, "SET a 2", "OK"))
        self.reject(*begin, (1, 6, 7, "a MULTI; SET a 3", ["OK"]))
        self.accept(*begin, (1, 6, 7, "a MULTI; SET a 3", None), (3, 8, 9, "GET a", "2"))

    def test_a_watch_of_what_nobody_changed(self) -> None:
        begin: tuple[Row, ...] = ((9, 0, 1, "SET a 1", "OK"), (1, 2, 3, "WATCH a", "OK"), (2, 4, 5, "GET a", "1"))
        self.accept(*begin, (1, 6, 7, "a MULTI; SET a 3", ["OK"]))
        self.reject(*begin, (1, 6, 7, "a MULTI; SET a 3", None))
        self.accept(*begin, (1, 6, 7, "a MULTI; SET a 3", None), model=RedisModel(spurious_aborts=True))

    def test_a_watch_of_what_was_deleted_and_made_again(self) -> None:
        begin: tuple[Row, ...] = ((9, 0, 1, "SET a 1", "OK"), (1, 2, 3, "WATCH a", "OK"))
        again: tuple[Row, ...] = ((2, 4, 5, "DEL a", 1), (2, 6, 7, "SET a 1", "OK"))
        self.reject(*begin, *again, (1, 8, 9, "a MULTI; GET a", ["1"]))

    def test_a_watch_of_an_absent_key(self) -> None:
        watch: Row = (1, 0, 1, "WATCH a", "OK")
        self.accept(watch, (1, 6, 7, "a MULTI; GET a", [None]))
        self.reject(watch, (2, 2, 3, "SET a 1", "OK"), (1, 6, 7, "a MULTI; GET a", ["1"]))
        gone: tuple[Row, ...] = ((2, 2, 3, "SET a 1", "OK"), (2, 4, 5, "DEL a", 1))
        self.accept(watch, *gone, (1, 6, 7, "a MULTI; GET a", [None]))
        self.accept(watch, *gone, (1, 6, 7, "a MULTI; GET a", None))

    def test_a_watch_ends_with_its_transaction(self) -> None:
        watch: tuple[Row, ...] = ((1, 0, 1, "WATCH a", "OK"), (1, 2, 3, "a MULTI; SET a 1", ["OK"]))
        self.accept(*watch, (1, 4, 5, "a MULTI; SET a 2", ["OK"]))

    def test_an_element_popped_twice(self) -> None:
        push: Row = (9, 0, 1, "RPUSH l x y", 2)
        self.accept(push, (1, 2, 9, "LPOP l", "x"), (2, 2, 9, "LPOP l", "y"))
        self.reject(push, (1, 2, 9, "LPOP l", "x"), (2, 2, 9, "LPOP l", "x"))
        members: Row = (9, 0, 1, "SADD s x y", 2)
        self.accept(members, (1, 2, 9, "SPOP s", "y"), (2, 2, 9, "SPOP s", "x"), (3, 10, 11, "SPOP s", None))
        self.reject(members, (1, 2, 9, "SPOP s", "y"), (2, 2, 9, "SPOP s", "y"))

    def test_an_unknown_pop_takes_any_member_or_none(self) -> None:
        begin: tuple[Row, ...] = ((9, 0, 1, "SADD s x y z", 3), (1, 2, None, "SPOP s", None))
        for left in (["x", "y"], ["z", "x"], ["y", "z"], ["z", "y", "x"]):
            self.accept(*begin, (2, 5, 6, "SMEMBERS s", left))
        self.reject(*begin, (2, 5, 6, "SMEMBERS s", ["x"]))

    def test_blocking_pops(self) -> None:
        self.accept((1, 0, 9, "BLPOP l 0", ["l", "x"]), (2, 3, 4, "RPUSH l x", 1), (3, 10, 11, "LLEN l", 0))
        self.reject((1, 0, 9, "BLPOP l 0", ["l", "x"]), (2, 3, 4, "RPUSH l x", 1), (3, 10, 11, "LLEN l", 1))
        self.reject((1, 0, 2, "BLPOP l 0", ["l", "x"]), (2, 3, 4, "RPUSH l x", 1))
        both: Row = (2, 3, 4, "MULTI; RPUSH k y; RPUSH l x", [1, 1])
        self.accept((1, 0, 9, "BLPOP l k 0", ["k", "y"]), both, (3, 10, 11, "LRANGE l 0 -1", ["x"]))

    def test_a_blocking_pop_whose_time_is_over(self) -> None:
        self.accept((1, 0, 1000, "BLPOP l 1", None))
        self.reject((1, 0, 999, "BLPOP l 1", None))
        self.reject((1, 0, 1000, "BLPOP l 0", None))
        self.reject((2, 0, 1, "RPUSH l x", 1), (1, 2, 1500, "BLPOP l 1", None))
        self.accept((1, 0, 1000, "BLPOP l 1", None), (2, 1, 999, "RPUSH l x", 1))
        self.accept((1, 0, 1, "MULTI; BLPOP l 1", [None]))

    def test_hashes(self) -> None:
        self.accept((1, 0, 1, "HSET h f 1 g 2", 2), (1, 2, 3, "HSET h f 3", 0), (1, 4, 5, "HGET h f", "3"))
        self.reject((1, 0, 1, "HSET h f 1", 1), (1, 2, 3, "HDEL h f", 1), (1, 4, 5, "EXISTS h", 1))

    def test_strings(self) -> None:
        self.accept((1, 0, 1, "SETNX a 1", 1), (1, 2, 3, "SETNX a 2", 0), (1, 4, 5, "GETSET a 3", "1"))
        self.accept((1, 0, 1, "SET a 1 XX", None), (1, 2, 3, "SET a 1 NX", "OK"), (1, 4, 5, "SET a 2 NX", None))

    def test_the_wrong_type(self) -> None:
        self.accept((1, 0, 1, "RPUSH l x", 1), (1, 2, 3, "GET l", "-WRONGTYPE"), (1, 4, 5, "MGET l", [None]))
        self.reject((1, 0, 1, "RPUSH l x", 1), (1, 2, 3, "GET l", None))


class ExpiryTests(KnownHistories):
    """Time travels with the entries, and clocks are off."""

    def test_before_and_after_the_bounds(self) -> None:
        write: Row = (1, 0, 10, "SET a 1 PX 100", "OK")
        self.accept(write, (2, 50, 60, "GET a", "1"))
        self.reject(write, (2, 50, 60, "GET a", None))
        self.accept(write, (2, 102, 103, "GET a", "1"))
        self.accept(write, (2, 102, 103, "GET a", None))
        self.accept(write, (2, 110, 112, "GET a", "1"))
        self.reject(write, (2, 111, 112, "GET a", "1"))

    def test_what_was_seen_gone_is_gone(self) -> None:
        write: Row = (1, 0, 10, "SET a 1 PX 100", "OK")
        self.accept(write, (2, 102, 103, "GET a", "1"), (3, 104, 105, "GET a", None))
        self.reject(write, (2, 102, 103, "GET a", None), (3, 104, 105, "GET a", "1"))

    def test_clocks_are_off(self) -> None:
        model = RedisModel(slack_us=20_000)
        write: Row = (1, 0, 10, "SET a 1 PX 100", "OK")
        self.accept(write, (2, 65, 66, "GET a", None), model=model)
        self.reject(write, (2, 50, 59, "GET a", None), model=model)
        self.accept(write, (2, 150, 151, "GET a", "1"), model=model)
        self.reject(write, (2, 151, 152, "GET a", "1"), model=model)

    def test_a_write_takes_the_expiry_away_or_leaves_it(self) -> None:
        write: Row = (1, 0, 10, "SET a 1 PX 100", "OK")
        self.accept(write, (2, 20, 30, "SET a 2", "OK"), (3, 500, 501, "GET a", "2"))
        self.reject(write, (2, 20, 30, "SET a 2", "OK"), (3, 500, 501, "GET a", None))
        self.reject(write, (2, 20, 30, "APPEND a x", 2), (3, 500, 501, "GET a", "1x"))
        self.reject(write, (2, 20, 30, "SET a 2 KEEPTTL", "OK"), (3, 500, 501, "GET a", "2"))
        self.accept(write, (2, 20, 30, "PERSIST a", 1), (3, 500, 501, "GET a", "1"))
        self.accept((1, 0, 1, "SET a 1", "OK"), (1, 2, 3, "PEXPIRE a 10", 1), (3, 500, 501, "GET a", None))

    def test_an_unknown_expiry_ends_no_one_knows_when(self) -> None:
        begin: tuple[Row, ...] = ((1, 0, 1, "SET a 1", "OK"), (2, 2, None, "PEXPIRE a 100", None))
        self.accept(*begin, (3, 500, 501, "GET a", "1"), (3, 502, 503, "GET a", None))
        self.reject(*begin, (3, 50, 51, "GET a", None))
        self.reject(*begin, (3, 500, 501, "GET a", None), (3, 502, 503, "GET a", "1"))

    def test_remaining_times(self) -> None:
        write: Row = (1, 0, 10, "SET a 1 PX 100", "OK")
        self.accept(write, (2, 50, 60, "PTTL a", 45))
        self.reject(write, (2, 50, 60, "PTTL a", 70))
        self.accept((1, 0, 1, "SET a 1", "OK"), (2, 2, 3, "PTTL a", -1), (2, 4, 5, "PTTL b", -2))

    def test_a_watched_key_that_expires(self) -> None:
        begin: tuple[Row, ...] = ((9, 0, 10, "SET a 1 PX 100", "OK"), (1, 20, 30, "WATCH a", "OK"))
        self.reject(*begin, (1, 200, 201, "a MULTI; SET b 1", ["OK"]))
        self.accept(*begin, (1, 200, 201, "a MULTI; SET b 1", None))
        self.accept(*begin, (1, 50, 60, "a MULTI; SET b 1", ["OK"]))


class SearchTests(SynchronousTestCase):
    """Parts, bounds and explanations."""

    def test_parts_share_no_keys(self) -> None:
        operations = history(
            (1, 0, 1, "SET a 1", "OK"),
            (1, 2, 3, "SET b 1", "OK"),
            (1, 4, 5, "SET c 1", "OK"),
            (1, 6, 7, "MSET a 2 c 2", "OK"),
            (1, 8, 9, "WATCH d b", "OK"),
        )
        numbers = [[operation.number for operation in part] for part in parts(operations, MODEL)]
        self.assertEqual(numbers, [[0, 2, 3], [1, 4]])

    def hard(self, seen: str) -> list[Operation]:
        rows: list[Row] = [(client, 0, None, f"APPEND a {client}", None) for client in range(9)]
        return history(*rows, (10, 5, 6, "GET a", seen))

    def test_a_bound_is_no_success(self) -> None:
        found = check(self.hard("87654321x"), MODEL, steps_max=500)
        self.assertIs(found.verdict, Verdict.UNDECIDED)
        self.assertGreater(found.steps, 500)
        self.assertEqual(len(found.part), 10)

    def test_a_violation_weighs_more_than_a_doubt(self) -> None:
        other = history(*[(1, 0, 1, "PERSIST z", 0)] * 10, (11, 5, 6, "GET b", "1"))[10:]
        found = check(self.hard("87654321x") + other, MODEL, steps_max=500)
        self.assertIs(found.verdict, Verdict.VIOLATED)

    def test_long_histories_of_many_clients_take_little(self) -> None:
        rows: list[Row] = []
        for turn in range(200):
            for client in range(5):
                rows.append((client, turn * 10 + client, turn * 10 + 8, f"SET a {turn}.{client}", "OK"))
            rows.append((9, turn * 10 + 9, turn * 10 + 9.5, "GET a", f"{turn}.{turn % 5}"))
        found = check(history(*rows), MODEL)
        self.assertIs(found.verdict, Verdict.LINEARIZABLE)
        self.assertLess(found.steps, 50_000)

    def test_an_explanation_is_small_and_says_why(self) -> None:
        rows: list[Row] = [(1, 10 * turn, 10 * turn + 5, f"SET a {turn}", "OK") for turn in range(50)]
        rows += [(2, 10 * turn + 6, 10 * turn + 7, "GET a", str(turn)) for turn in range(50)]
        rows.append((3, 237, 238, "GET a", "22"))
        rows.append((4, 400, 401, "GET b", None))
        operations = sorted(history(*rows), key=lambda operation: operation.called)
        found = check(operations, MODEL)
        self.assertIs(found.verdict, Verdict.VIOLATED)
        explanation = explain(found.part, MODEL)
        self.assertEqual(explanation.culprit.output, b"22")
        self.assertEqual(max(operation.called for operation in explanation.operations), 237_000)
        self.assertEqual(
            [operation for operation in explanation.operations if operation.input[0] == b"GET"],  # type: ignore[index]
            [explanation.culprit],
        )
        text = explanation.text(MODEL)
        self.assertIn("[237.000 .. 238.000] client 3: GET a -> 22", text)
        self.assertIn("There GET a gives 23, not 22.", text)
        self.assertIn("a = string b'23'", text)

    def test_words(self) -> None:
        operations = history(
            (1, 0, 1, "a MULTI; SET a 1; GET b", []), (1, 2, 3, "WATCH a", "OK"), (1, 4, 5, "BLPOP a b 0", None)
        )
        words = [MODEL.describe(operation) for operation in operations]
        self.assertEqual(words, ["MULTI; SET a 1; GET b; EXEC (watching a)", "WATCH a", "BLPOP a b 0"])
        self.assertEqual(MODEL.describe_output((b"x", None, Failed(b"ERR"), 3)), "[x, nil, -ERR, 3]")
        self.assertEqual(MODEL.describe_output(InAnyOrder((b"x",))), "[x] in any order")
        self.assertEqual(MODEL.describe_output(Between(1, 2)), "1 to 2")


class HistoryTests(SynchronousTestCase):
    """Taking a history down."""

    def test_outcomes(self) -> None:
        taken = History()
        first, second, third = (taken.call(1, time, (b"GET", b"a")) for time in (5, 6, 7))
        taken.reply(second, 9, b"x")
        taken.drop(first)
        self.assertEqual(len(taken), 3)
        self.assertEqual([(found.number, found.returned) for found in taken.operations], [(second, 9), (third, None)])

    def test_an_operation_ends_once(self) -> None:
        taken = History()
        number = taken.call(1, 5, (b"GET", b"a"))
        taken.reply(number, 6, None)
        self.assertRaises(AssertionError, taken.reply, number, 7, None)
        self.assertRaises(AssertionError, taken.drop, number)


# Random histories, and the checker against its twin

keys = st.sampled_from([b"a", b"b"])
texts = st.sampled_from([b"1", b"2", b"x"])
commands = st.one_of(
    st.tuples(st.just(b"GET"), keys),
    st.tuples(st.just(b"SET"), keys, texts),
    st.tuples(st.just(b"SET"), keys, texts, st.just(b"PX"), st.sampled_from([b"10", b"25"])),
    st.tuples(st.just(b"SETNX"), keys, texts),
    st.tuples(st.just(b"GETSET"), keys, texts),
    st.tuples(st.just(b"INCR"), keys),
    st.tuples(st.just(b"APPEND"), keys, texts),
    st.tuples(st.just(b"DEL"), keys),
    st.tuples(st.just(b"EXISTS"), keys),
    st.tuples(st.just(b"MSET"), st.just(b"a"), texts, st.just(b"b"), texts),
    st.tuples(st.just(b"MGET"), st.just(b"a"), st.just(b"b")),
    st.tuples(st.just(b"RPUSH"), st.just(b"l"), texts),
    st.tuples(st.just(b"LPOP"), st.just(b"l")),
    st.tuples(st.just(b"BLPOP"), st.just(b"l"), st.just(b"0")),
    st.tuples(st.just(b"SADD"), st.just(b"s"), texts),
    st.tuples(st.just(b"SPOP"), st.just(b"s")),
    st.tuples(st.just(b"SMEMBERS"), st.just(b"s")),
)
inputs = st.one_of(
    commands,
    st.builds(Exec, st.none(), st.just(()), st.tuples(commands, commands)),
    st.builds(Watch, st.just(1), st.tuples(keys)),
    keys.map(lambda key: Exec(1, (key,), ((b"INCR", key),))),
)


@st.composite
def runs(draw: st.DrawFn, count: int = 6) -> list[Operation]:
    """
    A history that really happened: one after another at 10 ms intervals, known to clients some time around that.

    In some of them, most outcomes are unknown.
    """
    known_of_five = draw(st.sampled_from([4, 4, 1]))
    state: State = MODEL.initial()
    found: list[Operation] = []
    for number, request in enumerate(draw(st.lists(inputs, max_size=count))):
        point = (number + 1) * 10_000
        called = point - draw(st.integers(0, 25_000))
        returned: int | None = point + draw(st.integers(0, 25_000))
        # It takes effect at its point: what it does and says is found with just that.
        here = Operation(number, number, point, point, request)
        outcomes = [(expected, after) for expected, after in MODEL.step(state, here) if _sayable(expected)]
        if not outcomes:
            continue
        happens = True
        if draw(st.integers(0, 4)) >= known_of_five:
            returned = None
            happens = draw(st.booleans())
        expected, after = draw(st.sampled_from(outcomes))
        if happens:
            state = after
        output = None if returned is None else _said(expected)
        found.append(Operation(number, number, max(0, called), returned, request, output))
    return found


def _sayable(expected: Any) -> bool:
    try:
        _said(expected)
    except ValueError:
        return False
    return True


def _said(expected: Any) -> Any:
    if isinstance(expected, InAnyOrder):
        return expected.elements
    if hasattr(expected, "expected"):
        return tuple(map(_said, expected.expected))
    if callable(expected):
        raise ValueError("there's no such output")
    return expected


other_outputs = st.one_of(
    st.none(), texts, st.just(b"OK"), st.integers(0, 2), st.just((b"1", b"2")), st.just((b"l", b"1"))
)


class TwinTests(SynchronousTestCase):
    """The checker and the slow, obvious ones agree."""

    @given(runs())
    def test_what_happened_is_accepted(self, operations: list[Operation]) -> None:
        self.assertIs(check(operations, MODEL).verdict, Verdict.LINEARIZABLE)
        self.assertIs(check_part(operations, MODEL).verdict, Verdict.LINEARIZABLE)

    @given(runs(14), st.integers(0, 13), other_outputs)
    def test_of_longer_histories_a_plain_search_says_the_same(
        self, operations: list[Operation], place: int, output: Any
    ) -> None:
        assume(place < len(operations) and operations[place].known)
        operations[place] = replace(operations[place], output=output)
        plainly = linearizable_plainly(operations, MODEL)
        target(float(not plainly))
        self.assertEqual(check_part(operations, MODEL).verdict is Verdict.LINEARIZABLE, plainly)

    @given(runs(), st.integers(0, 5), other_outputs)
    def test_with_another_output_both_say_the_same(self, operations: list[Operation], place: int, output: Any) -> None:
        assume(place < len(operations) and operations[place].known)
        old = operations[place]
        assume(old.output != output)
        operations[place] = replace(old, output=output)
        by_force = linearizable_by_force(operations, MODEL)
        target(float(not by_force))
        found = check(operations, MODEL)
        self.assertEqual(found.verdict is Verdict.LINEARIZABLE, by_force)
        self.assertEqual(check_part(operations, MODEL).verdict is Verdict.LINEARIZABLE, by_force)
        if not by_force:
            explanation = explain(found.part, MODEL)
            self.assertFalse(linearizable_by_force(explanation.operations, MODEL))
            self.assertIn("client", explanation.text(MODEL))
