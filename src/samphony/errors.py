"""Every error a user can meet. Each is also the built-in error that people would catch."""


class SamphonyError(Exception):
    """Base of all errors that samphony raises on purpose."""


class PromptError(SamphonyError, ValueError):
    """A point, box, mask or label that cannot be used; the message names the argument."""


class MediaError(SamphonyError, OSError):
    """A photo, video or mask file that cannot be read or written; the message names the file."""


class CheckpointError(SamphonyError, OSError):
    """A weights file that is missing, damaged, foreign or of another model; the message names the file."""


class ConfigError(SamphonyError, ValueError):
    """A model name, configuration or override that does not exist or does not fit."""


class StateError(SamphonyError, RuntimeError):
    """A call made out of order, such as predict before set_image."""
