//! Two ends of the engine that talk to each other, and to the ends of others.
