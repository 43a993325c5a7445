# A2S, WHU Building: aerial to satellite II: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['aerial'], ['satellite2']
train_dataloader = dict(batch_size=2)
