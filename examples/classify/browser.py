#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the page of examples/classify -serve in a browser, as a user meets it: make page.

It trains a net on digits for some seconds, serves it, opens the page in headless Chromium, drops pictures on it, chooses others, and looks at
what the page then says. Screenshots go to the folder that is given, to be looked at. Debian's packages are python3-selenium, chromium and
chromium-driver.
"""
import argparse
import base64
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

root = pathlib.Path(__file__).resolve().parent.parent.parent


def missing():
    """The Debian packages that are not there."""
    want = [package for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")) if not shutil.which(program)]
    try:
        import selenium  # noqa: F401
    except ImportError:
        want.append("python3-selenium")
    return want


def png(strokes, side=80):
    """A grey picture with white rectangles, each given as x0, y0, x1, y1 in tenths."""
    rows = [bytearray(side) for _ in range(side)]
    for x0, y0, x1, y1 in strokes:
        for y in range(y0 * side // 10, y1 * side // 10):
            for x in range(x0 * side // 10, x1 * side // 10):
                rows[y][x] = 255
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(r) for r in rows))) + chunk(b"IEND", b""))


ONE = png([(5, 2, 6, 8), (4, 2, 5, 3), (4, 7, 7, 8)])
SEVEN = png([(3, 2, 7, 3), (6, 3, 7, 5), (5, 5, 6, 8)])


def eventually(what, condition, seconds=30):
    end = time.time() + seconds
    while time.time() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"page: want within {seconds} s: {what}")


DROP = """
const [files] = arguments, transfer = new DataTransfer();
for (const [name, text] of files) {
  transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
}
const drop = document.getElementById("drop");
for (const kind of ["dragover", "drop"]) drop.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    out = arguments.parse_args().out
    if packages := missing():
        sys.exit("page: want these packages of Debian: " + " ".join(packages))
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        program = str(folder / "classify")
        subprocess.run(["go", "build", "-o", program, "./examples/classify"], cwd=root, check=True)
        run = str(folder / "run")
        subprocess.run([program, "-model", "lenet", "-limit", "2000", "-epochs", "4", "-out", run], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server = subprocess.Popen([program, "-out", run, "-serve", ":0"], stdout=subprocess.PIPE, text=True)
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,1000", f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = None
        try:
            address = server.stdout.readline().split()[3]
            driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
            driver.get(address)
            driver.save_screenshot(str(out / "page-empty.png"))
            text = lambda picture: base64.b64encode(picture).decode()
            driver.execute_script(DROP, [["one.png", text(ONE)], ["not a picture <b>.png", text(b"text")]])
            results = lambda: driver.find_elements(By.CSS_SELECTOR, ".result")
            eventually("an answer for each of two files", lambda: len(driver.find_elements(By.CSS_SELECTOR, ".result .row:last-child, .result .error")) == 2)
            errors = driver.find_elements(By.CSS_SELECTOR, ".error")
            if len(errors) != 1 or "want a JPEG, PNG" not in errors[0].text:
                sys.exit(f"page: want one error, which says what was wanted, got {[e.text for e in errors]}")
            chosen = folder / "seven.png"
            chosen.write_bytes(SEVEN)
            driver.find_element(By.CSS_SELECTOR, "input").send_keys(str(chosen))
            eventually("a third result", lambda: len(results()) == 3 and len(driver.find_elements(By.CSS_SELECTOR, ".row")) == 6)
            eventually("the pictures", lambda: driver.execute_script("return [...document.images].filter(i => i.naturalWidth == 80).length") == 2)
            shares = [float(e.text.rstrip(" %")) for e in driver.find_elements(By.CSS_SELECTOR, ".result:first-child .row span:last-child")]
            if shares != sorted(shares, reverse=True) or not 33 <= shares[0] <= 100:
                sys.exit(f"page: want the most probable classes first, got {shares} per cent")
            driver.save_screenshot(str(out / "page-results.png"))
            wrong = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE" and "415" not in e["message"] and "favicon" not in e["message"]]
            if wrong:
                sys.exit(f"page: want no errors of the browser, got {wrong}")
        finally:
            if driver:
                driver.quit()
            server.send_signal(signal.SIGINT)
            status = server.wait(timeout=30)
        if status:
            sys.exit(f"page: want the server to end with status 0, got {status}")
    print("the page works; screenshots:", os.path.join(out, "page-*.png"))


if __name__ == "__main__":
    main()
