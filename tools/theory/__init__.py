"""Cosines in networks with fresh weights, measured: what docs/theory.json holds."""
