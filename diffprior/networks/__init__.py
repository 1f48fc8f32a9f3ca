"""Networks as torch modules, and their parameterizations."""
