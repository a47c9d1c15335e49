"""
The playground's scheduler: its members, their ports, and what they say of the stores.

C{DIR/schedulers.json} keeps how many members there are, and their ports: a scheduler stays with the members that it
began with. A folder may be started without them, for stores need none to serve.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tinykv.cli.ctl_schedule_http import HttpScheduler, Proof
from tinykv.cli.playground_cluster import HOST, PEER_PORTS, Ports
from tinykv.cli.playground_process import LocalProcess, is_healthy
from tinykv.cli.problems import Problem
from tinykv.config_values import InitialStore
from tinykv.schedule.config import TABLE, ScheduleConfig
from tinykv.storage.small_files import replace_file

#: How many members a playground's scheduler may have.
SCHEDULERS: Final = (0, 1, 3)
#: The first port of their API that is taken if it's free.
API_PORT: Final = 2379

_NAME: Final = "schedulers.json"
_FORMAT: Final = 1


class KeptMember(NamedTuple):
    """What schedulers.json keeps of a member: its ports for other members, and of its API."""

    peer: int
    api: int


def choose_schedulers(folder: Path, asked: int | None, stores: int) -> int:
    """
    Choose how many members to start: what was asked for, or what the folder holds, or one for several stores.

    @raise Problem: The folder holds another number; or one store is to have some, which has no use for them.
    """
    if stores == 1:
        if asked:
            raise Problem("one store on its own has no use for a scheduler; say --stores 3, or --schedulers 0")
        return 0
    kept = read_members(folder)
    if asked is None:
        return len(kept) if kept is not None else 1
    if asked and kept is not None and asked != len(kept):
        raise Problem(
            f"{folder} holds a scheduler with {len(kept)} members and stays so: say --schedulers {len(kept)} (make run"
            f" SCHEDULERS={len(kept)}), or 0 to start none"
        )
    return asked


def plan_schedulers(folder: Path, count: int, ports: Ports) -> list[ScheduleConfig]:
    """
    Choose the options of each member.

    @param ports: Those that are free.
    @raise Problem: A port is taken.
    """
    kept = read_members(folder)
    path = folder / _NAME
    members: list[KeptMember] = []
    for number in range(count):
        if kept is not None:
            peer = ports.claim(f"'peer' of member {number + 1} in {path}", kept[number].peer)
            api = ports.first(kept[number].api)
        else:
            peer = ports.first(*(secrets.choice(PEER_PORTS) for _ in range(10)))
            api = ports.first(API_PORT + number)
        members.append(KeptMember(peer, api))
    named = tuple(InitialStore(number, f"{HOST}:{member.peer}") for number, member in enumerate(members, 1))
    return [
        ScheduleConfig(
            data_dir=folder / f"scheduler-{number}",
            cluster_name="playground",
            http_port=member.api,
            ballast_bytes=0,
            member_id=number,
            initial_members=named,
            cluster_secret_file=folder / "cluster.secret",
            peer_port=member.peer,
        )
        for number, member in enumerate(members, 1)
    ]


def keep_schedulers(folder: Path, configs: Sequence[ScheduleConfig]) -> None:
    """
    Keep durably what the next start needs.

    @raise tinykv.errors.Fault: The folder can't be written.
    """
    if configs:
        members = [{"id": config.member_id, "peer": config.peer_port, "api": config.http_port} for config in configs]
        replace_file(folder / _NAME, json.dumps({"format": _FORMAT, "members": members}, indent=2) + "\n")


def read_members(folder: Path) -> list[KeptMember] | None:
    """
    Read schedulers.json; None if there is none.

    @raise Problem: It isn't what was written.
    """
    path = folder / _NAME
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise Problem(f"{path} can't be read: {problem}") from problem
    try:
        read = json.loads(text)
        kept = [KeptMember(int(member["peer"]), int(member["api"])) for member in read["members"]]
        right = read["format"] == _FORMAT and len(kept) in SCHEDULERS[1:]
    except (ValueError, KeyError, TypeError) as problem:
        raise Problem(f"{path} isn't what a playground has written ({problem!r})") from problem
    if not right:
        raise Problem(f"{path} isn't what this version of the playground writes")
    return kept


class LocalScheduler(LocalProcess):
    """
    One member.

    @ivar config: Its options.
    """

    PLUGIN = "tinyschedule"

    def __init__(self, name: str, folder: Path, config: ScheduleConfig) -> None:
        """
        Write its configuration.

        @raise OSError: The folder can't be written.
        """
        super().__init__(name, folder, config.data_dir, TABLE.render(config))
        self.config = config

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://{self.config.http_bind}:{self.config.http_port}"

    def answers(self) -> bool:
        """Say if it knows who leads."""
        return is_healthy(self.config.http_bind, self.config.http_port)

    def ports(self) -> dict[str, int | None]:
        """Give its ports."""
        return {"http": self.config.http_port, "peer": self.config.peer_port}


def stores_known(schedulers: Sequence[LocalScheduler], count: int) -> list[dict[str, Any]] | None:
    """Give what the scheduler says of the stores, once it has heard of that many; None before."""
    asks = HttpScheduler([scheduler.url for scheduler in schedulers], Proof(), patience=0)
    try:
        stores: list[dict[str, Any]] = asks.ask("GET", "/stores")["stores"]
        led = asks.ask("GET", "/regions")["regions"]
    except Problem:
        return None
    heard = [store for store in stores if store["stats"] is not None]
    return heard if len(heard) >= count and led else None
