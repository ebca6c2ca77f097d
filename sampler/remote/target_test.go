package remote

import (
	"slices"
	"strings"
	"testing"
)

func TestBoardsBehindAHostAreItsOwn(t *testing.T) {
	here, hosts := Split("0,GPU-1,ssh://a/0,1,ssh://b/?gpu=GPU-2,GPU-3,sim:A10")
	if here != "0,GPU-1" || !slices.Equal(hosts, []string{"ssh://a/0,1", "ssh://b/?gpu=GPU-2,GPU-3,sim:A10"}) {
		t.Errorf("%q, %q", here, hosts)
	}
	if here, hosts := Split("auto"); here != "auto" || hosts != nil {
		t.Errorf("%q, %q", here, hosts)
	}
}

func TestAHostIsReadFromItsAddress(t *testing.T) {
	for text, want := range map[string]Target{
		"ssh://gpu1":                         {Name: "gpu1", Address: "gpu1", Boards: "auto"},
		"ssh://me@gpu1:2222/0,1":             {Name: "me@gpu1:2222", Address: "me@gpu1", Port: "2222", Boards: "0,1"},
		"ssh://gpu_1/?gpu=GPU-a&cache=/b%26": {Name: "gpu_1", Address: "gpu_1", Boards: "GPU-a", Cache: "/b&"},
		"ssh://h/sim:A10?env=A=B=C&env=D=":   {Name: "h", Address: "h", Boards: "sim:A10", Env: []string{"A=B=C", "D="}},
		"ssh://h?library=/x+y/l.so":          {Name: "h", Address: "h", Boards: "auto", Library: "/x+y/l.so"},
	} {
		got, err := Parse(text)
		if err != nil || got.Name != want.Name || got.Address != want.Address || got.Port != want.Port || got.Boards != want.Boards ||
			got.Library != want.Library || got.Cache != want.Cache || !slices.Equal(got.Env, want.Env) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"ssh://":                    "no name of a host",
		"ssh://-oProxyCommand=x":    "no name of a host",
		"ssh://-l@h":                "no name of a user",
		"ssh://[::1]":               "~/.ssh/config",
		"ssh://a:b@h":               "password",
		"ssh://h:0":                 "no port",
		"ssh://h:ssh":               "no address",
		"ssh://h/0?gpu=1":           "named twice",
		"ssh://h?env=1A=B":          "NAME=VALUE",
		"ssh://h?gpus=0":            "not known",
		"ssh://h/0#1":               "#1 means nothing",
		"ssh://h;rm -rf /tmp/x/0":   "no address",
		"ssh://h$(reboot)/0":        "no ",
		"ssh://h?library=%zz":       "cannot be read",
		"ssh://me you@h/0":          "",
		"ssh://h/0?env=A=B;C&x=y":   "not known",
		"ssh://us'er@h/0":           "no name of a user",
		"ssh://h'; touch /tmp/x; '": "no ",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

func TestAPasswordIsNotTold(t *testing.T) {
	for _, text := range []string{"ssh://me:secret@h/0", "ssh://me:secret@h:bad/0"} {
		if shown := Shown(text); strings.Contains(shown, "secret") {
			t.Errorf("%s", shown)
		}
		if shown := ShownList("0," + text + ",1"); strings.Contains(shown, "secret") || !strings.HasPrefix(shown, "0,ssh://") {
			t.Errorf("%s", shown)
		}
	}
}

func TestWordsOfTheShellAreQuoted(t *testing.T) {
	if got := quoted("it's $(x)"); got != `'it'\''s $(x)'` {
		t.Error(got)
	}
}
