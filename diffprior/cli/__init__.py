"""The command line."""

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit with 0, with 1 if a file failed, with 2 for wrong usage."""
    from .process import run

    run(_work)


def _work() -> int:
    from .commands import run  # here, so that Ctrl-C is heard while it is imported

    return run()
