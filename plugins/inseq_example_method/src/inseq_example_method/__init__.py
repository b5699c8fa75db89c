"""A worked example: one attribution method as an inseq plugin."""
