"""The theory notebooks as a reader meets them in JupyterLab: run all cells, move every control, see the figure change."""
from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, browsing, needs_browser

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p.name for p in (ROOT / "nbs" / "theory").glob("*.ipynb") if not p.name.endswith(".partial.ipynb"))
PATIENCE = 120  # s; how long any one step may take on a slow machine before the test fails
ERRORS = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
PANEL = ".widget-interact"
CONTROLS = ".widget-slider, .widget-dropdown, .widget-checkbox, .widget-toggle-buttons"
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}}

pytestmark = [needs_browser, pytest.mark.skipif(find_spec("jupyterlab") is None, reason="JupyterLab is not installed")]


@dataclass
class Lab:
    """A running JupyterLab whose files are copies."""

    base: str
    token: str
    log: Path

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the server's interface answers; None for an empty body."""
        request = urllib.request.Request(self.base + path, method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as reply:
            body = reply.read()
        return json.loads(body) if body else None

    def stop_kernels(self) -> None:
        """End every session, so that one notebook's kernel does not run beside the next one's."""
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", "DELETE")


def wait_until_up(lab: Lab, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; fail with its log when it ends or stays silent."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            lab.ask("api/status")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{lab.log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab with its defaults (no settings of the user), on copies of the notebooks, on a free port of this machine."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "nbs", home / "nbs", ignore=shutil.ignore_patterns("_runs", "generated", ".ipynb_checkpoints"))
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = {**os.environ, **{key: str(home / name) for key, name in folders.items()}, "JUPYTER_TOKEN": token,
                   "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home / 'nbs'}", "--LabApp.extension_manager=readonly"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
    running = Lab(f"http://127.0.0.1:{port}/", token, home / "log")
    try:
        wait_until_up(running, server)
        yield running
        running.stop_kernels()
    finally:
        server.terminate()
        server.wait(PATIENCE)


@pytest.fixture(scope="module")
def reader(lab: Lab) -> Iterator[Visit]:
    """A browser, logged in to JupyterLab, that reaches nothing else."""
    with browsing(lab.base) as visit:
        visit.page.set_default_timeout(1000 * PATIENCE)
        visit.page.goto(f"{lab.base}lab?token={lab.token}", wait_until="commit")
        yield visit


def run_all(page: Any) -> None:
    """Run > Run All Cells, and wait until each code cell has its number or some cell has failed."""
    page.wait_for_function("""() => { const name = document.querySelector('.jp-KernelName')?.textContent; return name && name !== 'No Kernel'
        && document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle' }""")  # "idle" alone is also said before there is one
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
    page.wait_for_function("""errors => { const prompts = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')];
        return document.querySelector(errors) || (prompts.length && prompts.every(p => /^\\[\\d+\\]/.test(p.textContent))) }""", arg=ERRORS)


PICTURE = "[...panel.querySelectorAll('.widget-output img, .widget-output svg')].map(e => e.src || e.outerHTML).join()"


def picture(panel: Any) -> str:
    """The figure below the controls, as the browser holds it; empty while there is none."""
    return panel.evaluate(f"panel => {PICTURE}")


def redrawn(page: Any, panel: Any, before: str) -> bool:
    """Wait until the panel shows a figure other than `before`, or an error; False when neither comes."""
    from playwright.sync_api import TimeoutError as TooLate

    try:
        page.wait_for_function(f"([panel, before, errors]) => document.querySelector(errors) || ![before, ''].includes({PICTURE})",
                               arg=[panel.element_handle(), before, ERRORS])
    except TooLate:
        return False
    return True


def move(page: Any, control: Any) -> None:
    """Change one control as a reader does: click on the far side of the slider, choose another entry, tick the box."""
    track, entries, buttons = control.locator(".noUi-base"), control.locator("select"), control.locator("button")
    if track.count():
        box, handle = track.bounding_box(), control.locator(".noUi-handle").first.bounding_box()
        place = 0.2 if handle["x"] + handle["width"] / 2 > box["x"] + box["width"] / 2 else 0.8
        track.click(position={"x": place * box["width"], "y": box["height"] / 2})
    elif entries.count():
        entries.select_option(index=entries.evaluate("s => (s.selectedIndex + 1) % s.options.length"))
    elif buttons.count():
        control.locator("button:not(.mod-active)").first.click()
    else:
        control.locator("input").click()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_controls_redraw_the_figure(lab: Lab, reader: Visit, name: str) -> None:
    """All cells run without an error, and each control of each panel changes the figure of its panel."""
    page = reader.page
    lab.stop_kernels()
    page.goto(f"{lab.base}doc/tree/theory/{name}")
    run_all(page)
    assert page.locator(ERRORS).all_inner_texts() == []
    panels = page.locator(PANEL)
    assert panels.count() >= 1, f"{name} has no live control"
    for panel in panels.all():
        assert redrawn(page, panel, ""), f"{name}: a panel without a figure"
        controls = panel.locator(CONTROLS)
        assert controls.count() >= 1, f"{name}: a panel without a slider, list or box"
        for control in controls.all():
            before = picture(panel)
            move(page, control)
            assert redrawn(page, panel, before), f"{name}: the figure does not see {control.inner_text()!r}"
    assert page.locator(ERRORS).all_inner_texts() == []
    assert page.locator("mjx-merror, [data-mjx-error]").all_inner_texts() == []
    assert reader.foreign == []
