"""What the command line says to people: each command's result in words."""

from typing import Any

from fmnist_lib.checking.findings import as_table
from fmnist_lib.runs import measure


def describe_data(result: dict[str, Any]) -> str:
    """For people."""
    return f"Fashion-MNIST from {result['source']}: {result['folder']}\nAll four files verified by SHA-256."


def describe_train(result: dict[str, Any]) -> str:
    """For people."""
    flip = ""
    if "test_flip" in result:
        flip = f"; with flip test-time augmentation {result['val_flip']:.2%} and {result['test_flip']:.2%}"
    return (
        f"{result['model']}, recipe {result['recipe']}: {result['epochs']} epochs in {result['seconds']:.0f} s of "
        f"training; validation {result['val_accuracy']:.2%}, test {result['test_accuracy']:.2%}{flip}\n"
        f"run: {result['run']}\nfigures: {result['figures']}"
    )


def describe_evaluate(result: dict[str, Any]) -> str:
    """For people: one network after the other, or several as one."""
    return "\n\n".join(map(describe_figures, result.get("results", [result])))


def describe_figures(result: dict[str, Any]) -> str:
    """For people: the figures of one network, or of several asked together."""
    head = f"{result['model']} on {result['images']} {result['split']} images: "
    lines = [f"{head}accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}"]
    if flip := result.get("flip"):
        lines.append(f"with flip test-time augmentation {flip['accuracy']:.2%}, loss {flip['loss']:.4f}")
    lines += [f"  {name:12} {share:7.2%}" for name, share in result["per_class"].items()]
    return "\n".join(lines)


def describe_predict(result: dict[str, Any]) -> str:
    """For people: each picture's answer, and why it is in doubt."""
    return "\n\n".join(map(describe_answer, result["predictions"]))


def describe_answer(answer: dict[str, Any]) -> str:
    """For people: the input as the network saw it, the three likeliest classes, and the doubts."""
    if "error" in answer:
        return f"error: {answer['error']}"
    likeliest, *doubts = measure.in_words(answer)
    return "\n".join([sketch(answer["input"]), f"{answer['image']}: {likeliest}", *doubts])


SHADES = " .:-=+*#%@"  # from background to brightest


def sketch(rows: list[list[int]]) -> str:
    """A picture in letters, one for two pixels above each other, since a letter is twice as high as wide."""
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(SHADES[(a + b) * len(SHADES) // 512] for a, b in zip(*pair, strict=True)) for pair in pairs)
    return "\n".join(line.rstrip() for line in lines)


def describe_record(result: dict[str, Any]) -> str:
    """For people."""
    kept = "" if result["recorded"] else " (no stored epochs: the recording was kept, the figures drawn anew from it)"
    return f"epochs {', '.join(map(str, result['epochs']))}{kept}\nfigures: {result['figures']}"


def describe_sweep(result: dict[str, Any]) -> str:
    """For people."""
    return f"{len(result['runs'])} runs: {result['results']}"


def describe_report(result: dict[str, Any]) -> str:
    """For people."""
    return "\n".join(f"{what}: {path}" for what, path in result.items())


def describe_handout(result: dict[str, Any]) -> str:
    """For people."""
    return "Without solutions:\n" + "\n".join(result["notebooks"])


def describe_check(result: dict[str, Any]) -> str:
    """For people; of one folder it is the student's receipt."""
    return f"Checked on {result['checked']} with fmnist_lib {result['version']}\n\n{as_table(result['folders'])}"
