# HRDA: DAFormer on the whole crop at half resolution and on a detail of half its size, fused by an attention.
_base_ = './daformer_mit-b5.py'
model = dict(
    type='HRDASegmentor',
    attention_head=dict(
        type='SegformerHead',
        in_channels=(64, 128, 320, 512),
        in_index=(0, 1, 2, 3),
        channels=256,
        norm_cfg=dict(type='BN')),
    hr_loss_weight=0.1)
