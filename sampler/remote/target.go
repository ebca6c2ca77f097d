package remote

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Scheme begins a host in a list of boards.
const Scheme = "ssh://"

// Target is a host as the user names it.
type Target struct {
	Name    string // user@host:port
	Address string // user@host, as ssh takes it
	Port    string // empty for ssh's own choice
	Boards  string // auto, 0,2, GPU-… or sim:…
	Library string // of NVML, on the host; empty for the loader's choice
	Cache   string // folder for the program, on the host; empty for the usual ones
	Env     []string
}

// Split divides a list of boards into those that are here and the hosts: what follows a host, up to the next, is that host's.
func Split(list string) (here string, hosts []string) {
	var mine []string
	for part := range strings.SplitSeq(list, ",") {
		switch {
		case strings.HasPrefix(part, Scheme):
			hosts = append(hosts, part)
		case len(hosts) > 0:
			hosts[len(hosts)-1] += "," + part
		default:
			mine = append(mine, part)
		}
	}
	return strings.Join(mine, ","), hosts
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.@%-]*$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Shown is a host's name as it may be told: without what stands for a password.
func Shown(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	user, at, found := strings.Cut(text, "@")
	if found && strings.Count(user, ":") > 1 {
		return Scheme + "…@" + at
	}
	return text
}

// ShownList is a list of boards as it may be told.
func ShownList(list string) string {
	here, hosts := Split(list)
	var all []string
	if here != "" {
		all = append(all, here)
	}
	for _, h := range hosts {
		all = append(all, Shown(h))
	}
	return strings.Join(all, ",")
}

// Parse reads ssh://[user@]host[:port][/BOARDS][?gpu=BOARDS&library=PATH&cache=DIR&env=NAME=VALUE].
func Parse(text string) (t Target, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return t, errors.New("that is no address; write ssh://user@host:port/0,1")
	}
	t.Address, t.Port = u.Hostname(), u.Port()
	if strings.Contains(t.Address, ":") || !plainName.MatchString(t.Address) {
		return t, fmt.Errorf("%q is no name of a host; write ssh://user@host, and addresses of IPv6 as a Host in ~/.ssh/config", t.Address)
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			return t, errors.New("a password does not belong into a command; use ssh's keys or agent")
		}
		if !plainName.MatchString(u.User.Username()) {
			return t, fmt.Errorf("%q is no name of a user", u.User.Username())
		}
		t.Address = u.User.Username() + "@" + t.Address
	}
	if t.Name = t.Address; t.Port != "" {
		if n, err := strconv.Atoi(t.Port); err != nil || n < 1 || n > 65535 {
			return t, fmt.Errorf("%q is no port", t.Port)
		}
		t.Name += ":" + t.Port
	}
	if u.Fragment != "" {
		return t, fmt.Errorf("#%s means nothing; boards are named as ssh://user@host/0,1", u.Fragment)
	}
	t.Boards = strings.TrimPrefix(u.Path, "/")
	return t, t.options(u.RawQuery)
}

// options are read by hand: net/url takes a + for a space, and lists of boards hold commas.
func (t *Target) options(query string) error {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("?%s cannot be read: %w", pair, err)
		}
		switch key {
		case "gpu":
			if t.Boards != "" {
				return errors.New("its boards are named twice, in the path and by ?gpu=")
			}
			t.Boards = value
		case "library":
			t.Library = value
		case "cache":
			t.Cache = value
		case "env":
			if name, _, ok := strings.Cut(value, "="); !ok || !envName.MatchString(name) {
				return fmt.Errorf("?env=%s: write ?env=NAME=VALUE", value)
			}
			t.Env = append(t.Env, value)
		default:
			return fmt.Errorf("?%s is not known; there are gpu, library, cache and env", key)
		}
	}
	if t.Boards == "" {
		t.Boards = "auto"
	}
	return nil
}
