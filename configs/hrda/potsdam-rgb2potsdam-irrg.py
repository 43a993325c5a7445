# P(r)2P(i), ISPRS: Potsdam (RGB) to Potsdam (IRRG): HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_rgb'], ['potsdam_irrg']
train_dataloader = dict(batch_size=2)
