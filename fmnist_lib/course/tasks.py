"""The tasks: for each a function of its name, which judges what the student made of it.

Letters: N images, C channels, H height, W width.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from fmnist_lib.course.checks import NotYet, call, describe, expect_number, expect_tensor, task


def whole(generator: Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


@task(hint="the last batch may be smaller than the others, and counts all the same.")
def count_batches(answer: Any, generator: Generator) -> None:
    """`count_batches(num_images, batch_size)`: how many batches an epoch has."""
    for rest in (0, 1, whole(generator, 2, 30)):
        full, size = whole(generator, 2, 50), whole(generator, 31, 90)
        given = call(answer, full * size + rest, size, task="count_batches")
        expect_number(given, full + (rest > 0), what=f"count_batches({full * size + rest}, {size})")


@task(hint="for each class take the images whose label it is, as floats, and their mean over the first dimension.")
def class_averages(answer: Any, generator: Generator) -> None:
    """`class_averages(images, labels)`: bytes (N, 1, H, W) and labels (N,) to the ten averages, floats (10, H, W)."""
    count = whole(generator, 60, 90)
    images = torch.randint(0, 256, (count, 1, 6, 5), dtype=torch.uint8, generator=generator)
    labels = torch.cat([torch.arange(10), torch.randint(0, 10, (count - 10,), generator=generator)])
    weights = functional.one_hot(labels, 10).double()
    right = (weights.T @ images.flatten(1).double() / weights.sum(0)[:, None]).view(10, 6, 5)
    expect_tensor(call(answer, images.clone(), labels.clone(), task="class_averages"), right, what="class_averages")


@task(hint="all networks have to give one and the same answer, and that answer must not be the label.")
def find_suspects(answer: Any, generator: Generator) -> None:
    """`find_suspects(answers, labels)`: int64 (networks, N) and (N,) to bool (N,)."""
    labels = torch.randint(0, 10, (200,), generator=generator)
    answers = labels.repeat(3, 1)
    changed = torch.rand(3, 200, generator=generator) < 0.5
    answers[changed] = torch.randint(0, 10, (int(changed.sum()),), generator=generator)
    answers[:, :20] = (labels[:20] + 1) % 10
    rows = zip(answers.T.tolist(), labels.tolist(), strict=True)
    right = torch.tensor([len(set(row)) == 1 and row[0] != label for row, label in rows])
    given = call(answer, answers.clone(), labels.clone(), task="find_suspects")
    if type(given) is Tensor and given.dtype != torch.bool:
        raise NotYet(f"find_suspects should give True or False for each image, and gives {given.dtype}.")
    expect_tensor(given, right, what="find_suspects")


@task(hint="relu(norm1(conv1(x))), then norm2(conv2(...)), plus what came in, and a last relu.")
def MyBlock(answer: Any, generator: Generator) -> None:
    """`MyBlock(channels)`: a residual block with conv1, norm1, conv2 and norm2, in training and in evaluation mode."""
    channels = whole(generator, 3, 9)
    block = call(answer, channels, task="MyBlock")
    if not isinstance(block, nn.Module):
        raise NotYet(f"MyBlock(channels) should be a module, and is {describe(block)}.")
    values = draw_weights(block, channels, generator)
    for training in (False, True):  # in this order: training moves the running mean and variance
        block.train(training)
        x = torch.randn(4, channels, 7, 6, generator=generator)
        right = block_by_hand(x, values, training=training)
        given = call(block, x.clone(), task="MyBlock")
        expect_tensor(given, right, what=f"MyBlock in {'training' if training else 'evaluation'} mode")


def draw_weights(block: nn.Module, channels: int, generator: Generator) -> dict[str, Tensor]:
    """Random weights for a block, put into it. Raises NotYet where its parts are others."""
    shapes: dict[str, tuple[int, ...]] = {f"conv{i}.weight": (channels, channels, 3, 3) for i in (1, 2)}
    for i in (1, 2):
        shapes |= {f"norm{i}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
    values = {name: torch.rand(shape, generator=generator) + 0.1 for name, shape in shapes.items()}
    values |= {name: value - 0.6 for name, value in values.items() if "conv" in name or "bias" in name}
    there = {name: tuple(value.shape) for name, value in block.state_dict().items() if value.ndim}
    if there != shapes:
        odd = sorted(name for name in {**there, **shapes} if there.get(name) != shapes.get(name))
        raise NotYet(f"MyBlock should have conv1, norm1, conv2 and norm2 and no more weights; {odd[0]} does not fit.")
    block.load_state_dict(values, strict=False)
    return values


def block_by_hand(x: Tensor, values: dict[str, Tensor], *, training: bool) -> Tensor:
    """The block of He et al. 2015, figure 2, in functions alone."""
    out = x
    for i in (1, 2):
        out = functional.conv2d(out, values[f"conv{i}.weight"], padding=1)
        mean, variance = out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False)
        if not training:
            mean, variance = values[f"norm{i}.running_mean"], values[f"norm{i}.running_var"]
        scale = values[f"norm{i}.weight"] / (variance + 1e-5).sqrt()
        out = (out - mean[:, None, None]) * scale[:, None, None] + values[f"norm{i}.bias"][:, None, None]
        out = out.clamp(min=0) if i == 1 else out
    return (out + x).clamp(min=0)


@task(hint="for each batch: zero_grad, the model's scores, the cross entropy, backward, step; in this order.")
def train_one_epoch(answer: Any, generator: Generator) -> None:
    """`train_one_epoch(model, batches, optimizer)`: one step for each batch, with the cross entropy."""
    weight, bias = torch.randn(10, 12, generator=generator), torch.randn(10, generator=generator)
    batches = [(torch.randn(8, 12, generator=generator), torch.arange(8) % 10) for _ in range(whole(generator, 3, 6))]
    model, lr = nn.Linear(12, 10).eval(), 0.1 + float(torch.rand((), generator=generator))
    model.load_state_dict({"weight": weight, "bias": bias})
    call(answer, model, iter(batches), torch.optim.SGD(model.parameters(), lr=lr), task="train_one_epoch")
    if not model.training:
        raise NotYet("train_one_epoch left the model in evaluation mode, in which batch norm and dropout do not learn.")
    for x, y in batches:  # the gradient of the cross entropy of a linear layer, in closed form
        wrong = (x @ weight.T + bias).softmax(1) - functional.one_hot(y, 10)
        weight, bias = weight - lr * wrong.T @ x / len(x), bias - lr * wrong.mean(0)
    expect_tensor(model.weight, weight, what="the weight after train_one_epoch")
    expect_tensor(model.bias, bias, what="the bias after train_one_epoch")


@task(hint="register_forward_hook gives a handle; call the model in `try`, and handle.remove() in `finally`.")
def listen(answer: Any, generator: Generator) -> None:
    """`listen(model, layer, x)`: what the layer gives out for x, detached; no hook is left, not even after an error."""
    first = nn.Linear(6, 5)
    model = nn.Sequential(first, nn.Tanh(), nn.Linear(5, 4))
    x = torch.randn(whole(generator, 2, 5), 6, generator=generator)
    right = torch.tanh(x @ first.weight.T + first.bias)
    given = call(answer, model, model[1], x, task="listen")
    expect_tensor(given, right, what="listen(model, layer, x)")
    if given.requires_grad:
        raise NotYet("what listen gives is still tied to the graph: detach it.")
    if model[1]._forward_hooks:
        raise NotYet("after listen the hook is still there.")
    with suppress(NotYet):  # it has to fail: seven numbers do not fit
        call(answer, model, model[1], torch.randn(2, 7, generator=generator), task="listen")
    if model[1]._forward_hooks:
        raise NotYet("when the forward pass fails, the hook of listen stays.")


@task(hint="how often does the window fit, when it moves on by `stride` pixels? What is left over is cut off.")
def pooled_size(answer: Any, generator: Generator) -> None:
    """`pooled_size(size, kernel, stride)`: how many pixels wide a map is after pooling without padding."""
    for _ in range(6):
        kernel, stride = whole(generator, 2, 6), whole(generator, 1, 4)
        size = kernel + whole(generator, 0, 40)
        right = len(range(0, size - kernel + 1, stride))
        given = call(answer, size, kernel, stride, task="pooled_size")
        expect_number(given, right, what=f"pooled_size({size}, {kernel}, {stride})")


@task(hint="model.modules() gives every module; setattr(module, name, nn.Sigmoid()) puts one in the place of a child.")
def with_sigmoid(answer: Any, generator: Generator) -> None:
    """`with_sigmoid(model)`: the model, with a sigmoid in the place of each ReLU, however deep it lies."""
    first, second, last = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
    model = nn.Sequential(first, nn.ReLU(), nn.Sequential(second, nn.Tanh(), nn.Sequential(nn.ReLU())), last)
    x = torch.randn(whole(generator, 3, 7), 6, generator=generator)
    hidden = torch.tanh(second(torch.sigmoid(first(x)))).sigmoid()
    given = call(answer, model, task="with_sigmoid")
    if not isinstance(given, nn.Module):
        raise NotYet(f"with_sigmoid should give back the model, and gives {describe(given)}.")
    expect_tensor(call(given, x, task="with_sigmoid"), last(hidden), what="what the model with sigmoids gives out")


@task(hint="a channel is dead where all of its values are zero, for all images: (maps == 0).all(...) asks.")
def dead_channels(answer: Any, generator: Generator) -> None:
    """`dead_channels(maps)`: maps (N, C, H, W) to bool (C,), True where a channel is zero for every image."""
    count, channels = whole(generator, 3, 6), whole(generator, 8, 20)
    maps = torch.rand(count, channels, 5, 4, generator=generator).sub(0.5).relu()
    right = torch.rand(channels, generator=generator) < 0.4
    right[:2] = torch.tensor([True, False])
    maps[:, right] = 0
    maps[0, ~right] = 0  # a channel that is zero for one image is not dead
    maps[1, ~right, 0, 0] = 1
    given = call(answer, maps.clone(), task="dead_channels")
    if type(given) is Tensor and given.dtype != torch.bool:
        raise NotYet(f"dead_channels should give True or False for each channel, and gives {given.dtype}.")
    expect_tensor(given, right, what="dead_channels(maps)")


@task(hint="which numbers are in the first list and not in the second? Sets can be subtracted.")
def came_back(answer: Any, generator: Generator) -> None:
    """`came_back(before, after)`: how many of the channels that were dead before are not dead after."""
    for _ in range(3):
        before, after = (torch.randperm(64, generator=generator)[: whole(generator, 10, 40)].tolist() for _ in range(2))
        given = call(answer, list(before), list(after), task="came_back")
        expect_number(given, sum(channel not in after for channel in before), what="came_back(before, after)")


@task(hint="a block has two convolutions; one more stands before all blocks, a fully connected layer after them.")
def count_layers(answer: Any, generator: Generator) -> None:
    """`count_layers(depths)`: layers with weights of a ResNet of so many blocks a stage, shortcuts not counted."""
    for _ in range(3):
        depths = [whole(generator, 1, 9) for _ in range(whole(generator, 3, 5))]
        given = call(answer, tuple(depths), task="count_layers")
        expect_number(given, 2 + sum(depth + depth for depth in depths), what=f"count_layers({tuple(depths)})")


@task(hint="each value of the output is a sum over all inputs and pixels of a kernel; how many values are there?")
def multiplications(answer: Any, generator: Generator) -> None:
    """`multiplications(inputs, outputs, kernel, size)`: of a convolution that gives maps of size x size pixels."""
    for _ in range(3):
        inputs, outputs, kernel, size = (whole(generator, 2, most) for most in (40, 90, 7, 30))
        pixels = len(range(size)) ** 2
        right = pixels * nn.Conv2d(inputs, outputs, kernel, bias=False).weight.numel()
        given = call(answer, inputs, outputs, kernel, size, task="multiplications")
        expect_number(given, right, what=f"multiplications({inputs}, {outputs}, {kernel}, {size})")


@task(hint="the norm of the difference, divided by that of what was there before; .norm() is over all values.")
def relative_change(answer: Any, generator: Generator) -> None:
    """`relative_change(before, after)`: two tensors of one shape to the change's norm by the first one's norm."""
    for scale in (0.1, 1.0, 3.0):
        before = torch.randn(2, 3, 4, whole(generator, 3, 6), generator=generator)
        after = before + scale * torch.randn(before.shape, generator=generator)
        right = ((after - before).square().sum() / before.square().sum()).sqrt().item()
        given = call(answer, before.clone(), after.clone(), task="relative_change")
        expect_number(given, right, what="relative_change(before, after)")


@task(hint="for every filter square its gradient and add up; then (sum of these)^2 / (filters * sum of their squares).")
def filter_spread(answer: Any, generator: Generator) -> None:
    """`filter_spread(gradient)`: floats (O, I, H, W) to a number, 1 when all O filters share alike, 1/O for one."""
    for filters in (1, whole(generator, 2, 9)):
        gradient = (
            torch.randn(filters, 3, 2, 5, generator=generator) * torch.arange(1, filters + 1)[:, None, None, None]
        )
        energies = [float((each**2).sum()) for each in gradient.double()]
        right = sum(energies) ** 2 / (filters * sum(energy**2 for energy in energies))
        expect_number(call(answer, gradient.clone(), task="filter_spread"), right, what="filter_spread")


@task(
    hint="count the images that the first alone got right and those that the second alone did; no p is larger than 1."
)
def sign_test(answer: Any, generator: Generator) -> None:
    """`sign_test(first, second)`: bool (N,) twice, whether each was right, to the p of McNemar's exact test."""
    cases = [(torch.rand(60, generator=generator) < 0.9, torch.rand(60, generator=generator) < 0.6) for _ in range(3)]
    same = torch.rand(20, generator=generator) < 0.5
    for first, second in [*cases, (same, same)]:
        wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
        total, likely = wins + losses, [1.0]
        for _ in range(total):  # the chances of 0, 1, ... heads, coin by coin
            likely = [(a + b) / 2 for a, b in zip([0.0, *likely], [*likely, 0.0], strict=True)]
        right = min(1.0, 2 * sum(likely[max(wins, losses) :]))
        expect_number(call(answer, first.clone(), second.clone(), task="sign_test"), right, what="sign_test")


@task(hint="subtract seed by seed; the half width is t times the standard deviation (n - 1) over the root of n.")
def effect(answer: Any, generator: Generator) -> None:
    """`effect(changed, chosen, t)`: accuracies (n,) by seed twice to the mean difference and its half width."""
    count, t = whole(generator, 3, 8), 2 + 2 * float(torch.rand((), generator=generator))
    changed, chosen = torch.rand(2, count, generator=generator, dtype=torch.float64)
    differences = [float(a - b) for a, b in zip(changed, chosen, strict=True)]
    mean = sum(differences) / count
    deviation = (sum((each - mean) ** 2 for each in differences) / (count - 1)) ** 0.5
    given = call(answer, changed.clone(), chosen.clone(), t, task="effect")
    expect_pair(given, (mean, t * deviation / count**0.5), task="effect", names=("the mean", "the half width"))


@task(hint="(1 - share) for the label, and share / 10 more for each of the ten classes.")
def smooth_labels(answer: Any, generator: Generator) -> None:
    """`smooth_labels(labels, share)`: int64 (N,) to the probabilities that are learned, floats (N, 10)."""
    labels, share = torch.randint(0, 10, (12,), generator=generator), float(torch.rand((), generator=generator))
    right = torch.full((12, 10), share / 10)
    for row, label in enumerate(labels.tolist()):
        right[row, label] += 1 - share
    expect_tensor(call(answer, labels.clone(), share, task="smooth_labels"), right, what="smooth_labels")


@task(hint="up to warmup * steps it is lr * step / (warmup * steps); from there a straight line to 0 at the end.")
def learning_rate(answer: Any, generator: Generator) -> None:
    """`learning_rate(step, steps, lr, warmup)`: a rise over the share `warmup` of all steps, then a fall to 0."""
    steps, lr = 100 * whole(generator, 2, 9), float(torch.rand((), generator=generator)) + 0.1
    peak = steps * whole(generator, 1, 5) // 10
    for step in (0, peak // 3, peak, (peak + steps) // 2, steps):
        right = lr * step / peak if step <= peak else lr * (steps - step) / (steps - peak)
        given = call(answer, step, steps, lr, peak / steps, task="learning_rate")
        expect_number(given, right, what=f"learning_rate at step {step} of {steps}")


@task(hint="the accuracy is right / images; its standard error the root of accuracy * (1 - accuracy) / images.")
def interval(answer: Any, generator: Generator) -> None:
    """`interval(right, images)`: how many were right, of how many, to the accuracy two standard errors down and up."""
    for _ in range(2):
        images = whole(generator, 500, 20_000)
        right = images * whole(generator, 60, 97) // 100
        error = (right * (images - right) / images**3) ** 0.5
        ends = right / images - 2 * error, right / images + 2 * error
        expect_pair(call(answer, right, images, task="interval"), ends, task="interval", names=("low", "high"))


@task(hint="for every image add one at the place of its label (row) and its answer (column).")
def confusion_matrix(answer: Any, generator: Generator) -> None:
    """`confusion_matrix(labels, answers)`: int64 (N,) twice to counts (10, 10), rows true, columns answered."""
    labels, answers = torch.randint(0, 10, (2, 300), generator=generator)
    right = torch.zeros(10, 10)
    for label, said in zip(labels.tolist(), answers.tolist(), strict=True):
        right[label, said] += 1
    given = call(answer, labels.clone(), answers.clone(), task="confusion_matrix")
    expect_tensor(given, right, what="confusion_matrix")


@task(
    hint="for each bin that is not empty: its share of the images times |its accuracy - its mean certainty|; then add."
)
def calibration_error(answer: Any, generator: Generator) -> None:
    """`calibration_error(certainty, right)`: floats and bool (N,) to the error over ten equal bins."""
    certainty = 0.3 + 0.7 * torch.rand(400, generator=generator, dtype=torch.float64)  # so that some bins are empty
    is_right = torch.rand(400, generator=generator) < 0.65  # too unsure in some bins and too sure in others
    total = 0.0
    for number in range(10):
        rows = [i for i, value in enumerate(certainty.tolist()) if number / 10 < value <= (number + 1) / 10]
        total += abs(sum(float(is_right[i]) - float(certainty[i]) for i in rows)) / 400
    given = call(answer, certainty.clone(), is_right.clone(), task="calibration_error")
    expect_number(given, total, what="calibration_error")


@task(hint="the mean over the networks first, then the likeliest class of each image.")
def ask_together(answer: Any, generator: Generator) -> None:
    """`ask_together(probabilities)`: floats (networks, N, K) to the answers of all networks together, int64 (N,)."""
    probabilities = torch.rand(3, 50, 10, generator=generator).pow(3)
    probabilities /= probabilities.sum(2, keepdim=True)
    totals = probabilities[0] + probabilities[1] + probabilities[2]
    right = torch.tensor([max(range(10), key=row.__getitem__) for row in totals.tolist()])
    expect_tensor(call(answer, probabilities.clone(), task="ask_together"), right, what="ask_together")


def expect_pair(given: Any, right: tuple[float, float], *, task: str, names: tuple[str, str]) -> None:
    """Raise NotYet unless these are two numbers, and the right ones up to rounding."""
    if type(given) is not tuple or len(given) != 2:
        raise NotYet(f"{task} should return two numbers, {names[0]} and {names[1]}, and gives {describe(given)}.")
    for value, expected, name in zip(given, right, names, strict=True):
        expect_number(value, expected, what=f"{name} of {task}")
