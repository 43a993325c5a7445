# CASID in crops of 1024 px; how to get it: crossearth/datasets/casid.py.
# A config for another source climate overrides train_dataloader.dataset.domains and
# test_evaluator.source only.
data_root = 'data/casid'
crop_size = (1024, 1024)
source = ('sub',)
domains = ('sub', 'tem', 'tms', 'trf')

meta_keys = (
    'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
    'flip_direction', 'reduce_zero_label', 'domain')
# the published augmentation: short edge int(1024 * 0.1 * x) for x = 5 ... 20
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(
        type='RandomChoiceResize',
        scales=[512, 614, 716, 819, 921, 1024, 1126, 1228, 1331, 1433, 1536, 1638, 1740, 1843,
                1945, 2048],
        resize_type='ResizeShortestEdge',
        max_size=4096),
    dict(type='RandomCrop', crop_size=(1024, 1024), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CASID', data_root=data_root, split='train', domains=source,
        pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CASID', data_root=data_root, split='test', domains=domains, test_mode=True,
        pipeline=test_pipeline))
test_evaluator = dict(type='DomainIoUMetric', source=source, domains=domains)
