package main

import (
	"fmt"

	"github.com/llm-tracer/tracer/schema"
)

// caveats says what a board's numbers do not mean, and what to do about it.
func caveats(b schema.Board) []string {
	var all []string
	say := func(format string, args ...any) {
		all = append(all, fmt.Sprintf("board %d ", b.Index)+fmt.Sprintf(format, args...))
	}
	if b.MIG == schema.Some(true) {
		say("is cut into MIG instances: its utilisation is not supported, and its power and energy are the whole board's, whatever instance works; leave the other instances idle, or switch MIG off (nvidia-smi -i %d -mig 0)", b.Index)
	}
	switch {
	case b.Virtualization == schema.VirtualizationVGPU && b.PowerScope == "":
		say("is a vGPU, a part of a board: its power and energy are not supported and will be NULL; run tracer on the host, or pass the whole board through to this machine")
	case b.Virtualization == schema.VirtualizationVGPU:
		say("is a vGPU, a part of a board: its power and energy may be the whole board's, other machines' work included; run tracer on the host, or pass the whole board through to this machine")
	case b.Virtualization == schema.VirtualizationHostVGPU, b.Virtualization == schema.VirtualizationHostVSGA:
		say("serves virtual machines: its power and energy are the whole board's, whichever machine works; leave the others idle")
	case b.PowerScope == "":
		say("tells no power: power will be NULL; a newer driver may tell it (field 186)")
	}
	if b.PowerScope == schema.PowerScopeModule {
		say("tells the power of its module alone: watts are those of GPU, CPU and their memory together; leave the CPU idle")
	}
	return all
}
