package campaign

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/deploy"
)

const whole = `name: whole
out: ds
seed: 3
repetitions: 2
boards:
  - sim:A10
  - "0,2"
  - {name: a100, gpu: auto, slurm: [--constraint=a100, --gpus=1], node-selector: {nvidia.com/gpu.product: NVIDIA-A100}}
models:
  - {endpoint: sim, model: meta-llama/Meta-Llama-3-8B}
  - name: served
    endpoint: http://127.0.0.1:8000/v1
    serve:
      command: vllm serve it
      env: {HF_TOKEN: "${HF_TOKEN}"}
      within: 2m
    collect: {server: vllm, prompts: 7}
workloads: [prefill]
sizes: [10, 100]
collect: {prompts: 5, exact-length: false}
cool-down: {at-most: 0s}
exclude:
  - {board: a100, model: served}
`

func parsed(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAFileIsReadWithItsDefaults(t *testing.T) {
	f := parsed(t, whole)
	var names []string
	for _, b := range f.Boards {
		names = append(names, b.Name)
	}
	if !slices.Equal(names, []string{"sim-A10", "gpu-0-2", "a100"}) || f.Models[0].Name != "Meta-Llama-3-8B" {
		t.Errorf("%q, %q", names, f.Models[0].Name)
	}
	if s := f.Models[1].Serve; !slices.Equal(s.Command, []string{"sh", "-c", "vllm serve it"}) || s.Within.Minutes() != 2 || s.Stop.Seconds() != 30 {
		t.Errorf("%+v", s)
	}
	if got := f.Models[1].Probes(); !slices.Equal(got, []string{"http://127.0.0.1:8000/health", "http://127.0.0.1:8000/v1/models"}) {
		t.Error(got)
	}
	c := Cell{&f.Boards[0], &f.Models[1], "prefill", 100, 2}
	want := "collect --go-on --run-id whole --rank sim-A10-served-prefill-100-2 --out ds --gpu sim:A10 --endpoint http://127.0.0.1:8000/v1" +
		" --workload prefill --sizes 100 --seed 4 --no-exact-length --prompts=7 --server=vllm"
	if got := strings.Join(f.Arguments(&c), " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestAPortThatIsLeftOpenIsFilledInEverywhere(t *testing.T) {
	text := strings.NewReplacer("http://127.0.0.1:8000/v1", "http://127.0.0.1:{port}/v1", "vllm serve it", "vllm serve it --port {port}", "${HF_TOKEN}", "{port}").Replace(whole)
	m := &parsed(t, text).Models[1]
	on := m.On(4711)
	got := fmt.Sprint(on.Endpoint, on.Serve.Command, on.Serve.Env, on.Probes())
	want := "http://127.0.0.1:4711/v1[sh -c vllm serve it --port 4711] map[HF_TOKEN:4711] [http://127.0.0.1:4711/health http://127.0.0.1:4711/v1/models]"
	if got != want || !m.AnyPort() || !strings.Contains(m.Serve.Command[2], "{port}") {
		t.Errorf("%s, of %+v", got, m)
	}
}

// Every cell comes once, whole blocks after one another, repetition by repetition, in an order that the seed decides.
func TestBlocksAreAllCellsInAnOrderOfTheSeed(t *testing.T) {
	f := parsed(t, whole)
	order := func() (all []string) {
		last := 0
		for _, b := range f.Blocks() {
			if b.Repetition < last {
				t.Errorf("repetition %d after %d", b.Repetition, last)
			}
			last = b.Repetition
			for i := range b.Cells {
				if b.Cells[i].Board != b.Board || b.Cells[i].Model != b.Model {
					t.Errorf("%s in a block of %s with %s", b.Cells[i].Name(), b.Board.Name, b.Model.Name)
				}
				all = append(all, f.RunID(&b.Cells[i]))
			}
		}
		return all
	}
	first, again := order(), order()
	f.Seed = 8
	other := order()
	if !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Errorf("%q, again %q, with another seed %q", first, again, other)
	}
	for _, all := range [][]string{first, other} {
		slices.Sort(all)
		if all = slices.Compact(all); len(all) != (3*2-1)*2*2 {
			t.Errorf("%d runs: %q", len(all), all)
		}
	}
}

func TestMistakesAreNamedWithTheirLine(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"seed: 3", "sead: 3", `c.yaml:3: no key is called "sead" here`},
		{"seed: 3", "seed: three", "c.yaml:3: "},
		{"seed: 3", "seed: 3\nseed: 4", "c.yaml:4: "},
		{"within: 2m", "withn: 2m", `c.yaml:16: no key is called "withn" here`},
		{"within: 2m", "within: 2m\n      stop: 1ms", "c.yaml:14: serve: within and stop"},
		{"name: a100, gpu", "name: a 100, gpu", `c.yaml:8: boards: name "a 100"`},
		{"name: a100, gpu", "name: a100, cpu", `c.yaml:8: no key is called "cpu" here`},
		{"name: a100,", "name: sim-A10,", `c.yaml:8: boards: "sim-A10" is there twice`},
		{"name: a100,", "name: host,", `c.yaml:8: boards: name "host"`},
		{"name: whole", "name: 1 whole", "c.yaml:1: name: "},
		{"repetitions: 2", "repetitions: 0", "c.yaml:4: repetitions: "},
		{"repetitions: 2", "repetitions: 1001", "c.yaml:4: repetitions: "},
		{"seed: 3", "seed: -3", "c.yaml:3: seed: give a number from 0"},
		{`  - "0,2"`, "  - {name: other, gpu: sim:A10}", "c.yaml:7: boards: other is sim-A10 under another name; leave it out, and give repetitions"},
		{"  - name: served", "  - {name: again, endpoint: sim, model: meta-llama/Meta-Llama-3-8B}\n  - name: served", "c.yaml:11: models: again is Meta-Llama-3-8B under another name"},
		{"[--constraint=a100, --gpus=1]", "[--constraint=a100, gpus=1]", "c.yaml:8: boards: slurm: each is an option of sbatch"},
		{"[--constraint=a100, --gpus=1]", `["--gpus=1\nrm x"]`, "c.yaml:8: boards: slurm: each is an option of sbatch"},
		{"within: 2m", "within: -2m", "c.yaml:14: serve: within and stop"},
		{"{HF_TOKEN:", "{HF TOKEN:", "c.yaml:15: serve: env: a name is of letters"},
		{"endpoint: sim,", "endpoint: 'http://127.0.0.1:{port}',", "c.yaml:10: models: endpoint: {port} is of a server that the campaign starts"},
		{"http://127.0.0.1:8000/v1", "http://127.0.0.1:{port}/v1", "c.yaml:14: serve: {port} stands in the endpoint or in command and env alone"},
		{"command: vllm serve it", "command: vllm serve it --port {port}", "c.yaml:14: serve: {port} stands in the endpoint or in command and env alone"},
		{"[prefill]", "[prefil]", "c.yaml:18: workloads: there are prefill and decode"},
		{"sizes: [10, 100]", "sizes: [10, 10]", "c.yaml:19: sizes: "},
		{"sizes: [10, 100]", "sizes: [10, -1]", "c.yaml:19: sizes: "},
		{"at-most: 0s", "at-most: 2h", "c.yaml:21: cool-down: at-most"},
		{"board: a100", "board: a10", `c.yaml:23: exclude: no board is called "a10"`},
		{"{board: a100, model: served}", "{}", "c.yaml:23: exclude: name a board"},
		{"{board: a100, model: served}", "{size: 10}\n  - {size: 100}", "c.yaml:23: exclude: nothing is left to run"},
		{"endpoint: sim,", "", "c.yaml:10: models: endpoint is missing"},
		{"endpoint: http://127.0.0.1:8000/v1", "endpoint: sim", "serve: the endpoint sim is served by tracer itself"},
		{"command: vllm serve it", "command: []", "c.yaml:14: serve: command is missing"},
		{"name: served", "name: Meta-Llama-3-8B", `"Meta-Llama-3-8B" is there twice`},
		{"name: whole", "name: " + strings.Repeat("w", 70), "c.yaml:1: run "},
		{"name: whole", "name: [", "c.yaml:"},
		{"boards:\n", "boards: []\nother:\n", "c.yaml:6: no key"},
	} {
		if !strings.Contains(whole, c.old) {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, err := Parse("c.yaml", []byte(strings.Replace(whole, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", c.new, err, c.want)
		}
	}
}

func TestWhatIsNoCampaignIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "c.yaml:1: name: give the campaign a name",
		"# name: x\n":                  "c.yaml:1: name: give the campaign a name",
		whole + "---\nname: other\n":   "c.yaml:1: there are 2 documents",
		"name: x\nsizes: ten\n":        "c.yaml:2: ",
		"name: x\nseed: [1]\n":         "c.yaml:2: ",
		"cool-down: {at-most: 3}\n":    "c.yaml:1: that does not fit here: give a time such as 30s or 3m",
		"cool-down: {at-most: long}\n": "c.yaml:1: ",
	} {
		if _, err := Parse("c.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "Go struct") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse("c.yaml", []byte("---\n"+whole+"---\n")); err != nil {
		t.Error(err)
	}
}

func TestMistakesTellNoSecrets(t *testing.T) {
	for _, broken := range []string{
		"      env: {HF_TOKEN: [hunter2]}\n", "      env: {HF_TOKEN: hunter2\n", "      env: hunter2\n", "      enw: {HF_TOKEN: hunter2}\n", "      env: {A: \"hunter2}\n",
	} {
		_, err := Parse("c.yaml", []byte(strings.Replace(whole, "      env: {HF_TOKEN: \"${HF_TOKEN}\"}\n", broken, 1)))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

func TestJobsOfSlurmAreTheScriptWithTheBoardsOwnOptions(t *testing.T) {
	jobs, err := parsed(t, whole).SlurmJobs(deploy.Slurm)
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	text := jobs[2].Text
	for _, line := range []string{
		"#SBATCH --job-name=whole-a100\n", "#SBATCH --array=0-1\n", "#SBATCH --constraint=a100\n", "#SBATCH --gpus=1\n",
		"/c.yaml' --board a100 --block \"$SLURM_ARRAY_TASK_ID\"\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	if strings.Contains(text, "are tracer's own arguments") || !strings.HasPrefix(text, "#!/bin/bash\n# The runs of campaign whole on a100: ") {
		t.Errorf("it begins with words about another script:\n%s", text)
	}
	if jobs[2].Name != "whole-a100.sbatch" || strings.Index(text, "--constraint=a100\n") > strings.Index(text, "\nset -u\n") {
		t.Errorf("%s\n%s", jobs[2].Name, text)
	}
}

// What the pod reads is the file as it was written, whatever stands in it.
func TestJobsOfKubernetesCarryTheFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		comment := rapid.StringMatching(`[ -~äß€]*`).Draw(rt, "comment")
		text := whole + "# " + comment + rapid.SampledFrom([]string{"", "\n", "\n\n", "  \n# x\n"}).Draw(rt, "end")
		f, err := Parse("c.yaml", []byte(text))
		if err != nil {
			rt.Fatal(err)
		}
		jobs, err := f.KubernetesJobs(deploy.Kubernetes)
		if err != nil {
			rt.Fatal(err)
		}
		documents := strings.Split(jobs[2].Text, "---\n")
		var config struct {
			Data map[string]string `yaml:"data"`
		}
		if err := yaml.Unmarshal([]byte(documents[1]), &config); err != nil || config.Data["campaign.yaml"] != text {
			rt.Fatalf("%v\n%q\n%q", err, config.Data["campaign.yaml"], text)
		}
	})
	jobs, err := parsed(t, whole).KubernetesJobs(deploy.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"name: whole-a100\n", "completions: 2\n", "nvidia.com/gpu.product: NVIDIA-A100\n", "- $(JOB_COMPLETION_INDEX)\n", "mountPath: /campaign\n"} {
		if !strings.Contains(jobs[2].Text, line) {
			t.Errorf("%q is not in\n%s", line, jobs[2].Text)
		}
	}
}

// What cannot get better is not tried again, and pods get by with the rights of nobody.
func TestJobsOfKubernetesGiveUpWhatStaysWrongAndNeedNoRights(t *testing.T) {
	jobs, err := parsed(t, whole).KubernetesJobs(deploy.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(deploy.Kubernetes), strings.Split(jobs[0].Text, "---\n")[2]} {
		var job struct {
			Spec struct {
				Mode     string `yaml:"completionMode"`
				PerIndex int    `yaml:"backoffLimitPerIndex"`
				Policy   struct {
					Rules []struct {
						Action string
						On     struct {
							Operator string
							Values   []int
						} `yaml:"onExitCodes"`
					}
				} `yaml:"podFailurePolicy"`
				Template struct {
					Spec struct {
						Restart  string         `yaml:"restartPolicy"`
						Security map[string]any `yaml:"securityContext"`
						Pods     []struct {
							Security map[string]any `yaml:"securityContext"`
						} `yaml:"containers"`
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(text), &job); err != nil {
			t.Fatal(err)
		}
		actions := map[int]string{}
		for _, r := range job.Spec.Policy.Rules {
			for _, code := range r.On.Values {
				actions[code] = r.On.Operator + " " + r.Action
			}
		}
		if actions[2] != "In FailJob" || actions[5] != "In FailIndex" || actions[130] != "In Ignore" || len(actions) != 3 {
			t.Errorf("exit codes: %v", actions)
		}
		if job.Spec.Mode != "Indexed" || job.Spec.PerIndex < 1 || job.Spec.Template.Spec.Restart != "Never" { // FailIndex needs them
			t.Errorf("%+v", job.Spec)
		}
		pod, container := job.Spec.Template.Spec.Security, job.Spec.Template.Spec.Pods[0].Security
		if pod["runAsNonRoot"] != true || container["allowPrivilegeEscalation"] != false ||
			fmt.Sprint(pod["seccompProfile"], container["capabilities"]) != "map[type:RuntimeDefault] map[drop:[ALL]]" {
			t.Errorf("%v, %v", pod, container)
		}
	}
}

func TestTheExampleIsRead(t *testing.T) {
	text, err := os.ReadFile("../../docs/campaign.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed(t, string(text))
}

// No file brings the reader down, and every error is one line.
func FuzzFile(f *testing.F) {
	f.Add(whole)
	f.Add("name: a\nboards: [auto]\nmodels: [{endpoint: sim, model: m}]\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "repetitions") > 0 || len(text) > 4096 { // plans of many runs are slow, and no news
			return
		}
		file, err := Parse("c.yaml", []byte(text))
		switch {
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%q", err)
		case err == nil && len(file.Blocks()) == 0:
			t.Error("a plan of nothing")
		}
	})
}
