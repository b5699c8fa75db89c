"""Removing features: versions of a text without some of its parts, and every step's score for each of them.

A version is a text in ids again, so that any adapter can score it; ways that need more than ids (attention
that must not look, other embeddings) are marked on the text and declared by the adapter
(``ModelAdapter.removals``).
Axes: P versions, U different texts, F features, R rows, S source positions, L target positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.contracts.replacements import ORIGINS, replacement_pool
from inseq_core.contracts.versions import VersionTable, aligned_table, content_of, score_table
from inseq_core.data.batch import BoolArray, EncodedText, IntArray
from inseq_core.errors import InvalidArgumentError, invalid

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext

WAYS = ("token", "mask", "delete", "zero", "mean", "sample")


def _known_way(instance: Any, attribute: Any, value: Any) -> None:
    if value not in WAYS:
        raise invalid("removal", value, f"one of {', '.join(WAYS)}, or a baseline token as 'token:…'")


def _token(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise invalid("removal: token", value, "'unk', 'pad', 'mask', 'eos', a token's text, or its id")


def _flag(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise invalid(f"removal: {attribute.name}", value, "True or False")


def _count(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(f"removal: {attribute.name}", value, "a whole number of at least 1")


def _origin(instance: Any, attribute: Any, value: Any) -> None:
    if value not in ORIGINS:
        raise invalid("removal: draws_from", value, f"one of {', '.join(ORIGINS)}")


@attrs.frozen(kw_only=True)
class RemovalWay:
    """How a feature is removed.

    Attributes:
        way: "token" (a baseline token in its place); "mask" (attention does not look at it, and what stands
            there is the baseline token, so that the step that is read at that very position does not see it
            either); "delete" (positions close up); "zero", "mean" (a zero embedding, the mean of the
            vocabulary's); "sample" (other tokens in its place, the score averaged over draws).
        token: the baseline token: "unk", "pad", "mask", "eos", a token's text or its id.
        spread: a feature's score is divided among its tokens instead of repeated on each.
        n_draws: for "sample": draws that a score is averaged over, >= 1.
        draws_from: for "sample": "vocabulary" (every token is as likely) or "model" (what the model itself
            expects at that target position; the vocabulary for source positions).
    """

    way: str = attrs.field(default="token", validator=_known_way)
    token: str | int = attrs.field(default="unk", validator=_token)
    spread: bool = attrs.field(default=False, validator=_flag)
    n_draws: int = attrs.field(default=8, validator=_count)
    draws_from: str = attrs.field(default="vocabulary", validator=_origin)

    @classmethod
    def of(cls, text: str) -> RemovalWay:
        """``"delete"``, ``"token:the"``, ``"sample:model"``; anything that is no way is a baseline token.

        Raises:
            InvalidArgumentError: a way that takes nothing after its colon, or does not take that.
        """
        way, colon, rest = text.partition(":")
        if way not in WAYS or (not rest and colon):
            return cls(token=text)
        if not colon:
            return cls(way=way)
        if way == "token":
            return cls(token=rest)
        if way == "sample":
            return cls(way=way, draws_from=rest)
        raise invalid("removal", text, f"{way!r}: only 'token:…' and 'sample:…' say more after the colon")

    def __str__(self) -> str:
        if self.way == "token":
            return f"token:{self.token}"
        return f"sample:{self.draws_from}, {self.n_draws} draws" if self.way == "sample" else self.way

    @property
    def needs_token(self) -> bool:
        """Whether a baseline token stands in for what is removed."""
        return self.way in ("token", "mask", "zero", "mean")


def removal_scores(ctx: AttributionContext, kept: BoolArray) -> np.ndarray:
    """(P, F) features kept -> (P, R) scores. See ``AttributionContext.removal_scores``."""
    if kept.ndim != 2 or kept.shape[1] != len(ctx.features):
        raise invalid("kept", kept.shape, f"a boolean array (versions, {len(ctx.features)} features)")
    if not len(kept):
        return np.zeros((0, ctx.n_rows))
    versions, index = np.unique(kept, axis=0, return_inverse=True)
    table = _deleted(ctx, versions) if ctx.request.removal.way == "delete" else _replaced(ctx, versions)
    scores = score_table(ctx, table)
    draws = len(scores) // len(versions)
    return scores.reshape(len(versions), draws, -1).mean(axis=1)[index.reshape(-1)]


# -- tokens stay where they are
# -----------------------------------------------------------------------------------------


def _sides(ctx: AttributionContext) -> tuple[str, ...]:
    return ("source", "target") if ctx.batch.has_source else ("target",)


def _kept(ctx: AttributionContext, versions: BoolArray) -> dict[str, BoolArray]:
    """Side -> (P, S or L) positions kept, of the text as the context has it."""
    length = len(ctx.batch.texts[0].target_ids)
    kept = {side: ctx.features.kept_positions(versions, side) for side in _sides(ctx)}
    return {**kept, "target": kept["target"][:, :length]}


def _replaced(ctx: AttributionContext, versions: BoolArray) -> VersionTable:
    """Something else stands where features were; draw after draw of one version, then the next version."""
    text, way = ctx.batch.texts[0], ctx.request.removal
    kept = _kept(ctx, versions)
    texts = []
    if way.way == "sample":
        pools = {side: replacement_pool(ctx, side, way.n_draws, way.draws_from) for side in kept}
        for version in range(len(versions)):
            for draw in range(way.n_draws):
                other = {side: pool[:, draw] for side, pool in pools.items()}
                texts.append(_with_ids(text, {side: k[version] for side, k in kept.items()}, other))
        return aligned_table(ctx, texts)
    absent = {
        side: np.full(k.shape[1], ctx.adapter.baseline_ids(way.token, side), dtype=np.int64)
        for side, k in kept.items()
    }
    for version in range(len(versions)):
        here = {side: k[version] for side, k in kept.items()}
        texts.append(_marked(_with_ids(text, here, absent), here, way.way))
    table = aligned_table(ctx, texts)
    return _with_emptied(ctx, table, _nothing_seen(ctx, kept["target"])) if way.way == "mask" else table


def _with_ids(text: EncodedText, kept: dict[str, BoolArray], other: dict[str, IntArray]) -> EncodedText:
    target = np.where(kept["target"], text.target_ids, other["target"])
    if text.source_ids is None:
        return attrs.evolve(text, target_ids=target)
    source = np.where(kept["source"], text.source_ids, other["source"])
    return attrs.evolve(text, target_ids=target, source_ids=source)


def _marked(text: EncodedText, kept: dict[str, BoolArray], way: str) -> EncodedText:
    """The positions that are not kept, masked or blank."""
    marks: dict[str, Any] = {}
    for side, k in kept.items():
        if way == "mask" and not k.all():
            # attention needs something to look at: an empty source is one baseline token
            marks[f"{side}_kept"] = k if side == "target" or k.any() else np.arange(len(k)) == 0
        elif way in ("zero", "mean") and not k.all():
            marks[f"{side}_blank"] = ~k
    return (
        attrs.evolve(text, **marks, blank_with=way)
        if way in ("zero", "mean")
        else attrs.evolve(text, **marks)
    )


# -- an emptied prefix, and positions that close up
# ---------------------------------------------------------------------


def _nothing_seen(ctx: AttributionContext, kept: BoolArray) -> BoolArray:
    """(P, L) target positions kept -> (P, R): no token is left before the row."""
    before = np.concatenate([np.zeros((len(kept), 1), dtype=np.int64), np.cumsum(kept, axis=1)], axis=1)
    return before[:, ctx.grid.position] == 0


def _with_emptied(ctx: AttributionContext, table: VersionTable, is_empty: BoolArray) -> VersionTable:
    """Rows that see nothing any more are answered by what the model begins with when nothing is given.

    It stands for every one of them, whatever the version: a row's answer depends on its own prefix alone.
    """
    if not is_empty.any():
        return table
    text = ctx.batch.texts[0]
    sources: dict[tuple[bytes, ...], int] = {}
    texts, where = list(table.texts), table.text.copy()
    start = _start_ids(ctx)
    for p, r in np.argwhere(is_empty):
        answering = table.texts[table.text[p, r]]
        key = content_of(answering)[1::2]  # what is known of the source
        if key not in sources:
            sources[key] = len(texts)
            texts.append(
                attrs.evolve(
                    answering,
                    target_ids=start,
                    target_kept=None,
                    target_blank=None,
                    prompt_length=text.prompt_length,
                )
            )
        where[p, r] = sources[key]
    added = np.full((len(texts) - len(table.texts), ctx.n_rows), len(start), dtype=np.int64)
    return VersionTable(texts=texts, text=where, position=np.concatenate([table.position, added]))


def _start_ids(ctx: AttributionContext) -> IntArray:
    """What the target begins with when nothing is given.

    Raises:
        InvalidArgumentError: the model has no start token.
    """
    try:
        given = ctx.adapter.encode_input("")
        start = np.asarray(ctx.adapter.start_ids(given), dtype=np.int64)
    except InvalidArgumentError as error:
        raise _no_start(ctx) from error
    if not len(start):
        raise _no_start(ctx)
    return start


def _no_start(ctx: AttributionContext) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"removal = {str(ctx.request.removal)!r} leaves nothing before a step, and {ctx.adapter.profile.name}"
        " has no start token to begin with.\n"
        "  Use removal='token:unk', or explain steps that have more before them."
    )


def _deleted(ctx: AttributionContext, versions: BoolArray) -> VersionTable:
    """Texts without the removed positions; each row's token stands as many positions further left as were
    taken before it.
    """
    text, position = ctx.batch.texts[0], ctx.grid.position
    kept = _kept(ctx, versions)
    texts, places = [text], [np.asarray(position)]
    table = np.zeros((len(versions), ctx.n_rows), dtype=np.int64)
    known: dict[tuple[bytes, ...], int] = {content_of(text): 0}
    for p in range(len(versions)):
        here = kept["target"][p]
        source = None if text.source_ids is None else _left_of_source(ctx, text.source_ids[kept["source"][p]])
        version = attrs.evolve(text, target_ids=text.target_ids[here], source_ids=source)
        # two versions may be the same ids with their rows at other places, so the places belong to what is
        # compared
        before = np.concatenate([[0], np.cumsum(here)])[position]
        content = (*content_of(version), before.tobytes())
        same_source = source is None or text.source_ids is None or np.array_equal(source, text.source_ids)
        if here.all() and same_source:
            continue
        if content not in known:
            known[content] = len(texts)
            texts.append(version)
            places.append(np.maximum(before, 1))
        first = -1 if source is not None and not kept["source"][p].all() else _first_false(here)
        table[p] = np.where(first >= position, 0, known[content])
    made = VersionTable(texts=texts, text=table, position=np.stack(places))
    return _with_emptied(ctx, made, _nothing_seen(ctx, kept["target"]))


def _first_false(kept: BoolArray) -> int:
    where = np.flatnonzero(~kept)
    return int(where[0]) if len(where) else len(kept)


def _left_of_source(ctx: AttributionContext, ids: IntArray) -> IntArray:
    """A source without its removed tokens; what the tokenizer puts around an empty text where none is
    left.
    """
    return (
        ids
        if len(ids)
        else np.asarray(ctx.adapter.encode_input("").ids or (ctx.batch.pad_id,), dtype=np.int64)
    )
