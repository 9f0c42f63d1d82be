"""Bottlenecks at a cut: an autoencoder between two segments of a trained network.

It makes the features small that travel there (MDI-Exit, section V; split-computing survey, sections
4.3 and 4.4).

autoencoder   two convolutions to a small code, and back
methods       how it learns: the survey's five losses
training      the training, the network around it frozen
measuring     bytes, accuracy, time and multiply-adds, with and without
page          the table, the picture and the page
exporting     encoder and decoder as files of a bundle
command       python -m edgesdk.train bottleneck
"""
