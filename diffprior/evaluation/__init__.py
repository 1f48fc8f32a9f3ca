"""Corrupted datasets, benchmarks, certification, and their reports."""
