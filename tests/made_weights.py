# SPDX-License-Identifier: Apache-2.0
"""Generated weights in the layouts of those who publish some, at tiny sizes."""

import json
import re

import torch

from crossearth.registry import MODELS

__all__ = ['TINY', 'as_timm', 'as_transformers', 'dinov2', 'dinov3_state', 'golden_state',
           'published_model', 'rvsa_state']

TINY = {'embed_dim': 16, 'depth': 4, 'num_heads': 2}


def dinov2(**kwargs):
    return MODELS.build({
        'type': 'DINOv2', 'arch': TINY, 'img_size': 64, 'out_indices': (0, 1, 2, 3), **kwargs})


def golden_state(golden):
    """The state dict of a published checkpoint: whole model, no GSE, no Injector."""
    return {key[2:]: torch.from_numpy(value) for key, value in golden.items()
            if key.startswith('w/')}


def published_model(golden, *, test_cfg=None, head=(), model=(), **backbone):
    """The segmentor that the golden tensors belong to."""
    c = json.loads(str(golden['config']))
    return MODELS.build({
        'type': 'PEFTEncoderDecoder', 'test_cfg': test_cfg, **dict(model),
        'backbone': {
            'type': 'DINOv2', 'img_size': c['img'], 'out_indices': c['out'],
            'arch': {
                'embed_dim': c['embed'], 'depth': c['depth'], 'num_heads': c['heads']},
            'adapter': {'type': 'LoRARein', 'num_tokens': c['tokens'], 'rank': c['lora'],
                        'query_dim': c['feat']},
            **backbone},
        'decode_head': {
            'type': 'ReinMask2FormerHead', 'in_channels': (c['embed'],) * 4,
            'num_classes': c['nc'], 'feat_channels': c['feat'], 'num_points': 64,
            'pixel_decoder': {
                'num_layers': c['pixel_layers'], 'num_heads': c['pixel_heads'],
                'ffn_channels': c['ffn_pixel'], 'num_groups': c['gn_groups']},
            'transformer_decoder': {
                'num_layers': c['decoder_layers'], 'num_heads': c['decoder_heads'],
                'ffn_channels': c['ffn_decoder']},
            **dict(head)}})


def as_transformers(state):
    """Names of `Dinov2Model`: written from its documentation, as the inverse of what we read."""
    stem = {
        'cls_token': 'embeddings.cls_token', 'mask_token': 'embeddings.mask_token',
        'register_tokens': 'embeddings.register_tokens',
        'pos_embed': 'embeddings.position_embeddings',
        'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
        'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
        'norm.weight': 'layernorm.weight', 'norm.bias': 'layernorm.bias'}
    out = {}
    for name, tensor in state.items():
        if '.attn.qkv.' in name:
            for part, rows in zip(('query', 'key', 'value'), tensor.chunk(3), strict=True):
                out[name.replace('attn.qkv', f'attention.attention.{part}')] = rows
            continue
        name = stem.get(name, name).replace('attn.proj', 'attention.output.dense')
        name = re.sub(r'ls([12])\.gamma', r'layer_scale\1.lambda1', name)
        out[name.replace('mlp.w12', 'mlp.weights_in').replace('mlp.w3', 'mlp.weights_out')] = tensor
    return {name.replace('blocks.', 'encoder.layer.'): t.clone() for name, t in out.items()}


def as_timm(state):
    """Names of timm: with registers, the class token takes its position in."""
    out = {name.replace('mlp.w12', 'mlp.fc1').replace('mlp.w3', 'mlp.fc2'): tensor
           for name, tensor in state.items() if name != 'mask_token'}
    if 'register_tokens' in out:
        out['reg_token'] = out.pop('register_tokens')
        out['cls_token'] = out['cls_token'] + out['pos_embed'][:, :1]
        out['pos_embed'] = out['pos_embed'][:, 1:]
    return out


def dinov3_state(layout, dim=16, depth=2, bias=0.0):
    """A DINOv3 in the names of `timm`, `meta` or `transformers`, and the same in timm's."""
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g)

    timm = {'cls_token': rand(1, 1, dim), 'reg_token': rand(1, 4, dim),
            'patch_embed.proj.weight': rand(dim, 3, 16, 16), 'patch_embed.proj.bias': rand(dim),
            'norm.weight': rand(dim), 'norm.bias': rand(dim)}
    theirs = {
        'timm': dict(timm),
        'meta': {'cls_token': timm['cls_token'], 'storage_tokens': timm['reg_token'],
                 'mask_token': rand(1, dim), 'rope_embed.periods': rand(4)},
        'transformers': {'embeddings.cls_token': timm['cls_token'],
                         'embeddings.register_tokens': timm['reg_token'],
                         'embeddings.mask_token': rand(1, 1, dim)}}
    for kind in ('weight', 'bias'):
        theirs['meta'][f'patch_embed.proj.{kind}'] = timm[f'patch_embed.proj.{kind}']
        theirs['transformers'][f'embeddings.patch_embeddings.{kind}'] = timm[
            f'patch_embed.proj.{kind}']
        for other in ('meta', 'transformers'):
            theirs[other][f'norm.{kind}'] = timm[f'norm.{kind}']
    names = {  # timm -> Meta, transformers
        'norm1': ('norm1', 'norm1'), 'norm2': ('norm2', 'norm2'),
        'attn.proj': ('attn.proj', 'attention.o_proj'), 'mlp.fc1': ('mlp.fc1', 'mlp.up_proj'),
        'mlp.fc2': ('mlp.fc2', 'mlp.down_proj')}
    shapes = {'norm1': (dim,), 'norm2': (dim,), 'attn.proj': (dim, dim),
              'mlp.fc1': (4 * dim, dim), 'mlp.fc2': (dim, 4 * dim)}
    for i in range(depth):
        meta, hf = theirs['meta'], theirs['transformers']
        for name, (m, h) in names.items():
            for kind in ('weight', 'bias'):
                shape = shapes[name] if kind == 'weight' else shapes[name][:1]
                tensor = rand(*shape)
                timm[f'blocks.{i}.{name}.{kind}'] = tensor
                meta[f'blocks.{i}.{m}.{kind}'] = hf[f'layer.{i}.{h}.{kind}'] = tensor
        for k in '12':
            gamma = timm[f'blocks.{i}.gamma_{k}'] = rand(dim)
            meta[f'blocks.{i}.ls{k}.gamma'] = hf[f'layer.{i}.layer_scale{k}.lambda1'] = gamma
        qkv = timm[f'blocks.{i}.attn.qkv.weight'] = rand(3 * dim, dim)
        meta[f'blocks.{i}.attn.qkv.weight'] = qkv
        meta[f'blocks.{i}.attn.qkv.bias'] = torch.full((3 * dim,), bias)
        meta[f'blocks.{i}.attn.qkv.bias_mask'] = torch.ones(3 * dim)
        for part, rows in zip('qkv', qkv.chunk(3), strict=True):
            hf[f'layer.{i}.attention.{part}_proj.weight'] = rows.clone()
        for part in 'qv':
            hf[f'layer.{i}.attention.{part}_proj.bias'] = torch.full((dim,), bias)
    theirs['timm'] = dict(timm)
    return theirs[layout], timm


def rvsa_state(dim=16, depth=4, heads=2, interval=2, grid=14, class_token=False):
    """The encoder of MTP in the layout of its files, written from their list of tensors."""
    width, hidden = dim // heads, 4 * dim
    shapes = {
        'pos_embed': (1, grid**2 + class_token, dim), 'patch_embed.proj.weight': (dim, 3, 16, 16),
        'patch_embed.proj.bias': (dim,), **({'cls_token': (1, 1, dim)} if class_token else {})}
    for i in range(depth):
        block = {'norm1': (dim,), 'norm2': (dim,), 'attn.qkv': (3 * dim, dim),
                 'attn.proj': (dim, dim), 'mlp.fc1': (hidden, dim), 'mlp.fc2': (dim, hidden)}
        bare = {f'attn.full_attn_rel_pos_{axis}': (2 * grid - 1, width) for axis in 'hw'}
        if (i + 1) % interval:
            block |= {f'attn.sampling_{kind}.2': (count * heads, dim, 1, 1)
                      for kind, count in (('offsets', 2), ('scales', 2), ('angles', 1))}
            bare = {'attn.rel_pos_h': (13, width), 'attn.rel_pos_w': (13, width),
                    'attn.relative_position_bias_table': (169, heads),
                    'attn.relative_position_index': (49, 49)}
        for name, shape in block.items():
            bare |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
        shapes |= {f'blocks.{i}.{name}': shape for name, shape in bare.items()}
    for name in ('fpn1.0', 'fpn1.3', 'fpn2.0'):
        shapes |= {f'{name}.weight': (dim, dim, 2, 2), f'{name}.bias': (dim,)}
    shapes |= {'fpn1.1.ln.weight': (dim,), 'fpn1.1.ln.bias': (dim,)}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
