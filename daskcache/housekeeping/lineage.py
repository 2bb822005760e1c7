"""Which targets of a root were made from which, as their records tell."""

from __future__ import annotations

from collections.abc import Iterable

from .listing import Listed


class Lineage:
    """What the listed targets of a root were made from.

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
        """All results of the call that made a target, that one included."""
        results = item.record.get("results") or [item.path]
        paths = results.values() if isinstance(results, dict) else results
        return [self.by_path[path] for path in paths if path in self.by_path]

    def parents(self, item: Listed) -> list[Listed]:
        """What a target was made from: all results of the calls that it takes anything from."""
        found: dict[str, Listed] = {}
        for described in item.record.get("upstream", []):
            if "root" in described:
                continue
            parents = list(self._by_key.get(described.get("key", ""), ()))
            # after an early cutoff the parent has another key than this record says
            known = self.by_path.get(described.get("target", ""))
            for parent in [*parents, *(self.siblings(known) if known else ())]:
                found[parent.path] = parent
        return list(found.values())

    def ancestors(self, items: Iterable[Listed]) -> list[Listed]:
        """What some targets were made from, what that was made from, and so on."""
        found: dict[str, Listed] = {}
        left = list(items)
        while left:
            for parent in self.parents(left.pop()):
                if parent.path not in found:
                    found[parent.path] = parent
                    left.append(parent)
        return list(found.values())

    def intermediates(self) -> set[str]:
        """Paths of what something else was made from that is still there.

        Such a target can go without a loss: what follows stays finished, because its record vouches for
        what it was made from.
        """
        existing = [item for item in self.by_path.values() if item.state != "missing"]
        return {item.path for item in self.ancestors(existing)}
