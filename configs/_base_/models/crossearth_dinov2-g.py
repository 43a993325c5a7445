# CrossEarth on DINOv2 ViT-g; output blocks at the same fractions of the depth as in the paper's ViT-L.
_base_ = './crossearth_dinov2-l.py'
model = dict(
    backbone=dict(arch='g', weights='dinov2_vitg14', out_indices=(12, 19, 26, 39)),
    decode_head=dict(in_channels=(1536, 1536, 1536, 1536)))
