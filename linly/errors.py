"""The errors that reach a user: each says what was asked, what was found and where, what to do."""


class LinlyError(Exception):
    """Base of all errors meant for the user; the command line prints its text without a trace."""


class ConfigError(LinlyError):
    """A file or option the user wrote is wrong: a key, a value, a combination."""


class DataError(LinlyError):
    """A shard or record cannot be read or does not look as its corpus says."""


class DamagedShardError(DataError):
    """A shard's own bytes are wrong (cut short, bits flipped); reading them again will not help."""


class ExhaustedError(DataError):
    """A source has no row left that the curriculum plans; all ranks meet it at the same row."""


class CheckpointError(LinlyError):
    """A checkpoint is torn, missing, or belongs to another run."""


class TrainingError(LinlyError):
    """Training cannot go on: guards gave up, a rank failed, a stream ended early."""
