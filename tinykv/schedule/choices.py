"""
What was chosen for the placement, asked and told: it's replicated, and checked by who keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tinykv.placement.config import SCHEDULERS, PlacementConfig
from tinykv.schedule.errors import Invalid, NotFound
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.routes import Answer, Call
from tinykv.schedule.rows import Record

#: Which choices are a scheduler's own.
PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "balance-leader": ("leader_limit", "leader_tolerance"),
    "balance-region": ("region_limit", "region_tolerance", "low_space", "high_space", "candidates"),
    "hot-region": ("hot_limit", "hot_ratio", "hot_least", "hot_heartbeats", "hot_tolerance"),
    "evict-leader": ("evict_leader",),
    "grant-leader": ("grant_leader",),
}


class Choices:
    """The choices, the schedulers that run by them, and the questions about both."""

    def __init__(self, *, host: ScheduleHost, now_ms: Callable[[], int]) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        """
        self._host = host
        self._now_ms = now_ms

    def running(self) -> PlacementConfig:
        """
        Give the choices as they hold now: without the schedulers that are paused, and without merging regions with
        which the cluster began, since somebody wanted so many.
        """
        state, now = self._host.state, self._now_ms()
        choices = state.choices
        return choices.changed(
            {
                "schedulers": [name for name in choices.schedulers if state.paused_until(name) <= now],
                "least_regions": max(choices.least_regions, state.initial_count),
            }
        )

    async def choices(self, call: Call) -> Answer:
        """Tell what was chosen for the placement."""
        await self._host.barrier()
        return self._host.state.choices.to_json()

    async def choose(self, call: Call) -> Answer:
        """Change choices of the placement."""
        return await self._choose(call.body)

    async def _choose(self, choices: Record) -> Answer:
        return await self._host.propose({"do": "choose", "now": self._now_ms(), "choices": choices})

    async def schedulers(self, call: Call) -> Answer:
        """List the schedulers."""
        await self._host.barrier()
        state, now = self._host.state, self._now_ms()
        choices = state.choices.to_json()
        return {
            "schedulers": [
                {
                    "name": name,
                    "chosen": name in choices["schedulers"],
                    "paused_for": max(0, state.paused_until(name) - now) / 1000,
                    "parameters": {parameter: choices[parameter] for parameter in PARAMETERS[name]},
                }
                for name in SCHEDULERS
            ]
        }

    async def pause(self, call: Call) -> Answer:
        """Pause a scheduler, or have it go on."""
        now = self._now_ms()
        until = now + int(1000 * call.body["seconds"]) if call.body["seconds"] else 0
        await self._host.propose({"do": "pause", "now": now, "scheduler": call.parameters["scheduler"], "until": until})
        return await self.schedulers(call)

    async def set_parameters(self, call: Call) -> Answer:
        """Change the choices that are a scheduler's own."""
        name = call.parameters["scheduler"]
        if name not in PARAMETERS:
            raise NotFound(f"there's no scheduler {name}; there are {', '.join(SCHEDULERS)}")
        for parameter in call.body:
            if parameter not in PARAMETERS[name]:
                raise Invalid(f"{name} has no parameter {parameter}; it has {', '.join(PARAMETERS[name])}")
        await self._choose(call.body)
        return await self.schedulers(call)
