# Tms2Tem, CASID: tropical monsoon to temperate monsoon: DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['tms'], ['tem']
train_dataloader = dict(batch_size=2)
