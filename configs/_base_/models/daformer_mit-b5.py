# DAFormer: Mix Transformer B5, all of it trained, and the context-aware head.
# Normalisation and sliding window are those of Rein's config.
_base_ = './rein_dinov2-l.py'
model = dict(
    backbone=dict(_delete_=True, type='MiT', arch='b5', weights='mit_b5'),
    decode_head=dict(
        _delete_=True, type='DAFormerHead', in_channels=(64, 128, 320, 512), channels=256))
