"""What is installed, by name: plug-ins of this package and of others (architecture.md 6).

A plug-in file holds names only, so that looking for plug-ins costs little: the real module is loaded when a node wants
it. They are looked for in three places: any folder `anylog/plugins/` on Python's path, `twisted/plugins/` likewise
(both by `twisted.plugin`), and entry points of the group `anylog.plugins`, which packages bring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from twisted.plugin import IPlugin, getCache, pluginPackagePaths
from zope.interface import implementer
from zope.interface.exceptions import Invalid, MultipleInvalid
from zope.interface.verify import verifyObject

import twisted.plugins
from anylog.interfaces import ISouthbound

__path__.extend(pluginPackagePaths(__name__))
__all__ = ["GROUP", "Found", "Southbound", "find"]

GROUP = "anylog.plugins"


@implementer(IPlugin, ISouthbound)
@define(eq=False)
class Southbound:
    """A southbound by the name of its module: that has an object `plugin`, which is loaded when first asked for."""

    name: str
    module: str
    _plugin: Any = field(default=None, init=False)

    @property
    def plugin(self) -> Any:
        """The real one. Raises ImportError, AttributeError or what the module raises."""
        if self._plugin is None:
            self._plugin = import_module(self.module).plugin
        return self._plugin

    @property
    def words(self) -> str:
        """See `interfaces.ISouthbound`."""
        return str(self.plugin.words)

    @property
    def help(self) -> str:
        """See `interfaces.ISouthbound`."""
        return str(self.plugin.help)

    @property
    def example(self) -> str:
        """See `interfaces.ISouthbound`."""
        return str(self.plugin.example)

    @property
    def where(self) -> Mapping[str, Any]:
        """See `interfaces.ISouthbound`."""
        return dict(self.plugin.where)

    def make(self, intake: Any, *, net: Any, clock: Any, lanes: Any, chance: Any, running: Any, **options: Any) -> Any:
        """See `interfaces.ISouthbound`."""
        return self.plugin.make(intake, net=net, clock=clock, lanes=lanes, chance=chance, running=running, **options)


@define
class Found:
    """What was found: plug-ins by name, and of those that are broken which and why."""

    plugins: dict[str, Any] = field(factory=dict)
    broken: dict[str, str] = field(factory=dict)


log = Logger()


def find(interface: Any = ISouthbound) -> Found:
    """All that provide it, in the order of their names. A broken one is told in the log by name, and left out.

    Two of one name are both left out: nobody can say which one is meant.
    """
    import anylog.plugins as own

    places = tuple(tuple(package.__path__) for package in (own, twisted.plugins))
    return _found(interface, places)


@lru_cache(maxsize=16)
def _found(interface: Any, places: tuple[tuple[str, ...], ...]) -> Found:
    """The same as long as the places are."""
    import anylog.plugins as own

    found, seen = Found(), list[tuple[str, Any]]()
    for package in (own, twisted.plugins):
        _dropped_in(package, interface, seen, found.broken)
    _installed(entry_points(group=GROUP), interface, seen, found.broken)
    names: dict[str, list[tuple[str, Any]]] = {}
    for where, plugin in seen:
        fault = _fault(interface, plugin)
        if fault:
            found.broken[where] = fault
        else:
            names.setdefault(plugin.name, []).append((where, plugin))
    for name in sorted(names):
        if len(names[name]) > 1:
            places_text = " and ".join(where for where, _ in names[name])
            found.broken[name] = f"two plug-ins have the name '{name}': {places_text}"
        else:
            found.plugins[name] = names[name][0][1]
    for where, why in sorted(found.broken.items()):
        log.error("plug-in {where} is left out: {why}", where=where, why=why)
    return found


def _dropped_in(package: ModuleType, interface: Any, seen: list[tuple[str, Any]], broken: dict[str, str]) -> None:
    """By files. twisted.plugin tells what a file has; one that cannot be loaded it knows nothing of."""
    known = getCache(package)
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            if path.stem != "__init__" and path.stem not in known and package.__name__ == __name__:
                try:
                    import_module(f"{__name__}.{path.stem}")
                except Exception as why:  # of whatever kind: it is somebody else's
                    broken[str(path)] = f"{type(why).__name__}: {why}"
    for name, dropin in sorted(known.items()):
        for plugin in dropin.plugins:
            if interface in plugin.provided:
                _load(f"{package.__name__}.{name}.{plugin.name}", plugin.load, seen, broken)


def _installed(points: Iterable[Any], interface: Any, seen: list[tuple[str, Any]], broken: dict[str, str]) -> None:
    """By entry points: each names a plug-in object."""
    for point in points:
        before = len(seen)
        _load(f"{point.name} ({point.value})", point.load, seen, broken)
        if len(seen) > before and not interface.providedBy(seen[-1][1]):
            seen.pop()  # of another kind


def _load(where: str, load: Callable[[], Any], seen: list[tuple[str, Any]], broken: dict[str, str]) -> None:
    try:
        seen.append((where, load()))
    except Exception as why:  # of whatever kind: it is somebody else's
        broken[where] = f"{type(why).__name__}: {why}"


def _fault(interface: Any, plugin: Any) -> str:
    """Why it is none, or an empty text."""
    try:
        verifyObject(interface, plugin)
    except (Invalid, MultipleInvalid) as why:
        return " ".join(str(why).split())
    except Exception as why:  # its own module
        return f"{type(why).__name__}: {why}"
    return ""
