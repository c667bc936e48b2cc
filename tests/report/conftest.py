"""A headless Chromium of the system, once a module, and pages that may not say a wrong word in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.runs import small_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    OpenPage = Callable[..., Page]

#: Milliseconds: how long a browser takes is the host's affair, and half a minute is not much on a busy one.
PATIENCE = 600_000.0
#: Small CI machines have a small /dev/shm; root has no sandbox of Chromium's.
_FLAGS = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


# No longer than a module: while Playwright is there its event loop runs, and no other can in this process.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs Chromium; tools/bootstrap.sh browser installs it")
    home = str(tmp_path_factory.mktemp("browser"))  # it leaves files in the user's folders otherwise
    folders = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"), home)
    with playwright.sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(
                executable_path=program, args=_FLAGS, env={**os.environ, **folders}, timeout=PATIENCE
            )
        except playwright.Error as error:
            if os.geteuid() != 0 and "sandbox" in str(error):
                pytest.skip("Chromium's sandbox needs user namespaces, and this host gives plain users none")
            raise
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a file; ends with a failure if a page logged an error or asked for anything but itself."""
    wrong: list[str] = []
    contexts = []

    def open_page(file: Path, *, width: int = 1360, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        own = file.as_uri()
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda request: request.url.split("#")[0] == own or wrong.append(request.url))
        page.goto(own)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `small_run`."""
    from harness.report import write_report

    return write_report(small_run(tmp_path_factory.mktemp("results") / "20250101-000000-000000-1"))
