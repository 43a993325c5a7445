# CASID: train on the subtropical monsoon climate, test on the temperate monsoon climate.
_base_ = [
    '../_base_/models/crossearth_dinov2-l.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/published_1024.py', '../_base_/default_runtime.py']
model = dict(mim_head=dict(loss='l1'), style=dict(mask_ratio=0.1, block=64))
train_dataloader = dict(dataset=dict(domains=['sub']))
test_dataloader = dict(dataset=dict(domains=['tem']))
test_evaluator = dict(source=['sub'], domains=['tem'])
