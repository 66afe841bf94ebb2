"""A headless browser that reaches this machine only, for the tests of the site and of JupyterLab."""
from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")


@dataclass
class Visit:
    """A browser page that can reach one server only, and what happened while it was used."""

    page: Any
    base: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Watch the requests and the console. (Not by routes, which would switch off the browser's cache.)"""
        self.page.on("request", self.note)
        self.page.on("console", lambda m: self.errors.append(f"{self.page.url}: {m.text}") if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(f"{self.page.url}: {e}"))

    def note(self, request: Any) -> None:
        """Record what was asked of others; the browser finds no host but this machine."""
        if not request.url.startswith(self.base) and urlsplit(request.url).scheme not in ("data", "blob", "about"):
            self.foreign.append(request.url)

    def open(self, path: str) -> Any:
        """Open a page of the server and wait until its maths, if it has any, is typeset."""
        self.page.goto(self.base + path)
        self.page.wait_for_function("!window.MathJax || (MathJax.startup && MathJax.startup.promise !== undefined)")
        self.page.evaluate("async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise }")
        return self.page


@contextmanager
def browsing(base: str, **size: int) -> Iterator[Visit]:
    """A page of a new browser, for the server at `base`; skips the test where playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield Visit(browser.new_page(viewport={"width": 1300, "height": 900, **size}), base)
        browser.close()
