"""How a trained demo model becomes a folder that ``from_pretrained`` loads.

The weights are stored as float16 (half the size), the configuration says float32: whoever loads the folder
computes in float32 unless another dtype is asked for. Tied weights are stored once, sinusoidal positions
not at all.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers import __version__ as tokenizers_version
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

MODELS = Path(__file__).resolve().parent.parent / "src" / "inseq_demo" / "models"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write sorted, indented JSON."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def stored_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights that cannot be made again from others, as float16."""
    seen: set[int] = set()
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen or "embed_positions" in name or name == "final_logits_bias":
            continue
        seen.add(tensor.data_ptr())
        weights[name] = tensor.detach().to(torch.float16).contiguous()
    return weights


def store(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    tokenizer_config: dict[str, Any],
    generation_config: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Write weights, configurations, tokenizer and a record of the training to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored_weights(model), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads(model.config.to_json_string(use_diff=True))
    # Releases of transformers before 4.56 read the second name.
    config |= {"architectures": [type(model).__name__], "dtype": "float32", "torch_dtype": "float32"}
    config.pop("transformers_version", None)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", generation_config)
    tokenizer.save(str(folder / "tokenizer.json"))
    # The generic class, as Marian's own wants SentencePiece files; by default it would give token types too.
    common = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", common | tokenizer_config)
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers_version,
    }
    write_json(folder / "training.json", training | {"versions": versions})


def write_card(folder: Path, template: Path, measured: dict[str, Any]) -> None:
    """Fill the model card with what was measured and with the record of the training, and log the former."""
    for name, value in measured.items():
        logger.info("%-30s %s", name, value)
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    card = template.read_text(encoding="utf-8").format(**measured, **training)
    (folder / "README.md").write_text(card, encoding="utf-8")
