"""Distributed early-exit inference of deep neural networks on edge devices."""

__version__ = "0.1.0"
