# SPDX-License-Identifier: Apache-2.0
"""The model as the published modules compute it: the reference of every ratio in benchmarks/.

The same maths in the plainest composition, without any of this project's rewrites: explicit softmax
attention, Rein with its copies, a pyramid that is resized before it is projected, full mask maps of
all queries in decoder and loss, one pass for each task. It is our own code, written from the
equations, and holds the very parameters of the model that it stands beside.
"""

import copy

from torch import nn

from crossearth.models.adapters.geospatial import Injector
from crossearth.models.adapters.rein import LoRARein
from crossearth.models.backbones.dinov2 import DINOv2
from crossearth.models.heads.mask2former.head import ReinMask2FormerHead
from crossearth.models.heads.mask2former.loss import Mask2FormerLoss
from crossearth.models.heads.mim import MIMHead
from crossearth.models.layers.attention import Attention
from crossearth.models.layers.deformable_attention import MultiScaleDeformableAttention
from crossearth.models.segmentors import CrossEarthSegmentor, PEFTEncoderDecoder

from .backbone import PlainAttention, PlainDINOv2, PlainInjector, PlainRein
from .head import PlainDeformableAttention, PlainHead
from .loss import PlainLoss
from .segmentor import PlainEncoderDecoder, PlainMIMHead, PlainSegmentor

__all__ = ['TWINS', 'twin']

# class -> the one that computes the same from the same parameters
TWINS: dict[type[nn.Module], type[nn.Module]] = {
    Attention: PlainAttention,
    CrossEarthSegmentor: PlainSegmentor,
    DINOv2: PlainDINOv2,
    Injector: PlainInjector,
    LoRARein: PlainRein,
    MIMHead: PlainMIMHead,
    Mask2FormerLoss: PlainLoss,
    MultiScaleDeformableAttention: PlainDeformableAttention,
    PEFTEncoderDecoder: PlainEncoderDecoder,
    ReinMask2FormerHead: PlainHead,
}


def twin(model: nn.Module) -> nn.Module:
    """Make the plain composition of a model.

    Args:
        model: A segmentor with DINOv2, LoRARein and Mask2Former head.

    Returns:
        A segmentor of the same modules, names and parameters (shared, not copied), in the same
        mode, with copies of the buffers.
    """
    plain = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for module in plain.modules():
        module.__class__ = TWINS.get(type(module), type(module))
    return plain
