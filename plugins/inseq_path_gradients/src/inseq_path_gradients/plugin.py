"""What inseq-path-gradients registers: its hook implementations."""
