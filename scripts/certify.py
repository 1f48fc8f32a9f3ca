"""Certify methods against exact posteriors: ``diffprior certify``, from a checkout.

    python scripts/certify.py runs/certification --jobs 2

Rows go to ``rows.csv`` as they come, and a run that was stopped goes on.
"""

import sys

from diffprior.cli.commands import main

if __name__ == "__main__":
    sys.argv.insert(1, "certify")
    main()
