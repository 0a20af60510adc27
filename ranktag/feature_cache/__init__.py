"""The feature cache: HDF5 files of image features and what made them."""
