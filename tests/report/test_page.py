"""The page: what stands on it, and what a real browser makes of it."""

import re

import pytest
from browser import CHROMIUM, DESK, PHONE, WHY_NOT, look, run
from recorded_runs import ROBOT, item, pair, recording, run_of, stage

from edgesdk.report.facts import facts_of
from edgesdk.report.labels import Labels
from edgesdk.report.page import page
from edgesdk.report.pictures import pictures_of

EVIL = '<img src="https://example.com/x.png" onerror="alert(1)"><script>alert(2)</script>&"\'$x$'
COMMAND = "python -m edgesdk.report traces"


def shown(run):
    facts = facts_of(run)
    return page(facts, pictures_of(facts), COMMAND)


def text_of(html):
    """What a reader sees, roughly."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", html, flags=re.DOTALL)
    text = re.sub("<[^>]*>", " ", text).replace("\u00a0", " ").replace("\u202f", " ")
    return re.sub(r"\s+", " ", text)


def much():
    """Two hundred images of which some failed, foreign words everywhere."""
    spans = []
    for number in range(200):
        begin, end = 5 * number, 5 * number + 4 + number % 40
        spans += [stage(0, begin, begin + 3, number)]
        if number % 50 == 49:
            spans.append(item(number, begin, end, None, status="failed", reason="stage_failed"))
        else:
            tag = EVIL if number == 39 else number
            spans.append(item(number, begin, end, number % 3, number % 5, tag=tag))
    incidents = [("failed.stage_failed", None, 49, EVIL), ("sessions_lost.silent", 5, None, "")]
    return run_of(
        recording(
            spans,
            name="robot",
            end_ms=1100,
            incidents=incidents,
            samples=[(100 * n, n % 4) for n in range(11)],
            counters={"sessions_lost.silent": 1, "retransmissions": 7},
            ticks={"sessions_lost.silent": [600_000], "retransmissions": [100_000] * 7},
            note={"worker": "robot", "place": EVIL},
        ),
        recording([], worker=ROBOT + 5, name="$x_{" + EVIL[:40], note={"clock": "one"}),
        labels=Labels({str(number): 0 for number in range(100)}),
        class_names=["<b>cat</b>", "dog", "owl", "cow", "fox"],
    )


@pytest.fixture(scope="module")
def html():
    return shown(much())


class TestText:
    def test_the_first_screen_answers(self, html):
        text = text_of(html)
        for expected in (
            "200 images in 1.10 s",
            "images 200",
            "answered 98.0 % 4 without an answer",
            "latency p50 23 ms p95 41 ms, p99 43 ms",
            "per second 190 answers, first to last",
            "Something went wrong.",
            "bad 1 A neighbour was given up",
            "at 0.60 s",
            "look 7 Messages were sent again",
        ):
            assert expected in text

    def test_every_image_that_failed_has_a_sentence(self, html):
        text = text_of(html)
        assert text.count("A stage of the network failed.") == 1 + 1 + 4
        assert "Images without an answer" in text

    def test_how_it_was_made(self, html):
        text = text_of(html)
        for expected in ("max_probability", "full: segments 0, 1, 2", "seed 11", COMMAND):
            assert expected in text

    def test_foreign_texts_are_only_texts(self, html):
        assert "<script" not in html and "<img" not in html and "<b>cat" not in html
        assert "&lt;script&gt;alert(2)" in html and "&lt;b&gt;cat" in html
        assert not re.search(r"<[^>]*\sonerror=", html)

    def test_nothing_is_named_that_could_be_fetched(self, html):
        attributes = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')>\s]+)', text_free(html))
        assert {name for name in attributes if not name.startswith("#")} == set()
        assert "default-src 'none'" in html and "@import" not in html

    def test_ids_occur_once(self, html):
        ids = re.findall(r'\sid="([^"]*)"', html)
        assert len(ids) > 20 and len(ids) == len(set(ids))

    def test_a_run_in_which_nothing_happened(self):
        text = text_of(shown(run_of(recording([]))))
        assert "0 images" in text and "Nothing went wrong." in text
        assert "No images were handed in" in text

    def test_a_replay_that_differs_is_said_first(self):
        run = run_of(recording([item(0, 0, 1)], difference="First at line 7.", difference_count=3))
        text = text_of(shown(run))
        assert "The replay is NOT what was recorded" in text
        assert text.index("3 of 10 events differ") < text.index("What became of the images")

    def test_all_is_well(self):
        text = text_of(shown(pair()))
        assert "Nothing went wrong." in text and "answered 100 % every one" in text


def text_free(html):
    """The tags alone: what is written between them names no resource."""
    return " ".join(re.findall("<[^>]*>", html))


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
class TestInABrowser:
    @pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
    def test_it_is_whole_quiet_and_as_wide_as_the_window(self, tmp_path, html, size):
        found, console = look(tmp_path, html, size)
        assert console == []
        assert found["fetched"] == [] and found["fetchedInside"] == 0 and found["scripts"] == 0
        assert found["outside"] == [] and found["width"] <= size[0]
        names = [name for name, _, _ in found["figures"]]
        assert names == ["latency", "latency-over-time", "throughput", "queues"] + [
            "exit-latency",
            "spent",
        ]
        assert all(width > 250 and height > 80 for _, width, height in found["figures"])
        assert "onerror" in found["text"]  # as the text that it is
        assert "98.0" in found["text"] and "p99" in found["text"]

    def test_the_looker_would_see_what_is_wrong(self, tmp_path, html):
        wrong = '<main><div style="width:2000px">x</div><img src="none.png">'
        found, _ = look(tmp_path, html.replace("<main>", wrong, 1), PHONE)
        assert found["outside"] and found["width"] > PHONE[0]

    def test_it_is_dark_by_night(self, tmp_path, html):
        by_day, _ = look(tmp_path, html)
        by_night, _ = look(tmp_path, html, options=["--force-dark-mode"])
        assert by_day["background"] == "rgb(245, 246, 248)"
        assert by_night["background"] == "rgb(17, 20, 24)"

    def test_it_can_be_printed(self, tmp_path, html):
        path = tmp_path / "page.html"
        path.write_text(html, "utf-8")
        out = tmp_path / "page.pdf"
        run(tmp_path, path, "--print-to-pdf={}".format(out))
        assert out.read_bytes().startswith(b"%PDF") and out.stat().st_size > 20_000
