"""Training: the optimiser, the schedule of beta, the hardware, several processes."""
