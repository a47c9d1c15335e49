"""
What a playground's folder holds, and on which ports its stores are.

One store is on its own: nothing but its folder is kept. Several stores find each other by addresses that stay the same,
and know each other by a secret: C{DIR/cluster.json} keeps their ports, C{DIR/cluster.secret} the secret. A folder keeps
the number of stores that it began with.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from tinykv.cli.problems import Problem
from tinykv.config import StoreConfig
from tinykv.config_values import InitialStore
from tinykv.storage.schema import fsync_folder

HOST = "127.0.0.1"

#: How far the ports of a store for clients of a Redis Cluster are above those for all others, if they're free.
CLUSTER_PORTS: Final = 1000

#: How many stores a playground may have.
COUNTS: Final = (1, 3, 5)

#: The first port for HTTP that is taken if it's free, when none was asked for.
HTTP_PORT = 20180

#: Ports for other stores are chosen from these at random: systems don't give them to connections, and other playgrounds
#: that don't run now have theirs among them too.
PEER_PORTS = range(20200, 32768)

#: The form of cluster.json.
_FORMAT = 1


class Kept(NamedTuple):
    """
    What cluster.json keeps of a store.

    @ivar peer: Its port for other stores.
    @ivar http: Its port for HTTP at the last start.
    """

    store_id: int
    peer: int
    http: int


class Ports:
    """Ports of L{HOST} that are free, each given once."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def claim(self, option: str, port: int) -> int:
        """
        Give a port: this one, or for 0 any.

        @param option: Where another one could be chosen.
        @raise Problem: It's taken.
        """
        if not 0 <= port <= 65535:
            raise Problem(f"{option}: there is no port {port}; choose a lower one")
        while True:
            try:
                with socket.create_server((HOST, port)) as listener:
                    free: int = listener.getsockname()[1]
            except OSError as problem:
                why = f"{HOST}:{port} can't be used ({problem.strerror or problem})"
                raise Problem(f"{why}; stop what uses it, or choose another with {option}") from problem
            if free not in self._given:
                self._given.add(free)
                return free
            if port:
                raise Problem(f"{option}: {HOST}:{port} is to be used twice; choose another")

    def first(self, *ports: int) -> int:
        """Give the first of some ports that can be had, or else any."""
        for port in ports:
            try:
                return self.claim("", port)
            except Problem:
                continue
        return self.claim("", 0)


def stores_held(folder: Path) -> int | None:
    """
    Tell how many stores a folder was begun with; None if it's new.

    @raise Problem: Its files don't say.
    """
    kept = read_kept(folder)
    if kept is not None:
        return len(kept)
    if (folder / "store-2").exists():
        raise Problem(f"{folder / 'cluster.json'} is missing, which says how its stores meet; put it back from a copy")
    return 1 if (folder / "store-1").exists() else None


def choose_count(folder: Path, asked: int | None, default: int) -> tuple[int, str | None]:
    """
    Choose how many stores to start: what the folder holds, or what was asked for.

    @return: (how many, what a person should be told).
    @raise Problem: Another number was asked for than the folder holds.
    """
    held = stores_held(folder)
    if held is None:
        return asked or default, None
    if asked is None:
        other = (
            f"{folder} holds {_stores(held)}, as it was begun, so that's what is started. {default} that hold the same"
            " data need another folder and other ports: start them beside this with --dir and --port (make run DIR="
            " PORT=), and copy the keys with `tinykv import`."
        )
        return held, None if held == default else other
    if asked != held:
        raise Problem(
            f"{folder} holds {_stores(held)} and stays so: start it with --stores {held} (make run STORES={held}), or"
            f" choose another --dir (DIR=) for {asked}; when both run, `tinykv import` copies the keys"
        )
    return held, None


def choose_regions(folder: Path, asked: int | None, stores: int) -> int:
    """
    Choose into how many regions the slots are cut: what the folder holds, or what was asked for.

    @raise Problem: Another number was asked for than the folder holds, or one store is to have several.
    """
    if stores == 1:
        if asked not in (None, 1):
            raise Problem("one store on its own leads everything, so it has one region; say --stores 3 for more")
        return 1
    held = _regions_held(folder)
    if held is None:
        return asked or 1
    if asked not in (None, held):
        raise Problem(
            f"the slots of {folder} are cut into {held} regions and stay so: say --regions {held} (make run"
            f" REGIONS={held}), or choose another --dir (DIR=)"
        )
    return held


def _regions_held(folder: Path) -> int | None:
    """
    Tell into how many regions a folder's slots are cut; None if it's new.

    @raise Problem: Its file isn't what was written.
    """
    if read_kept(folder) is None:
        return None
    path = folder / "cluster.json"
    try:
        return int(json.loads(path.read_text("utf-8")).get("regions", 1))
    except (OSError, ValueError, TypeError) as problem:
        raise Problem(f"{path} can't be read: {problem}") from problem


def _stores(count: int) -> str:
    return "one store" if count == 1 else f"{count} stores"


def plan(
    folder: Path, count: int, port: int, http_port: int | None, ports: Ports | None = None
) -> list[StoreConfig]:
    """
    Choose the options of each store.

    @param ports: Those that are free.
    @param port: For Redis clients of the first store; the others have the next ones. 0 gives each a free one.
        For clients of a Redis Cluster they have those L{CLUSTER_PORTS} higher, or any.
    @param http_port: Likewise for HTTP; None takes those of the last start, or of L{HTTP_PORT} on, if they're free.
    @raise Problem: A port is taken.
    """
    ports = ports if ports is not None else Ports()
    resp = [ports.claim("--port", port + number if port else 0) for number in range(count)]
    cluster = [ports.first(*([one + CLUSTER_PORTS] if port else [])) for one in resp]
    kept = read_kept(folder)
    peers = _peer_ports(folder, ports, count, kept) if count > 1 else []
    configs: list[StoreConfig] = []
    for number in range(count):
        if http_port is not None:
            http = ports.claim("--http-port", http_port + number if http_port else 0)
        else:
            http = ports.first(*([kept[number].http] if kept else []), HTTP_PORT + number)
        name = f"store-{number + 1}"
        config = StoreConfig(
            data_dir=folder / name,
            cluster_name="playground",
            port=resp[number],
            cluster_port=cluster[number],
            http_port=http,
        )
        configs.append(config if count == 1 else _joined(config, folder, number + 1, peers))
    return configs


def _joined(config: StoreConfig, folder: Path, store_id: int, peers: Sequence[int]) -> StoreConfig:
    """Make a store one of several."""
    return replace(
        config,
        store_id=store_id,
        initial_stores=tuple(InitialStore(other, f"{HOST}:{peer}") for other, peer in enumerate(peers, 1)),
        peer_port=peers[store_id - 1],
        cluster_secret_file=folder / "cluster.secret",
    )


def _peer_ports(folder: Path, ports: Ports, count: int, kept: Sequence[Kept] | None) -> list[int]:
    """Give the ports for other stores: the same ones at every start."""
    if kept is not None:
        path = folder / "cluster.json"
        return [ports.claim(f"'peer' of store {store.store_id} in {path}", store.peer) for store in kept]
    return [ports.first(*(secrets.choice(PEER_PORTS) for _ in range(10))) for _ in range(count)]


def keep(folder: Path, configs: Sequence[StoreConfig]) -> None:
    """
    Keep durably what the next start of several stores needs, the secret too if there's none yet.

    @raise OSError: The folder can't be written.
    """
    if len(configs) == 1:
        return
    secret = folder / "cluster.secret"
    if not secret.exists():
        _write(secret, secrets.token_hex(32) + "\n", 0o600)
    stores = [{"id": config.store_id, "peer": config.peer_port, "http": config.http_port} for config in configs]
    kept = {"format": _FORMAT, "regions": configs[0].initial_regions, "stores": stores}
    _write(folder / "cluster.json", json.dumps(kept, indent=2) + "\n", 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file, all at once and durably."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    fsync_folder(str(path.parent))


def read_kept(folder: Path) -> list[Kept] | None:
    """
    Read cluster.json; None if there is none.

    @raise Problem: It isn't what was written.
    """
    path = folder / "cluster.json"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise Problem(f"{path} can't be read: {problem}") from problem
    try:
        read = json.loads(text)
        kept = [Kept(int(store["id"]), int(store["peer"]), int(store["http"])) for store in read["stores"]]
        right = read["format"] == _FORMAT and [store.store_id for store in kept] == list(range(1, len(kept) + 1))
    except (ValueError, KeyError, TypeError) as problem:
        raise Problem(f"{path} isn't what a playground has written ({problem!r})") from problem
    if not right or len(kept) not in COUNTS or len(kept) == 1:
        raise Problem(f"{path} isn't what this version of the playground writes")
    return kept
