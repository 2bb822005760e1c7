"""Lineage: which targets of a root were made from which, according to their records.

`gc` uses it to find intermediates, `transfer` to export upstream targets.
"""

from __future__ import annotations

from collections.abc import Iterable

from .listing import Listed


class Lineage:
    """The listed targets of a root and the targets that each was made from.

    Parameters
    ----------
    items : iterable of Listed
        All targets of the root.
    """

    def __init__(self, items: Iterable[Listed]):
        self.by_path = {item.path: item for item in items}
        self._by_key: dict[str, list[Listed]] = {}
        for item in self.by_path.values():
            self._by_key.setdefault(item.name.key, []).append(item)

    def siblings(self, item: Listed) -> list[Listed]:
        """Return all results of the call that made a target, including that target."""
        results = item.record.results or [item.path]
        paths = results.values() if isinstance(results, dict) else results
        return [self.by_path[path] for path in paths if path in self.by_path]

    def parents(self, item: Listed) -> list[Listed]:
        """Return all results of the calls that a target takes an input from."""
        found: dict[str, Listed] = {}
        for described in item.record.upstream:
            if "root" in described:
                continue
            parents = list(self._by_key.get(described.get("key", ""), ()))
            # after an early cutoff the parent's key differs from the one in this record
            known = self.by_path.get(described.get("target", ""))
            for parent in [*parents, *(self.siblings(known) if known else ())]:
                found[parent.path] = parent
        return list(found.values())

    def ancestors(self, items: Iterable[Listed]) -> list[Listed]:
        """Return all targets upstream of some targets, at any distance."""
        found: dict[str, Listed] = {}
        left = list(items)
        while left:
            for parent in self.parents(left.pop()):
                if parent.path not in found:
                    found[parent.path] = parent
                    left.append(parent)
        return list(found.values())

    def intermediates(self) -> set[str]:
        """Return the paths of targets that an existing target was made from, at any distance.

        An intermediate can be deleted without a loss: downstream targets stay finished, because their
        records vouch for their inputs.
        """
        existing = [item for item in self.by_path.values() if item.state != "missing"]
        return {item.path for item in self.ancestors(existing)}
