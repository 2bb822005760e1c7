"""`Lineage`, which tells what a root's recorded targets were made from, and what was made from them."""

from __future__ import annotations

from collections.abc import Iterable

from .listing import Listed


class Lineage:
    """The listed targets of a root and the targets that each was made from.

    `gc` uses it to find intermediates, `transfer` to export upstream targets, and ``dask cache rm`` to
    remove downstream targets.

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
        return _reached(items, self.parents)

    def descendants(self, items: Iterable[Listed]) -> list[Listed]:
        """Return all targets downstream of some targets, at any distance."""
        users: dict[str, list[Listed]] = {}
        for item in self.by_path.values():
            for parent in self.parents(item):
                users.setdefault(parent.path, []).append(item)
        return _reached(items, lambda item: users.get(item.path, ()))

    def intermediates(self) -> set[str]:
        """Return the paths of targets that an existing target was made from, at any distance.

        An intermediate can be deleted without a loss: downstream targets stay finished, because their
        records vouch for their inputs.
        """
        existing = [item for item in self.by_path.values() if item.stamp is not None]
        return {item.path for item in self.ancestors(existing)}


def _reached(items, following):
    """Return all targets that are reached from some targets, each once."""
    found: dict[str, Listed] = {}
    left = list(items)
    while left:
        for item in following(left.pop()):
            if item.path not in found:
                found[item.path] = item
                left.append(item)
    return list(found.values())
