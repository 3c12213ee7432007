"""What a page is made of: it asks no network, takes in the lab's pictures and nothing else, and leads where it says."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from fmnist_lib.report import markdown
from fmnist_lib.report.details import Details
from fmnist_lib.report.pages import Chapter, make_page
from fmnist_lib.report.sliders import markdown_chapter

ROOT = Path(__file__).parents[2]
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    for name in ("lab/figures/a b.png", "lab/notebooks/own.PNG", "secret.png", "lab/notebooks/secret.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "lab" / "notebooks" / "way out.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "lab"


@pytest.mark.parametrize("source", ["../figures/a%20b.png", "own.PNG", "./own.PNG"])
@pytest.mark.parametrize("form", ["![A picture]({})", '<img alt="A picture" src="{}">'])
def test_pictures_of_the_lab_are_in_the_page(lab: Path, source: str, form: str) -> None:
    html = markdown.render(form.format(source), lab / "notebooks", root=lab)
    assert base64.b64encode(PICTURE).decode() in html and 'alt="A picture"' in html


@pytest.mark.parametrize("source", ["../../secret.png", "way%20out.png", "secret.txt", "{root}/secret.png", "lost.png"])
def test_nothing_else_gets_into_a_page(lab: Path, source: str) -> None:
    html = markdown.render(f"![A picture]({source.format(root=lab.parent)})", lab / "notebooks", root=lab)
    assert "base64" not in html and "A picture" in html


def test_a_picture_of_a_network_is_a_link() -> None:
    html = markdown.render("![A cat](https://example.org/cat.png?a=1&b=2) and ![](//example.org/dog.png)", None)
    assert "<img" not in html and '<a href="https://example.org/cat.png?a=1&amp;b=2">A cat</a>' in html
    assert "//example.org/dog.png</a>" in html


def test_a_lost_attachment_does_not_stop_an_export() -> None:
    assert 'alt="What it showed"' in markdown.render("![What it showed](attachment:lost.png)", None)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (r"\begin{align} a &= b \\ c &< d \end{align}", "<mtable"),
        (r"$$f(x) = \begin{cases}1 & x<0\\0 & \text{否则}\end{cases}$$", "否则"),
        ("$a<b$", "&#x0003C;"),
        (r"$\left(<b>x</b>$", r"<code>\left(&lt;b&gt;x&lt;/b&gt;</code>"),
    ],
)
def test_formulas(text: str, tag: str) -> None:
    html = markdown.render(text, None)
    assert tag in html and "<b>" not in html and "$" not in html and "begin{" not in html


def test_whatever_a_notebook_holds_the_page_may_ask_for_nothing() -> None:
    page = make_page([Chapter("lab", '<img src="https://example.org/x.png">')], Details(), language="en")
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy
    assert page.index("Content-Security-Policy") < page.index("<style")


def test_each_heading_has_an_anchor_of_its_own_and_links_lead_to_it() -> None:
    text = "# A & B\n\n## Observation\n\n## Observation\n\n"
    text += "[up](#A-%26-B) [on](03_x.ipynb) [five](notebooks/05_y.ipynb) [中](report.zh.md)"
    page = make_page([Chapter("lab", markdown.render(text, None))], Details(), language="en")
    for anchor in ("lab-A-B", "lab-Observation", "lab-Observation-2"):
        assert page.count(f'id="{anchor}"') == 1 and f'<a href="#{anchor}">' in page
    assert 'href="03_x.html"' in page and 'href="notebooks/05_y.html"' in page and 'href="report.zh.html"' in page


def test_contents_begin_with_the_first_level_that_there_is() -> None:
    page = make_page([Chapter("r", markdown.render("## One\n\n### Two\n\n#### Three", None))], Details(), language="zh")
    assert '<li><a href="#r-One">' in page and '<li class="second"><a href="#r-Two">' in page and "#r-Three" not in page


@pytest.mark.parametrize("kind", ["kernels", "gradients", "maps"])
def test_two_runs_side_by_side_become_one_explorer(tmp_path: Path, kind: str) -> None:
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    name = f"resnet18-original-and-resnet34-original-{kind}"
    text = f"Before.\n\n![Side by side](figures/report/zh/{name}.png)\n\n*Side by side*"
    body = markdown_chapter(text, folder=tmp_path, slug="r", explorers=True).body
    assert body.count('class="fmx"') == 1 and "resnet18 and resnet34" in body and body.count("*Side") == 0
    lost = text.replace("resnet34", "lost")
    assert 'class="fmx"' not in markdown_chapter(lost, folder=tmp_path, slug="r", explorers=True).body


def test_a_server_lists_the_exporters_without_the_lab_extra_and_without_torch() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['latex2mathml', 'anywidget', 'ipywidgets', 'matplotlib']))\n"
        "from nbconvert.exporters import get_exporter\n"
        "names = ('labreport', 'labreport_pdf', 'labreport-pdf')\n"
        "print(*[get_exporter(name).__name__ for name in names], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["LabReportExporter", "LabReportPDFExporter", "LabReportPDFAlias", "False"], (
        done.stderr
    )
