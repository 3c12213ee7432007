"""The exported page in a real browser: its contract, its pixels, and that it needs nothing but itself."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import (
    CAPTION,
    checksum,
    frame,
    give_up,
    make_recording,
    random_positions,
    read_canvas,
    slide_to,
    wait_until_live,
    write_page,
)
from PIL import Image

from fmnist_lib.visualisers.explorer import Explorer, compare
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder

KINDS = ["maps", "kernels", "cams"]
SELECTED_IN_SIGHT = """(channel) => {
  const frame = document.querySelector(".fmx-tall"), mark = frame.querySelectorAll(".fmx-marks span")[channel];
  const [outer, inner] = [frame, mark].map((element) => element.getBoundingClientRect());
  return inner.top >= outer.top && inner.bottom <= outer.bottom;
}"""


def test_pixels_equal_those_of_python(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    explorer = Explorer(recording, kind=KINDS)
    watched = open_page()
    watched.page.goto(write_page(tmp_path / "page.html", explorer))
    wait_until_live(watched.page)
    assert read_canvas(watched.page) == checksum(explorer)
    for position in random_positions(explorer, 200):
        explorer.move(**position)
        slide_to(watched.page, explorer)
        assert frame(watched.page) == explorer._position.frame
        assert read_canvas(watched.page) == checksum(explorer), position
    assert watched.requests == [(tmp_path / "page.html").as_uri()]


def test_both_sides_of_a_comparison_equal_python(open_page: Any, tmp_path: Path) -> None:
    both = compare(make_recording(), make_recording(epochs=4, seed=1, channels=5))
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", both))
    wait_until_live(page)
    for position in random_positions(both, 30):
        both.move(**position)
        slide_to(page, both)
        assert [read_canvas(page, panel=panel) for panel in (0, 1)] == [checksum(both, 0), checksum(both, 1)]


def test_contract_of_the_page(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, kind=KINDS)))
    wait_until_live(page)
    root = page.get_by_role("group", name="Explorer: feature maps, kernels, Grad-CAM")
    assert root.count() == 1
    assert root.get_attribute("data-frame") == "stem.act/5/0/0/maps/shared/sheet"
    for name in ("layer", "epoch", "image", "channel"):
        slider = root.get_by_role("slider", name=name, exact=True)
        assert slider.count() == 1, name
        assert int(slider.get_attribute("min")) < int(slider.get_attribute("max")) < 1000
        assert slider.get_attribute("data-lm-suppress-shortcuts") is not None
        assert slider.get_attribute("aria-valuetext")
    for control in root.locator("input, select, button").all():
        assert control.get_attribute("data-lm-suppress-shortcuts") is not None
        assert control.get_attribute("aria-label") or control.inner_text()


def test_keys_and_mouse_move_the_picture(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording)))
    wait_until_live(page)
    seen = {frame(page): read_canvas(page)}
    for name, key in (("epoch", "ArrowLeft"), ("channel", "End"), ("layer", "ArrowRight"), ("image", "PageUp")):
        page.get_by_role("slider", name=name, exact=True).focus()
        page.keyboard.press(key)
        seen[frame(page)] = read_canvas(page)
    assert len(seen) == 5 and len({tuple(pixels) for pixels in seen.values()}) == 5
    box = page.get_by_role("slider", name="epoch", exact=True).bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    assert frame(page).split("/")[1] in ("2", "3")


def test_a_click_enlarges_a_tile_and_back(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording)))
    wait_until_live(page)
    canvas = page.locator(".fmx-canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.5})  # 4 x 3 tiles: third, second row
    assert frame(page) == "stem.act/5/6/0/maps/shared/single"
    canvas.click()
    assert frame(page) == "stem.act/5/6/0/maps/shared/sheet"


def test_single_view_tells_range_mean_zeros_and_histogram(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, channel=4, view="single")))
    wait_until_live(page)
    values = recording.values("maps", "stem.act", 5)[0, 4]
    text = page.locator(".fmx-facts").inner_text().replace("\u2212", "-").replace("\u00a0", " ")
    low, high, mean, zeros = map(float, re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text.split(":")[1]))
    assert (low, high) == pytest.approx((values.min(), values.max()), rel=5e-3)
    assert mean == pytest.approx(values.mean(), rel=5e-3)
    assert zeros == pytest.approx(100 * (values == 0).mean(), abs=0.51)
    assert page.locator(".fmx-histogram path").get_attribute("d").count("v-") > 5


def test_dead_and_broken_channels_are_named(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, epoch=2, image=1)))
    wait_until_live(page)
    warning = page.locator(".fmx-warning").inner_text()
    assert "1 of 12 channels dead (hatched): 1." in warning
    assert "1 of 12 channels with values that are not finite (magenta): 2." in warning


def test_explorers_do_not_reach_each_other(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    """Two different ones and each of them twice."""
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording), Explorer(recording, kind="kernels"), twice=True))
    wait_until_live(page, 4)
    before = [(frame(page, root), read_canvas(page, root)) for root in range(4)]
    assert before[0] == before[2] and before[1] == before[3]
    page.get_by_role("slider", name="epoch", exact=True).nth(2).focus()
    page.keyboard.press("Home")
    after = [(frame(page, root), read_canvas(page, root)) for root in range(4)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, True]


def test_nothing_moves_unasked_and_play_stops(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording)))
    wait_until_live(page)
    before = frame(page)
    page.wait_for_timeout(1500)
    assert frame(page) == before
    page.get_by_role("button", name="play").click()
    page.wait_for_function("before => document.querySelector('.fmx').dataset.frame !== before", arg=before)
    page.get_by_role("button", name="pause").click()
    stopped = frame(page)
    page.wait_for_timeout(1500)
    assert frame(page) == stopped


def test_play_makes_one_step_for_those_who_want_no_motion(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page(reduced_motion="reduce").page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, epoch=1)))
    wait_until_live(page)
    page.get_by_role("button", name="play").click()
    page.wait_for_timeout(1500)
    assert frame(page).split("/")[1] == "2"


def test_code_is_that_of_python(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    explorer = Explorer(recording, kind=KINDS, images=[2, 1])
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", explorer))
    wait_until_live(page)
    for position in random_positions(explorer, 5):
        explorer.move(**position)
        slide_to(page, explorer)
        page.get_by_role("button", name="copy code").click()
        assert page.locator(".fmx-code").inner_text() == explorer.code()


def test_save_picture_gives_all_that_is_shown(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page(accept_downloads=True).page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording)))
    wait_until_live(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="save picture").click()
    assert download.value.suggested_filename == "net12_stem.act_5_0_0_maps_shared_sheet.png"
    picture, frame = np.asarray(Image.open(download.value.path()))[..., :3], Explorer(recording).pixels()
    rows = np.lib.stride_tricks.sliding_window_view(picture[:, 12 : 12 + frame.shape[1]], frame.shape[0], axis=0)
    shown = frame[..., 3] > 0  # the rest lets the page through
    assert any((np.moveaxis(row, -1, 0)[shown] == frame[..., :3][shown]).all() for row in rows)
    assert picture.shape[0] > frame.shape[0] + 60 and picture.shape[1] > frame.shape[1] + 112  # labels, scale, input


def test_the_value_under_the_pointer_and_by_keys(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, channel=4, view="single", image=1)))
    wait_until_live(page)
    values = recording.values("maps", "stem.act", 5)[1]
    canvas, told = page.locator(".fmx-canvas"), page.locator(".fmx-pointer")
    box, (height, width) = canvas.bounding_box(), values.shape[1:]

    def read() -> tuple[list[int], float]:
        text = told.inner_text().replace("\u2212", "-")
        layer, place, value = re.fullmatch(r"(\S+), image 1, (.*): (\S+)(?: \u00b1 .*)?", text).groups()
        assert layer == "stem.act"
        return [int(number) for number in re.findall(r"\d+", place)], float(value)

    for row, column in ((0, 0), (2, 5), (height - 1, width - 1)):
        place = {"x": box["width"] * (column + 0.5) / width, "y": box["height"] * (row + 0.5) / height}
        canvas.hover(position=place)
        assert read() == ([4, row, column], pytest.approx(values[4, row, column], rel=6e-3, abs=1e-6))
    page.mouse.move(0, 0)
    assert told.inner_text().startswith("Point at")
    canvas.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight"):  # the first shows the cursor, in the middle
        page.keyboard.press(key)
    row, column = height // 2 - 1, width // 2 + 1
    assert read() == ([4, row, column], pytest.approx(values[4, row, column], rel=6e-3, abs=1e-6))
    assert told.get_attribute("aria-live") == "polite"
    page.keyboard.press("Enter")
    assert frame(page).endswith("/sheet")
    canvas.focus()
    page.keyboard.press("ArrowUp")
    for _ in range(width):  # over the edge into the next tile
        page.keyboard.press("ArrowRight")
    assert read()[0] == [5, row - 1, column]
    assert page.locator(".fmx-marks span").all_inner_texts() == [str(number) for number in range(values.shape[0])]


def test_a_layer_clicked_elsewhere_on_the_page_is_shown(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, kind=KINDS)))
    wait_until_live(page)
    send = "name => document.dispatchEvent(new CustomEvent('fmnist-layer', {detail: {layer: name}}))"
    page.evaluate(send, "stage2.act")
    assert frame(page).split("/")[0] == "stage2.act" and "/maps/" in frame(page)
    kernels = next(layer for layer in recording.layers["kernels"] if layer not in recording.layers["maps"])
    page.evaluate(send, kernels)
    assert frame(page).split("/")[0] == kernels and "/kernels/" in frame(page)
    page.evaluate(send, "no such layer")
    assert frame(page).split("/")[0] == kernels


def test_a_grad_cam_lies_over_its_photo(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    explorer = Explorer(recording, kind=["cams", "kernels"])
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", explorer))
    wait_until_live(page)
    assert page.get_by_role("slider", name="channel", exact=True).count() == 0
    assert page.get_by_label("view", exact=True).is_hidden()
    assert read_canvas(page) == checksum(explorer)
    opacity = page.get_by_role("slider", name="opacity", exact=True)
    opacity.focus()
    page.keyboard.press("Home")
    grey = page.evaluate("""() => { const it = document.querySelector('.fmx-canvas'); const d = it.getContext('2d')
      .getImageData(0, 0, it.width, it.height).data; return d.every((v, i) => i % 4 === 3 || v === d[i - i % 4]); }""")
    assert grey, "at opacity 0 the photo alone is seen"
    page.get_by_label("kind", exact=True).select_option("kernels")
    assert page.get_by_role("slider", name="input channel", exact=True).count() <= 1
    assert page.get_by_role("slider", name="opacity").count() == 0
    assert page.get_by_role("slider", name="channel", exact=True).is_visible()


def test_without_javascript_the_contact_sheet_is_there(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    page = open_page(java_script_enabled=False).page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, caption=CAPTION)))
    assert page.locator(".fmx-contact").is_visible()
    assert page.get_by_text(CAPTION).is_visible()
    assert page.locator("input, select, button, canvas").count() == 0


def test_paper_has_the_contact_sheet_its_caption_and_no_controls(
    open_page: Any, tmp_path: Path, recording: Recording
) -> None:
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, caption=CAPTION)))
    wait_until_live(page)
    assert not page.locator(".fmx-contact").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".fmx-contact").is_visible()
    assert not any(control.is_visible() for control in page.locator(".fmx :is(input, select, button, canvas)").all())
    printed = tmp_path / "page.pdf"
    page.pdf(path=printed, print_background=True)
    if shutil.which("pdftotext") is None:
        give_up("the words on the PDF were not read: no pdftotext (`apt install poppler-utils` brings it)")
    words = subprocess.run(["pdftotext", printed, "-"], capture_output=True, text=True, check=True).stdout
    assert CAPTION in words
    assert not {"play", "copy code", "epoch", "channel"} & set(map(str.strip, words.splitlines()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_telephone(open_page: Any, tmp_path: Path, recording: Recording, scheme: str) -> None:
    page = open_page(viewport={"width": 390, "height": 800}, color_scheme=scheme).page
    page.goto(write_page(tmp_path / "page.html", Explorer(recording, kind=KINDS), compare(recording, recording)))
    wait_until_live(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for slider in page.get_by_role("slider").all():
        assert slider.bounding_box()["width"] >= 80


def test_a_sheet_of_many_channels_scrolls_and_follows(open_page: Any, tmp_path: Path) -> None:
    made = RecordingBuilder(epochs=[0], channels=512)
    made.store("inputs", np.ones((1, 1, 7, 7), np.float32))
    made.keep("maps", "act", 0, np.random.default_rng(0).random((1, 512, 7, 7), np.float32))
    explorer = Explorer(Recording(made.pack()), channel=300)
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", explorer))
    wait_until_live(page)
    assert page.evaluate("document.documentElement.scrollHeight") <= 900  # that of the window
    for channel in (300, 511, 0):
        explorer.move(channel=channel)
        slide_to(page, explorer)
        page.wait_for_function(SELECTED_IN_SIGHT, arg=channel)


def test_eight_explorers_open_in_three_seconds(open_page: Any, tmp_path: Path, recording: Recording) -> None:
    explorers = [Explorer(recording, kind=kind) for kind in itertools.islice(itertools.cycle(KINDS), 8)]
    page = open_page().page
    address = write_page(tmp_path / "page.html", *explorers)
    page.goto(address)
    wait_until_live(page, 8)
    taken = page.evaluate("performance.now()")
    assert taken < 3000


def test_an_image_that_only_python_could_compute_is_not_offered(open_page: Any, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2704, 3))
    live = Explorer.live(model, torch.rand(20, 1, 28, 28), layer="1")
    page = open_page().page
    page.goto(write_page(tmp_path / "page.html", live))
    wait_until_live(page)
    assert page.get_by_role("slider", name="image", exact=True).get_attribute("max") == "7"
