"""The words of the page around a report, in each of its languages."""

from fmnist_lib.report.details import Details

WORDS = {
    "en": {
        "title": "Looking inside CNNs: image classification on Fashion-MNIST",
        "kind": "Lab report",
        "contents": "Contents",
        "code": "Code",
        "show_code": "show code",
        "not_run": "This notebook was not run: its results are missing.",
        "partly_run": "Some cells of this notebook were not run.",
        "failed": "A cell of this notebook ends in an error: {error}",
        "figure": "Figure in “{heading}”",
    },
    "zh": {
        "title": "卷积神经网络的内部：Fashion-MNIST 图像分类",
        "kind": "实验报告",
        "contents": "目录",
        "code": "代码",
        "show_code": "显示代码",
        "not_run": "本笔记本尚未运行，缺少结果。",
        "partly_run": "本笔记本有单元格尚未运行。",
        "failed": "本笔记本有单元格运行出错：{error}",
        "figure": "“{heading}”一节的图",
    },
}
FIELDS = {
    "name": ("Name", "姓名"),
    "student_number": ("Student number", "学号"),
    "course": ("Course", "课程"),
    "school": ("School", "学院"),
    "teacher": ("Teacher", "指导教师"),
    "date": ("Date", "日期"),
}


def title_lines(details: Details, language: str) -> list[tuple[str, str]]:
    """What the title page says below the title: each field's name, and its text or nothing."""
    place = ("en", "zh").index(language)
    return [(names[place], getattr(details, field)) for field, names in FIELDS.items()]
