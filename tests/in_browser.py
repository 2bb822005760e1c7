"""What a page in Chromium says on its console, and what axe-core finds in it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe


def violations(page, context=None):
    """The rules of accessibility that axe-core finds broken, with the elements, also what is folded."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = Axe().run(page, context).response
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
    assert found["passes"], "nothing was looked at"
    return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


def listen(page, said):
    """Add to a list what the page says on the console as an error."""
    page.on("console", lambda each: said.append(each.text) if each.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
