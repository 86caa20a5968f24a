"""What lies where ``sam2.__file__`` says while samphony stands in for it: configurations under their official names.

Packages look for these files (``Path(sam2.__file__).parent / "configs/sam2.1/sam2.1_hiera_t.yaml"``) or read them with
Hydra. Each names one of our models; the dimensions are in ``samphony.model.config``.
"""
