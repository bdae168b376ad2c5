//! Tests of the engine against element-by-element arithmetic.
