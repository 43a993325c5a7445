# DeepLabv3: as DeepLabv2 with an ASPP head, which also sees the mean of the whole crop.
_base_ = './deeplabv2_r101.py'
model = dict(
    decode_head=dict(
        _delete_=True,
        type='ASPPHead',
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.1))
