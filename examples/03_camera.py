"""A camera loop that never falls behind: a frame that waits when a newer one comes is given up.

python examples/03_camera.py            a folder of scans, 30 a second, on a board that is slow
python examples/03_camera.py 0          camera 0, or the name of a video file (needs OpenCV)
python examples/03_camera.py FOLDER     a folder of .png and .jpg images, 30 a second
"""

import contextlib
import os
import sys
import tempfile
import time

import numpy as np

import edgesdk
from edgesdk import digits
from edgesdk.bundle import read_bundle
from edgesdk.cluster import local_cluster_text
from edgesdk.profiles import Profile, StageTime, write_profile

BUNDLE = "engines/wrn16_1-digits/1"
DEADLINE_MS = 150.0  # then the best answer so far counts: later it would be of no use
AHEAD_MAX = 30  # frames: several deadlines, but no queue that grows
SHOW_EVERY = 10  # answers


def opencv_frames(name):
    """uint8 [H, W, 3], blue first, from a camera (a number) or a video file at its own speed."""
    try:
        import cv2
    except ImportError:
        sys.exit("cameras and videos need OpenCV: pip install opencv-python-headless")
    capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
    if not capture.isOpened():
        sys.exit("{}: found no folder, and no camera or video that OpenCV opens".format(name))
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old frames are worth nothing; not all drivers care
    # A camera lets us wait for its next frame; the end of a file is (False, None).
    frames = (frame for _, frame in iter(capture.read, (False, None)))
    return frames if name.isdigit() else paced(frames, capture.get(cv2.CAP_PROP_FPS))


def folder_frames(folder):
    """The same from the images of a folder."""
    from PIL import Image  # cameras and videos need no Pillow

    for name in sorted(os.listdir(folder)):
        if name.lower().endswith((".png", ".jpg")):
            image = Image.open(os.path.join(folder, name)).convert("RGB")
            yield np.asarray(image)[:, :, ::-1]


def paced(frames, hz):
    """`frames`, `hz` of them a second."""
    begin_s = time.monotonic()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, begin_s + number / hz - time.monotonic()))
        yield frame


def scans_as_frames(folder):
    """Write scans into the new `folder`, as large as a small camera's frames."""
    from PIL import Image

    os.mkdir(folder)
    for number, scan in enumerate(digits.load_digits_split("test").images[:90]):
        frame = Image.fromarray(scan).resize((240, 240), Image.BILINEAR).convert("RGB")
        frame.save(os.path.join(folder, "{:04}.png".format(number)))


def slow_board(folder):
    """What opens the bundle as on a slow board, 25 ms a stage: a cluster of one, paced."""
    model_id = read_bundle(BUNDLE).manifest.model_id
    stages = [StageTime(0, "full", index, 1, 25000.0, 25000.0) for index in range(7)]
    pace, cluster = os.path.join(folder, "slow.json"), os.path.join(folder, "one.toml")
    write_profile(pace, Profile(model_id, "slow board", "any", {}, stages))
    with open(cluster, "w") as file:
        file.write(local_cluster_text(BUNDLE, {"robot": []}, ["[security]", "insecure = true"]))
    return {"cluster": cluster, "name": "robot", "pace": pace}


def on_done(future):  # in the pipeline's thread: be brief
    outcome = future.exception() or future.result()
    if not outcome.ok:
        return  # a newer frame came, or the deadline before any exit
    ahead.append(newest - outcome.tag)
    if len(ahead) % SHOW_EVERY == 1:
        text = "frame {0.tag}: {0.label} by exit {0.exit_index} ({0.reason}) after {1:.0f} ms"
        print(text.format(outcome, outcome.latency_us / 1000), flush=True)


ahead = []  # by how many frames the camera was ahead when an answer came
newest = -1
is_demo, name = len(sys.argv) == 1, sys.argv[-1]
with tempfile.TemporaryDirectory() as scratch:
    if is_demo:
        name = os.path.join(scratch, "scans")
        scans_as_frames(name)
    frames = opencv_frames(name) if not os.path.isdir(name) else paced(folder_frames(name), 30.0)
    options = slow_board(scratch) if is_demo else {"bundle": BUNDLE}

    # Frames of any size, blue first, as cameras give them. Closing waits for what is open.
    with edgesdk.Pipeline.open(color="bgr", resize="area", **options) as pipe:
        begin_s = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: enough
            for newest, frame in enumerate(frames):
                future = pipe.submit(frame, newest, DEADLINE_MS, on_deadline="best", latest=True)
                future.add_done_callback(on_done)
        seconds = time.monotonic() - begin_s
    ended, latency, count = pipe.stats()["ended"], pipe.stats()["latency"], newest + 1

if not ahead:
    sys.exit(
        "{} frames and no answer: is that a camera, a video, a folder of images?".format(count)
    )
rates = count, count / seconds, len(ahead), len(ahead) / seconds
print("{} frames, {:.1f} a second; {} answers, {:.1f} a second".format(*rates))
print("how they ended:", ", ".join("{} {}".format(*each) for each in sorted(ended.items())))
print("latency: p50 {p50_us:.0f} us, p95 {p95_us:.0f} us".format(**latency))
print("the camera was at most {} frames ahead of an answer".format(max(ahead)))
assert not is_demo or ended.get("expired.superseded", 0) > 0
assert sum(ended.values()) == count and max(ahead) < AHEAD_MAX
