"""Who provides a thing, and what went wrong with those that do not.

Two frozen records that travel with everything found: where it came from, and why a plugin was set aside.
"""

from __future__ import annotations

import traceback

import attrs

from inseq_core.contracts.guard import inert, one_line
from inseq_core.errors import PluginError


@attrs.frozen(kw_only=True)
class Provenance:
    """Where a spec came from.

    Attributes:
        plugin: name of the entry point.
        distribution: the installed package that has the entry point; "" for what was registered in this
            session.
        version: version of the distribution; "" where its metadata have none.
    """

    plugin: str
    distribution: str = ""
    version: str = ""

    @property
    def is_session(self) -> bool:
        """True for what was registered at run time, False for what a plugin gave."""
        return self == SESSION

    @property
    def is_core(self) -> bool:
        """True for what the core itself gives."""
        return self.distribution == "inseq-core"

    def __str__(self) -> str:
        if self.is_session:
            return "registered in this session"
        package = f"{self.distribution} {self.version}".strip()
        return f"{package} (plugin {self.plugin!r})" if package else f"plugin {self.plugin!r}"


SESSION = Provenance(plugin="session")
"""The provenance of everything that was registered at run time."""


@attrs.frozen(kw_only=True)
class Failure:
    """A plugin, or a part of one, that was set aside.

    Attributes:
        plugin, distribution, version: as in ``Provenance``.
        stage: ``"import"``, ``"registration"`` or the name of the hook that failed.
        reason: one line.
        traceback: the whole story, for the plugin's author; "" where no exception was raised.
    """

    plugin: str
    distribution: str = ""
    version: str = ""
    stage: str
    reason: str = attrs.field(converter=inert)
    traceback: str = attrs.field(default="", repr=False, converter=inert)

    @classmethod
    def of(cls, source: Provenance, stage: str, reason: str | BaseException) -> Failure:
        """A failure of ``source``; an exception is kept with its traceback."""
        trace = ""
        if isinstance(reason, BaseException):
            trace = "".join(traceback.format_exception(type(reason), reason, reason.__traceback__))
            # Our own message says what is wrong with the plugin; another one needs the name of its error.
            is_ours = isinstance(reason, PluginError)
            reason = str(reason).partition("\n")[0] if is_ours else one_line(reason)
        return cls(
            plugin=source.plugin,
            distribution=source.distribution,
            version=source.version,
            stage=stage,
            reason=reason,
            traceback=trace,
        )

    @property
    def source(self) -> Provenance:
        """Whose failure it is."""
        return Provenance(plugin=self.plugin, distribution=self.distribution, version=self.version)

    def __str__(self) -> str:
        return f"{self.source} was set aside at {self.stage}: {self.reason}"
