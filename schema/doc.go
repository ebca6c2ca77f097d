// Package schema says what a row is. Every station of tracer speaks it and it imports none of them.
//
// A Reading is what the board said and when; a Span is what was asked of the model and when it answered. The pipeline
// joins them into Samples (a reading that knows its request and stage) and Requests; a Run says with what, and how well,
// they were measured. Each table's columns are named, typed, described and given their unit in one place: the column
// lists in this package. docs/schema.md is generated from them.
//
// A value that was not read, is not supported or failed is absent (Opt), and NULL in the dataset: never 0, never −1.
package schema

import "encoding/json"

// Version of the dataset's layout and columns. Added columns keep it; a rename or a retype raises it.
const Version = "1"

// Opt is a value that may be absent; its zero value is absent.
type Opt[T any] struct {
	V  T
	OK bool
}

// MarshalJSON writes null for an absent value.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.OK {
		return []byte("null"), nil
	}
	return json.Marshal(o.V)
}

// UnmarshalJSON takes null for an absent value.
func (o *Opt[T]) UnmarshalJSON(text []byte) error {
	*o = Opt[T]{}
	if string(text) == "null" {
		return nil
	}
	o.OK = true
	return json.Unmarshal(text, &o.V)
}

// Some is a value that is present.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, OK: true} }
