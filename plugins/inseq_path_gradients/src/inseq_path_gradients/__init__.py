"""Path-gradient attribution methods for inseq."""
