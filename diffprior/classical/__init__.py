"""What needs no prior: fills, masks, baselines."""
