"""What the call of a task shares: the prior on its device, defaults, the solve, the result."""
