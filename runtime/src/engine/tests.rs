//! Tests of the engine against element-by-element arithmetic.

mod casts;
mod contents;
mod copies;
mod fills;
mod layouts;
