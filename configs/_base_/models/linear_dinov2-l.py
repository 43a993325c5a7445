# Frozen DINOv2 ViT-L and a linear classifier of its features.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(adapter=None),
    decode_head=dict(_delete_=True, type='LinearHead', in_channels=(1024, 1024, 1024, 1024)))
