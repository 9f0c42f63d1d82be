"""The page of results: every figure beside the paper's, as Markdown.

What was measured is said by the figures; what the words around them claim holds for any outcome.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ...bench.ensemble import KillRun, Measured
from ...bench.timing import Interval
from ..markdown import percent, table
from . import paper
from .results import Epochs, Results
from .scaling import Sized
from .tables import PolicyRow, TableOne, best_within, saved

MILLION = 1e6
FIGURES = {  # file -> what it shows
    "training.png": "Loss and accuracy of every branch over the epochs (Fig. 4)",
    "criteria.png": "Similarity of neighbouring exits, and difference to the first (Fig. 3)",
    "policies.png": "Accuracy against multiply-adds for every policy (Table II)",
    "calibration.png": "All policies that were tried, by kind",
    "scaling.png": "More students, and shallower ones",
}
WITHIN_POINTS = 1.0  # of the last exit, that our best policy may lose


def page(found: Results, command: str) -> str:
    """The whole page; `command` made it."""
    parts = [
        _introduction(found, command),
        _training(found),
        _table_one(found),
        _criteria(found),
        _table_two(found),
        _live(found.live),
        _scaling(found.sized),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(found: Results, command: str) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in found.versions.items())
    return f"""# DistrEE, measured again

This page was written by

```bash
{command}
```

on the data `{found.data}`: {versions}. How it works and what the paper leaves open is told in
[DistrEE](../distree.md). Accuracies are shares of the test split's {found.test_count} images unless
another number is given; the paper's stand beside them and are of its own networks, trained for
{paper.EPOCHS} epochs on the original images."""


def _training(found: Results) -> str:
    teacher, students = found.teacher, found.students
    printed: Sequence[Any] = paper.BRANCH_ACCURACY
    if len(students.branches) != len(printed):
        printed = [None] * len(students.branches)
    rows = [
        (f"E{index + 1}", percent(ours), percent(theirs), *map(percent, missing))
        for index, (ours, theirs, *missing) in enumerate(
            zip(students.branches, printed, *students.missing)
        )
    ]
    rows.append(
        ("mixtures", percent(students.mixture), "", *map(percent, students.missing_mixture))
    )
    without = [f"without student {index}" for index in range(len(students.missing))]
    return f"""## Training

Teacher: {teacher.model}, {_epochs(teacher.epochs)}, {percent(teacher.accuracy)} (paper:
WideResNet-16-4, {percent(paper.TEACHER_ACCURACY)}). Students: {found.name},
trained together for {_epochs(found.epochs)}.
A branch has all students at one exit; in mixtures each leaves at an exit drawn for it. A student
that is missing is replaced by its mean in training.

{table(("all at exit", "accuracy", "paper", *without), rows)}

{picture("training.png")}"""


def _epochs(epochs: Epochs) -> str:
    if not epochs.before:
        return f"{epochs.done} epochs"
    return f"{sum(epochs)} epochs (the last {epochs.done} under a schedule of their own)"


def _table_one(found: Results) -> str:
    count: TableOne = found.table_one
    is_paper = len(count.table_one.exits) == paper.EXITS
    header = ("exit", "backbone, M", "paper", "exit, M", "paper", "plain, M")
    rows = []
    for index, (segment, head) in enumerate(zip(*count.table_one)):
        plain = count.plain.segments[index] + count.plain.exits[index]
        printed = (paper.BACKBONE_M[index], paper.EXIT_M[index]) if is_paper else ("", "")
        rows.append((f"E{index + 1}", f"{segment / MILLION:.3f}", printed[0],
                     f"{head / MILLION:.3f}", printed[1], f"{plain / MILLION:.3f}"))  # fmt: skip
    every, last = count.parameters, count.parameters_last_exit
    return f"""## Table I: multiply-adds of one student

By the rule that reproduces the paper's figures: one per weight that a convolution applies and per
bias, two per value of a batch norm, one per value for ReLU and pooling in exits. "Plain" counts
weights and one per batch-norm value, backbone and exit together.

{table(header, rows)}

Parameters: {every:,} with all exits{_beside(every, paper.PARAMETERS, is_paper)}, {last:,} with the
last exit alone{_beside(last, paper.PARAMETERS_LAST_EXIT, is_paper)}."""


def _beside(ours: int, printed: int, is_paper: bool) -> str:
    if not is_paper:
        return ""
    return f" (paper: {printed:,}; ours are {100 * (ours / printed - 1):+.1f} %)"


def _criteria(found: Results) -> str:
    rows = []
    for student, one in enumerate(found.criteria):
        for name, values in (("similarity", one.similarity), ("difference", one.difference)):
            medians = ["" if math.isnan(value) else f"{value:.3f}" for value in values[1]]
            rows.append((f"student {student}, {name}", *medians))
    exits = [f"E{index + 1}" for index in range(len(rows[0]) - 1)]
    return f"""## Fig. 3: what students compare

Medians over the test split of the cosine similarity of each exit's feature to that of the exit
before, and of its difference to the first (eq. 6).

{table(("", *exits), rows)}

{picture("criteria.png")}"""


def _table_two(found: Results) -> str:
    final = found.rows["final"]
    rows = [_policy_cells(name, row, final, found) for name, row in found.rows.items()]
    header = ("policy", "accuracy", "100 images", "paper", "M, own exit", "paper", "saved",
              "M, all exits", "saved", "slowest student, M")  # fmt: skip
    return f"""## Table II: policies

"100 images" is the paper's protocol: {paper.IMAGES_PER_CLASS} of each class, {paper.DRAWS} draws,
mean and standard deviation. Multiply-adds are millions of one student by Table I's rule: charged
with the exit where it leaves alone, as the paper does, and with every exit it computed on the way.
The slowest student is what latency follows. `calibrated` and `calibrated-...` have thresholds
chosen on the calibration split; the others are the paper's. The oracle, which no policy can be,
knows of each image the cheapest mixture of exits that is right.

{table(header, rows)}

{_best(found.rows)}

{picture("policies.png")}

{picture("calibration.png")}"""


def _policy_cells(name: str, row: PolicyRow, final: PolicyRow, found: Results) -> tuple[Any, ...]:
    printed = paper.TABLE_TWO.get(name)
    own, passed = saved(row, final)
    adds = row.multiply_adds
    return (
        f"`{name}`",
        percent(row.accuracy),
        f"{100 * row.drawn_accuracy:.1f} ± {100 * row.drawn_deviation:.1f} %",
        percent(printed.accuracy) if printed else "",
        f"{adds.own / MILLION:.2f}",
        f"{printed.multiply_adds_m:.2f}" if printed else "",
        percent(own),
        f"{adds.passed / MILLION:.2f}",
        percent(passed),
        f"{adds.slowest / MILLION:.2f}",
    )


def _best(rows: Mapping[str, PolicyRow]) -> str:
    name = best_within(rows, WITHIN_POINTS)
    final = rows["final"]
    theirs = paper.TABLE_TWO["difference"], paper.TABLE_TWO["final"]
    printed = (
        f"the paper's saves {percent(1 - theirs[0].multiply_adds_m / theirs[1].multiply_adds_m)} "
        f"for {100 * (theirs[1].accuracy - theirs[0].accuracy):.0f} points"
    )
    if name is None:
        return f"No policy stays within {WITHIN_POINTS:g} point of the last exit; {printed}."
    lost = 100 * (final.accuracy - rows[name].accuracy)
    return (
        f"Within {WITHIN_POINTS:g} point of the last exit, `{name}` saves most: "
        f"{percent(saved(rows[name], final)[1])} of the multiply-adds with all exits counted, for "
        f"{lost:.2f} points; {printed}."
    )


def _live(live: Optional[Measured]) -> str:
    if live is None:
        return ""
    header = ("policy", "mean, ms", "p95, ms", "x final", "accuracy", "sent, bytes", "received")
    rows = [
        (
            f"`{run.policy}`",
            f"{run.mean_us / 1000:.1f}",
            f"{run.at_share(0.95) / 1000:.1f}",
            times_less(run.to_final),
            percent(run.accuracy),
            f"{run.sent_bytes:.0f}",
            f"{run.received_bytes:.0f}",
        )
        for run in live.policies
    ]
    return f"""## Live

{live.image_count} images of the test split, answered under every policy in turns by real processes
over ZeroMQ: one per student, paced to be {live.slower:g} times as slow as one core of this machine,
and one that asks and classifies. "x final" is how many times shorter the mean latency is than that
of the last exit, with a 95 % interval. Bytes are of one image, to and from all students together,
with everything that the protocol says; the image itself has {live.image_bytes}, and
{live.map_bytes} would come back if the students' last maps travelled.

{table(header, rows)}{_killed(live.killed)}"""


def _killed(killed: Optional[KillRun]) -> str:
    if killed is None:
        return ""
    return f"""

Then the process of student {killed.student} was killed under policy `{killed.policy}`, with images
under way and a deadline of {killed.deadline_ms:.0f} ms for each. Of the next images
{killed.answered_count} were answered, {killed.degraded_count} of them marked `degraded`, and
{killed.unanswered_count} were not; {killed.late_count} answers came more than 10 ms after their
deadline, the slowest after {killed.worst_us / 1000:.0f} ms. Degraded answers were right for
{percent(killed.accuracy)} of the images. Started again, the student was part of answers after
{killed.back_s:.1f} s."""


def _scaling(sized: Sequence[Sized]) -> str:
    if not sized:
        return ""
    header = ("students", "last exit", "mixtures", "worst student missing",
              "M per student", "bytes per answer", "final, ms", "calibrated, ms")  # fmt: skip
    rows = [
        (
            one.name,
            percent(one.branches[-1]),
            percent(one.mixture),
            percent(one.worst_missing),
            " / ".join(f"{value / MILLION:.1f}" for value in dict.fromkeys(one.multiply_adds)),
            one.answer_bytes,
            *(f"{one.latency_ms[name]:.0f}" for name in ("final", "calibrated")),
        )
        for one in sized
    ]
    return f"""## More students, and unequal ones

The question the paper leaves open. All of these were trained alike, {sized[0].epochs} epochs under
the same teacher: compare them with each other, not with the tables above. Latency is simulated: one
worker per student on one Wi-Fi, at the pace of a small board.

{table(header, rows)}

{picture("scaling.png")}"""


def picture(name: str) -> str:
    """One of `FIGURES`."""
    return f"![{FIGURES[name]}]({name})"


def times_less(share: Interval) -> str:
    """What takes `share` of the time takes so many times less, with the bounds."""
    return f"{1 / share.value:.2f} ({1 / share.high:.2f} to {1 / share.low:.2f})"
