"""What the view room of inseq-core registers."""
