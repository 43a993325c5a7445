# D2M, Roads: DeepGlobe to Massachusetts: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/roads.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['deepglobe'], ['massachusetts']
train_dataloader = dict(batch_size=2)
