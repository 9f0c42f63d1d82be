"""A real browser looks at a page. `CHROMIUM` is None where there is none, and `WHY_NOT` says so."""

import json
import os
import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("EDGESDK_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
WHY_NOT = "no chromium on PATH; EDGESDK_CHROMIUM=FILE names one"
PHONE, DESK = (360, 740), (1280, 900)
TIMEOUT_S = 120

# A page of ours lets no script run, so this one, which holds it in a frame, looks into it. Headless
# windows are not narrower than 500; a frame is as narrow as a phone.
_FRAME = """<!DOCTYPE html><body style="margin:0"><iframe id="page" style="border:0"></iframe>
<pre id="found"></pre><script>
const frame = document.getElementById("page");
frame.width = {width}; frame.height = {height};
frame.onload = () => setTimeout(() => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const seen = (each) => {{
    const box = each.getBoundingClientRect();
    return [each.closest("figure").id, box.width, box.height];
  }};
  const outside = [...inner.querySelectorAll("main *")].filter((each) =>
    !each.closest(".scroll > *, svg *") && each.getBoundingClientRect().right > {width} + 1);
  document.getElementById("found").textContent = "FOUND" + JSON.stringify({{
    width: root.scrollWidth,
    outside: outside.map((each) => each.tagName + "." + each.className),
    figures: [...inner.querySelectorAll("figure svg")].map(seen),
    text: inner.body.innerText,
    scripts: inner.scripts.length,
    fetched: performance.getEntriesByType("resource").map((each) => each.name),
    fetchedInside: frame.contentWindow.performance.getEntriesByType("resource").length,
    background: frame.contentWindow.getComputedStyle(inner.body).backgroundColor,
  }}) + "END";
}}, 200);
frame.srcdoc = {page};
</script></body>"""


def look(folder, page, size=DESK, options=()):
    """What a browser finds in the text `page`: (a dict as above, what the console said)."""
    path = folder / "frame.html"
    text = json.dumps(page).replace("</", "<\\/").replace("<!--", "<\\!--")
    path.write_text(_FRAME.format(width=size[0], height=size[1], page=text), "utf-8")
    done = run(folder, path, "--dump-dom", "--virtual-time-budget=5000", *options)
    found = re.search("FOUND(.*)END</pre>", done.stdout.decode("utf-8"), re.DOTALL)
    assert found is not None, done.stderr.decode("utf-8", "replace")[-2000:]
    text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    console = [
        line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line
    ]
    return json.loads(text.replace("&nbsp;", "\u00a0")), console


def run(folder, path, *options):
    """Chromium on the file `path`, with what it prints."""
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        + ["--user-data-dir={}".format(folder / "profile"), "--hide-scrollbars"]
        + list(options)
        + [path.resolve().as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
    )
