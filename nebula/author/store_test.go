package author

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnswersSurviveAndAreMarkedWhereRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "answers.jsonl")
	open := func() *Store {
		t.Helper()
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, p := range []Passage{{Key: "a", Text: "One."}, {Key: "b", Text: "Two."}, {Key: "c", Text: "One."}} {
		if _, err := s.add(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "another tracer is writing prompts there") {
		t.Errorf("a second writer: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	for key, repeated := range map[string]bool{"a": false, "b": false, "c": true} {
		if p, found := s.find(key); !found || p.Repeated != repeated {
			t.Errorf("%s: %+v, found %t", key, p, found)
		}
	}
	if s.Len() != 3 {
		t.Errorf("%d answers", s.Len())
	}
}

func TestAStoreIsReadUpToItsTornLineAndRefusedAtABadOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const whole = `{"key":"a","text":"One."}` + "\n"
	write(whole + `{"key":"b","te`)
	s, err := Open(path)
	if err != nil || s.Len() != 1 {
		t.Fatalf("%v", err)
	}
	if peeked, err := Peek(path); err != nil || peeked.Len() != 1 { // while another has it
		t.Errorf("peeking: %v", err)
	}
	if _, err := s.add(Passage{Key: "c", Text: "Three."}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(path); err != nil || s.Len() != 2 {
		t.Fatalf("after the torn line: %v", err)
	}
	s.Close()
	const torn = whole + `{"key":"b","te`
	write(torn)
	if peeked, err := Peek(path); err != nil || peeked.Len() != 1 {
		t.Errorf("peeking: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != torn {
		t.Errorf("peeking left %q, %v", after, err)
	}
	if none, err := Peek(path + ".none"); err != nil || none.Len() != 0 {
		t.Errorf("peeking at nothing: %v", err)
	}
	write(whole + "not JSON\n" + whole)
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path+":2: no stored answer; remove that line") {
		t.Errorf("a bad line: %v", err)
	}
}

func TestNothingIsAddedAfterALineThatFailed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s.file.Close() // as a disk that went away
	for range 2 {
		if _, err := s.add(Passage{Key: "a", Text: "One."}); err == nil || !strings.Contains(err.Error(), "storing an answer") {
			t.Errorf("%v", err)
		}
	}
	if s.Len() != 0 {
		t.Error("an answer that is not on the disk passes for stored")
	}
}

func TestProseIsPlainTextUpToItsLastSentence(t *testing.T) {
	for answer, want := range map[string]string{
		"":          "",
		"no end":    "",
		"One. Two!": "One. Two!",
		"## Title\n\nOne **bold** word.\n\n- First. \n2) Second.\n---\nCut of": "One bold word. First. Second.",
		"<think>hm. well.</think>He said \"yes.\" And th":                      "He said \"yes.\"",
		"hm. well.</think>\nIt was.":                                           "It was.",
		"<think>it never ends.":                                                "",
		"One\n line.\tTwo.":                                                    "One line. Two.",
	} {
		if got := prose(answer); got != want {
			t.Errorf("%q becomes %q, want %q", answer, got, want)
		}
	}
}
