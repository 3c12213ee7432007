"""The pixels that the page must reproduce, layers of any shape, and the files of pictures.

Letters: N images, C channels, H height, W width, E epochs.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sketches import builder, bundle_of, fill, seal, small_recording

from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare
from fmnist_lib.visualisers.explorer.palette import PALETTES
from fmnist_lib.visualisers.recording import KINDS, Recording


@pytest.fixture
def recording() -> Recording:
    return small_recording()


# Pixels


def expected_level(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) * 254 if high > low else 0.0


@pytest.mark.parametrize("scale", ["shared", "epoch", "channel"])
@pytest.mark.parametrize(("kind", "layer"), [("maps", "act1"), ("kernels", "conv2")])
def test_colours_are_those_of_the_values(recording: Recording, kind: str, layer: str, scale: str) -> None:
    """Against the decoded values, tile by tile, with the limits taken from them in the simplest way."""
    explorer = Explorer(recording, kind=kind, layer=layer, scale=scale, view="single", epoch=2)
    values = np.stack([recording.values(kind, layer, epoch) for epoch in recording.epochs])
    values = values[:, 1] if kind == "maps" else values[:, :, 1]  # image 1, or input channel 1: (E, C, H, W)
    table = PALETTES["diverging" if kind == "kernels" else "sequential"].astype(int)
    for channel in range(0, values.shape[1], 5):
        number = recording.layers[kind][layer]["channels"][channel]
        pixels = explorer.pixels(channel=number, image=1 if kind == "maps" else 2)  # kept inputs: 0, 2, 3, 5
        chosen = {"shared": values, "epoch": values[2], "channel": values[2, channel]}[scale]
        top = np.abs(chosen).max() if kind == "kernels" else chosen.max()
        bottom = -top if kind == "kernels" else 0.0
        zoom = pixels.shape[0] // values.shape[2]
        for (row, column), value in np.ndenumerate(values[2, channel]):
            level = expected_level(value, bottom, top)
            near = table[max(0, int(level) - 1) : int(level) + 3]
            shown = pixels[row * zoom + zoom // 2, column * zoom + zoom // 2, :3].astype(int)
            assert (near == shown).all(axis=1).any(), (row, column, value, shown)


def test_sheet_holds_the_tiles_of_the_single_view(recording: Recording) -> None:
    explorer = Explorer(recording, layer="act1", epoch=1)
    sheet = explorer.pixels(channel=0)
    one = explorer.pixels(channel=4, view="single")
    codes = one[:: one.shape[0] // 8, :: one.shape[1] // 8]
    size = (sheet.shape[1] - 4) // 3  # six tiles, three a row, gaps of 4
    tile = sheet[4 + size : size * 2, 4 + size : size * 2]
    assert (tile[:: tile.shape[0] // 8, :: tile.shape[1] // 8] == codes).all()


def test_same_position_gives_same_pixels(recording: Recording) -> None:
    explorer = Explorer(recording)
    before = explorer.pixels()
    explorer.move(epoch=0, channel=3).move(epoch=5, channel=0)
    assert (explorer.pixels() == before).all()


def test_values_that_are_not_finite_have_their_own_colour_and_leave_the_scale_alone() -> None:
    clean, broken = np.random.default_rng(0).random((3, 4, 5, 5), np.float32), None
    clean[:, 0, 2, 2] = 1.0  # the largest stays where it is
    broken = clean.copy()
    broken[0, 1, 0, 0], broken[0, 2, 1, 1] = np.nan, -np.inf
    sheets = []
    for maps in (clean, broken):
        made = builder((0,))
        made.keep("maps", "act", 0, maps)
        sheets.append(Explorer(seal(made)).pixels())
    first_tile = slice(4, 100)
    assert (sheets[0][first_tile, first_tile] == sheets[1][first_tile, first_tile]).all()
    magenta = (sheets[1] == (255, 0, 255, 255)).all(axis=2)
    tile = (sheets[1].shape[0] - 12) // 2 // 5
    assert magenta.sum() == 2 * tile * tile
    assert not (sheets[0] == (255, 0, 255, 255)).all(axis=2).any()


def test_dead_channels_are_hatched() -> None:
    made = builder((0,))
    maps = np.ones((3, 4, 5, 5), np.float32)
    maps[:, 3] = 0
    made.keep("maps", "act", 0, maps)
    explorer = Explorer(seal(made), view="single")
    assert (explorer.pixels(channel=3) == (128, 128, 128, 255)).all(axis=2).any()
    assert not (explorer.pixels(channel=2) == (128, 128, 128, 255)).all(axis=2).any()
    assert bundle_of(explorer)["panels"][0]["layers"]["maps"]["act"]["dead"] == [[3]]


def test_dead_is_what_the_recorder_saw_over_its_whole_probe() -> None:
    made = builder((0,))
    maps = np.ones((3, 2, 5, 5), np.float32)
    maps[:, 1] = 0
    made.keep("maps", "act", 0, maps)
    made.stats.append({"layer": "act", "epoch": 0, "dead": []})
    assert bundle_of(Explorer(seal(made)))["panels"][0]["layers"]["maps"]["act"]["dead"] == [[]]


# Extremes


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 2048, 7, 7), (3, 5, 1, 1), (3, 3, 1, 40), (3, 2, 100, 70)])
def test_layers_of_any_size(shape: tuple[int, ...]) -> None:
    recording = seal(fill(builder((0, 1)), "maps", "act", shape))
    explorer = Explorer(recording)
    for view in ("sheet", "single"):
        pixels = explorer.pixels(view=view)
        assert pixels.shape[0] >= 20 and pixels.shape[1] >= 20
    (layer,) = bundle_of(explorer)["panels"][0]["layers"]["maps"].values()
    assert layer["shape"] == list(shape[1:])
    assert len(layer["numbers"]) == min(64, shape[1])
    assert Image.open(io.BytesIO(explorer._contact())).size[0] > 100


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_without_a_layer_shows_nothing_and_says_so(kind: str) -> None:
    """A layer that first runs at epoch 2 of 0 to 3, beside one that is always there."""
    shape = (4, 3, 5, 5) if kind in ("kernels", "gradients") else (3, 4, 5, 5)
    made = fill(builder((0, 1, 2, 3)), kind, "first", shape)
    late = fill(builder((2, 3)), kind, "late", shape)
    made.layers[kind] |= late.layers[kind]
    made.members |= late.members
    explorer = Explorer(seal(made), kind=kind, layer="late", epoch=3, view="single")
    for epoch in (0, 1):
        assert (explorer.pixels(epoch=epoch) == (255, 0, 255, 255)).all()
        assert str(explorer.move(epoch=epoch)).endswith(": not recorded at this epoch")
    for epoch in (2, 3):
        alone = Explorer(seal(late), kind=kind, layer="late", view="single", scale="epoch", epoch=epoch)
        assert (explorer.pixels(epoch=epoch, scale="epoch") == alone.pixels()).all()
        shared = explorer.pixels(epoch=epoch, scale="shared")
        assert (shared == alone.move(scale="shared").pixels()).all(), "what is not there moved the scale"
        assert "not recorded" not in str(explorer.move(epoch=epoch))
    (panel,) = bundle_of(explorer)["panels"]
    assert panel["layers"][kind]["late"]["recorded"] == [False, False, True, True]
    assert panel["layers"][kind]["late"]["dead"][:2] == [[], []]
    assert panel["layers"][kind]["first"]["recorded"] == [True] * 4
    assert str(compare(seal(made), seal(made), kind=kind, layer="late", epoch=0)).count("not recorded") == 2


def test_no_epochs() -> None:
    with pytest.raises(ExplorerError, match="no epochs"):
        Explorer(seal(builder(())))


def test_no_convolutions() -> None:
    recording = seal(fill(builder(), "maps", "act", (3, 4, 5, 5)))
    with pytest.raises(ExplorerError, match="no kernels were recorded here, but maps"):
        Explorer(recording, kind="kernels")


def test_no_scores_and_no_names() -> None:
    made = builder()
    made.about.clear()
    fill(made, "maps", "act", (3, 4, 5, 5))
    for epoch in made.epochs:
        del made.members[f"scores/{epoch}"]
    (panel,) = bundle_of(Explorer(seal(made)))["panels"]
    assert panel["guesses"] == [] and panel["names"] == ["", "", ""]


def test_scores_that_are_not_finite() -> None:
    made = fill(builder((0,)), "maps", "act", (3, 4, 5, 5))
    made.members["scores/0"] = np.full((3, 3), np.nan, np.float32)
    assert bundle_of(Explorer(seal(made)))["panels"][0]["guesses"] == [[None, None, None]]


@pytest.mark.parametrize("damage", [b"", b"not a zip"])
def test_a_damaged_file(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "recording.npz").write_bytes(damage)
    with pytest.raises(ExplorerError, match="damaged"):
        Explorer(tmp_path / "recording.npz")


def test_a_flipped_byte_and_a_missing_file(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    recording.save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"maps/act2/5/codes.npy") + 200
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ExplorerError, match="damaged"):
        Explorer(path, layer="act2").html()
    with pytest.raises(ExplorerError, match="no recording at"):
        Explorer(tmp_path / "none.npz")


# Files


def test_png_is_what_is_shown(recording: Recording, tmp_path: Path) -> None:
    explorer = Explorer(recording, view="single")
    path = explorer.save_png(tmp_path / "figures" / "now.png")
    picture, frame = np.asarray(Image.open(path)), explorer.pixels()[:, :, :3]
    windows = np.lib.stride_tricks.sliding_window_view(picture, frame.shape)[::1, ::1, 0]
    assert any((windows[row, 4] == frame).all() for row in range(len(windows))), "beside its labels and its input"


def test_a_page_is_whole_and_needs_nothing_beside_it(recording: Recording, tmp_path: Path) -> None:
    explorer = Explorer(recording)
    page = explorer.save_html(tmp_path / "pages" / "mine.html", title="Mine & <yours>").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and '<meta charset="utf-8">' in page
    assert "<title>Mine &amp; &lt;yours&gt;</title>" in page
    assert explorer._key in page and 'src="http' not in page


@pytest.mark.parametrize(("save", "right"), [("save_png", "now.png"), ("save_html", "now.html")])
@pytest.mark.parametrize("name", ["now.jpg", "now", "now.svg"])
def test_another_suffix_is_refused(recording: Recording, tmp_path: Path, save: str, right: str, name: str) -> None:
    with pytest.raises(ExplorerError, match=right):
        getattr(Explorer(recording), save)(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animation_has_a_frame_per_epoch(recording: Recording, tmp_path: Path, suffix: str) -> None:
    explorer = Explorer(recording, view="single")
    animation = Image.open(explorer.save_animation(tmp_path / f"film.{suffix}"))
    assert animation.n_frames == 4
    for frame, epoch in enumerate((0, 1, 2, 5)):
        animation.seek(frame)
        shown = np.asarray(animation.convert("RGB"))[16:]  # the epoch is written above
        assert (shown == explorer.pixels(epoch=epoch)[:, :, :3]).all()


def test_an_animation_keeps_epochs_in_which_nothing_changed(tmp_path: Path) -> None:
    made = builder((0, 1, 2))
    for epoch in made.epochs:
        made.keep("maps", "act", epoch, np.ones((3, 2, 4, 4), np.float32))
    for suffix in ("gif", "webp"):
        path = Explorer(seal(made)).save_animation(tmp_path / f"film.{suffix}", seconds=0.5)
        assert Image.open(path).n_frames == 3


def test_animation_of_another_kind(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(ExplorerError, match=r"\.gif, \.webp"):
        Explorer(recording).save_animation(tmp_path / "film.mp4")
