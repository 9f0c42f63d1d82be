"""A source that can be killed: `python source_process.py CLUSTER NAME` submits images for ever."""

import sys

import busy_bundle

import edgesdk

IN_FLIGHT = 48

if __name__ == "__main__":
    with edgesdk.Pipeline.open(cluster=sys.argv[1], name=sys.argv[2]) as pipe:
        images = busy_bundle.images(16)
        futures = [pipe.submit(images[number]) for number in range(IN_FLIGHT)]
        print("submitted", flush=True)
        while True:
            futures.pop(0).result()
            futures.append(pipe.submit(images[0]))
