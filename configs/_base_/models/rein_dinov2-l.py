# Rein: frozen DINOv2 ViT-L, low-rank Rein tokens, Mask2Former head. CrossEarth without GSE, Injector, MIM and style.
# img_size, data_preprocessor.size, num_classes and the sliding window follow from the data set's crop and classes.
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
        type='DINOv2',
        arch='l',
        out_indices=(7, 11, 15, 23),
        weights='dinov2_vitl14',
        frozen=True,
        adapter=dict(type='LoRARein', num_tokens=100, rank=16, query_dim=256)),
    decode_head=dict(type='ReinMask2FormerHead', in_channels=(1024, 1024, 1024, 1024)),
    test_cfg=dict(mode='slide'))
