"""The command line."""

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit with 0, with 1 if a file failed, with 2 for wrong usage."""
    from .commands import main as run

    run()
