package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula/author"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/schema"
)

const writer = "FAST.gpt-oss:120b"

// writing is tracer prompts asking a server; 28 answers make the texts, which are longer than what was asked for.
func writing(t *testing.T, s *openWebUI, dir string, more ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"prompts", "--source", "nebula", "--writer", writer, "--out", dir, "--sizes", "10,50,1000,3000", "--prompts", "4", "--json"}, more...)
	cmd := exec.Command(program(t), args...)
	cmd.Env = environ("NEBULA_API_KEY="+nebulaKey, "NEBULA_BASE_URL="+s.URL+"/api")
	return cmd
}

// written runs it to its end.
func written(t *testing.T, s *openWebUI, dir string) (prompts []schema.Prompt, said string) {
	t.Helper()
	cmd := writing(t, s, dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tracer prompts: %v\n%s", err, &stderr)
	}
	var made madeCorpus
	if err := json.Unmarshal(stdout.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	prompts, err := analysis.ReadCorpus(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	if schema.CorpusID(prompts) != made.ID {
		t.Errorf("%s holds corpus %s", made.Path, schema.CorpusID(prompts))
	}
	return prompts, stdout.String() + stderr.String()
}

func TestAModelWritesACorpusOfExactSizes(t *testing.T) {
	s, dir := startOpenWebUI(t, nil), t.TempDir()
	prompts, said := written(t, s, dir)
	if len(prompts) != 32 {
		t.Fatalf("%d prompts", len(prompts))
	}
	texts := map[string]bool{}
	for _, p := range prompts {
		if texts[p.Text] {
			t.Errorf("%s has the text of another", p.ID)
		}
		texts[p.Text] = true
		byModel := p.Workload == schema.WorkloadPrefill && p.TargetTokens > 10
		if (p.Source == corpus.SourceNebula) != byModel || (p.WrittenBy == writer) != byModel || (p.CreatedUnixMS > 0) != byModel {
			t.Errorf("%s is from %s, by %q at %d", p.ID, p.Source, p.WrittenBy, p.CreatedUnixMS)
		}
		if p.Workload == schema.WorkloadPrefill && tokens.Count(p.Text) != int(p.TargetTokens) {
			t.Errorf("%s has %d tokens", p.ID, tokens.Count(p.Text))
		}
		if byModel && (!strings.Contains(p.Text, " met. Once upon a time ") || !strings.HasSuffix(p.Text, ". "+corpus.Instruction) || strings.ContainsAny(p.Text, "#*\n")) {
			t.Errorf("%s: %.200q", p.ID, p.Text)
		}
	}
	answered, _ := s.counts()
	if _, busiest, _ := s.seen(); answered != 28 || busiest > corpus.Workers {
		t.Errorf("%d answers, %d at once", answered, busiest)
	}
	holdsNoSecret(t, dir, said, nebulaKey)
}

// A server that cools down, asks to wait, breaks streams, and a tracer that is killed while four questions wait: the
// outcome is that of a quiet day, and no question is answered twice.
func TestAKilledAndDisturbedWritingGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	quiet, _ := written(t, startOpenWebUI(t, nil), t.TempDir())

	const until = 17
	s := startOpenWebUI(t, func(s *openWebUI) { s.moody, s.gate, s.open = true, until, make(chan struct{}) })
	dir := t.TempDir()
	cmd := writing(t, s, dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range corpus.Workers {
		select {
		case <-s.waiting:
		case <-time.After(time.Minute):
			t.Fatal("it does not ask")
		}
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)) // what ps shows
	if err != nil || len(line) == 0 || bytes.Contains(line, []byte(nebulaKey)) {
		t.Errorf("command line %q, %v", line, err)
	}
	stored, err := os.ReadFile(filepath.Join(dir, "_tracer", "prompts", "answers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	answered, _ := s.counts()
	if n := bytes.Count(stored, []byte("\n")); n != answered || n < 8 {
		t.Fatalf("%d answers are stored of %d", n, answered)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s.mu.Lock()
	s.gate = 1 << 30
	s.mu.Unlock()
	close(s.open)
	// The line that was being written is half there.
	torn, err := os.OpenFile(filepath.Join(dir, "_tracer", "prompts", "answers.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.WriteString(`{"key":"half`); err != nil {
		t.Fatal(err)
	}
	torn.Close()

	var cost struct{ Requests, Stored int }
	out, err := writing(t, s, dir, "--dry-run").Output()
	if err == nil {
		err = json.Unmarshal(out, &cost)
	}
	if err != nil || cost.Stored != answered || cost.Requests != 32-answered { // planned for answers of the length asked for
		t.Errorf("dry run: %s, %v", out, err)
	}
	prompts, more := written(t, s, dir)
	all, repeated := s.counts()
	asked, busiest, early := s.seen()
	if all != 28 || len(repeated) > 0 || busiest > corpus.Workers || early > 0 {
		t.Errorf("%d answers, %d of them twice, %d questions at once, %d too early", all, len(repeated), busiest, early)
	}
	same := slices.EqualFunc(quiet, prompts, func(a, b schema.Prompt) bool { return a.ID == b.ID && a.Text == b.Text && a.WrittenBy == b.WrittenBy })
	if !same || schema.CorpusID(quiet) != schema.CorpusID(prompts) {
		t.Error("the corpus is another than that of a quiet day")
	}
	written(t, s, dir)
	if again, _, _ := s.seen(); again != asked {
		t.Errorf("a third run asked %d times", again-asked)
	}
	holdsNoSecret(t, dir, said.String()+more, nebulaKey)
}

// The corpus is sent to such a server, whose administrator has bounded the context: prompts that it cut are marked, and the
// others are not held against a vocabulary that is not its model's.
func TestACorpusIsSentToAServerThatCuts(t *testing.T) {
	t.Parallel()
	library, dir := fakeLibrary(t), t.TempDir()
	s := startOpenWebUI(t, func(s *openWebUI) { s.longest = 2048 })
	board := filepath.Join(dir, "boards")
	startSim(t, "--gpu", "sim:A10", "--board-file", board)
	out, err := exec.Command(program(t), "prompts", "--out", dir, "--sizes", "50,3000", "--prompts", "3", "--json").Output()
	var made madeCorpus
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + board, "TRACER_API_KEY=" + nebulaKey}
	collectOrFail(t, env, collectArgs(dir, "web", "--endpoint", s.URL+"/api", "--model", writer, "--corpus", made.Path, "--repeat", "2", "--idle", "0s")...)
	if run := table(t, files(t, dir, "runs", "web")[0])[0]; run["corpus_id"] != made.ID || run["server"] != "openwebui" || run["tokenizer"] != "o200k_base" {
		t.Errorf("corpus %v to a %v, counted by %v", run["corpus_id"], run["server"], run["tokenizer"])
	}
	openings, rows := map[any]bool{}, table(t, files(t, dir, "requests", "web")[0])
	for _, r := range rows {
		if r["opening"] == nil || openings[r["opening"]] {
			t.Errorf("%s begins with %v", r["request_id"], r["opening"])
		}
		openings[r["opening"]] = true
		want := "[]"
		if r["workload"] == "prefill" && r["target_tokens"] == int32(3000) {
			want = `["tokens_truncated"]`
		}
		if got := fmt.Sprintf("%s", r["invalid_reasons"]); got != want {
			t.Errorf("%v of %v tokens, %v counted: %s", r["workload"], r["text_tokens"], r["input_tokens"], got)
		}
	}
	if len(rows) != 26 {
		t.Errorf("%d requests", len(rows))
	}
	holdsNoSecret(t, dir, string(out), nebulaKey)
}

func TestAnInterruptedWritingKeepsItsAnswers(t *testing.T) {
	s := startOpenWebUI(t, func(s *openWebUI) { s.gate, s.open = 6, make(chan struct{}) })
	defer close(s.open)
	dir := t.TempDir()
	cmd := writing(t, s, dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range corpus.Workers {
		<-s.waiting
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is looked at next
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !regexp.MustCompile(`no corpus was written, and [1-9]\d* answers are kept in .*answers\.jsonl`).MatchString(said.String()) {
		t.Errorf("exit code %d: %s", code, &said)
	}
	stored, err := os.ReadFile(filepath.Join(dir, "_tracer", "prompts", "answers.jsonl"))
	if n := bytes.Count(stored, []byte("\n")); err != nil || n != 6 {
		t.Errorf("%d answers are stored, %v", n, err)
	}
	if published, _ := filepath.Glob(filepath.Join(dir, "prompts", "*")); len(published) > 0 {
		t.Errorf("published %v", published)
	}
}

func TestAModelThatRepeatsItselfIsToldAfterAFewTries(t *testing.T) {
	s := startOpenWebUI(t, func(s *openWebUI) { s.parrot = true })
	out, _ := writing(t, s, t.TempDir()).CombinedOutput()
	if requests, _, _ := s.seen(); !bytes.Contains(out, []byte("gave 4 different questions the same answer; choose another model; or another seed, since ")) || !bytes.Contains(out, []byte("answers.jsonl keeps its answers")) || requests > 20 {
		t.Errorf("%d requests: %s", requests, out)
	}
}

func TestProgressBeyondThePlanIsNoFractionOfIt(t *testing.T) {
	cost := author.Cost{Requests: 3}
	for asked, want := range map[int64]string{
		0: "0 of about 3 answers, 50 tokens, some time left",
		2: "2 of about 3 answers, 50 tokens, 5s left",
		8: "8 answers, about 3 were planned, 50 tokens, some time left",
	} {
		if got := writingProgress(asked, 50, cost, 10*time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAWriterThatRefusesTheKeyIsTold(t *testing.T) {
	s, dir := startOpenWebUI(t, nil), t.TempDir()
	cmd := writing(t, s, dir)
	cmd.Env = environ("NEBULA_API_KEY=sk-wrong-0123456789", "NEBULA_BASE_URL="+strings.Replace(s.URL, "://", "://user:hush-password@", 1)+"/api?token=hush-token")
	out, _ := cmd.CombinedOutput() // the exit code is looked at next
	holdsNoSecret(t, dir, string(out), "hush-password")
	holdsNoSecret(t, dir, string(out), "hush-token")
	if code := cmd.ProcessState.ExitCode(); code != exitEnvironment || !bytes.Contains(out, []byte("refuses the key")) {
		t.Errorf("exit code %d: %s", code, out)
	}
	holdsNoSecret(t, dir, string(out), "sk-wrong-0123456789")
}

// The traced server's key, from the environment and from a file.
func TestTheTracedServersKeyIsWrittenNowhere(t *testing.T) {
	t.Parallel()
	const secret = "sk-traced-0123456789abcdef"
	dir := t.TempDir()
	file := filepath.Join(dir, "key.txt")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	library, board := fakeLibrary(t), filepath.Join(dir, "boards")
	url := startSim(t, "--gpu", "sim:H200", "--require-key-file", file, "--board-file", board)
	for i, key := range []struct {
		env  string
		args []string
	}{{"TRACER_API_KEY=" + secret, nil}, {"TRACER_API_KEY=sk-other", []string{"--api-key-file", file}}} {
		out := filepath.Join(dir, fmt.Sprint("ds", i))
		cmd := exec.Command(program(t), append(collectArgs(out, "keyed", "--endpoint", url, "--sizes", "10", "--prompts", "1", "--idle", "100ms"), key.args...)...)
		cmd.Env = environ("LD_LIBRARY_PATH="+library, "TRACER_FAKENVML="+board, key.env)
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		holdsNoSecret(t, out, string(said)+strings.Join(cmd.Args, " "), secret)
	}
	wrong := exec.Command(program(t), collectArgs(filepath.Join(dir, "ds2"), "wrong", "--endpoint", url, "--sizes", "10", "--prompts", "1")...)
	wrong.Env = environ("LD_LIBRARY_PATH="+library, "TRACER_FAKENVML="+board, "TRACER_API_KEY=sk-wrong-0123456789")
	said, _ := wrong.CombinedOutput() // the exit code is looked at next
	if code := wrong.ProcessState.ExitCode(); code != exitEnvironment {
		t.Errorf("exit code %d: %s", code, said)
	}
	holdsNoSecret(t, filepath.Join(dir, "ds2"), string(said), "sk-wrong-0123456789")
}

// holdsNoSecret looks through every file below dir, and what the program said.
func holdsNoSecret(t *testing.T, dir, said, secret string) {
	t.Helper()
	forms := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("%x", secret)}
	look := func(where string, text []byte) {
		for _, form := range forms {
			if bytes.Contains(text, []byte(form)) {
				t.Errorf("the key is in %s", where)
			}
		}
	}
	look("the output", []byte(said))
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // a folder that was never made holds nothing
		}
		text, err := os.ReadFile(path)
		look(path, text)
		if err == nil && strings.HasSuffix(path, ".parquet") { // compressed
			look(path+", uncompressed", fmt.Append(nil, table(t, path)))
		}
		files++
		return err
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d files and %d bytes of output looked at", files, len(said))
}
