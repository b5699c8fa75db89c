"""Attention-based attribution methods for inseq."""
