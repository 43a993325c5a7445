# Table 12: ratio and block (px) of the masks of the masked image X_M.
custom_axes = {
    'model.mask.mask_ratio': [0.1, 0.3, 0.5, 0.7],
    'model.mask.block': [16, 32, 64],
}
