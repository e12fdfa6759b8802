//! Load balancing for gRPC on Kubernetes without a service mesh.
