# Not of the paper: why the whole method learns slowly in the demo, looked for on images of the source alone:
#   --cfg-options "source=['tropical_monsoon']" "targets=['tropical_monsoon']"
custom_cells = {
    'as it is': {},
    'MIM weight 0.1': {'model.mim_head.loss_weight': 0.1},
    'injector scale 0.01': {'model.backbone.injector.scale_init': 1e-2},
    'every second iteration styled': {'model.style.probability': 0.5},
    'learning rate 0.0003': {'optim_wrapper.optimizer.lr': 3e-4},
    'learning rate 0.003': {'optim_wrapper.optimizer.lr': 3e-3},
}
