"""What inseq-perturbation registers: its hook implementations."""
