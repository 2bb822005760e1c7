"""What a function is given of each kind of file, in the run that makes a result and in later ones."""

from __future__ import annotations

import corpus_arrays
import corpus_images
import corpus_tables
import pytest
from corpus import check_same

from daskcache import delayed
from daskcache.errors import SourceUnreadable, UntrustedPickle

KINDS = [*corpus_images.KINDS, *corpus_tables.KINDS, *corpus_arrays.KINDS]
CASES = [(kind, number) for kind in KINDS for number in range(len(kind.values))]


@pytest.mark.parametrize(("kind", "number"), CASES, ids=[f"{k.name} {n}" for k, n in CASES])
def test_a_file_arrives(kind, number, tmp_path, runs):
    """The value that was written arrives, cold and warm; other libraries read the same.

    A file that can't be read is named, with a remedy, and nothing runs.
    """
    value, path = kind.values[number], str(tmp_path / f"raw{kind.suffix}")
    kind.write(value, path)

    @delayed(target="out.pkl")
    def copied(data):
        runs.note("copied")
        return data

    if kind.refused:
        for use in (kind.source(path).get_data, copied(kind.source(path)).compute):
            with pytest.raises((SourceUnreadable, UntrustedPickle), match=kind.refused) as caught:
                use()
            assert path in caught.value.message
            assert caught.value.hint
        assert runs.take() == []
        return
    expected = kind.expected(value)
    check_same(kind.source(path).get_data(), expected)
    for _ in ("cold", "warm"):
        check_same(copied(kind.source(path)).compute(), expected)
    assert runs.take() == ["copied"]
    for read in kind.others:
        check_same(read(path), expected)


AXES = {
    "TIFF: one plane": "YX",
    "TIFF: colour": "YXS",
    "ImageJ: a stack": "ZYX",
    "ImageJ: a hyperstack": "TZCYX",
    "ImageJ: deflated": "TZCYX",
    "ImageJ: planes in one piece": "ZYX",
    "OME-TIFF: a stack": "ZYX",
    "OME-TIFF: a hyperstack": "TCZYX",
    "OME-TIFF: of a pyramid, the full size": "ZYX",
    "LSM: thumbnails are left out": "ZYX",
}


@pytest.mark.parametrize("name", AXES)
def test_axes_of_images(name, tmp_path):
    """The axes that a file tells."""
    kind = next(kind for kind in KINDS if kind.name == name)
    path = str(tmp_path / f"raw{kind.suffix}")
    kind.write(kind.values[0], path)
    assert kind.source(path).read_metadata().axes == AXES[name]


def test_the_corpus_is_broad():
    """At least 80 kinds; half of those that arrive have values that another library computes."""
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 80
    arriving = [kind for kind in KINDS if not kind.refused]
    assert sum(bool(kind.others) for kind in arriving) >= len(arriving) / 2
