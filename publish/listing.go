package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// listing is what tracer says of a dataset: its tables and their committed files.
type listing struct {
	Format  int     `json:"format"`
	Dataset string  `json:"dataset"` // URI of its root, without a slash at the end
	Tables  []table `json:"tables"`
}

// listingFormat is the version of the listing that is read here.
const listingFormat = 1

type table struct {
	Name    string   `json:"name"`
	Doc     string   `json:"doc"`
	Keys    []string `json:"partition_keys"` // columns that files lack: their values stand in paths
	Columns []column `json:"columns"`
	Files   []file   `json:"files"`
}

type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // Arrow's name of it
	Nullable bool   `json:"nullable"`
	Doc      string `json:"doc"`
}

type file struct {
	Path      string            `json:"path"` // relative to the dataset
	Rows      int64             `json:"rows"`
	Bytes     int64             `json:"bytes"`
	Partition map[string]string `json:"partition"`
}

// readListing reads a listing, and refuses what would make a broken table.
func readListing(from io.Reader) (*listing, error) {
	var l listing
	if err := json.NewDecoder(from).Decode(&l); err != nil {
		return nil, fmt.Errorf("reading the listing of the dataset from standard input: %w; run tracer publish --iceberg rather than this program", err)
	}
	if l.Format != listingFormat {
		return nil, fmt.Errorf("the listing has format %d, this tracer-publish reads %d: take both programs from one version", l.Format, listingFormat)
	}
	for _, t := range l.Tables {
		for _, f := range t.Files {
			if f.Path == "" || f.Rows < 0 || f.Bytes <= 0 {
				return nil, fmt.Errorf("table %s: a file without path or contents: %+v", t.Name, f)
			}
			for _, key := range t.Keys {
				if f.Partition[key] == "" {
					return nil, fmt.Errorf("table %s: %s stands in no partition of %s", t.Name, f.Path, key)
				}
			}
		}
	}
	slices.SortStableFunc(l.Tables, func(a, b table) int { return last(a.Name) - last(b.Name) })
	return &l, nil
}

// last sorts runs behind the others.
func last(name string) int {
	if name == "runs" {
		return 1
	}
	return 0
}
