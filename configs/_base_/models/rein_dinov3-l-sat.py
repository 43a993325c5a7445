# Rein on DINOv3 ViT-L, learnt from satellite images of 0.6 m (SAT-493M), which have a normalisation of their own.
_base_ = './rein_dinov3-l.py'
model = dict(
    data_preprocessor=dict(
        mean=[109.65, 104.805, 75.48],
        std=[54.315, 39.78, 36.465]),
    backbone=dict(weights='dinov3_vitl16_sat493m'))
