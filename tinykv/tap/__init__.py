"""Composition roots of the daemons: the only places where the parts are joined and the reactor is named."""
