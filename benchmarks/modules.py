#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Time, FLOPs and share of the GEMM peak of each part of the model, against the plain composition.

Every part gets what it gets in the segmentation flow of a training step. `calls` says how often it
runs for each image version. Full mask maps are made by the decoder in the plain composition, by the
loss in ours.

Run: python benchmarks/modules.py --model l --size 512 [--only rein loss]
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from common import Outputs, Row, Settings, compare, finish, parse
from reference import twin
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map
from workload import batch, build, doubled

from crossearth.models.heads.mask2former.decoder import Predictions

ATTENTION = 'decode_head.pixel_decoder.encoder.layers.0.self_attn'
# parts that are called as they are in a step, by the names of their modules
CALLED = {
    'block': 'backbone.blocks.1', 'rein': 'backbone.reins', 'gse': 'backbone.gse',
    'injector': 'backbone.injector', 'deformable_attention': ATTENTION,
    'loss': 'decode_head.criterion'}
PARTS = (*CALLED, 'pixel_decoder', 'decoder', 'mim')
PATCH = 16  # px


class Subject(NamedTuple):
    """One model of the pair, and what its parts get, in float64.

    Attributes:
        model: The segmentor.
        calls: Of the parts that are called as in a step: their last arguments.
        maps: Four maps (B, C, h, w) of the patch grid.
        queries: (Q, D).
    """

    model: Any
    calls: dict[str, tuple[Any, ...]]
    maps: list[Tensor]
    queries: Tensor

    def single(self) -> 'Subject':
        """The same in float32."""
        return Subject(self.model, *tree_map(
            lambda x: x.detach().float().requires_grad_(x.requires_grad)
            if isinstance(x, Tensor) and x.is_floating_point() else x, self[1:]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    model = build(settings, 'whole')
    plain = twin(model)
    images, samples = batch(settings)
    with doubled(plain), torch.no_grad():
        maps, queries = plain.backbone.maps(images.double()), plain.backbone.reins.object_queries()
    exact = {name: Subject(one, record(settings, one, images, samples), maps, queries)
             for name, one in (('reference', plain), ('ours', model))}
    rows = (row for part in args.only for row in measure(settings, part, exact))
    return finish(settings, 'modules', rows, **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS))


def record(
    settings: Settings, model: Any, images: Tensor, samples: list[Any]
) -> dict[str, tuple[Any, ...]]:
    """Run the segmentation flow in float64 and note the last arguments of the parts."""
    calls: dict[str, tuple[Any, ...]] = {}

    def note(part: str) -> Callable[..., None]:
        return lambda module, arguments: calls.update({part: leaves(arguments)})

    hooks = [model.get_submodule(path).register_forward_pre_hook(note(part))
             for part, path in CALLED.items()]
    torch.manual_seed(settings.seed)
    with doubled(model):
        model.segmentation_losses(model.backbone(images.double()), samples)
    for hook in hooks:
        hook.remove()
    return calls


def measure(settings: Settings, part: str, exact: Mapping[str, Subject]) -> Iterator[Row]:
    """Measure the forward pass of a part, and both passes."""
    def view(outputs: Any) -> Outputs:
        return shown(settings, part, outputs)

    single = {variant: subject.single() for variant, subject in exact.items()}
    for backward in (False, True):
        name = f'{part}, forward{" and backward" if backward else ""}'
        jobs, checks = ({variant: partial(
            function, part=part, subject=subject, backward=backward)
            for variant, subject in subjects.items()}
            for function, subjects in ((run, single), (run_exactly, exact)))
        row = compare(settings, name, jobs, checks, view)
        row['figures']['calls'] = number_of_calls(part, exact['ours'].model)
        yield row


def number_of_calls(part: str, model: Any) -> int:
    """How often a part runs for one image version in a step."""
    if part in ('block', 'rein', 'injector'):
        return len(model.backbone.blocks)
    if part == 'deformable_attention':
        return len(model.decode_head.pixel_decoder.encoder.layers)
    return 1


# ------------------------------------------------------------------------- one part

def run(settings: Settings, part: str, subject: Subject, *, backward: bool) -> Any:
    """Run a part on leaves of the graph, and give what it gives."""
    torch.manual_seed(settings.seed)
    subject.model.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(backward), settings.autocast():
        outputs = call(part, subject)
    if backward:
        results = [x for x in tree_flatten(outputs)[0] if x.requires_grad]
        torch.autograd.backward(results, [torch.ones_like(x) for x in results])
    return outputs


def run_exactly(settings: Settings, part: str, subject: Subject, *, backward: bool) -> Any:
    """Do as `run`, in float64."""
    with doubled(subject.model):
        return run(settings, part, subject, backward=backward)


def call(part: str, subject: Subject) -> Any:
    """Call a part."""
    model = subject.model
    if part in CALLED:
        return model.get_submodule(CALLED[part])(*leaves(subject.calls[part]))
    maps = leaves(subject.maps, wanted=True)
    if part == 'mim':
        side = maps[2].shape[-1] * PATCH
        return model.mim_head(model.backbone.pyramid(maps), (side, side))
    head = model.decode_head
    if part == 'pixel_decoder':
        return head.pixel_decoder(model.backbone.pyramid(maps))
    with decoded_pixels(head, maps):
        return head((maps, leaves(subject.queries, wanted=True)))


@contextmanager
def decoded_pixels(head: Any, maps: Sequence[Tensor]) -> Iterator[None]:
    """Give the pixel decoder's output for nothing: maps of its sizes, with fixed noise."""
    C, batch_size = head.feat_channels, len(maps[0])
    h, w = maps[2].shape[-2:]
    generator = torch.Generator(maps[0].device).manual_seed(0)
    fine, *coarse = leaves([
        torch.randn(batch_size, C, int(h * scale), int(w * scale), generator=generator,
                    device=maps[0].device).to(maps[0]) for scale in (4, 0.5, 1, 2)], wanted=True)
    head.pixel_decoder.forward = lambda features: (fine, coarse)
    try:
        yield
    finally:
        del head.pixel_decoder.forward


def leaves(arguments: Any, *, wanted: bool = False) -> Any:
    """Cut arguments off their graph; those that had one, or all that are `wanted`, begin a new one.

    Without gradients they begin none.
    """
    def cut(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return x.detach().requires_grad_(
            torch.is_grad_enabled() and (wanted or x.requires_grad))

    return tree_map(cut, arguments)


def shown(settings: Settings, part: str, outputs: Any) -> Outputs:
    """What of the outputs of a part both variants have."""
    if part == 'rein':  # one of them may carry the class token along
        return {'tokens': [outputs[:, -((settings.size // PATCH) ** 2):]]}
    if isinstance(outputs, Predictions):
        maps = [outputs.mask_logits(layer) for layer in range(len(outputs.cls_logits))]
        return {'classes': list(outputs.cls_logits), 'masks': maps}
    if part == 'decoder':
        return dict(zip(('classes', 'masks'), outputs, strict=True))
    return {'outputs': tree_flatten(outputs)[0]}


if __name__ == '__main__':
    sys.exit(main())
