"""What operators are drawn from: blur kernels, pixel masks, frequency masks."""
