"""The two ways in which this system says no. What the operator can mend is one of these, never a traceback."""


class Refused(Exception):
    """Work that must not go on. The message is one line: what, where, what is expected. Command line status 1."""


class BadSettings(Exception):
    """The settings cannot be used. One line a mistake. Command line status 2."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
