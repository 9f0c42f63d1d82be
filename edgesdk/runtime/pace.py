"""Stub."""

from typing import Any


class Pace:
    """Stub."""

    def stage(self, action: Any, closing: Any) -> Any:
        """Stub."""


def read_pace(path: str, model_id: str, plan_name: str) -> Pace:
    """Stub."""
    raise NotImplementedError
