"""What a test leaves behind: threads and descriptors of this process."""

import os


def used():
    """Threads, those of libzmq too, and descriptors of any kind."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def nothing_more_than(before):
    """Whether no more than `before` is used now. (A thread that has ended stays a moment.)"""
    return all(now <= then for now, then in zip(used(), before))
