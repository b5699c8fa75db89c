"""What inseq-captum registers: its hook implementations."""
