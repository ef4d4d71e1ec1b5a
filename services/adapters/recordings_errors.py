"""What goes wrong with a recording."""


class RecordingError(ValueError):
    """The recording cannot be read; the message names the file (and the line, where there is one), what is wrong and what to do."""
