"""Inversions: ways from an image to a code that the prior turns back into it."""
