"""The page: facts and charts as one HTML document that needs nothing else, and no network."""

import json
from string import Template
from typing import Dict, List, Tuple

from . import tables, words
from .facts import Facts, Origin
from .markup import definitions, foreign, joined, level, text, times
from .pictures import Picture
from .styles import CSS
from .troubles import OF_TRACES, Trouble

TITLE = "edgesdk report"
WORKERS_LISTED = 8  # at one line of what went wrong
WORKERS_NAMED = 4  # in the first sentence; of more the number is said

# Nothing may be fetched and nothing may run, whatever a tag says.
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$css</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
"""
)
VERDICTS = {
    words.GOOD: "Nothing went wrong.",
    words.NOTE: "Nothing went wrong that needs a look.",
    words.WARNING: "Some things deserve a look.",
    words.BAD: "Something went wrong.",
}


def page(facts: Facts, pictures: Dict[str, Picture], command: str) -> str:
    """The document. `command` makes it again."""
    parts = [_header(facts), _tiles(facts), _verdict(facts)]
    parts += [_section("What became of the images", _outcomes(facts))]
    if pictures:
        parts.append(_section("How fast", _charts(list(pictures.values()))))
    if facts.exits:
        parts.append(_section("Exits", tables.exits(facts)))
    parts.append(_section("Where the time goes", _where(facts)))
    if facts.slowest:
        parts.append(_section("The slowest images", tables.slowest(facts)))
    if facts.unanswered:
        parts.append(_section("Images without an answer", _unanswered(facts)))
    parts.append(_section("How it was made", _made(facts, command)))
    title = "{}: {}".format(TITLE, _heading(facts))
    return _PAGE.substitute(title=text(title), css=CSS, body="\n".join(parts))


def _section(title: str, content: str) -> str:
    return '<section><h2>{}</h2><div class="stack">{}</div></section>'.format(text(title), content)


# --- the first screen -----------------------------------------------------------------------------


def _heading(facts: Facts) -> str:
    return "{} in {}".format(
        words.plural(facts.admitted_count, "image"), words.seconds(facts.duration_us)
    )


def _workers(facts: Facts) -> List[str]:
    """Names, each once: a worker that has started again has several processes."""
    return list(dict.fromkeys(row.worker for row in facts.workers))


def _header(facts: Facts) -> str:
    names = _workers(facts)
    who = words.plural(len(names), "worker")
    if len(names) <= WORKERS_NAMED:
        who = joined(names)
    more = ""
    if facts.unrecorded:
        more = " No trace of {}: what happened there is not known.".format(
            joined(list(facts.unrecorded))
        )
    return '<h1>{}</h1><p class="sub">{}, as the traces of {} tell.{}</p>'.format(
        text(_heading(facts)), text(TITLE), foreign(who), foreign(more)
    )


def _tiles(facts: Facts) -> str:
    answered = words.percent(facts.result_count, facts.admitted_count)
    without = facts.admitted_count - facts.result_count
    tiles = [
        ("images", words.number(facts.admitted_count), "handed in"),
        (
            "answered",
            answered,
            "every one" if not without else "{} without an answer".format(words.number(without)),
        ),
    ]
    if facts.latency is not None:
        found = facts.latency
        more = "p95 {}, p99 {}".format(
            words.milliseconds(found.p95_us), words.milliseconds(found.p99_us)
        )
        tiles.append(("latency p50", words.milliseconds(found.p50_us), more))
        tiles.append(("per second", "{:.3g}".format(facts.per_s), "answers, first to last"))
    if facts.has_labels:
        right = words.percent(facts.right_count, facts.labelled_count)
        more = "of {} with a label".format(words.number(facts.labelled_count))
        tiles.append(("right", right, more))
    busiest = max(facts.workers, key=lambda row: row.busy_share)
    more = "busiest: {}, {}".format(busiest.name, words.percent(busiest.busy_share, 1))
    tiles.append(("workers", words.number(len(_workers(facts))), more))
    return '<div class="tiles">{}</div>'.format("".join(_tile(*each) for each in tiles))


def _tile(name: str, value: str, more: str) -> str:
    return (
        '<div class="card tile"><span class="name">{}</span><b>{}</b>'
        '<span class="more">{}</span></div>'
    ).format(text(name), text(value), foreign(more))


def _verdict(facts: Facts) -> str:
    lines = []
    for trouble in facts.troubles:
        where = _at_whom(trouble) if len(facts.workers) > 1 else []
        if trouble.peers:
            where.append("with " + joined(list(trouble.peers)))
        happened = times(trouble.times_us, trouble.event_count)
        place = ", ".join(where + ([happened] if happened else []))
        count = "" if trouble.name in OF_TRACES else words.number(trouble.event_count)
        lines.append(
            '<li>{} <b>{}</b> {} <span class="note">{}</span></li>'.format(
                level(trouble.level), count, text(trouble.sentence), text(place)
            )
        )
    items = "<ul>{}</ul>".format("".join(lines)) if lines else ""
    said = VERDICTS[facts.verdict]
    if facts.verdict != words.GOOD and facts.admitted_count == facts.result_count > 0:
        said += " Every image was answered all the same."
    return '<div class="card verdict {}"><b>{}</b>{}</div>'.format(facts.verdict, text(said), items)


def _at_whom(trouble: Trouble) -> List[str]:
    """The workers, with their counts where these are not all."""
    names = [
        name if len(trouble.workers) == 1 else "{}: {}".format(name, words.number(count))
        for name, count in trouble.workers.items()
    ]
    more = len(names) - WORKERS_LISTED
    if more > 0:
        names = names[:WORKERS_LISTED] + [words.plural(more, "other")]
    return [joined(names)] if names else []


# --- sections -------------------------------------------------------------------------------------


def _outcomes(facts: Facts) -> str:
    if not facts.outcomes:
        return '<p class="card">No images were handed in where these traces were written.</p>'
    return tables.outcomes(facts)


def _unanswered(facts: Facts) -> str:
    without = facts.admitted_count - facts.result_count
    shown = len(facts.unanswered)
    note = ""
    if without > shown:
        note = '<p class="note">{} of {} are shown: failures first.</p>'.format(
            shown, words.number(without)
        )
    return note + tables.unanswered(facts)


def _charts(pictures: List[Picture]) -> str:
    return '<div class="charts">{}</div>'.format("".join(_chart(each) for each in pictures))


def _chart(picture: Picture) -> str:
    svg = picture.svg.replace(
        "<svg ", '<svg role="img" aria-label="{}" '.format(text(picture.title)), 1
    )
    return (
        '<figure class="card" id="{}"><h3>{}</h3>{}<figcaption>{}</figcaption></figure>'
    ).format(picture.name, text(picture.title), svg, text(picture.caption))


def _where(facts: Facts) -> str:
    parts = ["<h3>Workers</h3>", tables.workers(facts)]
    parts.append(
        '<p class="note">Busy: the share of the time that its trace covers in which a worker '
        "computed. Images answered: by an exit of this worker, in all of its processes.</p>"
    )
    if facts.stages:
        parts += ["<h3>Stages</h3>", tables.stages(facts)]
        parts.append(
            '<p class="note">Waited: in a queue at this worker before the stage began. A batch '
            "takes as long for each task in it.</p>"
        )
    if facts.links:
        parts += ["<h3>Links</h3>", tables.links(facts), _link_note(facts)]
    return "".join(parts)


def _link_note(facts: Facts) -> str:
    note = "Settled: from sending a task until the neighbour's verdict on it was here."
    if any(row.one_way_p50_us is not None for row in facts.links):
        note += " One way: until the task was there."
    if any(row.feature_bytes is not None for row in facts.links):
        note += " Features, raw: before a codec made them smaller."
    return '<p class="note">{}</p>'.format(text(note))


# --- how it was made ------------------------------------------------------------------------------


def _made(facts: Facts, command: str) -> str:
    cards = [_origin(origin) for origin in facts.origins]
    shown = '<div class="charts">{}</div>'.format("".join(cards))
    return shown + "<h3>This page again</h3><pre>{}</pre>".format(text(command))


def _origin(origin: Origin) -> str:
    pairs: List[Tuple[str, str]] = [("trace", origin.path)]
    pairs += [(name, value) for name, value in origin.note.items() if name != "worker"]
    pairs += [
        ("events", "{} in {}".format(words.number(origin.event_count), _duration(origin))),
        ("file", "whole" if origin.is_complete else "ends before its writer closed it"),
        ("replay", "the same actions" if origin.is_same else "NOT the same actions"),
        ("versions", ", ".join("{} {}".format(*each) for each in origin.versions.items())),
        ("network", origin.model_id),
        ("plan", "; ".join(origin.plans)),
        ("policy", _settings(origin.policy)),
        ("largest batch", str(origin.max_batch)),
        ("offloading", _settings(origin.offloading)),
        ("admission", _settings(origin.admission)),
        ("seed", str(origin.seed)),
        ("process", origin.identity),
    ]
    return '<div class="card"><h3>{}</h3>{}</div>'.format(
        foreign(origin.worker), definitions(pairs)
    )


def _duration(origin: Origin) -> str:
    return words.seconds(origin.duration_us)


def _settings(values: Dict[str, object]) -> str:
    if values.get("kind") == "none":
        return "none"
    return ", ".join("{} {}".format(name, json.dumps(value)) for name, value in values.items())
