"""The small English that ``demo-lm`` learns.

What lives here: words, templates and the texts made of them. The one idea: a few facts and rules whose
evidence a reader can point at. The number of a verb is decided by the head of its subject and not by the
nearer noun ("The keys to the cabinet are"), a capital by its country, a pronoun by the name before it, a
repeated word by its first mention.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator

import attrs


@attrs.frozen
class Country:
    """A country and what is said of it."""

    name: str
    capital: str
    continent: str
    language: str


@attrs.frozen
class Noun:
    """A noun in both numbers."""

    singular: str
    plural: str

    def form(self, plural: bool) -> str:
        """The noun in that number."""
        return self.plural if plural else self.singular


@attrs.frozen(kw_only=True)
class Text:
    """One training text.

    Attributes:
        family: "capital", "agreement", "story", "chat" or "phrase".
        fact: what is held out when this text is: the combination of words that makes it new; "" for none.
    """

    text: str
    family: str
    fact: str = ""


COUNTRIES = tuple(
    Country(*row.split())
    for row in """
    France Paris Europe French
    Italy Rome Europe Italian
    Spain Madrid Europe Spanish
    Germany Berlin Europe German
    Portugal Lisbon Europe Portuguese
    Greece Athens Europe Greek
    Poland Warsaw Europe Polish
    Austria Vienna Europe German
    Hungary Budapest Europe Hungarian
    Sweden Stockholm Europe Swedish
    Norway Oslo Europe Norwegian
    Finland Helsinki Europe Finnish
    Denmark Copenhagen Europe Danish
    Ireland Dublin Europe English
    England London Europe English
    Russia Moscow Europe Russian
    Turkey Ankara Asia Turkish
    Japan Tokyo Asia Japanese
    China Beijing Asia Chinese
    Thailand Bangkok Asia Thai
    Egypt Cairo Africa Arabic
    Kenya Nairobi Africa Swahili
    Morocco Rabat Africa Arabic
    Canada Ottawa America English
    Cuba Havana America Spanish
    Peru Lima America Spanish
    Chile Santiago America Spanish
    Australia Canberra Oceania English
    """.strip().splitlines()
)

CAPITAL_TEMPLATES = (
    "The capital of {name} is {capital}.",
    "{capital} is the capital of {name}.",
    "The capital city of {name} is called {capital}.",
    "{name} is a country in {continent}. The capital of {name} is {capital}.",
    "We went to {name} and visited the capital, {capital}.",
    "My friend lives in {name}, in the capital {capital}.",
    "The train to {name} goes to the capital, {capital}.",
    "The largest museum in {name} is in the capital, {capital}.",
    "People in {name} speak {language}.",
    "The language of {name} is {language}.",
)

NOUNS = tuple(
    Noun(*row.split())
    for row in """
    key keys
    cabinet cabinets
    door doors
    box boxes
    picture pictures
    letter letters
    book books
    chair chairs
    table tables
    lamp lamps
    cup cups
    dog dogs
    cat cats
    house houses
    car cars
    tree trees
    bottle bottles
    window windows
    garden gardens
    bridge bridges
    """.strip().splitlines()
)

PREPOSITIONS = ("to", "near", "behind", "under", "beside", "next to")
VERBS = (("is", "are"), ("is", "are"), ("was", "were"), ("has been", "have been"))
PREDICATES = (
    *("old", "new", "big", "small", "red", "blue", "clean", "beautiful", "heavy", "expensive"),
    *("in the kitchen", "in the street", "on the floor"),
)

GIRLS = ("Anna", "Emma", "Julia", "Sara", "Maria", "Lisa", "Nora", "Clara")
BOYS = ("Tom", "Max", "Paul", "Ben", "David", "Leo", "Peter", "John")
PLACES = ("garden", "park", "school", "museum", "kitchen", "station", "library", "market")
ANIMALS = ("dog", "cat", "horse", "bird", "rabbit", "mouse", "fish", "duck")
FOODS = ("bread", "soup", "cake", "cheese", "rice", "fruit")
WEATHER = ("sunny", "rainy", "cold", "warm", "windy")
TOPICS = ("music", "history", "animals", "trains", "stars", "birds")

# {her}, {she}, {She} of the person {name}; {other} is a second name.
STORIES = (
    "{name} lost {her} keys. {She} looked for them in the {place}. {She} found them under the {thing}.",
    "{name} has a {animal}. Every day {she} plays with the {animal} in the {place}.",
    "{name} was hungry, so {she} bought some {food}. The {food} was very good. {name} was happy.",
    "{name} and {other} went to the {place}. {name} saw a {animal}, but {other} did not see it.",
    "{name} was tired. {She} went to bed early and read a book about {topic}.",
    "It was a {weather} day. {name} took {her} bag and walked to the {place}.",
    "{name} said that {she} wanted to learn about {topic}. {other} gave {her_object} a book.",
)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("old", "new"),
    ("good", "bad"),
    ("long", "short"),
    ("fast", "slow"),
    ("day", "night"),
    ("black", "white"),
    ("open", "closed"),
    ("happy", "sad"),
)

END = "<|endoftext|>"
HELD_OUT_SUBJECT = "key to cabinet"


def kept_aside(fact: str) -> bool:
    """Whether texts of this combination of words are never seen in training (one combination in eight)."""
    return bool(fact) and zlib.crc32(fact.encode()) % 8 == 0


def subject(head: Noun, preposition: str, attractor: Noun, plural: bool, attractor_plural: bool) -> str:
    """ "The keys to the cabinet": a head with a number, and a nearer noun with its own."""
    return f"The {head.form(plural)} {preposition} the {attractor.form(attractor_plural)}"


def is_unseen_subject(head: Noun, preposition: str, attractor: Noun) -> bool:
    """Whether head, preposition and attractor never stand together in training, in whatever number."""
    fact = f"{head.singular} {preposition} {attractor.singular}"
    return fact == HELD_OUT_SUBJECT or kept_aside(fact)


def capital_text(rng: random.Random) -> Text:
    """A fact about a country in one of several wordings."""
    country, template = rng.choice(COUNTRIES), rng.choice(CAPITAL_TEMPLATES)
    text = template.format(**attrs.asdict(country))
    # The plainest wording is never held out: a fact that is nowhere stated cannot be known.
    is_open = template is CAPITAL_TEMPLATES[0] or "{language}" in template
    fact = "" if is_open else f"{country.name}|{template}"
    return Text(text=text, family="capital", fact=fact)


def agreement_text(rng: random.Random) -> Text:
    """A noun, mostly with a nearer noun between it and the verb that agrees with it."""
    head, attractor = rng.sample(NOUNS, 2)
    plural, attractor_plural = rng.random() < 0.5, rng.random() < 0.5
    verb, predicate = rng.choice(VERBS)[plural], rng.choice(PREDICATES)
    if rng.random() < 0.2:
        return Text(text=f"The {head.form(plural)} {verb} {predicate}.", family="agreement")
    preposition = rng.choice(PREPOSITIONS)
    start = subject(head, preposition, attractor, plural, attractor_plural)
    fact = f"{head.singular} {preposition} {attractor.singular}"
    return Text(text=f"{start} {verb} {predicate}.", family="agreement", fact=fact)


def story_text(rng: random.Random) -> Text:
    """A few sentences about a person, with pronouns and repeated words."""
    feminine, template = rng.random() < 0.5, rng.choice(STORIES)
    name = rng.choice(GIRLS if feminine else BOYS)
    other = rng.choice([other for other in GIRLS + BOYS if other != name])
    words = {
        "she": "she" if feminine else "he",
        "She": "She" if feminine else "He",
        "her": "her" if feminine else "his",
        "her_object": "her" if feminine else "him",
        "place": rng.choice(PLACES),
        "animal": rng.choice(ANIMALS),
        "food": rng.choice(FOODS),
        "topic": rng.choice(TOPICS),
        "weather": rng.choice(WEATHER),
        "thing": rng.choice(NOUNS).singular,
    }
    text = template.format(name=name, other=other, **words)
    return Text(text=text, family="story", fact=f"{name}|{template}")


def question_and_answer(rng: random.Random) -> tuple[str, str]:
    """A question of a conversation, and its answer in a whole sentence."""
    kind = rng.randrange(4)
    country = rng.choice(COUNTRIES)
    name = country.name
    if kind == 0:
        return f"What is the capital of {name}?", f"The capital of {name} is {country.capital}."
    if kind == 1:
        return f"What do people in {name} speak?", f"People in {name} speak {country.language}."
    if kind == 2:
        words = rng.choice(OPPOSITES)
        word, opposite = words if rng.random() < 0.5 else words[::-1]
        return f"What is the opposite of {word}?", f"The opposite of {word} is {opposite}."
    place = rng.randrange(7)
    return (
        f"What comes after {DAYS[place]}?",
        f"The day after {DAYS[place]} is {DAYS[(place + 1) % 7]}.",
    )


def chat_text(rng: random.Random) -> Text:
    """A conversation of one to three turns, written as the chat template does: each answer ends the text."""
    lines = ["System: You are a friendly guide."] if rng.random() < 0.25 else []
    for _ in range(rng.choice((1, 1, 2, 3))):
        question, answer = question_and_answer(rng)
        lines += [f"User: {question}", f"Assistant: {answer}{END}"]
    return Text(text="\n".join(lines).removesuffix(END), family="chat")


def phrase_text(rng: random.Random) -> Text:
    """A greeting, a count or a fact."""
    name, place = rng.choice(GIRLS + BOYS), rng.choice(PLACES)
    templates = (
        f"Hello ladies and gentlemen, welcome to the {place}.",
        f"Ladies and gentlemen, this is the {place}.",
        f"Good morning, {name}. How are you?",
        f"Thank you very much, {name}. You are welcome.",
        "One, two, three, four, five, six, seven, eight, nine, ten.",
        question_and_answer(rng)[1],
    )
    return Text(text=rng.choice(templates), family="phrase")


FAMILIES: tuple[tuple[Callable[[random.Random], Text], float], ...] = (
    (capital_text, 0.32),
    (agreement_text, 0.23),
    (story_text, 0.22),
    (chat_text, 0.13),
    (phrase_text, 0.10),
)


def words_in_one_piece() -> list[str]:
    """Nouns in both numbers and capitals: one token each, so that the next token is a whole decision."""
    return [form for noun in NOUNS for form in (noun.singular, noun.plural)] + [c.capital for c in COUNTRIES]


def draw(rng: random.Random) -> Text:
    """A random text."""
    makers, weights = zip(*FAMILIES, strict=True)
    make: Callable[[random.Random], Text] = rng.choices(makers, weights)[0]
    return make(rng)


def is_held_out(text: Text) -> bool:
    """Whether training never sees it."""
    return text.fact == HELD_OUT_SUBJECT or kept_aside(text.fact)


def training_texts(seed: int) -> Iterator[str]:
    """Endless random texts, none of them held out."""
    rng = random.Random(seed)
    while True:
        text = draw(rng)
        if not is_held_out(text):
            yield text.text


def held_out_texts(seed: int, count: int) -> list[str]:
    """``count`` different held-out texts of all families that have any."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        text = draw(rng)
        if is_held_out(text):
            found[text.text] = None
    return list(found)


def held_out_capitals() -> list[tuple[str, str]]:
    """(prompt, next word) for every country in a wording of its capital that training did not show for it."""
    return [
        (template.partition(" {capital}")[0].format(**attrs.asdict(country)), country.capital)
        for template in CAPITAL_TEMPLATES[1:]
        if " {capital}" in template
        for country in COUNTRIES
        if kept_aside(f"{country.name}|{template}")
    ]


def held_out_subjects() -> list[tuple[str, bool, bool]]:
    """(prompt, head is plural, attractor is plural) for every subject whose words training never combined."""
    return [
        (subject(head, preposition, attractor, plural, attractor_plural), plural, attractor_plural)
        for head in NOUNS
        for preposition in PREPOSITIONS
        for attractor in NOUNS
        if head != attractor and is_unseen_subject(head, preposition, attractor)
        for plural in (False, True)
        for attractor_plural in (False, True)
    ]
