"""What is handed in: title page, contents, formulas, notes, sliders and paper, and what may be wrong with it."""

import re
import stat
import sys
import time
from pathlib import Path

import nbformat
import pytest

from fmnist_lib.report import chromium, make
from fmnist_lib.report.details import Details, ReportError, find_folder, read_details
from fmnist_lib.report.exporters import LabReportExporter, LabReportPDFExporter
from fmnist_lib.report.pages import Chapter, make_page
from fmnist_lib.report.sanitise import clean_html
from fmnist_lib.report.sliders import markdown_chapter

ROOT = Path(__file__).parents[2]
EVIL = "<img src=x onerror=alert(1)> **bold** 🦊 👩🏽\u200d🔬 " + "long " * 20


def export(notebook: nbformat.NotebookNode, folder: Path) -> str:
    resources = {"metadata": {"path": str(folder), "name": "mine"}}
    return LabReportExporter().from_notebook_node(notebook, resources)[0]


def ran(*sources: str, count: int | None = 1) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source, execution_count=count) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("name", ["01_data", "02_resnet18"])
def test_a_notebooks_page_asks_for_nothing_and_its_contents_lead_somewhere(name: str, tmp_path: Path) -> None:
    page = export(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4), ROOT / "notebooks")
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?!data:)[^"]*"', page)
    assert "require.js" not in page and "MathJax" not in page
    anchors = re.findall(r'<a href="#([^"]+)"', page)
    assert len(anchors) > 6 and all(f'id="{anchor}"' in page for anchor in anchors)
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 2 and all(re.search(r'alt="[^"]{12,}"', picture) for picture in pictures)
    assert "No description" not in page
    assert page.count('<details class="code">') > 5


def test_what_report_toml_says_is_text(tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_text(
        f"name = '{EVIL}'\ndate = 2026-11-26\nstudent_number = 17\n", encoding="utf-8"
    )
    page = export(ran("1"), tmp_path)
    assert "<img src=x" not in page and "&lt;img src=x onerror" in page and "🦊" in page
    assert "<dd>2026-11-26</dd>" in page and "<dd>17</dd>" in page and "**bold**" in page


def test_the_nearest_report_toml_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path / "nowhere"))
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    assert find_folder(tmp_path / "notebooks") == tmp_path / "nowhere"
    assert read_details(find_folder(tmp_path)) == Details()
    (tmp_path / "report.toml").write_text("\ufeffname = '小雨'\r\nlanguage = 'zh'\n", encoding="utf-8")
    details = read_details(find_folder(tmp_path / "notebooks" / "deep"))
    assert (details.name, details.language) == ("小雨", "zh")
    page = export(ran("1"), tmp_path / "notebooks")
    assert 'lang="zh-CN"' in page and "姓名" in page


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = Ada", "Text stands in quotes"),
        ("name", "Text stands in quotes"),
        ("nmae = 'Ada'", "has nmae, and the title page"),
        ("name = ['Ada']", "should be text in quotes"),
        ("language = 'fr'", "choose one of en, zh"),
        ('name = "a\\u0007b"', "cannot be printed"),
        ('name = "a\\u202eb"', "cannot be printed"),
        ("runs = 'resnet18'", "a list of names in quotes"),
        ("name = '" + "x" * 201 + "'", "201 characters"),
        (b"name = '\xff'", "cannot be read"),
    ],
)
def test_a_report_toml_that_cannot_be_followed_says_why(text: str | bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ReportError, match=reason):
        export(ran("1"), tmp_path)


def test_a_notebook_that_was_not_run_or_failed_says_so(tmp_path: Path) -> None:
    assert "was not run" in export(ran("1", count=None), tmp_path)
    mixed = ran("1", "2")
    mixed.cells[1].execution_count = None
    assert "Some cells of this notebook were not run" in export(mixed, tmp_path)
    failed = ran("1 / 0")
    failed.cells[0].outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="<b>", traceback=[])]
    assert "ends in an error: ZeroDivisionError: &lt;b&gt;" in export(failed, tmp_path)
    assert 'class="note"' not in export(ran("1"), tmp_path)
    assert "mine" in export(nbformat.v4.new_notebook(), tmp_path)


def test_formulas_are_mathml(tmp_path: Path) -> None:
    text = "The rate $\\eta_t$ and\n\n$$w_{t+1} = w_t - \\frac{\\eta}{2} g$$\n\n`$not$`, and \\$5"
    page = export(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), tmp_path)
    assert page.count("<math") == 2 and "<mfrac>" in page and "$not$" in page
    body = markdown_chapter(text, folder=tmp_path, slug="r", explorers=False).body
    assert body.count("<math") == 2


def test_figures_of_a_report_become_explorers_where_there_is_a_recording(tmp_path: Path) -> None:
    run = ROOT / "checkpoints" / "alexnet-original"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-original").symlink_to(run)
    text = "![AlexNet, kernels](figures/alexnet-original/kernels_epoch_5.png)\n\n"
    text += "![none](figures/lost/kernels_epoch_5.png)\n\n![curves](figures/alexnet-original/curves.png)"
    body = markdown_chapter(text, folder=tmp_path, slug="r", explorers=True).body
    assert body.count('class="fmx"') == 1 and body.count("<img src=") == 2
    assert markdown_chapter(text, folder=tmp_path, slug="r", explorers=False).body.count('class="fmx"') == 0


def test_chapters_have_anchors_of_their_own() -> None:
    chapters = [Chapter(slug, '<h1 id="a">A &amp; <em>B</em></h1><p><a href="03_x.ipynb">x</a></p>') for slug in "pq"]
    page = make_page(chapters, Details(), language="en", title="T")
    assert (
        'id="p-a"' in page and 'id="q-a"' in page and page.count(">A &amp; B</a>") == 4 and 'href="03_x.html"' in page
    )


def fake_chromium(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "chromium"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CHROMIUM", str(program))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("time.sleep(60)", "did not print the page within 1 s"),
        ("sys.exit('no display')", "printed nothing.*no display"),
    ],
)
def test_a_chromium_that_hangs_or_fails(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_chromium(tmp_path, script, monkeypatch)
    with pytest.raises(ReportError, match=reason):
        chromium.print_page("<p>", seconds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_chromium_that_hangs_ends_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    script = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
    script += f"open({str(child)!r}, 'w').write(str(child.pid))\nchild.wait()"
    fake_chromium(tmp_path, script, monkeypatch)
    with pytest.raises(ReportError, match="did not print the page within 2 s"):
        chromium.print_page("<p>", seconds=2)
    state = Path("/proc", child.read_text(), "stat")
    for _ in range(100):  # a process that was killed takes its time to die
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] in "ZX":
            return
        time.sleep(0.05)
    pytest.fail("it is still running")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4 half", b"<html>%%EOF"])
def test_half_a_pdf_is_none(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "[each for each in sys.argv if each.startswith('--print-to-pdf=')][0].split('=', 1)[1]"
    fake_chromium(tmp_path, f"open({target}, 'wb').write({content!r})", monkeypatch)
    with pytest.raises(ReportError, match="printed nothing that is a PDF"):
        chromium.print_page("<p>")


def test_where_a_chromium_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    own = tmp_path / "chromium-1200" / "chrome-linux" / "chrome"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert chromium.find_chromium() == str(own)


def test_a_snap_prints_in_a_folder_that_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "chromium-browser").write_text('#!/bin/sh\nexec /snap/bin/chromium "$@"\n')
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    common = tmp_path / "snap" / "chromium" / "common"
    assert (
        chromium.snap_folder(str(tmp_path / "chromium-browser")) == common == chromium.snap_folder("/snap/bin/chromium")
    )
    assert chromium.snap_folder(str(tmp_path / "chromium")) is None and common.is_dir()


def test_without_a_chromium_there_is_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(ReportError, match="apt install chromium"):
        LabReportPDFExporter().from_notebook_node(ran("1"), {"metadata": {"path": str(tmp_path)}})
    (tmp_path / "report.md").write_text("# My title\n\nWords.\n")
    made = make.export_report(tmp_path / "report.md", tmp_path / "build", Details(), language="en")
    assert made == {"page_en": str(tmp_path / "build" / "report.html")}
    assert "was not made: no Chromium was found" in capsys.readouterr().err
    page = (tmp_path / "build" / "report.html").read_text(encoding="utf-8")
    assert "<title>My title</title>" in page and page.count("My title") == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file in the folder's place")
    with pytest.raises(ReportError, match="What was there is kept"):
        make.write_text(tmp_path / "build" / "report.html", "page")
    assert (tmp_path / "build").read_text() == "a file in the folder's place"


def test_sanitised_html_keeps_text_and_nothing_that_runs() -> None:
    html = '<h2 id="a">A</h2><p>b <em>c</em></p><table><tbody><tr><td style="color: red;">1</td></tr></tbody></table>'
    assert clean_html(html) == html == clean_html(html.encode())
    for evil in ("<script>x</script>", "<iframe></iframe>", '<p onclick="x">', '<a href="javascript:x">', "<style>"):
        cleaned = clean_html(evil)
        assert not re.search(r"<(script|iframe|style)|onclick=|javascript:", cleaned), cleaned
