//! Tests of the client half of `meshless-core` from outside: events in, actions and picks out.

mod balancer;
mod ejection;
mod model;
mod rotation;
mod support;
mod weights;
