# SPDX-License-Identifier: Apache-2.0
"""Our Mask2Former against mmdet's and mmseg's, in float64: scores, losses and gradients."""

import importlib.util
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from mmcv_stub import load_head
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from crossearth.models.heads import Mask2FormerHead
from crossearth.models.heads.mask2former.decoder import Predictions

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmdet') is None, reason='mmdet is not installed (extra `parity`)')

CLASSES, QUERIES, POINTS = 5, 20, 300
CHANNELS = [24, 20, 16, 12]
SIZES = [(16, 24), (8, 12), (4, 6), (2, 3)]  # of a 64 x 96 image
TINY = dict(feat=32, queries=QUERIES, heads=4, groups=4, ffn=48, pixel_layers=2, layers=3)
MEDIUM = dict(feat=128, queries=100, heads=8, groups=32, ffn=256, pixel_layers=1, layers=1)


def oracle(in_channels: list[int], feat: int, queries: int, heads: int, groups: int,
           ffn: int, pixel_layers: int, layers: int) -> nn.Module:
    """mmseg's head with the published losses."""
    ffn_cfg = dict(embed_dims=feat, feedforward_channels=ffn, num_fcs=2,
                   act_cfg=dict(type='ReLU', inplace=True))
    attention = dict(embed_dims=feat, num_heads=heads, dropout=0.0)
    position = dict(num_feats=feat // 2, normalize=True)
    costs = [dict(type='ClassificationCost', weight=2.0),
             dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
             dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)]
    config = dict(
        in_channels=in_channels, feat_channels=feat, out_channels=feat,
        num_classes=CLASSES, num_queries=queries, num_transformer_feat_level=3,
        pixel_decoder=dict(
            type='MSDeformAttnPixelDecoder', num_outs=3,
            norm_cfg=dict(type='GN', num_groups=groups), act_cfg=dict(type='ReLU'),
            positional_encoding=position,
            encoder=dict(num_layers=pixel_layers, layer_cfg=dict(
                self_attn_cfg=dict(num_levels=3, num_points=4, batch_first=True, **attention),
                ffn_cfg=ffn_cfg))),
        positional_encoding=position,
        transformer_decoder=dict(
            return_intermediate=True, num_layers=layers, init_cfg=None,
            layer_cfg=dict(self_attn_cfg=dict(batch_first=True, **attention),
                           cross_attn_cfg=dict(batch_first=True, **attention),
                           ffn_cfg=ffn_cfg)),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0,
                      reduction='mean', class_weight=[1.0] * CLASSES + [0.1]),
        loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='mean',
                       loss_weight=5.0),
        loss_dice=dict(type='DiceLoss', use_sigmoid=True, activate=True, reduction='mean',
                       naive_dice=True, eps=1.0, loss_weight=5.0),
        train_cfg=dict(num_points=POINTS, oversample_ratio=3.0, importance_sample_ratio=0.75,
                       assigner=dict(type='HungarianAssigner', match_costs=costs),
                       sampler=dict(type='MaskPseudoSampler')))
    head_class = load_head()
    with DefaultScope.overwrite_default_scope('mmdet'):
        return head_class(**ConfigDict(config))


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything in float64, also what mmdet casts to float."""
    monkeypatch.setattr(Tensor, 'float', Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def heads(float64: None) -> SimpleNamespace:
    """Both heads with the same random weights, far from where gradients are not unique."""
    theirs = oracle(CHANNELS, **TINY)
    theirs.init_weights()
    theirs.double()  # mmdet makes one bias of deformable attention in float32
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.15)
    layer = dict(num_heads=4, ffn_channels=48)
    ours = Mask2FormerHead(
        CHANNELS, CLASSES, feat_channels=32, num_queries=QUERIES, num_points=POINTS,
        pixel_decoder=dict(num_layers=2, num_groups=4, **layer),
        transformer_decoder=dict(num_layers=3, **layer))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return SimpleNamespace(ours=ours, theirs=theirs)


def features() -> list[Tensor]:
    return [torch.randn(2, c, *size, requires_grad=True)
            for c, size in zip(CHANNELS, SIZES, strict=True)]


def samples(*labels: Tensor) -> list[SegDataSample]:
    found = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_path='a.png', img_shape=(64, 96)))
        sample.gt_sem_seg = PixelData(data=label[None])
        found.append(sample)
    return found


def label_map(classes: int) -> Tensor:
    """Blocks of 8 x 8 px of random classes, and a corner of 255."""
    blocks = torch.randint(0, classes, (8, 12))
    label = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)
    label[40:, 70:] = 255
    return label


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_outputs_of_all_layers(heads: SimpleNamespace) -> None:
    x = features()
    found: Predictions = heads.ours(x)
    cls_logits, mask_logits = heads.theirs(x, samples())
    assert len(found.cls_logits) == len(cls_logits) == 4
    for i, (cls, mask) in enumerate(zip(cls_logits, mask_logits, strict=True)):
        assert relative(found.cls_logits[i], cls) < 1e-12
        assert relative(found.mask_logits(i), mask) < 1e-12


def test_scores(heads: SimpleNamespace) -> None:
    x, metas = features(), [dict(img_shape=(64, 96))] * 2
    found = heads.ours.predict(x, metas, None)
    expected = heads.theirs.predict(x, metas, None)
    assert found.shape == expected.shape == (2, CLASSES, 64, 96)
    assert relative(found, expected) < 1e-12


@pytest.mark.parametrize('labels', ['both', 'one empty', 'none'])
def test_losses_and_gradients(heads: SimpleNamespace, labels: str) -> None:
    void = torch.full((64, 96), 255)
    maps = {'both': (label_map(CLASSES), label_map(3)), 'one empty': (void, label_map(CLASSES)),
            'none': (void, void)}[labels]
    x = features()
    results = []
    for head in (heads.ours, heads.theirs):
        torch.manual_seed(7)
        losses = head.loss(x, samples(*maps), None)
        inputs = [*x, *(p for _, p in sorted(head.named_parameters()))]
        gradients = torch.autograd.grad(sum(losses.values()), inputs, allow_unused=True)
        results.append((losses, gradients))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours.keys() == theirs.keys()
    for name, loss in ours.items():
        assert loss.item() == pytest.approx(theirs[name].item(), rel=1e-7), name
    compared = 0
    for found, expected in zip(our_gradients, their_gradients, strict=True):
        assert (found is None) == (expected is None)
        if expected is None or not expected.abs().max():
            continue
        assert relative(found, expected) < 1e-7
        compared += 1
    # Without any mask, nothing but the classes of the queries is learned.
    assert compared > (20 if labels == 'none' else 120)


def test_initial_weights_have_the_same_distributions() -> None:
    theirs = oracle([192] * 4, **MEDIUM)
    theirs.init_weights()
    layer = dict(num_layers=1, ffn_channels=256)
    ours = Mask2FormerHead(
        [192] * 4, CLASSES, feat_channels=128, pixel_decoder=layer, transformer_decoder=layer)
    expected = dict(theirs.named_parameters())
    assert {k: p.shape for k, p in ours.named_parameters()} == {
        k: p.shape for k, p in expected.items()}
    for name, found in ours.named_parameters():
        reference = expected[name]
        if found.numel() < 100:  # cls_embed.bias: too few to compare
            continue
        if reference.unique().numel() < reference.numel() / 4:  # constants, rays of the offsets
            torch.testing.assert_close(found, reference, msg=name)
            continue
        # Of 128 values the standard deviation is known to about 6 %, of 1e4 to below 1 %.
        tolerance = 0.03 if found.numel() > 1e4 else 0.25
        assert found.std().item() == pytest.approx(reference.std().item(), rel=tolerance), name
        assert abs(found.mean().item()) < 0.25 * reference.std().item(), name
        if found.numel() > 1e4:
            # The largest value tells a uniform (1.7 sigma) from a normal distribution (> 3.5).
            peaks = [(p.abs().max() / p.std()).item() for p in (found, reference)]
            assert (peaks[0] > 2.5) == (peaks[1] > 2.5), name
