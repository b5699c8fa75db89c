"""Captum's gradient attribution methods for inseq, all steps at once."""
