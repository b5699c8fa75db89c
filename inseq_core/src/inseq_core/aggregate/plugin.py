"""What the aggregate room of inseq-core registers."""
