"""Names, folders, files and hub ids to priors."""
