# S2A, WHU Building: satellite II to aerial.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['satellite2'], ['aerial']
model = dict(
    style=dict(mask_ratio=0.5, block=16),
    mask=dict(mask_ratio=0.7, block=16), mim_head=dict(loss='mse'))
test_dataloader = dict(dataset=dict(split='val'))  # 1036 images, as the paper counts
