//! Integration tests of the lab, one module per part.

mod report;
