"""Catena: the shared engine that turns volume electron microscopy into a wiring diagram."""

__version__ = "0.1.0"
