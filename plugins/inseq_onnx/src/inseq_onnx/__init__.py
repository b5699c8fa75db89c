"""ONNX models for inseq: export one, attribute it without torch at run time."""
