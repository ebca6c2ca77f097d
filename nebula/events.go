package nebula

import (
	"bytes"
	"encoding/json"
)

// event is one server-sent event: its data, and when its last line arrived.
type event struct {
	data      []byte
	arrivedNS int64
}

var (
	byteOrderMark = []byte("\ufeff")
	errorField    = []byte("error:") // llama.cpp's older way to put an error into a stream
)

// events are the events of a recorded stream, without [DONE]; other says whether lines were found that belong to no
// event stream.
//
// The standard joins the data lines of one event and ends it at an empty line. Some proxies lose the empty lines, so
// data lines that make no JSON together are taken one by one.
func (r *recording) events() (all []event, other bool) {
	var open []event // data lines since the last empty line
	flush := func() {
		all = append(all, merged(open)...)
		open = open[:0]
	}
	for i, l := range r.lines {
		text := bytes.TrimSuffix(r.text(l), []byte{'\r'})
		if i == 0 {
			text = bytes.TrimPrefix(text, byteOrderMark)
		}
		data, found := bytes.CutPrefix(text, dataField)
		if !found {
			data, found = bytes.CutPrefix(text, errorField)
		}
		switch {
		case found:
			data = bytes.TrimSpace(data)
			if !bytes.Equal(data, doneWord) && len(data) > 0 {
				open = append(open, event{data: data, arrivedNS: l.arrivedNS})
			}
		case len(text) == 0:
			flush()
		default:
			other = other || !ignorable(text)
		}
	}
	flush()
	return all, other
}

// ignorable says whether a line is a comment or one of the event stream's other fields.
func ignorable(text []byte) bool {
	name, _, _ := bytes.Cut(text, []byte{':'})
	switch string(name) {
	case "", "event", "id", "retry":
		return true
	default:
		return false
	}
}

// merged is one event of several data lines or, where they are no JSON together, one event a line.
func merged(lines []event) []event {
	if len(lines) < 2 {
		return lines
	}
	var whole []byte
	for i, l := range lines {
		if i > 0 {
			whole = append(whole, '\n')
		}
		whole = append(whole, l.data...)
	}
	if !json.Valid(whole) {
		return lines
	}
	return []event{{data: whole, arrivedNS: lines[len(lines)-1].arrivedNS}}
}
