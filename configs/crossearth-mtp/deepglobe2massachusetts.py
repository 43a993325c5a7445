# D2M, Roads: DeepGlobe to Massachusetts: CrossEarth on MTP (Table 10).
_base_ = [
    '../_base_/models/crossearth-mtp_rvsa-l.py', '../_base_/datasets/roads.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['deepglobe'], ['massachusetts']
model = dict(
    style=dict(mask_ratio=0.3, block=16),
    mask=dict(mask_ratio=0.5, block=16), mim_head=dict(loss='mse'))
