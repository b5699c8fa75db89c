"""What inseq-hf registers: its hook implementations."""
