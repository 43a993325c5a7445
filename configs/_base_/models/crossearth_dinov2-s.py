# CrossEarth on DINOv2 ViT-S; output blocks at the same fractions of the depth as in the paper's ViT-L.
_base_ = './crossearth_dinov2-l.py'
model = dict(
    backbone=dict(arch='s', weights='dinov2_vits14', out_indices=(3, 5, 7, 11)),
    decode_head=dict(in_channels=(384, 384, 384, 384)))
