"""
C{tinykv playground}: stores to try, with a scheduler, and their data in a folder, until they're told to stop.

Each store is an ordinary C{twistd tinykv} in a process group of its own, so that Ctrl-C on the terminal reaches only
the playground, which then stops them in order. One that ends by itself isn't started again: a person who kills one
wants to see the others carry on, and is told how to start it by hand. Signals are blocked and waited for, the end of a
child (SIGCHLD) among them: nothing is polled while all goes well, and no signal comes at a bad moment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from tinykv.cli.ctl_schedule import store_table
from tinykv.cli.playground_cluster import COUNTS, HTTP_PORT, Ports, choose_count, choose_regions, keep, plan
from tinykv.cli.playground_gateway import LocalGateway, plan_gateway
from tinykv.cli.playground_process import LocalProcess, last_error, last_words
from tinykv.cli.playground_schedulers import (
    SCHEDULERS,
    LocalScheduler,
    choose_schedulers,
    keep_schedulers,
    plan_schedulers,
    stores_known,
)
from tinykv.cli.playground_stores import LocalStore, welcome, what_is_left
from tinykv.cli.problems import Problem, problems_of
from tinykv.cli.screen import printer
from tinykv.config import ConfigError, checked

#: How many stores a new folder gets when nobody asks for a number.
DEFAULT_STORES = 3

#: How long a store may take to stop, in seconds, before it's killed.
STOP_SECONDS = 30.0

#: How often a starting store is asked if it's there, in seconds.
_ASK_SECONDS = 0.05

#: How long the scheduler may take to know all stores once they answer, in seconds, before it's no longer waited for.
SCHEDULER_SECONDS = 15.0

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAITED = (*_STOPPING, signal.SIGCHLD)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
              help="Folder for data, logs and playground.json; made if it's missing.")
@click.option("--port", type=click.IntRange(0, 65535), default=6379, show_default=True,
              help="Port for Redis clients on 127.0.0.1, of the first store; the others have the next ones. 0 takes "
                   "free ones.")
@click.option("--stores", type=click.Choice(COUNTS), default=None,
              help=f"How many stores to start.  [default: as many as the folder holds; {DEFAULT_STORES} in a new one]")
@click.option("--schedulers", type=click.Choice(SCHEDULERS), default=None,
              help="How many members the scheduler has, 0 for none.  [default: as many as the folder holds; 1 in a new "
                   "one, and none for one store]")
@click.option("--regions", type=click.IntRange(1, 1024), default=None,
              help="Into how many regions the slots are cut, each with a leader of its own.  [default: as many as the "
                   "folder holds; 1 in a new one]")
@click.option("--gateway", "wants_gateway", is_flag=True,
              help="Start a gateway too: a front without data, which serves any client with any key, as stores do.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=None,
              help="Port for status and metrics, likewise.  "
                   f"[default: {HTTP_PORT} and the next ones, or others if they aren't free]")
def playground(
    folder: Path,
    port: int,
    stores: int | None,
    schedulers: int | None,
    regions: int | None,
    wants_gateway: bool,
    http_port: int | None,
) -> None:
    """
    Start stores on this machine and keep them running until Ctrl-C or SIGTERM.

    Several stores hold the same data, and any of them serves any client; a scheduler knows them all. The data stays
    in the folder, and the next start finds it again. A store that ends by itself, or is killed, isn't started again
    before that, so that the others are seen to carry on; what starts it by hand is printed then.
    DIR/playground.json says what runs where.

    A folder keeps the number of stores that it began with. One that an earlier version left with a single store goes on
    as a single store: with --dir and --port, start several beside it, and copy the keys with `tinykv import`.
    """
    folder = folder.absolute()
    with problems_of(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_second(folder)
    count, told = choose_count(folder, stores, DEFAULT_STORES)
    if told is not None:
        printer().print(told)
    members = choose_schedulers(folder, schedulers, count)
    cut = choose_regions(folder, regions, count)
    ports = Ports()
    configs = plan(folder, count, port, http_port, ports)
    planned = plan_schedulers(folder, members, ports)
    addresses = tuple(f"{config.http_bind}:{config.http_port}" for config in planned)
    configs = [replace(config, schedulers=addresses, initial_regions=cut) for config in configs]
    fronts = [plan_gateway(folder, configs, addresses, ports)] if wants_gateway else []
    try:
        for config in configs:
            checked(config, "command line")
    except ConfigError as problem:
        raise Problem(str(problem)) from problem
    with problems_of(str(folder)):
        local = [LocalStore(config.data_dir.name, folder, config) for config in configs]
        deciding = [LocalScheduler(config.data_dir.name, folder, config) for config in planned]
        keep(folder, configs)
        keep_schedulers(folder, planned)
        gateways = [LocalGateway(folder, front) for front in fronts]
    # Blocked before there are threads or children; they're for sigwait alone from here on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    try:
        _run(local, deciding, gateways, folder / "playground.json")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    stores: list[LocalStore], schedulers: list[LocalScheduler], gateways: list[LocalGateway], record: Path
) -> None:
    """Start all of them, serve until a signal comes or no store is left, and clean up."""
    with problems_of(str(record)):
        started: list[LocalProcess] = []
        try:
            for process in (*stores, *schedulers, *gateways):
                process.start(unblock=_WAITED)
                started.append(process)
            if (
                _wait_until_ready(stores)
                and (known := _wait_for_scheduler(stores, schedulers)) is not None
                and _wait_until_ready([*stores, *gateways])
            ):
                others = [*known, *gateways]
                write_record(record, [*stores, *others])
                _greet(stores, known, gateways)
                stores, ended = _serve(stores, others, record)
                if ended and not stores:
                    raise Problem("no store is left")
        finally:
            # Clients of a gateway come to their end before the stores do.
            _stop(sorted(started, key=lambda process: not isinstance(process, LocalGateway)))
            record.unlink(missing_ok=True)


def _greet(stores: list[LocalStore], schedulers: list[LocalScheduler], gateways: list[LocalGateway]) -> None:
    """Say what there is, and what seems to be wrong where the scheduler doesn't know all stores."""
    out = printer()
    if schedulers:
        known = stores_known(schedulers, len(stores))
        if known is not None:
            out.print(store_table(known))
        else:
            logs = ", ".join(str(scheduler.log) for scheduler in schedulers)
            out.print(f"The stores answer, but the scheduler doesn't know all of them. Its log: {logs}")
            for store in stores:
                error = last_error(store.log)
                if error is not None:
                    out.print(f"The last error in {store.log}:")
                    out.print(f"  {error}")
    urls, ports = [scheduler.url for scheduler in schedulers], [gateway.config.port for gateway in gateways]
    for line in welcome(stores, urls, ports):
        out.print(line)


def _wait_until_ready(processes: Sequence[LocalProcess]) -> bool:
    """
    Wait until all stores, or gateways, answer.

    @return: False if a signal says to stop before.
    @raise Problem: One has ended instead.
    """
    told = False
    asked = 0
    while not all(process.answers() for process in processes):
        if _told_to_stop(processes):
            return False
        asked += 1
        if not told and asked > 5 / _ASK_SECONDS:
            told = True
            printer().print("Still starting; a long log takes its time ...")
    return True


def _wait_for_scheduler(stores: list[LocalStore], schedulers: list[LocalScheduler]) -> list[LocalScheduler] | None:
    """
    Wait until the scheduler knows all stores, but no longer than L{SCHEDULER_SECONDS}: they serve without it.

    @return: The members that run; None if a signal says to stop before.
    @raise Problem: A store has ended.
    """
    began = time.monotonic()
    told = False
    while True:
        for scheduler in [scheduler for scheduler in schedulers if scheduler.ended() is not None]:
            schedulers = [other for other in schedulers if other is not scheduler]
            _tell_other_end(scheduler)
        waited = time.monotonic() - began
        if not schedulers or stores_known(schedulers, len(stores)) is not None or waited > SCHEDULER_SECONDS:
            return schedulers
        if not told and waited > 5:
            told = True
            printer().print("The stores answer; waiting for the scheduler to know them ...")
        if _told_to_stop(stores):
            return None


def _told_to_stop(processes: Sequence[LocalProcess]) -> bool:
    """
    Wait a little before asking again, and say if a signal says to stop.

    @raise Problem: One of these has ended.
    """
    received = signal.sigtimedwait(_WAITED, _ASK_SECONDS)
    if received is not None and received.si_signo in _STOPPING:
        return True
    for process in processes:
        if process.ended() is not None:
            raise Problem(f"{process.name} didn't start: {last_words(process.log)}")
    return False


def _serve(
    stores: list[LocalStore], others: Sequence[LocalProcess], record: Path
) -> tuple[list[LocalStore], bool]:
    """
    Wait until a signal says to stop, or no store is left.

    @param others: What runs beside them.
    @return: (the stores that run, whether any ended by itself).
    """
    out = printer()
    every = stores
    ended = False
    while stores:
        received = signal.sigwait(_WAITED)
        if received in _STOPPING:
            out.print("Stopping ...")
            break
        for process in [process for process in others if process.ended() is not None]:
            others = [other for other in others if other is not process]
            _tell_other_end(process)
            write_record(record, [*stores, *others])
        for store in [store for store in stores if store.ended() is not None]:
            ended = True
            stores = [other for other in stores if other is not store]
            _tell_end(store)
            if stores:
                write_record(record, [*stores, *others])
                # Others may have been started by hand since they ended.
                running = [other for other in every if other in stores or (other is not store and other.answers())]
                for line in what_is_left(store, len(running), len(every)):
                    out.print(line)
    return stores, ended


def _tell_end(process: LocalProcess) -> None:
    """Say that a process has ended, and what it said at last."""
    out = printer()
    out.print(f"{process.name} has ended by itself ({process.ended()}). The end of its log, {process.log}:")
    for line in process.tail():
        out.print(f"  {line}")


def _tell_other_end(process: LocalProcess) -> None:
    """Say that a member of the scheduler, or the gateway, has ended, and how it's started again."""
    _tell_end(process)
    out = printer()
    out.print("The stores serve on. It comes back when the playground is started again, or by hand, with")
    out.print(f"    {process.by_hand}")


def _stop(processes: Iterable[LocalProcess]) -> None:
    """
    Stop what runs, within L{STOP_SECONDS} each.

    One after another, the first one first, which most clients use: while there's a majority a store that stops can
    still finish what it was given, and hand leadership over.
    """
    out = printer()
    for process in processes:
        if process.ended() is None:
            process.ask_to_stop()
            out.print(process.stop(STOP_SECONDS))


def write_record(record: Path, processes: Iterable[LocalProcess]) -> None:
    """Write playground.json, all at once."""
    new = record.with_suffix(".new")
    described = [process.described() for process in processes]
    new.write_text(json.dumps({"processes": described}, indent=2) + "\n", "utf-8")
    os.replace(new, record)


def _refuse_second(folder: Path) -> None:
    """
    Refuse to start beside a playground that runs in the same folder.

    @raise Problem: One does.
    """
    try:
        record = json.loads((folder / "playground.json").read_text("utf-8"))
        running = [process for process in record["processes"] if _is_ours(int(process["pid"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no record, or none of ours: the lock of the folder decides
    if running:
        names = ", ".join(f"{process['name']} (process {process['pid']})" for process in running)
        raise Problem(f"{folder}: a playground is running here: {names}; stop it first, or choose another --dir")


def _is_ours(pid: int) -> bool:
    """Say if a process is one of TinyKV's; its number may be another's by now."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"tinykv" in words or b"tinyschedule" in words
    except OSError:
        return False
