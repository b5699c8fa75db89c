"""A worked example: one step function as an inseq plugin."""
