"""Classify images in one process: one at a time, as a batch, with futures, as a stream."""

import edgesdk
from edgesdk import digits

scans = digits.load_digits_split("test")

with edgesdk.Pipeline.open("engines/wrn16_1-digits/1") as pipe:
    # One image: a result, or an exception.
    result = pipe.infer(scans.images[0])
    print(
        "a {} with probability {:.3f}; left at exit {} ({}) after {} us".format(
            result.label,
            result.max_probability,
            result.exit_index,
            result.reason,
            result.latency_us,
        )
    )

    # A batch: one outcome per image, in order, each from its own exit.
    outcomes = pipe.infer(scans.images[:32])
    print("exits of a batch:", [outcome.exit_index for outcome in outcomes])

    # Futures, for programs that have something else to do. The tag comes back.
    futures = [pipe.submit(image, tag=index) for index, image in enumerate(scans.images[:8])]
    answers = {future.result().tag: future.result().label for future in futures}
    print("answers by tag:", answers)

    # A stream, as from a camera. At the deadline the best answer so far counts.
    right = 0
    for outcome in pipe.map(scans.images, deadline_ms=500):
        right += outcome.ok and outcome.class_index == scans.labels[outcome.tag]
    print("right: {} of {}".format(right, len(scans.labels)))

    stats = pipe.stats()
    print("left at each exit:", stats["exit_counts"])

assert right >= 0.97 * len(scans.labels)
assert stats["in_flight_count"] == 0
