"""Which limit of waiting rows keeps a transformer useful under overload: a simulation that compares them."""
