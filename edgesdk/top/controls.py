"""What each key does to what is shown. Pure."""

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

WORKERS, EXITS, LINKS, HELP = VIEWS = ("workers", "exits", "links", "help")
QUIT = "quit"
UP, DOWN, PAGE_UP, PAGE_DOWN = "up", "down", "page up", "page down"
PAGE = 10  # rows

# What is shown at the bottom, and what a key does.
KEYS: Dict[str, str] = {
    "q": QUIT,
    "p": "pause",
    "s": "sort",
    "w": WORKERS,
    "e": EXITS,
    "l": LINKS,
    "h": HELP,
}
_ESCAPES = {"A": UP, "B": DOWN, "5~": PAGE_UP, "6~": PAGE_DOWN}
_STEPS = {UP: -1, DOWN: 1, PAGE_UP: -PAGE, PAGE_DOWN: PAGE}
# An escape sequence, whole or begun, or one character.
_TOKEN = re.compile("\x1b[\\[O]([0-9;]*[@-~])|(\x1b[\\[O]?[0-9;]*$)|(.)", re.DOTALL)
_BEGUN_MAX = 16  # characters; nothing that a keyboard sends is longer


class Shown(NamedTuple):
    """What a person has asked to see. `sort`: how often for another order; `first_row`: how far
    down; `is_paused`: the picture stays as it is."""

    view: str = WORKERS
    sort: int = 0
    first_row: int = 0
    is_paused: bool = False


def keys_of(typed: str) -> Tuple[List[str], str]:
    """The keys in what came from a terminal, and the beginning of one that is not complete: over
    a slow line an arrow may come in pieces. What has no meaning is left out."""
    keys: List[str] = []
    for match in _TOKEN.finditer(typed):
        escape, begun, character = match.groups()
        if begun is not None:
            return keys, begun[:_BEGUN_MAX]
        key = _ESCAPES.get(escape) if escape else KEYS.get(character.lower())
        if key is not None:
            keys.append(key)
    return keys, ""


def pressed(shown: Shown, key: str) -> Optional[Shown]:
    """What is shown once `key` was pressed; None to quit. The key of a view that is shown leads
    back to the workers."""
    if key == QUIT:
        return None
    if key in VIEWS:
        view = WORKERS if key == shown.view else key
        return shown._replace(view=view, sort=0, first_row=0)
    if key in _STEPS:
        return shown._replace(first_row=max(0, shown.first_row + _STEPS[key]))
    if key == "sort":
        return shown._replace(sort=shown.sort + 1)
    return shown._replace(is_paused=not shown.is_paused)
