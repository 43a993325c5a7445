# MTP on its ViT-B; output blocks at the same fractions of the depth.
_base_ = './mtp_rvsa-l.py'
model = dict(
    backbone=dict(arch='b', weights='mtp_vit_b_rvsa', out_indices=(3, 5, 7, 11)),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768))
