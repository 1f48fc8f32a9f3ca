"""Text of tables without the padding of their columns."""

import re


def unpadded(text: str) -> str:
    """Return the text with single spaces in place of longer ones."""
    return re.sub(" +", " ", text)
