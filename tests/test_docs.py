"""The site builds without a warning, its links lead somewhere, its tables are complete."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from pages import DOCUMENTS, ROOT, environment, run, shipped, start, stop

import edgesdk
from edgesdk.cluster import local_cluster_text
from edgesdk.core import neighbours
from edgesdk.core.wire_format import REASONS

LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src"}
FOR_READERS = {"canonical", "next", "prev"}  # relations that nothing is loaded for
COUNTS = {"add", "count", "incident", "complain", "_count", "_complain"}
OPERATIONS = ROOT / "docs" / "operations.md"


class Page(HTMLParser):
    """Of one file of the site: `ids`, `links` that a reader follows, and what it `loads`."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        target = given.get(LOADS.get(tag, ""))
        if target and given.get("rel") not in FOR_READERS:
            self.loads.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, and its pages by path in it."""
    pytest.importorskip("mkdocs", reason='the site needs mkdocs: pip install "edgesdk[docs]"')
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=str(ROOT),
        env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout
    files = [path for path in folder.rglob("*.html") if path.name != "404.html"]  # needs its host
    return folder, {path: Page(path.read_text()) for path in files}


def test_every_document_is_a_page(site):
    folder, _ = site
    for path in DOCUMENTS:
        page = folder / path.relative_to(ROOT).with_suffix(".html")
        page = page.with_name("index.html") if page.stem == "README" else page
        assert page.exists(), path


def test_every_link_leads_somewhere(site):
    folder, pages = site
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = target.exists() and folder in target.parents
            if not there or (parts.fragment and parts.fragment not in anchors(pages, target)):
                dead.append("{}: {}".format(path.relative_to(folder), link))
    assert dead == []


def anchors(pages, target):
    # mkdocs makes "__tabbed"-like names by script; what is no page of HTML has none
    return pages[target].ids if target in pages else set()


def test_nothing_is_loaded_from_elsewhere(site):
    loads = {load for page in site[1].values() for load in page.loads}
    assert loads and not [load for load in loads if urlsplit(load).netloc]


def test_the_reference_has_every_public_name(site):
    folder, pages = site
    ids = pages[folder / "docs/reference/api.html"].ids
    names = [name for name in edgesdk.__all__ if not name.startswith("__")]
    assert [name for name in names if "edgesdk." + name not in ids] == []
    methods = [name for name in vars(edgesdk.Pipeline) if not name.startswith("_")]
    assert len(methods) > 5
    assert [name for name in methods if "edgesdk.Pipeline." + name not in ids] == []


def test_what_a_method_raises_is_linked(site):
    folder, pages = site
    links = pages[folder / "docs/reference/api.html"].links
    assert {"#edgesdk.ConfigError", "#edgesdk.Expired", "#edgesdk.Result"} <= set(links)


def test_the_reference_has_every_command(site):
    folder, _ = site
    text = (folder / "docs/reference/commands.html").read_text()
    shown = re.findall(r'<h[23] id="[^"]*">(edgesdk[^<]*)<', text)
    package = ROOT / "edgesdk"
    expected = ["edgesdk." + path.parent.name for path in package.glob("*/__main__.py")]
    expected += [
        "edgesdk." + path.stem for path in package.glob("*.py") if "__main__" in path.read_text()
    ]
    assert set(expected) <= set(shown)
    assert {"edgesdk.train fit", "edgesdk.bench pipeline"} <= set(shown)
    assert "--max-loss-points" in text and "usage: python -m edgesdk.worker" in text


# --- tables that follow the source --------------------------------------------------------------


def counted():
    """Every name that is counted in core and runtime, as it stands in `counters` or `transport`."""
    names = set()
    for folder in ("core", "runtime"):
        for path in (ROOT / "edgesdk" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names |= names_in(node)
    return names


def names_in(node):
    """The names that one call counts; a lost session under its reason."""
    if not isinstance(node, ast.Call):
        return set()
    called = getattr(node.func, "attr", "")
    texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
    if called == "_lose":
        reasons = texts + [
            getattr(neighbours, each.id)
            for each in node.args[:2]
            if isinstance(each, ast.Name) and each.id.isupper()
        ]
        return {"sessions_lost." + reason.replace(" ", "_") for reason in reasons}
    return {
        text
        for text in texts
        if called in COUNTS and isinstance(text, str) and re.fullmatch("[a-z_]+", text)
    }


def ended():
    """Every way in which an item ends, from the words of the wire and the table of the core."""
    answered = {"threshold", "final", "forced", "deadline", "degraded"}
    expired = {"deadline", "superseded"}
    failed = set(REASONS) - answered - expired
    kinds = (("result", answered), ("expired", expired), ("failed", failed))
    return {"{}.{}".format(kind, reason) for kind, reasons in kinds for reason in reasons}


def rows(heading):
    """The first cells of the table under a heading of docs/operations.md."""
    text = OPERATIONS.read_text().split(heading, 1)[1].split("\n#", 1)[0]
    return set(re.findall(r"^\| \*{0,2}`([\w.]+)`", text, re.MULTILINE))


def test_every_name_that_is_counted_is_explained():
    explained = rows("### counters") | rows("### transport")
    assert len(counted()) > 25
    assert explained == counted()


def test_every_end_of_an_item_is_explained():
    assert rows("### ended") == ended()


def test_messages_in_the_table_of_symptoms_are_those_of_the_source():
    source = "".join(path.read_text() for path in (ROOT / "edgesdk").rglob("*.py"))
    source = re.sub(r'"\n\s*f?"', "", source)  # texts over several lines
    table = OPERATIONS.read_text().split("## What to do when")[1]
    for quoted in (
        "a connection came to nothing: wrong or no keys, or no worker at all",
        "refused a key that is not in the cluster file",
        "cannot listen there (",
    ):
        assert quoted in table and quoted in source


# --- the service --------------------------------------------------------------------------------


def test_the_service_starts_a_worker_that_ends_in_order(tmp_path):
    unit = (ROOT / "examples" / "edgesdk-worker.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    (folder,) = re.findall(r"^WorkingDirectory=(.*)$", unit, re.MULTILINE)
    assert command.startswith(folder)
    python, rest = command.split(" ", 1)
    assert python == folder + "/.venv/bin/python"
    shipped(tmp_path)
    text = local_cluster_text(str(tmp_path / "engines/wrn16_1-digits/1"), {"helper": []})
    (tmp_path / "fleet.toml").write_text(text)
    surroundings = environment(tmp_path, {})
    run("python -m edgesdk.keys fleet.toml", tmp_path, surroundings)
    said = stop(start("python " + rest, tmp_path, surroundings))
    assert "helper listens at" in said and "leaving" in said
