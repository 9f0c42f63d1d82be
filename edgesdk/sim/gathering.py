"""Features of an ensemble's students: bytes as long as the real ones, that say whose they are.

So it shows at once if the core hands on the feature of another image, or of another student.
"""

from typing import List, Optional, Sequence, Tuple

from ..core.events import Classified, Classify
from ..features import Features, answer

FLOAT_BYTES = 4


def features_at(
    features: Features, images: Sequence[int], part: int, exit_index: int
) -> List[bytes]:
    """What stands for the feature of each image that a student gives at an exit."""
    students, depth = len(features.students), max(features.depths)
    size_bytes = FLOAT_BYTES * features.mean_features.shape[1]
    return [
        ((image * students + part) * depth + exit_index).to_bytes(size_bytes, "little")
        for image in images
    ]


def exits_of(
    features: Features, image: int, gathered: Sequence[Optional[bytes]]
) -> Tuple[Optional[int], ...]:
    """The exit that each of `gathered`, one per student, is from; None where it is missing. Raises
    AssertionError for a feature that is not that student's of `image`."""
    exits: List[Optional[int]] = []
    for part, found in enumerate(gathered):
        exit_index = None
        if found is not None:
            exit_index = int.from_bytes(found, "little") % max(features.depths)
            if [found] != features_at(features, [image], part, exit_index):
                raise AssertionError(
                    "student {} of image {}: found the feature of another".format(part, image)
                )
        exits.append(exit_index)
    return tuple(exits)


def classify(features: Features, image: int, action: Classify) -> Classified:
    """One answer of the features of an item that stands for `image`."""
    return Classified(
        action.item, answer(features, image, exits_of(features, image, action.features))
    )
