# S2A, WHU Building: satellite II to aerial: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['satellite2'], ['aerial']
test_dataloader = dict(dataset=dict(split='val'))  # 1036 images, as the paper counts
