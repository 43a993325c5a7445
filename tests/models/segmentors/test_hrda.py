# SPDX-License-Identifier: Apache-2.0
"""HRDA: the fusion against NumPy, its laws, where details lie, losses, windows and resuming."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_samples import samples
from torch import nn

from crossearth.errors import ConfigError
from crossearth.inference.bundle import build_network, load_predictor, write_bundle
from crossearth.inference.card import Card, read_card
from crossearth.inference.export import _Scores, export_pt2
from crossearth.models.segmentors import fuse_scales
from crossearth.registry import MODELS

CHANNELS = (4, 4, 6, 8)


@MODELS.register_module()
class PatchPyramid(nn.Module):
    """Maps of strides 4 to 32, each of one convolution; remembers the images it saw."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(3, c, s, s) for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True))
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        image = F.pad(image, (0, -image.shape[-1] % 32, 0, -image.shape[-2] % 32))
        size = [-(-side // 4) for side in self.seen[-1].shape[-2:]]
        maps = [stage(image) for stage in self.stages]
        return [maps[0][..., :size[0], :size[1]], *maps[1:]]


def build(head=None, **options):
    torch.manual_seed(0)
    return MODELS.build({
        'type': 'HRDASegmentor', 'backbone': {'type': 'PatchPyramid'},
        'decode_head': head or {
            'type': 'DAFormerHead', 'in_channels': CHANNELS, 'channels': 8, 'num_classes': 5},
        'attention_head': {
            'type': 'SegformerHead', 'in_channels': CHANNELS, 'in_index': (0, 1, 2, 3),
            'channels': 8, 'norm_cfg': {'type': 'BN'}},
        **options})


def fixed_attention(model, logit):
    """Let the attention be sigmoid(logit) everywhere."""
    model.attention_head.forward = lambda features: torch.full(
        (len(features[0]), 5, *features[0].shape[-2:]), float(logit))
    return model


# ------------------------------------------------------------------------------------- the fusion

def twice(x):
    """Bilinear enlargement (..., h, w) -> (..., 2h, 2w), centres of pixels aligned."""
    for axis in (-2, -1):
        x = np.moveaxis(x, axis, -1)
        before, after = (np.concatenate(parts, -1) for parts in (
            (x[..., :1], x[..., :-1]), (x[..., 1:], x[..., -1:])))
        x = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], -1)
        x = np.moveaxis(x.reshape(*x.shape[:-2], -1), -1, axis)
    return x


@pytest.mark.parametrize('box', [None, (slice(2, 8), slice(6, 10)), (slice(0, 4), slice(0, 12))])
@pytest.mark.parametrize('classwise', [True, False])
def test_fusion_equals_numpy(box, classwise):
    rng = np.random.default_rng(0)
    rows, columns = box or (slice(0, 10), slice(0, 12))
    context, detail = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(2, 3, 10, 12))
    attention = rng.random((2, 3 if classwise else 1, 5, 6))
    expected = twice(context)
    trust = np.broadcast_to(twice(attention), expected.shape)[..., rows, columns]
    detail = detail[..., rows, columns]
    expected[..., rows, columns] = (1 - trust) * expected[..., rows, columns] + trust * detail
    fused = fuse_scales(*map(torch.from_numpy, (context, attention, detail.copy())), box)
    np.testing.assert_allclose(fused.numpy(), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_attention_chooses(height, width, seed):
    rng = torch.Generator().manual_seed(seed)
    context = torch.randn(1, 2, height, width, generator=rng)
    detail = torch.randn(1, 2, 2 * height, 2 * width, generator=rng)
    enlarged = F.interpolate(context, scale_factor=2, mode='bilinear')
    assert torch.equal(fuse_scales(context, torch.zeros_like(context), detail), enlarged)
    assert torch.equal(fuse_scales(context, torch.ones_like(context), detail), detail)
    partly = fuse_scales(context, torch.rand(context.shape, generator=rng), detail)
    low, high = torch.minimum(enlarged, detail), torch.maximum(enlarged, detail)
    assert ((partly >= low - 1e-6) & (partly <= high + 1e-6)).all()


# -------------------------------------------------------------------------------------- training

@pytest.mark.parametrize('size', [(64, 64), (96, 32), (50, 70), (16, 24)])
def test_context_is_half_of_the_crop_and_detail_a_part_of_it(size):
    model, images = build().train(), torch.randn(2, 3, *size)
    for _ in range(5):
        model.backbone.seen.clear()
        model.loss(images, samples(2, size))
        context, detail = model.backbone.seen
        padded = F.pad(images, (0, -size[1] % 8, 0, -size[0] % 8))
        torch.testing.assert_close(context, F.avg_pool2d(padded, 2))
        height, width = detail.shape[-2:]
        assert (height, width) == tuple(8 * -(-side // 16) for side in size)
        places = [(y, x) for y in range(0, size[0] - height + 1, 8)
                  for x in range(0, size[1] - width + 1, 8)
                  if torch.equal(detail, images[..., y:y + height, x:x + width])]
        assert len(places) == 1


def test_losses_are_those_of_the_fused_logits_and_of_the_detail():
    size = (64, 96)
    model, images, labels = build(hr_loss_weight=0.3).eval(), torch.randn(2, 3, *size), samples(
        2, size)
    box = slice(16, 48), slice(40, 88)
    model._draw_detail = lambda _: box
    losses = model.loss(images, labels)
    head, target = model.decode_head, torch.cat([s.gt_sem_seg.data for s in labels])
    small = model.backbone(F.avg_pool2d(images, 2))
    cut = images[..., box[0], box[1]]
    detail = head(model.backbone(cut))
    fused = fuse_scales(head(small), model.attention_head(small).sigmoid(), detail,
                        (slice(4, 12), slice(10, 22)))
    whole, part = (F.interpolate(x, scale_factor=4, mode='bilinear') for x in (fused, detail))
    expected = F.cross_entropy(whole, target), F.cross_entropy(part, target[:, box[0], box[1]])
    assert losses.keys() == {'decode.loss_ce', 'decode.acc_seg', 'hr.loss_ce', 'hr.acc_seg'}
    torch.testing.assert_close(losses['decode.loss_ce'], 0.7 * expected[0])
    torch.testing.assert_close(losses['hr.loss_ce'], 0.3 * expected[1])
    right = (whole.argmax(1) == target).float().mean() * 100
    assert losses['decode.acc_seg'].item() == pytest.approx(right.item())


def test_every_parameter_learns():
    model = build().train()
    losses = model.loss(torch.randn(2, 3, 64, 64), samples(2, (64, 64)))
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.endswith('embed.0.bias'), name


def test_without_trust_in_the_detail_only_its_own_loss_reaches_it():
    model = fixed_attention(build(hr_loss_weight=0).train(), -1000)
    images = torch.randn(2, 3, 64, 64)
    detail_logits = []
    inner = model._classify
    model._classify = lambda x: detail_logits.append(inner(x)) or detail_logits[-1]
    losses = model.loss(images, samples(2, (64, 64)))
    grad, = torch.autograd.grad(sum(v for k, v in losses.items() if 'loss' in k), detail_logits)
    assert grad.eq(0).all()
    assert losses['hr.loss_ce'] == 0


def boxes(model, count):
    return [model._draw_detail((256, 128)) for _ in range(count)]


def test_details_go_on_after_a_resume_and_are_spread_over_the_crop():
    model = build()
    drawn = boxes(model, 40)
    assert len({(rows.start, columns.start) for rows, columns in drawn}) > 20
    for rows, columns in drawn:
        assert (rows.stop - rows.start, columns.stop - columns.start) == (128, 64)
        assert rows.start % 8 == columns.start % 8 == 0
        assert 0 <= rows.start <= 128
        assert 0 <= columns.start <= 64
    assert min(rows.start for rows, _ in drawn) < 32
    assert max(rows.start for rows, _ in drawn) > 96
    first, second = build(), build()
    boxes(first, 25)
    torch.rand(1000)  # whatever else draws
    second.load_state_dict(first.state_dict(), strict=True)
    assert boxes(second, 15) == drawn[25:]


# ------------------------------------------------------------------------------------- inference

VIT = {'type': 'DINOv2', 'arch': {'embed_dim': 32, 'depth': 4, 'num_heads': 2}, 'img_size': 64,
       'out_indices': [0, 1, 2, 3], 'weights': 'random', 'frozen': False}
WIDTHS = [32, 32, 32, 32]
DESCRIBED = {
    'type': 'HRDASegmentor', 'backbone': VIT,
    'decode_head': {
        'type': 'DAFormerHead', 'in_channels': WIDTHS, 'channels': 8, 'num_classes': 2},
    'attention_head': {
        'type': 'SegformerHead', 'in_channels': WIDTHS, 'in_index': [0, 1, 2, 3], 'channels': 8}}


@pytest.fixture
def bundle(tmp_path):
    """A bundle, images in 0..1, and the scores that its model gives them."""
    model = MODELS.build(DESCRIBED).eval()
    card = Card(model=DESCRIBED, classes=['land', 'water'], palette=[[0, 0, 0], [0, 0, 255]],
                crop=[64, 64], output='logits')
    images = torch.rand(3, 3, 64, 64)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) / 255 for values in (card.mean, card.std))
    with torch.no_grad():
        scores = model.encode_decode((images - mean) / std).softmax(1)
    return write_bundle(tmp_path, model, card), images, scores


def test_bundle_and_what_is_exported_of_it_give_the_fused_logits(bundle):
    folder, images, scores = bundle
    found = load_predictor(folder, device='cpu')(255 * images.numpy())
    np.testing.assert_allclose(found, scores, atol=1e-5)
    card = read_card(folder)
    with torch.no_grad():
        exported = _Scores(build_network(folder, card), card)(images)
    torch.testing.assert_close(exported, scores, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_pt2_program_takes_any_batch(bundle, tmp_path):
    folder, images, scores = bundle
    program = torch.export.load(export_pt2(folder, tmp_path / 'model.pt2')).module()
    torch.testing.assert_close(program(images), scores, atol=1e-5, rtol=0)



def by_hand(model, images):
    """Test-time logits of images whose sides are multiples of 16: nine details."""
    height, width = images.shape[-2:]
    small = model.backbone(F.avg_pool2d(images, 2))
    total = torch.zeros(len(images), 5, height // 4, width // 4)
    count = torch.zeros(height // 4, width // 4)
    for top in (0, height // 4, height // 2):
        for left in (0, width // 4, width // 2):
            y, x = slice(top // 4, (top + height // 2) // 4), slice(
                left // 4, (left + width // 2) // 4)
            part = images[..., top:top + height // 2, left:left + width // 2]
            total[..., y, x] += model.decode_head(model.backbone(part))
            count[y, x] += 1
    fused = fuse_scales(model.decode_head(small), model.attention_head(small).sigmoid(),
                        total / count)
    return F.interpolate(fused, scale_factor=4, mode='bilinear')


@pytest.mark.parametrize('size', [(64, 64), (64, 128), (96, 32)])
def test_window_is_fused_of_the_context_and_nine_details(size):
    model, images = build().eval(), torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_decode(images), by_hand(model, images))


@pytest.mark.parametrize('logit', [-1000, 1000])
def test_constant_views_are_constant_at_any_size(logit):
    model = fixed_attention(build().eval(), logit)
    model.decode_head.forward = lambda features: torch.arange(5.0).view(1, 5, 1, 1).expand(
        len(features[0]), 5, *features[0].shape[-2:])
    with torch.no_grad():
        for size in ((64, 64), (50, 70), (33, 17), (8, 100), (5, 5)):
            logits = model.encode_decode(torch.randn(2, 3, *size))
            torch.testing.assert_close(
                logits, torch.arange(5.0).view(1, 5, 1, 1).expand(2, 5, *size))


@pytest.mark.parametrize('logit', [-1000, 1000])
def test_no_trust_is_the_context_alone_and_full_trust_the_detail_alone(logit):
    model, images = fixed_attention(build().eval(), logit), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        logits = model.encode_decode(images)
        if logit < 0:
            small = model.decode_head(model.backbone(F.avg_pool2d(images, 2)))
            expected = F.interpolate(small, scale_factor=2, mode='bilinear')
        else:
            expected = model._classify(images[..., :16, :16])  # the corner lies in one detail only
        expected = F.interpolate(expected, scale_factor=4, mode='bilinear')
    torch.testing.assert_close(logits[..., :6, :6], expected[..., :6, :6])


@pytest.mark.parametrize('size', [(64, 64), (40, 100), (130, 64)])
def test_large_images_are_windows_of_the_crop_fused_one_by_one(size):
    model = build(test_cfg={'mode': 'slide', 'crop_size': (64, 64), 'stride': (42, 42)}).eval()
    images, windows = torch.randn(2, 3, *size), []
    inner = model.encode_decode
    model.encode_decode = lambda x: windows.append(x.shape[-2:]) or inner(x)
    with torch.no_grad():
        predicted = model.predict(images, samples(2, size))
    assert [tuple(p.pred_sem_seg.data.shape) for p in predicted] == [(1, *size)] * 2
    assert set(windows) == {(min(64, size[0]), min(64, size[1]))}


def test_details_scored_together_give_the_same_logits():
    one, four = (build(test_cfg={'window_batch': count}).eval() for count in (1, 4))
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        expected, found = one.encode_decode(images), four.encode_decode(images)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    # the context and nine details
    assert [len(x) for x in one.backbone.seen] == [2] * 10
    assert [len(x) for x in four.backbone.seen] == [2, 8, 8, 2]


def test_a_head_of_another_stride_works_too():
    model = build(head={'type': 'DeepLabV2Head', 'in_channels': 8, 'num_classes': 5}).train()
    model.loss(torch.randn(2, 3, 64, 64), samples(2, (64, 64)))['hr.loss_ce'].backward()
    assert model.eval().encode_decode(torch.randn(1, 3, 64, 48)).shape == (1, 5, 64, 48)


def test_mixed_precision():
    model = build().train()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(torch.randn(2, 3, 64, 64), samples(2, (64, 64)))
        assert {v.dtype for k, v in losses.items() if 'loss' in k} == {torch.float32}
        assert model.eval().encode_decode(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(('options', 'match'), [
    ({'hr_loss_weight': 1.5}, r'hr_loss_weight=1\.5 is no weight.*e\.g\. 0\.1'),
    ({'auxiliary_head': {'type': 'DeepLabV2Head', 'in_channels': 8, 'num_classes': 5}},
     'auxiliary_head has no place'),
    ({'head': {'type': 'Mask2FormerHead', 'in_channels': CHANNELS, 'num_classes': 5}},
     "Mask2FormerHead gives no logits.*'DAFormerHead'")])
def test_what_cannot_be(options, match):
    with pytest.raises(ConfigError, match=match):
        build(**options)
