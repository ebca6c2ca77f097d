package nebula

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// answer is what a recorded stream says.
type answer struct {
	events  int
	garbage int // events that are no JSON

	tokensNS []int64 // arrivals of the chunks that said something; how many tokens each held only the server knows
	model    string
	finish   string
	text     string // the content, where it was wanted
	usage    *usage
	timings  *timings
	metrics  *metrics
	refusal  *refusal // an error in the middle of the stream
}

// chunk is one event of a chat or text completion, with the fields of all servers.
type chunk struct {
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage"`
	Timings *timings `json:"timings"`
	Metrics *metrics `json:"metrics"`
}

type choice struct {
	Delta        delta   `json:"delta"`
	Text         said    `json:"text"`
	FinishReason *string `json:"finish_reason"`
}

type delta struct {
	Content          said `json:"content"`
	ReasoningContent said `json:"reasoning_content"`
	Reasoning        said `json:"reasoning"`
	Thinking         said `json:"thinking"`
	ToolCalls        said `json:"tool_calls"`
}

// said is a field that carries tokens when it is not empty, whatever its JSON type.
type said []byte

// UnmarshalJSON keeps the field unless it is null or empty.
func (s *said) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null", `""`, "[]", "{}":
		*s = nil
	default:
		*s = append((*s)[:0], b...)
	}
	return nil
}

func (c *choice) said() bool {
	d := &c.Delta
	return d.Content != nil || d.ReasoningContent != nil || d.Reasoning != nil || d.Thinking != nil ||
		d.ToolCalls != nil || c.Text != nil
}

// words are the answer's own text in a choice, without reasoning and tool calls.
func (c *choice) words() string {
	for _, s := range []said{c.Delta.Content, c.Text} {
		var text string
		if s != nil && json.Unmarshal(s, &text) == nil {
			return text
		}
	}
	return ""
}

// decode reads a recorded stream. Later chunks outdo earlier ones where both count or time: vLLM can send a running
// usage with every chunk.
func decode(events []event, keepText bool) *answer {
	a := &answer{events: len(events)}
	var text strings.Builder
	for _, e := range events {
		var c chunk
		if err := unmarshalLoosely(e.data, &c); err != nil {
			a.garbage++
			continue
		}
		if a.refusal == nil && len(c.Choices) == 0 {
			a.refusal = refusalIn(e.data)
		}
		spoke := false
		for i := range c.Choices {
			ch := &c.Choices[i]
			spoke = spoke || ch.said()
			if ch.FinishReason != nil && *ch.FinishReason != "" {
				a.finish = *ch.FinishReason
			}
			if keepText {
				text.WriteString(ch.words())
			}
		}
		if spoke {
			a.tokensNS = append(a.tokensNS, e.arrivedNS)
		}
		a.take(&c)
	}
	a.text = text.String()
	return a
}

func (a *answer) take(c *chunk) {
	if c.Model != "" {
		a.model = c.Model
	}
	if c.Usage != nil {
		a.usage = c.Usage
	}
	if c.Timings != nil {
		a.timings = c.Timings
	}
	if c.Metrics != nil {
		a.metrics = c.Metrics
	}
}

// unmarshalLoosely lets a field of an unexpected type stay empty: servers put words such as "N/A" where numbers belong.
func unmarshalLoosely(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return nil
	}
	return err
}

// interTokenLatency is the median and the 99th percentile (nearest rank) of the gaps between arrivals of chunks with
// tokens, in seconds; absent where there is no gap.
func (a *answer) interTokenLatency() (p50, p99 schema.Opt[float64]) {
	if len(a.tokensNS) < 2 {
		return p50, p99
	}
	gaps := make([]int64, len(a.tokensNS)-1)
	for i := range gaps {
		gaps[i] = a.tokensNS[i+1] - a.tokensNS[i]
	}
	slices.Sort(gaps)
	rank := func(percent int) schema.Opt[float64] {
		i := (len(gaps)*percent + 99) / 100
		return schema.Some(float64(gaps[max(i, 1)-1]) / 1e9)
	}
	return rank(50), rank(99)
}
