package campaign

import (
	"slices"
	"strconv"
	"strings"
)

// portMark stands for a port that is free when a model's server is started.
const portMark = "{port}"

// AnyPort says whether the model's server takes whatever port is free.
func (m *Model) AnyPort() bool { return strings.Contains(m.Endpoint, portMark) }

// On is the model with its server on a port.
func (m *Model) On(port int) *Model {
	on := *m
	if !m.AnyPort() {
		return &on
	}
	fill := func(s string) string { return strings.ReplaceAll(s, portMark, strconv.Itoa(port)) }
	on.Endpoint = fill(m.Endpoint)
	if m.Serve == nil {
		return &on
	}
	serve := *m.Serve
	serve.Ready, serve.Command, serve.Env = fill(serve.Ready), slices.Clone(serve.Command), map[string]string{}
	for i := range serve.Command {
		serve.Command[i] = fill(serve.Command[i])
	}
	for name, value := range m.Serve.Env {
		serve.Env[name] = fill(value)
	}
	on.Serve = &serve
	return &on
}

// takesPort says whether the command is told the port.
func (s *Serve) takesPort() bool {
	if slices.ContainsFunc(s.Command, func(word string) bool { return strings.Contains(word, portMark) }) {
		return true
	}
	for _, value := range s.Env {
		if strings.Contains(value, portMark) {
			return true
		}
	}
	return false
}
