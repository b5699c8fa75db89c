"""The ``inseq`` program."""
