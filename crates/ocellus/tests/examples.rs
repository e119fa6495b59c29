//! The examples run, and say what they promise.

#[allow(dead_code)]
#[path = "../examples/custom_operation.rs"]
mod custom_operation;
#[allow(dead_code)]
#[path = "../examples/train_on_arrays.rs"]
mod train_on_arrays;

#[test]
fn train_on_arrays_runs() {
    train_on_arrays::main().unwrap();
}

#[test]
fn custom_operation_runs() {
    custom_operation::main().unwrap();
}
