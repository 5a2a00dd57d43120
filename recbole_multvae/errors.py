"""The errors a user can cause. Each message is one sentence: the value, what was expected, and what to do."""

from __future__ import annotations

from typing_extensions import Self


class MultVAEError(ValueError):
    """The base of every error below."""


class ConfigurationError(MultVAEError):
    """A configuration key is misspelt or its value is outside its range."""

    @classmethod
    def of_value(cls, key: str, value: object, expected: str) -> Self:
        """The error of a key whose value is not allowed."""
        return cls(f"{key}={value!r} is not allowed: expected {expected}.")


class NotApplicableError(ConfigurationError):
    """A model that cannot score users of whom only clicks are known, under a protocol with such users."""


class CheckpointError(MultVAEError):
    """A checkpoint is damaged, is not one of RecBole's, or holds something that loading would have to execute."""


class DataError(MultVAEError):
    """The data lack something that is needed: a file, a column, a user, an item."""


class TrainingError(MultVAEError):
    """The training cannot go on: the loss is not a number, or there is not enough memory."""


class LeaderboardError(MultVAEError):
    """Models of a leaderboard failed; the others are in the report."""


class TrackingError(MultVAEError):
    """A tracker of experiments was not told everything; what it was to be told of is complete."""


class ProcessError(MultVAEError):
    """One of several processes that train together was killed."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. The message says which checkpoint holds the best state so far."""


class UnsupportedVersionError(ImportError):
    """RecBole or pandas is of a version that this package does not work with, or RecBole is missing."""
