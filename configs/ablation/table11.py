# Table 11: ratio and block (px) of the masks of the restyled image X_S.
custom_axes = {
    'model.style.mask_ratio': [0.1, 0.3, 0.5, 0.7],
    'model.style.block': [16, 32, 64],
}
