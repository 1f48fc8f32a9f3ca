"""Priors: what images look like, before any is seen."""
