"""The tokenizer of an exported model: ``tokenizer.json``, read by the library tokenizers alone.

Special tokens and the chat template come from ``tokenizer_config.json`` beside it, the frames around sources
and outputs from the export where it has written them down (tokenizers that know languages frame both
differently).
Axes: L positions.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from inseq_core.errors import InvalidArgumentError, MissingPackageError, ModelLoadError
from inseq_core.text import codec, pieces
from inseq_core.text.chat import spread
from inseq_core.text.pieces import Marks
from inseq_onnx.template import render

TOKENIZER_FILE = "tokenizer.json"
NAMES = ("bos", "eos", "unk", "pad", "mask", "cls", "sep")
_ADVICE = "Pass the folder of the tokenizer that belongs to the model: tokenizer=…"
_TIDIED = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"))
_TIDIED_TOO = ((" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))


@attrs.frozen(eq=False)
class FilePieces(pieces.Pieces):
    """Ids of a ``tokenizer.json`` as pieces, and back.

    Attributes:
        tokenizer: of the library tokenizers.
        named: short names of special tokens ("eos") -> ids.
        marks: how it marks words.
    """

    tokenizer: Any
    named: Mapping[str, int]
    marks: Marks

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Special tokens by name, and those that were added as such."""
        added = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        special = {*added, *self.named.values()}
        if self.named.get("unk") not in {i for name, i in self.named.items() if name not in ("unk", "mask")}:
            special.discard(self.named.get("unk", -1))
        return frozenset(special)

    @functools.cached_property
    def verbatim_ids(self) -> frozenset[int]:
        """Special and added tokens."""
        return self.special_ids | frozenset(self.tokenizer.get_added_tokens_decoder())

    def written(self, ids: Sequence[int], side: str = "target") -> list[str | bytes]:
        """Pieces as the vocabulary has them."""
        return [f"<{i}>" if (piece := self.tokenizer.id_to_token(int(i))) is None else piece for i in ids]

    def lookup(self, piece: str, side: str = "target") -> int | None:
        """The id of a piece as the vocabulary has it."""
        found: int | None = self.tokenizer.token_to_id(piece)
        return found


@attrs.define(kw_only=True, eq=False)
class FileCodec(codec.TextCodec):
    """A ``tokenizer.json``, and how a model wants its texts.

    Attributes:
        tokenizer: of the library tokenizers.
        named: short names of special tokens ("eos") -> ids.
        config: ``tokenizer_config.json``.
        template: of chats; None for none.
        frames: side -> what stands around a text there, where the export says so.
    """

    tokenizer: Any
    named: Mapping[str, int]
    config: Mapping[str, Any] = attrs.field(factory=dict)
    template: Any = None
    frames: Mapping[str, codec.Frame] = attrs.field(factory=dict)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Their texts."""
        return tuple(dict.fromkeys(str(self.tokenizer.id_to_token(i)) for i in self.named.values()))

    def special(self, name: str) -> int | None:
        """By its short name."""
        return self.named.get(name)

    @property
    def cuts_left(self) -> bool:
        """As the tokenizer was set."""
        return self.config.get("truncation_side") == "left"

    def frame(self, side: str) -> codec.Frame:
        """What the export says, or else what stands around a short text."""
        return self.frames[side] if side in self.frames else super().frame(side)

    def tokenized(self, text: str, side: str, *, framed: bool) -> list[int]:
        """Ids of a text."""
        ids = list(self.tokenizer.encode(text, add_special_tokens=framed and side not in self.frames).ids)
        if not framed or side not in self.frames:
            return ids
        return [*self.frames[side].before, *ids, *self.frames[side].after]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids, tidied up if the tokenizer is set to do that."""
        text = self._decoded(ids, skip_special_tokens)
        if self.config.get("clean_up_tokenization_spaces"):
            for space, tidy in (*_TIDIED, *_TIDIED_TOO):
                text = text.replace(space, tidy)
        return text

    def plain(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens, no space of it tidied up."""
        return self._decoded(ids, True)

    def _decoded(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return str(self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens))

    def chat_template(self) -> Any:
        """The tokenizer's own template, or templates by name."""
        return self.template

    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """Messages written with the template."""
        special = {f"{name}_token": self.tokenizer.id_to_token(i) for name, i in self.named.items()}
        return render(options.get("chat_template") or self.template, messages, {**special, **options})

    def token_starts(self, text: str, ids: Sequence[int]) -> list[int]:
        """(L,) where in ``text`` each token of it begins."""
        return spread(self.tokenizer.encode(text, add_special_tokens=False).offsets)


def read_tokenizer(location: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``FileCodec`` is made of.

    Args:
        location: a folder, or a ``tokenizer.json``.
        options: entries that replace those of ``tokenizer_config.json`` ("chat_template", "eos_token" …).

    Raises:
        ModelLoadError: there is none, or it is damaged.
        MissingPackageError: the library tokenizers is not installed.
        InvalidArgumentError: a special token that the vocabulary does not have.
    """
    path = location / TOKENIZER_FILE if location.is_dir() else location
    if not path.is_file():
        raise ModelLoadError(f"There is no {TOKENIZER_FILE} in {str(path.parent)!r}.\n  {_ADVICE}")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingPackageError(
            f"Reading {TOKENIZER_FILE} needs tokenizers, which cannot be imported: {error}.\n"
            "  pip install tokenizers"
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
        state = json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exceptions
        raise ModelLoadError(f"{str(path)!r} is no tokenizer: {error}.\n  {_ADVICE}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config = {**_beside(path, "special_tokens_map.json"), **_beside(path, "tokenizer_config.json"), **options}
    named = _named(tokenizer, config, options)
    model = state.get("model")
    kind = str(model.get("type", "")) if isinstance(model, dict) else ""
    marks = pieces.marks_of(pieces.decoder_kinds(state.get("decoder")), tokenizer.get_vocab(), kind)
    return {
        "tokenizer": tokenizer,
        "named": named,
        "config": config,
        "template": _template(config, path),
        "pieces": FilePieces(tokenizer, named, marks),
    }


def _beside(path: Path, name: str) -> dict[str, Any]:
    """A JSON object beside the tokenizer; empty where there is none."""
    file = path.parent / name
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{str(file)!r} cannot be read: {error}.") from error
    return found if isinstance(found, dict) else {}


def _named(tokenizer: Any, config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, int]:
    """Short names of special tokens -> ids, for those that the vocabulary has."""
    named = {}
    for name in NAMES:
        token = config.get(f"{name}_token")
        text = token.get("content") if isinstance(token, Mapping) else token
        i = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if i is not None:
            named[name] = int(i)
        elif options.get(f"{name}_token") is not None:
            raise InvalidArgumentError(f"{name}_token = {text!r} is no token of this tokenizer.")
    return named


def _template(config: Mapping[str, Any], path: Path) -> Any:
    """The template of chats: in the configuration, or in a file of its own."""
    template = config.get("chat_template")
    if isinstance(template, list):  # several, as [{"name": …, "template": …}]
        return {str(one.get("name")): one.get("template") for one in template if isinstance(one, Mapping)}
    file = path.parent / "chat_template.jinja"
    if template is None and file.is_file():
        return file.read_text(encoding="utf-8")
    return template
