// Package machine says where and when measurements were made.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and when a page was made.
type Machine struct {
	CPU    string
	Cores  int
	Kernel string
	Go     string
	Date   string
}

// This is the machine at hand, now.
func This() (Machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Machine{}, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		CPU: cpuName(string(info)), Cores: runtime.NumCPU(), Kernel: "Linux " + unix.ByteSliceToString(u.Release[:]), Go: runtime.Version(),
		Date: time.Now().UTC().Format(time.DateOnly),
	}, nil
}

// cpuName is empty-handed on architectures whose kernel tells no name.
func cpuName(info string) string {
	for line := range strings.Lines(info) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
