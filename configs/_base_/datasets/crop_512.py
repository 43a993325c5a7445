# What all data sets in crops of 512 px share: the published augmentation, the loaders, the metric.
# A file beside this one names the data set; a setting over it names its `source` and `targets`.
# RandomCrop, RandomFlip and PhotoMetricDistortion are our own: the pixels of mmseg's in a fraction of their time.
crop_size = (512, 512)
meta_keys = (
    'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
    'flip_direction', 'reduce_zero_label', 'domain')
# short edge int(512 * 0.1 * x) for x = 5 ... 20
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(
        type='RandomChoiceResize',
        scales=[256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024],
        resize_type='ResizeShortestEdge',
        max_size=2048),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
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
    dataset=dict(split='train', pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', test_mode=True, pipeline=test_pipeline))
test_evaluator = dict(type='DomainIoUMetric')
