# Table 8: what each part of the method adds. The paper trains 20k iterations: --iters 20000.
custom_cells = {
    'Rein': {
        'model.backbone.gse': None, 'model.backbone.injector': None,
        'model.mim_head': None, 'model.style': None},
    '+ GSE': {'model.mim_head': None, 'model.style': None},
    '+ GSE + MIM': {'model.style': None},
    '+ GSE + MIM + style': {},
}
