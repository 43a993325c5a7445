# Not of the paper: why the whole method learns slowly in the demo, looked for on images of the source alone:
#   --cfg-options "source=['tropical_monsoon']" "targets=['tropical_monsoon']"
custom_queries = {  # the head's, which differ from the start; those of Rein's tokens begin nearly equal
    'model.backbone.adapter.link_token_to_query': False,
    'model.decode_head.type': 'Mask2FormerHead', 'model.decode_head.num_queries': 16}
custom_rein = {
    'model.backbone.gse': None, 'model.backbone.injector': None,
    'model.mim_head': None, 'model.style': None}
custom_cells = {
    'as it is': {},
    'queries of the head': custom_queries,
    'Rein': custom_rein,
    'Rein, queries of the head': {**custom_rein, **custom_queries},
    'MIM weight 0.1': {'model.mim_head.loss_weight': 0.1},
    'injector scale 0.01': {'model.backbone.injector.scale_init': 1e-2},
    'every second iteration styled': {'model.style.probability': 0.5},
    'learning rate 0.0003': {'optim_wrapper.optimizer.lr': 3e-4},
    'learning rate 0.003': {'optim_wrapper.optimizer.lr': 3e-3},
}
