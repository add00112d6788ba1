# SPDX-License-Identifier: Apache-2.0
"""A real browser: Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

SECONDS = 30
"""No step takes one, except on a machine that does much else."""

MAX_MESSAGE = 64 * 1024 * 1024
"""A picture of a page has some hundred kilobytes."""

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
]

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """A browser with a fresh profile; the address that its DevTools are reached by."""
    log = folder / "chromium.log"
    command = ["chromium", *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE)
    try:
        for line in process.stderr:
            if b"DevTools listening on " in line:
                break
        else:
            raise AssertionError(f"chromium ended with {process.wait()}")
        yield line.decode().rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.stderr.read()
        process.stderr.close()
        process.wait(SECONDS)


@attrs.define(eq=False)
class DevTools:
    """One connection to the browser."""

    socket: WebSocketConnection
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    waiting: dict[int, trio.MemorySendChannel] = attrs.field(factory=dict)
    events: list[dict[str, Any]] = attrs.field(factory=list)

    async def read(self) -> None:
        while True:
            try:
                message = json.loads(await self.socket.get_message())
            except ConnectionClosed:
                return
            if "id" in message:
                self.waiting.pop(message["id"]).send_nowait(message)
            else:
                self.events.append(message)

    async def call(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """:raises AssertionError: the browser says no."""
        number = next(self.numbers)
        send, receive = trio.open_memory_channel(1)
        self.waiting[number] = send
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.send_message(json.dumps(message | ({"sessionId": session} if session else {})))
        with trio.fail_after(SECONDS), send, receive:
            answer = await receive.receive()
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]


@attrs.define(eq=False)
class Tab:
    """A tab in a browser context of its own: no cookies but its own."""

    tools: DevTools
    session: str
    context: str

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        return await self.tools.call(method, self.session, **parameters)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_until(self, condition: str) -> None:
        """Return as soon as the expression is true; the page looks by itself, at every frame."""
        check = f"""new Promise((resolve) => {{
          const look = () => ({condition}) ? resolve(true) : setTimeout(look, 20);
          look();
        }})"""
        with trio.move_on_after(SECONDS):
            while True:
                try:
                    await self.run(check)
                except AssertionError as error:
                    # The page went away under the question.
                    if "context" not in str(error) and "navigated" not in str(error):
                        raise
                    continue
                return
        raise AssertionError(f"not within {SECONDS} s: {condition}; the page says: {await self.text()}")

    async def text(self) -> str:
        return await self.run("document.body.innerText")

    async def shows(self, text: str) -> None:
        await self.wait_until(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    async def click(self, name: str) -> None:
        """A button or link, by what it says or what screen readers say."""
        found = f"""[...document.querySelectorAll("button, a")].find((one) =>
          !one.disabled && (one.getAttribute("aria-label") ?? one.textContent).trim() === {json.dumps(name)})"""
        await self.wait_until(f"!!({found})")
        await self.run(f"({found}).click()")

    async def fill(self, label: str, text: str) -> None:
        found = f"""[...document.querySelectorAll("label")].find((one) =>
          one.textContent === {json.dumps(label)})?.control"""
        await self.wait_until(f"!!({found})")
        await self.run(f"({found}).focus(), ({found}).select()")
        await self.type(text)

    async def type(self, text: str) -> None:
        """Into whatever has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            given = text if kind == "keyDown" else {}
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **given
            )

    async def cookies(self) -> list[dict[str, Any]]:
        return (await self.tools.call("Storage.getCookies", browserContextId=self.context))["cookies"]

    async def add_authenticator(self) -> str:
        """A security key that is touched as soon as it is asked; what DevTools call it."""
        await self.call("WebAuthn.enable")
        added = await self.call(
            "WebAuthn.addVirtualAuthenticator",
            options={
                "protocol": "ctap2",
                "transport": "usb",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            },
        )
        return str(added["authenticatorId"])

    async def picture(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))

    async def complaints(self) -> list[str]:
        """What the policy of the page has stopped, and errors of scripts."""
        thrown = [
            str(event["params"]["exceptionDetails"])
            for event in self.tools.events
            if event["method"] == "Runtime.exceptionThrown" and event.get("sessionId") == self.session
        ]
        return [*await self.run("window.violations"), *thrown]


@asynccontextmanager
async def open_tab(address: str) -> AsyncIterator[Tab]:
    """A fresh tab of the browser at `address`; closed at the end, with all that it has kept."""
    async with (
        open_websocket_url(address, max_message_size=MAX_MESSAGE) as socket,
        trio.open_nursery() as nursery,
    ):
        tools = DevTools(socket)
        nursery.start_soon(tools.read)
        context = (await tools.call("Target.createBrowserContext"))["browserContextId"]
        target = await tools.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await tools.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(tools, attached["sessionId"], context)
        await tab.call("Page.enable")
        await tab.call("Runtime.enable")
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        yield tab
        await tools.call("Target.disposeBrowserContext", browserContextId=context)
        nursery.cancel_scope.cancel()
