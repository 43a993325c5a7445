# SPDX-License-Identifier: Apache-2.0
"""The multi-task segmentor: one iteration line by line, its laws, gradients and checkpoints."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import distributed, multiprocessing, nn

from crossearth.errors import ConfigError, WeightsNotFoundError
from crossearth.registry import MODELS
from crossearth.style.nets import StyleNets

ARCH = {'embed_dim': 32, 'depth': 4, 'num_heads': 2}
INJECTOR = {'dim': 8, 'num_heads': 2, 'scale_init': 0.1}
SIZE = (64, 64)
CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / '_base_' / 'models'


@MODELS.register_module()
class NegativeStyle(nn.Module):
    """Turns the left half of every image into its negative, in every iteration or in none."""

    def __init__(self, styled=True, **_):
        super().__init__()
        self.draw = lambda: styled

    def forward(self, image):
        keep = torch.ones_like(image[:, :1])
        keep[..., : image.shape[-1] // 2] = 0
        return image * (2 * keep - 1), keep


def build(kind='CrossEarthSegmentor', backbone=(), **options):
    torch.manual_seed(0)
    defaults = {
        'data_preprocessor': {
            'type': 'SegDataPreProcessor', 'size': SIZE, 'mean': (128,) * 3, 'std': (64,) * 3},
        'backbone': {
            'type': 'DINOv2', 'arch': ARCH, 'img_size': 64, 'out_indices': (0, 1, 2, 3),
            'weights': 'random', 'gse': {}, 'injector': INJECTOR,
            'adapter': {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 16},
            **dict(backbone)},
        'decode_head': {
            'type': 'ReinMask2FormerHead', 'in_channels': (32,) * 4, 'num_classes': 5,
            'feat_channels': 16, 'num_points': 64,
            'pixel_decoder': {
                'num_layers': 1, 'num_heads': 2, 'num_points': 2, 'ffn_channels': 16,
                'num_groups': 4},
            'transformer_decoder': {'num_layers': 2, 'num_heads': 2, 'ffn_channels': 16}},
    }
    if kind == 'CrossEarthSegmentor':
        defaults |= {'mim_head': {'channels': 8, 'size': 'stride4'},
                     'mask': {'mask_ratio': 0.5, 'block': 16}}
    return MODELS.build({'type': kind, **defaults, **options})


def batch(n=2, size=SIZE):
    samples = [SegDataSample(metainfo={'ori_shape': size, 'img_shape': size}) for _ in range(n)]
    for index, sample in enumerate(samples):
        rows = torch.arange(size[0])[:, None].expand(size) * 5 // size[0]
        sample.gt_sem_seg = PixelData(data=rows.roll(index * 7, 0)[None])
    return torch.randn(n, 3, *size), samples


def losses_of(model, seed=0, inputs=None, samples=None):
    if inputs is None:
        inputs, samples = batch()
    torch.manual_seed(seed)  # points of the segmentation loss
    return model.train()(inputs, samples, mode='loss')


def styled(on=True):
    return {'style': {'type': 'NegativeStyle', 'styled': on}}


# --------------------------------------------------------------------------------- the iteration

def test_losses_are_named():
    plain, twice = (losses_of(build(**styled(on))) for on in (False, True))
    assert plain['styled'] == 0
    assert twice['styled'] == 1
    mim = {name for name in plain if name.startswith('mim.')}
    assert mim == {'mim.loss_m'}
    assert twice.keys() - plain.keys() == {'mim.loss_s', 'mim.loss_delta'}
    assert 'decode.loss_cls' in plain
    total, logged = build().parse_losses(twice)
    assert float(total.detach()) == pytest.approx(
        sum(float(v.detach()) for k, v in twice.items() if k != 'styled'))
    assert logged['styled'] == 1


def seen_by_backbone(model, inputs, samples):
    """The batch that the backbone gets in one iteration."""
    seen = []
    handle = model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0].detach().clone(), kwargs)),
        with_kwargs=True)
    losses_of(model, 0, inputs, samples)
    handle.remove()
    [(images, kwargs)] = seen
    assert kwargs == {'geospatial': len(inputs)}
    return images.split(len(inputs))


@pytest.mark.parametrize('on', [False, True])
def test_one_batch_of_the_right_images(on):
    model = build(**styled(on))
    nn.init.constant_(model.prompt, 7)
    inputs, samples = batch()
    first, masked, *rest = seen_by_backbone(model, inputs, samples)
    changed = masked != inputs
    assert masked[changed].eq(7).all()
    assert 0 < changed.float().mean() < 1
    expected = NegativeStyle()(inputs)[0] if on else inputs
    assert torch.equal(first, expected)
    assert len(rest) == on
    if on:
        assert torch.equal(rest[0], expected)


def test_masking_nothing_leaves_the_image_and_prompt_zero_is_plain_masking():
    inputs, samples = batch()
    model = build(mask={'mask_ratio': 0, 'block': 16})
    nn.init.constant_(model.prompt, 7)
    assert torch.equal(seen_by_backbone(model, inputs, samples)[1], inputs)
    for prompt in ('learnable', 'per_channel', 'none'):
        masked = seen_by_backbone(build(prompt=prompt), inputs, samples)[1]
        kept = (masked != 0).all(1, keepdim=True)
        assert torch.equal(masked, inputs * kept)
        blocks = F.avg_pool2d(kept.float(), 16)
        assert set(blocks.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(('prompt', 'shape'), [
    ('learnable', (1, 3, 64, 64)), ('per_channel', (1, 3, 1, 1))])
def test_prompt_fills_crops_of_other_sizes(prompt, shape):
    model = build(prompt=prompt, mask={'mask_ratio': 1, 'block': 16})
    assert model.prompt.shape == shape
    nn.init.constant_(model.prompt, 3)
    inputs, samples = batch(1, (48, 96))
    masked = seen_by_backbone(model, inputs, samples)[1]
    torch.testing.assert_close(masked, torch.full_like(inputs, 3))


def test_published_prompt_count():
    model = build(data_preprocessor={'type': 'SegDataPreProcessor', 'size': (1024, 1024)})
    assert model.prompt.numel() == 3_145_728


@pytest.mark.parametrize('where', ['blocks', 'out_indices', 'outputs'])
@pytest.mark.parametrize('checkpointing', [False, True])
def test_one_pass_equals_two(where, checkpointing):
    backbone = build(backbone={
        'injector': {**INJECTOR, 'where': where}, 'checkpointing': checkpointing}).backbone.train()
    x, y = torch.randn(2, 3, *SIZE), torch.randn(4, 3, *SIZE)

    def run(passes):
        backbone.zero_grad()
        maps = [torch.cat(level) for level in zip(*(p[0] for p in passes), strict=True)]
        sum((m * m.detach().cos()).sum() for m in maps).backward()
        grads = {n: p.grad for n, p in backbone.named_parameters() if p.grad is not None}
        return maps, grads

    one = run([backbone(torch.cat([x, y]), geospatial=2)])
    two = run([backbone(x), backbone(y, geospatial=False)])
    torch.testing.assert_close(one[0], two[0], atol=1e-5, rtol=1e-5)
    assert any(name.startswith('gse') for name in one[1])
    torch.testing.assert_close(one[1], two[1], atol=1e-3, rtol=1e-4)  # sums over many pixels


def test_losses_equal_those_of_separate_passes():
    model = build(**styled())
    inputs, samples = batch()
    ours = losses_of(model, 1, inputs, samples)
    restyled = model.style(inputs)[0]
    model.mask_draws.state[1] -= 1
    model.mask_draws.advance()  # to the same masks
    masked = model._mask(inputs)
    torch.manual_seed(1)
    expected = {f'decode.{k}': v for k, v in model.decode_head.loss(
        model.backbone(restyled), samples, {}).items()}
    restored = [model.mim_head(model.backbone(x, geospatial=False)[0], SIZE)
                for x in (masked.image, restyled)]
    expected |= {
        'mim.loss_m': F.l1_loss(restored[0], inputs), 'mim.loss_s': F.l1_loss(restored[1], inputs),
        'mim.loss_delta': F.l1_loss(restored[1], restored[0]), 'styled': torch.tensor(1.0)}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-5)


def test_gamma_zero_and_all_switched_off_is_rein_bit_for_bit():
    rein = build('PEFTEncoderDecoder', backbone={'gse': None, 'injector': None})
    model = build(mim_head=None, backbone={'injector': {**INJECTOR, 'scale_init': 0.0}})
    model.load_state_dict(rein.state_dict(), strict=False)
    whole = build(backbone={'injector': {**INJECTOR, 'scale_init': 0.0}})
    whole.load_state_dict(rein.state_dict(), strict=False)
    inputs, samples = batch()
    expected = losses_of(rein, 3, inputs, samples)
    ours = losses_of(model, 3, inputs, samples)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    with torch.no_grad():
        scores = rein.eval().inference(inputs)
        assert torch.equal(whole.eval().inference(inputs), scores)


# ------------------------------------------------------------------------------------- gradients

def gradients(model, part=''):
    """Sum of the absolute gradient of each parameter that gets one."""
    losses = losses_of(model)
    sum(v for k, v in losses.items() if k.startswith(part) and 'loss' in k).backward()
    return {n: float(p.grad.abs().sum()) for n, p in model.named_parameters() if p.grad is not None}


def test_restoring_teaches_neither_gse_nor_injector_nor_dinov2():
    model = build(**styled())
    sums = gradients(model, 'mim.')
    assert not sums.keys() & model.frozen_names()
    silent = [value for name, value in sums.items() if 'gse' in name or 'injector' in name]
    assert len(silent) > 10  # in the batch, hence zero instead of absent
    assert not any(silent)
    for name, value in sums.items():
        if name.startswith(('mim_head.', 'prompt', 'backbone.reins.learnable')):
            assert value > 0, name


@pytest.mark.parametrize('on', [False, True])
@pytest.mark.parametrize('prompt', ['learnable', 'per_channel', 'none'])
def test_every_trained_parameter_learns_in_every_iteration(on, prompt):
    model = build(prompt=prompt, **styled(on))
    sums = gradients(model)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert sums.keys() == trained  # what DDP without find_unused_parameters asks for
    assert ('prompt' in trained) == (prompt != 'none')
    for name, value in sums.items():
        if name.startswith(('mim_head.', 'prompt', 'backbone.gse', 'backbone.injector.gamma')):
            assert value > 0, name


def test_batch_of_two_is_the_mean_of_its_images():
    model = build(mask={'mask_ratio': 1, 'block': 16}, **styled())
    inputs, samples = batch()
    both = losses_of(model, 0, inputs, samples)
    single = [losses_of(model, 0, inputs[i:i + 1], samples[i:i + 1]) for i in range(2)]
    for name in ('mim.loss_m', 'mim.loss_s', 'mim.loss_delta'):
        torch.testing.assert_close(both[name], (single[0][name] + single[1][name]) / 2)


class Tint(nn.Module):
    """Both style nets in one, with a weight that would learn if it could."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images, style=None):
        if style is None:
            return images.mean((2, 3)) * self.weight
        return images * (self.weight * style)[..., None, None]


def test_nothing_teaches_dinov2_or_the_style_nets():
    model = build(style={'kind': 'reinhard_lab', 'probability': 1, 'block': 8})
    nets = StyleNets(Tint(), Tint(), '')
    statistics = SimpleNamespace(sample=lambda n, *_: torch.rand(n, 3))
    model.style._loaded = nets, statistics
    sums = gradients(model)
    assert model.pictures(batch()[0])['X_S'].isfinite().all()
    assert sums['prompt'] > 0
    assert not sums.keys() & model.frozen_names()
    assert nets.predictor.weight.grad is None
    assert nets.transformer.weight.grad is None


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('checkpointing', [False, True])
def test_mixed_precision(checkpointing, dtype):
    model = build(backbone={'checkpointing': checkpointing}, **styled())
    with torch.autocast('cpu', dtype):
        losses = losses_of(model)
    total, _ = model.parse_losses(losses)
    assert total.dtype == torch.float32
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_geospatial_features_beyond_float16():
    model = build()
    with torch.no_grad():
        model.backbone.gse.convs[-2].weight.mul_(1e8)
    inputs, samples = batch()
    with torch.autocast('cpu', torch.float16):
        assert model.backbone.gse(inputs).max() > torch.finfo(torch.float16).max
        total, _ = model.parse_losses(losses_of(model, 0, inputs, samples))
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


# ---------------------------------------------------------------------- prediction and checkpoints

def test_prediction_needs_neither_style_nor_mim(tmp_path):
    model = build(style={'folder': tmp_path})  # without weights
    inputs, samples = batch()
    model.mim_head.forward = model.style.forward = model._mask = None
    with torch.no_grad():
        model.eval()(inputs, samples, mode='predict')
        model(inputs, mode='tensor')
    with pytest.raises(WeightsNotFoundError, match='style=none'):
        losses_of(model)


def test_checkpoint_loads_with_and_without_the_training_parts():
    model = build(style={})
    nn.init.normal_(model.prompt)
    model.mask_draws.advance()
    state = model.state_dict()
    assert {'prompt', 'mim_head.refine.weight'} <= state.keys()
    assert {name for name in state if 'style' in name} == {'style.draws.state'}
    same, lean = build(style={}), build(mim_head=None)
    plain = build('PEFTEncoderDecoder')
    for other in (same, lean, plain):
        other.load_state_dict(state, strict=True)
    assert torch.equal(same.prompt, model.prompt)
    assert same.mask_draws.state.tolist() == [model.mask_draws.state[0], 1]
    inputs, _ = batch()
    with torch.no_grad():
        scores = [m.eval().inference(inputs) for m in (model, same, lean, plain)]
    assert all(torch.equal(scores[0], other) for other in scores[1:])


def test_masks_are_new_in_each_iteration_and_not_those_of_the_style():
    model = build(mask={'mask_ratio': 0.5, 'block': 4}, style={'mask_ratio': 0.5, 'block': 4})
    image = torch.zeros(1, 3, *SIZE)
    model.style.draws.advance()
    masks = [model.style._masks(1, SIZE, image.device)]
    for _ in range(2):
        model.mask_draws.advance()
        masks.append(model._mask(image).keep)
    for a, b in zip(masks, masks[1:] + masks[:1], strict=True):
        assert abs(((a == b).float().mean()) - 0.5) < 0.15


def test_pictures_leave_no_trace():
    model, (inputs, samples) = build(**styled()).train(), batch()
    first = losses_of(model, 0, inputs, samples)
    model.mask_draws.state[1] -= 1
    shown = model.pictures(inputs)
    assert list(shown) == ['X_S', 'X_M', 'X_M restored']
    assert all(image.shape == inputs.shape for image in shown.values())
    again = losses_of(model, 0, inputs, samples)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert build(mim_head=None).pictures(inputs) == {}


def test_style_normalises_as_the_data_preprocessor():
    model = build(style={}, data_preprocessor={
        'type': 'SegDataPreProcessor', 'size': SIZE, 'mean': (1, 2, 3), 'std': (4, 5, 6)})
    assert model.style.mean.flatten().tolist() == [1, 2, 3]
    assert model.style.std.flatten().tolist() == [4, 5, 6]


def test_missing_training_parts_are_missing_in_training():
    with pytest.raises(RuntimeError, match=r'Missing key.*mim_head'):
        build().load_state_dict(build(mim_head=None).state_dict(), strict=True)


@pytest.mark.parametrize(('options', 'match'), [
    ({'prompt': 'image'}, r"model\.prompt='image' is unknown.*'per_channel'"),
    ({'data_preprocessor': {'type': 'SegDataPreProcessor', 'size_divisor': 16}}, 'crop_size'),
    ({'mask': {'mask_ratio': 1.5}}, 'mask_ratio=1.5')])
def test_bad_options(options, match):
    with pytest.raises(ConfigError, match=match):
        build(**options)


@pytest.mark.parametrize('size', 'sblg')
def test_configs_are_rein_with_the_whole_method(size):
    rein, whole = (Config.fromfile(CONFIGS / f'{name}_dinov2-{size}.py').model
                   for name in ('rein', 'crossearth'))
    added = {'mim_head', 'mask', 'prompt', 'style'}
    assert whole.keys() - rein.keys() == added
    assert {'gse', 'injector'} == whole.backbone.keys() - rein.backbone.keys()
    for part in ('gse', 'injector'):
        del whole.backbone[part]
    for part in rein.keys() - {'type'}:
        assert whole[part] == rein[part]


# ---------------------------------------------------------------------------------------- learning

@pytest.mark.parametrize('iterations', [60, pytest.param(200, marks=pytest.mark.slow)])
def test_restores_a_masked_tile(iterations):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing='ij')
    tile = torch.stack([3 * x, 3 * y, 2 * torch.sign(x * y)])[None]
    model, samples = build().train(), batch(1)[1]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 5e-3)
    totals = []
    for _ in range(iterations):
        total, _ = model.parse_losses(losses_of(model, 0, tile, samples))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.detach())
    assert sum(totals[-5:]) < 0.8 * sum(totals[:5])
    model.mask_draws.advance()
    masked = model._mask(tile)  # a mask never seen
    with torch.no_grad():
        restored = model.mim_head(model.backbone(masked.image, geospatial=False)[0], SIZE)
    holes = (1 - masked.keep).bool().expand_as(tile)
    error, before = ((image - tile)[holes].abs().mean() for image in (restored, masked.image))
    assert error < (0.6 if iterations < 200 else 0.35) * before


def train_five_iterations(rank, world_size, folder):
    """Train on this rank's half, or on both, of five batches; half of them are styled."""
    if world_size > 1:
        distributed.init_process_group(
            'gloo', f'file://{folder}/rendezvous', rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    rand = torch.rand

    def same_for_each_image(*shape, **_):
        """Random numbers that do not depend on how many images a process has."""
        return rand(shape[1:], generator=torch.Generator().manual_seed(0)).expand(shape).clone()

    torch.rand = same_for_each_image
    try:
        model = build(**styled()).train()
        model.style.draw = itertools.cycle([False, True]).__next__
        optimizer = OptimWrapper(torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad], lr=1e-2))
        wrapped = model if world_size == 1 else MMDistributedDataParallel(
            model, broadcast_buffers=False)
        for iteration in range(5):
            inputs, samples = batch()
            generator = torch.Generator().manual_seed(iteration)
            inputs = torch.randint(0, 256, inputs.shape, generator=generator, dtype=torch.uint8)
            mine = slice(rank, rank + 1) if world_size > 1 else slice(None)
            wrapped.train_step(
                {'inputs': list(inputs[mine]), 'data_samples': samples[mine]}, optimizer)
    finally:
        torch.rand = rand
    if rank == 0:
        torch.save(model.state_dict(), f'{folder}/{world_size}.pth')


def test_two_processes_train_like_one_with_both_batches(tmp_path):
    torch.manual_seed(0)
    start = build(**styled()).state_dict()
    train_five_iterations(0, 1, tmp_path)
    multiprocessing.spawn(train_five_iterations, (2, tmp_path), nprocs=2)
    one, two = (torch.load(tmp_path / f'{n}.pth', weights_only=True) for n in (1, 2))
    for state in (start, one, two):
        assert state.pop('mask_draws.state')[1] == (0 if state is start else 5)
    torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-4)
    for name in one.keys() - {'backbone.injector.attentions.0.key.bias'}:  # softmax ignores it
        learned = (one[name] - start[name]).norm()
        assert (two[name] - one[name]).norm() < 0.05 * learned, name
