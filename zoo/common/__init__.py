"""What every room needs, said once: files, locks, words, the console, JSON, the environment.

The lowest layer: it knows no network and imports no JAX.
"""
