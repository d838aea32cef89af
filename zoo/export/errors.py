"""What can go wrong when a weight is written in another form."""


class ExportError(ValueError):
    """A weight cannot be written in the form asked for."""


class FullDiskError(ExportError):
    """There is no space for the form asked for."""

    exit_code = 5
