"""Labelled pictures and clips for training and evaluation: formats, lazy records, the validation split. Knows no
network.
"""
