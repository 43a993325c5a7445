# P(i)2P(r), ISPRS: Potsdam (IRRG) to Potsdam (RGB): DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['potsdam_rgb']
train_dataloader = dict(batch_size=2)
