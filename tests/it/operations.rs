//! Operations one by one: values by hand, bounds, and results of other software (`fixtures/golden`).

mod effects;
