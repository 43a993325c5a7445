# CrossEarth on DINOv2 ViT-L with 4 register tokens.
_base_ = './crossearth_dinov2-l.py'
model = dict(backbone=dict(num_registers=4, weights='dinov2_vitl14_reg4'))
