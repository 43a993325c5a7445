# P(i)2P(r), ISPRS: Potsdam (IRRG) to Potsdam (RGB).
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['potsdam_rgb']
model = dict(
    style=dict(mask_ratio=0.7, block=64),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='mse'))
