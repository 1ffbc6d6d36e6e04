"""What steep has not: a perceptron, a law with a logarithm, and a trainer of biased coins."""
