# HRDA at the size of the demo: Mix Transformer B0 without pre-trained weights.
# Of a crop of 128 px, context and detail are images of 64 px.
_base_ = './hrda_mit-b5.py'
model = dict(
    backbone=dict(arch='b0', weights='random'),
    decode_head=dict(in_channels=(32, 64, 160, 256), channels=128),
    attention_head=dict(in_channels=(32, 64, 160, 256), channels=128),
    test_cfg=dict(mode='whole'))
