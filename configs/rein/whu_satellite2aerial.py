# S2A, WHU Building: satellite II to aerial: the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['satellite2'], ['aerial']
test_dataloader = dict(dataset=dict(split='val'))  # 1036 images, as the paper counts
