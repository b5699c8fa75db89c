"""What inseq-example-method registers: its hook implementations."""
