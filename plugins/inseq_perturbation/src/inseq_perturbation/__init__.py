"""Removal-based attribution methods for inseq, for any model that can score text."""
