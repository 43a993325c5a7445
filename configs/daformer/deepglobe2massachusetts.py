# D2M, Roads: DeepGlobe to Massachusetts: DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/roads.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['deepglobe'], ['massachusetts']
train_dataloader = dict(batch_size=2)
