"""What inseq-propagation registers: its hook implementations."""
