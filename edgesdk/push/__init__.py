"""Bundles to the machines of a cluster: over ssh, verified there, whole or not at all."""
