//! Tests of the client half of `meshless-core` from outside: events in, actions and picks out.

mod bad_endpoint;
mod balancer;
mod connects;
mod descriptors;
mod ejection;
mod fleet;
mod health;
mod lookup_wait;
mod model;
mod outage;
mod overload;
mod resolution;
mod rotation;
mod support;
mod thrown_balls;
mod weights;
mod zones;
