"""Training on a workstation: networks with early exits, their losses, export and calibration.

This package needs Python >= 3.9 and `pip install "edgesdk[train]"`. Nothing on the device side
imports it. What leaves it is a bundle: ONNX segments, exit heads and a manifest.
"""
