"""Frozen records: what the rooms above hand to each other, in numpy."""
