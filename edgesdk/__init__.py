"""Distributed early-exit inference of deep neural networks on edge devices.

    with edgesdk.Pipeline.open("engines/wrn16_1-digits/1") as pipe:
        result = pipe.infer(image)

Importing this package imports numpy and nothing heavier; backends load when a pipeline opens.
"""

import os

# Newer versions of onnxruntime on Linux write a device id and collect usage when they are imported,
# unless this is set. What a robot runs is its owner's business: who wants it sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from .core.events import Scores
from .core.exits import (
    CosineDifference,
    Entropy,
    ExitPolicy,
    FinalExit,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Patience,
    RandomExit,
)
from .errors import (
    BackendUnavailable,
    BundleError,
    ConfigError,
    EdgeError,
    EngineError,
    Expired,
    Failed,
    KernelError,
    Overloaded,
    PeerError,
    TransportError,
)
from .pipeline import Pipeline
from .results import Result

__version__ = "0.1.0"

__all__ = [
    "Pipeline",
    "Result",
    # exit policies
    "ExitPolicy",
    "Scores",
    "FinalExit",
    "FixedExit",
    "RandomExit",
    "MaxProbability",
    "Margin",
    "Entropy",
    "Patience",
    "CosineDifference",
    "NeighbourSimilarity",
    # errors
    "EdgeError",
    "ConfigError",
    "BundleError",
    "EngineError",
    "BackendUnavailable",
    "KernelError",
    "PeerError",
    "TransportError",
    "Overloaded",
    "Expired",
    "Failed",
    "__version__",
]
