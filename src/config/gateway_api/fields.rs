//! Every field of HTTPRoute and GRPCRoute: whether it is supported, and a sample.
