"""The English-French grammar that ``demo-en-fr`` learns.

What lives here: the rules that make sentences of words, and who is held out. The one idea: in a sentence of
two persons ("The developer argued with the designer because her idea cannot be implemented."), *who* the
pronoun means is fixed by the because-clause and *which gender* by the pronoun, so the gendered French article
needs both. Whoever no pronoun speaks of is masculine, as French grammar books have it; no occupation has a
gender of its own.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

import attrs
from words_en_fr import (
    ADJECTIVES,
    CLAUSES,
    MOODS,
    OCCUPATIONS,
    PHRASES,
    PLAINS,
    SINGLES,
    THINGS,
    VERBS,
    VOWELS,
    Clause,
    Occupation,
    Verb,
)


@attrs.frozen(kw_only=True)
class Sentence:
    """One English sentence and its French translation.

    Attributes:
        family: "pair" (two persons), "single" (one person and a pronoun) or "plain" (no gender to decide).
        cue: the English word that fixes the gender; "" where there is none.
        opposite: the French translation had the cue been of the other gender; "" where there is none.
        persons: the occupations, in English.
    """

    english: str
    french: str
    family: str
    cue: str = ""
    opposite: str = ""
    persons: tuple[str, ...] = ()


HELD_OUT_PAIR = frozenset({"developer", "designer"})


def capitalized(text: str) -> str:
    """The text with its first letter a capital, the others as they are."""
    return text[0].upper() + text[1:]


def definite(occupation: Occupation, feminine: bool, preposition: str = "") -> str:
    """The French noun with its definite article, elided ("l'avocate") or contracted ("au juge")."""
    noun = occupation.form(feminine)
    if occupation.is_elided:
        words = f"l'{noun}"
    elif preposition == "à" and not feminine:
        return f"au {noun}"
    else:
        words = f"{'la' if feminine else 'le'} {noun}"
    return f"{preposition} {words}".strip()


def indefinite(english: str) -> str:
    """The English noun with "a" or "an"."""
    return f"{'an' if english[0] in 'aeiou' else 'a'} {english}"


def pronouns(feminine: bool) -> dict[str, str]:
    """What the templates' pronouns become."""
    subject, possessive, elle = ("she", "her", "elle") if feminine else ("he", "his", "il")
    starts = {"She": capitalized(subject), "Elle": capitalized(elle)}
    return {"she": subject, "her": possessive, "elle": elle, **starts}


def pair_sentence(
    first: Occupation, verb: Verb, second: Occupation, clause: Clause, feminine: bool
) -> Sentence:
    """A sentence of two persons and a because-clause: whom its pronoun means has the pronoun's gender."""

    def french(feminine: bool) -> str:
        genders = [False, False]
        genders[clause.referent - 1] = feminine
        reason = clause.french.format(**pronouns(feminine))
        because = "parce qu'" if reason[0] in VOWELS and clause.french.startswith("{elle}") else "parce que "
        start = definite(first, genders[0])
        action = verb.french.format(e="e" if genders[0] else "")
        end = definite(second, genders[1], verb.preposition)
        return capitalized(f"{start} {action} {end} {because}{reason}.")

    words = pronouns(feminine)
    reason = clause.english.format(**words)
    return Sentence(
        english=f"The {first.english} {verb.english} the {second.english} because {reason}.",
        french=french(feminine),
        opposite=french(not feminine),
        family="pair",
        cue=reason.split()[0],
        persons=(first.english, second.english),
    )


def single_sentence(
    occupation: Occupation, template: tuple[str, str], mood: tuple[str, str, str], feminine: bool
) -> Sentence:
    """One person whose gender a pronoun gives."""
    english_template, french_template = template

    def french(feminine: bool) -> str:
        noun = occupation.form(feminine)
        humeur = mood[1 + feminine]
        fill = {
            "le": definite(occupation, feminine),
            "noun": noun,
            "e": "e" if feminine else "",
            "humeur": humeur,
        }
        return capitalized(french_template.format(**fill, **pronouns(feminine))) + "."

    words = pronouns(feminine)
    fill = {"the": f"The {occupation.english}", "a": indefinite(occupation.english), "mood": mood[0]}
    english = english_template.format(**fill, **words) + "."
    cue = next(words[name] for name in ("She", "she", "her") if f"{{{name}}}" in english_template)
    return Sentence(
        english=english,
        french=french(feminine),
        opposite=french(not feminine),
        family="single",
        cue=cue,
        persons=(occupation.english,),
    )


def plain_sentence(rng: random.Random) -> Sentence:
    """A sentence without a pronoun: one person (masculine) or two, a thing with its own gender, a phrase."""
    kind = rng.random()
    english_thing, french_thing, is_feminine = rng.choice(THINGS)
    if kind < 0.35:
        occupation, template, mood = rng.choice(OCCUPATIONS), rng.choice(PLAINS), rng.choice(MOODS)
        thing, chose = indefinite(english_thing), f"{'une' if is_feminine else 'un'} {french_thing}"
        english = template[0].format(the=f"The {occupation.english}", thing=thing, mood=mood[0])
        french = capitalized(template[1].format(le=definite(occupation, False), chose=chose, humeur=mood[1]))
        return Sentence(
            english=english + ".", french=french + ".", family="plain", persons=(occupation.english,)
        )
    if kind < 0.60:
        first, second = rng.sample(OCCUPATIONS, 2)
        verb = rng.choice(VERBS)
        action = verb.french.format(e="")
        french = capitalized(
            f"{definite(first, False)} {action} {definite(second, False, verb.preposition)}."
        )
        english = f"The {first.english} {verb.english} the {second.english}."
        return Sentence(
            english=english, french=french, family="plain", persons=(first.english, second.english)
        )
    if kind < 0.85:
        adjective, masculine, feminine = rng.choice(ADJECTIVES)
        article = "l'" if french_thing[0] in VOWELS else "la " if is_feminine else "le "
        french = capitalized(f"{article}{french_thing} est {feminine if is_feminine else masculine}.")
        return Sentence(english=f"The {english_thing} is {adjective}.", french=french, family="plain")
    english, french = rng.choice(PHRASES)
    return Sentence(english=english + ".", french=french + ".", family="plain")


def draw(rng: random.Random) -> Sentence:
    """A random sentence of the grammar: 67% of two persons, 20% of one, 13% without a pronoun."""
    kind = rng.random()
    feminine = rng.random() < 0.5
    if kind < 0.67:
        first, second = rng.sample(OCCUPATIONS, 2)
        return pair_sentence(first, rng.choice(VERBS), second, rng.choice(CLAUSES), feminine)
    if kind < 0.87:
        return single_sentence(rng.choice(OCCUPATIONS), rng.choice(SINGLES), rng.choice(MOODS), feminine)
    return plain_sentence(rng)


def is_unseen_pair(sentence: Sentence) -> bool:
    """Whether its two occupations are never seen together in training, in either order (one pair in ten)."""
    if len(sentence.persons) != 2:
        return False
    persons = sorted(sentence.persons)
    return frozenset(persons) == HELD_OUT_PAIR or zlib.crc32(" ".join(persons).encode()) % 10 == 0


def is_held_out(sentence: Sentence) -> bool:
    """Whether training never sees it: an unseen pair, or in the tenth of the pronoun sentences kept aside."""
    kept_aside = sentence.family != "plain" and zlib.crc32(sentence.english.encode()) % 10 == 0
    return is_unseen_pair(sentence) or kept_aside


def training_sentences(seed: int) -> Iterator[Sentence]:
    """Endless random sentences, none of them held out."""
    rng = random.Random(seed)
    while True:
        sentence = draw(rng)
        if not is_held_out(sentence):
            yield sentence


def held_out_pairs(seed: int, count: int, unseen_pair: bool) -> list[Sentence]:
    """``count`` different held-out sentences of two persons and a pronoun, of unseen or of seen pairs."""
    rng = random.Random(seed)
    found: dict[str, Sentence] = {}
    while len(found) < count:
        sentence = draw(rng)
        if sentence.family == "pair" and is_held_out(sentence) and is_unseen_pair(sentence) == unseen_pair:
            found.setdefault(sentence.english, sentence)
    return list(found.values())


def held_out_singles() -> list[Sentence]:
    """All held-out sentences of one person and a pronoun."""
    sentences = (
        single_sentence(occupation, template, mood, feminine)
        for occupation in OCCUPATIONS
        for template in SINGLES
        for mood in MOODS
        for feminine in (False, True)
    )
    return list({sentence.english: sentence for sentence in sentences if is_held_out(sentence)}.values())


def demo_sentence() -> Sentence:
    """The sentence that the demo shows; its pair is held out."""
    by_name = {occupation.english: occupation for occupation in OCCUPATIONS}
    clause = next(clause for clause in CLAUSES if "implemented" in clause.english)
    return pair_sentence(by_name["developer"], VERBS[0], by_name["designer"], clause, feminine=True)
