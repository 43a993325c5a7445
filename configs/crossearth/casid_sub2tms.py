# Sub2Tms, CASID: subtropical monsoon to tropical monsoon.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/published_1024.py', '../_base_/default_runtime.py']
source, targets = ['sub'], ['tms']
model = dict(
    style=dict(mask_ratio=0.1, block=64),
    mask=dict(mask_ratio=0.7, block=64), mim_head=dict(loss='l1'))
