# Not of the paper: the learning rate of the demo's schedule, looked for with Rein, the baseline, on images of the source alone:
#   --cfg-options "source=['tropical_monsoon']" "targets=['tropical_monsoon']"
custom_cells = {
    f'lr {lr:g}': {
        'model.backbone.gse': None, 'model.backbone.injector': None,
        'model.mim_head': None, 'model.style': None,
        'optim_wrapper.optimizer.lr': lr}
    for lr in (3e-4, 1e-3, 3e-3)
}
