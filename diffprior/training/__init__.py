"""Training of the network priors."""
