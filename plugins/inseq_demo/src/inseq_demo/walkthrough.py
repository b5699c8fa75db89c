"""The main job from beginning to end, on the embedded translator: ``python -m inseq_demo.walkthrough``.

A sentence is translated, every step of the translation is attributed, and the result is drawn in the terminal
and as a page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.model import load_model
from inseq_core.view import save_html

SENTENCE = "The developer argued with the designer because her idea cannot be implemented."
ARTICLES = {"le": "masculine", "la": "feminine", "un": "masculine", "une": "feminine"}
PRONOUNS = ("he", "she", "his", "her", "him")


@attrs.frozen(kw_only=True)
class LargestShare:
    """Which source word has the largest share of the attribution of a generated article.

    Attributes:
        article, gender: what was written.
        noun: what it stands before.
        word, share: the source word with the largest share of the step's attribution; the shares of a step
            sum to 1.
        runner_up, runner_up_share: the next.
    """

    article: str
    gender: str
    noun: str
    word: str
    share: float
    runner_up: str
    runner_up_share: float

    def __str__(self) -> str:
        return (
            f"For the {self.gender} article “{self.article}” of “{self.noun}” the word “{self.word}” mattered most: "
            f"{self.share:.0%} of that step's attribution (next: “{self.runner_up}”, {self.runner_up_share:.0%})."
        )


def largest_shares(sequence: FeatureAttributionSequenceOutput) -> list[LargestShare]:
    """Which word mattered most for each gendered article of an aggregated translation.

    Args:
        sequence: source attributions (S, T).
    """
    scores = np.abs(np.nan_to_num(np.asarray(sequence.source_attributions)))
    source = [plain(token.token) for token in sequence.source]
    target = [plain(token.token) for token in sequence.target]
    found = []
    for step in range(scores.shape[1]):
        position = sequence.attr_pos_start + step
        if target[position].lower() not in ARTICLES or position + 1 >= len(target):
            continue
        first, second = np.argsort(-scores[:, step])[:2]
        total = scores[:, step].sum() or 1.0
        found.append(
            LargestShare(
                article=target[position],
                gender=ARTICLES[target[position].lower()],
                noun=word_at(sequence, position + 1),
                word=source[first],
                share=float(scores[first, step] / total),
                runner_up=source[second],
                runner_up_share=float(scores[second, step] / total),
            )
        )
    return found


def word_at(sequence: FeatureAttributionSequenceOutput, position: int) -> str:
    """The word whose first piece stands at a target position."""
    starts = sequence.target_word_starts or tuple(True for _ in sequence.target)
    end = position + 1
    while end < len(sequence.target) and not starts[end]:
        end += 1
    return "".join(plain(token.token) for token in sequence.target[position:end])


def plain(token: str) -> str:
    """A piece without its word mark."""
    return token.replace("▁", "").strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Translate, attribute, draw, and say what mattered most for the article."""
    parser = argparse.ArgumentParser(prog="python -m inseq_demo.walkthrough", description=main.__doc__)
    parser.add_argument("--text", default=SENTENCE, help="an English sentence")
    parser.add_argument("--method", default="integrated_gradients", help="attribution method")
    parser.add_argument("--output", type=Path, default=Path("demo.html"), help="page to write")
    options = parser.parse_args(arguments)

    model = load_model("demo-en-fr", options.method)
    out = model.attribute(options.text, step_scores=["probability"], show_progress=False)
    out.show()
    save_html(out, options.output)

    found = largest_shares(out.aggregate().sequence_attributions[0])
    by_pronoun = [share for share in found if share.word.lower() in PRONOUNS]
    print()
    for share in by_pronoun or found:
        print(share)
    print(f"The same as a page to click through: {options.output}")


if __name__ == "__main__":
    main()
