"""
C{tinykv playground}: a store to try, with its data in a folder, until it's told to stop.

The store is an ordinary C{twistd tinykv} in a process group of its own, so that Ctrl-C on the terminal reaches only the
playground, which then stops it in order. Signals are blocked and waited for, the end of a child (SIGCHLD) among them:
nothing is polled while all goes well, and no signal comes at a bad moment.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import click

from tinykv.cli.playground_stores import LocalStore, last_words
from tinykv.cli.problems import Problem, problems_of
from tinykv.cli.screen import printer
from tinykv.config import ConfigError, StoreConfig, checked

HOST = "127.0.0.1"

#: The port for HTTP that is taken if it's free, when none was asked for.
HTTP_PORT = 20180

#: How long the stores may take to stop, in seconds, before they're killed.
STOP_SECONDS = 30.0

#: How often a starting store is asked if it's there, in seconds.
_ASK_SECONDS = 0.05

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAITED = (*_STOPPING, signal.SIGCHLD)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
              help="Folder for data, logs and playground.json; made if it's missing.")
@click.option("--port", type=click.IntRange(0, 65535), default=6379, show_default=True,
              help="Port for Redis clients on 127.0.0.1; 0 takes a free one.")
@click.option("--stores", type=int, default=1, show_default=True, help="How many stores to start; 1 for now.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=None,
              help=f"Port for status and metrics; 0 takes a free one.  [default: {HTTP_PORT} if it's free]")
def playground(folder: Path, port: int, stores: int, http_port: int | None) -> None:
    """
    Start a store on this machine and keep it running until Ctrl-C or SIGTERM.

    Its data stays in the folder, and the next start finds it again. DIR/playground.json says what runs where.
    """
    if stores != 1:
        raise Problem(f"--stores {stores}: only 1 works for now; several stores need replication, which comes next")
    folder = folder.absolute()
    with problems_of(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_second(folder)
    port = _port("--port", port)
    http_port = _http_port(http_port, port)
    config = StoreConfig(data_dir=folder / "store-1", cluster_name="playground", port=port, http_port=http_port)
    try:
        checked(config, "command line")
    except ConfigError as problem:
        raise Problem(str(problem)) from problem
    with problems_of(str(folder)):
        store = LocalStore("store-1", folder, config)
    # Blocked before there are threads or children; they're for sigwait alone from here on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    try:
        _run([store], folder / "playground.json")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(stores: list[LocalStore], record: Path) -> None:
    """Start the stores, serve until a signal comes or none of them is left, and clean up."""
    out = printer()
    with problems_of(str(record)):
        for store in stores:
            store.start(unblock=_WAITED)
        try:
            if _wait_until_ready(stores):
                write_record(record, stores)
                for store in stores:
                    for line in store.welcome():
                        out.print(line)
                out.print("Ctrl-C stops it.")
                stores, ended = _serve(stores, record)
                if ended and not stores:
                    raise Problem("no store is left")
        finally:
            _stop(stores)
            record.unlink(missing_ok=True)


def _wait_until_ready(stores: list[LocalStore]) -> bool:
    """
    Wait until all stores answer.

    @return: False if a signal says to stop before.
    @raise Problem: A store has ended instead.
    """
    out = printer()
    told = False
    asked = 0
    while not all(store.answers() for store in stores):
        received = signal.sigtimedwait(_WAITED, _ASK_SECONDS)
        if received is not None and received.si_signo in _STOPPING:
            return False
        for store in stores:
            if store.ended() is not None:
                raise Problem(f"{store.name} didn't start: {last_words(store.log)}")
        asked += 1
        if not told and asked > 5 / _ASK_SECONDS:
            told = True
            out.print("Still starting: the log is being replayed ...")
    return True


def _serve(stores: list[LocalStore], record: Path) -> tuple[list[LocalStore], bool]:
    """
    Wait until a signal says to stop, or no store is left.

    @return: (the stores that run, whether any ended by itself).
    """
    out = printer()
    ended = False
    while stores:
        received = signal.sigwait(_WAITED)
        if received in _STOPPING:
            out.print("Stopping ...")
            break
        for store in [store for store in stores if store.ended() is not None]:
            ended = True
            stores = [other for other in stores if other is not store]
            out.print(f"{store.name} has ended by itself ({store.ended()}). The end of its log, {store.log}:")
            for line in store.tail():
                out.print(f"  {line}")
            if stores:
                write_record(record, stores)
    return stores, ended


def _stop(stores: Iterable[LocalStore]) -> None:
    """Stop what runs, within L{STOP_SECONDS} each."""
    out = printer()
    running = [store for store in stores if store.ended() is None]
    for store in running:
        store.ask_to_stop()
    for store in running:
        out.print(store.stop(STOP_SECONDS))


def write_record(record: Path, stores: Iterable[LocalStore]) -> None:
    """Write playground.json, all at once."""
    new = record.with_suffix(".new")
    new.write_text(json.dumps({"processes": [store.described() for store in stores]}, indent=2) + "\n", "utf-8")
    os.replace(new, record)


def _refuse_second(folder: Path) -> None:
    """
    Refuse to start beside a playground that runs in the same folder.

    @raise Problem: One does.
    """
    try:
        record = json.loads((folder / "playground.json").read_text("utf-8"))
        running = [process for process in record["processes"] if _is_store(int(process["pid"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no record, or none of ours: the lock of the folder decides
    if running:
        names = ", ".join(f"{process['name']} (process {process['pid']})" for process in running)
        raise Problem(f"{folder}: a playground is running here: {names}; stop it first, or choose another --dir")


def _is_store(pid: int) -> bool:
    """Say if a process is one of TinyKV's; its number may be another's by now."""
    try:
        return b"tinykv" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _port(option: str, port: int) -> int:
    """
    Give a port that is free: this one, or for 0 any.

    @raise Problem: It's taken.
    """
    try:
        with socket.create_server((HOST, port)) as listener:
            free: int = listener.getsockname()[1]
            return free
    except OSError as problem:
        why = f"{HOST}:{port} can't be used ({problem.strerror or problem})"
        raise Problem(f"{why}; stop what uses it, or choose another with {option}") from problem


def _http_port(port: int | None, resp: int) -> int:
    """
    Give the port for HTTP: the one asked for, or L{HTTP_PORT}, or any other that is free.

    @raise Problem: The one asked for is taken.
    """
    if port is not None:
        return _port("--http-port", port)
    try:
        return _port("--http-port", HTTP_PORT if resp != HTTP_PORT else 0)
    except Problem:
        return _port("--http-port", 0)
