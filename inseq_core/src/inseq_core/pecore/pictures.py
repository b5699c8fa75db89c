"""Context reliance as coloured text: in a terminal, and on a page of its own.

Green is how much an output token depends on the context (CTI); red and blue, or violet for methods without
signs, is what a context token did for it (CCI). Cues are marked and say their score, so that nothing depends
on colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from rich.console import RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inseq_core.pecore.result import AttributeContextOutput, CCIOutput
from inseq_core.view.colors import BROWN, GREEN, ColorScale, color_scale
from inseq_core.view.heading import Heading
from inseq_core.view.numbers import compact, number_format
from inseq_core.view.plan import Look
from inseq_core.view.readable import ShownToken, shown_tokens, visible
from inseq_core.view.show import is_notebook
from inseq_core.view.terminal import print_picture
from inseq_core.view.terminal_frame import Picture, TerminalStyle, color_bars, named_lines, title

_SIDES = (("input", "Input context"), ("output", "Output context"))
_DETAILS = (
    ("context_sensitivity_std_threshold", "Context sensitivity: standard deviations above the mean"),
    ("context_sensitivity_topk", "Context sensitivity: at most"),
    ("attribution_std_threshold", "Cues: standard deviations above the mean"),
    ("attribution_topk", "Cues: at most"),
    ("input_template", "Input template"),
    ("output_template", "Output template"),
    ("contextless_input_current_text", "Input without context"),
    ("framework", "Framework"),
    ("exec_time", "Seconds"),
    ("created", "Made"),
)


@attrs.frozen(kw_only=True)
class _Drawn:
    """A token with its colour.

    Attributes:
        level: of its score's colour.
        score: as it is written.
        is_marked: it stands out.
    """

    token: ShownToken
    level: int
    score: str
    is_marked: bool


@attrs.frozen(kw_only=True, eq=False)
class _Picture:
    """What is to be seen, whatever it is drawn with."""

    output: AttributeContextOutput
    sensitivity: ColorScale
    attribution: ColorScale

    @classmethod
    def of(cls, output: AttributeContextOutput) -> _Picture:
        cti = np.asarray(output.cti_scores, dtype=np.float64)
        cci = [np.asarray(c.all_scores, dtype=np.float64) for c in output.cci_scores]
        return cls(
            output=output,
            sensitivity=color_scale([cti], signed=False),
            attribution=color_scale(cci, signed=False),
        )

    def heading(self) -> Heading:
        """Model, metric, method and attributed function."""
        info = self.output.info or {}
        named = (
            ("model_name", "Model"),
            ("context_sensitivity_metric", "Sensitivity"),
            ("attribution_method", "Method"),
            ("attributed_fn", "Explains"),
        )

        def known(names: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
            return tuple((n, _written(info[k])) for k, n in names if info.get(k) not in (None, ""))

        return Heading(facts=known(named), details=known(_DETAILS))

    def given(self) -> list[tuple[str, str]]:
        """The texts, by what they are."""
        out = self.output
        current = (out.info or {}).get("input_current_text")
        texts = (
            ("Input context", out.input_context),
            ("Input", current),
            ("Output context", out.output_context),
            ("Output", out.output_current),
        )
        return [(name, visible(text)) for name, text in texts if text is not None]

    def current(self, only: int | None = None) -> list[_Drawn]:
        """The output's tokens, by sensitivity.

        Args:
            only: mark this token alone; None marks every context-sensitive one.
        """
        marked = {c.cti_idx for c in self.output.cci_scores} if only is None else {only}
        return _drawn(self.output.output_current_tokens, self.output.cti_scores, self.sensitivity, marked)

    def context(self, cci: CCIOutput, side: str) -> list[_Drawn]:
        """A context's tokens, by what they did for a context-sensitive token; empty where there is none."""
        scores = getattr(cci, f"{side}_context_scores")
        if scores is None:
            return []
        marked = {cue.index for cue in self.output.cues(cci) if cue.side == side}
        return _drawn(getattr(self.output, f"{side}_context_tokens"), scores, self.attribution, marked)

    def nothing(self) -> str:
        """What to say where no token is context-sensitive."""
        if not any(self.output.cti_scores):
            return "No token depends on the context."
        return f"No token reaches the threshold of {compact(self.output.cti_threshold)}."

    def reading(self, marked: str) -> tuple[str, ...]:
        """How to read the picture.

        Args:
            marked: how what stands out is drawn; "" where there are no colours and it has its score alone.
        """
        threshold, signed = compact(self.output.cti_threshold), self.attribution.signed
        if not marked:
            effect = "above zero it raised what is explained, below zero it lowered it"
            return (
                f"Behind an output token: how much it depends on the context, from {threshold} on; for these "
                "tokens the context follows.",
                f"Behind a contextual cue: {effect if signed else 'how much it mattered'}.",
            )
        did = "red raised what is explained, blue lowered it" if signed else "violet: how much it mattered"
        return (
            f"Green: how much a token depends on the context; {marked} from {threshold} on, and for these "
            "tokens the context follows.",
            f"In the context, {did}.",
            f"There, {marked}: contextual cues.",
        )


def _drawn(
    tokens: Sequence[str], scores: Sequence[float], scale: ColorScale, marked: set[int]
) -> list[_Drawn]:
    levels = scale.levels(np.asarray(scores, dtype=np.float64))
    return [
        _Drawn(token=token, level=int(level), score=compact(float(score)), is_marked=i in marked)
        for i, (token, level, score) in enumerate(zip(shown_tokens(tokens), levels, scores, strict=True))
    ]


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else visible(str(value))


def _word(token: str) -> str:
    return shown_tokens([token])[0].text


def show(output: AttributeContextOutput, *, display: bool, return_html: bool) -> str | None:
    """Show the result, and return its page if that is wanted; see ``AttributeContextOutput.show``."""
    if display and is_notebook():
        from IPython.display import HTML
        from IPython.display import display as show_in_notebook

        show_in_notebook(HTML(page(output, whole=False)))
    elif display:
        print_picture(drawing(output))
    return page(output) if return_html else None


def drawing(output: AttributeContextOutput) -> RenderableType:
    """The result for a terminal."""
    return Picture(lambda _, has_color: _parts(_Picture.of(output), has_color))


def _parts(picture: _Picture, has_color: bool) -> Iterator[RenderableType]:
    records = picture.output.cci_scores
    by_cti = _style(picture.sensitivity, (GREEN, BROWN), has_color)
    by_cci = _style(picture.attribution, None, has_color)
    texts = named_lines()
    for name, text in picture.given():
        shown = _line(picture.current(), by_cti) if name == "Output" else Text(text)
        texts.add_row(Text(name, "dim"), shown)
    yield from (*title(picture.heading()), Text(), texts, Text())
    for number, cci in enumerate(records, start=1):
        yield _record_title(number, cci, by_cti, picture)
        yield from (_record(picture, cci, by_cti, by_cci), Text())
    if not records:
        yield from (Text(picture.nothing(), "dim italic"), Text())
    if has_color:
        bars = [("Context sensitivity", by_cti), ("Attribution", by_cci)]
        yield from color_bars(bars[: 1 + bool(records)] if any(picture.output.cti_scores) else [])
    yield Text(" ".join(picture.reading("underlined" if has_color else "")), "dim")


def _style(scale: ColorScale, hues: tuple[float, float] | None, has_color: bool = True) -> TerminalStyle:
    ends = [np.array([scale.low, scale.high])]
    look = Look(colors=scale, numbers=number_format(ends), decimals=0)
    return TerminalStyle.of(look, hues=hues, has_color=has_color)


def _record_title(number: int, cci: CCIOutput, style: TerminalStyle, picture: _Picture) -> Text:
    level = int(picture.sensitivity.levels(np.array([cci.cti_score]))[0])
    line = Text(f"{number}. ", "bold").append(_word(cci.cti_token), style.of_level(level) + Style(bold=True))
    if cci.contrast_token is not None and cci.contrast_token != cci.cti_token:
        line.append(" rather than ", "dim").append(_word(cci.contrast_token), "bold")
    return line.append(f"  context sensitivity {compact(cci.cti_score)}", "dim")


def _record(picture: _Picture, cci: CCIOutput, by_cti: TerminalStyle, by_cci: TerminalStyle) -> Table:
    grid = named_lines()
    for side, name in _SIDES:
        tokens = picture.context(cci, side)
        if tokens:
            grid.add_row(Text(f"   {name}", "dim"), _line(tokens, by_cci))
    grid.add_row(Text("   Output", "dim"), _line(picture.current(cci.cti_idx), by_cti))
    return grid


def _line(tokens: Sequence[_Drawn], style: TerminalStyle) -> Text:
    text = Text()
    for i, drawn in enumerate(tokens):
        if drawn.token.space_before and i:
            text.append(" ")
        look = style.of_level(drawn.level)
        if drawn.is_marked:
            look += Style(bold=True, underline=True)
        text.append(drawn.token.text, look)
        if drawn.is_marked:
            text.append(f"({drawn.score})", "dim")
        if drawn.token.line_break and i + 1 < len(tokens):
            text.append("\n")
    return text


def page(output: AttributeContextOutput, *, whole: bool = True) -> str:
    """The result as a page.

    Args:
        whole: a document of its own; else the part that goes inside another one (a notebook).
    """
    from inseq_core.view.html import HIGHLIGHTS, level_class, render, shades
    from inseq_core.view.html import color_bar as bar

    picture = _Picture.of(output)
    by_cti, by_cci = _style(picture.sensitivity, (GREEN, BROWN)).look, _style(picture.attribution, None).look

    def line(tokens: Sequence[_Drawn], scale: ColorScale, of: tuple[str, str] | None) -> list[dict[str, Any]]:
        return [
            {
                "text": drawn.token.text,
                "space": drawn.token.space_before and i > 0,
                "line_break": drawn.token.line_break and i + 1 < len(tokens),
                "special": drawn.token.special,
                "class": level_class(drawn.level, scale, of),
                "score": drawn.score,
                "marked": drawn.is_marked,
            }
            for i, drawn in enumerate(tokens)
        ]

    def record(cci: CCIOutput) -> dict[str, Any]:
        level = int(picture.sensitivity.levels(np.array([cci.cti_score]))[0])
        has_other = cci.contrast_token is not None and cci.contrast_token != cci.cti_token
        found = output.cues(cci)
        sides = ((name, picture.context(cci, side)) for side, name in _SIDES)
        return {
            "token": _word(cci.cti_token),
            "class": level_class(level, picture.sensitivity, HIGHLIGHTS),
            "score": compact(cci.cti_score),
            "contrast": _word(cci.contrast_token or "") if has_other else "",
            "sides": [
                {"title": name, "tokens": line(tokens, picture.attribution, None)}
                for name, tokens in sides
                if tokens
            ],
            "cues": [{"token": _word(c.token), "score": compact(c.score)} for c in found],
        }

    heading = picture.heading()
    view = {
        "title": "Context reliance" + "".join(f" of {v}" for n, v in heading.facts if n == "Model"),
        "heading": heading,
        "reading": picture.reading("framed"),
        "texts": [
            {
                "template": "context.html.j2",
                "number": 1,
                "name": visible(output.output_current)[:70],
                "given": [pair for pair in picture.given() if pair[0] != "Output"],
                "output": line(picture.current(), picture.sensitivity, HIGHLIGHTS),
                "nothing": picture.nothing(),
                "records": [record(cci) for cci in output.cci_scores],
            }
        ],
        "bars": [bar("Context sensitivity", by_cti, HIGHLIGHTS), bar("Attribution", by_cci)],
        "marks": [],
        "legend_first": True,
        "data": None,
    }
    return render(view, shades=shades([picture.attribution], highlights=[picture.sensitivity]), whole=whole)
