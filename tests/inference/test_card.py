# SPDX-License-Identifier: Apache-2.0
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.errors import BundleError
from crossearth.inference.card import Card, check_types, read_card
from crossearth.weight_files import file_sha256

BACKBONE = {'type': 'DINOv2', 'weights': 'random'}
GOOD = {'model': {'type': 'PEFTEncoderDecoder', 'backbone': BACKBONE},
        'classes': ['a', 'b'], 'palette': [[0, 0, 0], [255, 0, 0]], 'crop': [512, 512]}


def bundle(folder, **changes):
    """A folder whose card passes, but for `changes`."""
    weights = folder / 'model.safetensors'
    weights.write_bytes(b'weights')
    content = {'format': 'crossearth-bundle', 'version': 1, 'sha256': file_sha256(weights), **GOOD,
               **changes}
    (folder / 'card.json').write_text(json.dumps(content))
    return folder


def test_a_card_is_read_as_it_was_written(tmp_path):
    (tmp_path / 'model.safetensors').write_bytes(b'weights')
    card = Card(**GOOD, gsd_m=0.5, metrics={'mIoU': 51.2}, training_domain=['zanzibar'],
                sha256=file_sha256(tmp_path / 'model.safetensors'))
    card.write(tmp_path)
    read = read_card(tmp_path)
    assert json.loads(json.dumps(read.__dict__)) == json.loads(json.dumps(card.__dict__))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'classes': []}, 'classes must be 1 to 254'),
    ({'classes': ['a', 'a']}, 'different names'),
    ({'palette': [[0, 0, 0]]}, 'palette must be'),
    ({'palette': [[0, 0, 300], [0, 0, 0]]}, 'palette must be'),
    ({'crop': [512]}, 'crop must be'),
    ({'crop': [True, 512]}, 'crop must be'),
    ({'std': [1, 0, 1]}, 'one positive number'),
    ({'mean': [1, 2]}, 'one number for each band'),
    ({'output': 'magic'}, 'scores or logits'),
    ({'gsd_m': -1}, 'size in metres'),
    ({'version': 2}, 'version 2'),
    ({'format': 'other'}, 'no card of a model'),
    ({'surprise': 1}, 'unknown fields'),
    ({'model': {'type': ['os', 'system']}}, r'model\.type must be a name'),
    ({'model': {'type': 'A', 'init_cfg': {'checkpoint': 'http://evil'}}}, 'init_cfg'),
    ({'model': {'type': 'A', 'backbone': {'weights': '/etc/passwd'}}}, 'names another file'),
    ({'model': {'type': 'A', 'stages': [{'__class__': 1}]}}, 'may not'),
    ({'sha256': 'f' * 64}, 'damaged or belongs to another card'),
])
def test_a_card_that_breaks_the_schema_is_refused(tmp_path, changes, message):
    with pytest.raises(BundleError, match=message):
        read_card(bundle(tmp_path, **changes))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(BundleError, match='crossearth export bundle'):
        read_card(tmp_path)
    (bundle(tmp_path) / 'card.json').write_text('{"format": ')
    with pytest.raises(BundleError, match='no valid JSON'):
        read_card(tmp_path)
    (tmp_path / 'card.json').write_text('[' * 100_000)
    with pytest.raises(BundleError, match='no valid JSON'):
        read_card(tmp_path)
    (bundle(tmp_path) / 'model.safetensors').unlink()
    with pytest.raises(BundleError, match=r'no model\.safetensors'):
        read_card(tmp_path)


def test_types_must_be_models_of_ours():
    class Foreign:
        """Registered by someone else."""

    check_types({'type': 'Mine'}, {'Mine': type('Mine', (), {'__module__': 'crossearth.models.x'})
                                   }.get)
    for found in ({'Mine': Foreign}, {}):
        with pytest.raises(BundleError, match=r'model\.head\.type'):
            check_types({'head': {'type': 'Mine'}}, found.get)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=64), st.integers(0, 400), st.booleans())
def test_any_bytes_in_a_card_give_an_error_of_ours_or_a_card(tmp_path_factory, junk, at, insert):
    folder = bundle(tmp_path_factory.mktemp('bundle'))
    content = (folder / 'card.json').read_bytes()
    at = min(at, len(content))
    content = content[:at] + junk + content[at if insert else at + len(junk):]
    (folder / 'card.json').write_bytes(content)
    with contextlib.suppress(BundleError):
        assert isinstance(read_card(folder), Card)
