"""A headless Chromium, driven by chromedriver over the WebDriver protocol: no library between.

https://www.w3.org/TR/webdriver2/ and, for what only Chromium has, its DevTools commands.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chrome", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
# Chromium's sockets lie in its temporary folder, and their names may be 107 letters long.
_SHORT = "/tmp" if os.path.isdir("/tmp") else None
MISSING = "" if CHROMIUM and DRIVER else "needs Chromium and chromedriver, such as Debian has"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """One window."""

    def __init__(self, server: str, folder: Path) -> None:
        """Start a session; all that the browser keeps goes to the folder."""
        self._server = server
        options = {
            "binary": CHROMIUM,
            "args": [*_ARGUMENTS, f"--user-data-dir={folder}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        started = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{started['sessionId']}"

    def _send(self, method: str, path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            self._server + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a file and wait for it; whether it loads again does not depend on the fragment."""
        self._send("POST", f"{self._session}/url", {"url": "about:blank"})
        self._send("POST", f"{self._session}/url", {"url": page.as_uri() + fragment})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a function body of JavaScript returns."""
        content = {"script": script, "args": arguments}
        return self._send("POST", f"{self._session}/execute/sync", content)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Return the answer to a DevTools command."""
        content = {"cmd": command, "params": parameters}
        return self._send("POST", f"{self._session}/goog/cdp/execute", content)

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the size of the page in CSS pixels, and whether the user likes it dark."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def mouse(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the mouse to a place of the window, and press it there."""
        self.devtools("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.devtools(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def point(self, selector: str, *, click: bool = False) -> None:
        """Move the mouse to the middle of an element, which is scrolled to, and press it there."""
        place = self.run(
            "const e = document.querySelector(arguments[0]);"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2];",
            selector,
        )
        self.mouse(*place, click=click)

    def keys(self, text: str) -> None:
        """Type keys where the focus is; ``\\t`` and ``\\r`` are Tab and Enter."""
        names = {"\t": "Tab", "\r": "Enter"}
        for key in text:
            name = names.get(key, key)
            code = {"key": name, "text": "" if key == "\t" else key}
            if key in names:
                code["windowsVirtualKeyCode"] = ord(key)
            self.devtools("Input.dispatchKeyEvent", type="keyDown", **code)
            self.devtools("Input.dispatchKeyEvent", type="keyUp", key=name)

    def messages(self) -> list[str]:
        """Return what the console has said since the last call."""
        found = self._send("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in found]

    def picture(self, path: Path, height: int | None = None) -> None:
        """Write a PNG of the page from its top, or of what is in the window."""
        clip: dict[str, Any] = {}
        if height is not None:
            width = self.run("return innerWidth")
            box = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            clip = {"captureBeyondViewport": True, "clip": box}
        found = self.devtools("Page.captureScreenshot", format="png", **clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """End the session."""
        self._send("DELETE", self._session)


@contextmanager
def browser() -> Iterator[Browser]:
    """Yield a browser, and end what was started for it."""
    with (
        tempfile.TemporaryDirectory(dir=_SHORT, ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [str(DRIVER), "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        ) as driver,
    ):
        try:
            assert driver.stdout is not None
            ports = (
                re.search(r"started successfully on port (\d+)", line) for line in driver.stdout
            )
            port = next(found[1] for found in ports if found)
            one = Browser(f"http://127.0.0.1:{port}", Path(folder))
            try:
                yield one
            finally:
                one.close()
        finally:
            driver.terminate()
