# MTP: ViT-L with rotated varied-size windows, UPerHead and an auxiliary FCN head, all of it trained.
# With batch 1 a GPU, as published, the 1 x 1 pool of UPerHead's PPM leaves one value a channel, which batch norm
# refuses (SAMRS#19): group norm needs no batch. For larger batches, norm_cfg=dict(type='SyncBN') is the published one.
norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    type='PEFTEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='RVSA',
        arch='l',
        out_indices=(7, 11, 15, 23),
        weights='mtp_vit_l_rvsa',
        frozen=False,
        drop_path=0.3),
    decode_head=dict(
        type='UPerHead',
        in_channels=[1024, 1024, 1024, 1024],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
    test_cfg=dict(mode='slide'))
