# What all data sets in crops of 1024 px share: as with 512 px, the augmentation in twice the size.
_base_ = './crop_512.py'
crop_size = (1024, 1024)
# short edge int(1024 * 0.1 * x) for x = 5 ... 20
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(
        type='RandomChoiceResize',
        scales=[512, 614, 716, 819, 921, 1024, 1126, 1228, 1331, 1433, 1536, 1638, 1740, 1843,
                1945, 2048],
        resize_type='ResizeShortestEdge',
        max_size=4096),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
