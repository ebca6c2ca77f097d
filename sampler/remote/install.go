package remote

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
)

// Marks that the script below prints at the beginning of a line; what a login prints besides is passed over.
const (
	mark       = "@tracer "
	markReady  = mark + "ready" // and then the agent speaks
	markSend   = mark + "send"  // the program's bytes are to follow
	markFailed = mark + "failed "
)

// program is this program, as it is to stand on the host.
type program struct {
	path   string // here
	size   int64
	sha256 string // hex
}

// script is what sh does on the host: find the program by its checksum, or take it over stdin, and become the agent. It is one
// line without exclamation marks, for the sake of users whose login shell is csh.
//
// The program stands in a folder named by its checksum, under the name tracer. The first folder of the list is taken that is the
// user's own, can be written, and from which programs can be started; what was not used for thirty days is removed there.
func (t *Target) script(p program, session string) string {
	folders := `"${XDG_CACHE_HOME:-$HOME/.cache}/tracer" "/var/tmp/tracer-$(id -u)" "/tmp/tracer-$(id -u)"`
	if t.Cache != "" {
		folders = quoted(t.Cache)
	}
	env := make([]string, len(t.Env))
	for i, e := range t.Env {
		env[i] = " " + quoted(e)
	}
	key := p.sha256[:16]
	lines := []string{
		`umask 077`,
		`fail() { echo "` + markFailed + `$*"; exit 1; }`,
		`become() { touch "$1"; echo "` + markReady + `"; cd /; exec env` + strings.Join(env, "") + ` "$1/tracer" agent --stdio --session ` + session + `; }`,
		`sum() { sha256sum <"$1" | cut -c1-64; }`,
		`have=$(uname -s)/$(uname -m)`,
		`test "$have" = ` + machine() + ` || fail "the host is $have, and this program is for ` + machine() + `: run a tracer that is built for $have, on that host"`,
		`command -v sha256sum >/dev/null || fail "the host lacks sha256sum (coreutils), which checks the program that is copied there"`,
		`for d in ` + folders + `; do if test -x "$d/` + key + `/tracer" && test -O "$d" && test "$(sum "$d/` + key + `/tracer")" = ` + p.sha256 + `; then become "$d/` + key + `"; fi; done`,
		`pick=; tried=`,
		`for d in ` + folders + `; do if why=$( { mkdir -p "$d/` + key + `" && printf "#\041/bin/sh\n" >"$d/` + key + `/try.$$" && chmod 700 "$d/` + key + `/try.$$" && "$d/` + key + `/try.$$" && test -O "$d"; } 2>&1 ); then rm -f "$d/` + key + `/try.$$"; pick=$d; break; fi; rm -f "$d/` + key + `/try.$$" 2>/dev/null; rmdir "$d/` + key + `" "$d" 2>/dev/null; tried="$tried; $d: ${why:-is not yours}"; done`,
		`test -n "$pick" || fail "no folder there can hold the program and run it$tried; name one with ?cache=DIR"`,
		`find "$pick" -mindepth 1 -maxdepth 1 -type d -name "[0-9a-f]*" -mtime +30 -exec rm -rf {} + 2>/dev/null`,
		`echo "` + markSend + `"`,
		fmt.Sprintf(`new="$pick/%s/new.$$"; if why=$( { head -c %d >"$new"; } 2>&1 ); then :; else rm -f "$new"; fail "writing $new: $why"; fi`, key, p.size),
		`got=$(sum "$new"); if test "$got" = ` + p.sha256 + `; then :; else rm -f "$new"; fail "what arrived in $new has checksum $got, not ` + p.sha256 + `: the copy was damaged or cut short; try again"; fi`,
		`chmod 700 "$new" && mv -f "$new" "$pick/` + key + `/tracer" || fail "putting the program into $pick failed"`,
		`become "$pick/` + key + `"`,
	}
	return "exec sh -c " + quoted(strings.Join(lines, "; "))
}

// machine is what uname says where this program runs.
func machine() string {
	names := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	return "Linux/" + cmp.Or(names[runtime.GOARCH], runtime.GOARCH)
}

// quoted is a word of sh's.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
