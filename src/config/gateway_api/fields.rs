//! Every field of HTTPRoute and GRPCRoute.
