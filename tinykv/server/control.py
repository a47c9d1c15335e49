"""
What operators ask of a cluster, wherever they ask it: any store answers, and has the leader answer what only that can.

A L{Question} is answered by L{ask}, from this store's L{IClusterControl} or, over the links between stores, from the
leader's. It's passed on once at most: a leader that has changed meanwhile is told to the operator, who asks again. So
no change is ever made twice, and nothing goes round in a circle.

Question and answer are JSON on those links as they are on the HTTP port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tinykv.config_values import STORE_ID_MAX
from tinykv.errors import ControlRefused, ControlUnknown, NotLeading
from tinykv.interfaces import (
    CHECKSUM_SECONDS_MAX,
    CHECKSUM_SECONDS_USUAL,
    IClusterControl,
    IPeering,
    MemberView,
    Outcome,
    RegionView,
    merged_member,
)
from tinykv.keys import SLOTS
from tinykv.peering.settings import is_address
from tinykv.region.splitting import PARTS_MAX

#: Longest question, in bytes.
QUESTION_BYTES_MAX: Final = 4096

#: Greatest number of a region.
REGION_ID_MAX: Final = 2**63 - 1

#: What can be seen; each store knows something of it.
VIEWS: Final = ("members", "status")
#: What can be done.
ACTIONS: Final = ("add-store", "remove-store", "transfer-leader", "checksum", "split", "merge")
#: What is done in all regions if it isn't said in which.
_IN_ALL: Final = ("add-store", "remove-store", "checksum")

#: What each question says beside its name.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "members": (),
    "status": (),
    "add-store": ("store", "address", "region"),
    "remove-store": ("store", "region"),
    "transfer-leader": ("store", "region"),
    "checksum": ("timeout", "region"),
    "split": ("slots", "parts", "region"),
    "merge": ("region", "target"),
}

#: Codes of answers, HTTP's.
DONE: Final = 200
BEGUN: Final = 202
BAD: Final = 400
REFUSED: Final = 409
BROKEN: Final = 500
NO_LEADER: Final = 503
UNKNOWN: Final = 504

#: Takes a question to a store and brings its answer. Fails with ControlRefused if it surely never got there, and with
#: ControlUnknown if nobody can tell.
Relay = Callable[[int, bytes], Deferred[bytes]]

_log = Logger()


class BadQuestion(Exception):
    """A question isn't one; the text says why."""


class Question(NamedTuple):
    """
    What an operator wants.

    @ivar name: One of L{VIEWS} or L{ACTIONS}.
    @ivar store: The store that it's about, or None.
    @ivar address: Where the others are to find that store, or empty.
    @ivar timeout: How long it may take, in seconds, for what takes as long as there is data.
    @ivar region: The region that it's about; None for all of them, or for the only one.
    @ivar slots: Where a region is to be split, as the first slot of each part but the first; none for the middle.
    @ivar target: The region into which one is to be merged; None for what isn't about that.
    @ivar parts: In how many parts it's to be split where no slots are given.
    """

    name: str
    store: int | None = None
    address: str = ""
    timeout: int = CHECKSUM_SECONDS_USUAL
    region: int | None = None
    slots: tuple[int, ...] = ()
    parts: int = 2
    target: int | None = None


class Answer(NamedTuple):
    """
    What an operator is told.

    @ivar code: As HTTP's.
    @ivar body: What JSON has; one that isn't good has C{error}, a sentence.
    """

    code: int
    body: dict[str, Any]


def question_of(name: str, fields: object) -> Question:
    """
    Read a question.

    @param fields: What came as JSON.
    @raise BadQuestion: It isn't one.
    """
    wanted = _FIELDS.get(name)
    if wanted is None:
        raise BadQuestion(f"there is no {name!r}")
    if not isinstance(fields, dict):
        raise BadQuestion("a JSON object is needed")
    for field in fields:
        if field not in wanted:
            raise BadQuestion(f"{name} has no field {field!r}; it has {', '.join(wanted) or 'none'}")
    store = fields.get("store")
    if store is None:
        if "store" in wanted and name != "transfer-leader":
            raise BadQuestion(f"{name} needs the field 'store'")
    elif type(store) is not int or not 1 <= store <= STORE_ID_MAX:
        raise BadQuestion(f"'store' must be a whole number from 1 to {STORE_ID_MAX}")
    address = fields.get("address", "")
    if "address" in wanted and not (isinstance(address, str) and is_address(address)):
        raise BadQuestion("'address' must be the host:port where other stores reach it, an IPv6 address in brackets")
    timeout = fields.get("timeout", CHECKSUM_SECONDS_USUAL)
    if type(timeout) is not int or not 1 <= timeout <= CHECKSUM_SECONDS_MAX:
        raise BadQuestion(f"'timeout' must be a whole number of seconds from 1 to {CHECKSUM_SECONDS_MAX}")
    region, target = fields.get("region"), fields.get("target")
    for field, number in (("region", region), ("target", target)):
        if number is None and name == "merge":
            raise BadQuestion(f"merge needs the field {field!r}")
        if number is not None and (type(number) is not int or not 1 <= number <= REGION_ID_MAX):
            raise BadQuestion(f"{field!r} must be a whole number from 1 to {REGION_ID_MAX}")
    slots, parts = fields.get("slots", []), fields.get("parts", 2)
    if not isinstance(slots, list) or len(slots) > PARTS_MAX or not all(map(_is_slot, slots)):
        raise BadQuestion(f"'slots' must be a list of at most {PARTS_MAX} whole numbers from 1 to {SLOTS - 1}")
    if type(parts) is not int or not 2 <= parts <= PARTS_MAX + 1:
        raise BadQuestion(f"'parts' must be a whole number from 2 to {PARTS_MAX + 1}")
    return Question(name, store, address, timeout, region, tuple(slots), parts, target)


def _is_slot(number: object) -> bool:
    """Say whether a part can begin at a slot; none begins at the first of all."""
    return type(number) is int and 1 <= number < SLOTS


def encode_question(question: Question) -> bytes:
    """Write a question for another store."""
    fields = {field: getattr(question, field) for field in _FIELDS[question.name]}
    return json.dumps({"name": question.name, "fields": fields}).encode()


def described(question: Question) -> str:
    """Give a question in words, for the log."""
    said = [f"{field} {value}" for field in _FIELDS[question.name] if (value := getattr(question, field))]
    return ", ".join([question.name, *said])


def decode_question(payload: bytes) -> Question:
    """
    Read a question of another store.

    @raise BadQuestion: It isn't one.
    """
    read = decode_json(payload)
    if not isinstance(read, dict) or not isinstance(read.get("name"), str):
        raise BadQuestion("a question has a name")
    return question_of(read["name"], read.get("fields"))


def decode_json(payload: bytes) -> Any:
    """
    Read JSON, within the limit for questions.

    @raise BadQuestion: It's too long or isn't JSON.
    """
    if len(payload) > QUESTION_BYTES_MAX:
        raise BadQuestion(f"a question has at most {QUESTION_BYTES_MAX} bytes")
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as problem:
        raise BadQuestion("that isn't JSON") from problem


async def ask(control: IClusterControl, relay: Relay, question: Question) -> Answer:
    """
    Answer a question from here, or have the leader answer it.

    Views are the leader's if it can be reached, since it knows more, and this store's own if not; of several regions
    they're put together from what their leaders say. What is done in all regions is asked for region by region.
    """
    leaders = control.leaders()
    if question.name in VIEWS:
        return await _view(control, relay, question, leaders)
    if question.region is None and len(leaders) > 1 and question.name in _IN_ALL:
        regions = sorted(leaders)
        if question.name == "remove-store":
            seen = await _view(control, relay, Question("status"), leaders)
            stores = {view["region"]: [member["store"] for member in view["members"]] for view in seen.body["regions"]}
            # Where it isn't any more it was removed before.
            regions = [region for region in regions if question.store in stores.get(region, ())] or regions[:1]
        return await _ask_all(control, relay, question, regions)
    answer = await answer_here(control, question)
    leader = answer.body.get("leader")
    if answer.code == NO_LEADER and leader not in (None, control.store_id):
        return await ask_there(relay, leader, question)
    return answer


async def _view(
    control: IClusterControl, relay: Relay, question: Question, leaders: Mapping[int, int | None]
) -> Answer:
    """See what leaders see."""
    others = sorted({leader for leader in leaders.values() if leader is not None} - {control.store_id})
    alone = len(others) == 1 and control.store_id not in leaders.values()
    answers: list[Answer] = []
    for leader in others:
        answer = await ask_there(relay, leader, question)
        if answer.code == DONE:
            if alone:
                return answer
            answers.append(answer)
    own = await answer_here(control, question)
    if own.code != DONE:
        return own
    if question.name == "members":
        return Answer(DONE, {**own.body, "members": _merged_members([own, *answers])})
    return Answer(DONE, {**own.body, "regions": _merged_regions([own, *answers])})


def _merged_members(answers: Sequence[Answer]) -> list[MemberView]:
    """Put together what stores say of the members: whether they're reached is the first one's word."""
    found: dict[int, MemberView] = {}
    for answer in answers:
        for view in answer.body["members"]:
            before = found.get(view["store"])
            found[view["store"]] = view if before is None else merged_member(before, view)
    return [found[store] for store in sorted(found)]


def _merged_regions(answers: Sequence[Answer]) -> list[RegionView]:
    """Put together what stores say of regions: of each, its leader's word if there is one."""
    found: dict[int, RegionView] = {}
    for answer in answers:
        for view in answer.body["regions"]:
            if view["region"] not in found or view["leader"] == answer.body["store"]:
                found[view["region"]] = view
    return [found[region] for region in sorted(found)]


async def _ask_all(control: IClusterControl, relay: Relay, question: Question, regions: Sequence[int]) -> Answer:
    """Ask for something in all regions, one after another; the first that doesn't do it ends that."""
    done: list[dict[str, Any]] = []
    for place, region in enumerate(regions):
        answer = await ask(control, relay, question._replace(region=region))
        if answer.code not in (DONE, BEGUN):
            told = f"region {region}: {answer.body.get('error', '')}"
            if place:
                told += f" (done in {place} of {len(regions)} regions; asked again it goes on)"
            return Answer(answer.code, {**answer.body, "error": told})
        done += answer.body.get("regions", [])
        last = answer
    return Answer(last.code, {**last.body, "regions": done} if done else last.body)


async def ask_there(relay: Relay, leader: int, question: Question) -> Answer:
    """Have another store answer."""
    try:
        reply = json.loads(await relay(leader, encode_question(question)))
        code, body = reply["code"], reply["body"]
        if type(code) is int and 200 <= code < 600 and isinstance(body, dict):
            return Answer(code, body)
    except ControlRefused as problem:
        return Answer(NO_LEADER, {"error": f"store {leader} leads, and can't be asked: {problem}", "leader": leader})
    except ControlUnknown as problem:
        return Answer(UNKNOWN, {"error": str(problem)})
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # told below, like an answer of the wrong form
    return Answer(UNKNOWN, {"error": f"store {leader} answered what this version doesn't understand"})


def relay_over(peering: IPeering, mark: bytes) -> Relay:
    """
    Pass questions on over the links between stores, as batches of their own.

    @param mark: Stands before each question, so that the other side tells it from a batch of commands and gives what is
        behind it to L{answer_relayed}.
    """

    def relay(store: int, question: bytes) -> Deferred[bytes]:
        answered: Deferred[bytes] = Deferred()

        def arrived(outcome: Outcome, answer: bytes) -> None:
            if outcome is Outcome.ANSWERED:
                answered.callback(answer)
            elif outcome is Outcome.REFUSED:
                why = answer.decode("utf-8", "backslashreplace") or f"there is no link to store {store} now"
                answered.errback(ControlRefused(why))
            else:
                answered.errback(ControlUnknown(f"the link to store {store} broke before its answer came"))

        peering.forward(store, mark + question, arrived)
        return answered

    return relay


def answer_relayed(control: IClusterControl, payload: bytes) -> Deferred[bytes]:
    """
    Answer a question that another store has passed on; it isn't passed on again.

    @return: fires with the answer, and doesn't fail.
    """

    async def answered() -> bytes:
        try:
            answer = await answer_here(control, decode_question(payload))
        except BadQuestion as problem:
            answer = Answer(BAD, {"error": str(problem)})
        return json.dumps(answer._asdict()).encode()

    return Deferred.fromCoroutine(answered())


async def answer_here(control: IClusterControl, question: Question) -> Answer:
    """Answer a question from this store."""
    try:
        return await _answer(control, question)
    except NotLeading as problem:
        return Answer(NO_LEADER, {"error": str(problem), "leader": problem.leader})
    except ControlRefused as problem:
        return Answer(REFUSED, {"error": str(problem)})
    except ControlUnknown as problem:
        return Answer(UNKNOWN, {"error": str(problem)})
    except Exception:  # noqa: BLE001  # whatever it fails with is logged, and told as 500
        _log.failure("{name} failed", name=question.name)
        return Answer(BROKEN, {"error": f"internal error, see the log of store {control.store_id}"})


async def _answer(control: IClusterControl, question: Question) -> Answer:
    name, store, address, timeout, region, slots, parts, target = question
    here = {"store": control.store_id}
    if name == "members":
        return Answer(DONE, {**here, "leader": control.leader(), "members": control.members()})
    if name == "status":
        return Answer(DONE, {**here, "regions": control.status()})
    if name == "checksum":
        return Answer(DONE, {**here, "regions": await control.checksum(timeout, region)})
    if name == "transfer-leader":
        return Answer(DONE, {"leader": await control.transfer_leader(store, region)})
    if name == "split":
        return Answer(DONE, {**here, "regions": await control.split(region, slots, parts)})
    if name == "merge":
        assert region is not None and target is not None, "the question was checked"
        return Answer(DONE, {**here, "regions": [await control.merge(region, target)]})
    assert store is not None, "the question was checked"
    if name == "add-store":
        await control.add_store(store, address, region)
    else:
        await control.remove_store(store, region)
    return Answer(BEGUN, {"store": store})
