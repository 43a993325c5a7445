# S2A, WHU Building: satellite II to aerial: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['satellite2'], ['aerial']
train_dataloader = dict(batch_size=2)
test_dataloader = dict(dataset=dict(split='val'))  # 1036 images, as the paper counts
