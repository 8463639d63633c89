"""Noise schedule, timesteps, loss, sampler and guidance: the maths, without networks."""
