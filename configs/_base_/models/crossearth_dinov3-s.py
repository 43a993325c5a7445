# CrossEarth on DINOv3 ViT-S, learnt from web images (LVD-1689M); needs timm: pip install 'crossearth[backbones]'.
_base_ = './crossearth_dinov2-s.py'
model = dict(backbone=dict(type='DINOv3', weights='dinov3_vits16_lvd1689m'))
