"""What a network makes of a picture of one's own: the input as it is read, maps, Grad-CAM, words and doubts."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_lib import data, models
from fmnist_lib.course.own_picture import OwnPicture, explain_picture, see_cams
from fmnist_lib.data import PictureError
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers.hooks import capture


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bag() -> bytes:
    """A test image, dark on white, large."""
    images, labels = data.load("test", dataset="tiny")
    picture = Image.fromarray(255 - images[labels == 8][0, 0].numpy()).resize((280, 280))
    canvas = Image.new("L", (400, 400), 255)
    canvas.paste(picture, (60, 60))
    return png(canvas)


def test_it_shows_the_input_and_says_what_predict_says(
    smoke_run: Run, bag: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = explain_picture(smoke_run, bag)
    image = data.look_at_picture(bag).image
    first = figure.axes[0]
    assert first.get_title(loc="left") == "what the network sees"
    assert np.array_equal(np.asarray(first.images[0].get_array())[:, :28], image[0].numpy())
    said = capsys.readouterr().out.splitlines()
    with torch.no_grad():
        chances = smoke_run.model()(data.normalise(image[None])).softmax(1)[0]
    assert said[0].startswith(f"{data.CLASSES[int(chances.argmax())]} {chances.max():.1%}, ")
    assert ("in doubt" in "".join(said)) == (float(chances.max()) < smoke_run.evaluation["val"]["doubt_below"])
    plt.close("all")


@pytest.mark.parametrize("name", list(models.REGISTRY))
def test_every_network_has_cams_of_the_inputs_size(name: str) -> None:
    model = models.build_seeded(name, 0).eval()
    layers = models.stage_ends(model)
    with capture(model, layers, keep_graph=True) as seen:
        score = model(torch.rand(1, 1, 28, 28)).max()
    for cam in see_cams(score, seen, layers[-2:]).values():
        assert cam.shape == (1, 28, 28) and cam.min() >= 0 and np.isfinite(cam).all()


def test_what_is_no_picture_is_said(smoke_run: Run) -> None:
    with pytest.raises(PictureError, match="the picture is not a picture"):
        explain_picture(smoke_run, b"words")


def test_the_box_answers_what_is_put_in_and_the_same_again(smoke_run: Run, bag: bytes) -> None:
    box = OwnPicture(smoke_run)
    for asked, (content, told) in enumerate([(bag, "%"), (bag, "%"), (b"<b>", "is not a picture")], start=1):
        box.picture = memoryview(content)  # as it comes from a page
        box.asked = asked
        assert box.answered == asked and told in box.reply
    assert len(repr(box)) < 110  # or Jupyter cuts it
