# Rein on DINOv3 ViT-L, learnt from web images (LVD-1689M); needs timm: pip install 'crossearth[backbones]'.
_base_ = './rein_dinov2-l.py'
model = dict(backbone=dict(type='DINOv3', weights='dinov3_vitl16_lvd1689m'))
