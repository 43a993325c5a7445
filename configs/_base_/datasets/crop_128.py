# Crops of 128 px, for minutes on a CPU.
# Small images load faster in the training process than workers hand them over.
_base_ = './crop_512.py'
crop_size = (128, 128)
# only enlarge: a tile may be as small as the crop, so shrinking would add padding
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=crop_size, ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
