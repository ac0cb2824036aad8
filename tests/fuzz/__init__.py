"""Hostile bytes for everything that reads bytes: `make fuzz` searches, and the unit tests replay its finds."""
