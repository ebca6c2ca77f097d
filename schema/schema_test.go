package schema

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write docs/schema.md")

func TestSchemaDocIsGenerated(t *testing.T) {
	const path = "../docs/schema.md"
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Markdown() {
		t.Error("docs/schema.md is not what the code says; run go test ./schema -update")
	}
}

// The dataset's contract: names and order that readers rely on. Columns may be added, never renamed or retyped.
func TestSamplesKeepTheirContract(t *testing.T) {
	want := strings.Fields(`timestamp monotonic_ns run_id host gpu_index gpu_uuid gpu_name llm_name inference_stage workload
		prompt_id request_id input_tokens output_tokens_requested concurrent_requests warmup power_instant_w power_average_w
		power_is_new energy_total_j gpu_utilization_pct memory_utilization_pct sm_active_ratio tensor_active_ratio
		dram_active_ratio sm_clock_mhz memory_clock_mhz temperature_c memory_temperature_c pstate memory_used_bytes
		power_limit_w throttle_reasons read_duration_us`)
	have := names(Samples.Columns)
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("samples has no column %s", name)
		}
	}
}

func names[R any](columns []Column[R]) []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.Name)
	}
	return all
}

func TestColumnsAreNamedOnceDescribedAndNeverAfterAPartitionKey(t *testing.T) {
	check := func(table string, columns []string, docs []string) {
		seen := map[string]bool{"gpu": true, "llm": true, "stage": true} // partition keys: pandas cannot merge them with columns
		for i, name := range columns {
			if seen[name] {
				t.Errorf("%s: column %s is there twice, or bears a partition key's name", table, name)
			}
			seen[name] = true
			if docs[i] == "" {
				t.Errorf("%s: column %s has no description", table, name)
			}
		}
	}
	check("samples", names(Samples.Columns), docs(Samples.Columns))
	check("requests", names(Requests.Columns), docs(Requests.Columns))
	check("runs", names(Runs.Columns), docs(Runs.Columns))
	check("prompts", names(Prompts.Columns), docs(Prompts.Columns))
}

func docs[R any](columns []Column[R]) []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.Doc)
	}
	return all
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{
		"NVIDIA A10":                  "NVIDIA-A10",
		"meta-llama/Llama-3.1-8B":     "meta-llama--Llama-3.1-8B",
		"FAST.gpt-oss:120b":           "FAST.gpt-oss%3A120b",
		"SURF.Qwen3.5 122B A10B":      "SURF.Qwen3.5-122B-A10B",
		"../../etc/passwd":            "..--..--etc--passwd",
		"100% größer\n":               "100%25-gr%C3%B6%C3%9Fer%0A",
		"NVIDIA H100 80GB HBM3=a,b&c": "NVIDIA-H100-80GB-HBM3%3Da%2Cb%26c",
	} {
		if got := Slug(name); got != want || len(Slug(strings.Repeat(name, 300))) > 200 {
			t.Errorf("Slug(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSlugIsAlwaysAFileName(t *testing.T) {
	legal := regexp.MustCompile(`^[A-Za-z0-9._%-]*$`)
	rapid.Check(t, func(t *rapid.T) {
		if s := Slug(rapid.String().Draw(t, "name")); !legal.MatchString(s) {
			t.Errorf("slug %q", s)
		}
	})
}
