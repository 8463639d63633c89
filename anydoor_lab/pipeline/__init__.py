"""From pictures to pictures: the diffusers pipeline over the tensor core."""
