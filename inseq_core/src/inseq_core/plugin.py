"""What inseq-core registers: its hook implementations."""
