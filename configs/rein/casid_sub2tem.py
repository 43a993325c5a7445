# CASID, subtropical to temperate monsoon: the Rein baseline of the paper.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/published_1024.py', '../_base_/default_runtime.py']
train_dataloader = dict(dataset=dict(domains=['sub']))
test_dataloader = dict(dataset=dict(domains=['tem']))
test_evaluator = dict(source=['sub'], domains=['tem'])
