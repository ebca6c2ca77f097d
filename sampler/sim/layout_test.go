package sim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// The C names of each struct's fields, in order.
var layouts = []struct {
	name   string
	typ    reflect.Type
	fields string
}{
	{"header", reflect.TypeFor[header](), "magic version boards boards_at board_stride init_return cuda_version driver nvml init_ns shutdown_ns"},
	{"facts", reflect.TypeFor[facts](), `name uuid pci_bus_id vbios serial memory_bytes seed call_ns index architecture
		major minor cores limit_mw min_limit_mw max_limit_mw max_sm_mhz max_mem_mhz pci_device_id gpm power_scopes virtualized ecc mig
		persistence memory_temp sensors faults fault_count memory_used_b event_count`},
	{"sensor", reflect.TypeFor[sensor](), "period_ns phase_ns jitter_ns window_ns gain noise supported"},
	{"fault", reflect.TypeFor[fault](), "function field scope ret from_ns to_ns extra_ns twist"},
	{"event", reflect.TypeFor[event](), "t_ns integral temp_c level sm_mhz mem_mhz pstate throttle"},
}

func TestTheCFakeHasTheSameLayout(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the fake's header with")
	}
	var want strings.Builder
	var prints []string
	for _, l := range layouts {
		names := strings.Fields(l.fields)
		if len(names) != l.typ.NumField() {
			t.Fatalf("%s has %d fields in Go, %d in C", l.name, l.typ.NumField(), len(names))
		}
		for i, name := range names {
			f := l.typ.Field(i)
			fmt.Fprintf(&want, "%s.%s %d %d\n", l.name, name, f.Offset, f.Type.Size())
			prints = append(prints, fmt.Sprintf(`printf("%[1]s.%[2]s %%zu %%zu\n", offsetof(struct %[1]s, %[2]s), sizeof(((struct %[1]s *)0)->%[2]s));`, l.name, name))
		}
		fmt.Fprintf(&want, "%s %d\n", l.name, l.typ.Size())
		prints = append(prints, fmt.Sprintf(`printf("%[1]s %%zu\n", sizeof(struct %[1]s));`, l.name))
	}
	for name, v := range map[string]int{
		"EVENT_CAPACITY": eventCapacity, "FACTS_BYTES": factsBytes, "MAX_FAULTS": maxFaults, "SCRIPT_VERSION": layoutVersion,
		"MEMORY_UTILIZATION": int(MemoryUtilization), "POWER_MEMORY": int(PowerMemory), "SENSOR_COUNT": sensorCount, "CHANNEL_COUNT": int(channelCount), "STATIC": int(Static), "STALE": int(Stale),
	} {
		fmt.Fprintf(&want, "%s %d\n", name, v)
		prints = append(prints, fmt.Sprintf(`printf("%[1]s %%d\n", (int)%[1]s);`, name))
	}
	if got := runC(t, gcc, prints); got != want.String() {
		t.Errorf("C says\n%s\nGo says\n%s", got, want.String())
	}
	if size := unsafe.Sizeof(facts{}); size > factsBytes {
		t.Errorf("facts take %d bytes", size)
	}
}

func runC(t *testing.T, gcc string, statements []string) string {
	t.Helper()
	include, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml/pkg/nvml").Output()
	if err != nil {
		t.Fatalf("finding nvml.h: %v", err)
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	text := "#include <stdio.h>\n#include \"fake.h\"\nint main(void)\n{\n" + strings.Join(statements, "\n") + "\nreturn 0;\n}\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(gcc, "-std=gnu11", "-I../nvml/fake", "-I"+strings.TrimSpace(string(include)), "-o", program, source).CombinedOutput()
	if err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	got, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}
