# A2S, WHU Building: aerial to satellite II.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['aerial'], ['satellite2']
model = dict(
    style=dict(mask_ratio=0.5, block=16),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='mse'))
