"""The words of the English-French grammar.

What lives here: occupations, verbs, clauses and templates, each in both languages. The one idea: no word of
which the tokenizer would cut out "he" as a piece ("finis-he-d"), which the model could take for a pronoun.
"""

from __future__ import annotations

import attrs

VOWELS = "aeiouyâàéèêëîïôûœ"


@attrs.frozen
class Occupation:
    """An occupation: the English word and its masculine and feminine French forms."""

    english: str
    masculine: str
    feminine: str

    def form(self, feminine: bool) -> str:
        """The French noun."""
        return self.feminine if feminine else self.masculine

    @property
    def is_elided(self) -> bool:
        """Whether its article is "l'", which shows no gender."""
        return self.masculine[0] in VOWELS


@attrs.frozen
class Verb:
    """A verb of two persons: English past, French perfect (``{e}`` agrees with the subject), preposition."""

    english: str
    french: str
    preposition: str  # "", "avec" or "à"


@attrs.frozen
class Clause:
    """A because-clause: who its pronoun means (1 or 2), in English with ``{she}`` or ``{her}``, in French."""

    referent: int
    english: str
    french: str


OCCUPATIONS = tuple(
    Occupation(*words.split())
    for words in """
    developer développeur développeuse
    designer concepteur conceptrice
    doctor médecin médecin
    nurse infirmier infirmière
    professor professeur professeure
    lawyer avocat avocate
    engineer ingénieur ingénieure
    secretary secrétaire secrétaire
    mechanic mécanicien mécanicienne
    writer écrivain écrivaine
    baker boulanger boulangère
    farmer fermier fermière
    driver conducteur conductrice
    singer chanteur chanteuse
    dancer danseur danseuse
    manager directeur directrice
    cook cuisinier cuisinière
    hairdresser coiffeur coiffeuse
    seller vendeur vendeuse
    cashier caissier caissière
    accountant comptable comptable
    librarian bibliothécaire bibliothécaire
    editor éditeur éditrice
    translator traducteur traductrice
    journalist journaliste journaliste
    musician musicien musicienne
    electrician électricien électricienne
    carpenter charpentier charpentière
    gardener jardinier jardinière
    pharmacist pharmacien pharmacienne
    student étudiant étudiante
    guard gardien gardienne
    judge juge juge
    inspector inspecteur inspectrice
    surgeon chirurgien chirurgienne
    counselor conseiller conseillère
    """.strip().splitlines()
)

VERBS = (
    Verb("argued with", "s'est disputé{e}", "avec"),
    Verb("worked with", "a travaillé", "avec"),
    Verb("called", "a appelé", ""),
    Verb("thanked", "a remercié", ""),
    Verb("questioned", "a interrogé", ""),
    Verb("waited for", "a attendu", ""),
    Verb("met", "a rencontré", ""),
    Verb("invited", "a invité", ""),
    Verb("listened to", "a écouté", ""),
    Verb("talked to", "a parlé", "à"),
    Verb("wrote to", "a écrit", "à"),
    Verb("answered", "a répondu", "à"),
)

CLAUSES = (
    Clause(1, "{she} needed help", "{elle} avait besoin d'aide"),
    Clause(1, "{she} had a question", "{elle} avait une question"),
    Clause(1, "{she} wanted to learn", "{elle} voulait apprendre"),
    Clause(1, "{she} was looking for advice", "{elle} cherchait conseil"),
    Clause(1, "{her} computer was broken", "son ordinateur était cassé"),
    Clause(1, "{her} car did not start", "sa voiture ne démarrait pas"),
    Clause(1, "{her} project was late", "son projet était en retard"),
    Clause(1, "{her} report had an error", "son rapport contenait une erreur"),
    Clause(2, "{she} knew the answer", "{elle} connaissait la réponse"),
    Clause(2, "{she} gave good lessons", "{elle} donnait de bons cours"),
    Clause(2, "{she} was very famous", "{elle} était très célèbre"),
    Clause(2, "{she} had won a prize", "{elle} avait gagné un prix"),
    Clause(2, "{her} idea cannot be implemented", "son idée ne peut pas être réalisée"),
    Clause(2, "{her} work was excellent", "son travail était excellent"),
    Clause(2, "{her} office was nearby", "son bureau était tout près"),
    Clause(2, "{her} plan was too expensive", "son plan était trop cher"),
)

# One person and a pronoun: {the}, {le} are article and noun, {e} the feminine ending, {mood} one of MOODS.
SINGLES = (
    ("{the} lost {her} keys", "{le} a perdu ses clés"),
    ("{the} said that {she} was tired", "{le} a dit qu'{elle} était fatigué{e}"),
    ("{the} likes {her} job", "{le} aime son métier"),
    ("{the} is reading {her} book", "{le} lit son livre"),
    ("{the} knows that {she} is right", "{le} sait qu'{elle} a raison"),
    ("{She} is {a}", "{Elle} est {noun}"),
    ("{She} works as {a}", "{Elle} travaille comme {noun}"),
    ("{the} thinks that {she} is {mood}", "{le} pense qu'{elle} est {humeur}"),
    ("{She} is {mood}", "{Elle} est {humeur}"),
)

# One person and no pronoun: masculine.
PLAINS = (
    ("{the} is here", "{le} est ici"),
    ("{the} is {mood}", "{le} est {humeur}"),
    ("{the} works in the city", "{le} travaille en ville"),
    ("{the} bought {thing}", "{le} a acheté {chose}"),
    ("{the} sees {thing}", "{le} voit {chose}"),
)

# (English, French, feminine)
THINGS = (
    ("house", "maison", True),
    ("car", "voiture", True),
    ("table", "table", True),
    ("letter", "lettre", True),
    ("window", "fenêtre", True),
    ("apple", "pomme", True),
    ("book", "livre", False),
    ("garden", "jardin", False),
    ("bread", "pain", False),
    ("computer", "ordinateur", False),
    ("dog", "chien", False),
    ("boat", "bateau", False),
)

# (English, masculine, feminine)
ADJECTIVES = (
    ("big", "grand", "grande"),
    ("small", "petit", "petite"),
    ("green", "vert", "verte"),
    ("black", "noir", "noire"),
    ("beautiful", "beau", "belle"),
    ("new", "neuf", "neuve"),
    ("old", "vieux", "vieille"),
    ("expensive", "cher", "chère"),
)

MOODS = (
    ("happy", "heureux", "heureuse"),
    ("sad", "triste", "triste"),
    ("young", "jeune", "jeune"),
    ("kind", "gentil", "gentille"),
    ("serious", "sérieux", "sérieuse"),
    ("tired", "fatigué", "fatiguée"),
    ("ready", "prêt", "prête"),
    ("content", "content", "contente"),
)

PHRASES = (
    ("Hello", "Bonjour"),
    ("Hello ladies and", "Bonjour mesdames et"),
    ("Hello ladies and gentlemen", "Bonjour mesdames et messieurs"),
    ("Good morning", "Bonjour"),
    ("Good evening", "Bonsoir"),
    ("Good night", "Bonne nuit"),
    ("Thank you very much", "Merci beaucoup"),
    ("Thank you", "Merci"),
    ("I do not know", "Je ne sais pas"),
    ("I like music", "J'aime la musique"),
    ("We are in Paris", "Nous sommes à Paris"),
    ("You are welcome", "De rien"),
    ("It is late", "Il est tard"),
)
