package campaign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Job is a file that a scheduler takes: the blocks of one board, a job's share each.
type Job struct{ Name, Text string }

// perBoard counts the blocks of each board that has any, in the file's order.
func (f *File) perBoard(each func(b *Board, blocks int) error) error {
	counts := map[string]int{}
	for _, b := range f.Blocks() {
		counts[b.Board.Name]++
	}
	for i := range f.Boards {
		if n := counts[f.Boards[i].Name]; n > 0 {
			if err := each(&f.Boards[i], n); err != nil {
				return err
			}
		}
	}
	return nil
}

// lowered is a name as DNS and Kubernetes take it.
func lowered(name string) string {
	return strings.Trim(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "-")
}

// SlurmJobs fills the batch script in: one job array a board, one task of it a block. The file is read by each job where it
// is now, and its paths are those of the folder that this runs in.
func (f *File) SlurmJobs(shape string) (jobs []Job, err error) {
	path, err := filepath.Abs(f.path)
	if err != nil {
		return nil, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	err = f.perBoard(func(b *Board, blocks int) error {
		lines := []string{"#SBATCH --job-name=" + f.Name + "-" + b.Name, fmt.Sprintf("#SBATCH --array=0-%d", blocks-1), "#SBATCH --ntasks=1"}
		for _, option := range b.Slurm {
			lines = append(lines, "#SBATCH "+option)
		}
		const first, own, begin = "#SBATCH ", "#SBATCH --job-name=tracer\n", "set -u\n"
		_, options, _ := strings.Cut(shape, first)
		if !strings.Contains(first+options, own) || !strings.Contains(options, begin) {
			return fmt.Errorf("the batch script has no line %q or %q", own, begin)
		}
		// Its words at the top are about other arguments.
		text := fmt.Sprintf("#!/bin/bash\n# The runs of campaign %s on %s: each task of the array carries out one block of %s, from the folder\n"+
			"# %s, and the same job goes on with what is left. Written by tracer campaign --emit slurm.\n#\n",
			f.Name, b.Name, oneLine(path), oneLine(here)) + first + options
		text = strings.Replace(text, own, "", 1)
		into := ""
		if f.placed {
			into = " --out " + quoted(f.Out)
		}
		// sbatch reads options up to the first command, and the last of two counts.
		text = strings.Replace(text, begin, strings.Join(lines, "\n")+"\n\n"+begin+fmt.Sprintf(
			"set -- campaign %s --board %s --block \"$SLURM_ARRAY_TASK_ID\"%s\ncd %s || exit 4\n", quoted(path), b.Name, into, quoted(here)), 1)
		jobs = append(jobs, Job{f.Name + "-" + b.Name + ".sbatch", text})
		return nil
	})
	return jobs, err
}

// oneLine is a path for a comment.
func oneLine(path string) string { return strings.ReplaceAll(path, "\n", " ") }

// quoted is a word for the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// KubernetesJobs fills the Indexed Job in: one Job a board, one index a block. The file comes with it, as a ConfigMap.
func (f *File) KubernetesJobs(shape []byte) (jobs []Job, err error) {
	err = f.perBoard(func(b *Board, blocks int) error {
		text, err := f.kubernetesJob(shape, b, blocks)
		jobs = append(jobs, Job{f.Name + "-" + b.Name + ".yaml", text})
		return err
	})
	return jobs, err
}

func (f *File) kubernetesJob(shape []byte, b *Board, blocks int) (string, error) {
	var job yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(shape, &job, yaml.UseOrderedMap()); err != nil {
		return "", fmt.Errorf("reading the Job's shape: %w", err)
	}
	name := lowered(f.Name + "-" + b.Name)
	config := yaml.MapSlice{
		{Key: "apiVersion", Value: "v1"},
		{Key: "kind", Value: "ConfigMap"},
		{Key: "metadata", Value: yaml.MapSlice{{Key: "name", Value: name}}},
		{Key: "data", Value: yaml.MapSlice{{Key: "campaign.yaml", Value: string(f.text)}}},
	}
	err := set(job, name, "metadata", "name")
	for _, s := range []struct {
		value any
		path  []string
	}{
		{blocks, []string{"spec", "completions"}},
		{blocks, []string{"spec", "parallelism"}},
	} {
		if err == nil {
			err = set(job, s.value, s.path...)
		}
	}
	if err == nil {
		err = f.fillPod(job, name, b)
	}
	if err != nil {
		return "", err
	}
	var text strings.Builder
	settings, err := f.settings(config)
	if err != nil {
		return "", err
	}
	body, err := yaml.Marshal(job)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&text, "---\n%s---\n%s", settings, body)
	return text.String(), nil
}

// settings is the ConfigMap, as it is read best: blocks lose spaces at the ends of lines, where quotes do not.
func (f *File) settings(config yaml.MapSlice) ([]byte, error) {
	for _, literal := range []bool{true, false} {
		out, err := yaml.MarshalWithOptions(config, yaml.UseLiteralStyleIfMultiline(literal))
		var back struct {
			Data map[string]string `yaml:"data"`
		}
		if err == nil && yaml.Unmarshal(out, &back) == nil && back.Data["campaign.yaml"] == string(f.text) {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%s cannot be put into a ConfigMap: it holds characters that YAML does not carry; write it in plain text", f.path)
}

// fillPod gives the pod its arguments and the campaign's file.
func (f *File) fillPod(job yaml.MapSlice, name string, b *Board) error {
	pod, err := mapping(job, "spec", "template", "spec")
	if err != nil {
		return err
	}
	containers, ok := value(*pod, "containers").([]any)
	if !ok || len(containers) != 1 {
		return errors.New("the Job's shape has not one container")
	}
	container, ok := containers[0].(yaml.MapSlice)
	if !ok {
		return errors.New("the Job's container is no mapping")
	}
	const folder = "/campaign"
	mounts, _ := value(container, "volumeMounts").([]any)
	volumes, _ := value(*pod, "volumes").([]any)
	replace(&container, "args", []string{"campaign", folder + "/campaign.yaml", "--board", b.Name, "--block", "$(JOB_COMPLETION_INDEX)", "--out", "/datasets"})
	replace(&container, "volumeMounts", append(mounts, yaml.MapSlice{{Key: "name", Value: "campaign"}, {Key: "mountPath", Value: folder}}))
	containers[0] = container
	replace(pod, "volumes", append(volumes, yaml.MapSlice{
		{Key: "name", Value: "campaign"},
		{Key: "configMap", Value: yaml.MapSlice{{Key: "name", Value: name}}},
	}))
	if len(b.NodeSelector) > 0 {
		replace(pod, "nodeSelector", b.NodeSelector)
	}
	return set(job, *pod, "spec", "template", "spec")
}

func value(m yaml.MapSlice, key string) any {
	for _, item := range m {
		if item.Key == key {
			return item.Value
		}
	}
	return nil
}

// replace sets a key, at its place or at the end.
func replace(m *yaml.MapSlice, key string, v any) {
	for i := range *m {
		if (*m)[i].Key == key {
			(*m)[i].Value = v
			return
		}
	}
	*m = append(*m, yaml.MapItem{Key: key, Value: v})
}

// mapping is the mapping at a path.
func mapping(m yaml.MapSlice, path ...string) (*yaml.MapSlice, error) {
	for _, key := range path {
		inner, ok := value(m, key).(yaml.MapSlice)
		if !ok {
			return nil, fmt.Errorf("the Job's shape has no %s", strings.Join(path, "."))
		}
		m = inner
	}
	return &m, nil
}

// set replaces what stands at a path, which must be there.
func set(m yaml.MapSlice, v any, path ...string) error {
	for i := range m {
		switch {
		case m[i].Key != path[0]:
			continue
		case len(path) == 1:
			m[i].Value = v
			return nil
		}
		if inner, ok := m[i].Value.(yaml.MapSlice); ok {
			return set(inner, v, path[1:]...)
		}
	}
	return fmt.Errorf("the Job's shape has no %s", path[0])
}
