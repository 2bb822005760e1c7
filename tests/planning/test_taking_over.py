"""What prefectx left, pickles without records, becomes daskcache's in bulk."""

from __future__ import annotations

import pickle
import warnings

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import DaskcacheWarning, ForeignTarget
from daskcache.housekeeping.cli.main import cache


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of prefectx: its folder, where the current folder is the root."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with dask.config.set({"daskcache.root": ".", "daskcache.context": {"path": "working", "base": ""}}):
        yield folder
        dc.context["base"] = ""
        del dc.context["base"]


def program(runs):
    """A flow as prefectx's users wrote it; only the import differs."""
    task = dc.task(target="{path}/{funcname}/{base}", name_template="{funcname}_{base}")

    @task
    def read(file):
        runs.note("read")
        return f"text of {file}"

    @task
    def rows(text):
        runs.note("rows")
        return [text, {1: (2, None)}]

    @dc.flow
    def extract(files):
        found = []
        for file in files:
            dc.context["base"] = file
            found.append(rows(read(file)))
        return found

    return extract


def leave_pickles(folder, names):
    """What prefectx's `Filestore` would have written for these."""
    for name in names:
        for function, value in (
            ("read", f"text of {name}"),
            ("rows", [f"text of {name}", {1: (2, None)}]),
        ):
            path = folder / "working" / function / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(value))


def adopt(*arguments):
    done = CliRunner().invoke(cache, ["adopt", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def expected(names):
    return [[f"text of {name}", {1: (2, None)}] for name in names]


@pytest.mark.parametrize("mode", ["dask", "cache"])
def test_pickles_of_prefectx_are_taken_over_in_bulk(project, runs, full, mode):
    """One command for a folder; nothing is computed again, new files are made, and all have records."""
    names = [f"n{i}" for i in range(1000 if full else 60)]
    leave_pickles(project, names)
    extract = program(runs)
    with dask.config.set({"daskcache.mode": mode}):
        with pytest.raises(ForeignTarget, match="dask cache adopt"):
            extract(names)
        assert adopt("working").count("is adopted") == 2 * len(names)
        values = [plain(value) for value in extract([*names, "new"])]
        assert values == expected([*names, "new"])
        assert sorted(runs.names()) == ["read", "rows"]
        assert [plain(value) for value in extract(names)] == expected(names)
        assert sorted(runs.names()) == ["read", "rows"]
    assert "nothing" not in adopt("working")
    assert "is adopted" not in adopt("working")


def plain(value):
    return value.get_data() if hasattr(value, "get_data") else value


def test_a_root_is_made_only_where_it_is_asked_for(project, tmp_path):
    """The folder that --root or the configuration names, if there is one."""
    leave_pickles(project, ["a"])
    adopt("--root", str(project / "working"), "rows/a")
    assert (project / "working/.daskcache").is_dir()
    assert not (project / ".daskcache").exists()
    done = CliRunner().invoke(cache, ["adopt", "--root", str(tmp_path / "nowhere"), "a"])
    assert done.exit_code != 0
    assert not (tmp_path / "nowhere").exists()


def test_results_are_taken_over_though_what_they_were_made_from_is_gone(project, runs):
    """Who deleted intermediate results has the final ones; the others are made if they are needed."""
    leave_pickles(project, ["a", "b"])
    for name in ("a", "b"):
        (project / "working/read" / name).unlink()
    extract = program(runs)
    adopt("working")
    assert extract(["a", "b"]) == expected(["a", "b"])
    assert runs.names() == []
    (project / "working/rows/b").unlink()
    assert extract(["a", "b"]) == expected(["a", "b"])
    assert sorted(runs.names()) == ["read", "rows"]


def test_what_is_taken_over_is_kept_when_it_must_be_made_again(project, runs):
    """A deleted file is made again as with prefectx; a replaced one is in the trash."""
    leave_pickles(project, ["a"])
    extract = program(runs)
    adopt("working")
    extract(["a"])
    (project / "working/read/a").unlink()
    (project / "working/rows/a").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DaskcacheWarning)
        assert extract(["a"]) == expected(["a"])
    assert sorted(runs.names()) == ["read", "rows"]
