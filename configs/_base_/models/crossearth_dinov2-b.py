# CrossEarth on DINOv2 ViT-B; output blocks at the same fractions of the depth as in the paper's ViT-L.
_base_ = './crossearth_dinov2-l.py'
model = dict(
    backbone=dict(arch='b', weights='dinov2_vitb14', out_indices=(3, 5, 7, 11)),
    decode_head=dict(in_channels=(768, 768, 768, 768)))
