"""The recorder: looks at any model at the epochs it is told to, and leaves the model as it was.

Letters: N images of the probe, C channels, H height, W width, L length of a signal, K classes.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn import functional
from torch.nn.utils import parametrize

from fmnist_lib.visualisers.borrow import NotRecordable, borrow, find_device
from fmnist_lib.visualisers.hooks import capture, convolutions, find_layer, kernels_out_of_reach, unwrap
from fmnist_lib.visualisers.measures import (
    are_class_scores,
    channels_first,
    differentiate,
    first_tensor,
    grad_cam,
    map_row,
    no_pictures,
    weight_row,
)
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder


class Probe(NamedTuple):
    """The fixed images that a recorder looks at, as the model takes them, (N, C, H, W) or (N, C, L), and their labels.

    The gradients and the statistics are over all of them; the first `shown` have their feature maps kept. Labels
    int64 (N,) are classes; others serve a loss that knows what they are.
    """

    images: Tensor
    labels: Tensor
    shown: int = 10


class HasEpoch(Protocol):
    """What `fit` hands to its observers, as far as a recorder reads it."""

    epoch: int


class Recorder:
    """Records kernels, gradients and feature maps of any `nn.Module`, one `snapshot(epoch)` after the other.

    Kernels and weight gradients come from every convolution; `layers` names the modules whose feature maps are
    kept (default: the activations that the model's `viewable` lists, else every activation module, else every
    convolution), `gradient_layers` those of them that keep map gradients and Grad-CAM too, which compress badly
    (default: all). The weight gradient is that of `loss(model(images), labels)` over the probe, with batch norm as
    in training and dropout off; feature maps are seen in evaluation mode. Of a model that gives out a tuple or a
    dictionary, the first tensor counts. What cannot be recorded is named in `skipped`, a layer or a kind of
    pictures with the reason. On CUDA, whose kernels need not repeat themselves, two snapshots of one model agree up to
    rounding. Raises UnknownLayer, and NotRecordable for a probe that is none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        probe: Probe,
        layers: Iterable[str] | None = None,
        gradient_layers: Iterable[str] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
        about: dict[str, Any] | None = None,
    ) -> None:
        bare = unwrap(model)
        self.model = model
        self.probe = check_probe(probe)
        self.loss = loss
        self.about = about or {}
        check_about(self.about)
        self.map_layers = list(default_layers(bare) if layers is None else dict.fromkeys(layers))
        self.gradient_layers = set(self.map_layers if gradient_layers is None else gradient_layers)
        for layer in (*self.map_layers, *self.gradient_layers):
            find_layer(bare, layer)
        if extra := self.gradient_layers - set(self.map_layers):
            raise NotRecordable(f"gradient_layers must be among the layers; {', '.join(sorted(extra))} is not")
        self._builder = RecordingBuilder(self.about, skipped=kernels_out_of_reach(bare))
        self._builder.store("inputs", to_numpy(self.probe.images[: probe.shown]))
        self._start: dict[str, Tensor] = {}

    @property
    def skipped(self) -> dict[str, str]:
        """What could not be recorded so far, and why."""
        return self._builder.skipped

    def __call__(self, progress: HasEpoch) -> None:
        """Be an observer of `fit(on_epoch=...)`."""
        self.snapshot(progress.epoch)

    def snapshot(self, epoch: int) -> None:
        """Record the model as it is now under the number `epoch`; a failure leaves the recording without it."""
        if epoch in self._builder.epochs:
            raise NotRecordable(f"epoch {epoch} is recorded already")
        look = RecordingBuilder(epochs=[epoch])
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
            output = first_tensor(bare(self._images_for(bare)))
            loss = self.loss(output, self.probe.labels.to(output.device))
            if loss.numel() != 1:
                raise NotRecordable(f"the loss must be one number, not {tuple(loss.shape)}")
            weights = {layer: module.weight for layer, module in convolutions(bare).items()}
            gradients, reasons = differentiate(loss, weights, of="the loss", by="its weights")
        look.skip(reasons)
        for layer, weight in weights.items():
            start = self._start.setdefault(layer, weight.detach().clone())
            look.keep("kernels", layer, epoch, to_numpy(weight))
            if layer in gradients:
                look.keep("gradients", layer, epoch, to_numpy(gradients[layer]))
                look.stats.append(weight_row(layer, epoch, weight, gradient=gradients[layer], start=start))

    def _look_at_maps(self, look: RecordingBuilder) -> None:
        (epoch,), shown, images = look.epochs, self.probe.shown, self.probe.images
        with borrow(self.model) as bare, capture(bare, self.map_layers, keep_graph=True) as seen:
            bare.eval()
            scores = first_tensor(bare(self._images_for(bare)))
            missing = {layer: "not called, or gave out no tensor" for layer in self.map_layers if layer not in seen}
            reasons = no_pictures(seen, images, signals=has_signals(bare))
            look.skip(missing | reasons)
            outputs = {layer: output for layer, output in seen.items() if layer not in reasons}
            places = {layer: seen.edges.get(layer, outputs[layer]) for layer in outputs if self._wants_gradient(layer)}
            gradients = self._differentiate_scores(scores, places, look=look)
        for layer, output in outputs.items():
            maps = channels_first(output, images)
            look.stats.append(map_row(layer, epoch, maps))
            look.keep("maps", layer, epoch, to_numpy(maps[:shown]))
            if layer in gradients:
                gradient = channels_first(gradients[layer], images)[:shown]
                look.keep("map_gradients", layer, epoch, to_numpy(gradient))
                look.keep("cams", layer, epoch, to_numpy(grad_cam(maps[:shown], gradient)))

    def _images_for(self, bare: nn.Module) -> Tensor:
        images = self.probe.images.clone()  # a model may change its input in place
        return as_model_takes(bare, images.to(find_device(bare)))

    def _wants_gradient(self, layer: str) -> bool:
        return layer.split("#")[0] in self.gradient_layers

    def _differentiate_scores(
        self, scores: Tensor, places: dict[str, Tensor | GradientEdge], *, look: RecordingBuilder
    ) -> dict[str, Tensor]:
        """Keep the class probabilities; return the gradient of the true classes' scores at each of the places."""
        labels = self.probe.labels.to(scores.device)
        if not are_class_scores(scores, labels):
            look.skip({"scores": f"an output of shape {tuple(scores.shape)} is no score per class for these labels"})
            return {}
        scores, labels = scores[: self.probe.shown], labels[: self.probe.shown]
        look.members[f"scores/{look.epochs[0]}"] = to_numpy(scores.float().softmax(1))
        true_scores = scores.gather(1, labels[:, None]).sum()
        gradients, reasons = differentiate(true_scores, places, of="the true class's score", by="its maps")
        look.skip(reasons)
        return gradients


def check_about(about: dict[str, Any]) -> None:
    """Raise NotRecordable for what no file can hold; that is better said now than after the training."""
    try:
        json.dumps(about)
    except (TypeError, ValueError) as error:
        raise NotRecordable(f"about={about!r} cannot be stored: {error}. Use plain numbers, texts and lists") from error


def check_probe(probe: Probe) -> Probe:
    """A copy of the probe. Raises NotRecordable if nothing can be recorded with it."""
    images, labels, shown = probe
    if images.ndim not in (2, 3, 4) or not len(images) or images.is_complex():
        raise NotRecordable(f"a probe's images are (N, C, H, W) or (N, C, L), not {tuple(images.shape)} {images.dtype}")
    if len(labels) != len(images) or shown < 1:
        raise NotRecordable(
            f"a probe needs a label for each image and shows at least one: {len(labels)} labels for "
            f"{len(images)} images, {shown} shown"
        )
    with torch.inference_mode(False):  # autograd refuses what inference mode made
        return Probe(images.detach().clone(), labels.detach().clone(), shown)


def default_layers(model: nn.Module) -> list[str]:
    """The modules whose feature maps are worth keeping when nobody says."""
    model = unwrap(model)
    viewable = getattr(model, "viewable", None)
    if viewable:
        return [place.layer for place in viewable if place.kind == "activation"]
    named = [(name, module) for name, module in model.named_modules() if name]
    activations = [name for name, module in named if type(module).__module__ == nn.ReLU.__module__]
    return activations or [name for name, module in named if name in convolutions(model)]


def has_signals(model: nn.Module) -> bool:
    """Whether an output (N, C, L) is a signal's map; in a model without Conv1d it is a list of tokens."""
    return any(isinstance(module, nn.Conv1d) for module in model.modules())


def set_training_without_dropout(model: nn.Module) -> None:
    """Batch norm over the batch, as the optimiser's gradient has it, but nothing left to chance."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()


def as_model_takes(model: nn.Module, images: Tensor) -> Tensor:
    """The images in the precision of the model's first parameter; numbers of tokens, or bytes, stay what they are."""
    dtypes = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    return images.to(dtypes[0]) if dtypes and images.is_floating_point() else images


def to_numpy(values: Tensor) -> NDArray[np.float32]:
    """A tensor from any device and of any precision, as float32."""
    return values.detach().float().cpu().numpy()
