"""Measurements without training: evidence with a stated method, unit and confidence, and no weight in the verdict."""
