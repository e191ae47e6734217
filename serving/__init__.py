"""Starts, watches, repairs and stops Triton and the gateway; ``doctor`` checks the installation."""
