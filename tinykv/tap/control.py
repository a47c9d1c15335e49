"""
What operators ask, put together: the pages on the HTTP port, the links by which the leader is asked, and the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.resource import Resource

from tinykv.config import StoreConfig
from tinykv.errors import ControlRefused, ControlUnknown, NotLeading
from tinykv.interfaces import IScheduler, ISummer
from tinykv.peering.address_book import AddressBook
from tinykv.server.control import BEGUN, NO_LEADER, UNKNOWN, Question, Relay, answer_relayed, ask_there, relay_over
from tinykv.server.http_control import control_resource
from tinykv.store.control import QUESTION, Control
from tinykv.store.regions import Regions
from tinykv.store.surroundings import MARK
from tinykv.tap.cluster import Cluster
from tinykv.tap.peers import peer_address


def make_control(
    config: StoreConfig,
    reactor: Any,
    regions: Regions,
    cluster: Cluster | None,
    summer: ISummer,
    lingers: Callable[[], None],
    removed: Callable[[], None],
    scheduler: IScheduler | None,
) -> Control:
    """
    Make what operators' questions are answered by.

    @param summer: Sums up this store's rows.
    @param lingers: Called when this store was removed from the cluster, and is there for other stores only.
    @param removed: Called when these don't need it any more.
    @param scheduler: Gives ids, where there is one.
    """
    hosts = list(regions.hosts.values())
    control = Control(
        store_id=config.store_id,
        address=peer_address(config) if cluster is not None else "",
        host=hosts[0],
        others=hosts[1:],
        clock=reactor,
        links=cluster.peering if cluster is not None else None,
        addresses=cluster.addresses if cluster is not None else AddressBook(_nowhere, {}),
        summer=summer,
        lingers=lingers,
        removed=removed,
        scheduled=bool(config.schedulers),
        scheduler=scheduler,
    )
    relay = _relay(cluster)
    control.relayed = lambda payload: answer_relayed(control, payload)
    control.removing_elsewhere = lambda leader, store, region: Deferred.fromCoroutine(
        _remove_there(relay, leader, store, region)
    )
    if cluster is not None:
        cluster.peers.control = control
    return control


def control_pages(config: StoreConfig, control: Control, cluster: Cluster | None) -> Resource:
    """Make the pages."""
    name = peer_address(config).rpartition(":")[0].lower()
    return control_resource(control, _relay(cluster), {name})


def _nowhere(address: str) -> IStreamClientEndpoint:
    raise AssertionError("a store on its own dials nobody")


def _relay(cluster: Cluster | None) -> Relay:
    """Give what passes questions on."""
    if cluster is not None:
        return relay_over(cluster.peering, MARK + QUESTION)
    return lambda store, payload: fail(ControlRefused("this store has no links to others"))


async def _remove_there(relay: Relay, leader: int, store: int, region: int) -> None:
    """
    Have the store that leads a region remove a store from it.

    @raise ControlRefused: It doesn't; NotLeading, if it doesn't lead (yet).
    @raise ControlUnknown: Nobody can tell whether it does.
    """
    answer = await ask_there(relay, leader, Question("remove-store", store, region=region))
    error = str(answer.body.get("error", ""))
    if answer.code == NO_LEADER:
        raise NotLeading(answer.body.get("leader"))
    if answer.code == UNKNOWN:
        raise ControlUnknown(error)
    if answer.code != BEGUN:
        raise ControlRefused(error)
