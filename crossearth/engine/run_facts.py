# SPDX-License-Identifier: Apache-2.0
"""What a number in a table must be traced back to: config, method, seed, checkpoint.

Training writes the facts of its config into every checkpoint (`meta['run']`), a test reads them
there and writes them into its report.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from crossearth.weights import file_sha256

__all__ = ['checkpoint_facts', 'config_facts', 'machine_facts', 'method_name']

SEGMENTORS = {'HRDASegmentor': 'HRDA'}
BACKBONES = {'RVSA': 'MTP'}
HEADS = {
    'ASPPHead': 'DeepLabv3', 'mmseg.ASPPHead': 'DeepLabv3', 'DeepLabV2Head': 'DeepLabv2',
    'LinearHead': 'linear head'}

# where files lie and which seed is drawn make no other experiment
NOT_HASHED = frozenset({'data_root', 'launcher', 'resume', 'seed', 'work_dir'})


def config_facts(cfg: Config) -> dict[str, Any]:
    """Describe a completed config.

    Args:
        cfg: The config, before anything is left out of it for a test.

    Returns:
        `config` (name of the file), `config_sha256` (of all that makes the experiment: neither the
        seed nor where files lie), `method`, `seed`.
    """
    text = json.dumps(_hashed(cfg.to_dict()), sort_keys=True, default=repr)
    return {
        'config': Path(cfg.filename).stem if cfg.filename else 'unnamed',
        'config_sha256': hashlib.sha256(text.encode()).hexdigest(),
        'method': method_name(cfg.model),
        'seed': (cfg.get('randomness') or {}).get('seed')}


def checkpoint_facts(path: str | Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a checkpoint that is tested, by its own account of its training where it has one.

    Args:
        path: The checkpoint.
        meta: What it holds under `meta`.

    Returns:
        `checkpoint` (name of the file), `checkpoint_sha256`, `seed` (None if it does not say) and,
        if it says them, `config_sha256` and `method` of its training.
    """
    told = meta.get('run', {})
    return {
        'checkpoint': Path(path).name, 'checkpoint_sha256': file_sha256(Path(path)),
        'seed': meta.get('seed'),
        **{key: told[key] for key in ('config_sha256', 'method') if key in told}}


def method_name(model: Mapping[str, Any]) -> str:
    """Name the method that the config of a model describes.

    `Rein` and `CrossEarth` as in the paper; what lies between as the sum of its parts, such as
    `Rein + GSE`; what has a decode head of its own by that, such as `DAFormer`. Where Rein's tokens
    do not make the head's queries, the name says so.
    """
    backbone, head = model.get('backbone') or {}, str((model.get('decode_head') or {}).get('type'))
    parts = [name for name, part in (
        ('GSE', backbone.get('injector')), ('MIM', model.get('mim_head')),
        ('style', (model.get('style') or {}).get('kind', True) != 'none' and model.get('style'))
    ) if part]
    adapter = backbone.get('adapter') or {}
    kind = str(adapter.get('type', ''))
    method = SEGMENTORS.get(str(model.get('type'))) or BACKBONES.get(str(backbone.get('type')))
    if method is None and not head.endswith('Mask2FormerHead'):
        method = HEADS.get(head, head.removesuffix('Head'))
    if method == 'MTP' and {'MIM', 'style'} <= {*parts}:
        return 'CrossEarth on MTP'
    if method is None and kind.endswith('Rein'):
        name = 'CrossEarth' if len(parts) == 3 else ' + '.join(['Rein', *parts])
        return name if adapter.get('link_token_to_query', True) else f'{name}, own queries'
    if method is None:
        method = kind or ('' if parts else (
            'frozen backbone' if backbone.get('frozen') else 'full fine-tuning'))
    return ' + '.join([*([method] if method else []), *parts])


def machine_facts() -> dict[str, Any]:
    """Where and when a number is measured: machine, versions, date, and commit of this code."""
    git = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--exclude', '*'], capture_output=True,
        text=True, check=False, cwd=Path(__file__).parent)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        'machine': gpu or f'{os.cpu_count()} cores of {_processor()}',
        'torch': torch.__version__, 'python': platform.python_version(),
        'date': str(date.today()), 'commit': git.stdout.strip() or None}


def _processor() -> str:
    """Name of the processor, as far as the system tells it."""
    facts = Path('/proc/cpuinfo')
    for line in facts.read_text().splitlines() if facts.is_file() else ():
        key, _, value = line.partition(':')
        if key.strip() == 'model name':
            return value.strip()
    return platform.processor() or platform.machine()


def _hashed(node: Any) -> Any:
    """The parts of a config that make the experiment."""
    if isinstance(node, Mapping):
        return {str(k): _hashed(v) for k, v in node.items() if k not in NOT_HASHED}
    return [_hashed(item) for item in node] if isinstance(node, list | tuple) else node
