"""Training: the trainer, the optimiser, averaged weights, checkpoints, the choice of beta, several processes."""
