"""Graphs made by hand: models whose logits anybody can add up.

The logits of a position are a bias plus one vector for every token up to it that attention may see (and, with
an encoder, one for every source token). Switches make graphs as other exporters do, and graphs that are
wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
WORDS = ("the", "a", "dog", "cat", "sees", "hears", "red", "small", ".", "and")
SIZE = len(SPECIAL) + len(WORDS)


@attrs.frozen(kw_only=True, eq=False)
class Sums:
    """The numbers of a model.

    Attributes:
        bias: (V,) logits without any token.
        target, source: (V, V) row v is what a token v adds.
    """

    bias: np.ndarray
    target: np.ndarray
    source: np.ndarray

    @classmethod
    def drawn(cls, seed: int = 0) -> Sums:
        """Normal draws; padding, start and unknown are never likely. Unknown adds nothing; padding would."""
        generator = np.random.default_rng(seed)
        bias, target, source = (
            generator.normal(size=s).astype(np.float32) for s in ((SIZE,), (SIZE, SIZE), (SIZE, SIZE))
        )
        bias[[PAD, BOS, UNK]] = -20.0
        for matrix in (target, source):
            matrix[UNK] = 0.0
            matrix[:, [PAD, BOS, UNK]] = 0.0
        return cls(bias=bias, target=target, source=source)

    def logits(self, ids: Any, source: Any = (), kept: Any = None, seen: Any = None) -> np.ndarray:
        """(L, V) by addition, token by token."""
        total = self.bias.astype(np.float64)
        for k, i in enumerate(source):
            total = total + (1 if seen is None else seen[k]) * self.source[i]
        rows = []
        for k, i in enumerate(ids):
            total = total + (1 if kept is None else kept[k]) * self.target[i]
            rows.append(total)
        return np.stack(rows)


@pytest.fixture(scope="session")
def sums() -> Sums:
    """The numbers of the models below."""
    return Sums.drawn()


def _value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _masked_sum(nodes: list[Any], table: str, ids: str, mask: str | None, name: str, causal: bool) -> None:
    """Rows of a table for ids, masked; summed up to each position, or over all of them."""
    nodes.append(helper.make_node("Gather", [table, ids], [f"{name}_rows"], axis=0))
    rows = f"{name}_rows"
    if mask is not None:
        nodes.append(helper.make_node("Cast", [mask], [f"{name}_mask"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}_mask", "last"], [f"{name}_mask3"]))
        nodes.append(helper.make_node("Mul", [rows, f"{name}_mask3"], [f"{name}_seen"]))
        rows = f"{name}_seen"
    if causal:
        nodes.append(helper.make_node("CumSum", [rows, "one"], [name]))
    else:
        nodes.append(helper.make_node("ReduceSum", [rows, "one"], [f"{name}_all"], keepdims=1))
        nodes.append(helper.make_node("Mul", [rows, "zero"], [f"{name}_none"]))
        nodes.append(helper.make_node("Add", [f"{name}_all", f"{name}_none"], [name]))


def _saved(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, np.ndarray]
) -> None:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "sums", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_graph(
    path: Path,
    sums: Sums,
    *,
    mask: bool = True,
    source_mask: bool = True,
    rows: bool = False,
    causal: bool = True,
    encoder: str = "",
    batch: Any = "batch",
    length: Any = "length",
    kind: int = TensorProto.INT64,
    extra: dict[str, tuple[int, list[Any]]] | None = None,
    noise: float = 0.0,
    mixes: bool = False,
    output: str = "logits",
) -> None:
    """A graph that gives logits.

    Args:
        mask, source_mask: it takes an attention mask, and one of the source.
        rows: it takes the rows that are wanted.
        causal: a position sees what is before it, not everything.
        encoder: "" for decoder-only, "inside" for one graph with a source, "apart" for encoder states as an
            input.
        batch, length: sizes of the inputs' axes.
        kind: type of ids and masks.
        extra: further inputs, name -> type and shape; they are not used.
        noise: what is random in it.
        mixes: texts of a batch add to each other.
    """
    nodes: list[Any] = []
    ids = "decoder_input_ids" if encoder == "inside" else "input_ids"
    own_mask = "decoder_attention_mask" if encoder else "attention_mask"
    inputs = [_value(ids, kind, [batch, length])]
    if mask:
        inputs.append(_value(own_mask, kind, [batch, length]))
    _masked_sum(nodes, "target", ids, own_mask if mask else None, "prefix", causal)
    total = "prefix"
    if encoder == "inside":
        inputs.append(_value("input_ids", kind, [batch, "source"]))
        if source_mask:
            inputs.append(_value("attention_mask", kind, [batch, "source"]))
        _masked_sum(nodes, "source", "input_ids", "attention_mask" if source_mask else None, "states", False)
    if encoder == "apart":
        inputs.append(_value("encoder_hidden_states", TensorProto.FLOAT, [batch, "source", SIZE]))
        inputs.append(_value("encoder_attention_mask", kind, [batch, "source"]))
        nodes.append(helper.make_node("Cast", ["encoder_attention_mask"], ["seen"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", ["seen", "last"], ["seen3"]))
        nodes.append(helper.make_node("Mul", ["encoder_hidden_states", "seen3"], ["states_seen"]))
        nodes.append(helper.make_node("ReduceSum", ["states_seen", "one"], ["read"], keepdims=1))
    elif encoder:
        nodes.append(helper.make_node("ReduceMax", ["states", "one"], ["read"], keepdims=1))
    if encoder:
        nodes.append(helper.make_node("Add", ["prefix", "read"], ["with_source"]))
        total = "with_source"
    for name, (extra_kind, shape) in (extra or {}).items():
        inputs.append(_value(name, extra_kind, shape))
    if mixes:
        nodes.append(helper.make_node("ReduceSum", [total, "nought"], ["others"], keepdims=1))
        nodes.append(helper.make_node("Add", [total, "others"], ["mixed"]))
        total = "mixed"
    if noise:
        nodes.append(helper.make_node("RandomNormalLike", [total], ["noise"], scale=noise))
        nodes.append(helper.make_node("Add", [total, "noise"], ["noisy"]))
        total = "noisy"
    shape: list[Any] = [batch, length, SIZE]
    if rows:
        inputs.append(_value("rows", TensorProto.INT64, ["rows"]))
        nodes.append(helper.make_node("Reshape", [total, "flat"], ["flattened"]))
        nodes.append(helper.make_node("Gather", ["flattened", "rows"], ["wanted"], axis=0))
        total, shape = "wanted", ["rows", SIZE]
    nodes.append(helper.make_node("Add", [total, "bias"], [output]))
    constants = {
        "target": sums.target,
        "source": sums.source,
        "bias": sums.bias,
        "one": np.array([1]),
        "last": np.array([-1]),
        "nought": np.array([0]),
        "zero": np.float32(0),
        "flat": np.array([-1, SIZE]),
    }
    used = {name for node in nodes for name in node.input}
    _saved(
        path,
        nodes,
        inputs,
        [_value(output, TensorProto.FLOAT, shape)],
        {name: value for name, value in constants.items() if name in used},
    )


def write_encoder(path: Path, sums: Sums) -> None:
    """States that are the rows of the source's tokens, as they are."""
    inputs = [_value("input_ids", TensorProto.INT64, ["batch", "source"])]
    inputs.append(_value("attention_mask", TensorProto.INT64, ["batch", "source"]))
    nodes = [
        helper.make_node("Gather", ["source", "input_ids"], ["rows"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["rows", "mask3"], ["last_hidden_state"]),
    ]
    output = _value("last_hidden_state", TensorProto.FLOAT, ["batch", "source", SIZE])
    _saved(path, nodes, inputs, [output], {"source": sums.source, "last": np.array([-1])})


def write_tokenizer(folder: Path, *, with_end: bool = False, **config: Any) -> None:
    """Words between spaces; ``</s>`` behind a text where it is a source."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate((*SPECIAL, *WORDS))}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    template = "$A </s>" if with_end else "<s> $A"
    ids = [("</s>", EOS)] if with_end else [("<s>", BOS)]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **config}))


@attrs.frozen
class Workshop:
    """Makes folders of models.

    Attributes:
        place: where.
        sums: their numbers.
    """

    place: Path
    sums: Sums

    def decoder_only(self, name: str = "lm", **switches: Any) -> Path:
        """A folder with ``model.onnx`` and a tokenizer."""
        folder = self._folder(name)
        write_graph(folder / "model.onnx", self.sums, **switches)
        write_tokenizer(folder)
        self.configure(folder, eos_token_id=EOS, bos_token_id=BOS, pad_token_id=PAD)
        return folder

    def translator(self, name: str = "translator", encoder: str = "apart", **switches: Any) -> Path:
        """A folder with an encoder and a decoder, or with both in one graph."""
        folder = self._folder(name)
        write_graph(
            folder / ("decoder_model.onnx" if encoder == "apart" else "model.onnx"),
            self.sums,
            encoder=encoder,
            **switches,
        )
        if encoder == "apart":
            write_encoder(folder / "encoder_model.onnx", self.sums)
        write_tokenizer(folder, with_end=True)
        self.configure(folder, decoder_start_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD)
        return folder

    def configure(self, folder: Path, **generation: Any) -> None:
        """Write ``generation_config.json``."""
        (folder / "generation_config.json").write_text(json.dumps(generation))

    def _folder(self, name: str) -> Path:
        folder = self.place / name
        folder.mkdir(parents=True)
        return folder


@pytest.fixture
def workshop(tmp_path: Path, sums: Sums) -> Workshop:
    """Makes folders of models."""
    return Workshop(tmp_path, sums)


@pytest.fixture
def loaded(workshop: Workshop) -> Callable[..., Any]:
    """Loads a folder on one thread."""
    from inseq_onnx.loading import load

    def open_model(folder: Path, **options: Any) -> Any:
        kwargs = {"session_options": {"intra_op_num_threads": 1}, **options.pop("model_kwargs", {})}
        return load(folder, model_kwargs=kwargs, **options)

    return open_model
