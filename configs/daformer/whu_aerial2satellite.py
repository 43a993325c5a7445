# A2S, WHU Building: aerial to satellite II: DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['aerial'], ['satellite2']
train_dataloader = dict(batch_size=2)
