# Potsdam in five classes to RescueNet: `crossearth data info potsdam5`, `... rescuenet`.
# Test images of 4000 x 3000 px are segmented at 512 x 384; predictions are enlarged to the labels.
_base_ = './crop_512.py'
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='LoadLabel'),  # after the resize, which therefore leaves it as it is
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(
    dataset=dict(type='Potsdam5', data_root='{{$CROSSEARTH_DATA:data}}/potsdam'))
test_dataloader = dict(dataset=dict(
    type='RescueNet', data_root='{{$CROSSEARTH_DATA:data}}/rescuenet', pipeline=test_pipeline))
