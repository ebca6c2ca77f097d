package schema

import "time"

// Workload is which kind of prompt was sent.
type Workload string

// The two workloads.
const (
	WorkloadPrefill Workload = "prefill" // a long prompt, a one-word answer
	WorkloadDecode  Workload = "decode"  // a short prompt, a long answer
)

// Stage is what the board was doing for the requests in flight.
type Stage string

// The stages, as they stand in the partition key.
const (
	StagePrefill Stage = "prefill"
	StageDecode  Stage = "decode"
	StageMixed   Stage = "mixed" // overlapping requests in different stages
	StageIdle    Stage = "idle"  // baseline, gaps, and time spent queueing
)

// Prompt is one text of the corpus.
type Prompt struct {
	ID            string
	Workload      Workload
	TargetTokens  int32 // the size asked for: of the prompt (prefill) or of the answer (decode)
	Text          string
	TextTokens    int32 // tokens of Text by Tokenizer, before any chat template
	Tokenizer     string
	Element       string // what a decode prompt asks a story about
	Source        string // builtin, nebula, file
	WrittenBy     string // the model that wrote Text; empty where none did
	MaxTokens     int32  // bound sent with the request
	SHA256        string // of Text, hex
	ExactLength   bool   // ask the server for exactly MaxTokens, where it can
	CreatedUnixMS int64  // 0 where Text follows from a seed, whenever it is made

	// Of the run that sends it, no part of the corpus.
	Repetition int32 // 1 is the first
	Reopen     bool  // send it with an opening of its own
	RunTokens  int32 // of what is sent, by the run's tokenizer
}

// Span is one attempt at one request as the client saw it. Instants are CLOCK_MONOTONIC in ns, on the same clock as
// readings.
type Span struct {
	RequestID   string
	Prompt      *Prompt
	LLM         string // the model asked for
	Model       string // the model that answered, by its own word
	Endpoint    string // without credentials
	Server      string // profile name
	Warmup      bool
	Attempt     int32 // 1 is the first
	Concurrency int32 // workers of the run

	StartNS        int64      // the request's last byte handed to the kernel
	PrefillStartNS Opt[int64] // by the server's own timing, queueing excluded
	FirstTokenNS   Opt[int64]
	LastTokenNS    Opt[int64]
	EndNS          int64 // end of stream, or of the attempt

	Opening               string     // unique words sent in place of the text's own, or before it; empty where it was sent as it is
	TextTokens            int32      // of what was sent, by the run's tokenizer, before the chat template
	InputTokens           Opt[int32] // by usage
	CachedInputTokens     Opt[int32]
	OutputTokensRequested Opt[int32]
	OutputTokens          Opt[int32]
	ReasoningTokens       Opt[int32]
	TokenCountSource      string // usage, timings; empty when nothing counted

	QueueS         Opt[float64] // server-side
	ServerPrefillS Opt[float64]
	ServerDecodeS  Opt[float64]
	ITLP50S        Opt[float64] // gaps between arrivals of chunks with tokens
	ITLP99S        Opt[float64]

	FinishReason string
	HTTPStatus   Opt[int32]
	ErrorType    string // empty when the request succeeded
	ErrorMessage string // for the screen and the log, never for the dataset
	Overhead     OverheadBlock
	GivenUp      bool     // the client stopped listening before the server had stopped answering
	Invalid      []string // reason codes, e.g. prefix_cache_hit
}

// SpanEvent is what a worker tells the pipeline: first that a request opens, then, with its span, that it closed; between
// them it may tell of the first token, for those who watch the run. A
// worker has at most one request open, and stamps the span's StartNS after the opening is queued: whoever reads the
// clock and then finds no opening queued knows that no span will begin before that reading.
type SpanEvent struct {
	OpenNS       int64 // no later than the span's StartNS; 0 in any but an opening event
	Opening      *Span // what is known of the request as it opens; nil in any other
	FirstTokenNS int64 // 0 in any other
	Span         *Span // nil in any but a closing event
}

// GivenUpSettle is for how long after a given-up request the board may still be working on it: no new request is sent in
// that time, and its rows count as that request's.
const GivenUpSettle = 500 * time.Millisecond

// MayHaveRun says whether a failed attempt without a first token may have kept the board busy: it was accepted, or
// given up on by the client. One that was refused, or never connected, did not.
func (s *Span) MayHaveRun() bool {
	if s.HTTPStatus.OK {
		return s.HTTPStatus.V == 200
	}
	return s.GivenUp
}
