//! The command `meshless`.
fn main() {}
