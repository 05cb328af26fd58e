"""The page in headless chromium, against a real server."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import osnet
from osnet.cli.serve import _say_where
from osnet.evaluation.calibration import write_calibration
from osnet.gallery.gallery import Gallery
from osnet.server.drawn_people import samples
from tests.server.conftest import Serve, calibration

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested with axe-core")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; install Debian's package chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, client: httpx.Client) -> Iterator[Any]:
    """The page of the server; requests to anything else and errors in the console fail the test."""
    context = browser.new_context()
    found = context.new_page()
    wrong: list[str] = []
    own = str(client.base_url)
    found.on("request", lambda request: request.url.startswith((own, "blob:")) or wrong.append(request.url))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on(
        "console", lambda message: message.type == "error" and "422" not in message.text and wrong.append(message.text)
    )
    found.set_default_timeout(15_000)
    found.goto(own)
    yield found
    context.close()
    assert wrong == []


@pytest.fixture
def client(serve: Serve, embedder: osnet.Embedder, tmp_path: Path) -> httpx.Client:
    Gallery.create(tmp_path / "new.gallery", embedder, thumbnails=(128, 64)).close()
    return serve(gallery=tmp_path / "new.gallery")


def test_from_an_empty_gallery_to_answers_enrolling_and_removing(
    page: Any, client: httpx.Client, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Try it with drawn people").click()
    page.get_by_role("button", name="Ada").wait_for()
    assert client.get("/api/gallery").json()["entries"] == 36
    picture = tmp_path / "somebody.jpg"
    picture.write_bytes(samples()[0].content)
    page.locator("#file").set_input_files(picture)
    page.locator(".shot img").first.wait_for()
    assert page.locator(".group h3").first.text_content() == "Ada"
    page.locator("#threshold").fill("0.99")  # nobody reaches it
    assert "Nobody in the gallery reaches 0.99" in page.locator("#status").text_content()
    page.locator("#threshold").fill("0.1")
    assert page.locator(".group.best h3").text_content() == "Ada"

    page.get_by_role("button", name="Enrol this person").click()
    page.get_by_role("combobox", name="Name or number").fill("<b>Zoe</b>")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("is enrolled").wait_for()
    page.locator(".group h3", has_text="<b>Zoe</b>").wait_for()  # text, not HTML
    assert client.get("/api/gallery").json()["entries"] == 37
    page.get_by_role("button", name="Undo").last.click()
    page.locator(".group h3", has_text="Zoe").wait_for(state="detached")
    assert client.get("/api/gallery").json()["entries"] == 36

    page.get_by_role("button", name="Remove person Ada").click()
    page.get_by_role("button", name="Keep").click()
    assert page.locator(".group h3", has_text="Ada").count() == 1
    page.get_by_role("button", name="Remove person Ada").click()
    page.locator("#ask-dialog-yes").click()
    page.locator(".group h3", has_text="Ada").wait_for(state="detached")
    page.get_by_role("button", name="Undo").last.click()
    page.locator(".group h3", has_text="Ada").wait_for()
    assert client.get("/api/gallery").json()["entries"] == 36
    page.get_by_role("button", name="Remove person Ada").click()
    page.locator("#ask-dialog-yes").click()
    page.goto("about:blank")  # who leaves does not undo
    for _ in range(50):
        if client.get("/api/gallery").json()["entries"] == 33:
            break
        page.wait_for_timeout(100)
    assert client.get("/api/gallery").json()["identities"] == 11


def unnamed(client: httpx.Client, count: int) -> None:
    """Drawn people, and `count` pictures of some of them that are not named."""
    client.post("/api/drawn")
    client.work.gallery.add([Image.open(io.BytesIO(sample.content)) for sample in samples()[:count]])


def test_pictures_without_a_name_are_found_named_and_removed(page: Any, client: httpx.Client) -> None:
    unnamed(client, 4)
    page.reload()
    page.get_by_role("button", name="Not named 4 pictures").click()
    pictures = page.locator(".unnamed li")
    pictures.nth(3).wait_for()
    page.locator(".unnamed .name").first.click()
    page.get_by_role("button", name="Ada").click()  # who looks like it
    page.get_by_role("button", name="Name", exact=True).click()
    page.get_by_text("This is Ada now.").wait_for()
    assert client.get("/api/gallery").json()["unidentified"] == 3
    assert len(client.get("/api/entries", params={"identity": "Ada"}).json()["entries"]) == 4
    page.get_by_role("button", name="Undo").click()
    pictures.nth(3).wait_for()
    assert client.get("/api/gallery").json()["unidentified"] == 4

    page.locator(".look").first.click()
    page.get_by_role("heading", name="Similar to this picture").wait_for()
    assert page.locator(".group h3").all_text_contents()[:2] == ["This picture", "Ada"]
    page.locator(".self .name").click()
    page.get_by_role("combobox", name="Name or number").fill("Ada")
    page.keyboard.press("Enter")
    page.locator(".self").wait_for(state="detached")
    assert page.locator(".group").first.locator(".shot").count() == 4

    page.get_by_role("button", name="Show all people").click()
    page.get_by_role("button", name="Not named 3 pictures").click()
    page.locator(".unnamed .remove").first.click()
    page.locator("#ask-dialog-yes").click()
    pictures.nth(2).wait_for(state="detached")
    assert pictures.count() == 2
    page.locator("#remove-all").click()
    page.locator("#ask-dialog-yes").click()
    page.get_by_text("Every picture has a name.").wait_for()
    page.goto("about:blank")
    for _ in range(50):
        if client.get("/api/gallery").json()["unidentified"] == 0:
            break
        page.wait_for_timeout(100)
    assert client.get("/api/gallery").json()["entries"] == 37


def test_a_box_on_a_photo_by_mouse_and_by_keys_and_paste(page: Any, client: httpx.Client) -> None:
    client.post("/api/drawn")
    page.reload()
    page.locator("#sample-list img").last.wait_for()
    with page.expect_request("**/api/search**") as asked:
        page.locator("#sample-list button").last.click()
    assert "box=" not in asked.value.url
    page.locator(".shot img").first.wait_for()
    area = page.locator("#canvas").bounding_box()
    with page.expect_request("**/api/search**") as asked:
        page.mouse.move(area["x"] + area["width"] * 0.25, area["y"] + 4)
        page.mouse.down()
        page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + area["height"] - 4)
        page.mouse.up()
    corners = [int(value) for value in httpx.URL(asked.value.url).params["box"].split(",")]
    assert corners[0] == pytest.approx(160, abs=4)  # of 640
    assert corners[2] == pytest.approx(320, abs=4)
    page.get_by_role("button", name="Use all of it").click()
    page.locator("#canvas").focus()
    page.keyboard.press("Enter")
    with page.expect_request("**/api/search**") as asked:
        page.keyboard.press("ArrowRight")
    assert httpx.URL(asked.value.url).params["box"] == "176,50,496,350"
    content = base64.b64encode(samples()[5].content).decode()
    page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
            window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        content,
    )
    page.get_by_text("seems not to be enrolled").wait_for()


def test_an_error_is_shown_to_people(page: Any, client: httpx.Client) -> None:
    client.post("/api/drawn")
    page.reload()
    page.get_by_role("button", name="Ada").wait_for()
    page.locator("#file").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.get_by_text("a.jpg is not a picture that this browser can show").wait_for()
    page.locator("summary").click()
    page.get_by_label("Since").fill("2030-01-02T00:00")
    page.get_by_label("Until").fill("2030-01-01T00:00")
    page.locator("#sample-list button").first.click()
    page.locator("#problem", has_text="expected since < until").wait_for()


DROP = """([kind, files]) => {
    const data = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
        data.items.add(new File([bytes], name, { type: "image/jpeg" }));
    }
    if (!files.length) data.setData("text/plain", "https://example.org/person.jpg");
    document.body.dispatchEvent(kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_what_nobody_planned_for(browser: Any, serve: Serve) -> None:
    """Text, two files at once, a picture over the limits of the server, and a name written from right to left."""
    client = serve(max_pixels=50_000)
    page = browser.new_page(viewport={"width": 1180, "height": 800})
    page.set_default_timeout(15_000)
    page.goto(str(client.base_url))
    page.get_by_role("button", name="0002").wait_for()
    page.evaluate(DROP, ["paste", []])
    page.locator("#problem", has_text="no picture in that").wait_for()
    photo, person = (base64.b64encode(samples()[number].content).decode() for number in (6, 0))
    page.evaluate(DROP, ["drop", [["crowd.jpg", photo], ["b.jpg", person]]])
    page.get_by_text("One picture at a time: crowd.jpg was taken.").wait_for()
    page.locator(".shot img").first.wait_for()
    assert not page.locator("#problem").is_visible()
    width, height = page.evaluate("[canvas.width, canvas.height]")
    assert width * height <= 50_000  # of 256,000
    assert width / height == pytest.approx(1.6, abs=0.02)
    area = page.locator("#canvas").bounding_box()
    with page.expect_request("**/api/search**") as asked:
        page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + 4)
        page.mouse.down()
        page.mouse.move(area["x"] + area["width"] - 1, area["y"] + area["height"] - 4)
        page.mouse.up()
    corners = [int(value) for value in httpx.URL(asked.value.url).params["box"].split(",")]
    assert corners[0] == pytest.approx(width / 2, abs=3)
    assert corners[2] <= width
    page.get_by_role("button", name="Enrol this person").click()
    page.get_by_role("combobox", name="Name or number").fill("\u05e9\u05dc\u05d5\u05dd \U0001f600")
    page.keyboard.press("Enter")
    page.get_by_text("\u2068\u05e9\u05dc\u05d5\u05dd \U0001f600\u2069 is enrolled.").wait_for()
    assert client.get("/api/people", params={"name": "\U0001f600"}).json()["people"][0]["entries"] == 1
    page.close()


def test_the_slider_says_what_was_measured(
    browser: Any, serve: Serve, embedder: osnet.Embedder, tmp_path: Path
) -> None:
    write_calibration(tmp_path / "c.json", calibration(embedder))
    client = serve(calibration=tmp_path / "c.json")
    page = browser.new_page()
    page.set_default_timeout(15_000)
    page.goto(str(client.base_url))
    page.get_by_text("(8 pictures)").wait_for()
    slider, meaning = page.locator("#threshold"), page.locator("#threshold-meaning")
    assert slider.input_value() == "0.6"
    rates = ["FPR at most 1 %", "TPR at most 90 %", "At most 8 % of searches"]
    assert [line[: len(start)] for line, start in zip(meaning.text_content().split("\n"), rates)] == rates
    for threshold, told in (
        ("0.3", "Below 0.40, more than 50 % of pairs of different people count as one person."),
        ("0.59", "Searches for people who are not enrolled may all find somebody (8 pictures)."),
        ("1", "At most 0.8 % of searches for people who are not enrolled find somebody (8 pictures)."),
        ("1", "Measured on few pairs of drawn."),
    ):
        slider.fill(threshold)
        assert told in meaning.text_content().split("\n")
    client.delete("/api/entries?identity=0002")
    page.get_by_role("button", name="0003").click()
    page.get_by_role("button", name="Show all people").click()
    page.get_by_text("(6 pictures)").wait_for()
    page.close()


def test_the_keyboard_alone_reaches_a_person(page: Any, client: httpx.Client) -> None:
    client.post("/api/drawn")
    page.reload()
    page.get_by_role("button", name="Ada").wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if "Ada" in page.evaluate("document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Similar to Ada").wait_for()
    assert page.locator(".group h3").first.text_content() == "Ada"


SCREENS = {"wide, light": (1280, "light"), "narrow, dark": (360, "dark")}


def test_axe_finds_nothing_serious_in_any_state(page: Any, client: httpx.Client) -> None:
    found: dict[str, list[str]] = {}
    passed: set[str] = set()

    def look(state: str) -> None:
        for screen, (width, scheme) in SCREENS.items():
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = page.evaluate("axe.run()")
            passed.update(rule["id"] for rule in result["passes"])
            found[f"{state}; {screen}"] = [
                f"{rule['impact']}: {rule['id']} at {node['target']}"
                for rule in result["violations"]
                for node in rule["nodes"]
                if rule["impact"] in ("serious", "critical")
            ]

    page.add_init_script(axe.Axe().axe_script)
    page.reload()
    page.get_by_role("button", name="Try it with drawn people").wait_for()
    look("empty gallery")
    unnamed(client, 2)
    page.reload()
    page.locator(".people img").last.wait_for()
    page.locator("#sample-list img").last.wait_for()
    page.locator("summary").click()
    look("people and filters")
    page.get_by_role("button", name="Not named").click()
    page.locator(".unnamed img").last.wait_for()
    look("not named")
    page.locator(".unnamed .name").first.click()
    page.locator("#name-list button").first.wait_for()
    look("naming")
    page.get_by_role("button", name="Cancel").click()
    page.locator("#sample-list button").first.click()
    page.locator(".shot img").last.wait_for()
    look("answers")
    page.get_by_role("button", name="Enrol this person").click()
    look("enrolling")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove person Ada").click()
    look("question before a removal")
    page.locator("#ask-dialog-yes").click()
    page.locator("#file").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.locator("#problem").wait_for()
    page.locator(".toast").wait_for()
    look("an error, and an undo")
    assert {state: faults for state, faults in found.items() if faults} == {}
    assert {"color-contrast", "label", "image-alt", "button-name"} <= passed


def test_a_token_comes_with_the_address_or_is_asked_for(
    browser: Any, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "t+&%20#=" * 3
    client = serve(token=token)
    page = browser.new_page()
    page.set_default_timeout(15_000)
    _say_where(str(client.base_url), client.work.settings, "people")
    page.goto(capsys.readouterr().out.split()[1])
    page.get_by_role("button", name="0002").wait_for()
    assert token not in page.url
    page.close()
    page = browser.new_page()
    page.goto(str(client.base_url))
    field, refused = page.get_by_role("textbox", name="Token"), page.get_by_text("does not accept this token")
    field.fill("wrong\u2026")  # no header can carry this
    assert not refused.is_visible()
    page.get_by_role("button", name="Go on").click()
    refused.wait_for()
    field.fill(f" {token} ")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="0002").wait_for()
    page.close()
