"""What turns the documents into a site: places of pages, pages of files, the help of commands.

mkdocs takes pages from one folder and puts them at its top. Here every page gets the place that its
file has in the repository, and files that documents link to become pages too: so links need no
rewriting, and nothing is copied.
"""

import contextlib
import io
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any, Iterator, List, Tuple

from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the commands of this checkout, wherever mkdocs was installed
PAGES = ("*.md", "csrc/*.md", "engines/*.md", "examples/*.md")
SOURCES = ("LICENSE", "examples/*.py", "examples/*.service", "examples/*.yml", "examples/*.json")
LINKED_ONLY = ("examples/*.toml", "examples/scenarios/*.toml")  # pages without a place in `nav`
LANGUAGES = {".py": "python", ".toml": "toml", ".service": "ini", ".yml": "yaml", ".json": "json"}
COMMANDS_PAGE = "docs/reference/commands.md"
HELP_COLUMNS = 90


class Source(File):
    """A file that is no Markdown, as a page that shows it."""

    def is_documentation_page(self) -> bool:
        """Yes, unlike what its name says."""
        return True


def on_files(files: Files, config: Any) -> Files:
    """Every file of docs/ at its place in the repository, and those outside."""
    for file in [each for each in files if each.src_dir == config.docs_dir]:
        files.remove(file)
        if not file.inclusion.is_excluded():
            files.append(_file(config, "docs/" + file.src_uri))
    for name in _matches(PAGES):
        files.append(_file(config, name))
    for name in _matches(SOURCES):
        files.append(_source(config, name))
    for name in _matches(LINKED_ONLY):
        files.append(_source(config, name, InclusionLevel.NOT_IN_NAV))
    return files


def _matches(patterns: Tuple[str, ...]) -> List[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
    ]


def _file(config: Any, name: str) -> File:
    return File.generated(config, name, abs_src_path=str(ROOT / name))


def _source(config: Any, name: str, inclusion: InclusionLevel = InclusionLevel.UNDEFINED) -> File:
    text = (ROOT / name).read_text()
    language = LANGUAGES.get(os.path.splitext(name)[1], "text")
    file = Source(name, None, config.site_dir, False, dest_uri=name + ".html", inclusion=inclusion)
    file.abs_src_path = None
    file.content_string = "# {}\n\n```{}\n{}```\n".format(os.path.basename(name), language, text)
    return file


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page of the commands gets their help."""
    if page.file.src_uri != COMMANDS_PAGE:
        return markdown
    return markdown + "".join(_section(words, text) for words, text in helps())


def _section(words: List[str], text: str) -> str:
    depth = "#" * (len(words) + 1)
    return "\n{} {}\n\n```text\n{}```\n".format(depth, " ".join(words), text)


def helps() -> Iterator[Tuple[List[str], str]]:
    """The words of each command and all of its subcommands, such as ["edgesdk.train", "fit"], and
    what it answers to --help."""
    for module in commands():
        yield from _helps([module])


def _helps(words: List[str]) -> Iterator[Tuple[List[str], str]]:
    text = _help(words)
    yield words, text
    for name in re.findall(r"^    ([a-z-]+)(?=  |$)", _positional(text), re.MULTILINE):
        yield from _helps([*words, name])


def commands() -> List[str]:
    """Every module of edgesdk that `python -m` runs."""
    package = ROOT / "edgesdk"
    found = ["edgesdk." + path.parent.name for path in package.glob("*/__main__.py")]
    for path in package.glob("*.py"):
        if '\nif __name__ == "__main__":' in path.read_text():
            found.append("edgesdk." + path.stem)
    return sorted(found)


def _positional(text: str) -> str:
    """The part of a help that lists positional arguments, where there are subcommands."""
    found = re.search(r"^positional arguments:\n  [A-Z]+\n(.*?)^\S", text, re.M | re.S)
    return found.group(1) if found else ""


def _help(words: List[str]) -> str:
    """What `python -m WORDS --help` prints, without a process of its own."""
    answer, arguments, columns = io.StringIO(), sys.argv, os.environ.get("COLUMNS")
    sys.argv = [*words, "--help"]
    os.environ["COLUMNS"] = str(HELP_COLUMNS)
    try:
        with contextlib.redirect_stdout(answer), contextlib.suppress(SystemExit):
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        sys.argv = arguments
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    if not answer.getvalue().startswith("usage: "):
        raise RuntimeError("{} --help: found no help".format(" ".join(words)))
    return answer.getvalue()
