"""Every error that edgesdk raises on purpose.

EdgeError
    ConfigError          your input: an argument, an image, a policy that does not fit
    BundleError          the bundle on disk: missing, changed or malformed
    EngineError          a compiled stage that does not fit this device (found, needed, command)
    BackendUnavailable   a runtime or extra that is not installed (what to install)
    KernelError          EDGESDK_KERNELS asks for kernels that cannot be had, or CUDA refused one
    PeerError            the other side broke the protocol
    TransportError       a link could not be used
    Overloaded           submit(block=False) and the pipeline is full
    Expired              an item's deadline passed, or a newer frame replaced it
    Failed               an item could not be answered

Each message says what was found, what was expected and what to do.
"""

from typing import Any, Optional


class EdgeError(Exception):
    """Base of all errors raised by edgesdk."""


class ConfigError(EdgeError, ValueError):
    """An argument, image, option or policy given by the caller is not usable."""


class BundleError(EdgeError):
    """A bundle is missing, incomplete, changed, or its manifest is malformed."""


class EngineError(EdgeError):
    """A compiled stage does not fit this device; the message names the command that rebuilds it."""


class BackendUnavailable(EdgeError, ImportError):
    """A backend or optional dependency is not installed; the message says what to install."""


class KernelError(EdgeError, ImportError):
    """The kernels that `EDGESDK_KERNELS` demands are not built, or CUDA refused to run one."""


class PeerError(EdgeError):
    """Another worker broke the protocol."""


class TransportError(EdgeError):
    """A link to another worker could not be used."""


class Overloaded(EdgeError):
    """The pipeline holds as many items as it may and `block=False` was given."""


class UnansweredItem(EdgeError):
    """An item that ended without a result: an outcome and an exception at once.

    Attributes: `item` (int), `tag` (what was given to `submit`), `reason` (one word),
    `latency_us` (int, from submission to this outcome).
    """

    ok = False

    def __init__(
        self,
        message: str,
        item: int = -1,
        tag: Any = None,
        reason: str = "",
        latency_us: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.item = item
        self.tag = tag
        self.reason = reason
        self.latency_us = latency_us


class Expired(UnansweredItem):
    """The item's deadline passed before any answer, or a newer frame replaced it."""


class Failed(UnansweredItem):
    """The item could not be answered: a stage failed, it was cancelled, or the pipeline closed."""
