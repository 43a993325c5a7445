# DeepLabv2: ResNet-101 (V1c) at stride 8, all of it trained, and four atrous convolutions summed.
# Normalisation and sliding window are those of Rein's config.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=101, weights='resnet101_v1c', output_stride=8),
    decode_head=dict(
        _delete_=True, type='DeepLabV2Head', in_channels=2048, dilations=(6, 12, 18, 24)))
