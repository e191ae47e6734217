"""``deepscan report``: everything that can be measured on labelled photos, as one HTML file."""
