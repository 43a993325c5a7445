# D2M, Roads: DeepGlobe to Massachusetts.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/roads.py',
    '../_base_/schedules/published_1024.py', '../_base_/default_runtime.py']
source, targets = ['deepglobe'], ['massachusetts']
model = dict(
    style=dict(mask_ratio=0.3, block=16),
    mask=dict(mask_ratio=0.5, block=16), mim_head=dict(loss='mse'))
