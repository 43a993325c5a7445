# SPDX-License-Identifier: Apache-2.0
"""Files of ResNets and Mix Transformers: recognised, loaded completely, refused if another's."""

import pytest
import torch
import torch.nn.functional as F

from crossearth.errors import CheckpointError
from crossearth.models.backbones import MiT, ResNet
from crossearth.weights import SOURCES, fetch, load_backbone, recognise
from crossearth.weights.checkpoints import load_segmentor

HEADS, REDUCTIONS, BLOCKS, WIDTH = (1, 2, 5, 8), (8, 4, 2, 1), (2, 2, 2, 2), 32


def segformer_state():
    """A random Mix Transformer B0 under the names of SegFormer's release."""
    g = torch.Generator().manual_seed(0)
    state = {}

    def add(name, *shape):
        state[f'{name}.weight'] = 0.1 * torch.randn(*shape, generator=g) + (len(shape) == 1)
        state[f'{name}.bias'] = 0.1 * torch.randn(shape[0], generator=g)

    channels = 3
    for n, (heads, reduction, blocks) in enumerate(
            zip(HEADS, REDUCTIONS, BLOCKS, strict=True), start=1):
        dim, side = WIDTH * heads, 7 if n == 1 else 3
        add(f'patch_embed{n}.proj', dim, channels, side, side)
        add(f'patch_embed{n}.norm', dim)
        for index in range(blocks):
            block = f'block{n}.{index}'
            for name, *shape in (
                    ('norm1', dim), ('attn.q', dim, dim), ('attn.kv', 2 * dim, dim),
                    ('attn.proj', dim, dim), ('norm2', dim), ('mlp.fc1', 4 * dim, dim),
                    ('mlp.dwconv.dwconv', 4 * dim, 1, 3, 3), ('mlp.fc2', dim, 4 * dim)):
                add(f'{block}.{name}', *shape)
            if reduction > 1:
                add(f'{block}.attn.sr', dim, dim, reduction, reduction)
                add(f'{block}.attn.norm', dim)
        add(f'norm{n}', dim)
        channels = dim
    add('head', 1000, channels)
    return state


def segformer(state, image):
    """The network as its paper describes it, on tensors of its release; gives its four maps."""
    def apply(function, name, x, **options):
        return function(x, state[f'{name}.weight'], state[f'{name}.bias'], **options)

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def to_map(x, size):
        return x.transpose(1, 2).unflatten(2, size)

    maps = []
    for n, (heads, reduction, blocks) in enumerate(
            zip(HEADS, REDUCTIONS, BLOCKS, strict=True), start=1):
        stride, padding = (4, 3) if n == 1 else (2, 1)
        image = apply(F.conv2d, f'patch_embed{n}.proj', image, stride=stride, padding=padding)
        size = image.shape[-2:]
        x = norm(f'patch_embed{n}.norm', image.flatten(2).transpose(1, 2))
        for index in range(blocks):
            block = f'block{n}.{index}'
            y = source = norm(f'{block}.norm1', x)
            if reduction > 1:
                coarse = apply(F.conv2d, f'{block}.attn.sr', to_map(y, size), stride=reduction)
                source = norm(f'{block}.attn.norm', coarse.flatten(2).transpose(1, 2))
            q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (
                apply(F.linear, f'{block}.attn.q', y),
                *apply(F.linear, f'{block}.attn.kv', source).chunk(2, dim=2)))
            weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
            mixed = (weights @ v).transpose(1, 2).flatten(2)
            x = x + apply(F.linear, f'{block}.attn.proj', mixed)
            y = apply(F.linear, f'{block}.mlp.fc1', norm(f'{block}.norm2', x))
            y = apply(F.conv2d, f'{block}.mlp.dwconv.dwconv', to_map(y, size), padding=1,
                      groups=y.shape[-1])
            x = x + apply(F.linear, f'{block}.mlp.fc2', F.gelu(y.flatten(2).transpose(1, 2)))
        image = to_map(norm(f'norm{n}', x), size)
        maps.append(image)
    return maps


@pytest.fixture
def saved(tmp_path):
    def save(state, name='x.pth'):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


def test_release_of_segformer_computes_the_same(saved):
    state = segformer_state()
    mit = MiT('b0')
    report = load_backbone(mit, saved({'state_dict': state}))
    assert not report.missing
    assert report.unexpected == ('head.weight', 'head.bias')
    image = torch.randn(2, 3, 70, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = mit.eval()(image)
        theirs = segformer(state, image)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_mmsegmentations_names_are_ours(saved):
    source, target = MiT('b0', weights='random'), MiT('b0')
    report = load_backbone(target, saved(source.state_dict()))
    assert report.matched == report.total == len(source.state_dict())
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


@pytest.mark.parametrize('counters', [True, False])
def test_resnet_takes_running_statistics_and_old_files_without_counters(saved, counters):
    state = ResNet(50, weights='random').state_dict()
    state['layer3.2.bn2.running_var'] += 3
    target = ResNet(50)
    report = load_backbone(target, saved({
        name: tensor for name, tensor in state.items()
        if counters or not name.endswith('num_batches_tracked')} | {'fc.weight': torch.ones(9, 1)}))
    assert report.unexpected == ('fc.weight',)
    assert target.weights_loaded
    assert torch.equal(target.layer3[2].bn2.running_var, state['layer3.2.bn2.running_var'])


@pytest.mark.parametrize('lacking', ['layer3.2.bn2.running_var', 'stem.1.running_mean'])
def test_running_statistics_must_not_be_missing(saved, lacking):
    state = ResNet(18, weights='random').state_dict()
    lacking = lacking.replace('3.2', '3.1')
    del state[lacking]
    with pytest.raises(CheckpointError, match=f'only in part.*missing {lacking}'):
        load_backbone(ResNet(18), saved(state))


@pytest.mark.parametrize(('file', 'backbone'), [
    (lambda: ResNet(101, weights='random'), lambda: ResNet(50)),
    (lambda: MiT('b3', weights='random'), lambda: MiT('b2'))])
def test_a_deeper_network_is_refused_though_all_tensors_fit(saved, file, backbone):
    with pytest.raises(CheckpointError, match='has blocks that the backbone lacks: layer'):
        load_backbone(backbone(), saved(file().state_dict()))


def test_a_narrower_network_is_refused(saved):
    with pytest.raises(CheckpointError, match=r'another architecture.*is \(32,'):
        load_backbone(MiT('b1'), saved(segformer_state()))


@pytest.mark.parametrize(('build', 'kind', 'signature'), [
    *((lambda depth=depth: ResNet(depth, weights='random'), 'resnet', f'resnet{depth}_v1c')
      for depth in (18, 34, 50, 101)),
    *((lambda arch=arch: MiT(arch, weights='random'), 'mit', f'mit_{arch}')
      for arch in ('b0', 'b1', 'b2', 'b3', 'b4', 'b5'))])
def test_architectures_are_recognised(build, kind, signature):
    with torch.device('meta'):
        state = build().state_dict()
    found = recognise(state)
    assert (found.kind, found.signature) == (kind, signature)
    assert signature in found.title
    assert found.num_classes is None


def test_unknown_sizes_and_damaged_files():
    state = segformer_state()
    assert recognise(state).title == 'Mix Transformer mit_b0, named as in SegFormer'
    fewer = {name: tensor for name, tensor in state.items() if not name.startswith('block3.1.')}
    assert recognise(fewer).title.startswith('Mix Transformer of an unknown size')
    del state['block1.0.attn.kv.bias']
    with pytest.raises(CheckpointError, match='or are incomplete'):
        recognise(state)
    state['patch_embed1.proj.weight'] = torch.tensor(1.0)
    assert recognise({'layers.0.0.projection.weight': torch.tensor(1.0)}).signature == ''


def test_published_files_and_their_licence(tmp_path, monkeypatch, saved):
    for arch in ('b0', 'b5'):
        source = SOURCES[f'mit_{arch}']
        assert 'non-commercial' in source.licence
        assert 'non-commercial' in source.note
        assert source.url.endswith(source.file_name)
    resnet = SOURCES['resnet18_v1c']
    assert resnet.sha256[:8] == resnet.file_name.rpartition('-')[2][:8]
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'weights'))
    taken = fetch.add(saved(segformer_state(), 'mit_b0.pth'))
    assert taken.name == SOURCES['mit_b0'].file_name


@pytest.mark.parametrize('frozen', [True, False])
def test_checkpoints_of_segmentors(saved, frozen):
    from crossearth.registry import MODELS

    pretrained = saved(segformer_state(), 'mit.pth')

    def build():
        return MODELS.build({
            'type': 'PEFTEncoderDecoder',
            'backbone': {
                'type': 'MiT', 'arch': 'b0', 'weights': str(pretrained), 'frozen': frozen},
            'decode_head': {'type': 'FCNHead', 'in_channels': 256, 'channels': 8, 'num_classes': 3,
                            'norm_cfg': {'type': 'BN'}}})

    first, second = build(), build()
    load_backbone(first.backbone, pretrained)
    with torch.no_grad():
        for parameter in first.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    state = first.state_dict()
    assert any(name.startswith('backbone.') for name in state) is not frozen
    loaded = load_segmentor(second, saved({'state_dict': state, 'meta': {}}, 'run.pth'))
    assert loaded.has_backbone is not frozen
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(first.eval()._forward(image), second.eval()._forward(image))
