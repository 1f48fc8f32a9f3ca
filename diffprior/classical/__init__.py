"""Classical methods that need no prior: fills, mask edges, color propagation, baselines."""
