"""docs/wire.md says what the code does: the tests read offsets, types, limits, codes from it."""

import re
import struct
from pathlib import Path

import pytest

from edgesdk.core import tensor, wire_format
from edgesdk.core.messages import (
    FEATURE_BYTES_MAX,
    HOPS_MAX,
    ITEMS_MAX,
    STAGES_MAX,
    TEXT_MAX,
    WINDOW,
    ResultMessage,
    Task,
)
from edgesdk.core.wire_kinds import KINDS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "wire.md"
TYPES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i32": "i", "f32": "f"}
FIELDS = {kind.code: kind.fields for kind in KINDS.values()}
FIELDS[wire_format.TASK_CODE] = wire_format.TASK_FIELDS + tensor.TENSOR_FIELDS


def tables(text):
    """Every table as a list of rows of cells, its head first."""
    found, rows = [], []
    for line in text.splitlines() + [""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows += [] if set("".join(cells)) == {"-"} else [cells]
        elif rows:
            found.append(rows)
            rows = []
    return found


def sections():
    """Title -> text."""
    parts = re.split(r"^## (.*)$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def format_of(type_name):
    """The format of one value of this type: "u16" is "H", "16 bytes" is "16s"."""
    count = re.match(r"(\d+) bytes$", type_name)
    return count.group(1) + "s" if count else TYPES[type_name]


def checked_fields(rows, begin):
    """(name, format) of the rows, whose offsets must be where `struct` puts them from `begin` on.
    A row "count x type" ends them; it is checked, too, and given as well."""
    fields, formats = [], "<"
    for cells in rows[1:]:
        at, type_name, name = cells[:3]
        assert int(at) == begin + struct.calcsize(formats), name
        if " x " in type_name:
            count, element = type_name.split(" x ")
            assert count == fields[-1][0] and cells is rows[-1]
            types = [format_of(each) for each in element.strip("()").split(", ")]
            return tuple(fields), struct.calcsize("<" + "".join(types))
        fields.append((name, format_of(type_name)))
        formats += fields[-1][1]
    return tuple(fields), 0


def test_the_header():
    rows = tables(sections()["Header"])[0]
    fields, _ = checked_fields(rows, 0)
    assert fields == wire_format.HEADER_FIELDS
    assert wire_format.compiled(fields).size == wire_format.HEADER_BYTES == 64
    assert rows[1][3] == "0x{:X}".format(wire_format.MAGIC)
    assert rows[2][3].startswith("{};".format(wire_format.WIRE_VERSION))


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: KINDS[kind].code))
def test_which_kinds_use_a_field_of_the_header(kind):
    name = kind.__name__.replace("Message", "")
    for place, cells in enumerate(tables(sections()["Header"])[0][1:]):
        if "all kinds" in cells[3] or cells[2] in ("magic", "version", "kind", "flags"):
            documented = cells[2] != "to_session" or name != "Hello"
        else:
            documented = name in re.findall(r"\w+", cells[3].split(":")[0])
        assert documented == (place not in KINDS[kind].unused), cells[2]


def test_every_kind_has_a_section():
    found = {}
    for title in sections():
        for name, code in re.findall(r"(\w+) \((\d+)\)", title):
            found[name] = int(code)
    expected = {kind.__name__: KINDS[kind].code for kind in KINDS}
    expected["Result"] = expected.pop(ResultMessage.__name__)
    expected[Task.__name__] = wire_format.TASK_CODE
    assert found == expected


@pytest.mark.parametrize("title", [title for title in sections() if "(" in title])
def test_the_fields_of_a_kind(title):
    found = [table for table in tables(sections()[title]) if table[0][2:3] == ["field"]]
    code = int(re.search(r"\d+", title).group())
    if not found:
        assert FIELDS[code] == () and "The header alone." in sections()[title]
        return
    fields, element_bytes = checked_fields(found[0], wire_format.HEADER_BYTES)
    assert fields == FIELDS[code]
    elements = {kind.code: kind.element_bytes for kind in KINDS.values()}
    assert element_bytes == elements.get(code, 0)


def test_the_answer():
    fields, _ = checked_fields(tables(sections()["Result (8)"])[1], 0)
    assert fields == wire_format.ANSWER_FIELDS
    size = wire_format.compiled(fields).size
    assert ("answer", "{}s".format(size)) in wire_format.RESULT_FIELDS


def test_codes():
    reasons = tables(sections()["Result (8)"])[2][1:]
    assert [(int(code), name) for code, name in reasons] == list(
        enumerate(wire_format.REASONS, start=1)
    )
    flags = tables(sections()["Header"])[1][1:]
    assert {name: int(bit) for bit, name, _, _ in flags} == {
        name: getattr(wire_format, name) for _, name, _, _ in flags
    }
    meanings = {cells[2]: cells[3] for cells in tables(sections()["Task (6)"])[0]}
    for name, codes in (("dtype", tensor.DTYPES), ("codec", tensor.CODECS)):
        pairs = re.findall(r"(\d) (?!is)(\w+)", meanings[name])
        assert {word: int(code) for code, word in pairs} == codes


def test_forms_of_tensors():
    rows = tables(sections()["Task (6)"])[1][1:]
    fixed = {
        (dtype, codec): int(text[0]) if text[0].isdigit() else tensor.CODEC_KNOWS
        for dtype, codec, text in rows
        if dtype != "any"
    }
    any_dtype = {
        (dtype, codec): tensor.CODEC_KNOWS
        for dtype in tensor.DTYPES
        for codec in rows[-1][1].split(", ")
    }
    any_dtype.update(fixed)
    assert any_dtype == tensor.BODY_ITEM_BYTES


def test_limits():
    sizes = [int(re.match(r"\d+", row[2]).group()) for row in tables(sections()["Frames"])[0][1:]]
    assert len(sizes) == wire_format.FRAMES_MAX
    assert sizes == [
        wire_format.HEAD_BYTES_MAX,
        tensor.BODY_BYTES_MAX,
        tensor.AUXILIARY_BYTES_MAX,
    ]
    assert sum(sizes) == wire_format.MESSAGE_BYTES_MAX
    meanings = {
        cells[2]: cells[3]
        for text in sections().values()
        for table in tables(text)
        for cells in table
        if len(cells) == 4
    }
    for name, expected in (
        ("stage_count", "at most {}".format(STAGES_MAX)),
        ("item_count", "at most {}".format(ITEMS_MAX)),
        ("reason_bytes", "at most {}".format(TEXT_MAX)),
        ("tail_bytes", "at most {}".format(FEATURE_BYTES_MAX)),
        ("hop", "at most {}".format(HOPS_MAX)),
        ("seq", "`oldest` + {}".format(WINDOW - 1)),
        ("newest", "below base + {}".format(WINDOW)),
        ("auxiliary_count", "1 to {}".format(tensor.AUXILIARY_COUNT_MAX)),
        ("axis_0", "1 to {}".format(tensor.AXIS_MAX)),
        ("codecs", "bits of 0x{:X}".format(sum(1 << code - 1 for code in tensor.CODECS.values()))),
    ):
        assert expected in meanings[name], name
