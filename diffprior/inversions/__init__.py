"""Inversions: from an image to a code from which the prior makes it again."""
