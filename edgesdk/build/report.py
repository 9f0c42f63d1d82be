"""What a build did, or would do, for people and for programs."""

from typing import Any, Dict, List, Optional

from ..engine_store import Engine
from .builder import Outcome, Prospect

HEADER = ("stage", "state", "precision", "layers", "skipped tactics", "MiB", "error", "seconds")
BUILT, THERE, WANTED = "built", "up to date", "to be built"
SKIPPED = (
    "tactics that were skipped for lack of memory: {}. The engines are right, but may be slower "
    "than they could be; end other programs, stop the desktop, and build again with --force"
)


def rows(ahead: Prospect, outcome: Optional[Outcome]) -> List[List[str]]:
    """The table: one row for each stage. `outcome` None: nothing was built."""
    fresh = [] if outcome is None else outcome.fresh
    engines = ahead.work.kept if outcome is None else outcome.built.engines
    found = [
        _row(engine, BUILT if engine.onnx in fresh else THERE, ahead.key.precision)
        for engine in engines
    ]
    if outcome is None:
        precision = ahead.key.precision
        found += [[f.onnx, WANTED, precision, "", "", "", "", ""] for f in ahead.work.wanted]
    return found


def _row(engine: Engine, state: str, precision: str) -> List[str]:
    return [
        engine.onnx,
        state,
        precision,
        str(engine.layer_count),
        str(engine.skipped_tactic_count),
        "{:.2f}".format(engine.bytes / 2**20),
        "unchecked" if engine.error is None else "{:.1e}".format(engine.error),
        "{:.1f}".format(engine.seconds),
    ]


def notes(outcome: Outcome) -> List[str]:
    """Lines below the table."""
    skipped = sum(e.skipped_tactic_count for e in outcome.built.engines if e.onnx in outcome.fresh)
    return outcome.notes + ([SKIPPED.format(skipped)] if skipped else [])


def as_json(ahead: Prospect, outcome: Optional[Outcome]) -> Dict[str, Any]:
    """The same for programs."""
    key = ahead.key
    engines = ahead.work.kept if outcome is None else outcome.built.engines
    return {
        "device": dict(key.device._asdict()),
        "precision": key.precision,
        "max_batch": key.max_batch,
        "flags": list(key.flags),
        "folder": ahead.place,
        "built": [] if outcome is None else outcome.fresh,
        "to_be_built": [f.onnx for f in ahead.work.wanted] if outcome is None else [],
        "engines": [dict(engine._asdict()) for engine in engines],
        "notes": [] if outcome is None else notes(outcome),
    }
