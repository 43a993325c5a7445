# P(r)2P(i), ISPRS: Potsdam (RGB) to Potsdam (IRRG).
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_rgb'], ['potsdam_irrg']
model = dict(
    style=dict(mask_ratio=0.3, block=16),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='mse'))
