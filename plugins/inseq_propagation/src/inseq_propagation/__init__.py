"""Relevance-propagation attribution methods for inseq."""
