"""Fixtures of the queue's tests."""

from queue_places import place

__all__ = ["place"]
