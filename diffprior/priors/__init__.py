"""Priors: what pictures look like, before any is seen."""
