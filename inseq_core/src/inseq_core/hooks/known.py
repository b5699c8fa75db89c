"""What exists elsewhere: names of things that are not installed, and the distribution that has them.

It answers "what do I install" when a name is unknown. It is a phone book: nothing is decided by it, and a
name of it that is installed is found like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_METHODS: Mapping[str, tuple[str, ...]] = {
    "inseq-captum": (
        "captum",
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "gradient_shap",
        "smoothgrad",
        "squaregrad",
        "layer_integrated_gradients",
        "layer_gradient_x_activation",
    ),
    "inseq-path-gradients": ("sequential_integrated_gradients", "discretized_integrated_gradients"),
    "inseq-propagation": ("deeplift", "layer_deeplift"),
    "inseq-attention": (
        "attention",
        "attention_rollout",
        "attention_flow",
        "grad_x_attention",
        "attention_norms",
        "value_zeroing",
        "alti",
    ),
    "inseq-perturbation": (
        "occlusion",
        "leave_one_out",
        "lime",
        "kernel_shap",
        "shapley",
        "context_cite",
        "reagent",
    ),
}

_OTHERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "adapters": {"inseq-hf": ("hf_transformers",), "inseq-onnx": ("onnx",)},
    "models": {"inseq-demo": ("demo-en-fr", "demo-lm")},
    "commands": {"inseq-onnx": ("export-onnx",)},
}


def _by_name(names: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
    return MappingProxyType({name: package for package, given in names.items() for name in given})


KNOWN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {kind: _by_name(names) for kind, names in {"methods": _METHODS, **_OTHERS}.items()}
)
"""Kind (``"methods"`` …) -> name -> distribution that provides it."""

PACKAGE_OF_MODULE: Mapping[str, str] = MappingProxyType(
    {
        "torch": "inseq-core[torch]",
        "transformers": "inseq-hf",
        "captum": "inseq-captum",
        "sklearn": "scikit-learn",
        "yaml": "pyyaml",
        "PIL": "pillow",
        "IPython": "ipython",
        "onnxruntime": "inseq-onnx",
    }
)
"""Import name -> what to give to ``pip install``, where the two differ."""
