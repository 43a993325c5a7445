# DINOv2 ViT-L trained as a whole, for schedules/full_fine_tuning.py: at the full learning rate it diverges.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(adapter=None, frozen=False),
    decode_head=dict(type='Mask2FormerHead'))
