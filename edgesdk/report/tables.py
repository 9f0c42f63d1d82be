"""The tables of a report: facts in, HTML out."""

from typing import List, Sequence, Tuple

from . import words
from .facts import Facts
from .images import ImageRow, Spent
from .markup import (
    Column,
    bar,
    class_name,
    foreign,
    image_name,
    legend,
    level,
    milliseconds,
    table,
    text,
)
from .styles import DISTINCT

# Field of Spent, words, short words for a column, variable of the style sheet.
SPENT = (
    ("computing_us", "computing at the source", "computing", "c0"),
    ("waiting_us", "waiting at the source", "waiting", "c2"),
    ("computing_elsewhere_us", "computing elsewhere", "computing elsewhere", "c1"),
    ("waiting_elsewhere_us", "waiting elsewhere", "waiting elsewhere", "c4"),
    ("away_us", "on the way", "on the way", "c3"),
)


def outcomes(facts: Facts) -> str:
    """What became of the images; the rows add up to all of them."""
    rows = []
    for row in facts.outcomes:
        rows.append(
            [
                level(words.outcome_level(row.status, row.reason)),
                foreign(row.status),
                foreign(row.reason or "-"),
                words.number(row.image_count),
                words.percent(row.image_count, facts.admitted_count),
                text(words.outcome_sentence(row.status, row.reason)),
            ]
        )
    columns = [Column("", "text"), Column("outcome", "text"), Column("reason", "text")]
    columns += [Column("images"), Column("share"), Column("what it means", "long")]
    return table(columns, rows)


def exits(facts: Facts) -> str:
    """Share, accuracy and latency of each exit."""
    total = sum(row.answer_count for row in facts.exits)
    rows = []
    for place, row in enumerate(facts.exits):
        share = words.percent(row.answer_count, total)
        color, name = DISTINCT[place % len(DISTINCT)], "exit {}: {}".format(row.exit_index, share)
        rows.append(
            [
                text(row.exit_index),
                words.number(row.answer_count),
                share,
                bar([(row.answer_count, color)], total, name),
            ]
            + _accuracy(facts, row.right_count, row.labelled_count)
            + [milliseconds(us) for us in (row.latency.p50_us, row.latency.p95_us)]
            + [milliseconds(row.latency.p99_us)]
        )
    columns = [Column("exit"), Column("answers"), Column("share"), Column("", "wide")]
    columns += [Column("right"), Column("of")] if facts.has_labels else []
    return table(columns + [Column("p50"), Column("p95"), Column("p99")], rows)


def _accuracy(facts: Facts, right_count: int, labelled_count: int) -> List[str]:
    if not facts.has_labels:
        return []
    return [words.percent(right_count, labelled_count), words.number(labelled_count)]


def workers(facts: Facts) -> str:
    """Who took part, and how busy each was."""
    several = len(facts.workers) > 1
    rows = []
    for row in facts.workers:
        share = words.percent(row.busy_us, row.end_us - row.begin_us)
        rows.append(
            [
                foreign(row.name),
                words.seconds(row.end_us - row.begin_us),
                words.number(row.admitted_count),
                words.number(row.answer_count) if row.name == row.worker else "-",
                words.number(row.item_count),
                words.number(row.batch_count),
                words.number(row.guest_count),
                words.number(row.sent_count),
                milliseconds(row.busy_us),
                share,
                bar([(row.busy_us, "c0")], max(1, row.end_us - row.begin_us), "busy " + share),
            ]
            + [text(row.clock)] * several
        )
    columns = [Column("worker", "foreign"), Column("there for"), Column("images of its own")]
    columns += [Column("images answered")]
    columns += [Column("tasks computed"), Column("in batches"), Column("tasks from others")]
    columns += [Column("tasks sent on"), Column("computed for"), Column("busy"), Column("", "wide")]
    columns += [Column("its clock", "long")] * several
    return table(columns, rows)


def stages(facts: Facts) -> str:
    """How long each stage computed and was waited for, at each worker."""
    several_parts = len({row.part for row in facts.stages}) > 1
    rows = []
    for row in facts.stages:
        name = "{}.{}".format(row.part, row.stage) if several_parts else str(row.stage)
        busiest = max(other.busy_us for other in facts.stages)
        rows.append(
            [
                foreign(row.worker),
                text(name),
                text("-" if row.exit_index is None else row.exit_index),
                words.number(row.item_count),
                words.number(row.batch_count),
                text("{:.2f}".format(row.item_count / row.batch_count)),
                text(max(row.sizes)),
                milliseconds(row.batch_p50_us),
                milliseconds(row.batch_p95_us),
                milliseconds(row.waited_p50_us),
                milliseconds(row.waited_p95_us),
                words.number(row.failed_count),
                milliseconds(row.busy_us),
                bar([(row.busy_us, "c0")], busiest, "computed for this long in all"),
            ]
        )
    columns = [Column("worker", "foreign"), Column("stage"), Column("exit behind it")]
    columns += [Column("tasks"), Column("batches"), Column("mean size"), Column("largest")]
    columns += [Column("batch p50"), Column("batch p95"), Column("waited p50")]
    columns += [Column("waited p95"), Column("failed"), Column("in all"), Column("", "wide")]
    return table(columns, rows)


def links(facts: Facts) -> str:
    """What travelled between workers."""
    one_way = any(row.one_way_p50_us is not None for row in facts.links)
    sizes = any(row.feature_bytes is not None for row in facts.links)
    rows = []
    for row in facts.links:
        cells = [foreign(row.sender), foreign(row.receiver)]
        cells += [words.number(count) for count in row[2:8]]
        cells += [milliseconds(row.settled_p50_us), milliseconds(row.settled_p95_us)]
        if one_way:
            cells += [milliseconds(row.one_way_p50_us), milliseconds(row.one_way_p95_us)]
        if sizes:
            cells.append("-" if row.feature_bytes is None else words.binary(row.feature_bytes))
        rows.append(cells)
    columns = [Column("from", "foreign"), Column("to", "foreign"), Column("tasks")]
    columns += [Column("accepted"), Column("refused"), Column("not settled"), Column("results")]
    columns += [Column("repeated"), Column("settled p50"), Column("settled p95")]
    columns += [Column("one way p50"), Column("one way p95")] if one_way else []
    return table(columns + ([Column("features, raw")] if sizes else []), rows)


def slowest(facts: Facts) -> str:
    """The answers that took longest, and where their time went."""
    used = [
        each for each in SPENT if any(getattr(row.spent, each[0], 0) > 0 for row in facts.slowest)
    ]
    longest = max(row.latency_us for row in facts.slowest)
    several = len({row.source for row in facts.slowest}) > 1
    rows = []
    for row in facts.slowest:
        assert row.spent is not None
        parts, label = _spent_parts(row.spent)
        rows.append(
            [image_name(row)]
            + [foreign(row.source)] * several
            + [words.seconds(row.begin_us)]
            + [milliseconds(row.latency_us), bar(parts, longest, label)]
            + [milliseconds(getattr(row.spent, field)) for field, _, _, _ in used]
            + [text(row.exit_index if row.exit_index is not None else "-")]
            + _answer(row, facts)
        )
    columns = [Column("image", "foreign")] + [Column("source", "foreign")] * several
    columns += [Column("handed in at"), Column("latency"), Column("", "wide")]
    columns += [Column(short) for _, _, short, _ in used]
    columns += [Column("exit"), Column("answer", "foreign")]
    columns += [Column("label", "foreign")] if facts.has_labels else []
    return legend([(name, color) for _, name, _, color in used]) + table(columns, rows)


def _spent_parts(spent: Spent) -> Tuple[List[Tuple[float, str]], str]:
    parts = [(getattr(spent, field), color) for field, _, _, color in SPENT]
    label = ", ".join(
        "{} {}".format(name, words.milliseconds(getattr(spent, field)))
        for field, name, _, _ in SPENT
        if getattr(spent, field) > 0
    )
    return parts, label


def _answer(row: ImageRow, facts: Facts) -> List[str]:
    cells = [class_name(row.answer, facts.class_names)]
    if facts.has_labels:
        label = class_name(row.label, facts.class_names)
        wrong = row.label is not None and row.label != row.answer
        cells.append(label + (" " + '<span class="tag bad">wrong</span>' if wrong else ""))
    return cells


def unanswered(facts: Facts) -> str:
    """Images without an answer, with the reason as a sentence."""
    rows = []
    for row in facts.unanswered:
        said = words.outcome_sentence(row.status, row.reason)
        detail = row.detail if row.detail not in ("", row.reason) else ""
        rows.append(
            [
                image_name(row),
                foreign(row.source),
                words.seconds(row.begin_us),
                milliseconds(row.latency_us),
                level(words.outcome_level(row.status, row.reason)),
                text(said)
                + (' <span class="note">{}</span>'.format(foreign(detail)) if detail else ""),
            ]
        )
    columns: Sequence[Column] = [
        Column("image", "foreign"),
        Column("source", "foreign"),
        Column("handed in at"),
        Column("ended after"),
        Column("", "text"),
        Column("what happened", "long"),
    ]
    return table(columns, rows)
