"""Errors that reach a user: each names the problem, the value found and its place, and the cure."""


class LinlyError(Exception):
    """Base of all errors meant for the user; the command line prints its text without a trace."""


class ConfigError(LinlyError):
    """A file or option of the user is invalid: a key, a value, a combination."""


class DataError(LinlyError):
    """A shard or record cannot be read or does not match its corpus file."""


class DamagedShardError(DataError):
    """A shard's own bytes are wrong (truncated, bits flipped); reading them again will not help."""


class ExhaustedError(DataError):
    """A source has no rows left for the curriculum; all ranks raise it at the same row."""


class CheckpointError(LinlyError):
    """A checkpoint is incomplete, missing, or belongs to another run."""


class TrainingError(LinlyError):
    """Training cannot continue: too many skipped steps, a failed rank, a stream ended early."""
