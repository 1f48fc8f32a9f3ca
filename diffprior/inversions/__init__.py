"""Inversions: ways from a picture to a code that the prior turns back into it."""
