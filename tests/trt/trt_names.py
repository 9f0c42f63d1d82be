"""The names of TensorRT's Python API in seven versions: a table of facts, read from names.json.gz.

`extract_names.py` made the file; `table(version)["origin"]` says what a version's rests on.
"""

import gzip
import json
import os
import re

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names.json.gz")
VERSIONS = ("8.2.1", "8.4.1.5", "8.5.3", "8.6.1", "10.3.0", "10.16.1.11", "11.4.0.106")

_tables = {}


def table(version):
    """The names of one version: a dict of

    origin: str
    classes: {name: {bases: [name], methods: {name: [[argument]]},
                     properties: {name: type that it can be set to, or None}}}
    enums: {name, or class.name: {member: int}}
    functions: {name: [[argument]]}
    constants: {name: enum.member}

    A method has a list of arguments for each overload. An argument is "name:type"; it ends in "="
    if it may be left out.
    """
    if not _tables:
        with gzip.open(FILE) as file:
            _tables.update(json.loads(file.read().decode("ascii")))
    return _tables[version]


def numbers(version):
    """The version as a tuple of ints, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def write(tables):
    """Write `tables` as the file, the same bytes for the same tables; return their number."""
    text = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    data = gzip.compress(text.encode("ascii"))
    data = data[:4] + b"\0\0\0\0" + data[8:]  # the time of writing is no fact about TensorRT
    with open(FILE, "wb") as file:
        file.write(data)
    return len(data)
