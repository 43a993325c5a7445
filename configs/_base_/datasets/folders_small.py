# As folders_512.py, for minutes on a CPU: images are brought to 256 px and cut to crops of 128 px;
# predictions are enlarged to the labels.
_base_ = './crop_128.py'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(256, 256), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=_base_.crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(256, 256), keep_ratio=True),
    dict(type='LoadLabel'),  # after the resize, which therefore leaves it as it is
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(dataset=dict(type='FolderDataset', pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(type='FolderDataset', pipeline=test_pipeline))
