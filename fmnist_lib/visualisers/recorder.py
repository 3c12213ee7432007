"""The recorder: looks at any model at the epochs it is told to, and leaves the model as it was.

Letters: N images of the probe, C channels, H height, W width, L length of a signal, K classes.
"""

import inspect
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from fmnist_lib.errors import LabError
from fmnist_lib.visualisers.borrow import NotRecordable, borrow, find_device, leave_as_found, refuse_what_cannot_run
from fmnist_lib.visualisers.channels import AXES, ChannelAxes, mark, picture_axes
from fmnist_lib.visualisers.hooks import capture, check_layer, convolutions, kernels_out_of_reach, list_names, unwrap
from fmnist_lib.visualisers.measures import (
    Choice,
    are_class_scores,
    choose_output,
    differentiate,
    grad_cam,
    map_row,
    weight_row,
)
from fmnist_lib.visualisers.recording import MAX_CHANNELS, Recording, RecordingBuilder
from fmnist_lib.visualisers.walk import ACTIVATIONS, FunctionWalk, is_activation

Loss = Callable[[Tensor, Tensor], Tensor]
Inputs = Sequence[Any] | Mapping[str, Any]
TRUE, PREDICTED = "true", "predicted"
DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


class Probe(NamedTuple):
    """The fixed images that a recorder looks at, as the model takes them, (N, C, H, W) or (N, C, L), and their labels.

    The gradients and the statistics are over all of them; the first `shown` have their feature maps kept. Labels
    int64 (N,) are classes; others serve a loss that knows what they are. numpy arrays and lists will do.
    """

    images: Tensor
    labels: Tensor
    shown: int = 10


class HasEpoch(Protocol):
    """What `fit` hands to its observers, as far as a recorder reads it."""

    epoch: int


class Recorder:
    """Records kernels, gradients and feature maps of any `nn.Module`, one `snapshot(epoch)` after the other.

    Kernels and weight gradients come from every convolution; `layers` names the modules, or the places where functions
    are called (`block1.relu`, see `walk`), whose feature maps are kept (default: the activations that the model's
    `viewable` lists, else every activation module, else every activation function, else every convolution),
    `gradient_layers` those of them that keep map gradients and Grad-CAM too, which compress badly (default: all). The
    weight gradient is that of `loss(scores, labels)` over the probe, with batch norm as in training and dropout off;
    feature maps are seen in evaluation mode.

    `inputs` is what the model is called with, where that is more than the probe's images: a tuple, or a dictionary of
    keywords. `output` says which of several outputs are the scores (a place, a key, or a function of them all),
    `target` whose score map gradients and Grad-CAM explain: "true", "predicted", or a class. `layout` says where a
    layer's channels are ("NCHW", "NHWC", "NCL", "NLC"; one for all, or by layer) where operations do not tell.
    `classes` names the classes, in a list or by number; it and `about` go into the file. `channels` is how many of a
    layer's channels are kept, evenly spread, or which.

    What cannot be recorded is named in `skipped`, a layer or a kind of pictures with the reason. On CUDA, whose kernels
    need not repeat themselves, two snapshots of one model agree up to rounding. Raises UnknownLayer, and NotRecordable
    for a probe, or a model, that is none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        probe: Probe,
        layers: str | Iterable[str] | None = None,
        gradient_layers: str | Iterable[str] | None = None,
        loss: Loss = functional.cross_entropy,
        inputs: Inputs | None = None,
        output: Choice | None = None,
        target: str | int = TRUE,
        layout: str | Mapping[str, str] | None = None,
        classes: Sequence[str] | Mapping[int, str] | None = None,
        channels: int | Sequence[int] = MAX_CHANNELS,
        about: dict[str, Any] | None = None,
    ) -> None:
        bare = unwrap(model)
        refuse_what_cannot_run(bare)
        self.model = model
        self.probe = check_probe(probe)
        self.loss, self.inputs, self.output, self.target = loss, inputs, output, target
        called_with = (self.probe.images,) if self.inputs is None else self.inputs
        self.map_layers = default_layers(bare, called_with) if layers is None else list_names(layers)
        self.gradient_layers = set(self.map_layers if gradient_layers is None else list_names(gradient_layers))
        for layer in (*self.map_layers, *self.gradient_layers):
            check_layer(bare, layer)
        if extra := self.gradient_layers - set(self.map_layers):
            raise NotRecordable(f"gradient_layers must be among the layers; {', '.join(sorted(extra))} is not")
        self.layout = check_layout(layout, self.map_layers)
        given = plain_about(about or {})
        told = describe_probe(self.probe, classes)
        self._about = given | {key: value for key, value in told.items() if key not in given}
        check_target(target, self._about.get("classes"))
        self.channels = check_channels(channels)
        self._builder = RecordingBuilder(self._about, skipped=kernels_out_of_reach(bare), channels=self.channels)
        self._builder.store("inputs", to_numpy(self.probe.images[: self.probe.shown]))
        self._start: dict[str, Tensor] = {}

    @property
    def skipped(self) -> dict[str, str]:
        """What could not be recorded so far, and why."""
        return self._builder.skipped

    def __call__(self, progress: HasEpoch) -> None:
        """Be an observer of `fit(on_epoch=...)`."""
        self.snapshot(progress.epoch)

    def snapshot(self, epoch: float) -> None:
        """Record the model as it is now under the number `epoch`; a failure leaves the recording without it."""
        epoch = plain_number(epoch)
        if epoch in self._builder.epochs:
            raise NotRecordable(f"epoch {epoch} is recorded already")
        look = RecordingBuilder(epochs=[epoch], channels=self.channels)
        self._look_at_weights(look)
        self._look_at_maps(look)
        self._builder.add(look)

    def recording(self) -> Recording:
        """What was recorded so far."""
        return Recording(self._builder.pack())

    def save(self, path: Path | str) -> None:
        """Write what was recorded so far to a file, atomically."""
        self.recording().save(path)

    def _look_at_weights(self, look: RecordingBuilder) -> None:
        (epoch,) = look.epochs
        with borrow(self.model) as bare, parametrize.cached():
            # `cached`: a weight that is computed is read below as the very tensor that was used.
            set_training_without_dropout(bare)
            with NoDropout():  # also where checkpointing runs the model again for its gradient
                scores = self._scores(bare)
                loss = compute_loss(self.loss, scores, self.probe.labels.to(scores.device))
                weights = {layer: module.weight for layer, module in convolutions(bare).items()}
                gradients, reasons = differentiate(loss, weights, of="the loss", by="its weights")
            gradients, reasons = without_quantised(bare, gradients, reasons)
        look.skip(reasons)
        for layer, weight in weights.items():
            start = self._start.setdefault(layer, weight.detach().clone())
            look.keep("kernels", layer, epoch, to_numpy(weight))
            if layer in gradients:
                look.keep("gradients", layer, epoch, to_numpy(gradients[layer]))
                look.stats.append(weight_row(layer, epoch, weight, gradient=gradients[layer], start=start))

    def _look_at_maps(self, look: RecordingBuilder) -> None:
        (epoch,), shown, count = look.epochs, self.probe.shown, len(self.probe.images)
        with borrow(self.model) as bare:
            bare.eval()
            # The axes first: what is captured are copies, which must know their channels too.
            with ChannelAxes(), capture(bare, self.map_layers, keep_graph=True) as seen:
                scores = self._scores(bare)
            said = {key: self.layout[layer] for key, layer in seen.layers.items() if layer in self.layout}
            signals = has_signals(bare) or self.probe.images.ndim < 4
            axes, reasons = picture_axes(seen, count=count, signals=signals, said=said)
            missing = {layer: "not called, or gave out no tensor" for layer in self.map_layers if layer not in seen}
            look.skip(missing | reasons)
            wanted = [key for key in axes if seen.layers[key] in self.gradient_layers]
            places = {key: seen.edges.get(key, seen[key]) for key in wanted}
            gradients = self._differentiate_scores(bare, scores, places, look=look)
        for layer, axis in axes.items():
            maps = seen[layer].movedim(axis, 1)
            look.stats.append(map_row(layer, epoch, maps))
            look.keep("maps", layer, epoch, to_numpy(maps[:shown]))
            if layer in gradients:
                gradient = gradients[layer].movedim(axis, 1)[:shown]
                look.keep("map_gradients", layer, epoch, to_numpy(gradient))
                look.keep("cams", layer, epoch, to_numpy(grad_cam(maps[:shown], gradient)))

    def _scores(self, bare: nn.Module) -> Tensor:
        """What the model gives out for the probe, or the chosen part of it."""
        inputs = (self.probe.images,) if self.inputs is None else self.inputs
        output = call_model(bare, inputs)
        classes = self._about.get("classes")
        return choose_output(
            output, self.output, labels=self.probe.labels, num_classes=len(classes) if classes else None
        )

    def _differentiate_scores(
        self, bare: nn.Module, scores: Tensor, places: dict[str, Tensor | GradientEdge], *, look: RecordingBuilder
    ) -> dict[str, Tensor]:
        """Keep the class probabilities; return the gradient of the target classes' scores at each of the places."""
        labels = self.probe.labels.to(scores.device)
        if not are_class_scores(scores, labels):
            look.skip({"scores": f"an output of shape {tuple(scores.shape)} is no score per class for these labels"})
            return {}
        scores, labels = scores[: self.probe.shown], labels[: self.probe.shown]
        look.members[f"scores/{look.epochs[0]}"] = to_numpy(scores.float().softmax(1))
        if self.target != TRUE:
            labels = scores.argmax(1) if self.target == PREDICTED else torch.full_like(labels, int(self.target))
        target_scores = scores.gather(1, labels[:, None]).sum()
        of = f"the {self.target} class's score" if isinstance(self.target, str) else f"the score of class {self.target}"
        gradients, reasons = differentiate(target_scores, places, of=of, by="its maps")
        gradients, reasons = without_quantised(bare, gradients, reasons)
        look.skip(reasons)
        return gradients


def without_quantised(
    model: nn.Module, gradients: dict[str, Tensor], reasons: dict[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """No gradients at all from a model with quantised layers: what autograd passes through them may be wrong."""
    if not any(".quantized" in type(module).__module__ for module in model.modules()):
        return gradients, reasons
    return {}, dict.fromkeys([*gradients, *reasons], "no gradient passes through quantised layers")


def check_channels(channels: Any) -> int | list[int]:
    """How many channels are kept, or which, as plain numbers. Raises NotRecordable."""
    many = not isinstance(channels, Iterable)
    try:
        wanted = [operator.index(channel) for channel in ([channels] if many else channels)]
    except TypeError:
        wanted = []
    if not wanted or min(wanted) < many:
        raise NotRecordable(f"channels={channels!r}: give how many of a layer's channels to keep, or a list of them")
    return wanted[0] if many else wanted


def plain_number(epoch: Any) -> float:
    """An epoch as a number of Python's, from numpy's and torch's too, whole where it is. Raises NotRecordable."""
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        number = float(epoch.item() if hasattr(epoch, "item") else epoch)
        if math.isfinite(number):
            return int(number) if number.is_integer() else number
    raise NotRecordable(f"epoch={epoch!r} is no number: number the snapshots, by epochs or by steps")


def call_model(bare: nn.Module, inputs: Inputs) -> Any:
    """Call a model with copies of its inputs, where it lies and in its precision.

    Raises NotRecordable for inputs that it cannot take, and from whatever else it raises.
    """
    prepared = {key: prepare(bare, value) for key, value in name_inputs(inputs)}
    places, keywords = ((), prepared) if isinstance(inputs, Mapping) else (tuple(prepared.values()), {})
    check_call(bare, places, keywords)
    try:
        return bare(*places, **keywords)
    except LabError:
        raise
    except Exception as error:
        tensors = [value for value in prepared.values() if isinstance(value, Tensor)]
        whole = [tensor.dtype for tensor in tensors if not tensor.is_floating_point()]
        reason = (str(error).splitlines() or ["it says no more"])[0].rstrip(".")
        if whole and any(word in reason for word in ("type", "not implemented for")):
            raise NotRecordable(
                f"images are whole numbers ({whole[0]}), which {type(bare).__name__} does not take: give floats as in "
                f"training ({reason})"
            ) from error
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise NotRecordable(
            f"{type(bare).__name__} failed on images of shape {shapes}: {type(error).__name__}: {reason}. "
            f"Diagram(model, images) shows at which layer"
        ) from error


def check_call(bare: nn.Module, places: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """Raise NotRecordable, with the names, if a model's `forward` wants other inputs than it is given."""
    try:
        signature = inspect.signature(bare.forward)
    except (TypeError, ValueError):
        return  # what is compiled may not tell
    try:
        signature.bind(*places, **keywords)
    except TypeError as error:
        raise NotRecordable(
            f"{type(bare).__name__} is called with {signature}, and the inputs do not fit: {error}. Give all of them "
            "with inputs=, a tuple or a dictionary of keywords"
        ) from error


def name_inputs(inputs: Inputs) -> Iterable[tuple[Any, Any]]:
    """The inputs by keyword, or by place."""
    return inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)


def prepare(bare: nn.Module, value: Any) -> Any:
    """A copy of an input, which the model may change in place, as the model takes it."""
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.uint8 and value.ndim == 4 and convolutions(bare):
        raise NotRecordable(
            "the probe's images are bytes, and convolutions take floats: give what the model takes in training "
            "(fmnist_lib.data.normalise makes it for Fashion-MNIST)"
        )
    copied = as_model_takes(bare, value.detach().clone().to(find_device(bare)))
    return mark(copied, 1) if copied.ndim == 4 else copied


def compute_loss(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """The loss, one number. Raises NotRecordable."""
    try:
        value = loss(scores, labels)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise NotRecordable(
            f"the loss of scores {tuple(scores.shape)} and labels {tuple(labels.shape)}, {labels.dtype}, from "
            f"{labels.min().item()} to {labels.max().item()}, failed: {str(error).splitlines()[0].rstrip('.')}. "
            "Pass loss=, or labels 0 to K-1 for K scores"
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise NotRecordable(f"the loss must be one number, not {shape}")
    return value


def check_layout(layout: str | Mapping[str, str] | None, layers: Sequence[str]) -> dict[str, str]:
    """Layer -> where its channels are, for the layers of which the user says it. Raises NotRecordable."""
    said = dict.fromkeys(layers, layout) if isinstance(layout, str) else dict(layout or {})
    for layer, value in said.items():
        if value not in AXES:
            raise NotRecordable(f"layout {value!r}: choose one of {', '.join(AXES)}")
        if layer not in layers:
            raise NotRecordable(f"layout= names {layer!r}, which is not among the layers {', '.join(layers)}")
    return said


def check_target(target: str | int, classes: Sequence[str] | None) -> None:
    """Raise NotRecordable for a target that is neither a word of ours nor a class."""
    if target in (TRUE, PREDICTED) or (isinstance(target, int) and 0 <= target < (len(classes) if classes else 2**31)):
        return
    raise NotRecordable(f"target={target!r}: choose {TRUE!r}, {PREDICTED!r} or the number of a class")


def describe_probe(probe: Probe, classes: Sequence[str] | Mapping[int, str] | None) -> dict[str, Any]:
    """What the file says of the images: their labels, and the classes' names. Raises NotRecordable."""
    told: dict[str, Any] = {}
    is_class = probe.labels.ndim == 1 and probe.labels.dtype == torch.int64
    if classes is not None:
        told["classes"] = list_classes(classes)
        if is_class and int(probe.labels.max()) >= len(told["classes"]):
            raise NotRecordable(f"{len(told['classes'])} classes, and a label {int(probe.labels.max())}: name them all")
    if is_class:
        told["labels"] = probe.labels[: probe.shown].tolist()
    return told


def list_classes(classes: Sequence[str] | Mapping[int, str]) -> list[str]:
    """The classes' names by number, from 0 to the last one that has a name. Raises NotRecordable."""
    try:
        names = {int(key): str(name) for key, name in name_inputs(classes)}  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise NotRecordable(f"classes={classes!r}: give the names in a list, or by number in a dictionary") from None
    return [names.get(number, str(number)) for number in range(max(names, default=-1) + 1)]


def plain_about(about: dict[str, Any]) -> dict[str, Any]:
    """A copy of `about` as a file holds it, numbers of numpy and torch made plain.

    Raises NotRecordable for what no file can hold; that is better said now than after the training.
    """

    def convert(value: Any) -> Any:
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return value.tolist()
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    try:
        return json.loads(json.dumps(about, default=convert))
    except (TypeError, ValueError) as error:
        raise NotRecordable(f"about={about!r} cannot be stored: {error}. Use plain numbers, texts and lists") from error


def check_probe(probe: Probe) -> Probe:
    """A copy of the probe as tensors. Raises NotRecordable if nothing can be recorded with it."""
    try:
        images, labels, shown = probe
        images, labels = as_tensor(images), as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotRecordable(f"a probe is images, labels and how many are shown, tensors or arrays: {error}") from None
    if images.ndim not in (2, 3, 4) or not len(images) or images.is_complex():
        raise NotRecordable(f"a probe's images are (N, C, H, W) or (N, C, L), not {tuple(images.shape)} {images.dtype}")
    if labels.ndim == 2 and labels.shape[1] == 1 and not labels.is_floating_point():
        labels = labels[:, 0]
    if labels.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16):
        labels = labels.long()
    if not labels.ndim or len(labels) != len(images) or shown < 1:
        raise NotRecordable(
            f"a probe needs a label for each image and shows at least one: {labels.numel()} labels for "
            f"{len(images)} images, {shown} shown"
        )
    with torch.inference_mode(False):  # autograd refuses what inference mode made
        return Probe(images.detach().clone(), labels.detach().clone(), int(shown))


def as_tensor(values: Any) -> Tensor:
    """A tensor, an array, or a list of either; float64, which numpy makes of its own, becomes float32."""
    if isinstance(values, Tensor):
        return values
    is_list = isinstance(values, (list, tuple)) and values and isinstance(values[0], Tensor)
    made = torch.stack(list(values)) if is_list else torch.as_tensor(np.asarray(values))
    return made.float() if made.dtype == torch.float64 else made


def default_layers(model: nn.Module, inputs: Inputs) -> list[str]:
    """The layers whose feature maps are worth keeping when nobody says.

    Only a model that has no activation module is called for it, to see where it calls functions.
    """
    bare = unwrap(model)
    viewable = getattr(bare, "viewable", None)
    if viewable:
        return [place.layer for place in viewable if place.kind == "activation"]
    modules = [name for name, module in bare.named_modules() if name and is_activation_module(module)]
    return (
        modules
        or activation_functions(model, inputs)
        or [name for name, module in convolutions(bare).items() if module is not bare]
    )


def is_activation_module(module: nn.Module) -> bool:
    """Whether a module is one of torch's activations, or is called like one, as timm's are."""
    return type(module).__module__ == nn.ReLU.__module__ or type(module).__name__.lower() in ACTIVATIONS


def activation_functions(model: nn.Module, inputs: Inputs) -> list[str]:
    """Where a model calls activation functions. One that fails is seen up to there; its next call says why."""
    found: dict[str, Tensor] = {}
    with suppress(Exception), leave_as_found(model) as bare, torch.no_grad():
        bare.eval()
        with FunctionWalk(bare, is_activation, found.setdefault):
            call_model(bare, inputs)
    return list(found)


def has_signals(model: nn.Module) -> bool:
    """Whether an output (N, C, L) is a signal's map; in a model without Conv1d it is a list of tokens."""
    return any(isinstance(module, nn.Conv1d) for module in model.modules())


def set_training_without_dropout(model: nn.Module) -> None:
    """Batch norm over the batch, as the optimiser's gradient has it, but nothing left to chance."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()


class NoDropout(TorchFunctionMode):
    """Inside this block dropout that is called as a function hands on what it gets."""

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in DROPOUTS:
            return args[0] if args else kwargs["input"]
        return function(*args, **(kwargs or {}))


def as_model_takes(model: nn.Module, images: Tensor) -> Tensor:
    """The images in the precision of the model's first parameter; numbers of tokens, or bytes, stay what they are."""
    dtypes = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    return images.to(dtypes[0]) if dtypes and images.is_floating_point() else images


def to_numpy(values: Tensor) -> NDArray[np.float32]:
    """A tensor from any device and of any precision, as float32."""
    return values.detach().float().cpu().numpy()
