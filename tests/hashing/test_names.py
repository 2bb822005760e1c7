"""The names of classes in keys and records: they stay when a class moves."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest

import daskcache as dc
from daskcache.hashing.encoder import hash_value
from daskcache.hashing.names import current_name, imported, public_name
from daskcache.targets.stores import StoreTarget

CLASSES = [name for name in dc.__all__ if isinstance(getattr(dc, name), type)]


@pytest.mark.parametrize("name", CLASSES)
def test_daskcaches_own_classes_are_named_as_users_import_them(name):
    """The name says nothing of the module, and gives the class again."""
    cls = getattr(dc, name)
    assert public_name(cls) == f"daskcache:{name}"
    assert imported(f"daskcache:{name}") is cls
    assert current_name(f"daskcache.some.older.module:{name}") == f"daskcache:{name}"


def test_other_classes_are_named_by_module_unless_they_say_their_name(define):
    """A class attribute is the name; a subclass does not inherit it."""
    module = define(
        """
        import daskcache as dc

        class Plain(dc.TextTarget):
            pass

        class Named(dc.TextTarget):
            public_name = "meshtools:Named"

        class Below(Named):
            pass
        """,
        module="meshtools_io",
    )
    assert public_name(module.Plain) == "meshtools_io:Plain"
    assert public_name(module.Named) == "meshtools:Named"
    assert public_name(module.Below) == "meshtools_io:Below"
    assert public_name(StoreTarget) == "daskcache.targets.stores:StoreTarget"
    assert current_name("meshtools_io:Plain") == "meshtools_io:Plain"


MESH = """
    import daskcache as dc

    class MeshTarget(dc.TextTarget):
        public_name = "meshtools:MeshTarget"

        def __init__(self, path, unit="mm"):
            super().__init__(path)
            self.unit = unit
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Write modules where installed packages lie, and import one."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)

    def install(module, source):
        path = folder / module.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in path.relative_to(folder).parents:
            (folder / each / "__init__.py").touch()
        path.with_suffix(".py").write_text(textwrap.dedent(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == module.partition(".")[0]]:
            monkeypatch.delitem(sys.modules, name)
        return imported(f"{module}:MeshTarget")

    return install


def test_a_class_that_moves_reruns_nothing(installed, define, runs):
    """A node keeps its key when its target's class moves; so does one whose function names the class."""
    program = """
        import daskcache as dc

        def make(cls, runs):
            @dc.delayed(target=cls("a.txt", unit="um"))
            def stored():
                runs.note("stored")
                return "x"

            @dc.delayed(target="b.json")
            def naming():
                runs.note("naming")
                return cls.__name__

            return [stored(), naming()]
    """
    before = define(program).make(installed("meshtools.io", MESH), runs)
    assert dc.compute(*before) == ("x", "MeshTarget")
    after = define(program).make(installed("meshtools.formats", MESH), runs)
    assert [node.dc.key for node in after] == [node.dc.key for node in before]
    assert dc.compute(*after) == ("x", "MeshTarget")
    assert sorted(runs.names()) == ["naming", "stored"]
    assert after[0].dc.record["format"] == "meshtools:MeshTarget"


def test_classes_of_ours_as_values_count_by_name(monkeypatch):
    """A function may hold a class of daskcache's, or be given one: its module does not count."""
    before = hash_value((dc.ImageSource, dc.hash_objects))
    monkeypatch.setattr(dc.ImageSource, "__module__", "daskcache.storage.trash")
    monkeypatch.setattr(dc.hash_objects, "__module__", "daskcache.graph")
    assert hash_value((dc.ImageSource, dc.hash_objects)) == before


def test_records_that_name_classes_by_module_are_understood(root, tmp_path, runs):
    """A record from before: its node is complete, what it says is in today's names."""
    (tmp_path / "in.txt").write_text("x")

    @dc.delayed(target="a.txt")
    def copied(text):
        runs.note("copied")
        return text

    node = copied(dc.TextSource(tmp_path / "in.txt"))
    node.compute()
    (path,) = (root / ".daskcache" / "records").rglob("*.json")
    content = json.loads(path.read_text())
    content["format"] = "daskcache.targets.text:TextTarget"
    content["upstream"][0]["class"] = "daskcache.targets.text:TextSource"
    path.write_text(json.dumps(content))
    assert node.dc.state == "complete"
    record = node.dc.record
    assert record["format"] == "daskcache:TextTarget"
    assert record["upstream"][0]["class"] == "daskcache:TextSource"
    assert copied(dc.TextSource(tmp_path / "in.txt")).compute() == "x"
    assert dc.audit(node).counts["same"] == 1
    assert runs.names() == ["copied", "copied"]
