"""What every command shares: the banner, tables, figures, errors as one line."""

import argparse
import json
import os
import subprocess
import sys

import pytest

from edgesdk import ConfigError, __version__, cli, kernels


def arguments(debug=False):
    return argparse.Namespace(debug=debug, json=False)


def raising(error):
    def main(_):
        raise error

    return main


class TestRun:
    def test_gives_the_status_of_the_command(self):
        assert cli.run(lambda _: 0, arguments()) == 0
        assert cli.run(lambda _: 7, arguments()) == 7

    def test_prints_our_errors_as_one_line(self, capsys):
        assert cli.run(raising(ConfigError("found 1, expected 2")), arguments()) == 1
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("", "ConfigError: found 1, expected 2\n")

    def test_and_what_the_system_refuses(self, capsys):
        error = PermissionError(13, "Permission denied", "out/exits.png")
        assert cli.run(raising(error), arguments()) == 1
        assert capsys.readouterr().err.startswith("OSError: [Errno 13] Permission denied")

    def test_debug_lets_them_through(self):
        with pytest.raises(ConfigError):
            cli.run(raising(ConfigError("x")), arguments(debug=True))

    def test_a_bug_is_not_hidden(self):
        with pytest.raises(ZeroDivisionError):
            cli.run(raising(ZeroDivisionError()), arguments())

    def test_an_interrupt_ends_quietly(self, capsys):
        assert cli.run(raising(KeyboardInterrupt()), arguments()) == 130
        assert capsys.readouterr().err == "interrupted\n"

    def test_a_reader_that_has_seen_enough_is_no_error(self):
        program = (
            "import argparse, sys; from edgesdk import cli\n"
            "def main(_):\n"
            "    while True: print('line')\n"
            "sys.exit(cli.run(main, argparse.Namespace(debug=False)))\n"
        )
        command = "'{}' -c \"$PROGRAM\" | head -1".format(sys.executable)
        done = subprocess.run(
            ["bash", "-c", command],
            env=dict(os.environ, PROGRAM=program),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == (b"line\n", b"")


class TestParser:
    def test_help_shows_an_example(self, capsys):
        with pytest.raises(SystemExit):
            cli.parser("demo", "Shows.", "python -m edgesdk.demo --json").parse_args(["--help"])
        assert "example:\n  python -m edgesdk.demo --json" in capsys.readouterr().out

    def test_every_command_takes_json_and_debug(self):
        parsed = cli.parser("demo", "Shows.", "x").parse_args(["--json", "--debug"])
        assert parsed.json and parsed.debug


class TestBanner:
    def test_names_versions_kernels_and_seed(self, capsys):
        cli.banner(("json",), seed=5)
        line = capsys.readouterr().out
        assert line.startswith("edgesdk {}  kernels {}".format(__version__, kernels.implementation))
        assert "json 2." in line and line.endswith("seed 5\n")

    def test_says_what_is_not_imported(self):
        assert cli.versions(("no_such_package",))["no_such_package"] == "not imported"

    def test_leaves_standard_output_to_the_object(self, capsys):
        cli.banner(as_json=True)
        cli.print_json({"a": 1})
        printed = capsys.readouterr()
        assert json.loads(printed.out) == {"a": 1}
        assert "edgesdk" in printed.err

    def test_an_object_is_printed_whole_or_not_at_all(self, capsys):
        with pytest.raises(TypeError):
            cli.print_json({"fine": 1, "not": object()})
        assert capsys.readouterr().out == ""


def test_a_table_aligns_its_columns():
    assert cli.table(("name", "us"), [("a", 1), ("longer", 12345)]) == [
        "name       us",
        "------  -----",
        "a           1",
        "longer  12345",
    ]


def test_a_figure_is_what_bench_promises():
    assert cli.figure("x", 1.5, "us", 2.0, True) == {
        "name": "x",
        "value": 1.5,
        "unit": "us",
        "target": 2.0,
        "ok": True,
    }
