# Rein with GSE and Injector at the size of the demo: row '+ GSE' of configs/ablation/table8.py.
_base_ = './demo_crossearth.py'
model = dict(mim_head=None, style=None)
