# Table 13: the distance of restored images from their target.
custom_cells = {
    'MSE': {'model.mim_head.loss': 'mse'},
    'L1': {'model.mim_head.loss': 'l1'},
}
