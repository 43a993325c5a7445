# BlueMarble-Climate: `python tools/prepare_bluemarble.py` builds it in data_root.
# A config for another source climate overrides train_dataloader.dataset.domains and
# test_evaluator.source only.
data_root = 'data/bluemarble_climate'
crop_size = (128, 128)
source = ('subtropical_monsoon',)
domains = ('subtropical_monsoon', 'temperate_monsoon', 'tropical_monsoon', 'tropical_rainforest')

meta_keys = (
    'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
    'flip_direction', 'reduce_zero_label', 'domain')
# only enlarge: a tile is as small as the crop, so shrinking would add padding
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

# tiles this small load faster in the training process than workers hand them over
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BlueMarbleClimate', data_root=data_root, split='train', domains=source,
        pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BlueMarbleClimate', data_root=data_root, split='test', domains=domains,
        test_mode=True, pipeline=test_pipeline))
test_evaluator = dict(type='DomainIoUMetric', source=source, domains=domains)
