# Rein on DINOv3 ViT-B, learnt from web images (LVD-1689M); needs timm: pip install 'crossearth[backbones]'.
_base_ = './rein_dinov2-b.py'
model = dict(backbone=dict(type='DINOv3', weights='dinov3_vitb16_lvd1689m'))
