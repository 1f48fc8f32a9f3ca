"""Torch modules, and how each is called."""
