"""Images on their way in: preprocessed into a buffer, numbered, and posted to the loop."""

from typing import Any, List, Optional, Sequence, Tuple

from ..core.events import Submit
from ..errors import ConfigError
from ..preprocess import Preprocessor
from ..results import AnyOutcome
from .clock import now_us
from .executor import Executor
from .ledger import Batch, Ledger, Waiter
from .loop import Loop


class Intake:
    """Hands images to `loop`. Thread-safe."""

    def __init__(
        self, preprocessor: Preprocessor, executor: Executor, ledger: Ledger, loop: Loop
    ) -> None:
        self._preprocessor = preprocessor
        self._executor = executor
        self._ledger = ledger
        self._loop = loop

    def frames(self, images: Any) -> Tuple[List[Any], bool]:
        """The frames of one image or a batch, and whether it was one. Raises ConfigError for what
        the model cannot take."""
        return self._preprocessor.frames(images)

    def one_frame(self, image: Any) -> List[Any]:
        """The frame of one image. Raises ConfigError for a batch, and as `frames` does."""
        frames, single = self.frames(image)
        if not single:
            raise ConfigError(
                "found a batch of {}, expected one image; use infer for batches".format(len(frames))
            )
        return frames

    def submit(
        self,
        frames: Sequence[Any],
        tags: Sequence[Any],
        waiter: Waiter,
        deadline_us: Optional[int],
        best_at_deadline: bool = False,
        latest: bool = False,
        will_drive: bool = False,
    ) -> Tuple[int, ...]:
        """Preprocess `frames`, for which room is reserved, and post them as one event."""
        submitted_us = now_us()
        buffer = self._executor.take_input(len(frames), self._preprocessor.shape)
        try:
            for frame, row in zip(frames, buffer.array):
                self._preprocessor.write(frame, row)
        except BaseException:
            self._executor.discard_input(buffer)
            self._ledger.cancel_reservation(len(frames))
            raise
        items = self._ledger.open(len(frames), waiter)
        self._executor.admit(items, buffer)
        event = Submit(items, tuple(tags), submitted_us, deadline_us, best_at_deadline, latest)
        self._loop.post(event, will_drive)
        return items

    def answer(
        self, image: Any, tag: Any, deadline_us: Optional[int], best_at_deadline: bool
    ) -> AnyOutcome:
        """The outcome of one image, which is waited for here. Raises as `one_frame` does."""
        batch = Batch()
        batch.expected_count = 1
        frames = self.one_frame(image)
        self._ledger.reserve(1)
        self.submit(frames, [tag], batch, deadline_us, best_at_deadline, will_drive=True)
        self.drive(batch)
        return batch.outcomes()[0]

    def drive(self, batch: Batch) -> None:
        """Turn the loop here until `batch` is complete."""
        try:
            self._loop.drive(batch.is_complete)
        except KeyboardInterrupt:
            self._loop.start()  # what is in flight is nobody's now; let it end
            raise
