"""Names of the daemons for twistd. What is behind a name is loaded only when it's chosen."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

tinykv = ServiceMaker(
    "TinyKV store",
    "tinykv.tap.store",
    "A Redis-compatible store on SQLite.",
    "tinykv",
)

tinyschedule = ServiceMaker(
    "TinySchedule",
    "tinykv.tap.schedule",
    "The scheduler of a TinyKV cluster.",
    "tinyschedule",
)

tinykv_gateway = ServiceMaker(
    "TinyKV gateway",
    "tinykv.tap.gateway",
    "The front of a TinyKV cluster, without data.",
    "tinykv-gateway",
)
