"""What inseq-example-step-function registers: its hook implementations."""
