"""Hugging Face transformers models for inseq."""
