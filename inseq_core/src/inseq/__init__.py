"""The public face of inseq."""
