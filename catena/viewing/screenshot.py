"""A picture of a Neuroglancer viewer, taken by a headless Chromium."""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catena.errors import CatenaError
from catena.viewing.png_file import write_png

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DRIVER = "chromedriver"
# Software WebGL: there is no display and often no GPU.
_ARGUMENTS = ("--headless=new", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")


def missing_for_screenshots() -> list[str]:
    """Return what has to be installed before :func:`screenshot` can work; empty if nothing."""
    missing = []
    if importlib.util.find_spec("selenium") is None:
        missing.append("selenium (pip install 'catena-em[screenshot]')")
    if _browser() is None:
        missing.append("Chromium (Debian: apt-get install chromium)")
    if shutil.which(_DRIVER) is None:
        missing.append("chromedriver (Debian: apt-get install chromium-driver)")
    return missing


def screenshot(viewer: Any, path: str | Path, size: tuple[int, int] = (1600, 1000), timeout_s: float = 120.0) -> Path:
    """Write what `viewer` shows as a PNG file, once all its chunks are loaded.

    Parameters
    ----------
    viewer
        From :func:`catena.viewing.neuroglancer.build_viewer`.
    path
        PNG file; its folder is made.
    size
        Width and height, pixels.
    timeout_s
        Longest wait for the picture, seconds.

    Raises
    ------
    CatenaError
        If Chromium, chromedriver or selenium is missing (all that are, and how to install them), or
        the picture does not come in time.
    OutputError
        If the file cannot be written.
    """
    missing = missing_for_screenshots()
    if missing:
        raise CatenaError("a screenshot needs " + ", ".join(missing))
    with _chromium(viewer.get_viewer_url(), size):
        image = _captured(viewer, size, timeout_s)
    return write_png(path, image)


def _browser() -> str | None:
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def _chromium(url: str, size: tuple[int, int]) -> Iterator[None]:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _browser()
    for argument in (*_ARGUMENTS, f"--window-size={size[0]},{size[1]}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to start as root otherwise
    try:
        driver = webdriver.Chrome(options=options, service=Service(shutil.which(_DRIVER)))
    except WebDriverException as error:
        raise CatenaError(f"Chromium did not start: {error.msg}") from error
    try:
        driver.get(url)
        yield
    finally:
        driver.quit()


def _captured(viewer: Any, size: tuple[int, int], timeout_s: float) -> bytes:
    """Ask the viewer's browser for a picture and wait; the viewer's own method would wait for ever."""
    with viewer.config_state.txn() as state:
        state.show_ui_controls = False
        state.show_panel_borders = False
        state.viewer_size = list(size)
    arrived, replies = threading.Event(), []

    def receive(reply: Any) -> None:
        replies.append(reply)
        arrived.set()

    viewer.async_screenshot(receive)
    if not arrived.wait(timeout_s):
        raise CatenaError(
            f"no picture from Chromium within {timeout_s:g} s; are the arrays readable and the machine free?"
        )
    image: bytes = replies[0].screenshot.image
    return image
