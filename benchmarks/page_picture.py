"""The picture of the page in docs/images: drawn people, served, in chromium.

python -m benchmarks.page_picture [--out docs/images]
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no chromium here; install Debian's package chromium")
        return
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "osnet", "serve", "--demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = next(line for line in server.stdout if "http" in line).rpartition(" ")[2].strip()
        try:
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1180, "height": 760}, color_scheme="light", locale="en-GB")
                page.goto(address)
                page.locator("#sample-list img").first.wait_for()
                page.locator("#sample-list button").first.click()
                page.locator(".shot img").nth(5).wait_for()
                page.mouse.move(1, 1)
                page.wait_for_timeout(500)
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        finally:
            server.terminate()
    path = options.out / "serve.jpg"
    picture.save(path, quality=86, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
