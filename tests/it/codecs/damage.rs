//! Files that end early or are a little damaged: what is whole is shown, what is missing is refused, or shown with
//! `tolerant`.

mod gif;
