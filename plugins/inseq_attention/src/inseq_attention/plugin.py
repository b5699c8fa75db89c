"""What inseq-attention registers: its hook implementations."""
