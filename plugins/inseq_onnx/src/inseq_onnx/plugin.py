"""What inseq-onnx registers: its hook implementations."""
