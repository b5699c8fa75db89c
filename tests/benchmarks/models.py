"""Models and texts that benchmarks run on: random weights, one token a word, no download.

``gpt2``: 124M parameters (12 layers × 768, vocabulary 50257). ``tiny``: 6 layers × 256, vocabulary 8000.
    ``marian``: 6 + 6 layers × 512, vocabulary 60000. ``llama``: 6 layers × 256. Weights are drawn wide enough
that effects are not noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

WORDS = {"gpt2": 50257, "tiny": 8000, "marian": 60000, "llama": 8000}


def make(name: str, folder: Path) -> Path:
    """Save the model and its word tokenizer in ``folder / name``, once; the path."""
    path = folder / name
    if (path / "done").exists():
        return path
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        GPT2Config,
        LlamaConfig,
        MarianConfig,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    size = WORDS[name]
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    vocabulary = {token: i for i, token in enumerate(special.values())}
    vocabulary.update({f"w{i}": i for i in range(len(special), size)})
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 2}
    if name == "gpt2":
        model = AutoModelForCausalLM.from_config(GPT2Config(**ids))
    elif name == "tiny":
        config = GPT2Config(vocab_size=size, n_embd=256, n_layer=6, n_head=8, initializer_range=0.06, **ids)
        model = AutoModelForCausalLM.from_config(config)
    elif name == "llama":
        config = LlamaConfig(
            vocab_size=size, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
            num_attention_heads=8, num_key_value_heads=8, initializer_range=0.06, **ids,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config)
    else:
        words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
        config = MarianConfig(
            vocab_size=size, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
            decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, scale_embedding=True,
            decoder_start_token_id=0, forced_eos_token_id=None, activation_function="swish", **ids,
        )  # fmt: skip
        model = AutoModelForSeq2SeqLM.from_config(config)
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(path)
    (path / "done").touch()
    return path


def text(start: int, length: int, size: int) -> str:
    """``length`` words of the vocabulary, spread evenly."""
    return " ".join(f"w{3 + (start + i * 37) % (size - 3)}" for i in range(length))


def texts(name: str, prompt: int, generated: int, batch: int = 1) -> tuple[list[str], list[str]]:
    """Inputs of ``prompt`` tokens and forced outputs of ``generated`` tokens, in the form of
    ``attribute``.
    """
    size = WORDS[name]
    inputs = [text(101 * b, prompt, size) for b in range(batch)]
    outputs = [text(101 * b + 5000, generated, size) for b in range(batch)]
    if name != "marian":
        outputs = [f"{a} {b}" for a, b in zip(inputs, outputs, strict=True)]
    return inputs, outputs


if __name__ == "__main__":
    for wanted in sys.argv[2:] or WORDS:
        print(make(wanted, Path(sys.argv[1])))
