"""Tiny random transformers models with tokenizers trained on the spot: one of each architecture, no download.

``tiny_model("llama")`` gives ``(model, tokenizer)``, made once a process and shared: tests must leave both as
they found them. Weights are drawn wide (``initializer_range`` 0.25), so that outputs differ visibly and no
check passes on noise. Tokenizers are of the four kinds that occur: byte-level BPE, SentencePiece unigram with
and without a start token, WordPiece, and the translation tokenizers with language codes.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

DECODER_ONLY = (
    "gpt2",
    "gpt_neo",
    "gpt_neox",
    "gptj",
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi",
    "phi3",
    "olmo",
    "stablelm",
    "opt",
    "bloom",
    "falcon",
    "mpt",
    "gpt_oss",
    "granite",
)
STATE_SPACE = ("mamba",)
ENCODER_DECODER = ("t5", "mt5", "bart", "mbart", "m2m100", "nllb", "marian", "pegasus")
ARCHITECTURES = (*DECODER_ONLY, *STATE_SPACE, *ENCODER_DECODER)
VARIANTS = ("bloom_normed_residual", "gemma3n")
"""Models whose residual is not the input of the block: its norm, or one of several streams."""
MIXTURES_OF_EXPERTS = ("mixtral", "gpt_oss")
"""Their routing is discontinuous: small differences of the input can make large ones of the output."""

SENTENCES = (
    "Hello ladies and gentlemen, welcome to the show.",
    "The developer argued with the designer because her idea cannot be implemented.",
    "The nurse met the engineer, who was late; they talked about the weather.",
    "A dog and a cat were sleeping in the small red house.",
    "To be innovative, one should not be afraid of making mistakes!",
    "What is the capital of France? The capital of France is Paris.",
    "I can't believe it's 42 already: the children of the house are reading books.",
    "Le développeur s'est disputé avec la conceptrice parce que son idée est impossible.",
    "L'infirmière a rencontré l'ingénieur, qui était en retard.",
    "Un chien et un chat dormaient dans la petite maison rouge.",
    "你好世界。我喜欢学习新的语言。",
    "こんにちは世界。日本語のテキストです。",
    "مرحبا بالعالم، هذا نص قصير.",
    "Emoji are fun 🙂🚀 and so are accents: café, naïve, coöperate.",
    "She said that he was not there, but they had seen him.",
    "system user assistant tool answer question: yes or no",
)
VOCABULARY = 320
CHAT_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A ChatML-like template; tokenizers of decoder-only models carry it."""
CHAT_MARKS = ("<|im_start|>", "<|im_end|>")
LANGUAGES = {"mbart": ("en_XX", "fr_XX"), "nllb": ("eng_Latn", "fra_Latn"), "m2m100": ("en", "fr")}
"""Codes of source and target language of the tokenizers that have them."""


@functools.cache
def _work_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="tiny-models-"))


@functools.cache
def _sentencepiece_file(byte_fallback: bool = False) -> Path:
    """A unigram model trained by the sentencepiece library itself: one thread, so the same every time.

    Byte fallback has only ASCII pieces beside its bytes, so that every other letter becomes bytes.
    """
    import sentencepiece

    prefix = _work_folder() / f"spm-{int(byte_fallback)}"
    sentences = [s for s in SENTENCES if s.isascii()] if byte_fallback else SENTENCES
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(prefix),
        vocab_size=VOCABULARY + 256 * byte_fallback,
        model_type="unigram",
        character_coverage=1.0,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
    )
    return prefix.with_suffix(".model")


def _pieces(byte_fallback: bool = False) -> list[tuple[str, float]]:
    """(piece, score) of the unigram model, without its unknown token."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(_sentencepiece_file(byte_fallback)))
    return [
        (model.id_to_piece(i), model.get_score(i))
        for i in range(model.get_piece_size())
        if i != model.unk_id()
    ]


def _byte_level(**special: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    template = special.pop("template", None)
    extra = special.pop("extra", ())
    names = list(dict.fromkeys([v for v in special.values() if isinstance(v, str)] + list(extra)))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY + 120,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    if template is not None:
        ids = [(name, backend.token_to_id(name)) for name in names if name in template]
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=list(extra) or None,
        clean_up_tokenization_spaces=False,
        **special,
    )


def _unigram(
    *, template: str | None, byte_fallback: bool = False, extra: tuple[str, ...] = (), **special: str
) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = list(dict.fromkeys([*special.values(), *extra]))
    vocabulary = [(name, 0.0) for name in names] + _pieces(byte_fallback)
    unk_id = names.index(special["unk_token"])
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=unk_id, byte_fallback=byte_fallback))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if template is not None:
        ids = [(name, names.index(name)) for name in names if name in template]
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=list(extra) or None,
        clean_up_tokenization_spaces=False,
        **special,
    )


def _wordpiece(template: str | None) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(special.values()), show_progress=False
    )
    backend.train_from_iterator(SENTENCES, trainer)
    if template is not None:
        ids = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def _marian() -> Any:
    from transformers import MarianTokenizer

    spm = str(_sentencepiece_file())
    pieces = ["</s>", "<unk>", *(piece for piece, _ in _pieces()), "<pad>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    path = _work_folder() / "marian-vocab.json"
    _write_json(path, vocabulary)
    return MarianTokenizer(
        source_spm=spm, target_spm=spm, vocab=str(path), source_lang="en", target_lang="fr"
    )


def _m2m100() -> Any:
    from transformers import M2M100Tokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece, _ in _pieces())]
    path = _work_folder() / "m2m-vocab.json"
    _write_json(path, {piece: i for i, piece in enumerate(pieces)})
    source, target = LANGUAGES["m2m100"]
    return M2M100Tokenizer(str(path), str(_sentencepiece_file()), src_lang=source, tgt_lang=target)


def _mbart() -> Any:
    from transformers import MBartTokenizer

    source, target = LANGUAGES["mbart"]
    vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")] + _pieces()
    return MBartTokenizer(vocab=vocabulary, src_lang=source, tgt_lang=target)


def _nllb() -> Any:
    from transformers import NllbTokenizer

    letters = sorted({c for sentence in SENTENCES for c in sentence if c != " "})
    merges = [
        ("t", "h"),
        ("th", "e"),
        ("▁", "the"),
        ("▁", "d"),
        ("i", "n"),
        ("e", "r"),
        ("e", "n"),
        ("▁", "a"),
    ]
    names = ["<s>", "<pad>", "</s>", "<unk>", "▁", *letters, *(a + b for a, b in merges)]
    source, target = LANGUAGES["nllb"]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return NllbTokenizer(vocab=vocabulary, merges=merges, src_lang=source, tgt_lang=target)


def _write_json(path: Path, content: Any) -> None:
    import json

    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    # as GPT-2: one special token for start and end, no padding token
    "byte_bpe": lambda: _byte_level(
        bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", extra=CHAT_MARKS
    ),
    # as Qwen: no start token at all
    "byte_bpe_no_bos": lambda: _byte_level(
        eos_token="<|im_end|>", pad_token="<|endoftext|>", extra=CHAT_MARKS
    ),
    # as Llama 3: byte-level, and a start token before every text
    "byte_bpe_bos": lambda: _byte_level(
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        template="<s> $A",
        extra=CHAT_MARKS,
    ),
    # as BART: start and end around every text
    "byte_bpe_bos_eos": lambda: _byte_level(
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        template="<s> $A </s>",
    ),
    # as Llama 2 and Gemma: start token, byte fallback
    "unigram_bos": lambda: _unigram(
        template="<s> $A",
        byte_fallback=True,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra=CHAT_MARKS,
    ),
    # no special tokens around a text
    "unigram": lambda: _unigram(
        template=None, unk_token="<unk>", eos_token="</s>", pad_token="<pad>", extra=CHAT_MARKS
    ),
    # as T5 and Pegasus: end token after every text
    "unigram_eos": lambda: _unigram(
        template="$A </s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ),
    "wordpiece": lambda: _wordpiece(None),
    # as BERT: adds an end to prompts, which a generator must not see
    "wordpiece_cls": lambda: _wordpiece("[CLS] $A [SEP]"),
    "marian": _marian,
    "m2m100": _m2m100,
    "mbart": _mbart,
    "nllb": _nllb,
}


@functools.cache
def tiny_tokenizer(kind: str) -> Any:
    """A tokenizer of ``TOKENIZERS``, made once a process."""
    tokenizer = TOKENIZERS[kind]()
    if "<|im_start|>" in tokenizer.get_vocab():
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


_TOKENIZER_OF = {
    "gpt2": "byte_bpe",
    "gpt_neo": "byte_bpe",
    "gptj": "byte_bpe",
    "gpt_neox": "byte_bpe",
    "llama": "unigram_bos",
    "mistral": "unigram_bos",
    "mixtral": "unigram_bos",
    "gemma": "unigram_bos",
    "gemma2": "unigram_bos",
    "gemma3": "unigram_bos",
    "phi": "byte_bpe",
    "phi3": "unigram_bos",
    "opt": "byte_bpe_bos",
    "olmo": "byte_bpe_no_bos",
    "qwen2": "byte_bpe_no_bos",
    "qwen3": "byte_bpe_no_bos",
    "stablelm": "byte_bpe_no_bos",
    "bloom": "byte_bpe_bos",
    "bloom_normed_residual": "byte_bpe_bos",
    "gemma3n": "unigram_bos",
    "falcon": "byte_bpe",
    "mpt": "byte_bpe",
    "gpt_oss": "byte_bpe_bos",
    "granite": "byte_bpe",
    "mamba": "byte_bpe",
    "t5": "unigram_eos",
    "mt5": "unigram_eos",
    "bart": "byte_bpe_bos_eos",
    "mbart": "mbart",
    "m2m100": "m2m100",
    "nllb": "nllb",
    "marian": "marian",
    "pegasus": "unigram_eos",
}


HIDDEN, LAYERS, HEADS, POSITIONS, SPREAD = 32, 2, 4, 128, 0.25


def _config(name: str, tokenizer: Any, untied: bool) -> Any:
    import transformers as hf

    languages = getattr(tokenizer, "lang_token_to_id", {}).values()  # M2M100 counts them in no other place
    vocabulary = max(len(tokenizer), *(i + 1 for i in (*tokenizer.get_vocab().values(), *languages)))
    ids = {
        "vocab_size": vocabulary,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    spread = {"initializer_range": SPREAD}
    tie = {"tie_word_embeddings": False} if untied else {}
    common = {**ids, **spread, **tie}
    llama = {
        **common,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
    }
    gemma = {**llama, "head_dim": 8}
    encoder_decoder = {
        **common,
        "d_model": HIDDEN,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": 2 * HIDDEN,
        "decoder_ffn_dim": 2 * HIDDEN,
        "max_position_embeddings": POSITIONS,
        "init_std": SPREAD,
    }
    t5 = {
        **ids,
        **tie,
        "d_model": HIDDEN,
        "d_kv": 8,
        "d_ff": 2 * HIDDEN,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "initializer_factor": 1.0,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    makers: dict[str, Callable[[], Any]] = {
        "gpt2": lambda: hf.GPT2Config(
            **common, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS
        ),
        "gpt_neo": lambda: hf.GPTNeoConfig(
            **common,
            hidden_size=HIDDEN,
            num_layers=LAYERS,
            num_heads=HEADS,
            attention_types=[[["global", "local"], 1]],
            window_size=4,
            max_position_embeddings=POSITIONS,
        ),
        "gpt_neox": lambda: hf.GPTNeoXConfig(
            **{k: v for k, v in llama.items() if k != "num_key_value_heads"}, rotary_pct=0.5
        ),
        "gptj": lambda: hf.GPTJConfig(
            **common, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS, rotary_dim=4
        ),
        "llama": lambda: hf.LlamaConfig(**llama),
        "mistral": lambda: hf.MistralConfig(**llama, sliding_window=None),
        "mixtral": lambda: hf.MixtralConfig(**llama, num_local_experts=4, num_experts_per_tok=2),
        "qwen2": lambda: hf.Qwen2Config(**llama),
        "qwen3": lambda: hf.Qwen3Config(**llama, head_dim=8),
        "gemma": lambda: hf.GemmaConfig(**gemma),
        "gemma2": lambda: hf.Gemma2Config(**gemma, sliding_window=8),
        "gemma3": lambda: hf.Gemma3TextConfig(**gemma, sliding_window=8),
        "phi": lambda: hf.PhiConfig(**llama),
        "phi3": lambda: hf.Phi3Config(**llama),
        "olmo": lambda: hf.OlmoConfig(**llama),
        "stablelm": lambda: hf.StableLmConfig(**llama),
        "opt": lambda: hf.OPTConfig(
            **ids,
            **tie,
            init_std=SPREAD,
            hidden_size=HIDDEN,
            word_embed_proj_dim=HIDDEN,
            ffn_dim=2 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
        ),
        "bloom": lambda: hf.BloomConfig(**common, hidden_size=HIDDEN, n_layer=LAYERS, n_head=HEADS),
        "bloom_normed_residual": lambda: hf.BloomConfig(
            **common,
            hidden_size=HIDDEN,
            n_layer=LAYERS,
            n_head=HEADS,
            apply_residual_connection_post_layernorm=True,
        ),
        "gemma3n": lambda: hf.Gemma3nTextConfig(
            **{**gemma, "num_hidden_layers": 4},
            vocab_size_per_layer_input=vocabulary,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=2,
            laurel_rank=8,
            sliding_window=8,
            activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
            layer_types=["sliding_attention", "full_attention"] * 2,
        ),
        "falcon": lambda: hf.FalconConfig(
            **common,
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
        ),
        "mpt": lambda: hf.MptConfig(
            **common, d_model=HIDDEN, n_heads=HEADS, n_layers=LAYERS, max_seq_len=POSITIONS
        ),
        "gpt_oss": lambda: hf.GptOssConfig(
            **llama,
            head_dim=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=8,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        "granite": lambda: hf.GraniteConfig(
            **llama, embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.5
        ),
        "mamba": lambda: hf.MambaConfig(**common, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=4),
        "t5": lambda: hf.T5Config(**t5),
        "mt5": lambda: hf.MT5Config(**{"tie_word_embeddings": False, **t5}),
        "bart": lambda: hf.BartConfig(
            **encoder_decoder,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=tokenizer.eos_token_id,
        ),
        "mbart": lambda: hf.MBartConfig(**encoder_decoder, decoder_start_token_id=_language(name, tokenizer)),
        "m2m100": lambda: hf.M2M100Config(
            **encoder_decoder,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_bos_token_id=_language(name, tokenizer),
        ),
        "nllb": lambda: hf.M2M100Config(
            **encoder_decoder,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_bos_token_id=_language(name, tokenizer),
        ),
        "marian": lambda: hf.MarianConfig(
            **encoder_decoder,
            scale_embedding=True,
            decoder_start_token_id=tokenizer.pad_token_id,
            forced_eos_token_id=tokenizer.eos_token_id,
        ),
        "pegasus": lambda: hf.PegasusConfig(
            **encoder_decoder, scale_embedding=True, decoder_start_token_id=tokenizer.pad_token_id
        ),
    }
    return makers[name]()


def _language(name: str, tokenizer: Any) -> int:
    code = LANGUAGES[name][1]
    return int(tokenizer.get_lang_id(code) if name == "m2m100" else tokenizer.convert_tokens_to_ids(code))


@functools.cache
def tiny_model(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    untied: bool = False,
    attention: str | None = None,
    tokenizer: str | None = None,
) -> tuple[Any, Any]:
    """A tiny random model in eval mode and its tokenizer, the same for the same arguments.

    Args:
        name: one of ``ARCHITECTURES`` or ``VARIANTS``.
        dtype: of all weights; drawn in float32, so float64 has the same weights.
        seed: of the weights.
        untied: embeddings and head of their own, where the architecture ties them by default.
        attention: "eager" or "sdpa"; the architecture's default otherwise.
        tokenizer: a kind of ``TOKENIZERS`` in place of the architecture's usual one.
    """
    import transformers as hf

    chosen = tiny_tokenizer(tokenizer or _TOKENIZER_OF[name])
    config = _config(name, chosen, untied)
    if name in MIXTURES_OF_EXPERTS:
        config._experts_implementation = "eager"  # the grouped kernel has no float64
    family = hf.AutoModelForSeq2SeqLM if name in ENCODER_DECODER else hf.AutoModelForCausalLM
    options = {"attn_implementation": attention} if attention else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.from_config(config, dtype=torch.float32, **options)
        _widen(model)
    return model.to(dtype).eval(), chosen


def _widen(model: Any) -> None:
    """Biases, norms and learned scales off their trivial starting values, so that losing one is noticed."""
    for parameter_name, parameter in model.named_parameters():
        if parameter.dim() == 1 and not parameter_name.endswith(("A_log", "dt_proj.bias", ".D")):
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("final_logits_bias"):
            buffer.data.normal_()


def save_tiny(name: str, folder: str | Path, **options: Any) -> Path:
    """Write a tiny model and its tokenizer as ``from_pretrained`` reads them, and return the folder."""
    folder = Path(folder)
    model, tokenizer = tiny_model(name, **options)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
