# SPDX-License-Identifier: Apache-2.0
"""What a report says about its run: method, config hash, seed, checkpoint."""

import hashlib
import re
from datetime import date
from pathlib import Path

import pytest
from mmengine.config import Config

from crossearth.engine.config import load_config
from crossearth.engine.run_facts import (
    checkpoint_facts,
    config_facts,
    machine_facts,
    method_name,
)

ROOT = Path(__file__).resolve().parents[2]
WHOLE = {
    'decode_head': {'type': 'ReinMask2FormerHead'}, 'mim_head': {'type': 'MIMHead'},
    'backbone': {'adapter': {'type': 'LoRARein'}, 'injector': {'dim': 8}, 'frozen': True},
    'style': {'type': 'StyleInjection'}}
REIN = {**WHOLE, 'mim_head': None, 'style': None,
        'backbone': {'adapter': {'type': 'LoRARein'}, 'frozen': True}}


@pytest.mark.parametrize(('model', 'name'), [
    (WHOLE, 'CrossEarth'),
    (REIN, 'Rein'),
    ({**WHOLE, 'style': None}, 'Rein + GSE + MIM'),
    ({**REIN, 'backbone': {'adapter': {'type': 'LoRARein', 'link_token_to_query': False}}},
     'Rein, own queries'),
    ({**WHOLE, 'style': {'kind': 'none'}}, 'Rein + GSE + MIM'),
    ({**WHOLE, 'mim_head': None, 'style': None}, 'Rein + GSE'),
    ({'decode_head': {'type': 'Mask2FormerHead'}, 'backbone': {'frozen': True}}, 'frozen backbone'),
    ({'decode_head': {'type': 'Mask2FormerHead'}, 'backbone': {}}, 'full fine-tuning'),
    ({'decode_head': {'type': 'DAFormerHead'}, 'backbone': {}}, 'DAFormer'),
    ({'type': 'HRDASegmentor', 'decode_head': {'type': 'DAFormerHead'}}, 'HRDA'),
    ({'decode_head': {'type': 'mmseg.ASPPHead'}, 'backbone': {'type': 'ResNet'}}, 'DeepLabv3'),
    ({'decode_head': {'type': 'UPerHead'}, 'backbone': {'type': 'RVSA'}}, 'MTP'),
    ({**WHOLE, 'backbone': {'type': 'RVSA'}}, 'CrossEarth on MTP'),
    ({**REIN, 'backbone': {'adapter': {'type': 'LoRA'}, 'frozen': True}}, 'LoRA'),
    ({**WHOLE, 'backbone': {'adapter': {'type': 'LoRA'}, 'frozen': True}}, 'LoRA + MIM + style'),
])
def test_methods(model, name):
    assert method_name(model) == name


def test_machine_and_commit():
    facts = machine_facts()
    assert re.fullmatch(r'.*\S', facts['machine'])
    assert date.fromisoformat(facts['date']) <= date.today()
    if (ROOT / '.git').exists():
        assert re.fullmatch(r'[0-9a-f]{7,40}(-dirty)?', facts['commit'])


@pytest.mark.parametrize(('path', 'name'), [
    ('crossearth/casid_sub2tem', 'CrossEarth'), ('rein/casid_sub2tem', 'Rein'),
    ('demo/frozen_subtropical_monsoon', 'frozen backbone')])
def test_shipped_configs(path, name):
    facts = config_facts(load_config(ROOT / f'configs/{path}.py'))
    assert facts['method'] == name
    assert facts['config'] == path.rsplit('/', 1)[1]


def facts_with(**changes):
    config = Config({
        'model': REIN, 'randomness': {'seed': 1}, 'work_dir': 'a',
        'train_dataloader': {'dataset': {'data_root': 'here', 'domains': ['dry']}}})
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config_facts(config)


@pytest.mark.parametrize('change', [
    {'randomness__seed': 2}, {'work_dir': 'b'}, {'launcher': 'pytorch'}, {'resume': True},
    {'train_dataloader__dataset__data_root': 'there'}])
def test_hash_does_not_depend_on_where_and_which_seed(change):
    assert facts_with(**change)['config_sha256'] == facts_with()['config_sha256']


@pytest.mark.parametrize('change', [
    {'model__decode_head__type': 'Mask2FormerHead'},
    {'train_dataloader__dataset__domains': ['wet']}, {'load_from': 'x.pth'}])
def test_hash_depends_on_the_experiment(change):
    assert facts_with(**change)['config_sha256'] != facts_with()['config_sha256']


def test_seed_and_name():
    assert (facts_with(randomness__seed=7)['seed'], facts_with()['config']) == (7, 'unnamed')


def test_a_checkpoint_tells_about_its_training(tmp_path):
    path = tmp_path / 'iter_9.pth'
    path.write_bytes(b'weights')
    meta = {'seed': 3, 'run': {'config_sha256': 'abc', 'method': 'Rein', 'config': 'trained'}}
    digest = hashlib.sha256(b'weights').hexdigest()
    assert checkpoint_facts(path, meta) == {
        'checkpoint': 'iter_9.pth', 'checkpoint_sha256': digest, 'seed': 3,
        'config_sha256': 'abc', 'method': 'Rein'}
    # a published checkpoint tells nothing: config and method are those of the test
    assert checkpoint_facts(path, {}) == {
        'checkpoint': 'iter_9.pth', 'checkpoint_sha256': digest, 'seed': None}
