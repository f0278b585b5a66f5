"""The playground: what the gateway serves of it, and the page as somebody uses it in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.keys import new_key
from tests.gateway.process import GatewayProcess
from tests.support.system import System

CHROMIUM = os.environ.get("TROUPE_CHROMIUM") or next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
TIMEOUT_MS = 120_000
DANGER = "<img src=x onerror=\"document.title='broken'\"> & \"quotes\""

browsers = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: set TROUPE_CHROMIUM, or install it")


@pytest.fixture(scope="module")
def environment(shared_system: System) -> dict[str, str]:
    shared_system.start_pod("tests.gateway.page_kinds")
    return {**shared_system.environment(), "RUNTIME_PLAYGROUND": "1"}


@pytest.fixture(scope="module")
def gateway(environment: dict[str, str]) -> Iterator[GatewayProcess]:
    with GatewayProcess(environment) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens the page of a gateway; at the end nothing has gone wrong in it, and it has talked to nobody else."""
    opened: list[Any] = []
    troubles: list[str] = []
    asked: set[str] = set()

    def open_at(url: str, viewport: dict[str, int] = DESKTOP, session: str = "") -> Any:
        context = browser.new_context(viewport=viewport)
        context.set_default_timeout(TIMEOUT_MS)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.add(str(httpx.URL(request.url).netloc)))
        page.goto(f"{url}/playground/#{session}")
        return page

    yield open_at
    for context in opened:
        context.close()
    assert troubles == []
    assert len(asked) == 1


def say(page: Any, agent: str, text: str) -> None:
    page.wait_for_selector(f"#agent option[value={agent}]", state="attached")
    page.select_option("#agent", agent)
    page.fill("#text", text)
    page.click("#send")


def answer(page: Any, text: str) -> None:
    page.locator(".said.assistant", has_text=text).wait_for()


# -- what is served -----------------------------------------------------------------------------------------------


def test_given_a_gateway_that_was_not_asked_for_it_then_there_is_no_page() -> None:
    nowhere = {**os.environ, "RUNTIME_NATS_URL": "nats://127.0.0.1:9"}
    with GatewayProcess(nowhere) as process:
        for path in ("/", "/playground", "/playground/main.js"):
            assert process.http.get(path).status_code == 404


def test_given_the_page_then_it_may_run_its_own_scripts_only_and_no_other_file_is_served(
    gateway: GatewayProcess,
) -> None:
    assert gateway.http.get("/").headers["location"] == "/playground/"
    page = gateway.http.get("/playground/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert gateway.http.get("/playground/main.js").headers["content-type"].startswith("text/javascript")
    for name in ("__init__.py", "..%2f..%2fsettings.py", "%2e%2e/settings.py", "nothing.js", "%00"):
        assert gateway.http.get(f"/playground/{name}").status_code == 404


def test_given_a_switch_that_is_neither_on_nor_off_then_the_gateway_says_so() -> None:
    with pytest.raises(AssertionError, match="RUNTIME_PLAYGROUND"), GatewayProcess(
        {**os.environ, "RUNTIME_PLAYGROUND": "maybe"}
    ):
        pass


# -- in a browser -------------------------------------------------------------------------------------------------


@browsers
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_given_a_message_when_it_is_sent_then_its_answer_its_tool_and_its_events_are_shown(
    gateway: GatewayProcess, open_page: Any, viewport: dict[str, int], tmp_path: Path
) -> None:
    page = open_page(gateway.url, viewport)
    say(page, "clerk", "Please book 'a lamp'")
    answer(page, "[offline model] booked a lamp")
    assert page.locator(".said.user").inner_text() == "Please book 'a lamp'"
    page.locator(".tool summary").click()
    page.locator(".tool[open] .result", has_text="booked a lamp").wait_for()
    page.screenshot(path=tmp_path / "chat.png")
    page.click("[data-view=events]")
    page.fill("#filter", "tool book")
    page.locator("#facts li:visible summary").first.click()
    assert "booked a lamp" in page.locator("#facts li:visible pre").first.inner_text()
    page.click("[data-view=log]")
    page.locator("#history li", has_text="Over").wait_for()
    assert page.locator("#history li .name").first.inner_text() == "Began"
    page.click("[data-view=capabilities]")
    assert "Book what is asked for." in page.locator("#kinds").inner_text()
    page.screenshot(path=tmp_path / "capabilities.png")
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@browsers
def test_given_markup_in_a_message_then_it_is_shown_as_it_was_written(gateway: GatewayProcess, open_page: Any) -> None:
    page = open_page(gateway.url)
    say(page, "cashier", DANGER)
    answer(page, "[offline model]")
    assert page.locator(".said.user").inner_text() == DANGER
    page.click("[data-view=events]")
    page.locator("#facts li summary").last.click()
    assert page.locator("#conversation img, #facts img").count() == 0
    assert page.title() == "Troupe playground"


@browsers
def test_given_a_conversation_when_the_page_is_opened_again_then_it_is_read_back(
    gateway: GatewayProcess, open_page: Any
) -> None:
    first = open_page(gateway.url, session="kept")
    say(first, "clerk", "Please book 'a chair'")
    answer(first, "booked a chair")
    second = open_page(gateway.url, PHONE, session="kept")
    answer(second, "booked a chair")
    # Whoever looks on sees what is said elsewhere.
    say(first, "clerk", "Please book 'a table'")
    answer(second, "booked a table")
    assert second.locator(".said.user").all_inner_texts() == ["Please book 'a chair'", "Please book 'a table'"]


@browsers
def test_given_a_call_that_waits_for_a_person_when_it_is_approved_on_the_page_then_the_agent_goes_on(
    gateway: GatewayProcess, open_page: Any
) -> None:
    page = open_page(gateway.url, PHONE)
    say(page, "cashier", "Please refund 5")
    page.locator("#pending:visible").wait_for()
    page.click("[data-view=approvals]")
    card = page.locator("#waiting li", has_text="refund")
    assert '"amount": 5' in card.inner_text()
    card.get_by_placeholder("Comment").fill("it was our mistake")
    card.get_by_role("button", name="Approve").click()
    page.click("[data-view=chat]")
    answer(page, "refunded 5")
    card.wait_for(state="detached")


@browsers
def test_given_a_gateway_that_is_killed_when_another_takes_its_place_then_the_page_goes_on(
    environment: dict[str, str], open_page: Any
) -> None:
    with GatewayProcess(environment) as process:
        page = open_page(process.url)
        say(page, "clerk", "Please book 'a bed'")
        answer(page, "booked a bed")
        port = str(httpx.URL(process.url).port)
        process.process.kill()
        page.locator("#link.lost").wait_for()
    with GatewayProcess(environment, "--port", port):
        page.locator("#link.live").wait_for()
        say(page, "clerk", "Please book 'a door'")
        answer(page, "booked a door")
        assert page.locator(".said.assistant", has_text="booked a bed").count() == 1


@browsers
def test_given_api_keys_then_the_page_asks_for_one_and_works_with_it(
    environment: dict[str, str], open_page: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    made, line = new_key("acme", "ann")
    keys.write_text(line + "\n")
    with GatewayProcess({**environment, "RUNTIME_API_KEYS_FILE": str(keys)}) as process:
        page = open_page(process.url)
        page.locator("#keys[open]").wait_for()
        page.fill("#key", made)
        page.get_by_role("button", name="Use it").click()
        page.locator("#link.live").wait_for()
        say(page, "clerk", "Please book 'a roof'")
        answer(page, "booked a roof")
