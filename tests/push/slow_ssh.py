"""`python slow_ssh.py BYTES_PER_S COMMAND...`: a command whose standard input is a slow link."""

import os
import subprocess
import sys
import threading
import time

BLOCK_BYTES = 16384


def main(bytes_per_s, command):
    """Pass standard input on at that speed, and end as the command does, as soon as it does."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    threading.Thread(target=lambda: os._exit(process.wait()), daemon=True).start()
    source = sys.stdin.buffer.raw
    try:
        for block in iter(lambda: source.read(BLOCK_BYTES), b""):
            process.stdin.write(block)
            process.stdin.flush()
            time.sleep(len(block) / bytes_per_s)
        process.stdin.close()
    except BrokenPipeError:
        pass
    process.wait()
    time.sleep(60)  # the thread above is about to end it


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
