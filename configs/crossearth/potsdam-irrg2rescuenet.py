# P(i)2Res, Disaster: Potsdam (IRRG) to RescueNet.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['rescuenet']
model = dict(
    style=dict(mask_ratio=0.5, block=32),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='mse'))
