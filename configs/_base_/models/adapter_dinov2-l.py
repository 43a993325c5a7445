# Bottleneck adapters on frozen DINOv2 ViT-L, with a plain Mask2Former head: they make no queries.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(adapter=dict(_delete_=True, type='BottleneckAdapter', dim=64)),
    decode_head=dict(type='Mask2FormerHead'))
