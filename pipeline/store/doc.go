// Package store is a dataset as files: Parquet parts, the manifests that commit them, and how both come to stand where
// readers look, whole or not at all. What the rows say is its callers' business.
package store
