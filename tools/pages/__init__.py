"""Pages that nobody types: made from stored results by `python -m tools.pages [--check]`."""
