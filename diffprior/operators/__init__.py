"""Operators: what a camera does to a picture."""
