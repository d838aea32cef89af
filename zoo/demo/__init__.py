"""`zoo demo`: what the zoo is for, on one page."""

WEIGHT = "vanilla_resnet50_tat_lrelu.digits"
"""Which published weight it shows. The wheel carries it: setup.py reads this line."""
