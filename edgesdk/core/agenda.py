"""What a worker has to do later, however much that is, with a single timer outside."""

import heapq
from typing import Any, Dict, Iterator, List, Optional, Tuple

Duty = Tuple[str, Any]  # what, and for whom: ("ack", peer), ("lease", (item, part)), ...


class Agenda:
    """Duties by time; each has at most one. Ties keep the order in which they were entered."""

    def __init__(self) -> None:
        self._heap: List[Tuple[int, int, Duty]] = []
        self._at_us: Dict[Duty, int] = {}  # what else the heap holds is void
        self.entered_count = 0  # grows with every duty: nothing new, nothing earlier

    def __len__(self) -> int:
        return len(self._at_us)

    def put(self, duty: Duty, at_us: int) -> None:
        """Do `duty` at `at_us`, instead of whenever it was to be done before."""
        if self._at_us.get(duty) != at_us:
            self._at_us[duty] = at_us
            self.entered_count += 1
            heapq.heappush(self._heap, (at_us, self.entered_count, duty))

    def put_earlier(self, duty: Duty, at_us: int) -> None:
        """Do `duty` at `at_us` at the latest."""
        if self._at_us.get(duty, at_us + 1) > at_us:
            self.put(duty, at_us)

    def drop(self, duty: Duty) -> None:
        """Do not do it."""
        self._at_us.pop(duty, None)

    def next_us(self) -> Optional[int]:
        """When the next duty is due, or None."""
        heap, at_us = self._heap, self._at_us
        while heap and at_us.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now_us: int) -> Iterator[Duty]:
        """Take out, one by one, what is due at `now_us`. New duties may be entered meanwhile."""
        while True:
            next_us = self.next_us()
            if next_us is None or next_us > now_us:
                return
            duty = heapq.heappop(self._heap)[2]
            del self._at_us[duty]
            yield duty
