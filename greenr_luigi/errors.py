"""The one root of what can go wrong and a person can mend."""

from __future__ import annotations


class GreenrError(Exception):
    """Something that a person can mend. The message names the value, what was expected, and the remedy.

    A command shows the message alone. Whatever else is raised is a fault of the program, and ends in a traceback.
    """


class SettingError(GreenrError):
    """A parameter, option or line of luigi.cfg that cannot be meant."""
