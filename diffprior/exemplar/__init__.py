"""Exemplar-based inpainting: wide holes filled with copies of what the image itself shows.

The prior here is the image. A hole is filled by a map that names, for each lost pixel, the known
pixel that it is a copy of. Few offsets between the two serve most images, since what surrounds a
hole repeats: the map is a labeling of the lost pixels with offsets, found coarse to fine. The
copied gradients are then joined, so that no seam shows.
"""
