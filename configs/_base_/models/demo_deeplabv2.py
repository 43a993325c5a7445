# DeepLabv2 at the size of the demo: ResNet-18 without pre-trained weights.
_base_ = './deeplabv2_r101.py'
model = dict(
    backbone=dict(depth=18, weights='random'),
    decode_head=dict(in_channels=512),
    test_cfg=dict(mode='whole'))
