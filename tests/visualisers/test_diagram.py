"""The diagram shows what happens in a forward pass: held against torch.fx, which reads the code instead."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from test_zoo import Reader, Shared, UNet
from torch import Tensor, nn
from torch.nn import functional
from zoo import Restless, Twice, are_same, read_state

from fmnist_lib import Diagram, models
from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.diagram.core import DiagramError
from fmnist_lib.visualisers.diagram.rows import MOST_ROWS, find_lines, list_rows
from fmnist_lib.visualisers.hooks import capture

Drawn = list[tuple[str, list[int]]]  # the kind of each part, and the places of those that it takes from


def read_diagram(diagram: Diagram) -> Drawn:
    leaves = list(diagram.root.leaves())
    return [(leaf.kind.split(" ")[0], [leaves.index(source) for source in leaf.sources]) for leaf in leaves]


def read_code(model: nn.Module) -> Drawn:
    """The same from the code by torch.fx, whose functions of shapes, such as `x.size(0)`, are left out."""
    graph = torch.fx.symbolic_trace(model).graph
    modules = dict(model.named_modules())
    nodes = [node for node in graph.nodes if node.op != "get_attr" and str(node.target) not in ("size", "dim")]
    place = {node: number for number, node in enumerate(nodes)}
    kinds = {"placeholder": "", "output": "", "call_function": "function", "call_method": "function"}
    return [
        (
            type(modules[node.target]).__name__ if node.op == "call_module" else kinds[node.op],
            sorted(place[source] for source in node.all_input_nodes if source in place),
        )
        for node in nodes
    ]


FX: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{name: (lambda name=name: models.build(name), (1, 28, 28)) for name in models.REGISTRY},  # type: ignore[misc]
    **{
        name: (lambda name=name: torchvision.models.get_model(name), (3, 64, 64))  # type: ignore[misc]
        for name in ("resnet34", "densenet121", "googlenet", "mobilenet_v3_small", "regnet_y_400mf")
    },
    "unet": (UNet, (1, 8, 8)),
    "shared": (Shared, (1, 8, 8)),
}


@pytest.mark.parametrize("name", FX)
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_boxes_and_lines_are_those_that_the_code_says(name: str) -> None:
    make, shape = FX[name]
    model = make().eval()
    diagram = Diagram(model, torch.randn(2, *shape))
    assert not diagram.error
    drawn = read_diagram(diagram)
    # Both in the order of the calls.
    assert [(kind, sorted(sources)) for kind, sources in drawn] == read_code(model)
    assert diagram.root.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["swin_t", "vit_b_16"])
def test_transformers(name: str) -> None:
    """Every box but the input takes from one that is above it, and all but the output is taken."""
    diagram = Diagram(torchvision.models.get_model(name), torch.randn(1, 3, 224, 224))
    drawn = read_diagram(diagram)
    assert all(sources and max(sources) < place for place, (_, sources) in enumerate(drawn) if place)
    assert {source for _, sources in drawn for source in sources} == set(range(len(drawn) - 1))


def test_shapes_are_those_that_layers_give_out_and_names_are_those_of_a_recorder() -> None:
    model, x = torchvision.models.resnet18(num_classes=4).eval(), torch.randn(2, 3, 32, 32)
    layers = [leaf for leaf in Diagram(model, x).root.leaves() if leaf.name]
    with capture(model, {leaf.name.partition("#")[0] for leaf in layers}) as seen:
        model(x)
    assert {leaf.name: leaf.shape for leaf in layers} == {
        name: "x".join(map(str, tensor.shape)) for name, tensor in seen.items()
    }


class Hands(nn.Module):
    """What hands on what it gets, works in place and through views, or takes a tensor for its shape alone."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.conv, self.act = nn.Identity(), nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True)
        self.drop, self.scale = nn.Dropout(), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.same(x)
        inside = self.drop(self.act(self.conv(x.contiguous())))
        inside.view(-1).mul_(self.scale.exp())
        inside[:, :, 0] = x[:, :, 0]
        return inside + shortcut + torch.zeros_like(x)


def test_what_is_handed_on_changed_in_place_or_taken_for_its_shape() -> None:
    leaves = list(Diagram(Hands(), torch.randn(2, 1, 4, 4)).root.leaves())
    assert {leaf.name or leaf.label: [source.name or source.label for source in leaf.sources] for leaf in leaves} == {
        "input": [],
        "same": ["input"],
        "conv": ["input"],
        "act": ["conv"],
        "drop": ["act"],
        "view": ["drop"],
        "mul": ["view"],
        "getitem": ["input"],
        "setitem": ["mul", "getitem"],
        "add": ["setitem", "same"],
        "add_2": ["add"],
        "output": ["add_2"],
    }


def test_a_layer_that_is_called_again_says_so_and_counts_once() -> None:
    diagram = Diagram(Shared(), torch.randn(1, 1, 8, 8))
    assert [part.name for part in diagram.root.parts[2:5]] == ["block", "block#2", "block#3"]
    assert diagram.html().count("same weights") > 2 and "block#2" in diagram.html()


def test_an_lstm_and_a_siamese_of_two_inputs() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())

        def forward(self, left: Tensor, *, right: Tensor) -> dict[str, Tensor]:
            return {"distance": (self.body(left) - self.body(right)).flatten(1).norm(dim=1)}

    x = torch.randn(2, 1, 8, 8)
    leaves = list(Diagram(Siamese(), {"left": x, "right": x.numpy()}).root.leaves())
    assert [leaf.label for leaf in leaves[:2]] == ["input left", "input right"]
    (minus,) = (leaf for leaf in leaves if leaf.name == "sub")
    assert [source.name for source in minus.sources] == ["body.1", "body.1#2"]
    memory = next(leaf for leaf in Diagram(Reader(), x).root.leaves() if leaf.name == "memory")
    assert memory.shape == "2x8x6, 1x2x6, 1x2x6"


class Broken(nn.Module):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.conv, self.head, self.where = nn.Conv2d(1, 2, 3), nn.Sequential(nn.Flatten(), nn.Linear(9, 4)), where

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.where == "function":
            return torch.cat([x, x[:, :, 1:]], 1)
        if self.where == "python":
            raise ValueError("no such size\nand more")
        return self.head(functional.relu(x))


@pytest.mark.parametrize(
    ("where", "error", "drawn"),
    [
        ("layer", "head.1 failed, given 2x72. RuntimeError: mat1 and mat2", ["conv", "relu", "head.0", "head.1"]),
        ("function", "cat failed, given 2x2x6x6, 2x2x5x6. RuntimeError: Sizes of", ["conv", "getitem", "cat"]),
        ("python", "code of Broken failed, given 2x1x8x8. ValueError: no such size", ["conv", "code of Broken"]),
    ],
)
def test_a_model_that_fails_is_drawn_up_to_there(where: str, error: str, drawn: list[str]) -> None:
    model = Broken(where)
    x = torch.randn(2, 1, 8, 8)
    before = read_state(model)
    diagram = Diagram(model, x, depth=0)
    assert are_same(read_state(model), before)
    leaves = list(diagram.root.leaves())
    assert [leaf.name or leaf.label for leaf in leaves] == ["input", *drawn] and leaves[-1].error
    assert diagram.error.startswith(error) and error in str(diagram)
    for shown in (diagram.html(), diagram.svg()):
        assert shown.count("failed") > 1 and "output" not in shown
    assert "<details open>" in diagram.html() or where != "layer"


def test_a_failure_that_the_model_catches_is_none() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Sequential(nn.Conv2d(1, 2, 9)), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.first(x)
            except RuntimeError:
                return self.second(x)

    diagram = Diagram(Careful(), torch.randn(2, 1, 4, 4))
    assert not diagram.error
    assert [(leaf.label, [s.label for s in leaf.sources]) for leaf in diagram.root.leaves()] == [
        ("input", []),
        ("0", ["input"]),
        ("second", ["input"]),
        ("output", ["second"]),
    ]


@pytest.mark.parametrize("make", [Twice, Restless, lambda: nn.Conv2d(2, 2, 3), lambda: nn.Sequential()])
def test_the_model_is_left_as_it_was_found(make: Callable[[], nn.Module]) -> None:
    model = make()
    x = torch.randn(2, 1 if isinstance(model, Restless) else 2, 4, 4)
    before = read_state(model)
    diagram = Diagram(model, x)
    assert are_same(read_state(model), before) and not diagram.error
    assert [leaf.label for leaf in diagram.root.leaves()][-1] == "output"


def test_what_cannot_be_looked_into_is_refused() -> None:
    with pytest.raises(NotRecordable, match=r"no nn\.Module"):
        Diagram(torch.relu, torch.randn(1))  # type: ignore[arg-type]
    with pytest.raises(NotRecordable, match="meta"):
        Diagram(nn.Linear(2, 2, device="meta"), torch.randn(1, 2))


def test_resnet34_fits_a_sheet_of_paper_and_60_kilobytes() -> None:
    diagram = Diagram(torchvision.models.resnet34(), torch.randn(1, 3, 64, 64))
    assert len(diagram.html().encode()) < 60_000
    width, height = map(int, re.findall(r'svg" class=.* width="(\d+)" height="(\d+)"', diagram.svg())[0])
    assert height / width < 277 / 190 * 1.5  # so that letters are not much smaller than on a full sheet
    rows = list(list_rows(diagram.root, diagram.depth))
    assert MOST_ROWS / 2 < len(rows) <= MOST_ROWS


def test_in_the_picture_no_two_lines_overlap_and_no_text_is_cut() -> None:
    diagram = Diagram(torchvision.models.resnet34(), torch.randn(1, 3, 64, 64), depth=3)
    rows = list(list_rows(diagram.root, 3))
    lines = find_lines(rows)
    for start, lane in lines.lanes.items():
        for other, its in lines.lanes.items():
            if other > start and its == lane:
                assert max(lines.edges[start]) <= other
    picture = diagram.svg()
    width = int(re.findall(r'width="(\d+)" height', picture)[0])
    texts = re.findall(r'<text[^>]* x="(\d+)"[^>]*text-anchor="start">(.*?)<', picture)
    assert len(texts) > len(rows)
    for x, text in texts:
        assert int(x) + 6.7 * len(text) <= width, text
    assert len(lines.lanes) == 16 + 3  # a shortcut round each block, and one more where a block has a convolution in it


def test_saved_as_a_page_or_a_picture(tmp_path: Path) -> None:
    diagram = Diagram(UNet(), torch.randn(1, 1, 8, 8))
    page = diagram.save(tmp_path / "net.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert diagram.save(tmp_path / "net.svg").read_text().startswith("<svg xmlns")
    with pytest.raises(DiagramError, match=r"net\.html or .*net\.svg"):
        diagram.save(tmp_path / "net.png")
    bundle: dict[str, Any] = diagram._repr_mimebundle_()
    assert bundle["text/html"] in page and bundle["text/plain"] == repr(diagram)


def test_names_and_errors_are_escaped() -> None:
    model = nn.Sequential()
    model.add_module("<b>&\"'", nn.Linear(2, 2))
    html = Diagram(model, torch.randn(1, 2)).html()
    assert '<b>&"' not in html and "&lt;b&gt;&amp;&quot;" in html
