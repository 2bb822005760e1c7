"""What records, labels and file names hold reaches a terminal as text, by whatever way."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import click.testing
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheError, DaskcacheWarning
from daskcache.housekeeping import cli
from daskcache.housekeeping.cli.main import cache
from daskcache.printable import printable, printable_lines

#: Clears the screen (as 7 and 8 bits), reverses letters, forges a line, is half a character.
EVIL = "\x1b[2Jx\x9b2J\u202ey\u2028z\rw\udc80"
SHOWN = "\\x1b[2Jx\\x9b2J\\u202ey\\u2028z\\rw\\udc80"
#: A name of a file that is a valid path of a target, but holds more than letters.
FILE = "a\u202eb\x9b2J"


def is_harmless(text):
    return all(each.isprintable() or each in "\n\t" for each in text)


@pytest.mark.parametrize("text", ["", "plain", "µm, Å and 片", "e\u0301", "a\u3000b\xa0c"])
def test_letters_signs_and_spaces_stay(text):
    """What a terminal shows is shown as it is."""
    assert printable(text) == printable_lines(text) == text


def test_what_a_terminal_would_act_upon_is_escaped():
    """As in Python's own `repr`; line breaks and tabs stay in a text of several lines only."""
    assert printable(EVIL) == printable_lines(EVIL) == SHOWN
    assert printable("a\n\tb") == "a\\n\\tb"
    assert printable_lines("a\n\tb") == "a\n\tb"


def test_errors_and_warnings():
    """No field of an error can clear the screen, or pass for another field."""
    error = DaskcacheError(EVIL, node=EVIL, target="a\n  to do: rm -rf ~", expected=EVIL, hint=EVIL)
    assert is_harmless(str(error))
    assert is_harmless(repr(error))
    assert [line for line in str(error).splitlines() if line.startswith("  to do")] == [
        f"  to do: {SHOWN}"
    ]
    with pytest.warns(DaskcacheWarning) as caught:
        warnings.warn(f"of {EVIL}", DaskcacheWarning, stacklevel=1)
    line = warnings.formatwarning(caught[0].message, DaskcacheWarning, "file.py", 1, "")
    assert is_harmless(line)
    assert SHOWN in line


def make(source):
    return dc.delayed(lambda image, x: x, target="{image.stem}.json", label="{image.stem}", version=1)(
        source, 1
    )


@pytest.fixture
def forged(root, tmp_path):
    """A node whose source has a hostile name, and whose record holds hostile texts."""
    raw = tmp_path / f"{FILE}.txt"
    raw.write_text("1")
    node = make(dc.TextSource(raw))
    node.compute()
    (path,) = (root / ".daskcache" / "records").rglob("*.json")
    record = json.loads(path.read_bytes())
    record |= {"host": FILE, "created": FILE, "function": FILE, "options": FILE}
    record["arguments"] = {EVIL: [EVIL, "aa"], "x": [f"1\n  why  {EVIL}", "aa"]}
    record["upstream"][0]["source"] = EVIL
    path.write_bytes(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return node


@pytest.mark.parametrize(
    "arguments",
    [
        *(["status"], ["ls"], ["why", f"{FILE}.json"], ["verify"], ["du"], ["audit"], ["trash"]),
        *(["gc", "--max-size", "0", "--min-age", "0 s", "--dry-run"], ["accept", f"{FILE}.json"]),
        *(["export", "x.tar", f"{FILE}.json"], ["rm", f"{FILE}.json"], ["adopt", f"{FILE}.json"]),
        *(["keep", f"{FILE}.json"], ["release", f"{FILE}.json"], ["restore", FILE], ["ls", FILE]),
        *(["import", "no.tar"], ["verify", "--json"], ["du", "--json"], ["rm", EVIL], ["why", EVIL]),
    ],
    ids=" ".join,
)
def test_no_command_sends_them_to_the_terminal(arguments, forged, root, tmp_path, monkeypatch):
    """Neither as output nor as an error."""
    monkeypatch.chdir(tmp_path)
    invoke = click.testing.CliRunner().invoke
    done = invoke(cache, [*arguments, "--root", str(root)], color=True)
    assert not isinstance(done.exception, UnicodeError)
    assert is_harmless(done.output), ascii(done.output)
    if arguments[0] == "rm":
        assert is_harmless(invoke(cache, ["trash", "--root", str(root)], color=True).output)


def test_a_record_forges_no_line(forged, root):
    """Each argument takes one line."""
    done = click.testing.CliRunner().invoke(cache, ["why", f"{FILE}.json", "--root", str(root)])
    assert f"  argument   {SHOWN} = {SHOWN}\n" in done.output
    assert not [line for line in done.output.splitlines() if line.startswith("  why  ")]


def test_import_tells_them_harmlessly(root, tmp_path, monkeypatch):
    """An archive of another person is listed as it is taken in."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / f"{FILE}.txt"
    raw.write_text("1")
    make(dc.TextSource(raw)).compute()
    invoke = click.testing.CliRunner().invoke
    assert invoke(cache, ["export", "x.tar", "*", "--root", str(root)]).exit_code == 0
    done = invoke(cache, ["import", "x.tar", "--root", "other"], color=True)
    assert done.exit_code == 0
    assert "imported" in done.output
    assert is_harmless(done.output)


def test_plans_and_nodes(forged):
    """Pictures are of valid XML, too: control characters are none."""
    plan = dc.plan(forged)
    for shown in (str(plan), plan._repr_html_(), plan.svg(), repr(forged), repr(forged.dc)):
        assert is_harmless(shown), ascii(shown)
    assert is_harmless(repr(forged.dc.target))
    assert is_harmless(str(forged.key))


def test_notes_of_errors(tmp_path):
    """A note names the node by its label."""
    raw = tmp_path / f"{FILE}.txt"
    raw.write_text("1")

    def fail(image):
        raise ValueError("no cells")

    with pytest.raises(ValueError, match="no cells") as caught:
        dc.delayed(fail, target="{image.stem}.json", version=1)(dc.TextSource(raw)).compute()
    assert is_harmless("\n".join(caught.value.__notes__))


def test_commands_print_by_one_function():
    """No command writes to the terminal by itself."""
    for path in Path(os.path.dirname(cli.__file__)).glob("*.py"):
        assert path.read_text().count("click.echo(") == (path.stem == "output"), path
        assert "print(" not in path.read_text().replace("printable", "")
