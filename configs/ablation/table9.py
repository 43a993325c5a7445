# Table 9: the decoder of masked image modelling. The third row is Eq. 8 to the letter.
custom_cells = {
    'linear': {'model.mim_head.decoder': 'linear'},
    'ASPP, shared': {'model.mim_head.decoder': 'aspp_shared'},
    'ASPP, one dilation per stage': {'model.mim_head.decoder': 'aspp_per_stage'},
}
