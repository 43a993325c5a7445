# P(r)2Res, Disaster: Potsdam (RGB) to RescueNet.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_rgb'], ['rescuenet']
model = dict(
    style=dict(mask_ratio=0.3, block=16),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='mse'))
