package main

import (
	"fmt"

	"github.com/apache/iceberg-go"
)

// types are Iceberg's for Arrow's, as tracer's columns use them.
var types = map[string]iceberg.Type{
	"utf8": iceberg.PrimitiveTypes.String, "bool": iceberg.PrimitiveTypes.Bool, "int32": iceberg.PrimitiveTypes.Int32, "int64": iceberg.PrimitiveTypes.Int64,
	"float32": iceberg.PrimitiveTypes.Float32, "float64": iceberg.PrimitiveTypes.Float64, "timestamp[us, tz=UTC]": iceberg.PrimitiveTypes.TimestampTz,
}

// lists are the types of lists' elements.
var lists = map[string]iceberg.Type{"list<utf8>": iceberg.PrimitiveTypes.String, "list<float64>": iceberg.PrimitiveTypes.Float64}

// typeOf is a column's type; a list's elements get the next id.
func typeOf(c column, next func() int) (iceberg.Type, error) {
	if t, ok := types[c.Type]; ok {
		return t, nil
	}
	if element, ok := lists[c.Type]; ok {
		return &iceberg.ListType{ElementID: next(), Element: element}, nil
	}
	return nil, fmt.Errorf("column %s has type %s, which this tracer-publish does not know: take both programs from one version", c.Name, c.Type)
}

// schemaOf is a table's schema: the files' columns, then the partition keys. Files carry no field ids; readers go by the
// table's mapping of names.
func schemaOf(t *table) (*iceberg.Schema, error) {
	id := 0
	next := func() int { id++; return id }
	fields := make([]iceberg.NestedField, 0, len(t.Columns)+len(t.Keys))
	for _, c := range t.Columns {
		at := next()
		typ, err := typeOf(c, next)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		fields = append(fields, iceberg.NestedField{ID: at, Name: c.Name, Type: typ, Required: !c.Nullable, Doc: c.Doc})
	}
	for _, key := range t.Keys {
		fields = append(fields, iceberg.NestedField{ID: next(), Name: key, Type: iceberg.PrimitiveTypes.String, Doc: "partition key: in the files' paths"})
	}
	return iceberg.NewSchema(0, fields...), nil
}

func specOf(t *table, s *iceberg.Schema) (*iceberg.PartitionSpec, error) {
	var options []iceberg.PartitionOption
	for _, key := range t.Keys {
		options = append(options, iceberg.AddPartitionFieldByName(key, key, iceberg.IdentityTransform{}, s, nil))
	}
	spec, err := iceberg.NewPartitionSpecOpts(options...)
	return &spec, err
}
