# V2P(i), ISPRS: Vaihingen (IRRG) to Potsdam (IRRG): DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['vaihingen'], ['potsdam_irrg']
train_dataloader = dict(batch_size=2)
