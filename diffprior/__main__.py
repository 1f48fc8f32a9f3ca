"""``python -m diffprior`` is ``diffprior``."""

from .cli.commands import main

if __name__ == "__main__":
    main()
