"""What can be wrong with what is asked: the picture, or a setting whatever the picture."""

__all__ = ["ImageError", "SettingError", "UnsuitedError"]


class ImageError(ValueError):
    """A picture that cannot be used, in one sentence."""


class SettingError(ValueError):
    """A setting that nothing can work with, whatever the picture; in one sentence."""


class UnsuitedError(SettingError, TypeError):
    """Parts that do not go together, whatever the picture; in one sentence."""
