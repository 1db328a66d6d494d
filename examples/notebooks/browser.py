#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the notebooks and their kernel in a browser, as a user meets them: make browser.

It starts Jupyter on a copy of the notebooks and headless Chromium, runs a notebook, interrupts a cell, asks for completions and
documentation, makes mistakes, and restarts the kernel. Screenshots go to the folder that is given, to be looked at. The kernel
must be installed; Debian's packages are jupyter-notebook, python3-selenium, chromium and chromium-driver.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent


class Failure(Exception):
    """What is not as it has to be."""


def missing():
    """The Debian packages that are not there."""
    want = []
    if not shutil.which("jupyter-notebook"):
        want.append("jupyter-notebook")
    if not shutil.which("chromium"):
        want.append("chromium")
    if not shutil.which("chromedriver"):
        want.append("chromium-driver")
    try:
        import selenium  # noqa: F401
    except ImportError:
        want.append("python3-selenium")
    return want


def eventually(what, condition, seconds=60):
    """Waits for a condition and returns its value."""
    end = time.time() + seconds
    while time.time() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise Failure(f"want within {seconds} s: {what}")


class Page:
    """A notebook in the browser."""

    def __init__(self, driver, address, folder, out):
        self.driver, self.address, self.folder, self.out = driver, address, folder, out
        self.taken = 0

    def script(self, text, *args):
        return self.driver.execute_script(text, *args)

    def open(self, name):
        self.driver.get(f"{self.address}/notebooks/{name}")
        eventually(f"{name} with its kernel", lambda: self.script(
            "return window.Jupyter && Jupyter.notebook && Jupyter.notebook._fully_loaded && Jupyter.notebook.kernel && "
            "Jupyter.notebook.kernel.is_connected() && Jupyter.notebook.kernel.info_reply.implementation"))
        self.script("Jupyter.notebook.set_autosave_interval(0)")
        self.wait()

    def new(self, name, *cells):
        """Opens a notebook of these cells."""
        (self.folder / name).write_text(json.dumps({
            "cells": [{"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": c} for c in cells],
            "metadata": {"kernelspec": {"display_name": "Go (Kernelfold)", "language": "go", "name": "kernelfold"}},
            "nbformat": 4, "nbformat_minor": 4}))
        self.open(name)

    def busy(self):
        return self.script("return Jupyter.notebook.kernel_busy || "
                           "Jupyter.notebook.get_cells().some(c => c.input_prompt_number === '*')")

    def wait(self, seconds=300):
        eventually("an idle kernel", lambda: not self.busy(), seconds)
        time.sleep(0.3)

    def run(self, i, seconds=300):
        self.start(i)
        self.wait(seconds)
        return self.output(i)

    def start(self, i):
        self.script("Jupyter.notebook.select(arguments[0]); Jupyter.notebook.execute_cell()", i)
        time.sleep(0.3)

    def outputs(self, i):
        return self.script("return Jupyter.notebook.get_cell(arguments[0]).output_area.outputs || []", i)

    def output(self, i):
        """What a cell shows, as text."""
        return self.script("return Jupyter.notebook.get_cell(arguments[0]).output_area.element.find('.output_subarea').text()", i).strip()

    def click(self, action):
        self.script("document.querySelector(`button[data-jupyter-action='jupyter-notebook:${arguments[0]}']`).click()", action)

    def edit(self, i, text, cursor):
        """Writes a cell and puts the cursor behind a text of it."""
        at = text.index(cursor) + len(cursor)
        before = text[:at]
        self.script("""
            const cell = Jupyter.notebook.get_cell(arguments[0]);
            Jupyter.notebook.select(arguments[0]);
            cell.set_text(arguments[1]);
            Jupyter.notebook.edit_mode();
            cell.code_mirror.focus();
            cell.code_mirror.setCursor({line: arguments[2], ch: arguments[3]});
        """, i, text, before.count("\n"), len(before) - before.rfind("\n") - 1)

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains
        ActionChains(self.driver).send_keys(*keys).perform()

    def shift_tab(self):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    def look(self, name, i=None):
        """Takes a screenshot, with cell i at the top."""
        if i is not None:
            self.script("const s = document.getElementById('site'); "
                        "s.scrollTop += Jupyter.notebook.get_cell(arguments[0]).element[0].getBoundingClientRect().top - s.getBoundingClientRect().top", i)
            time.sleep(0.3)
        self.taken += 1
        path = self.out / f"{self.taken:02d}-{name}.png"
        self.driver.save_screenshot(str(path))
        print(f"    {path}")


def check(what, ok, got=""):
    if not ok:
        raise Failure(f"{what}: got {got!r}")
    print(f"  {what}")


def run_all(page):
    print("run all")
    page.open("1-quickstart.ipynb")
    code = page.script("return Jupyter.notebook.get_cells().map((c, i) => c.cell_type === 'code' ? i : -1).filter(i => i >= 0)")
    page.script("Jupyter.notebook.clear_all_output()")
    page.script("Jupyter.notebook.execute_all_cells()")
    time.sleep(1)
    page.wait()
    kinds = [o["output_type"] for i in code for o in page.outputs(i)]
    check("no cell fails", "error" not in kinds, kinds)
    check("all cells were run", all(page.script("return Jupyter.notebook.get_cell(arguments[0]).input_prompt_number", i) == n + 1
                                    for n, i in enumerate(code)))
    pictures = [i for i in code if any("image/png" in o.get("data", {}) for o in page.outputs(i))]
    check("pictures are shown", len(pictures) >= 2, pictures)
    page.look("images", pictures[0])
    page.look("curves", pictures[-1])
    report = page.script("return Jupyter.notebook.get_cell(arguments[0]).element.find('table').length", code[-1])
    check("the report is a table", report > 0, report)
    page.look("report", code[-1])


def live(page):
    print("training that shows itself")
    page.new("live.ipynb", """import (
	"context"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/notebooks/figures"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

digits, err := images.Digits(1, 4000, 400, images.DigitOptions{Side: 16, Noise: 0.08, Clutter: 0.5})
model, err := models.CNN(25, models.Options{Shape: digits.Shape(), Classes: 10, Seed: 1, Widths: []int{8, 16}})
solver := gorgonia.NewMomentum(gorgonia.WithLearnRate(0.01), gorgonia.WithMomentum(0.9))
options := train.Options{Epochs: 4, Seed: 1, Test: digits.Test, Hooks: []train.Hook{figures.Training("digits")}}
history, err := train.Fit(context.Background(), model, solver, digits.Train, options)
err""", "options.Epochs = 400\n_, err = train.Fit(context.Background(), model, solver, digits.Train, options)\nerr", "len(history)")
    page.start(0)
    bar = lambda i: page.script("const p = Jupyter.notebook.get_cell(arguments[0]).element[0].querySelector('progress'); return p ? p.value : 0", i)
    page.wait()
    shown = [o for o in page.outputs(0) if "image/png" in o.get("data", {})]
    check("one plot is left in place of the bar", len(shown) == 1 and len(page.outputs(0)) == 1, [list(o.get("data", {})) for o in page.outputs(0)])
    page.look("trained", 0)
    page.start(1)
    first = eventually("a bar", lambda: bar(1))
    eventually("a bar that moves", lambda: bar(1) > first)
    curve = lambda: page.script("const p = document.querySelector('polyline'); return p ? p.getAttribute('points').length : 0")
    short = eventually("a curve", curve)
    eventually("a curve that grows", lambda: curve() > short + 200)
    page.look("training", 1)
    page.click("interrupt-kernel")
    page.wait(20)
    check("interrupt stops the training after a step", "interrupted" in page.output(1), page.output(1))
    check("and keeps the variables", page.run(2) == "4", page.output(2))


def interrupt(page):
    print("interrupt")
    page.new("interrupt.ipynb", "kept := 42\nn := 0", "for {\n\tn++\n}", "kept", "\"never run\"")
    page.run(0)
    page.script("Jupyter.notebook.execute_cells([1, 3])")
    time.sleep(1)
    check("the cell goes on", page.busy())
    page.click("interrupt-kernel")
    page.wait(20)
    check("it was stopped", page.output(1).startswith("interrupted"), page.output(1))
    check("the cell that waited was not run", page.output(3) == "", page.output(3))
    check("the variable is kept", page.run(2) == "42", page.output(2))
    page.look("interrupt", 0)


def errors(page):
    print("errors")
    page.new("errors.ipynb",
             "import (\n\t\"github.com/kernelfold/kernelfold/manifolds\"\n\t\"github.com/kernelfold/kernelfold/solvers\"\n)\nlearnRate := 0.1\nweights := []float64{1, 2, 3}\n"
             "\n// pick picks.\nfunc pick(i int) float64 {\n\treturn weights[i]\n}",
             "solver := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Kernels(manifolds.Stiefl{}))",
             "learnrate * 2",
             "sum := 0.0\nfor i := 0; i < 5; i++ {\n\tsum += pick(i)\n}",
             "weights.Len()",
             "gorgonia.NewGraph()",
             "learnRate")
    page.run(0)
    for i, want in [(1, "Stiefl does not exist in package github.com/kernelfold/kernelfold/manifolds; did you mean Stiefel?"),
                    (2, "learnrate is not defined; did you mean learnRate?"),
                    (3, "cell [1], line 10, in pick"),
                    (4, "Len does not exist"),
                    (5, 'import "gorgonia.org/gorgonia"')]:
        got = page.run(i)
        check(want, want in got, got)
    check("the panic is in line 3 of its cell too", re.search(r"cell \[4\], line 3", page.output(3)), page.output(3))
    red = page.script("return Jupyter.notebook.get_cell(3).element.find('.ansi-red-fg').length")
    check("tracebacks are red", red > 0, red)
    check("nothing is lost", page.run(6) == "0.1", page.output(6))
    page.look("errors", 0)
    page.look("traceback", 3)


def documentation(page):
    from selenium.webdriver.common.keys import Keys
    print("documentation and completion")
    page.new("inspect.ipynb", "import (\n\t\"github.com/kernelfold/kernelfold/manifolds\"\n\t\"github.com/kernelfold/kernelfold/solvers\"\n)\nsolver := solvers.NewSGD(solvers.LearnRate(0.1))", "")
    page.run(0)
    page.edit(1, "solvers.NewSGD()", "NewSGD(")
    page.shift_tab()
    tip = eventually("a tooltip", lambda: page.script("const t = document.getElementById('tooltip'); return t && t.offsetHeight ? t.innerText : ''"))
    check("Shift-Tab shows the declaration", "func NewSGD(" in tip, tip)
    check("and the comment", "gradient descent" in tip, tip)
    time.sleep(1)  # it fades in
    page.look("tooltip")
    page.keys(Keys.ESCAPE)
    page.edit(1, "manifolds.Sphere{}.Retract", "Retract")
    page.shift_tab()
    tip = eventually("a tooltip of a method", lambda: page.script("const t = document.getElementById('tooltip'); return t && t.offsetHeight && t.innerText.includes('Retract') ? t.innerText : ''"))
    check("Shift-Tab shows a method", "Retract(dst, x, v" in tip, tip)
    page.keys(Keys.ESCAPE)

    def completions(text):
        page.edit(1, text, text)
        page.keys(Keys.TAB)
        eventually("completions of " + text, lambda: page.script("return document.querySelectorAll('.completions option').length") or
                   page.script("return Jupyter.notebook.get_cell(1).get_text()") != text)
        time.sleep(0.3)
        return page.script("return [...document.querySelectorAll('.completions option')].map(o => o.text)") or \
            [page.script("return Jupyter.notebook.get_cell(1).get_text()")]

    got = completions("solvers.New")
    check("Tab completes names of a package", "NewSGD" in got and "NewAdam" in got, got)
    page.look("completion")
    page.keys(Keys.ESCAPE)
    got = completions("solver.Rep")
    check("Tab completes a method", got == ["solver.Report"], got)
    got = completions("manifolds.Stiefel{}.")
    check("Tab lists fields and methods", "Project" in got and "Retract" in got, got)
    page.keys(Keys.ESCAPE)
    got = completions("import \"gorgonia.org/g")
    check("Tab completes an import", got == ["import \"gorgonia.org/gorgonia"], got)


def restart(page):
    print("restart")
    page.new("restart.ipynb", "forgotten := 1", "forgotten", "1 + 1", "for {\n}")
    page.run(0)
    check("a variable", page.run(1) == "1", page.output(1))
    page.start(3)  # also while a cell is run
    began = time.time()
    page.click("confirm-restart-kernel")
    eventually("the question", lambda: page.script("const b = document.querySelector('.modal.in .btn-danger, .modal.in .btn-primary'); if (b) { b.click(); return true } return false"))
    eventually("an answer of a new kernel", lambda: not page.busy() and page.script("return Jupyter.notebook.kernel.is_connected()"), 30)
    check("the new kernel computes", page.run(2) == "2", page.output(2))
    print(f"  after {time.time() - began:.1f} s")
    got = page.run(1)
    check("and has forgotten", "forgotten is not defined" in got, got)


def main():
    parser = argparse.ArgumentParser(description="Tests the notebooks in a browser.")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder for the screenshots")
    parser.add_argument("--only", help="one of the tests")
    args = parser.parse_args()
    if want := missing():
        sys.exit("browser: some programs are missing; on Debian: apt-get install --no-install-recommends " + " ".join(want))
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    try:
        KernelSpecManager().get_kernel_spec("kernelfold")
    except NoSuchKernel:
        sys.exit("browser: the kernel of the notebooks is not installed: make notebooks")
    from selenium import webdriver

    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for f in here.glob("*.ipynb"):
            shutil.copy(f, folder)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        # As from the background of a shell script: the signal of an interrupt is ignored.
        server = subprocess.Popen(
            ["jupyter-notebook", "--no-browser", f"--port={port}", "--ip=127.0.0.1", "--NotebookApp.token=", "--NotebookApp.password=",
             "--allow-root", f"--notebook-dir={folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "JUPYTER_CONFIG_DIR": str(folder / ".config"), "JUPYTER_RUNTIME_DIR": str(folder / ".runtime")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        driver = None
        try:
            options = webdriver.ChromeOptions()
            for o in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000", "--force-device-scale-factor=1"]:
                options.add_argument(o)
            options.binary_location = shutil.which("chromium")
            driver = webdriver.Chrome(service=webdriver.chrome.service.Service(shutil.which("chromedriver")), options=options)
            page = Page(driver, f"http://127.0.0.1:{port}", folder, args.out)

            def serves():
                with socket.socket() as s:
                    return s.connect_ex(("127.0.0.1", port)) == 0
            eventually("a Jupyter server", serves)
            for test in [run_all, live, interrupt, errors, documentation, restart]:
                if args.only in (None, test.__name__):
                    try:
                        test(page)
                    except Failure as e:
                        page.look("failure")
                        sys.exit(f"browser: {e}")
        finally:
            if driver:
                driver.quit()
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    print("browser: all is well")


if __name__ == "__main__":
    main()
