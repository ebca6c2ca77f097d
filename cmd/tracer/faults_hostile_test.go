package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostileWords move a terminal's cursor, set its title, clear its screen in 8-bit controls, turn the direction of writing,
// break the line, hide, and go on for long.
const hostileWords = "\x1b[2J\x1b]0;owned\x07 \u009b2J\u202edetcerid\u2066 \u200bhidden\u2028\r\nFAIL everything is lost\x00\U000e0041"

// mustNotShow are the bytes of these that may reach neither screen nor dataset.
var mustNotShow = []string{"\x1b", "\x07", "\u009b", "\u202e", "\u2066", "\u200b", "\u2028", "\x00", "\r", "\U000e0041", "\nFAIL everything"}

var hostileFaults = []fault{
	{"escape sequences in everything that a server says", "a server made for it", "no byte of them reaches screen or dataset; a model's name with them is refused; exit 2, 3 or 4", hostileServer},
	{"a credential in everything that a server or proxy says", "a server and a forward proxy made for it", "no byte of key, password or query reaches screen or dataset", hostileProxy},
}

// hostile is a server all of whose words are these. Real ones do not do this; ours must bear it.
func hostile(t *testing.T, words, model string) *httptest.Server {
	t.Helper()
	quoted, _ := json.Marshal(words + strings.Repeat("z", 2000))
	name, _ := json.Marshal(model)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":%s,"data":[{"id":%s,"owned_by":"vllm","max_model_len":%s}]}`, quoted, name, quoted)
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"version":%s}`, quoted) })
	mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Host, "refusing") {
			http.Error(w, string(quoted), http.StatusBadRequest)
			return
		}
		body, _ := io.ReadAll(r.Body)
		var q struct{ Prompt string }
		_ = json.Unmarshal(body, &q)
		fmt.Fprintf(w, `{"count":%d,"max_model_len":100000,"tokens":%s}`, max(1, len(strings.Fields(q.Prompt))), quoted)
	})
	asked := 0
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch asked++; asked % 3 {
		case 0:
			http.Error(w, fmt.Sprintf(`{"error":{"message":%s,"type":%s}}`, quoted, quoted), http.StatusBadRequest)
		case 1:
			fmt.Fprintf(w, "data: {\"model\":%s,\"choices\":[{\"delta\":{\"content\":%s},\"finish_reason\":%s}]}\n\ndata: [DONE]\n\n", quoted, quoted, quoted)
		default:
			fmt.Fprintf(w, "data: {\"error\":{\"message\":%s}}\n\n%s: %s\n\ndata: [DONE]\n\n", quoted, words, words)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, http.StatusNotFound) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// whatever exit code: doctor looks at more than the server.
const whatever = -1

func hostileServer(t *testing.T) {
	_, env := simulatedServer(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		model string
		args  []string
		code  int
	}{
		"collect":          {"plain", collectArgs(dir, "run", "--workload", "decode", "--sizes", "10", "--prompts", "5", "--idle", "0s", "--pause", "0s"), exitPartial},
		"prompts":          {"plain", []string{"prompts", "--out", dir, "--sizes", "10", "--prompts", "1"}, exitOK},
		"doctor":           {"plain", []string{"doctor", "--out", dir}, whatever},
		"named so":         {hostileWords, collectArgs(dir, "named"), exitUsage},
		"asked for":        {hostileWords, collectArgs(dir, "asked", "--model", "other"), exitUsage},
		"too long a name":  {strings.Repeat("n", 5000), collectArgs(dir, "long"), exitUsage},
		"doctor, named so": {hostileWords, []string{"doctor", "--out", dir}, exitEnvironment},
	} {
		cmd := exec.Command(program(t), append(c.args, "--endpoint", hostile(t, hostileWords, c.model).URL+"/v1")...)
		cmd.Env = environ(env...)
		out, _ := cmd.CombinedOutput() // the exit code is looked at next
		if code := cmd.ProcessState.ExitCode(); c.code != whatever && code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%q", name, code, c.code, out)
		}
		harmless(t, name, string(out))
		if len(out) > 20_000 {
			t.Errorf("%s: %d bytes of output", name, len(out))
		}
	}
	for _, of := range []string{"requests", "runs"} {
		rows := table(t, files(t, dir, of, "run")[0])
		harmless(t, of, fmt.Sprint(rows))
		for _, r := range rows {
			for column, v := range r {
				if text, ok := v.(string); ok && (len(text) > 1000 || !utf8.ValidString(text)) {
					t.Errorf("%s.%s has %d bytes", of, column, len(text))
				}
			}
		}
	}
}

func harmless(t *testing.T, where, text string) {
	t.Helper()
	for _, s := range mustNotShow {
		if i := strings.Index(text, s); i >= 0 {
			t.Errorf("%s shows %q in %q", where, s, text[max(0, i-100):min(len(text), i+50)])
		}
	}
}

// hostileProxy repeats to the client what it and the proxy's user were told.
func hostileProxy(t *testing.T) {
	const key, user, query = "sk-echoed-0123456789", "hush-proxy-password", "hush-endpoint-query"
	_, env := simulatedServer(t)
	for name, c := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, echoed(r), http.StatusProxyAuthRequired)
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://u:"+user+"@elsewhere.invalid/"+key+"?"+r.URL.RawQuery+r.Header.Get("Proxy-Authorization"), http.StatusTemporaryRedirect)
		},
		"answers": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				fmt.Fprintf(w, `{"data":[{"id":"m","owned_by":"vllm"}]}`)
				return
			}
			http.Error(w, echoed(r), http.StatusBadRequest)
		},
		"breaks": func(w http.ResponseWriter, r *http.Request) {
			conn := raw(w)
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\n%s\r\n\r\n", echoed(r), echoed(r))
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := httptest.NewServer(c)
			defer proxy.Close()
			dir := t.TempDir()
			for _, args := range [][]string{collectArgs(dir, "run", "--sizes", "10", "--prompts", "2", "--tokenizer", "o200k_base", "--idle", "0s"), {"doctor", "--out", dir}, {"prompts", "--out", dir, "--sizes", "10"}} {
				cmd := exec.Command(program(t), append(args, "--endpoint", "http://u:"+user+"2@model.invalid/v1?k="+query)...)
				cmd.Env = environ(append(env, "TRACER_API_KEY="+key, "HTTP_PROXY="+strings.Replace(proxy.URL, "://", "://user:"+user+"@", 1))...)
				out, _ := cmd.CombinedOutput() // the exit code is looked at next
				if code := cmd.ProcessState.ExitCode(); code == exitOK && args[0] != "doctor" {
					t.Errorf("%v: exit code 0\n%s", args, out)
				}
				for _, secret := range []string{key, user, query} {
					holdsNoSecret(t, dir, string(out), secret)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "requests")); (err == nil) != (name == "answers") {
				t.Errorf("requests are written: %v", err)
			}
		})
	}
}

// echoed is everything that a client told, in a few forms.
func echoed(r *http.Request) string {
	return strings.Join([]string{r.Header.Get("Authorization"), r.Header.Get("Proxy-Authorization"), r.URL.String(), r.URL.RawQuery, fmt.Sprint(r.Header)}, " ")
}
