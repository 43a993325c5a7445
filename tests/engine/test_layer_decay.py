# SPDX-License-Identifier: Apache-2.0
"""Learning rates and weight decays by depth, parameter by parameter."""

from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from torch import nn

from crossearth.engine.config import load_config
from crossearth.engine.layer_decay import LayerDecayOptimWrapperConstructor
from crossearth.errors import ConfigError
from crossearth.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

CONFIGS = Path(__file__).parents[2] / 'configs'
CONFIG = {'optimizer': {'type': 'SGD', 'lr': 1.0, 'weight_decay': 0.01}}


def model(kind='RVSA', **backbone):
    interval = {'interval': 2} if kind == 'RVSA' else {}
    return MODELS.build(ConfigDict(
        type='PEFTEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        backbone=dict(type=kind, arch=dict(embed_dim=16, depth=4, num_heads=2, **interval),
                      img_size=64, out_indices=(0, 1, 2, 3), weights='random', frozen=False,
                      **backbone),
        decode_head=dict(type='LinearHead', in_channels=[16] * 4, num_classes=3)))


def options(built, rate=0.5, **custom_keys):
    """Learning rate and weight decay of each parameter by name."""
    wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build({
        'type': 'LayerDecayOptimWrapperConstructor', 'optim_wrapper_cfg': CONFIG,
        'paramwise_cfg': {'layer_decay_rate': rate, 'custom_keys': custom_keys}})(built)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    return {names[id(parameter)]: (group['lr'], group['weight_decay'])
            for group in wrapper.optimizer.param_groups for parameter in group['params']}


def test_rates_fall_towards_the_image():
    found = options(model(adapter={'type': 'LoRA', 'rank': 2}))
    assert {name.partition('.')[0] for name in found} == {'backbone', 'decode_head'}
    for name, (lr, _) in found.items():
        if name.startswith('backbone.blocks.'):
            assert lr == 0.5 ** (4 - int(name.split('.')[2])), name
        elif name.startswith(('backbone.patch_embed.', 'backbone.pos_embed')):
            assert lr == 0.5**5, name
        else:  # pyramid, adapter, head
            assert lr == 1.0, name


def test_norms_biases_and_positions_are_not_decayed():
    found = options(model())
    decayed = {name.removeprefix('backbone.') for name, (_, decay) in found.items() if decay}
    kinds = {'.'.join(part for part in name.split('.') if not part.isdigit()) for name in decayed}
    assert kinds == {
        'patch_embed.proj.weight', 'blocks.attn.qkv.weight', 'blocks.attn.proj.weight',
        'blocks.attn.sampling_offsets.weight', 'blocks.attn.sampling_scales.weight',
        'blocks.attn.sampling_angles.weight', 'blocks.mlp.fc1.weight', 'blocks.mlp.fc2.weight',
        'fpn1.weight', 'fpn2.weight', 'decode_head.conv_seg.weight'}


def test_custom_keys_multiply_on_top_and_frozen_are_left_out():
    built = model('DINOv2')
    built.backbone.blocks[0].requires_grad_(False)
    found = options(built, decode_head={'lr_mult': 10.0}, **{'blocks.3': {'lr_mult': 0.1}})
    assert found['decode_head.conv_seg.weight'][0] == 10.0
    assert found['backbone.blocks.3.mlp.fc1.weight'][0] == pytest.approx(0.05)
    assert found['backbone.cls_token'] == (0.5**5, 0.0)
    assert not any(name.startswith('backbone.blocks.0.') for name in found)


def test_the_wrapped_model_of_several_processes():
    wrapped = nn.Module()
    wrapped.module = model()
    build = LayerDecayOptimWrapperConstructor(CONFIG, {'layer_decay_rate': 0.5})
    assert min(group['lr'] for group in build(wrapped).optimizer.param_groups) == 0.5**5


@pytest.mark.parametrize('rate', [None, 0, 1.1, 'a'])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match=r'layer_decay_rate is .*\(0, 1\]'):
        LayerDecayOptimWrapperConstructor(CONFIG, {'layer_decay_rate': rate})


def test_a_backbone_without_blocks_is_refused():
    built = nn.Module()
    built.backbone = nn.Conv2d(3, 4, 1)
    with pytest.raises(ConfigError, match='Conv2d has no blocks to decay over'):
        options(built)


def test_the_recipe_of_mtp():
    cfg = load_config(CONFIGS / 'mtp/casid_sub2sub.py')
    optimizer, (warm_up, cosine) = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 6e-5, 0.05)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.9
    assert (warm_up.start_factor, warm_up.begin, warm_up.end) == (1e-6, 0, cosine.begin)
    assert cosine.end == cosine.begin + cosine.T_max == cfg.train_cfg.max_iters == 80000
