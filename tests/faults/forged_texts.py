"""Texts that would act on a terminal or in a page, wherever a text comes from: see `forging`.

Each use shows something to a person and checks what it shows: a text for a terminal has no control
characters but line breaks and tabs, HTML has the elements and attributes that daskcache writes and no
others, and SVG is well-formed and has no scripts.
"""

from __future__ import annotations

import contextlib
import html.parser
import itertools
import json
import logging
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from random import Random

import dask
from click.testing import CliRunner
from forged_records import record_of, rewritten
from forging import Forgery, Yard, remove

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.housekeeping.audit import audit_root
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.report import report_root
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.targets.preview import preview

#: What `Yard.wrong` says where a text acts.
ACTS = "a text acts"

_TERMINAL = (
    *("\x1b[2J", "\x1b]0;title\x07", "\x1b[31m", "\x9b31m", "\x07", "\x08" * 20, "\r", "\x7f", "\x00"),
    *("\u202e", "\u2066", "\u200b", "\u2028", "\x85", "\udc80", "\ue000", "\x0b", "\x0c", "\x1bc"),
)
_PAGE = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload='x'>", "<b", "&"),
    *(
        "</td></table><iframe src=x>",
        "</title></svg><script>x</script>",
        "<!--",
        "-->",
        "]]>",
        "<?xml?>",
    ),
    *("&lt;script&gt;", "&#60;b&#62;", "javascript:alert(1)", "<style>*{display:none}</style>", "{0}"),
    *(
        "`<b>`",
        "](javascript:x)",
        "{{7*7}}",
        "%s%n",
        "<![CDATA[",
        "</pre><a>",
        "<a href=//x>",
        "' on='x",
    ),
)


def text(random: Random) -> str:
    """A text of several marks that would act somewhere."""
    marks = [random.choice(random.choice((_TERMINAL, _PAGE))) for _ in range(random.randrange(1, 5))]
    return "".join(itertools.chain.from_iterable(zip(marks, random.choices("ab c", k=4), strict=False)))


def shown(yard: Yard, random: Random) -> Forgery:
    """A text in a place from which daskcache shows it."""
    kind = random.choice(
        [
            *(_argument, _label, _file, _function, _failure, _result, _record, _record, _context),
            *(_edited, _note, _annotation),
        ]
    )
    said = text(random)
    nodes, refusal = [], None
    with dask.config.set({"daskcache.root": yard.root}):
        try:
            nodes = kind(yard, random, said)
        except DaskcacheError as error:
            refusal = str(error)
        except (OSError, ValueError):  # no file or class can have such a name
            refusal = ""
    uses = displays(yard, [*nodes, *yard.nodes], nodes)
    sure = random.sample([*uses], 8)
    if refusal is not None:
        uses["refusal"] = _terminal(lambda: refusal)
        sure.append("refusal")
    return Forgery(f"{kind.__name__[1:]}: {said!r}", refusal is None, uses, tuple(sure))


# ---- where texts come from --------------------------------------------------------------------------


def _argument(yard, random, said):
    """An argument that changed: `why` names both values."""

    @dc.delayed(target="named.json")
    def named(name):
        return 1

    before, after = random.sample([said, "plain"], 2)
    wrapped = random.choice([lambda x: x, lambda x: [x], lambda x: {x: x}, lambda x: {"a": (x,)}])
    dc.compute(named(wrapped(before)), scheduler="sync")
    return [named(wrapped(after))]


def _label(yard, random, said):
    @dc.delayed(target="labelled/{key}.json", label="{name}")
    def labelled(name):
        return 1

    return [labelled(said)]


def _context(yard, random, said):
    @dc.delayed(target="{group}/{key}.json", label="in {group}")
    def grouped(i):
        return i

    with dc.context(group=said):
        return [grouped(1)]


def _file(yard, random, said):
    """The name of a source, of a file in a folder source, or of a target."""
    name = said.replace("/", "|").replace("\0", "")[:60]

    @dc.delayed(target="files/{file.stem}.json", label="{file.filename}")
    def of_file(file):
        return 1

    folder = Path(yard.root, "inputs", name)
    folder.mkdir(parents=True)
    (folder / f"{name}.txt").write_text("x")
    if random.random() < 0.5:
        node = of_file(dc.TextSource(str(folder / f"{name}.txt")))
        dc.compute(node, scheduler="sync")
        (folder / f"{name}.txt").write_text("y" if random.random() < 0.5 else "yy")
        return [node, of_file(dc.TextSource(str(folder / f"{name}.txt")))]

    @dc.delayed(target="folder.json")
    def of_folder(files):
        return 1

    dc.compute(of_folder(dc.FolderSource(str(folder))), scheduler="sync")
    (folder / f"{name}2.txt").write_text("x")
    return [of_folder(dc.FolderSource(str(folder)))]


def _function(yard, random, said):
    def function(i):
        return i

    function.__name__ = said
    if random.random() < 0.5:
        function.__qualname__ = said
    return [dc.delayed(function, target=random.choice(["f/{key}.json", "{funcname}/{key}.json"]))(1)]


def _failure(yard, random, said):
    """The message of an exception, whose class may have an odd name, too."""
    kind = random.choice([ValueError, type(said.replace("\0", ""), (RuntimeError,), {}), KeyError])

    @dc.delayed(target="failing/{key}.json")
    def failing(i):
        raise kind(said)

    node = failing(1)
    dc.compute(node, errors="collect", scheduler="sync")
    return [node]


def _result(yard, random, said):
    """A result that holds texts, and is previewed."""
    node = dc.delayed(_returned, target="returned.json")(random.choice([said, [said], {said: 1}]))
    dc.compute(node, scheduler="sync")
    return [node]


def _returned(value):
    return value


def _record(yard, random, said):
    """A record that says it: in any field."""
    store = RecordStore(Root(yard.root))
    name, content = record_of(store, random.choice(["made/1.json", "read/text.json", "total.json"]))
    field = random.choice(
        [*content, "function", "arguments", "upstream", "label", "adopted", "by", "user"]
    )
    value = {
        "arguments": {said: [said, "0" * 32], "i": [json.dumps(said), "0" * 32]},
        "upstream": [{"source": said, "data_hash": said}, {"target": said, "key": said}],
    }.get(field, said)
    rewritten(store, name, {**content, field: value}, random)
    if random.random() < 0.5:  # so that another recipe meets it
        return [dc.delayed(_returned, target="made/1.json")(7)]
    return []


def _edited(yard, random, said):
    """A file of that name in the root, and a file of that content at a target."""
    name = said.replace("/", "|").replace("\0", "")[:60]
    Path(yard.root, "made", f"{name}.json").write_text("1")
    target = Path(yard.root, random.choice(["made/1.json", "parts/1.txt", "read/text.json"]))
    remove(str(target))
    target.write_bytes(said.encode("utf-8", "surrogatepass"))
    return []


def _note(yard, random, said):
    """What the trash, a failure or an acceptance says."""
    place = Root(yard.root)
    key = yard.nodes[0].dc.key
    trash = "trash/20260101T000000Z-00000000/about.json"
    name, content = random.choice(
        [
            (trash, {"target": said, "reason": "x", "when": "2026-01-01T00:00:00Z"}),
            (trash, {"target": "x", "reason": said, "when": "2026-01-01T00:00:00Z"}),
            (trash, {"target": "x", "reason": "x", "when": said}),
            (f"failures/{key[:2]}/{key}.json", {"error": said, "function": said, "when": said}),
            (
                "leases/0123456789abcdef.json",
                {"owner": said, "host": said, "pid": said, "expires": 1e10},
            ),
        ]
    )
    path = Path(place.metadata, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content).encode("utf-8", "surrogatepass"))
    (path.parent / "x").write_text("x")
    return []


def _annotation(yard, random, said):
    """A template, a version or an option that says it."""
    option = random.choice(["target", "version", "label", "ignore"])
    value = {"target": f"{said}/{{key}}.json", "version": said, "label": said, "ignore": [said]}[option]
    return [dc.delayed(_returned, **{"target": "x/{key}.json", option: value})(1)]


# ---- where texts are shown --------------------------------------------------------------------------


def displays(yard: Yard, nodes: list, new: list) -> dict[str, Callable]:
    """All that shows something, by name."""
    each = new or nodes[:1]
    at = ("--root", yard.root)
    place = Root(yard.root)

    def plan(show):
        return lambda: show(dc.plan(*nodes))

    uses = {
        "plan as text": _terminal(plan(str)),
        "plan as HTML": _page(plan(lambda found: found._repr_html_())),
        "plan as SVG": _picture(plan(lambda found: found.svg())),
        "why as text": _terminal(lambda: "\n".join(f"{n.dc.why()}{n.dc.why()!r}" for n in each)),
        "why as HTML": _page(lambda: "".join(n.dc.why()._repr_html_() for n in each)),
        "nodes as HTML": _page(lambda: "".join(n._repr_html_() for n in each)),
        "nodes": _terminal(lambda: "\n".join(f"{n.dc}{n.dc!r}{n.dc.state}" for n in each)),
        "errors": _terminal(lambda: _errors(each)),
        "audit as text": _terminal(lambda: str(audit_root(place, sample=5, seed=1))),
        "audit as HTML": _page(lambda: audit_root(place, sample=5, seed=1)._repr_html_()),
        "report of nodes": _report(lambda: dc.report(nodes).html),
        "report of a root": _report(lambda: report_root(place).html),
        "previews": _terminal(lambda: "\n".join(_previews(each))),
        "log and warnings": _terminal(lambda: _logged(each)),
    }
    commands = (
        *(("ls",), ("ls", "--json"), ("status",), ("why", "made/1.json"), ("why", "total.json")),
        *(("verify",), ("du",), ("trash",), ("audit",), ("gc", "--dry-run", "--max-size", "0 B")),
        *(("why", "named.json"), ("rm", "--dry-run", "made/1.json"), ("adopt", "made/1.json")),
    )
    for command in commands:
        uses[" ".join(command)] = _terminal(lambda command=command: _printed(*command, *at))
    return uses


def _printed(*arguments):
    done = CliRunner().invoke(cache, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def _errors(nodes):
    """The stand-ins and the errors of a verb."""
    with dask.config.set(scheduler="sync"):
        texts = [f"{each}{each!r}" for each in dc.compute(*nodes, errors="collect")]
        try:
            dc.compute(*nodes)
        except DaskcacheError as error:
            texts.append(str(error))
        except Exception as error:  # noqa: BLE001 (a function's own, but for the notes)
            texts += getattr(error, "__notes__", ())
    return "\n".join(text for text in texts if "NodeFailed" in text or "\n" in text)


def _previews(nodes):
    for node in nodes:
        with contextlib.suppress(DaskcacheError):
            look = preview(node.dc.load())
            yield from (look.summary, look.text or "")
            for row in look.rows or ():
                yield from map(str, row.items())


def _logged(nodes):
    """The log records and warnings of a verb."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("daskcache")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.suppress(Exception):
            warnings.simplefilter("always")
            dc.compute(*nodes, errors="collect", scheduler="sync")
    finally:
        logger.removeHandler(handler)
    return "\n".join([*records, *[f"{each.message}" for each in caught]])


# ---- what is allowed ---------------------------------------------------------------------------------


def _terminal(show):
    def use():
        try:
            _check_terminal(show())
        except DaskcacheError as error:
            _check_terminal(f"{error}")

    return use


def _check_terminal(output):
    for character in output:
        is_control = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        if is_control and character not in "\n\t":
            place = output.index(character)
            raise AssertionError(
                f"{ACTS}: {character!r} in {output[max(place - 200, 0) : place + 20]!r}"
            )


def _page(show):
    return lambda: _Page(convert_charrefs=True).check(show())


class _Page(html.parser.HTMLParser):
    """A page that may have the elements and attributes of daskcache's tables, and no others."""

    _ELEMENTS = (
        *("p", "b", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code", "pre"),
        *("span", "ul", "ol", "li", "div", "em"),
    )

    def check(self, page):
        _check_terminal(page)
        self._page, self._open = page, []
        self.feed(page)
        self.close()
        if self._open:
            raise AssertionError(f"{ACTS}: {self._open} are not closed in {page!r:.300}")

    #: Addresses of links, which are paths or files, and of pictures.
    _LINK = re.compile(r"(file:///)?[\w./%~-]*")
    _PICTURE = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,[\w+/=]*")

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if (
            tag == "img"
            and given.keys() == {"alt", "src", "style"}
            and self._PICTURE.fullmatch(given["src"])
        ):
            return
        if tag == "a" and given.keys() == {"href", "style"} and self._LINK.fullmatch(given["href"]):
            self._open.append(tag)
            return
        if tag not in self._ELEMENTS or {name for name, _ in attrs} - {"style", "open"}:
            raise AssertionError(f"{ACTS}: <{tag} {attrs}> in {self._page!r:.300}")
        self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            raise AssertionError(f"{ACTS}: </{tag}> in {self._page!r:.300}")

    def handle_comment(self, data):
        raise AssertionError(f"{ACTS}: a comment in {self._page!r:.300}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def _report(show):
    return lambda: _Report(convert_charrefs=True).check(show())


class _Report(_Page):
    """A report, which has a style and sections of its own."""

    _META = frozenset({"charset", "name", "content", "http-equiv"})
    _OTHERS = (
        *("html", "head", "title", "style", "body", "header", "main", "nav", "h1", "h2", "h3"),
        *("figure", "figcaption", "dl", "dt", "dd", "small", "a"),
    )
    _ATTRIBUTES = frozenset({"class", "id", "lang", "scope", "style", "tabindex", "title", "aria-label"})

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "br" or (tag == "meta" and given.keys() <= self._META):
            return
        if (
            tag == "img"
            and given.keys() <= {"alt", "src", "title"}
            and self._PICTURE.fullmatch(given["src"])
        ):
            return
        is_link = tag == "a" and re.fullmatch(r"#[\w-]+", given.pop("href", ""))
        is_known = tag in (*self._ELEMENTS, *self._OTHERS) and given.keys() <= self._ATTRIBUTES
        if not is_known or (tag == "a" and not is_link):
            raise AssertionError(f"{ACTS}: <{tag} {attrs}> in {self._page!r:.300}")
        self._open.append(tag)

    def handle_decl(self, decl):
        assert decl == "doctype html"


def _picture(show):
    return lambda: _check_picture(show())


def _check_picture(picture):
    _check_terminal(picture)
    try:
        root = ET.fromstring(picture)
    except ET.ParseError as error:
        raise AssertionError(f"{ACTS}: SVG that is not well-formed: {error}") from error
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        attributes = {each.rpartition("}")[2] for each in element.attrib}
        acts = {each for each in attributes if each.startswith("on") or each in ("href", "src")}
        if name not in ("svg", "g", "title", "rect", "text", "path", "style") or acts:
            raise AssertionError(f"{ACTS}: <{name} {element.attrib}> in SVG")
