"""Reports: one file with all that is known about results, and nothing of whose machine they are on."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

import daskcache as dc
from daskcache.errors import ForeignTarget, GraphError, NotANode, StorageError
from daskcache.housekeeping import redaction, report_page, report_pictures
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.report import Report, report_root
from daskcache.storage.roots import Root

SCALE = 3


def half(value):
    """A helper, whose code is in the report."""
    return value / 2


@dc.delayed(target="images/{plate}_{well}.tif")
def image(plate, well, level=40):
    if well == "C03":
        raise ValueError(f"no cells in {well}")
    return (np.add.outer(np.arange(32), np.arange(32)) * SCALE + level).astype("uint16")


@dc.delayed(target="means/{image.stem}.json")
def mean(image):
    return half(float(image.mean()))


@dc.delayed(target="table.csv")
def table(means):
    return pd.DataFrame({"mean": means})


def screen():
    """Twelve images on two plates, of which one fails; what is measured; a table of one plate."""
    images = [image(plate, f"{row}{n:02d}") for plate in ("P1", "P2") for row in "ABC" for n in (1, 3)]
    return [mean(each) for each in images]


@pytest.fixture
def made(root):
    nodes = screen()
    dc.compute(nodes, table(nodes[:4]), errors="collect")
    return nodes


class Parser(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def sources(page):
    """The addresses of all pictures."""
    return [attrs["src"] for tag, attrs in Parser(page).elements if tag == "img"]


def contents(page):
    """The page, and what is in its pictures, as bytes to search."""
    pictures = [base64.b64decode(source.partition("base64,")[2]) for source in sources(page)]
    return b"\n".join([html.unescape(page).encode(), page.encode(), *pictures])


def report_of_root(root, *targets, **options):
    return report_root(Root(str(root)), targets, **options).html


# ---- what a report has --------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["nodes", "records"])
def test_a_report_has_all_that_is_known(made, root, start):
    """Counts, parameters, pictures, rows, provenance, code, versions and failures, from either start."""
    page = dc.report([made, table(made[:4])]).html if start == "nodes" else report_of_root(root)
    text = Parser(page).text
    assert "Report: root" in text
    # the graph
    graph = base64.b64decode(sources(page)[0].partition("base64,")[2])
    assert sources(page)[0].startswith("data:image/svg+xml")
    assert b"means/P1_A01.json" in graph
    # parameters, without inputs
    parameters = page[page.index('id="parameters"') :].partition("<h2")[0]
    rows = re.findall(r"<tr><td>(.*?)</td></tr>", html.unescape(parameters))
    shown = [row.split("</td><td>") for row in rows]
    assert shown[0] == ["test_report.image()", "plate", "2", "'P1', 'P2'"]
    assert [name for _, name, *_ in shown] == ["plate", "well", "level"]
    assert shown[2][2:] == ["1", "40"]
    # where a result comes from
    record = made[0].dc.record
    for known in (record["key"], record["data_hash"], record["file_hash"], record["created"]):
        assert known in text
    assert "images/P1_A01.tif" in text
    assert f"numpy {np.__version__}" in text
    # code: the function, its helper and its constant
    assert "def mean(image):" in text
    assert "return value / 2" in text
    assert re.search(r"constant test_report.SCALE *3", text)
    # failures, once for each error
    assert "ValueError: no cells in C03: 2 nodes" in text
    assert "raise ValueError(f" in text


def test_results_with_wells_are_in_a_plate_map(made, root):
    """By the text in their paths; each plate has a map; what failed is in its well."""
    page = report_of_root(root)
    section = page[page.index('<h2 id="results-1">') : page.index('<h2 id="results-2">')]
    assert re.findall(r"<h3>(.*?)</h3>", section) == ["images/P1", "images/P2"]
    first = re.findall(r'<table class="plate">(.*?)</table>', section, re.DOTALL)[0]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', first, re.DOTALL)
    assert [letter for letter, _ in rows] == ["A", "B", "C"]
    cells = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for _, row in rows]
    assert [["<img" in cell for cell in row] for row in cells] == [[True, False, True]] * 2 + [
        [True, False, False]
    ]
    assert "images/P1_B03.tif: uint16 array, 32 × 32" in cells[1][2]
    assert ">failed</span>" in cells[2][2]
    assert "no cells in C03" in cells[2][2]


def test_short_texts_are_in_their_wells(made, root):
    page = report_of_root(root, "means")
    cells = re.findall(r'<span title="means/P1_A01.json">(.*?)</span>', page)
    assert [float(cell) for cell in cells] == [half(31 * SCALE + 40)]


def test_wells_are_fields_of_nodes(root, tmp_path, monkeypatch):
    """Also where the paths of results do not tell them; several sites of a well are counted."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for well in ("A01", "B12"):
        for site in (1, 2):
            Path(f"raw/X_{well}_s{site}.txt").write_text(well + str(site))
    length = dc.delayed(len, target="lengths/{key}.json")
    nodes = [length(each) for each in dc.sources("raw/{plate}_{well}_s{site:d}.txt")]
    dask.compute(nodes)
    page = dc.report(nodes).html
    assert "<h3>X</h3>" in page
    plate = re.search(r'<table class="plate">(.*?)</table>', page, re.DOTALL)[1]
    assert re.findall(r'scope="col">(\d+)', plate) == [str(n) for n in range(1, 13)]
    assert re.findall(r">(\d)</span>", plate) == ["4", "4"]
    assert plate.count("<small>+1</small>") == 2
    os.remove(nodes[1].dc.path)
    plate = re.search(r'<table class="plate">(.*?)</table>', dc.report(nodes).html, re.DOTALL)[1]
    assert re.findall(r">(missing)</span>", plate) == ["missing"]
    assert re.findall(r">(\d)</span>", plate) == ["4", "4"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["X_A01_C1", "X_A02_C1", "X_B01_C1", "X_B01_C2"], ["X"]),
        (["C1_T1", "C1_T2", "C2_T1"], []),
        (["A01", "B02", "all"], []),
        (["a_A01", "b_B02", "c_C03"], []),
        (["AF48", "A01"], ["Plate"]),
    ],
)
def test_channels_and_times_are_no_wells(root, names, shown):
    """A part of the paths is the well if it has several rows, and few plates before it."""
    same = dc.delayed(lambda name: name, target="{name}.txt")
    same.map(names).compute()
    page = report_of_root(root)
    assert (
        re.findall(r'<h3>(.*?)</h3>\s*<div class="wide" tabindex="0"><table class="plate">', page)
        == shown
    )


def test_long_texts_are_below_the_plate(root):
    same = dc.delayed(lambda well: well * 20, target="{well}.txt")
    same.map(["A01", "B01"]).compute()
    page = report_of_root(root)
    plate = re.search(r'<table class="plate">(.*?)</table>', page, re.DOTALL)[1]
    assert "A01A01" not in plate.replace("title=", "")
    assert f"<pre>{'A01' * 20}</pre>" in page


def test_results_without_wells_have_thumbnails(root):
    ones = dc.delayed(lambda n: np.full((16, 16), n), target="a_{n}.tif")
    made = ones.map([1, 2, 3])
    made.compute()
    page = dc.report(made).html
    assert "plate" not in page.partition("<body>")[2]
    section = page[page.index('class="looks"') :]
    assert re.findall(r"<figcaption>(\S*)</figcaption>", section) == ["a_1.tif", "a_2.tif", "a_3.tif"]


def test_tables_and_texts_show_their_start(root):
    frame = dc.delayed(pd.DataFrame, target="cells.csv")({"area": range(9)})
    words = dc.delayed(str.upper, target="words.txt")("many\nwords, and more")
    dask.compute(frame, words)
    page = dc.report([frame, words]).html
    assert re.findall(r"<td>(\d)</td>", page[page.index("<h3>cells.csv") :])[:5] == list("01234")
    assert "<pre>MANY\nWORDS, AND MORE</pre>" in page


def test_several_results_of_a_call_have_their_own_sections(root):
    pair = dc.delayed(lambda x: (x, -x), target=("up_{x}.json", "down_{x}.json"))
    dask.compute(*[each for x in (1, 2) for each in pair(x)])
    for page in (dc.report([pair(1), pair(2)]).html, report_of_root(root)):
        titles = re.findall(r'<h2 id="results-\d">(.*?)</h2>', page)
        assert [title.partition(" · ")[2] for title in titles] == ["0", "1"]


def test_a_plan_says_what_is_left(made):
    """And no picture or hash stands for a result that the nodes do not have (yet)."""
    other = [image("P1", "A01", level=50), image("P1", "A01")]
    assert [each.dc.state for each in other] == ["stale", "complete"]
    found = dc.report(other[0])
    assert repr(found) == "<Report: 1 result of 1 function; 1 stale>"
    text = Parser(found.html).text
    assert "1 node to run, 0 finished or not needed" in text
    assert "level: 40 -&gt; 50" in found.html
    assert len(sources(found.html)) == 1  # the graph
    assert made[0].dc.record["upstream"][0]["data_hash"] not in text
    assert dc.plan(other[0]).svg() != dc.report(dc.plan(other[0])).html


def test_corrections_are_listed(made, root):
    Path(made[0].dc.path).write_text("77.0")
    made[0].dc.adopt()
    for page in (dc.report(made).html, report_of_root(root)):
        section = page[page.index('id="corrections"') :].partition("<h2")[0]
        assert "means/P1_A01.json" in section
        assert ">adopted</span>" in section
        assert "<td>‹user›</td>" in section  # whatever the account is called
        assert re.search(r"<dt>adopted</dt><dd>\s*by ‹user›, 2", page)
        assert "77.0" in page


@pytest.mark.parametrize(
    ("damage", "state"),
    [(os.remove, "missing"), (lambda path: Path(path).write_text("123.456"), "modified")],
)
def test_what_is_not_as_recorded_is_not_shown(made, root, damage, state):
    damage(made[0].dc.path)
    page = report_of_root(root, "means/P1_A01.json")
    assert f"1 result of 1 function; 1 {state}" in page
    assert "<dt>why</dt>" in page
    assert "123.456" not in page


# ---- whose machine it is ------------------------------------------------------------------------

USER, HOST, OTHER, ANOTHER = "mmuster", "lab7.example.org", "anna", "berta"
HIDDEN = "/srv/hidden folder/deep"


@pytest.fixture
def someone(monkeypatch, tmp_path):
    """A user with a name, a home and a machine, and a colleague."""
    home = tmp_path / "home" / USER
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    monkeypatch.setattr("platform.node", lambda: HOST)
    monkeypatch.chdir(home)
    with dask.config.set({"daskcache.root": str(home / "my results")}):
        yield home


@rc_context({"svg.fonttype": "none"})
def telling(home):
    """Results of many kinds that tell who made them, and where; the figure has its text as text."""
    Path("raw").mkdir()
    Path(f"raw/{USER} a.txt").write_text("x")

    def draw(text):
        figure = Figure()
        figure.text(0.1, 0.1, text)
        return figure

    def failing(path):
        raise OSError(f"{USER}@{HOST} has no {HIDDEN}/b.tif")

    def anna(source, folder, home=str(home)):
        return f"{folder}/c.txt and {home}/d.txt by {USER} on {HOST}\n" * 3

    def photo(target_path):
        Image.new("RGB", (400, 300), "red").save(target_path, comment=f"{USER} {HIDDEN}")

    drawn = dc.delayed(draw, target="drawn.svg")(f"by {OTHER} in {HIDDEN}/figure.py")
    told = dc.delayed(anna, target="anna/{source.stem}.txt", label="mmuster on lab7")(
        dc.TextSource(f"raw/{USER} a.txt"), Path(HIDDEN)
    )
    frame = dc.delayed(lambda: pd.DataFrame({HIDDEN: [USER], "host": [HOST]}), target="frame.csv")()
    noted = dc.delayed(str.upper, target="noted.txt")("word")
    nodes = [
        *(drawn, told, frame, noted, dc.delayed(failing, target="failing.txt")(home / "b")),
        dc.delayed(photo, target="photo.jpg", save=False)(),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daskcache.storage.records._user", lambda: OTHER)
        dc.compute(nodes, errors="collect")
        stored = Path(frame.dc.path)
        stored.write_text(stored.read_text().replace(USER, f"by {OTHER}"))
        frame.dc.adopt()
        patch.setattr("daskcache.storage.records._user", lambda: ANOTHER)
        Path(noted.dc.path).write_text("by hand")
        done = CliRunner().invoke(cache, ["adopt", noted.dc.path], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return nodes


SECRETS = [USER, HOST, "lab7", OTHER, ANOTHER, HIDDEN, "hidden folder"]


@pytest.mark.parametrize("start", ["nodes", "records"])
def test_names_and_absolute_paths_are_nowhere(someone, start, tmp_path):
    """Neither in texts, addresses, pictures and their metadata, nor in the report's own file."""
    nodes = telling(someone)
    top = someone / "my results"
    found = dc.report(nodes) if start == "nodes" else report_root(Root(str(top)))
    content = contents(found.html)
    for secret in (*SECRETS, str(top), str(someone), str(tmp_path), str(Path(__file__).parent)):
        assert secret.encode() not in content, secret
    assert re.search(rb"(?<![\w.</])/(home|tmp|work|srv|root|usr|opt)\b", content) is None
    for kept in ("‹user›", "‹host›", "…/c.txt", "…/figure.py", "…/b.tif"):
        assert kept.encode() in content, kept
    assert b"Names of users and machines are replaced" in content


def test_names_and_absolute_paths_are_there_if_asked_for(someone):
    nodes = telling(someone)
    page = html.unescape(dc.report(nodes, names=True).html)
    for told in (USER, HOST, OTHER, f"{HIDDEN}/c.txt", f"made on</dt><dd>{HOST}", ANOTHER):
        assert told in page, told
    assert "are replaced" not in page


# ---- a page that is only looked at -----------------------------------------------------------------


def test_a_page_needs_no_scripts_and_no_network(made):
    """All addresses are in the page, and the policy forbids others."""
    page = dc.report(made).html
    parser = Parser(page)
    tags = {tag for tag, _ in parser.elements}
    assert not tags & {"script", "link", "iframe", "object", "form", "base"}
    addresses = {a.get("href", a.get("src")) for _, a in parser.elements if "href" in a or "src" in a}
    assert {address.partition(":")[0][:1] for address in addresses} == {"#", "d"}
    assert not [name for _, attrs in parser.elements for name in attrs if name.startswith("on")]
    assert "default-src 'none'" in page
    assert "url(" not in page
    ids = [attrs["id"] for _, attrs in parser.elements if "id" in attrs]
    assert {address[1:] for address in addresses if address[0] == "#"} <= set(ids)


def test_texts_never_become_markup(root):
    """Of arguments, names, results, code and errors; and they are made printable."""
    evil = "<script>x</script>\"'><b \x1b[2J\u202e"

    def failing(text):
        raise ValueError(text)

    shown = dc.delayed(lambda text: text * 2, target="shown.txt", label="{text}")(evil)
    frame = dc.delayed(lambda text: pd.DataFrame({text: [text]}), target="frame.csv")(evil)
    nodes = [shown, frame, dc.delayed(failing, target="failing.txt")(evil)]
    dc.compute(nodes, errors="collect")
    for page in (dc.report(nodes, title=evil).html, report_of_root(root)):
        assert not {"script", "b"} & {tag for tag, _ in Parser(page).elements}
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "&lt;script&gt;x" in page


# ---- what can't be shown, and what is left out -------------------------------------------------------


def test_a_picture_that_can_not_be_drawn_says_why(root):
    """A file that is no picture, and formats that are not read, for all of them."""

    def broken(target_path):
        Path(target_path).write_text("no picture")

    nodes = [
        dc.delayed(broken, target="broken.jpg", save=False)(),
        dc.delayed(lambda n: complex(n), target="number_{n}.pkl").map([1, 2]),
    ]
    dc.compute(nodes)
    text = Parser(dc.report(nodes).html).text
    assert "broken.jpg not shown: UnidentifiedImageError" in text
    assert "2 without a look: PickleTarget is not looked at" in text
    assert (
        "2 without a look: daskcache:PickleTarget is not read here" in Parser(report_of_root(root)).text
    )


@pytest.mark.parametrize(
    ("limit", "of", "most", "said"),
    [
        ("_PICTURES", report_page, 4, "looked at 2 of 10 results, evenly spread"),
        ("_BYTES", report_page, 1, "10 without a look: the report would be too large"),
        ("_PLATES", report_pictures, 1, "shown: 1 of 2 plates"),
        ("_ROWS", report_page, 1, "… and 2 more, which are not in this report"),
        ("_FUNCTIONS", report_page, 1, "… and 1 more, which are not in this report"),
        ("_VALUES", report_page, 1, "'P1' and 1 more"),
        ("_NODES", report_page, 1, "… and 1 more, which are not in this report"),
        ("_LINES", report_page, 1, "… and 3 more lines"),
        ("_LINES", report_page, 1, "more functions and values"),
        ("_RESULTS", report_page, 1, "… and 2 more, which are not in this report"),
    ],
)
def test_what_is_left_out_is_counted(made, root, monkeypatch, limit, of, most, said):
    monkeypatch.setattr(of, limit, most)
    assert said in Parser(report_of_root(root, "images", "means")).text


def test_unfinished_results_are_listed_first(made, root, monkeypatch):
    """A list that is cut has what a reader has to know."""
    monkeypatch.setattr(report_page, "_RESULTS", 1)
    rows = re.findall(r"<summary>(images/\S*)</summary>", report_of_root(root))
    assert len(rows) == 10
    assert rows[:2] == ["images/P1_C03.tif", "images/P2_C03.tif"]


def test_a_report_on_many_results_stays_small(root, full):
    """About 10 MB and less than a minute for 10,000 results (with ``--full``; else a tenth)."""
    plates = range(13 if full else 2)
    wells = [f"{row}{n:02d}" for row in "ABCDEFGHIJKLMNOP" for n in range(1, 25)]
    nodes = [mean(image(plate, well)) for plate in plates for well in wells]
    dc.compute(nodes, errors="collect")
    page = dc.report(nodes).html
    assert len(page) < 10e6
    assert Parser(page).text.count("which are not in this report") >= 2


# ---- the file -------------------------------------------------------------------------------------


def test_an_earlier_report_is_replaced(made, tmp_path):
    path = tmp_path / "out.html"
    assert dc.report(made[:1], path) == path
    before = path.read_bytes()
    assert dc.report(made, str(path)) == path
    assert path.read_bytes() != before
    assert os.listdir(tmp_path).count("out.html") == 1
    assert [name for name in os.listdir(tmp_path) if name.startswith(".out")] == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: b"mine",
        lambda content: b"",
        lambda content: content.replace(b"Functions", b"Mine"),
        lambda content: content + b"\n",
    ],
)
def test_what_a_user_made_or_edited_stays(made, tmp_path, edit):
    path = tmp_path / "out.html"
    dc.report(made[:1], path)
    mine = edit(path.read_bytes())
    path.write_bytes(mine)
    with pytest.raises(ForeignTarget, match="overwrite=True"):
        dc.report(made[:1], path)
    assert path.read_bytes() == mine
    dc.report(made[:1], path, overwrite=True)
    assert b"daskcache report" in path.read_bytes()


def test_reports_and_pages_of_plans_do_not_replace_each_other(made, tmp_path):
    path = tmp_path / "plan.html"
    dc.plan(made).visualize(path)
    with pytest.raises(ForeignTarget, match="not a report"):
        dc.report(made, path)


def test_a_file_that_comes_meanwhile_stays(made, tmp_path):
    path, found = tmp_path / "out.html", dc.report(made)
    path.write_text("mine")
    with pytest.raises(ForeignTarget):
        found.save(path)
    assert path.read_text() == "mine"


def test_paths_that_do_not_fit(made, tmp_path):
    with pytest.raises(GraphError, match=r"write 'out.html'"):
        dc.report(made, tmp_path / "out.pdf")
    with pytest.raises(GraphError, match=r"write 'out.html'"):
        dc.report(made).save(tmp_path / "out")
    with pytest.raises(StorageError, match="can't be written"):
        dc.report(made, tmp_path / "nowhere" / "out.html")
    with pytest.raises(NotANode):
        dc.report("out.html")


def test_in_a_notebook_it_is_a_summary(made):
    found = dc.report(made)
    assert isinstance(found, Report)
    shown = found._repr_html_()
    assert "24 results of 2 functions" in shown
    assert "report.save" in shown
    assert len(shown) < 5000


# ---- the command ----------------------------------------------------------------------------------


def run(*arguments, code=0):
    done = CliRunner().invoke(cache, ["report", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize(
    ("targets", "results"),
    [
        ([], 23),
        (["means"], 10),
        (["images/P1_*"], 6),
        (["means/P1_A01.json", "--upstream"], 2),
        (["images/P1_C03.tif"], 1),
        (["table.csv", "images"], 13),
    ],
)
def test_targets_folders_and_patterns(made, root, monkeypatch, tmp_path, targets, results):
    monkeypatch.chdir(root)
    found = json.loads(run(str(tmp_path / "out.html"), *targets, "--json"))
    assert found["results"] == results
    assert found["bytes"] == (tmp_path / "out.html").stat().st_size
    assert found["report"] == str(tmp_path / "out.html")
    assert found["root"] == str(root)


def test_the_command_tells_what_it_wrote(made, root, monkeypatch):
    monkeypatch.chdir(root.parent)
    output = run("out.html", "images", "--root", str(root), "--title", "A screen")
    assert output.startswith("out.html: 12 results of 1 function; 10 complete, 2 failed, ")
    assert "<title>A screen</title>" in Path("out.html").read_text()
    assert str(root) not in Path("out.html").read_text()
    run("out.html", "--root", str(root), "--names")


def test_the_command_refuses(made, root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    path = tmp_path / "mine.html"
    path.write_text("mine")
    assert "--overwrite" in run(str(path), code=1)
    assert "'dask cache ls' lists them" in run(str(tmp_path / "x.html"), "nowhere", code=1)
    assert not (tmp_path / "x.html").exists()
    assert path.read_text() == "mine"
    run(str(path), "--overwrite")
    assert "daskcache report" in path.read_text()


def test_the_names_are_those_of_this_process(monkeypatch):
    """A user without a name, as in some containers, is none."""

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(redaction.getpass, "getuser", nobody)
    assert redaction.Redactor([], [], [])("by anna") == "by anna"
