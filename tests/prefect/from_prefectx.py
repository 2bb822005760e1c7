"""A program of prefectx's; only its import differs.  In a module that workers can import."""

from __future__ import annotations

import os

import daskcache as dc
from daskcache.modes.tasks import unmapped
from daskcache.testing.assertions import RunCounter

task = dc.task(target="{path}/{funcname}/{base}", name_template="{funcname}_{base}")


class TextStore:
    """A store as prefectx's users write them."""

    def __init__(self, loc):
        self.loc = loc

    def save(self, data):
        with open(self.loc, "w") as file:
            file.write(data)

    def load(self):
        with open(self.loc) as file:
            return file.read()

    def exists(self):
        return os.path.isfile(self.loc)


@task(store=TextStore, retries=1, tags=["reading"])
def read(file, notes):
    note(notes, "read")
    return f"text of {file}"


@task
def rows(text, notes):
    note(notes, "rows")
    return [text, {1: (2, None)}]


@dc.task(target="{path}/copies/{base}.txt", save=False)
def write(rows, notes, target_path):
    note(notes, "write")
    with open(target_path, "w") as file:
        file.write(rows[0])


@dc.task(store=None)
def length(text):
    return len(text)


@dc.task(target="{path}/words/{base}-{word}.json", skip=False)
def find(text, word, notes):
    note(notes, "find")
    return text.find(word)


def note(notes, name):
    """Note that a function runs, in a file whose name must not look like an input's."""
    RunCounter(notes.removeprefix("file:")).note(name)


def extract(files, notes):
    """The flow's function: for each file its rows, and what else is known of it."""
    found = []
    for file in files:
        dc.context["base"] = file
        text = read.submit(file, notes)
        wide = rows.with_options(target="{path}/wide/{base}", version="wide")
        positions = find.map(text, ["of", "text"], unmapped(notes))
        narrow = rows(text, notes)
        written = write.submit(narrow, notes)
        found.append((narrow, wide.submit(text, notes), length.submit(text), positions, written))
    return [(narrow, *[each.result() for each in others]) for narrow, *others in found]
