# P(i)2Res, Disaster: Potsdam (IRRG) to RescueNet: DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['rescuenet']
train_dataloader = dict(batch_size=2)
