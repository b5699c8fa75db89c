"""Errors: what was wrong with the value shown, and what to do about it.

Everything that a user, a file or a plugin can cause is an ``InseqError``. Children also derive from the
built-in exception that a caller would expect (``ValueError``, ``TypeError``, ``OSError`` …), so that both
kinds of ``except`` work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


class InseqError(Exception):
    """Base of every error that inseq raises on purpose."""


class InseqWarning(UserWarning):
    """Base of every warning that inseq gives."""


class InvalidArgumentError(InseqError, ValueError):
    """A value that an argument cannot take."""


class UnknownArgumentError(InvalidArgumentError, TypeError):
    """A keyword that nobody takes."""


class UnknownNameError(InseqError, ValueError, LookupError):
    """A name (method, step function, aggregator, model …) that nothing provides."""


class ModelLoadError(InseqError, OSError):
    """A model or tokenizer that could not be loaded."""


class ModelRunError(InseqError, RuntimeError):
    """A framework that failed while it ran the model."""


class MissingPackageError(InseqError, ImportError):
    """A package that the request needs is not installed."""


class CapabilityError(InseqError, ValueError):
    """A method asked of a model (adapter) that cannot serve it."""


class SelfCheckError(InseqError, RuntimeError):
    """The model breaks an assumption of the engine, and no slower way is right either."""


class TextTooLongError(InvalidArgumentError):
    """More tokens than the model has positions for."""


class ForcedTextError(InvalidArgumentError):
    """A forced output that does not continue its input."""


class PositionError(InvalidArgumentError):
    """Attributed positions that are empty or out of range."""


class StepFunctionError(InseqError, ValueError):
    """A step function that failed, or changed what it was given."""


class StepShapeError(StepFunctionError):
    """A step function that did not return one number per attributed step."""


class MethodFailedError(InseqError, RuntimeError):
    """A method that raised an error of its own."""


class AggregatorFailedError(InseqError, RuntimeError):
    """An aggregator that raised an error of its own."""


class MethodOutputError(InseqError, ValueError):
    """A method that returned something else than its contract says."""


class NonFiniteScoreError(InseqError, ArithmeticError):
    """NaN or infinity in the model's output."""


class PluginError(InseqError):
    """A plugin that cannot be used."""


class PluginConflictError(PluginError):
    """Two plugins that provide the same name."""


class AlreadyRegisteredError(InseqError, ValueError):
    """A name that is registered, without ``overwrite=True``."""


class FileFormatError(InseqError, ValueError):
    """A file that is not a saved attribution, is damaged, or is newer than this version."""


class SavedFileExistsError(InseqError, ValueError, FileExistsError):
    """Something stands where an attribution is to be saved, and may not be replaced."""


class SavedFileMissingError(InseqError, FileNotFoundError):
    """There is no file to load, or no folder to save in."""


class FileAccessError(InseqError, OSError):
    """A file that could not be read or written: no permission, no room, a name that the disk cannot have."""


class DatasetError(InseqError, ValueError):
    """A dataset that cannot be read, is empty, or has no texts where they were expected."""


class DatasetMissingError(DatasetError, FileNotFoundError):
    """There is no such dataset file."""


class CheckpointError(DatasetError):
    """A folder of kept batches that cannot be used, or that holds another run."""


class MergeError(InseqError, ValueError):
    """Outputs that do not belong together."""


class ModelChangedWarning(InseqWarning):
    """A model, or a setting of its framework, that something in a call changed and left so; it was put back."""


class NotReadyWarning(InseqWarning):
    """A plugin that failed and was set aside."""


class ApproximationWarning(InseqWarning):
    """The result is right but was reached in a slower way, or is less exact than asked for."""


class MeaningWarning(InseqWarning):
    """The numbers are what was asked for, but probably not what they will be called."""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """``a, b, c, … (9 more)``: names in their order, the tail counted."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return f"{shown}, … ({len(names) - limit} more)" if len(names) > limit else shown


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that is most like ``name``, or that it abbreviates, if there is one."""
    candidates, wanted = list(candidates), str(name).lower()
    matches = difflib.get_close_matches(wanted, [c.lower() for c in candidates], n=1, cutoff=0.6)
    if not matches and len(wanted) >= 3:
        matches = sorted((c.lower() for c in candidates if c.lower().startswith(wanted)), key=len)
    return next((c for c in candidates if matches and c.lower() == matches[0]), None)


def unknown_name(
    kind: str,
    name: object,
    installed: Sequence[str],
    installable: Mapping[str, str] | None = None,
    note: str = "",
    existing: str = "Installed",
) -> UnknownNameError:
    """What did I mean, what exists, what do I install.

    Args:
        kind: the kind of thing in the field's words ("attribution method").
        name: what was asked for.
        installed: names that exist.
        installable: name -> distribution, for names known to exist elsewhere.
        note: a last sentence, e.g. why a plugin that would have provided the name failed.
        existing: what is said before ``installed``, where it is nothing that one installs.
    """
    installable = dict(installable or {})
    message = f"No {kind} named {name!r}."
    guess = closest(str(name), [*installed, *installable])
    if str(name) in installable:
        message = f"The {kind} {name!r} is not installed: pip install {installable[str(name)]}"
    elif guess is not None:
        package = installable.get(guess) if guess not in installed else None
        message += f" Did you mean {guess!r}{f' (pip install {package})' if package else ''}?"
    message += f"\n  {existing}: {listed(sorted(installed), 40) or 'none'}."
    missing = [f"{n} (pip install {dist})" for n, dist in sorted(installable.items()) if n not in installed]
    if missing:
        message += f" Not installed: {listed(missing, 8)}."
    if note:
        message += f"\n  {note}"
    return UnknownNameError(message)


def unknown_argument(
    name: str, where: str, accepted: Mapping[str, Sequence[str]], elsewhere: str = ""
) -> UnknownArgumentError:
    """A keyword that nobody takes, with the nearest one that somebody does.

    Args:
        name: the keyword.
        where: the call ("attribute()").
        accepted: owner ("method saliency") -> its parameter names.
        elsewhere: what has a parameter of this very name, but is not part of the call; said in place of a guess.
    """
    every = [argument for names in accepted.values() for argument in names]
    guess = closest(name, every)
    hint = f" Did you mean {guess!r}?" if guess else ""
    if elsewhere:
        hint = f" It is an argument of {elsewhere}."
    owners = "; ".join(f"{owner}: {listed(names, 30) or 'none'}" for owner, names in accepted.items())
    return UnknownArgumentError(
        f"{where} got an argument that nobody takes: {name!r}.{hint}\n  Accepted by {owners}."
    )


def with_article(noun: str) -> str:
    """``a Tensor``, ``an int``."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def invalid(argument: str, value: object, expected: str) -> InvalidArgumentError:
    """``argument`` has ``value``, and what it should be."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    return InvalidArgumentError(f"{argument} = {shown} ({type(value).__name__}): expected {expected}.")
