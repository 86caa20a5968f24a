"""The doors: predictors hold state and never compute; the network computes and never holds state."""
