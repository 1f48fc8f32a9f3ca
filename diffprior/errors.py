"""Every exception of the library; all of them are a ``DiffpriorError``."""

__all__ = [
    "CatalogError",
    "DiffpriorError",
    "ExtraError",
    "FigureError",
    "ImageError",
    "MetricError",
    "PriorError",
    "ResidualWarning",
    "RunError",
    "SettingError",
    "TaskError",
    "UnboundError",
    "UnsuitedError",
]


class DiffpriorError(Exception):
    """The root of all errors that the library raises on purpose; the message is one sentence."""


class ImageError(DiffpriorError, ValueError):
    """An image that cannot be used."""


class SettingError(DiffpriorError, ValueError):
    """A setting that cannot be used with any image."""


class UnsuitedError(SettingError, TypeError):
    """Parts that cannot be combined, such as a method and an operator that it does not support."""


class CatalogError(SettingError, LookupError):
    """A name, or a setting of a named thing, that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])  # a LookupError would show its repr


class TaskError(DiffpriorError, ValueError):
    """A task that cannot be done on these images."""


class PriorError(DiffpriorError, ValueError):
    """A prior that cannot be loaded."""


class UnboundError(DiffpriorError, AttributeError, ValueError):
    """An operator that does not know the shape of its states yet."""


class ExtraError(DiffpriorError, ImportError):
    """A part that needs a package which is not installed; the message names the extra."""


class FigureError(DiffpriorError, RuntimeError):
    """A figure that cannot be drawn in this environment."""


class MetricError(DiffpriorError, RuntimeError):
    """A metric that cannot be computed in this environment."""


class RunError(DiffpriorError, RuntimeError):
    """A run of which a part failed; the other parts were done."""


class ResidualWarning(UserWarning):
    """An answer whose residual is much larger, or much smaller, than the noise explains."""
