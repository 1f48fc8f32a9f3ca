"""Priors: what images look like before any measurement."""
