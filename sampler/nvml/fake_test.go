package nvml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler/sim"
)

// The fake is built once a run, with the same flags as by the Makefile. noFake says why it could not be.
var (
	fakeLibrary string
	noFake      string
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fakenvml")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fakeLibrary = filepath.Join(dir, defaultLibrary)
	noFake = buildFake(fakeLibrary)
	code := m.Run()
	_ = os.RemoveAll(dir) // a temporary folder
	os.Exit(code)
}

func buildFake(out string, flags ...string) (why string) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return "no gcc to build the fake libnvidia-ml with"
	}
	include, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml/pkg/nvml").Output()
	if err != nil {
		return fmt.Sprintf("finding nvml.h: %v", err)
	}
	sources, err := filepath.Glob("fake/*.c")
	if err != nil {
		return err.Error()
	}
	args := []string{
		"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden",
		"-Wl,-soname," + defaultLibrary, "-I" + strings.TrimSpace(string(include)), "-o", out,
	}
	args = append(append(args, flags...), sources...)
	if text, err := exec.Command(gcc, append(args, "-lm", "-lpthread")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the fake libnvidia-ml: %v\n%s", err, text)
		os.Exit(1)
	}
	return ""
}

// scripted puts simulated boards behind the fake library.
func scripted(t testing.TB, specs ...sim.Spec) *sim.Script {
	t.Helper()
	if noFake != "" {
		t.Skip(noFake)
	}
	path := filepath.Join(t.TempDir(), "run.script")
	s, err := sim.Create(path, specs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TRACER_FAKENVML", path)
	return s
}

// opened opens the fake library on simulated boards.
func openFake(t testing.TB, specs ...sim.Spec) (*Library, *sim.Script) {
	t.Helper()
	s := scripted(t, specs...)
	l, err := Open(Options{LibraryPath: fakeLibrary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

// spec describes a simulated board of the catalog.
func spec(t testing.TB, name string, index int) sim.Spec {
	t.Helper()
	c, err := catalog.BoardByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return sim.Describe(c, index)
}
