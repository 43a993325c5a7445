# LoRA on frozen DINOv2 ViT-L, with a plain Mask2Former head: it makes no queries.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(adapter=dict(_delete_=True, type='LoRA', rank=8)),
    decode_head=dict(type='Mask2FormerHead'))
