"""What `python -m edgesdk.train calibrate` says of an ensemble."""

from typing import Any

from ... import cli
from .ensembles import Result, Row

HEADER = ("policy", "calibration", "test", "M madds", "slowest", "leave at each exit, %")


def lines(result: Result) -> list[str]:
    """For a person: everything that was tried by name, on the test split unless it says so."""
    compared = [result.final, *result.policies, *result.others]
    first = result.final
    return [
        f"{result.features.data}: {first.calibration.image_count} images chose, "
        f"{first.test.image_count} are reported; {len(result.costs)} students, each decides alone "
        f"and sends {result.feature_bytes} bytes per image",
        *cli.table(HEADER, [_cells(row) for row in compared]),
        "M madds: of one student, mean of all; slowest: of the one that an image waits for",
    ]


def document(result: Result) -> dict[str, Any]:
    """The same for programs, every branch too: plain values."""
    return {
        "bundle": result.bundle.path,
        "model_id": result.bundle.manifest.model_id,
        "feature_bytes": result.feature_bytes,
        "policies": [
            {
                "name": row.name,
                "policy": None if row.policy is None else row.policy.describe(),
                "calibration": row.calibration._asdict(),
                "test": row.test._asdict(),
            }
            for row in result.rows
        ],
    }


def _cells(row: Row) -> tuple[str, ...]:
    kind = "" if row.policy is None or row.policy.kind in row.name else f" ({row.policy.kind})"
    shares = " | ".join(
        " ".join(f"{100 * share:.0f}" for share in student) for student in row.test.share_per_exit
    )
    return (
        row.name + kind,
        f"{100 * row.calibration.accuracy:.2f} %",
        f"{100 * row.test.accuracy:.2f} %",
        f"{row.test.mean_multiply_adds / 1e6:.2f}",
        f"{row.test.slowest_multiply_adds / 1e6:.2f}",
        shares,
    )
