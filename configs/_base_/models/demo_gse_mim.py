# CrossEarth without style injection at the size of the demo: row '+ GSE + MIM' of configs/ablation/table8.py.
_base_ = './demo_crossearth.py'
model = dict(style=None)
