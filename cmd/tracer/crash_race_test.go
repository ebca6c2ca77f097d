//go:build race

package main

// Under the race detector a life takes three times as long, and shows the same.
func init() { *crashKills = 50 }
