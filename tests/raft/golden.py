"""
Golden conversations: scripts whose outcome is written down beside them, for people to read.

A file of C{tests/testdata/raft} has lines that begin with C{>}, each a command of L{Conversation}; what happens is
on the lines behind it. C{#} begins a comment. C{python -m tests.raft.golden --write} writes down what happens now; the
difference is to be reviewed.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

from tests.raft.disk import Disk
from tests.raft.network import FULL, Peer
from tests.sources import ROOT
from tinykv.raft.core import ROLE_NAMES
from tinykv.raft.group import Ready
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.raft.messages import CHANGE, KIND_NAMES, Entry, Message
from tinykv.raft.progress import STATE_NAMES
from tinykv.raft.refusals import Refused
from tinykv.raft.wire import decode_change

FOLDER = ROOT / "tests" / "testdata" / "raft"

_ACTIONS = {"+": ADD_VOTER, "~": ADD_LEARNER, "-": REMOVE}
_SIGNS = {action: sign for sign, action in _ACTIONS.items()}


def show_membership(membership: Membership) -> str:
    """Write a membership: voters, old voters behind an ampersand, learners in parentheses."""
    text = " ".join(map(str, membership.voters))
    if membership.outgoing:
        text += " & " + " ".join(map(str, membership.outgoing))
    learners = [*map(str, membership.learners), *(f"{peer} soon" for peer in membership.learners_next)]
    return text + (f" ({', '.join(learners)})" if learners else "")


def show_entry(entry: Entry) -> str:
    """Write an entry: index/term, and what it says."""
    if entry.kind == CHANGE:
        steps = decode_change(entry.data).steps
        what = " ".join(f"{_SIGNS[step.action]}{step.peer}" for step in steps) or "leave"
    else:
        what = entry.data.decode() or "(opens the term)"
    return f"{entry.index}/{entry.term} {what}"


def show_message(message: Message) -> str:
    """Write what a message says."""
    words = [KIND_NAMES[message.kind], f"term={message.term}"]
    for name in ("index", "log_term", "commit", "hint_index", "hint_term", "round", "target"):
        if value := getattr(message, name):
            words.append(f"{name}={value}")
    words += [name for name in ("reject", "force") if getattr(message, name)]
    if message.snapshot is not None:
        index, term, membership = message.snapshot
        words.append(f"of {index}/{term} with {show_membership(membership)}")
    if message.entries:
        words.append("[" + ", ".join(map(show_entry, message.entries)) + "]")
    return " ".join(words)


class Conversation:
    """
    Peers that do what a script says, and what is seen of it.

    @ivar said: The lines of the last command.
    """

    def __init__(self) -> None:
        self.config = FULL
        self.peers: dict[int, Peer] = {}
        self.queue: deque[Message] = deque()
        self.cut: set[int] = set()
        self.known: dict[int, tuple[object, ...]] = {}
        self.said: list[str] = []

    def run(self, line: str) -> list[str]:
        """Do a command; return what happened."""
        self.said = []
        name, *words = line.split()
        getattr(self, "do_" + name.replace("-", "_"))(*words)
        return self.said

    # Commands

    def do_config(self, *choices: str) -> None:
        """config NAME=VALUE...: choose how groups that start from now on behave; ticks are a second."""
        values = dict(choice.split("=") for choice in choices)
        self.config = replace(self.config, **{name: int(value) for name, value in values.items()})

    def do_start(self, *voters: str) -> None:
        """start PEER...: start a group of voters."""
        for voter in voters:
            self._add(int(voter), Membership(tuple(map(int, voters))))

    def do_join(self, peer: str) -> None:
        """join PEER: start a peer that knows nothing."""
        self._add(int(peer), Membership(()))

    def do_campaign(self, peer: str) -> None:
        """campaign PEER"""
        if not self.peers[int(peer)].group.campaign(self.peers[int(peer)].now):
            self.said.append("not now")
        self._look(int(peer))

    def do_elect(self, peer: str) -> None:
        """elect PEER: have it be elected, without saying how"""
        self.peers[int(peer)].group.campaign(self.peers[int(peer)].now)
        self._look(int(peer))
        self.do_settle()
        self.said = [f"{peer} is {self.peers[int(peer)].role} in term {self.peers[int(peer)].group.term}"]

    def do_tick(self, peer: str, count: str = "1") -> None:
        """tick PEER|all [COUNT]"""
        for _ in range(int(count)):
            for one in self.peers if peer == "all" else [int(peer)]:
                self.peers[one].now += self.config.tick
                self.peers[one].group.tick(self.peers[one].now)
                self._look(one)

    def do_propose(self, peer: str, *datas: str) -> None:
        """propose PEER DATA..."""
        self._ask(peer, lambda one: one.group.propose([data.encode() for data in datas]))

    def do_change(self, peer: str, *steps: str) -> None:
        """change PEER leave | (+ID | ~ID | -ID)...: add voters or learners, remove; "stay" keeps a joint one."""
        words = [step for step in steps if step not in ("leave", "stay")]
        change = Change(tuple(Step(_ACTIONS[word[0]], int(word[1:])) for word in words), "stay" not in steps)
        self._ask(peer, lambda one: one.group.propose_change(change))

    def do_transfer(self, peer: str, target: str) -> None:
        """transfer PEER TARGET"""
        self._ask(peer, lambda one: one.group.transfer_leader(int(target)))

    def do_read(self, peer: str, context: str) -> None:
        """read PEER NAME"""
        self._ask(peer, lambda one: one.group.read_index(context))

    def do_quiesce(self, peer: str) -> None:
        """quiesce PEER"""
        if not self.peers[int(peer)].group.quiesce():
            self.said.append("not now")
        self._look(int(peer))

    def do_deliver(self) -> None:
        """deliver: let all messages arrive that are on their way, and not those that they cause"""
        for _ in range(len(self.queue)):
            self._deliver()

    def do_settle(self) -> None:
        """settle: let messages arrive until there are none"""
        while self.queue:
            self._deliver()

    def do_drop(self, *which: str) -> None:
        """drop [to PEER] [from PEER] [KIND]: lose messages that are on their way, of which all this is so"""
        words = list(which)
        kept = deque(self.queue)
        self.queue.clear()
        for message in kept:
            fits = words[-1] in KIND_NAMES.values() and KIND_NAMES[message.kind] != words[-1]
            fits = fits or ("to" in words and message.to != int(words[words.index("to") + 1]))
            fits = fits or ("from" in words and message.sender != int(words[words.index("from") + 1]))
            if fits:
                self.queue.append(message)
            else:
                self.said.append(f"lost: {message.sender} to {message.to}: {KIND_NAMES[message.kind]}")

    def do_cut(self, *peers: str) -> None:
        """cut PEER...: from now on lose all messages to and from peers"""
        self.cut |= set(map(int, peers))

    def do_heal(self) -> None:
        """heal: lose messages no more"""
        self.cut.clear()

    def do_disk(self, peer: str, speed: str) -> None:
        """disk PEER slow|fast: writes are durable at once, or when "write" says so"""
        self.peers[int(peer)].lazy_disk = speed == "slow"

    def do_write(self, peer: str) -> None:
        """write PEER: the oldest write becomes durable"""
        if not self.peers[int(peer)].disk.pending:
            self.said.append("nothing is being written")
            return
        self._send(self.peers[int(peer)].finish_write())
        self._look(int(peer))

    def do_crash(self, peer: str) -> None:
        """crash PEER: what isn't durable is lost; it starts again"""
        self.peers[int(peer)].crash()
        self._look(int(peer))

    def do_compact(self, peer: str, index: str) -> None:
        """compact PEER INDEX: cut the log, that entry included"""
        self.peers[int(peer)].disk.compact(int(index))

    def do_snapshot_done(self, peer: str, to: str, how: str) -> None:
        """snapshot-done PEER TO ok|failed"""
        self.peers[int(peer)].group.snapshot_done(int(to), how == "ok")
        self._look(int(peer))

    def do_lease(self, peer: str) -> None:
        """lease PEER: does it have one?"""
        one = self.peers[int(peer)]
        self.said.append(f"at {one.now:g}: {'valid' if one.group.lease_valid(one.now) else 'none'}")

    def do_log(self, *peers: str) -> None:
        """log PEER...: what logs hold"""
        for peer in peers:
            one = self.peers[int(peer)]
            base = f"behind {one.disk.base[0]}/{one.disk.base[1]}: " if one.disk.base[0] else ""
            self.said.append(f"{peer}: {base}" + ", ".join(map(show_entry, one.log_entries())))

    def do_progress(self, peer: str) -> None:
        """progress PEER: what a leader knows of the others"""
        for member, progress in self.peers[int(peer)].group.progress().items():
            if member != int(peer):
                state = STATE_NAMES[progress.state]
                self.said.append(f"{member}: {state} match={progress.match} next={progress.next}")

    # What happens

    def _add(self, peer: int, membership: Membership) -> None:
        """Start a peer."""
        now = max((other.now for other in self.peers.values()), default=0.0)
        self.peers[peer] = Peer(peer, self.config, disk=Disk(membership))
        self.peers[peer].now = now
        self._look(peer)

    def _ask(self, peer: str, what: object) -> None:
        """Ask a peer for something that it may refuse."""
        assert callable(what)
        try:
            what(self.peers[int(peer)])
        except Refused as refusal:
            self.said.append(f"refused: {refusal}")
        self._look(int(peer))

    def _deliver(self) -> None:
        """Let the next message arrive."""
        message = self.queue.popleft()
        if {message.to, message.sender} & self.cut:
            return
        self.said.append(f"{message.sender} to {message.to}: {show_message(message)}")
        peer = self.peers[message.to]
        peer.group.step(message, peer.now)
        self._look(message.to)

    def _look(self, peer: int) -> None:
        """Say what has changed of a peer and what it has to do, and do that."""
        one = self.peers[peer]
        self._say_state(peer)
        messages = one.pump()
        for ready in one.readies:
            self._say_ready(peer, ready)
        one.readies.clear()
        self._send(messages)
        self._say_state(peer)
        for context, index in one.reads:
            self.said.append(f"  {peer} may read {context} when {index} is applied")
        for context in one.lost_reads:
            self.said.append(f"  {peer} got no answer for {context}")
        one.reads.clear()
        one.lost_reads.clear()

    def _say_state(self, peer: int) -> None:
        """Say what is another state than before."""
        group = self.peers[peer].group
        state = {
            "role": ROLE_NAMES[group.role],
            "term": group.term,
            "leader": group.leader_id,
            "committed": group.committed,
            "stable": group.stable,
            "members": show_membership(group.membership),
            "quiet": group.quiesced,
        }
        before = self.known.get(peer)
        self.known[peer] = tuple(state.values())
        if before is not None:
            changes = [
                f"{name}={value}" for (name, value), old in zip(state.items(), before, strict=True) if value != old
            ]
            if changes:
                self.said.append(f"  {peer} {' '.join(changes)}")

    def _say_ready(self, peer: int, ready: Ready) -> None:
        """Say what is written and applied."""
        if ready.hard_state is not None:
            term, vote, commit = ready.hard_state
            self.said.append(f"  {peer} writes term={term} vote={vote} commit={commit}")
        if ready.snapshot is not None:
            self.said.append(f"  {peer} installs {ready.snapshot.index}/{ready.snapshot.term}")
        if ready.entries:
            self.said.append(f"  {peer} writes {', '.join(map(show_entry, ready.entries))}")
        if ready.committed:
            self.said.append(f"  {peer} applies {', '.join(map(show_entry, ready.committed))}")

    def _send(self, messages: list[Message]) -> None:
        """Put messages on their way."""
        self.queue += messages


def replay(text: str) -> str:
    """Do what a script says; return it with what happens now."""
    conversation = Conversation()
    lines = []
    for line in text.splitlines():
        if line.startswith(">"):
            lines += [line, *conversation.run(line[1:])]
        elif line.startswith("#") or not line:
            lines.append(line)
    return "\n".join(lines) + "\n"


def scripts() -> list[Path]:
    """List the files."""
    return sorted(FOLDER.glob("*.txt"))


def write() -> None:
    """Write down what happens now."""
    for path in scripts():
        path.write_text(replay(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.raft.golden --write")
    write()
