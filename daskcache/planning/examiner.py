"""The state of each node, found by comparing its targets and records with its recipe.

`Examiner` is the base of `planner.Planner`, which adds the actions.  Examining only reads.  An examiner
lives for one verb: it looks at recipes, parents first, lists the records once, and looks at each target
once.  A verb may then call `Examiner.write_down` to record the findings, such as a touched file.
`reasons` has the explanations in words, and `unrecorded` looks into files that no record describes.
"""

from __future__ import annotations

import math
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .. import config
from ..calls.recipe import Recipe, SourceInput, combine, recipes_before
from ..calls.spec import Code, Spec
from ..errors import DaskcacheWarning, FormatLimit, TargetCollision, UntrustedPickle
from ..hashing import algorithms
from ..hashing.encoder import untagged
from ..runtime.entry import Entry, joint_hash
from ..runtime.facts import (
    describe_input,
    facts_of_recipe,
    record_accepted,
    record_adopted,
    record_kept,
    record_under_new_key,
)
from ..runtime.work import DaskData, FileData
from ..storage import files, records
from ..storage.manifests import forget_manifest, keep_manifest
from ..storage.paths import DATA_HASH, located, nested
from ..storage.place import place_of
from ..storage.record import ANY_TRACE, RecordName, collision_form, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..targets.base import FolderTarget
from .reasons import differences, made_for
from .states import (
    ADOPTED,
    COMPLETE,
    CORRUPT,
    FAILED,
    FOREIGN,
    MISSING,
    MODIFIED,
    PENDING,
    STALE,
    UNSETTLED,
    PlannedNode,
)


class Examiner:
    """Find the states of nodes for one verb.

    Parameters
    ----------
    force : bool or iterable of Recipe
        True to rerun all nodes, or the recipes to rerun, even if they are complete.
    running : iterable of Recipe
        Recipes that are being computed elsewhere.  Their results are not known yet.
    """

    def __init__(self, force: bool | Iterable[Recipe] = False, running: Iterable[Recipe] = ()):
        algorithms.check()
        self.nodes: dict[str, PlannedNode] = {}
        self.force_all = force is True
        self.forced = set() if isinstance(force, bool) else {r.identity for r in force}
        self.running = {recipe.identity for recipe in running}
        #: Random id of this verb.
        self.verb = uuid.uuid4().hex[:16]
        self._stores: dict[str, RecordStore] = {}
        self._failed: dict[str, set[str]] = {}
        #: The recipe that claims each target, and each folder because of a target inside it.
        self._claims: dict[str, Recipe] = {}
        self._folders: dict[str, Recipe] = {}
        self._crowds: Counter[str] = Counter()
        self._max_in_folder = config.get("folder-warning") or math.inf
        self._touched: list[tuple[RecordStore, RecordName]] = []
        #: Targets that another recipe made from equal data with equal code, or that a user accepted.
        self._taken_over: list[tuple[PlannedNode, RecordName, RecordName]] = []
        #: Files that a user edited or put in place, and that become the result.
        self._adopted: list[tuple[PlannedNode, int, RecordName | None, RecordName, list | None]] = []
        #: Adopted results that become the result of a recipe other than their own.
        self._kept: list[tuple[PlannedNode, RecordName, RecordName]] = []
        self._accepted: dict[str, records.Acceptances] = {}
        #: Targets that were computed again after an adopted result was released.
        self._recomputed: list[tuple[RecordStore, str]] = []
        self._codes: dict[Spec, Code] = {}
        self._now = time.time()

    def look(self, recipe: Recipe) -> PlannedNode:
        """Examine a node and all nodes upstream of it, and return the node."""
        nodes = self.nodes
        # a stack instead of recursion: chains may be thousands of nodes long
        stack = [recipe]
        while stack:
            current = stack[-1]
            if current.identity in nodes:
                stack.pop()
                continue
            unseen = [p for p in recipes_before(current) if p.identity not in nodes]
            if unseen:
                stack += reversed(unseen)
                continue
            stack.pop()
            nodes[current.identity] = self._examine(current)
        return nodes[recipe.identity]

    def assume(self, recipe: Recipe, entry: Entry) -> None:
        """Treat a node as complete if the files of its entry are unchanged."""
        places = [f"{entry.root}/{result.target.path}" for result in entry.stored]
        if [files.stamp(place) for place in places] != [result.stamp for result in entry.stored]:
            return
        planned = PlannedNode(recipe, [])
        planned.data_hash = entry.data_hash
        planned.records = tuple(
            RecordName(
                recipe.key, target_id(path), "", data_hash, file_hash, stamp.size, stamp.mtime_ns, 0
            )
            for path, (_, data_hash, file_hash, stamp, _) in zip(recipe.paths, entry.stored, strict=True)
        )
        planned.forms = tuple(result.form for result in entry.stored)
        self.nodes[recipe.identity] = planned

    def _examine(self, recipe: Recipe) -> PlannedNode:
        parents = [self.nodes[p.identity] if isinstance(p, Recipe) else None for p in recipe.upstream]
        planned = PlannedNode(recipe, parents)
        if recipe.parts is not None:
            code = self._codes.get(recipe.spec)
            if code is None:
                code = self._codes[recipe.spec] = recipe.spec.code()
            recipe.check_code(code)
        if recipe.mutable or None in parents:
            recipe.revalidate()
        if recipe.identity in self.running:
            planned.state, planned.unsettled = PENDING, True
            planned.reasons.append("is being computed")
            return planned
        planned.forced = planned.outdated = self.force_all or recipe.identity in self.forced
        trace = self._expected_trace(recipe, parents)
        if recipe.paths:
            self._examine_targets(planned, trace)
        else:  # no target to hash: the trace stands for the data, as equal traces give equal data
            planned.state, planned.data_hash = MISSING, trace
            planned.reasons.append("is not cached")
            if recipe.spec.options.pure is False or recipe.taint:  # each run may give other data
                planned.data_hash = None
        self._consider_parents(planned)
        if planned.forced:
            planned.reasons.append("rerun was forced")
        self._consider_adopted(planned, trace)
        return planned

    def _expected_trace(self, recipe, parents):
        """Return the trace that the node would have now, or None if a parent's data is unknown."""
        identities = []
        for source, parent in zip(recipe.upstream, parents, strict=True):
            identity = source.identity if parent is None else parent.data_hash
            if identity is None:
                return None
            identities.append(identity)
        return combine(recipe.static, identities)

    def _examine_targets(self, planned: PlannedNode, trace: str | None) -> None:
        recipe = planned.recipe
        store = self.store(recipe.root)
        candidates = store.with_key(recipe.key)
        vouching = []
        for position, path in enumerate(recipe.paths):
            self._claim(recipe, path)
            identifier = target_id(path)
            own = [name for name in candidates if name.target_id == identifier]
            vouching.append(self._examine_target(planned, position, path, identifier, own, trace))
        planned.records = tuple(vouching)
        own_records = [name for name in vouching if name is not None and name.key == recipe.key]
        if len(own_records) == len(vouching):
            planned.data_hash = joint_hash([name.data_hash for name in own_records])
            self._compare_trace(planned, trace)
        if planned.state == MISSING:
            self._look_elsewhere(planned, trace)
            if recipe.key in self._failed[recipe.root]:
                planned.state, planned.reasons = FAILED, ["failed when it last ran"]

    def _examine_target(self, planned, position, path, identifier, own, trace) -> RecordName | None:
        """Examine one target of a node, and return the record that vouches for it, or None.

        The cheap evidence comes first.  Most targets agree in size and mtime with a record of their own
        key, and are not opened.  As a rule, a file is hashed only if no record has its size and mtime.
        """
        recipe = planned.recipe
        options = recipe.spec.options
        known_hash = own[0].data_hash if own else DATA_HASH
        location = f"{recipe.root}/{located(path, known_hash)}"
        noted = self._accepted[recipe.root].get(identifier)
        if noted and recipe.key in noted.get("released", ""):
            planned.released = not own
            if own:
                self._recomputed.append((self.store(recipe.root), identifier))
        stamp = files.stamp(location)
        if stamp is None:
            what = "adopted result" if own and own[0].adopted else "target"
            self._worsen(planned, MISSING, f"the {what} was deleted" if own else "was never computed")
            if planned.released:
                planned.reasons = ["its adopted result was released"]
            return own[0] if own else None
        if noted and "content" in noted:  # outranks records, which may know this content from before
            others = self.store(recipe.root).with_target(identifier)
            before = (own or others or [None])[0]
            adopted = self._take_in(planned, position, location, stamp, before, trace, noted)
            if adopted is not None:
                return adopted
        for name in own:
            if (name.size, name.mtime_ns) == stamp:  # no Stamp is made: this is asked for every node
                return self._check_further(planned, name, location)
        if options.check == "exists":
            touched = self._same_content(recipe, own, location, stamp, trace)
            return touched or self._found_by_others(recipe, position, location, stamp)
        others = self.store(recipe.root).with_target(identifier)
        alike = [name for name in others if name.stamp == stamp]
        if len({name.file_hash for name in alike}) > 1:  # rivals wrote within one tick of the clock
            content = files.file_hash(location)
            alike = [name for name in alike if name.file_hash == content]
        if alike:  # with this key, an intent: a commit was cut short just before its last step
            name = min(alike, key=_order_for(recipe, trace))
            return self._of_this_or_other(planned, name, path, trace, location)
        touched = self._same_content(recipe, [*own, *others], location, stamp, trace)
        if touched is not None:
            return self._of_this_or_other(planned, touched, path, trace, location)
        written_since = self._written_since(recipe, location, identifier)
        if written_since is not None:
            return self._of_this_or_other(planned, written_since, path, trace, location)
        before = (own or others or [None])[0]
        return self._examine_unrecorded(planned, position, location, stamp, before, trace)

    def _examine_unrecorded(self, planned, position, location, stamp, before, trace):
        """Examine a target with unrecorded content, and return the record of the result before it.

        The content was edited, is damaged, or is from another program.  `before` is the record of the
        result that daskcache stored there, or None.  If the file is adopted, its new record is returned.
        """
        recipe = planned.recipe
        path = recipe.paths[position]
        target = recipe.targets[position].at(location)
        if before is None:
            self._worsen(planned, FOREIGN, f"{path} was not written by daskcache")
            return None
        if recipe.spec.options.on_modified == "adopt":
            adopted = self._take_in(planned, position, location, stamp, before, trace, {})
            if adopted is not None:
                return adopted
        edited = f"{path} was edited after it was stored"
        # an edited file can be read, a damaged one can't; files that run code are not read to find out
        try:
            root = self.store(recipe.root).root
            if not target.runs_code and _look_into(target, root, before.file_hash) is None:
                planned.outdated = True
                self._worsen(planned, CORRUPT, f"{path} is damaged: {_damage(target)}")
                return before
        except UntrustedPickle as error:
            edited = f"{edited}: {error.message}"
        self._worsen(planned, MODIFIED, edited)
        return before

    def is_own(self, planned: PlannedNode, path: str) -> bool:
        """Return True if a target of the node holds the node's own result as it was recorded."""
        recipe = planned.recipe
        names = self.store(recipe.root).with_key(recipe.key)
        found = files.stamp(f"{recipe.root}/{path}")
        return any(n.target_id == target_id(path) and n.stamp == found for n in names)

    def takes_in(self, planned: PlannedNode) -> bool:
        """Return True if this verb adopts a target of the node."""
        return any(node is planned for node, *_ in self._adopted)

    def _take_in(self, planned, position, location, stamp, before, trace, note):
        """Return the record that adopts a user's file, or None if the file can't be the result.

        If `note` has a content hash, only a file with that content is adopted.
        """
        recipe = planned.recipe
        target = recipe.targets[position].at(location)
        root = self.store(recipe.root).root
        stored = before.file_hash if before is not None and "content" not in note else None
        try:
            found = _look_into(target, root, stored, self._form_before(planned, before))
        except FormatLimit as error:
            error.node, error.target = recipe.title, location
            planned.refusal = error
            planned.reasons.append(f"{error.message} (expected {error.expected}, got {error.got})")
            return None
        if found is None or note.get("content", found.file_hash) != found.file_hash:
            return None
        adopted = RecordName(
            recipe.key,
            target_id(recipe.paths[position]),
            trace or ANY_TRACE,
            found.data_hash,
            found.file_hash,
            *stamp,
            before.microseconds if before is not None else 0,
            adopted=True,
        )
        if before is not None:
            self.store(recipe.root).foresee(adopted, before)
        self._adopted.append((planned, position, before, adopted, found.manifest))
        return adopted

    def _same_content(self, recipe, names, location, stamp, trace):
        """Return the record of a target that was copied or touched but not edited, or None.

        If there are several, one that completes the node comes first, then the newest.
        """
        candidates = [name for name in names if name.size == stamp.size]
        candidates.sort(key=_order_for(recipe, trace))
        content = files.file_hash(location) if candidates else None
        if files.stamp(location) != stamp:
            return None  # the file was replaced meanwhile, and `content` is that of the new one
        for name in candidates:
            if name.file_hash == content:
                touched = name._replace(mtime_ns=stamp.mtime_ns)
                self.store(recipe.root).foresee(touched, name)
                self._touched.append((self.store(recipe.root), touched))
                return touched
        return None

    def _written_since(self, recipe, location, identifier):
        """Return the record of a target that another program committed after the records were listed."""
        now = RecordStore(Root(recipe.root))
        return now.vouching(identifier, location, files.stamp(location), recipe.key)

    def _check_further(self, planned, name, location):
        spec = planned.recipe.spec
        if (
            spec.options.check == "content"
            and files.file_hash(location) != name.file_hash
            and files.stamp(location) == name.stamp  # else it was replaced while it was hashed
        ):
            planned.outdated = True
            self._worsen(planned, CORRUPT, f"{location} is damaged")
        if (
            spec.max_age is not None
            and not name.adopted  # a correction doesn't age
            and self._now - self._written(planned, name, location) > spec.max_age
        ):
            planned.outdated = True
            self._worsen(planned, STALE, f"older than {spec.options.expires}")
        return name

    def _written(self, planned, name, location):
        """Return the time when a target was written, in seconds since 1970."""
        # a table has no mtime, but its record has the time
        if place_of(location).has_files:
            return name.mtime_ns / 1e9
        record = self.store(planned.recipe.root).read(name)
        return record.created_at if record is not None else 0.0

    def _found_by_others(self, recipe, position, location, stamp):
        """Return a record, never stored, for a file that ``check="exists"`` takes as it is."""
        content = files.file_hash(location)
        return RecordName(recipe.key, "", "", content, content, *stamp, 0)

    def _of_this_or_other(self, planned, name, path, trace, location):
        """Return the record that vouches for a target, given a record that describes its content.

        A record of another recipe completes this node if their traces are equal or a user accepted the
        target.  Otherwise the node is stale.
        """
        recipe = planned.recipe
        if name.key == recipe.key:
            return name
        if trace is not None and (name.trace == trace or self._is_accepted(recipe, name)):
            taken_over = name._replace(key=recipe.key, trace=trace)
            self.store(recipe.root).foresee(taken_over, name)
            self._taken_over.append((planned, name, taken_over))
            return self._check_further(planned, taken_over, location)
        self._other_recipe(planned, name, path)
        return name

    def _is_accepted(self, recipe, name):
        """Return True if a user accepted another recipe's target as the result of this one."""
        note = self._accepted[recipe.root].get(name.target_id)
        if note is None or note.get("key") != name.key:
            return False
        record = self.store(recipe.root).read(name)
        return record is not None and record.function == recipe.spec.qualified_name

    def _other_recipe(self, planned, name, path):
        """Explain a target that another recipe made, and mark the node as stale.

        The other recipe is an earlier version of this one, or a rival for the path.

        Raises
        ------
        TargetCollision
            If another function made the target.
        """
        recipe = planned.recipe
        record = self.store(recipe.root).read(name)
        if record is None:
            self._worsen(planned, STALE, "its record can't be read")
            return
        if record.function != recipe.spec.qualified_name:
            raise TargetCollision(
                "the target belongs to another function",
                node=recipe.title,
                target=f"{recipe.root}/{path}",
                expected=f"made by {recipe.spec.qualified_name}",
                got=f"made by {record.function}",
                hint="give one of them another target, or delete the file if it is not needed",
            )
        before = record.trace.partition(":")[0]
        if before != algorithms.algorithm():
            self._worsen(planned, STALE, f"hashed with {before} then, {algorithms.algorithm()} now")
            return
        if record.replaced == recipe.key:  # that recipe has overwritten this one's result
            warnings.warn(
                f"two recipes take turns at {recipe.root}/{path}, and each rerun replaces the other's "
                "result: put what differs between them, or {key}, into the path template",
                DaskcacheWarning,
                stacklevel=2,
            )
        for reason in differences(record, recipe) or ["its recipe changed"]:
            self._worsen(planned, STALE, reason)

    def _compare_trace(self, planned, trace):
        """Mark the node as stale if its targets were made from other data than the parents hold now."""
        recipe = planned.recipe
        if planned.state not in (COMPLETE, MISSING) or recipe.spec.options.check == "exists":
            return
        name = planned.records[0]
        if trace == name.trace:
            return
        if name.trace == ANY_TRACE:
            self._keep(planned, trace)
            return
        if trace is not None and self._is_accepted(recipe, name):
            accepted = tuple(name._replace(trace=trace) for name in planned.records)
            self._replace_records(planned, accepted, self._taken_over)
            return
        if trace is not None:
            self._worsen(planned, STALE, "what it was made from holds other data now")
            return
        # without a trace to compare, those parents whose data are known are compared one by one
        record = self.store(recipe.root).read(name)
        for parent, described in zip(planned.parents, record.upstream if record else (), strict=False):
            known = parent and parent.data_hash
            if known and untagged(described["data_hash"]) != known:
                path = parent.recipe.title
                self._worsen(planned, STALE, f"{path} holds other data now")

    def _look_elsewhere(self, planned, trace):
        """Find the result of equal code and equal data at other targets, to be copied if needed."""
        store = self.store(planned.recipe.root)
        if trace is None or store.is_empty():
            return
        from ..runtime.elsewhere import find_elsewhere
        from ..storage import traces

        names = traces.with_trace(store.root, trace, self.verb)
        found = find_elsewhere(store, planned.recipe.spec, trace, names)
        if found is None:
            return
        if found.is_alike:
            planned.data_hash = joint_hash([name.data_hash for name in found.names])
        if found.is_there and found.paths != planned.recipe.paths:
            planned.elsewhere = found
            planned.reasons = [f"will be copied from {', '.join(found.paths)}"]

    def _consider_parents(self, planned):
        """Mark a node as pending or unsettled if its parents may change.

        A complete node below a parent that may change can be decided only when that parent has run.  A
        missing target, or one that another recipe has overwritten, does not make a node unsettled.  Such
        a node gets the same data as before if its parents do, so only its parents count.
        """
        if planned.state == COMPLETE and planned.recipe.spec.options.check == "exists":
            return
        changing = [p for p in planned.parents if p is not None and _may_change(p)]
        if changing and planned.state == COMPLETE:
            planned.reasons.append(f"waits for {changing[0].recipe.title}")
            planned.state = PENDING
        elif changing and not planned.recipe.paths:
            planned.state = PENDING
        if changing and planned.state in (PENDING, MISSING, FAILED):
            planned.data_hash = None
            planned.elsewhere = None
        has_target = planned.state in UNSETTLED and not _is_overwritten(planned)
        planned.unsettled = bool(changing) or has_target or planned.released

    def _consider_adopted(self, planned, trace):
        """Give a node with an adopted result its state.

        An adopted result stands for the recipe that it was made for.  For others, the user decides.
        """
        if planned.state in (MODIFIED, FOREIGN):
            return  # the file there now is not the adopted one
        # older records say it in their content, not in their name: read if the node would run again
        is_read = planned.state == STALE or planned.forced or planned.outdated
        candidates = [name for name in planned.records if name is not None and (name.adopted or is_read)]
        adopted = [name for name in candidates if self._stands(planned, name)]
        if not adopted:
            return
        record = self.store(planned.recipe.root).read(adopted[0])
        if planned.state == COMPLETE and not planned.forced:
            planned.state = ADOPTED
        elif planned.state != PENDING:  # a pending node's worker decides, and replaces no adopted result
            self._contest(planned, adopted, trace, record)
        if planned.state == ADOPTED:
            planned.reasons.insert(0, _adopted_by(planned, record, self._accepted[planned.recipe.root]))
            planned.forms = tuple(self._form(planned, name) for name in planned.records)

    def _stands(self, planned, name):
        """Return True if the record is of an adopted result whose file still exists."""
        recipe = planned.recipe
        if not self.store(recipe.root).is_adopted(name):
            return False
        path = next(path for path in recipe.paths if target_id(path) == name.target_id)
        return files.exists(f"{recipe.root}/{located(path, name.data_hash)}")

    def _contest(self, planned, adopted, trace, record):
        """Keep the adopted result of a node that would run again, or mark the node as contested.

        The result is kept if ``on_modified="adopt"`` or the user asked to keep it, unless it is damaged.
        """
        notes = self._accepted[planned.recipe.root]
        kept = planned.recipe.spec.options.on_modified == "adopt" or all(
            (notes.get(name.target_id) or {}).get("keep") == name.file_hash for name in adopted
        )
        planned.keeps = kept
        if kept and len(adopted) < len(planned.records):
            planned.unsettled, planned.data_hash = True, None
            return  # the function's other results have to be made; the worker keeps this one
        story = made_for(record, planned.recipe) if record is not None else ""
        if kept and planned.state != CORRUPT:
            planned.forced = planned.outdated = planned.unsettled = False
            planned.reasons = [f"kept: it was {story}"] if story else []
            self._keep(planned, trace)
        else:
            planned.contested = planned.unsettled = True
            planned.data_hash = None
            planned.reasons = [*([story] if story else []), *planned.reasons]
        planned.state = ADOPTED

    def _keep(self, planned, trace):
        """Make an adopted result the result of this recipe, whatever data it was made from."""
        recipe = planned.recipe
        trace = trace or ANY_TRACE
        is_adopted = self.store(recipe.root).is_adopted
        names = [n._replace(key=recipe.key, trace=trace, adopted=is_adopted(n)) for n in planned.records]
        self._replace_records(planned, names, self._kept)
        planned.data_hash = joint_hash([name.data_hash for name in names])

    def _replace_records(self, planned, names, noted):
        """Replace a node's records by new ones of the same targets, and note them to be written."""
        store = self.store(planned.recipe.root)
        for old, new in zip(planned.records, names, strict=True):
            store.foresee(new, old)
            noted.append((planned, old, new))
        planned.records = tuple(names)

    def _form_before(self, planned, before):
        """Return the form of the result that an adopted file replaces, or None if not recorded."""
        record = before and self.store(planned.recipe.root).read(before)
        return record.form if record else None

    def _form(self, planned, name):
        """Return the form in which an adopted file is read; see `daskcache.targets.forms`."""
        if name is None or not name.adopted:
            return None
        return self._form_before(planned, name)

    def _worsen(self, planned, state, reason):
        # of several targets, the one in the worst state decides
        order = (COMPLETE, MISSING, STALE, CORRUPT, MODIFIED, FOREIGN)
        if order.index(state) > order.index(planned.state):
            planned.state = state
        planned.reasons.append(reason)

    def _claim(self, recipe: Recipe, path: str) -> None:
        """Claim a target for a recipe.

        Raises
        ------
        TargetCollision
            If another recipe claims the target, one inside it, or one around it.
        """
        self._count(recipe, path)
        if DATA_HASH in path:
            return  # equal data may share a file
        # file systems may ignore case, and a table lies inside its database as a file in its folder
        form = f"{recipe.root}/{nested(collision_form(path))}"
        rival, why = self._rival(recipe, form)
        if rival is not None:
            raise TargetCollision(
                why,
                target=f"{recipe.root}/{path}",
                node=recipe.title,
                expected="a target of its own for each node",
                got=f"{rival.name}() with key {rival.key} and {recipe.name}() with key {recipe.key}",
                hint="put what tells them apart, or {key}, into the path template",
            )

    def _count(self, recipe, path):
        """Warn once about a folder that gets more targets than file systems and people handle well."""
        folder = f"{recipe.root}/{path}".rpartition("/")[0]
        self._crowds[folder] += 1
        if self._crowds[folder] == self._max_in_folder + 1 and place_of(path).has_files:
            warnings.warn(
                f"more than {self._max_in_folder} targets of one graph go into the folder {folder}, the "
                f"last one that of {recipe.title}: put an argument that divides them into the template, "
                'as a folder ("{funcname}/{group}/{name}.npy"), or set daskcache.folder-warning to null',
                DaskcacheWarning,
                stacklevel=2,
            )

    def _rival(self, recipe: Recipe, form: str) -> tuple[Recipe | None, str]:
        """Return a recipe that claims the same target, one inside it or one around it, and the reason.

        Without such a recipe, the folders above the target are claimed, and the result is (None, "").
        """
        first = self._claims.setdefault(form, recipe)
        if first.identity != recipe.identity:
            if first.key == recipe.key and first.root == recipe.root:
                return first, "two nodes that follow from impure calls claim one target"
            return first, "two nodes claim one target"
        if form in self._folders:
            return self._folders[form], "one target lies inside another"
        folder = form.rpartition("/")[0]
        while len(folder) > len(recipe.root) and folder not in self._folders:
            if folder in self._claims:
                return self._claims[folder], "one target lies inside another"
            self._folders[folder] = recipe  # folders above a known one are known, too
            folder = folder.rpartition("/")[0]
        return None, ""

    # -- findings ---------------------------------------------------------------------------------------

    def write_down(self) -> None:
        """Record the findings.  Verbs call this; plans only read.

        Findings are new mtimes of copied or touched targets, targets of another key that complete a
        node, and adopted or kept results.
        """
        while self._touched:
            store, touched = self._touched.pop()
            store.refresh(touched)
        while self._taken_over:
            planned, old, new = self._taken_over.pop()
            self._record_taken_over(planned, old, new)
        while self._recomputed:
            store, identifier = self._recomputed.pop()
            records.clear_acceptance(store.root, identifier)
        while self._adopted:
            self._record_adopted(*self._adopted.pop())
        kept = [(old, new) for _, old, new in self._kept if old.key != new.key]
        while self._kept:
            self._record_kept(*self._kept.pop())
        if kept:
            warnings.warn(
                f"{len(kept)} adopted results are kept for other recipes than they were made for: "
                "'dask cache ls' lists them, 'dask cache release' gives them up",
                DaskcacheWarning,
                stacklevel=2,
            )

    def _record_taken_over(self, planned, old, new):
        recipe = planned.recipe
        store = self.store(recipe.root)
        if new.trace == old.trace:  # early cutoff, and not a user's decision to be recorded
            record_under_new_key(store, old, new.key)
            return
        note = self._accepted[recipe.root].get(old.target_id) or {}
        inputs = [describe_input(recipe.root, item) for item in _inputs(planned)]
        recipe.keep_code()
        record_accepted(store, old, new, facts_of_recipe(recipe, inputs), note)
        records.clear_acceptance(store.root, old.target_id)

    def _record_adopted(self, planned, position, before, adopted, manifest):
        recipe = planned.recipe
        store = self.store(recipe.root)
        note = self._accepted[recipe.root].get(adopted.target_id) or {}
        inputs = [describe_input(recipe.root, item) for item in _inputs(planned)]
        store.root.create()
        recipe.keep_code()
        keep_manifest(store.root, adopted.file_hash, manifest)
        record_adopted(store, before, adopted, recipe, position, inputs, note)
        records.clear_acceptance(store.root, adopted.target_id)
        if before is not None and before.file_hash != adopted.file_hash:
            forget_manifest(store.root, before.file_hash)

    def _record_kept(self, planned, old, new):
        recipe = planned.recipe
        store = self.store(recipe.root)
        note = self._accepted[recipe.root].get(old.target_id) or {}
        inputs = [describe_input(recipe.root, item) for item in _inputs(planned)]
        recipe.keep_code()
        record_kept(store, old, new, facts_of_recipe(recipe, inputs), note)
        records.clear_acceptance(store.root, old.target_id)

    def record_of(self, planned: PlannedNode) -> dict[str, Any] | None:
        """Return the content of the record of a node's first target, or None."""
        if not planned.records or planned.records[0] is None:
            return None
        record = self.store(planned.recipe.root).read(planned.records[0])
        return record.document if record is not None else None

    def store(self, root: str) -> RecordStore:
        store = self._stores.get(root)
        if store is None:
            store = self._stores[root] = RecordStore(Root(root))
            store.root.check_links()
            self._failed[root] = records.failed_keys(store.root)
            self._accepted[root] = records.Acceptances(store.root)
        return store


def _order_for(recipe, trace):
    """Return a sort key for the records that describe one target equally; the first one is used.

    The node's own record comes first, then one that completes the node, then the newest.  Of equals, the
    record of an adopted result comes first.  So the choice does not depend on how the folder of records
    is listed.
    """
    return lambda name: (
        name.key != recipe.key,
        name.trace != trace,
        -name.mtime_ns,
        not name.adopted,
    )


def _adopted_by(planned, record, notes):
    """Return the reason with the name of the user that adopted a node's result, and the time."""
    name = planned.records[0]
    note = (name and notes.get(name.target_id)) or {}
    told = note if "content" in note else (record and record.edited) or {}
    by, when = told.get("by") or "on_modified", told.get("when")
    return f"adopted by {by}{f', {when}' if when else ''}"


def _may_change(planned):
    return planned.forced or planned.unsettled or planned.recipe.taint


def _is_overwritten(planned):
    """Return True if the node is stale only because another recipe made a target of it."""
    others = [name for name in planned.records if name is not None and name.key != planned.recipe.key]
    return planned.state == STALE and not planned.outdated and bool(others)


def _look_into(*args):
    """Call `unrecorded.look_into`, which few plans need and so is imported here."""
    from .unrecorded import look_into

    return look_into(*args)


def _damage(target):
    if isinstance(target, FolderTarget):
        return "files of it are missing, or can't be read any more"
    return "it can't be read any more"


def _inputs(planned):
    """Yield the handles of a node's inputs, as its record describes them."""
    for item, parent in zip(planned.recipe.upstream, planned.parents, strict=True):
        if isinstance(item, SourceInput):
            yield FileData(item)
        elif parent is not None and parent.records and None not in parent.records:
            yield parent.entry
        else:
            yield DaskData(None, item.key if isinstance(item, Recipe) else item.identity)
