"""What DistrEE prints, to stand beside what was measured here."""

from typing import NamedTuple

STUDENTS = 2
EXITS = 7
TEACHER_ACCURACY = 0.9186  # WideResNet-16-4
EPOCHS = 200

# Table I, in millions by the paper's counting rule; parameters of one student, section IV.
BACKBONE_M = (0.459, 4.817, 4.817, 7.356, 4.768, 7.28, 4.74)
EXIT_M = (0.067, 0.067, 0.067, 0.035, 0.035, 0.02, 0.02)
PARAMETERS = 189_044
PARAMETERS_LAST_EXIT = 178_540

# Section IV, below Fig. 4: the branches of DistrEE-2 on the test set.
BRANCH_ACCURACY = (0.4716, 0.6634, 0.7296, 0.7868, 0.8696, 0.8946, 0.9057)

# Protocol of Table II: images of each class in a draw, and draws.
IMAGES_PER_CLASS = 10
DRAWS = 10


class Policy(NamedTuple):
    """A row of Table II: accuracy 0..1 of 100 images, millions of operations, milliseconds."""

    accuracy: float
    multiply_adds_m: float
    delay_ms: float


TABLE_TWO = {
    "final": Policy(0.93, 34.26, 1778.1),
    "difference": Policy(0.91, 24.80, 1700.2),
    "random": Policy(0.80, 17.10, 1493.3),
    "similarity": Policy(0.77, 17.34, 1569.9),
}
