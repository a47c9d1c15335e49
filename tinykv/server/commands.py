"""
The modules whose functions are commands on the connection and the server.
"""

from __future__ import annotations

from types import ModuleType

from tinykv.server import (
    clients,
    cluster_commands,
    command_commands,
    config_commands,
    connections,
    server_commands,
    transactions,
)

CONNECTION_MODULES: list[ModuleType] = [
    connections,
    transactions,
    clients,
    cluster_commands,
    command_commands,
    config_commands,
    server_commands,
]
